"""Which values of a payload become columns, and by which words are they known? The section [facets]."""

from __future__ import annotations

from typing import Final

import msgspec

FACETS: Final = (
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
"""The columns of `task_event` that are read from payloads, in the order in which they are told."""
TEXT_PATHS: Final = (
    "event_type",
    "actor",
    "user_id",
    "agent_name",
    "model",
    "tool_name",
    "tool_call_id",
    "status",
    "error_type",
    "is_error",
)
NUMBER_PATHS: Final = ("duration_ms", "input_tokens", "output_tokens", "cost")
WORD_LISTS: Final = (
    "user_words",
    "agent_words",
    "tool_words",
    "message_words",
    "plan_words",
    "tool_call_words",
    "tool_result_words",
    "error_words",
    "usage_words",
    "status_words",
    "failed_words",
)
"""The keys of [facets]: paths to texts, paths to numbers, words."""


class FacetsSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Which values of a payload become columns of `task_event`: paths into `data`, and words to know them by.

    The first path that leads to a value of the facet's type wins. Words are compared without regard to
    case, blanks, `_` and `-`.
    """

    event_type: tuple[str, ...] = (
        "type",
        "eventType",
        "event_type",
        "['gen_ai.operation.name']",
        "attributes['gen_ai.operation.name']",
    )
    actor: tuple[str, ...] = ("role",)
    user_id: tuple[str, ...] = (
        "userId",
        "user_id",
        "['user.id']",
        "attributes['user.id']",
        "attributes['enduser.id']",
    )
    agent_name: tuple[str, ...] = (
        "agentName",
        "agent_name",
        "['gen_ai.agent.name']",
        "attributes['gen_ai.agent.name']",
    )
    model: tuple[str, ...] = (
        "model",
        "['gen_ai.response.model']",
        "['gen_ai.request.model']",
        "attributes['gen_ai.response.model']",
        "attributes['gen_ai.request.model']",
    )
    tool_name: tuple[str, ...] = (
        "toolName",
        "tool_name",
        "['gen_ai.tool.name']",
        "attributes['gen_ai.tool.name']",
    )
    tool_call_id: tuple[str, ...] = (
        "toolCallId",
        "tool_call_id",
        "['gen_ai.tool.call.id']",
        "attributes['gen_ai.tool.call.id']",
    )
    status: tuple[str, ...] = ("status",)
    error_type: tuple[str, ...] = (
        "errorType",
        "error_type",
        "error.type",
        "error.code",
        "['error.type']",
        "attributes['error.type']",
        "code",
    )
    is_error: tuple[str, ...] = (
        "isError",
        "is_error",
        "error",
        "errorType",
        "error_type",
        "['error.type']",
        "attributes['error.type']",
    )
    duration_ms: tuple[str, ...] = ("durationMs", "duration_ms")
    input_tokens: tuple[str, ...] = (
        "inputTokens",
        "input_tokens",
        "usage.inputTokens",
        "usage.input_tokens",
        "['gen_ai.usage.input_tokens']",
        "attributes['gen_ai.usage.input_tokens']",
    )
    output_tokens: tuple[str, ...] = (
        "outputTokens",
        "output_tokens",
        "usage.outputTokens",
        "usage.output_tokens",
        "['gen_ai.usage.output_tokens']",
        "attributes['gen_ai.usage.output_tokens']",
    )
    cost: tuple[str, ...] = ("costUsd", "cost_usd", "cost")
    user_words: tuple[str, ...] = ("user", "human", "customer", "user message", "human message")
    agent_words: tuple[str, ...] = (
        "agent",
        "assistant",
        "ai",
        "bot",
        "agent message",
        "assistant message",
        "ai message",
    )
    tool_words: tuple[str, ...] = ("tool", "function", "tool message")
    message_words: tuple[str, ...] = (
        "message",
        "user message",
        "human message",
        "agent message",
        "assistant message",
        "ai message",
        "chat",
        "answer",
    )
    plan_words: tuple[str, ...] = ("plan", "thought", "thinking", "reasoning")
    tool_call_words: tuple[str, ...] = (
        "tool call",
        "tool use",
        "tool request",
        "tool invocation",
        "function call",
        "execute tool",
    )
    tool_result_words: tuple[str, ...] = (
        "tool result",
        "tool response",
        "tool output",
        "tool message",
        "function result",
        "function response",
        "function call output",
    )
    error_words: tuple[str, ...] = ("error", "exception", "failure")
    usage_words: tuple[str, ...] = ("usage", "token usage")
    status_words: tuple[str, ...] = ("status", "task status", "state change", "progress")
    failed_words: tuple[str, ...] = (
        "failed",
        "failure",
        "error",
        "errored",
        "exception",
        "timeout",
        "timed out",
        "aborted",
        "denied",
        "rejected",
    )
    time_zone: str = "UTC"
    """The reporting time zone: whose days are those of v_daily."""
