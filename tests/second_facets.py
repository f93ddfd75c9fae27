"""Which facets does a payload have, read a second time by the rules alone? Shares nothing with the reader.

Slow and simple, so that it can be believed; of maia_sync it takes the configuration and how a path is spelt.
"""

from __future__ import annotations

import json
import math
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from properties.second_reader import parse

from maia_sync.facet_settings import NUMBER_PATHS, TEXT_PATHS, FacetsSettings
from maia_sync.json_path import parse_path

if TYPE_CHECKING:
    from properties.second_reader import Node

FACETS = (
    "event_type",
    "event_kind",
    "actor",
    "user_id",
    "agent_name",
    "model",
    "tool_name",
    "tool_call_id",
    "status",
    "outcome",
    "error_type",
    "duration_ms",
    "input_tokens",
    "output_tokens",
    "cost",
)
"""The columns, as the contract lists them."""
KINDS = {
    "message_words": "message",
    "plan_words": "plan",
    "tool_call_words": "tool_call",
    "tool_result_words": "tool_result",
    "error_words": "error",
    "usage_words": "usage",
    "status_words": "status",
}
ACTORS = {"user_words": "user", "agent_words": "agent", "tool_words": "tool"}


class Container:
    """An object or an array; what is wanted of it is only whether it is empty."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __bool__(self) -> bool:
        return self.size > 0


def found_at(text: str, node: Node, path: str) -> Any:
    """Return what stands at a path, or None."""
    for step in parse_path(path).steps:
        if isinstance(step, str) and node.kind == "{":
            inner = [value for name, value in node.members() if name.text == step]
            inner = inner[-1:]
        elif isinstance(step, int) and node.kind == "[":
            inner = node.children[step:][:1] if -len(node.children) <= step else []
        else:
            inner = []
        if not inner:
            return None
        node = inner[0]
    if node.kind in "{[":
        return Container(len(node.children))
    if node.kind == '"':
        return node.text
    try:
        return json.loads(text[node.start : node.end])
    except ValueError:  # more digits than Python reads
        return None


def letters(word: str) -> str:
    return "".join(character for character in word.casefold() if character.isalnum()) or word


def is_stored(value: Any) -> bool:
    return (
        isinstance(value, str)
        and value != ""
        and not any(c == "\0" or "\ud800" <= c <= "\udfff" for c in value)
    )


def shortened(text: str, facet: str) -> str:
    while facet not in ("user_id", "tool_call_id") and len(text.encode()) > 256:
        text = text[:-1]
    return text if len(text.encode()) <= 256 else "sha256:" + sha256(text.encode()).hexdigest()


def second_reading(data: str | None, settings: FacetsSettings) -> tuple[Any, ...]:
    """Return a payload's facets, read by the rules alone."""
    text = "null" if data is None else data
    node, _ = parse(text)

    def values(facet: str) -> list[Any]:
        return [found_at(text, node, path) for path in getattr(settings, facet)]

    def whole(facet: str) -> str:
        return next((value for value in values(facet) if is_stored(value)), "")

    def known(word: Any, lists: dict[str, str]) -> str:
        return next(
            (
                meaning
                for key, meaning in lists.items()
                if isinstance(word, str) and letters(word) in map(letters, getattr(settings, key))
            ),
            "",
        )

    def number(facet: str) -> Any:
        most, is_whole = 10**9 if facet == "cost" else 10**12, facet.endswith("tokens")
        for value, path in zip(values(facet), getattr(settings, facet), strict=True):
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                continue
            factor = parse_path(path).factor
            try:
                measured = value if factor is None else value * factor
            except OverflowError:
                continue
            if 0 <= measured <= most and not (is_whole and measured != math.floor(measured)):
                return measured
        return ""

    told = {
        facet: shortened(whole(facet), facet) for facet in TEXT_PATHS if facet not in ("actor", "is_error")
    }
    event_type, status = whole("event_type"), whole("status")
    kind = known(event_type, KINDS)
    by_kind = {"plan": "agent", "tool_call": "agent", "tool_result": "tool"}
    actors = [known(value, ACTORS) for value in values("actor")]
    actor = next(filter(None, actors), "") or known(event_type, ACTORS) or by_kind.get(kind, "")
    if event_type == "":
        kind = {"user": "message", "agent": "message", "tool": "tool_result"}.get(actor, "")
    failed = kind == "error" or known(status, {"failed_words": "x"}) or any(map(bool, values("is_error")))
    told["outcome"] = "error" if failed else "ok" if kind == "tool_result" else ""
    told["error_type"] = told["error_type"] if failed else ""
    told |= {"event_kind": kind, "actor": actor, **{facet: number(facet) for facet in NUMBER_PATHS}}
    return tuple(told[facet] for facet in FACETS)
