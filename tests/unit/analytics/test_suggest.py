"""Is the suggested section valid, complete, and right for logs of very different makers?"""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maia_sync.analytics.explore import explore
from maia_sync.analytics.facet_reader import FacetReader
from maia_sync.analytics.suggest import likely_event_types, suggest
from maia_sync.facet_settings import NUMBER_PATHS, TEXT_PATHS, WORD_LISTS, FacetsSettings
from maia_sync.json_path import parse_path
from maia_sync.sandbox.story import make_world

KEYS = {*TEXT_PATHS, *NUMBER_PATHS, *WORD_LISTS, "time_zone"}
COLUMNS = (
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


def text_for(payloads: list[str], known: FacetsSettings | None = None) -> str:
    """Return what is suggested for payloads, as the verb does it."""
    paths = likely_event_types(explore(payloads, []), known)
    return suggest(explore(payloads, paths), known)


def section_of(text: str) -> dict[str, Any]:
    """Read a section as the configuration would: only known keys, every path a path."""
    document = tomllib.loads(text)
    assert set(document) == {"facets"}
    section: dict[str, Any] = document["facets"]
    assert set(section) <= KEYS
    for name in (*TEXT_PATHS, *NUMBER_PATHS):
        for path in section.get(name, []):
            assert parse_path(path).factor is None or name in NUMBER_PATHS
    for name in set(section) - {"time_zone"}:
        assert section[name], name
        assert all(isinstance(item, str) and item.strip() for item in section[name])
    missing = [f"# {name}: nothing found" for name in KEYS - set(section)]
    assert set(missing) <= set(text.splitlines())
    return section


def suggested(*values: Any) -> dict[str, Any]:
    return section_of(text_for([json.dumps(value) for value in values]))


def facets(section: dict[str, Any], value: Any) -> dict[str, Any]:
    """Return what the suggested configuration makes of a payload; what is absent is left out."""
    lists = {name: tuple(each) for name, each in section.items() if name != "time_zone"}
    found = FacetReader(FacetsSettings(**lists)).read(json.dumps(value))
    return {name: one for name, one in zip(COLUMNS, found, strict=True) if one != ""}


def test_the_sandbox_world_is_understood() -> None:
    payloads = [
        json.dumps(json.loads(event)["data"]) for log in make_world().logs.values() for event in log.events
    ]
    section = section_of(text_for(payloads))
    assert {name: section.get(name) for name in (*TEXT_PATHS, *NUMBER_PATHS)} == {
        "event_type": ["type"],
        "actor": None,
        "user_id": ["userId"],
        "agent_name": ["agentName"],
        "model": ["model"],
        "tool_name": ["toolName"],
        "tool_call_id": ["toolCallId"],
        "status": ["status", "state"],
        "error_type": ["error.code", "code"],
        "is_error": ["error"],
        "duration_ms": ["durationMs"],
        "input_tokens": ["inputTokens"],
        "output_tokens": ["outputTokens"],
        "cost": ["costUsd"],
    }
    first = {name: section[name][0] for name in WORD_LISTS if name in section}
    assert first == {
        "user_words": "userMessage",
        "agent_words": "agentMessage",
        "message_words": "agentMessage",
        "plan_words": "plan",
        "tool_call_words": "toolCall",
        "tool_result_words": "toolResult",
        "error_words": "error",
        "usage_words": "usage",
        "status_words": "taskStatus",
        "failed_words": "failed",
    }


CALL = {
    "msg_kind": "tool-use",
    "who": "assistant",
    "elapsed_sec": 1.2,
    "llm": "x",
    "tokens": {"prompt": 3, "completion": 5},
    "fn": {"function": {"name": "grep"}},
}
RESULT = {"msg_kind": "tool-output", "who": "tool", "elapsed_sec": 2, "state": "timed-out", "is-error": True}
ASKED = {"msg_kind": "utterance", "who": "human", "uid": "u1"}
FOREIGN = {"msg_kind": "werkzeug_aufruf", "who": "system"}


def test_a_world_of_other_names_is_mostly_understood() -> None:
    section = suggested(*[CALL, RESULT, ASKED, FOREIGN] * 5)
    assert facets(section, CALL) == {
        "event_type": "tool-use",
        "event_kind": "tool_call",
        "actor": "agent",
        "model": "x",
        "tool_name": "grep",
        "duration_ms": 1200.0,
        "input_tokens": 3,
        "output_tokens": 5,
    }
    assert facets(section, RESULT) == {
        "event_type": "tool-output",
        "event_kind": "tool_result",
        "actor": "tool",
        "status": "timed-out",
        "outcome": "error",
        "duration_ms": 2000.0,
    }
    assert facets(section, ASKED) == {
        "event_type": "utterance",
        "event_kind": "message",
        "actor": "user",
        "user_id": "u1",
    }


def test_words_that_cannot_be_sorted_stand_in_a_comment() -> None:
    text = text_for([json.dumps(each) for each in (CALL, RESULT, ASKED, FOREIGN)])
    comments = [line for line in text.splitlines() if line.startswith("#")]
    assert any("werkzeug_aufruf" in line for line in comments)
    assert any("system" in line for line in comments)


def _telemetry(**attributes: Any) -> dict[str, Any]:
    return {name.replace("__", "."): value for name, value in attributes.items()}


CHAT = _telemetry(
    gen_ai__operation__name="chat",
    gen_ai__request__model="small",
    gen_ai__usage__input_tokens=3,
    gen_ai__usage__output_tokens=5,
    gen_ai__agent__name="Ada",
    gen_ai__conversation__id="c",
    gen_ai__request__max_tokens=100,
)
TOOL = _telemetry(
    gen_ai__operation__name="execute_tool",
    gen_ai__tool__name="grep",
    gen_ai__tool__call__id="c1",
    gen_ai__tool__type="function",
    error__type="TimeoutError",
)


@pytest.mark.parametrize("nested", [False, True])
def test_attributes_of_opentelemetry_are_understood(nested: bool) -> None:
    chat, tool = ({"attributes": each} if nested else each for each in (CHAT, TOOL))
    section = suggested(*[chat, tool] * 3)
    assert facets(section, chat) == {
        "event_type": "chat",
        "event_kind": "message",
        "agent_name": "Ada",
        "model": "small",
        "input_tokens": 3,
        "output_tokens": 5,
    }
    assert facets(section, tool) == {
        "event_type": "execute_tool",
        "event_kind": "tool_call",
        "actor": "agent",
        "tool_name": "grep",
        "tool_call_id": "c1",
        "outcome": "error",
        "error_type": "TimeoutError",
    }
    assert parse_path(section["tool_name"][0]).steps[-1] == "gen_ai.tool.name"


def test_messages_of_a_chat_api_are_understood() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    said = {"role": "assistant", "content": None, "tool_calls": [call]}
    told = {"role": "tool", "tool_call_id": "c1", "content": "x"}
    section = suggested(*[{"role": "user", "content": "hello"}, said, told] * 3)
    assert "event_type" not in section
    assert facets(section, said) == {
        "event_kind": "message",
        "actor": "agent",
        "tool_name": "f",
        "tool_call_id": "c1",
    }
    assert facets(section, told) == {
        "event_kind": "tool_result",
        "actor": "tool",
        "tool_call_id": "c1",
        "outcome": "ok",
    }


def test_where_the_outer_type_says_only_who_speaks_the_inner_one_counts_first() -> None:
    use = {"type": "tool_use", "id": "t1", "name": "bash", "input": {"type": "x", "model": "y"}}
    said = {"type": "assistant", "message": {"role": "assistant", "model": "m", "content": [use]}}
    result = {"type": "tool_result", "tool_use_id": "t1", "is_error": True}
    told = {"type": "user", "message": {"role": "user", "content": [result]}}
    asked = {"type": "user", "message": {"role": "user", "content": "hello"}}
    section = suggested(*[said, told, asked] * 3)
    assert section["event_type"] == ["message.content[0].type", "type"]
    assert facets(section, said) == {
        "event_type": "tool_use",
        "event_kind": "tool_call",
        "actor": "agent",
        "model": "m",
        "tool_name": "bash",
        "tool_call_id": "t1",
    }
    assert facets(section, told)["event_kind"] == "tool_result"
    assert facets(section, told)["outcome"] == "error"
    assert facets(section, asked)["event_kind"] == "message"


def test_general_names_count_in_the_right_events_only() -> None:
    use = {"type": "tool_use", "id": "t1", "name": "grep", "input": {"type": "x", "model": "y"}}
    failure = {"type": "error", "code": "E42"}
    said = {"type": "assistant", "text": "hello"}
    section = suggested(*[use, failure, said] * 4)
    assert section["tool_name"] == ["name"]
    assert section["tool_call_id"] == ["id"]
    assert section["error_type"] == ["code"]
    assert "model" not in section
    everywhere = suggested(*[{**each, "id": "1", "name": "n", "code": "c"} for each in (use, failure, said)])
    assert {"tool_name", "tool_call_id", "error_type"}.isdisjoint(everywhere)


def test_several_candidates_are_named_the_likelier_first() -> None:
    section = suggested(
        *[{"model": "a", "type": "call"}] * 3,
        {"modelName": "b", "type": "call"},
        {"deployment": "c", "type": "call"},
    )
    assert section["model"] == ["model", "modelName", "deployment"]
    both = {"userId": "1", "userName": "Ana", "type": "call"}
    assert suggested(both, both)["user_id"] == ["userId"]


def test_only_values_of_the_facets_type_count() -> None:
    section = suggested(
        {"type": "x", "model": {"name": "m"}, "durationMs": "5", "inputTokens": None, "cost": [1]}
    )
    assert section["model"] == ["model.name"]
    assert {"duration_ms", "input_tokens", "cost"}.isdisjoint(section)


def test_what_is_configured_stays_in_the_lists_and_decides() -> None:
    known = FacetsSettings(plan_words=("werkzeug aufruf", "plan"), time_zone="Europe/Berlin")
    text = text_for([json.dumps(each) for each in (CALL, RESULT, ASKED, FOREIGN)], known)
    section = section_of(text)
    assert section["plan_words"] == ["werkzeug_aufruf", "plan"]
    assert section["time_zone"] == "Europe/Berlin"
    assert "no list: place" not in text


def test_a_duration_without_a_unit_is_pointed_out() -> None:
    text = text_for(['{"type":"x","latency":3}'])
    assert section_of(text)["duration_ms"] == ["latency"]
    assert "No unit in the name of latency" in text
    assert "No unit" not in text_for(['{"type":"x","latency_s":3}'])


def test_nothing_leads_to_a_section_of_comments() -> None:
    for payloads in ([], ["null", "3", "[]", '"x"', "{"]):
        assert section_of(text_for(payloads)) == {"time_zone": "UTC"}


def test_odd_names_cannot_break_out_of_the_text() -> None:
    odd = 'x"]\n[auth]\ntoken = "'
    payload = {
        odd: {"agentName": "a"},
        "it's\u202e\x7f\\": {"agent_name": "b"},
        "\ud800": {"agent-name": "c"},
    }
    text = text_for([json.dumps(payload)])
    section = section_of(text)
    assert {parse_path(path).steps for path in section["agent_name"]} == {
        (odd, "agentName"),
        ("it's\u202e\x7f\\", "agent_name"),
    }
    assert all(line.isprintable() for line in text.splitlines())


def test_values_are_in_no_suggestion() -> None:
    secrets = {
        "user_id": "usr_secret",
        "agentName": "Secret Agent",
        "model": "secret-llm",
        "text": "secret text",
    }
    assert "secret" not in text_for([json.dumps({"type": "call", **secrets})]).lower()


NAMES = st.sampled_from(
    ["type", "role", "status", "agentName", "model", "cost", "error", "id", "tool", "durationMs"]
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.floats()
    | st.integers()
    | st.sampled_from(["tool_call", "x y", "user", "a\n"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.text(st.characters(), max_size=5), inner)
    ),
    max_leaves=20,
)


@given(st.lists(JSON, max_size=6))
def test_any_payloads_lead_to_a_valid_section(values: list[Any]) -> None:
    text = text_for([json.dumps(value) for value in values])
    section_of(text)
    assert all(line.isprintable() for line in text.splitlines())
