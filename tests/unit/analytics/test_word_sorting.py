"""Is a word put where a person would put it, and left alone where that is open?"""

from __future__ import annotations

import pytest

from maia_sync.analytics.word_sorting import actor_list_of, kind_list_of, tells_a_role, tells_failure
from maia_sync.facet_settings import FacetsSettings

USUAL = FacetsSettings()


@pytest.mark.parametrize(
    ("word", "kind", "actor"),
    [
        ("userMessage", "message_words", "user_words"),
        ("USER-MESSAGE", "message_words", "user_words"),
        ("human", "message_words", "user_words"),
        ("assistant_reply", "message_words", "agent_words"),
        ("ai", "message_words", "agent_words"),
        ("chat", "message_words", None),
        ("utterance", "message_words", None),
        ("plan", "plan_words", None),
        ("agent.thought", "plan_words", "agent_words"),
        ("toolCall", "tool_call_words", None),
        ("tool-use", "tool_call_words", None),
        ("tool_use_start", "tool_call_words", None),
        ("execute_tool", "tool_call_words", None),
        ("function_invocation", "tool_call_words", None),
        ("toolResult", "tool_result_words", None),
        ("tool_call_result", "tool_result_words", None),
        ("tool-finished", "tool_result_words", None),
        ("observation", "tool_result_words", None),
        ("tool", "tool_result_words", "tool_words"),
        ("toolError", "error_words", None),
        ("exception", "error_words", None),
        ("run_failed", "error_words", None),
        ("tokenUsage", "usage_words", None),
        ("task.status", "status_words", None),
        ("run_completed", "status_words", None),
        ("werkzeug_aufruf", None, None),
        ("system", None, None),
        ("x7", None, None),
    ],
)
def test_words_are_sorted_by_the_words_they_contain(word: str, kind: str | None, actor: str | None) -> None:
    assert (kind_list_of(word, USUAL), actor_list_of(word, USUAL)) == (kind, actor)


def test_words_that_name_both_sides_have_no_actor() -> None:
    for word in ("agent_asks_user", "message_to_user", "user_agent"):
        assert actor_list_of(word, USUAL) is None


def test_what_the_configuration_says_comes_first() -> None:
    ours = FacetsSettings(plan_words=("user message",), tool_words=("werkzeug",), failed_words=("kaputt",))
    ours = FacetsSettings(**{**_all(ours), "message_words": ("message",)})
    assert kind_list_of("userMessage", ours) == "plan_words"
    assert actor_list_of("Werkzeug", ours) == "tool_words"
    assert tells_failure("KAPUTT", ours)


def _all(settings: FacetsSettings) -> dict[str, tuple[str, ...]]:
    return {name: getattr(settings, name) for name in settings.__struct_fields__ if name != "time_zone"}


@pytest.mark.parametrize(
    "word", ["failed", "Timed-Out", "timedOut", "task_failed", "REJECTED", "errored", "killed"]
)
def test_failures_are_told(word: str) -> None:
    assert tells_failure(word, USUAL)


@pytest.mark.parametrize(
    "word", ["succeeded", "running", "completed", "cancelled", "no_error", "not-failed", "OK"]
)
def test_other_statuses_are_not(word: str) -> None:
    assert not tells_failure(word, USUAL)


def test_roles_are_known() -> None:
    assert all(map(tells_a_role, ["user", "Human", "assistant", "tool", "ai"]))
    assert not any(map(tells_a_role, ["ana", "system", "smith"]))
