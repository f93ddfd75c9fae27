"""Is this the body of a message that the API would take in, and if not, what is wrong with it?"""

from __future__ import annotations

import json
from typing import Any, NoReturn

from maia_sync.sandbox.world import Refusal, SentMessage

MODES = ("PLAN", "ACT")


def read_message(task_id: str, body: bytes) -> SentMessage:
    """Return the message in a POST body; Refusal 400 that names every violation."""
    value = _parsed(body)
    violations = [
        *_about_message(value),
        *_about_agent_config(value),
        *_about_permissions(value),
    ]
    if violations:
        raise Refusal(400, "The request body is not valid.", tuple(violations))
    return SentMessage(
        task_id=task_id,
        message=value["message"],
        agent_config=value.get("agentConfig"),
        granted_permissions=value.get("grantedPermissions"),
    )


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body.decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise Refusal(400, "The request body is not JSON.", ("body: must be JSON",)) from None
    if not isinstance(value, dict):
        raise Refusal(400, "The request body is not an object.", ("body: must be an object",))
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _about_message(value: dict[str, Any]) -> list[str]:
    message = value.get("message")
    if not isinstance(message, str):
        return ["message: must be a string"]
    return [] if message else ["message: must not be empty"]


def _about_agent_config(value: dict[str, Any]) -> list[str]:
    if "agentConfig" not in value:
        return []
    config = value["agentConfig"]
    if not isinstance(config, dict):
        return ["agentConfig: must be an object"]
    violations = []
    name = config.get("name")
    if not isinstance(name, str) or not name:
        violations.append("agentConfig.name: must be a string that is not empty")
    if "mode" in config and config["mode"] not in MODES:
        violations.append("agentConfig.mode: must be PLAN or ACT")
    if not isinstance(config.get("targetBranchName"), str | None):
        violations.append("agentConfig.targetBranchName: must be a string or null")
    return violations


def _about_permissions(value: dict[str, Any]) -> list[str]:
    granted = value.get("grantedPermissions")
    if granted is None:
        return []
    if not isinstance(granted, list):
        return ["grantedPermissions: must be an array or null"]
    return [
        f"grantedPermissions[{index}].toolName: must be a string that is not empty"
        for index, tool in enumerate(granted)
        if not (isinstance(tool, dict) and isinstance(tool.get("toolName"), str) and tool["toolName"])
    ]
