"""Does a name suggest the facet that a person would see in it, and no other?"""

from __future__ import annotations

import pytest

from maia_sync.analytics.naming import FACETS, looks_like_word, suggestion_for, words_of
from maia_sync.facet_settings import NUMBER_PATHS, TEXT_PATHS, FacetsSettings
from maia_sync.json_path import parse_path

SURE = 0


def facets_of(path: str, most: int = SURE) -> set[str]:
    """Return the facets that a path suggests, in weights up to `most`."""
    steps = parse_path(path).steps
    found = {facet: suggestion_for(facet, steps) for facet in FACETS}
    return {facet for facet, one in found.items() if one is not None and one.weight <= most}


def test_every_facet_can_be_suggested() -> None:
    assert set(FACETS) == {*TEXT_PATHS, *NUMBER_PATHS}


@pytest.mark.parametrize(
    "path",
    [
        "agentName",
        "agent_name",
        "['AGENT-NAME']",
        "['Agent Name']",
        "agentname",
        "agent.name",
        "['agent.name']",
    ],
)
def test_the_spelling_of_a_name_does_not_count(path: str) -> None:
    assert facets_of(path) == {"agent_name"}


def test_a_name_is_taken_apart_into_words() -> None:
    assert words_of("toolCallID") == ["tool", "call", "id"]
    assert words_of("LLMModel") == ["llm", "model"]
    assert words_of("GEN_AI-usage x2") == ["gen", "ai", "usage", "x", "2"]
    assert words_of("\ud800\x00") == []


@pytest.mark.parametrize(
    ("path", "facet"),
    [
        ("type", "event_type"),
        ("msg_kind", "event_type"),
        ("event.type", "event_type"),
        ("['gen_ai.operation.name']", "event_type"),
        ("content[0].type", "event_type"),
        ("role", "actor"),
        ("author.role", "actor"),
        ("['user.id']", "user_id"),
        ("user.id", "user_id"),
        ("attributes['enduser.id']", "user_id"),
        ("llm", "model"),
        ("attributes['gen_ai.request.model']", "model"),
        ("response.model", "model"),
        ("tool_calls[0].function.name", "tool_name"),
        ("['gen_ai.tool.name']", "tool_name"),
        ("['gen_ai.tool.call.id']", "tool_call_id"),
        ("toolUseId", "tool_call_id"),
        ("tool_calls[0].id", "tool_call_id"),
        ("result.status", "status"),
        ("error.code", "error_type"),
        ("is_error", "is_error"),
        ("tokens.prompt", "input_tokens"),
        ("usageMetadata.promptTokenCount", "input_tokens"),
        ("['llm.token_count.completion']", "output_tokens"),
        ("usage.output_tokens", "output_tokens"),
        ("usage.cost", "cost"),
        ("total_cost_usd", "cost"),
    ],
)
def test_a_name_that_says_it_suggests_one_facet(path: str, facet: str) -> None:
    assert facets_of(path) == {facet}


@pytest.mark.parametrize(
    "path",
    [
        "text",
        "$",
        "[0]",
        "startTimeMs",
        "timeoutMs",
        "timestamp_ms",
        "cacheReadInputTokens",
        "totalTokens",
        "max_tokens",
        "arguments.model",
        "tool.input.agent_name",
        "arguments['gen_ai.request.model']",
        "attachments[0].type",
        "error.message",
        "httpStatus",
        "prototype",
        "['']",
        "models",
    ],
)
def test_other_names_suggest_nothing(path: str) -> None:
    assert facets_of(path, most=2) == set()


def test_the_type_of_something_else_is_no_event_type() -> None:
    for path in ("error.type", "user.type", "attachment.kind", "author.category", "result.type"):
        assert "event_type" not in facets_of(path, most=2)
    for path in ("steps[0].status", "http.status", "deployment.state"):
        assert "status" not in facets_of(path, most=2)


@pytest.mark.parametrize(
    ("name", "factor"),
    [
        ("durationMs", None),
        ("elapsed_millis", None),
        ("elapsed_sec", 1000.0),
        ("elapsedSeconds", 1000.0),
        ("duration_s", 1000.0),
        ("durationInSeconds", 1000.0),
        ("latency-seconds", 1000.0),
        ("time_taken_s", 1000.0),
        ("runtime_min", 60_000.0),
        ("tool_duration_ms", None),
        ("duration_us", 0.001),
        ("durationNanos", 0.000001),
        ("secondsElapsed", 1000.0),
    ],
)
def test_a_unit_at_the_end_of_a_duration_becomes_a_factor(name: str, factor: float | None) -> None:
    found = suggestion_for("duration_ms", (name,))
    assert found is not None
    assert (found.factor, found.unit, found.weight) == (factor, True, 0)


def test_a_duration_without_a_unit_is_told_as_such() -> None:
    found = suggestion_for("duration_ms", ("latency",))
    assert found is not None
    assert not found.unit
    nested = suggestion_for("duration_ms", ("duration", "seconds"))
    assert nested is not None
    assert nested.factor == 1000.0


def test_cents_become_units() -> None:
    found = suggestion_for("cost", ("cost_cents",))
    assert found is not None
    assert found.factor == 0.01


def test_the_default_paths_are_all_found_again() -> None:
    defaults = FacetsSettings()
    general = {"code"}  # says something only within an error
    for facet in FACETS:
        for text in set(getattr(defaults, facet)) - general:
            path = parse_path(text)
            found = suggestion_for(facet, path.steps)
            assert found is not None, (facet, text)
            assert found.factor == path.factor


@pytest.mark.parametrize("text", ["toolCall", "tool-use", "gen_ai.chat", "v2", "A" * 40, "_x"])
def test_words_look_like_identifiers(text: str) -> None:
    assert looks_like_word(text)


@pytest.mark.parametrize(
    "text", ["", "two words", "A" * 41, "12", "2fa", "é", "a\n", "usr_0101", "1.5", "a:b", "-x"]
)
def test_other_texts_do_not(text: str) -> None:
    assert not looks_like_word(text)
