"""Does a payload's row of facets say what the payload says, whatever stands in it?

What is right is told twice: by the cases below, and by a second, slow reader that shares nothing with
the first.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from properties import raw_json
from second_facets import ACTORS, KINDS, second_reading
from second_facets import FACETS as ALL_FACETS

from maia_sync.analytics import facet_reader
from maia_sync.analytics.facet_reader import FacetReader
from maia_sync.facet_settings import FACETS, NUMBER_PATHS, TEXT_PATHS, WORD_LISTS, FacetsSettings
from maia_sync.json_path import parse_path, render_path
from maia_sync.store.schema import task_event

DEFAULT = FacetsSettings()
PLAIN = FacetReader(DEFAULT)
OTHER = FacetsSettings(
    event_type=("ereignis.art", "[0]", "[-1].art"),
    actor=("wer[0]", "wer"),
    user_id=("menschen[-1].nr", "['ein Mensch']"),
    agent_name=("agent", "agent.name", "agent.name.kurz"),
    model=("['mod.ell']", "$['modell']", "a.b.c.d.e"),
    tool_name=("werkzeuge[1].name", "werkzeuge[0]", "werkzeuge[-1].name"),
    tool_call_id=("['ruf.nr']", "$"),
    status=("ereignis.stand", "ereignis"),
    error_type=("fehler.art", "fehler"),
    is_error=("fehler", "menschen[-2]"),
    duration_ms=("dauer.s * 1000", "dauer.ms", "dauer", "dauer_us * 0.001"),
    input_tokens=("marken[0]", "marken.gelesen", "kilomarken * 1000"),
    output_tokens=("marken[-1]", "halbe * 0.5"),
    cost=("cent * 0.01", "euro"),
    user_words=("Mensch", "sagt-der_Mensch"),
    agent_words=("Gehilfe",),
    tool_words=("Werkzeug",),
    message_words=("sagt", "sagt der Mensch"),
    plan_words=("Plan",),
    tool_call_words=("ruft",),
    tool_result_words=("bekommt",),
    error_words=("patzt",),
    usage_words=("zählt", "kostet"),
    status_words=("steht",),
    failed_words=("schief gegangen", "mißglückt"),
)
OTHERWISE = FacetReader(OTHER)


def read(data: str | None, reader: FacetReader = PLAIN) -> dict[str, Any]:
    """Return what a payload tells, by facet, without what it does not."""
    return {name: value for name, value in zip(FACETS, reader.read(data), strict=True) if value != ""}


def told(reader: FacetReader = PLAIN, /, **members: Any) -> dict[str, Any]:
    return read(json.dumps(members), reader)


def with_paths(**paths: Any) -> FacetReader:
    """Return a reader of these paths and of no others."""
    none = dict.fromkeys((*TEXT_PATHS, *NUMBER_PATHS), ())
    return FacetReader(FacetsSettings(**{**none, **paths}))


def at(steps: tuple[str | int, ...], raw: str) -> str:
    """Return a payload that holds a raw value at a place."""
    for step in reversed(steps):
        if isinstance(step, str):
            raw = f'{{"unwanted":[{{}}],{json.dumps(step)}:{raw}}}'
        else:
            around = ["null"] * (step if step >= 0 else -step - 1)
            raw = f"[{','.join([*around, raw] if step >= 0 else [raw, *around])}]"
    return raw


# ------------------------------------------------------------------ paths

EVERY_DEFAULT_PATH = [
    (facet, path) for facet in (*TEXT_PATHS, *NUMBER_PATHS) for path in getattr(DEFAULT, facet)
]


@pytest.mark.parametrize(("facet", "path"), EVERY_DEFAULT_PATH)
def test_each_default_path_is_read(facet: str, path: str) -> None:
    way = parse_path(path)
    if facet in NUMBER_PATHS:
        assert read(at(way.steps, "12")) == {facet: 12 * (way.factor or 1)}
    elif facet == "is_error":
        assert read(at(way.steps, "true")) == {"outcome": "error"}
    elif facet == "error_type":
        assert read(at(way.steps, '"E1"')[:-1] + ',"isError":true}')["error_type"] == "E1"
    elif facet == "actor":
        assert read(at(way.steps, '"User"')) == {"actor": "user", "event_kind": "message"}
    else:
        assert read(at(way.steps, '"some one"')) == {facet: "some one"}


@pytest.mark.parametrize(
    "spelt",
    [
        """{"type":"toolResult","userId":"u","agentName":"a","model":"m","toolName":"t","toolCallId":"c",
        "status":"ok","durationMs":5,"inputTokens":3,"outputTokens":4,"costUsd":0.5}""",
        """{"event_type":"tool_result","user_id":"u","agent_name":"a","model":"m","tool_name":"t",

                "tool_call_id":"c","status":"ok","duration_ms":5,"input_tokens":3,"output_tokens":4,"cost_usd":0.5}""",
        """{"gen_ai.operation.name":"tool result","user.id":"u","gen_ai.agent.name":"a",
        "gen_ai.request.model":"m","gen_ai.tool.name":"t","gen_ai.tool.call.id":"c","status":"ok",
        "durationMs":5,"gen_ai.usage.input_tokens":3,"gen_ai.usage.output_tokens":4,"cost":0.5}""",
        """{"status":"ok","durationMs":5,"costUsd":0.5,"attributes":{"gen_ai.operation.name":"TOOL-RESULT",
        "user.id":"u","gen_ai.agent.name":"a","gen_ai.response.model":"m","gen_ai.tool.name":"t",
        "gen_ai.tool.call.id":"c","gen_ai.usage.input_tokens":3,"gen_ai.usage.output_tokens":4}}""",
    ],
    ids=["camelCase", "snake_case", "OpenTelemetry", "OpenTelemetry under attributes"],
)
def test_the_usual_spellings_say_the_same(spelt: str) -> None:
    found = read(spelt)
    event_type = found.pop("event_type")
    assert event_type.lower().replace("-", "").replace("_", "").replace(" ", "") == "toolresult"
    assert found == {
        "event_kind": "tool_result",
        "actor": "tool",
        "user_id": "u",
        "agent_name": "a",
        "model": "m",
        "tool_name": "t",
        "tool_call_id": "c",
        "status": "ok",
        "outcome": "ok",
        "duration_ms": 5,
        "input_tokens": 3,
        "output_tokens": 4,
        "cost": 0.5,
    }


@pytest.mark.parametrize(
    ("payload", "wanted"),
    [
        ('{"agent":"x"}', {"agent_name": "x"}),
        ('{"agent":{"name":"x"}}', {"agent_name": "x"}),
        ('{"agent":{"name":{"kurz":"x"}}}', {"agent_name": "x"}),
        ('{"agent":[{"name":"x"}]}', {}),
        ('{"agent":{"name":["x"]}}', {}),
        ('{"agent":{"name":{"kurz":7}}}', {}),
        ('{"ereignis":{"art":"sagt"}}', {"event_type": "sagt", "event_kind": "message"}),
        ('["sagt",{"art":"bekommt"}]', {"event_type": "sagt", "event_kind": "message"}),
        ('[7,{"art":"ruft"}]', {"event_type": "ruft", "event_kind": "tool_call", "actor": "agent"}),
        ('["ruft"]', {"event_type": "ruft", "event_kind": "tool_call", "actor": "agent"}),
        ("[]", {}),
        ("[[]]", {}),
        ('{"wer":["GEHILFE"]}', {"actor": "agent", "event_kind": "message"}),
        ('{"wer":"Werkzeug"}', {"actor": "tool", "event_kind": "tool_result", "outcome": "ok"}),
        ('{"wer":{"0":"Werkzeug"}}', {}),
        ('{"menschen":[{"nr":"1"},{"nr":"2"}]}', {"user_id": "2", "outcome": "error"}),
        ('{"menschen":[{"nr":"1"}]}', {"user_id": "1"}),
        ('{"menschen":{"nr":"1"}}', {}),
        ('{"ein Mensch":"x"}', {"user_id": "x"}),
        ('{"ein\\u0020Mensch":"x"}', {"user_id": "x"}),
        ('{"mod.ell":"x","modell":"y"}', {"model": "x"}),
        ('{"modell":"y"}', {"model": "y"}),
        ('{"a":{"b":{"c":{"d":{"e":"deep"}}}}}', {"model": "deep"}),
        ('{"a":{"b":{"c":[{"d":{"e":"deep"}}]}}}', {}),
        ('{"werkzeuge":["a",{"name":"b"},{"name":"c"}]}', {"tool_name": "b"}),
        ('{"werkzeuge":["a",{},{"name":"c"}]}', {"tool_name": "a"}),
        ('{"werkzeuge":[1,{},{"name":"c"}]}', {"tool_name": "c"}),
        ('{"ruf.nr":"x"}', {"tool_call_id": "x"}),
        ('{"ruf":{"nr":"x"}}', {}),
        ('"whole"', {"tool_call_id": "whole"}),
        ('{"ereignis":"schief-gegangen"}', {"status": "schief-gegangen", "outcome": "error"}),
        ('{"ereignis":{"stand":"SchiefGegangen"}}', {"status": "SchiefGegangen", "outcome": "error"}),
        ('{"ereignis":"MISSGLÜCKT"}', {"status": "MISSGLÜCKT", "outcome": "error"}),
        ('{"fehler":{"art":"x"}}', {"outcome": "error", "error_type": "x"}),
        ('{"fehler":"x"}', {"outcome": "error", "error_type": "x"}),
        ('{"dauer":{"s":1.5,"ms":7}}', {"duration_ms": 1500}),
        ('{"dauer":{"ms":7}}', {"duration_ms": 7}),
        ('{"dauer":7}', {"duration_ms": 7}),
        ('{"dauer_us":7000}', {"duration_ms": 7}),
        ('{"dauer":{"s":1e12},"dauer_us":7000}', {"duration_ms": 7}),
        ('{"marken":[3,4]}', {"input_tokens": 3, "output_tokens": 4}),
        ('{"marken":{"gelesen":3}}', {"input_tokens": 3}),
        ('{"kilomarken":0.25}', {"input_tokens": 250}),
        ('{"kilomarken":0.0001}', {}),
        ('{"halbe":6}', {"output_tokens": 3}),
        ('{"halbe":7}', {}),
        ('{"cent":50}', {"cost": 0.5}),
        ('{"cent":"50","euro":2}', {"cost": 2}),
        ('{"type":"error","userId":"u","inputTokens":5}', {}),
        ('{"ereignis":{"art":"kostet"}}', {"event_type": "kostet", "event_kind": "usage"}),
        ('{"ereignis":{"art":"Z\\u00c4HLT"}}', {"event_type": "ZÄHLT", "event_kind": "usage"}),
        (
            '{"ereignis":{"art":"Sagt der Mensch"}}',
            {"event_type": "Sagt der Mensch", "event_kind": "message", "actor": "user"},
        ),
    ],
)
def test_paths_and_words_can_be_any(payload: str, wanted: dict[str, Any]) -> None:
    assert read(payload, OTHERWISE) == wanted


@pytest.mark.parametrize(
    "name", ['"', "\\", "\n", "\0", "\x1f", "'", "$", "", " ", "é", "🚀", "\x7f", "f0", "[0]"]
)
def test_a_name_may_hold_any_character(name: str) -> None:
    path = render_path((name,))
    reader = with_paths(
        tool_name=(path,), model=("m", f"{path}.x"), cost=(f"a[1]{path if path[0] == '[' else f'.{path}'}",)
    )
    assert told(reader, **{name: "x", "m": "y"}) == {"tool_name": "x", "model": "y"}
    assert told(reader, **{name: {"x": "z"}, "a": [0, {name: 3}]}) == {"model": "z", "cost": 3}
    escaped = "".join(f"\\u{ord(letter):04x}" for letter in name if ord(letter) < 0x10000)
    if name != "🚀":
        assert read(f'{{"{escaped}":"x","unwanted":"\\ud800"}}', reader) == {"tool_name": "x"}


@pytest.mark.parametrize("path", ["[0]", "[-1]", "[0].x", "$[0]['x']", "$", "x[0]", "x", "x.y[3][-2].z"])
@pytest.mark.parametrize("facet", ["tool_name", "event_type", "is_error", "cost", "actor"])
def test_a_path_is_read_or_not_there_whatever_the_payload_is(path: str, facet: str) -> None:
    """Among them paths into an array, and a payload that is none."""
    reader = with_paths(**{facet: (path,)})
    for payload in ("{}", "[]", "[[]]", '{"x":1}', '{"x":[]}', "1", '"x"', "null", "true", '[{"x":null}]'):
        reader.read(payload)
    whole = '"user"' if facet in ("tool_name", "event_type", "actor") else "3"
    assert len(read(at(parse_path(path).steps, whole), reader)) > 0


@pytest.mark.parametrize("path", ["a['\"']", "a[0]['\\n']", "a['\\\\'].b"])
def test_a_name_deep_inside_may_hold_any_character(path: str) -> None:
    steps = parse_path(path).steps
    assert read(at(steps, '"x"'), with_paths(tool_name=(path,), model=("b",))) == {"tool_name": "x"}


def test_a_payload_that_is_missing_tells_nothing() -> None:
    for reader in (PLAIN, OTHERWISE, with_paths()):
        assert reader.read(None) == ("",) * len(FACETS)


def test_without_paths_nothing_is_read() -> None:
    assert read('{"type":"error","role":"user","isError":true,"costUsd":3}', with_paths()) == {}


def test_a_name_that_a_payload_repeats_counts_where_it_stands_last() -> None:
    assert read('{"toolName":"a","toolName":"b"}') == {"tool_name": "b"}
    assert read('{"toolName":"a","tool\\u004eame":7}') == {}
    assert read('{"usage":{"inputTokens":3},"usage":{"inputTokens":4}}') == {"input_tokens": 4}
    assert read('{"usage":{"inputTokens":3},"usage":{}}') == {}
    assert read('{"x":"\\ud800","usage":{"inputTokens":3},"usage":{}}') == {}
    assert read('{"x":"\\ud800","toolName":"a","toolName":"b"}') == {"tool_name": "b"}
    assert read('{"error":{"message":"x"},"error":{}}') == {}
    assert read('{"error":{},"error":{"message":"x"}}') == {"outcome": "error"}


# ------------------------------------------------------------------ texts


ODD_TEXTS = [7, 1.5, True, False, None, [], ["x"], {}, {"x": "y"}, "", "\0", "a\0b", "\ud83d"]


@pytest.mark.parametrize("facet", ["event_type", "agent_name", "model", "tool_name", "status", "user_id"])
@pytest.mark.parametrize(
    "odd", [7, 1.5, True, False, None, [], ["x"], {}, {"x": "y"}, "", "\0", "a\0b", "\ud83d"]
)
def test_what_is_no_text_that_both_databases_store_is_passed_by(facet: str, odd: Any) -> None:
    reader = with_paths(**{facet: ("first", "second", "third")})
    assert told(reader, first=odd, second="sound", third="x") == {facet: "sound"}
    assert told(reader, first=odd, second=odd) == {}
    assert told(reader, first="", second=odd, third="sound") == {facet: "sound"}


@pytest.mark.parametrize(
    "text", [" ", "a\nb", "\t", "\\N", "\\", "null", "NaN", "🚀", "\x7f", "\u2028", "x" * 65]
)
def test_texts_stay_as_they_are(text: str) -> None:
    assert told(toolName=text, userId=text, status=text, type=text) == {
        "tool_name": text,
        "user_id": text,
        "status": text,
        "event_type": text,
    }


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("x" * 256, "x" * 256),
        ("x" * 257, "x" * 256),
        ("é" * 128, "é" * 128),
        ("é" * 129, "é" * 128),
        ("x" + "é" * 128, "x" + "é" * 127),
        ("🚀" * 64, "🚀" * 64),
        ("🚀" * 65, "🚀" * 64),
        ("xyz" + "🚀" * 64, "xyz" + "🚀" * 63),
    ],
)
def test_names_are_cut_at_256_bytes_between_letters_and_ids_are_hashed(text: str, cut: str) -> None:
    found = told(
        type=text,
        agentName=text,
        model=text,
        toolName=text,
        status=text,
        userId=text,
        toolCallId=text,
        errorType=text,
    )
    names = ("event_type", "agent_name", "model", "tool_name", "status", "error_type")
    assert {name: found[name] for name in names} == dict.fromkeys(names, cut)
    hashed = text if text == cut else f"sha256:{sha256(text.encode()).hexdigest()}"
    assert (found["user_id"], found["tool_call_id"]) == (hashed, hashed)


def test_a_long_word_is_known_by_all_of_it() -> None:
    reader = FacetReader(FacetsSettings(error_words=("x" * 300,), failed_words=("y" * 300,)))
    assert told(reader, type="x" * 300)["event_kind"] == "error"
    assert "event_kind" not in told(reader, type="x" * 299)
    assert told(reader, status="y" * 300)["outcome"] == "error"


# ------------------------------------------------------------------ numbers

MOST = {
    "durationMs": ("duration_ms", 10**12),
    "inputTokens": ("input_tokens", 10**12),
    "outputTokens": ("output_tokens", 10**12),
    "costUsd": ("cost", 10**9),
}


@pytest.mark.parametrize(
    "raw",
    [
        "true",
        "false",
        "null",
        '"5"',
        '"NaN"',
        '"Infinity"',
        '""',
        "[5]",
        '{"value":5}',
        "-1",
        "-0.5",
        "1e400",
        "-1e400",
        "9" * 400,
        "9" * 5000,
        str(2**63),
        str(2**64),
        str(-(2**63) - 1),
        "1e13",
        "1000000000001",
        "1000000000000.5",
    ],
)
@pytest.mark.parametrize("name", MOST)
def test_what_measures_nothing_is_no_number(raw: str, name: str) -> None:
    facet, _ = MOST[name]
    assert read(f'{{"{name}":{raw}}}') == {}
    reader = with_paths(**{facet: ("first", "second", "third")})
    assert read(f'{{"first":{raw},"second":7,"third":8}}', reader) == {facet: 7}
    assert read(f'{{"second":{raw},"third":8}}', reader) == {facet: 8}


@pytest.mark.parametrize("name", MOST)
def test_numbers_are_taken_up_to_what_a_measure_can_be(name: str) -> None:
    facet, most = MOST[name]
    for raw, number in ((str(most), most), (f"{most}.0", most), ("0", 0), ("-0", 0), ("0.0", 0), ("-0.0", 0)):
        assert read(f'{{"{name}":{raw}}}') == {facet: number}
    assert read(f'{{"{name}":{most + 1}}}') == {}
    for raw in ("5.0", "5", "50e-1", "0.5e1"):
        assert read(f'{{"{name}":{raw}}}') == {facet: 5}
    assert read(f'{{"{name}":1e-400}}') == {facet: 0}


def test_tokens_are_whole_and_durations_and_costs_need_not_be() -> None:
    assert told(inputTokens=5.5, outputTokens=0.1, durationMs=5.5, costUsd=0.1) == {
        "duration_ms": 5.5,
        "cost": 0.1,
    }
    row = PLAIN.read('{"inputTokens":5.0,"outputTokens":1e2}')
    assert [type(row[FACETS.index(name)]) for name in ("input_tokens", "output_tokens")] == [int, int]


def test_a_factor_is_applied_before_the_bounds_are_looked_at() -> None:
    reader = with_paths(
        cost=("milli * 0.001", "cost"), duration_ms=("hours * 3.6e6",), input_tokens=("k * 1e3",)
    )
    assert told(reader, milli=10**12, hours=2, k=1.5) == {
        "cost": 10**9,
        "duration_ms": 7.2e6,
        "input_tokens": 1500,
    }
    assert told(reader, milli=10**12 + 1, cost=3) == {"cost": 3}
    assert read(f'{{"milli":{"9" * 400},"cost":3,"hours":1e308,"k":{"9" * 400}}}', reader) == {"cost": 3}


def test_a_path_with_a_factor_wins_in_its_turn() -> None:
    reader = with_paths(duration_ms=("s * 1000", "ms", "h * 3.6e6", "us * 0.001"))
    assert told(reader, s=1, ms=2, h=3, us=4) == {"duration_ms": 1000}
    assert told(reader, s="1", ms=2, h=3, us=4) == {"duration_ms": 2}
    assert told(reader, ms=None, h=3, us=4) == {"duration_ms": 3 * 3.6e6}
    assert told(reader, us=4) == {"duration_ms": 0.004}


# ------------------------------------------------------------------ kinds, actors, outcomes

EVERY_WORD = [(key, word) for key in WORD_LISTS for word in getattr(DEFAULT, key)]


def spellings(word: str) -> list[str]:
    camel = "".join(part.capitalize() for part in word.split())
    joined = [word.replace(" ", "_"), word.replace(" ", "-"), camel, camel[:1].lower() + camel[1:]]
    return [word, word.upper(), *joined, f" {word}  ", f"_{word}-", f"\t{word}\n"]


@pytest.mark.parametrize(("key", "word"), EVERY_WORD)
def test_each_word_is_known_in_any_spelling(key: str, word: str) -> None:
    for spelt in spellings(word):
        if key in KINDS:
            assert told(type=spelt)["event_kind"] == KINDS[key], spelt
        elif key in ACTORS:
            assert told(role=spelt)["actor"] == ACTORS[key], spelt
            assert told(type=spelt)["actor"] == ACTORS[key], spelt
        else:
            assert told(status=spelt) == {"status": spelt, "outcome": "error"}, spelt


@pytest.mark.parametrize("word", ["", " ", "-", "usermessage2", "errors", "agent.message!x", "0", "fail"])
def test_other_words_stand_for_nothing(word: str) -> None:
    assert told(type=word, status=word, role=word).keys() <= {"event_type", "status"}


def test_words_of_signs_alone_are_told_apart() -> None:
    reader = FacetReader(FacetsSettings(error_words=("!!",), plan_words=("?",)))
    assert told(reader, type="!!")["event_kind"] == "error"
    assert told(reader, type="?")["event_kind"] == "plan"
    assert "event_kind" not in told(reader, type="!")


def test_of_a_word_in_several_lists_the_first_list_counts() -> None:
    reader = FacetReader(
        FacetsSettings(message_words=("x",), error_words=("x",), user_words=("x",), agent_words=("x",))
    )
    assert told(reader, type="x") == {"event_type": "x", "event_kind": "message", "actor": "user"}


@pytest.mark.parametrize(
    ("members", "kind", "actor"),
    [
        ({"type": "userMessage"}, "message", "user"),
        ({"type": "agent_message"}, "message", "agent"),
        ({"type": "message"}, "message", None),
        ({"type": "message", "role": "assistant"}, "message", "agent"),
        ({"type": "userMessage", "role": "assistant"}, "message", "agent"),
        ({"type": "userMessage", "role": "narrator"}, "message", "user"),
        ({"type": "plan"}, "plan", "agent"),
        ({"type": "toolCall"}, "tool_call", "agent"),
        ({"type": "toolCall", "role": "user"}, "tool_call", "user"),
        ({"type": "toolResult"}, "tool_result", "tool"),
        ({"type": "toolResult", "role": 7}, "tool_result", "tool"),
        ({"type": "error"}, "error", None),
        ({"type": "usage"}, "usage", None),
        ({"type": "unheard of"}, None, None),
        ({"type": "unheard of", "role": "user"}, None, "user"),
        ({"type": "unheard of", "role": "tool"}, None, "tool"),
        ({"role": "user"}, "message", "user"),
        ({"role": "AI"}, "message", "agent"),
        ({"role": "tool"}, "tool_result", "tool"),
        ({"role": "narrator"}, None, None),
        ({"type": "", "role": "user"}, "message", "user"),
        ({"type": 7, "role": "user"}, "message", "user"),
        ({"type": "user\0Message", "role": "tool"}, "tool_result", "tool"),
        ({"type": "\ud800", "role": "user"}, "message", "user"),
        ({}, None, None),
    ],
)
def test_kind_and_actor_are_told_by_the_type_and_the_role(
    members: dict[str, Any], kind: str | None, actor: str | None
) -> None:
    found = told(**members)
    assert (found.get("event_kind"), found.get("actor")) == (kind, actor)


def test_the_first_known_word_at_the_actors_paths_counts() -> None:
    reader = FacetReader(FacetsSettings(actor=("a", "b", "c.d")))
    assert told(reader, a="nobody", b={"x": 1}, c={"d": "bot"})["actor"] == "agent"
    assert told(reader, a="user", c={"d": "bot"})["actor"] == "user"
    assert told(reader, a="nobody", b="human", c={"d": "bot"})["actor"] == "user"


@pytest.mark.parametrize(
    ("raw", "failed"),
    [
        ("null", False),
        ("false", False),
        ("0", False),
        ("-0", False),
        ("0.0", False),
        ("-0.0e5", False),
        ('""', False),
        ("[]", False),
        ("{}", False),
        (" { } ", False),
        ("{\n}", False),
        ("true", True),
        ("1", True),
        ("-1", True),
        ("0.1", True),
        ("1e400", True),
        ('"x"', True),
        ('"false"', True),
        (r'"\u0000"', True),
        (r'"\ud800"', True),
        ("[0]", True),
        ("[null]", True),
        ('{"message":"x"}', True),
        ('{"type":null}', True),
        ('{"":{}}', True),
        (r'{"x":"\ud800"}', True),
        ('{"type":"T"}', True),
        ("9" * 60, True),
    ],
)
def test_an_error_is_neither_null_false_0_nor_empty(raw: str, failed: bool) -> None:
    """The same on paths that lead on and on paths that do not, and where msgspec gives up."""
    wanted = "error" if failed else None
    for name in ("isError", "is_error", "error"):
        assert read(f'{{"{name}":{raw}}}').get("outcome") == wanted
        assert read(f'{{"x":"\\udc00","{name}":{raw}}}').get("outcome") == wanted
        assert read(f'{{"type":"toolResult","{name}":{raw}}}')["outcome"] == (wanted or "ok")
    for path, payload in (
        ("a[1].b", f'{{"a":[0,{{"b":{raw}}}]}}'),
        ("['a\"b']", f'{{"a\\"b":{raw}}}'),
        ("$", raw),
    ):
        assert read(payload, with_paths(is_error=(path,))).get("outcome") == wanted


@pytest.mark.parametrize(
    ("members", "outcome", "error_type"),
    [
        ({"type": "error", "code": "X"}, "error", "X"),
        ({"type": "usage", "code": "X"}, None, None),
        ({"type": "toolResult", "code": "X"}, "ok", None),
        ({"type": "toolResult", "status": "failed", "code": "X"}, "error", "X"),
        ({"type": "toolResult", "status": "TIMED_OUT"}, "error", None),
        ({"type": "toolResult", "error": {"type": "T", "code": "C"}}, "error", "T"),
        ({"type": "toolResult", "error": {"code": "C"}}, "error", "C"),
        ({"type": "toolResult", "error": {"code": 404}}, "error", None),
        ({"type": "toolResult", "error": "broken"}, "error", None),
        ({"type": "toolCall", "status": "rejected"}, "error", None),
        ({"type": "taskStatus", "status": "completed"}, None, None),
        ({"type": "taskStatus", "status": "failed"}, "error", None),
        ({"role": "tool"}, "ok", None),
        ({"error.type": "T"}, "error", "T"),
        ({"attributes": {"error.type": "T"}}, "error", "T"),
        ({"isError": False, "errorType": "T"}, "error", "T"),
        ({}, None, None),
    ],
)
def test_outcome_and_error_type(members: dict[str, Any], outcome: str | None, error_type: str | None) -> None:
    found = told(**members)
    assert (found.get("outcome"), found.get("error_type")) == (outcome, error_type)


# ------------------------------------------------------------------ poison


@pytest.mark.parametrize(
    "unwanted",
    [
        r'"\ud800"',
        r'"\udc00\ud800"',
        r'"a\u0000b"',
        "1e400",
        "-1e999",
        "9" * 400,
        "9" * 5000,
        "[" * 997 + "]" * 997,
        '{"a":' * 997 + "1" + "}" * 997,
        '{"a":1,"a":2}',
        r'{"\ud800":1}',
        r'{"\u0000":1}',
        '""',
        "1.5000",
    ],
)
def test_what_stands_in_unwanted_places_spoils_nothing(unwanted: str) -> None:
    wanted = {
        "event_type": "usage",
        "event_kind": "usage",
        "agent_name": "a",
        "input_tokens": 5,
    }
    told_of = '"type":"usage","agentName":"a","usage":{"inputTokens":5,"y":7}'
    for payload in (
        f'{{"x":{unwanted},{told_of}}}',
        f'{{{told_of},"x":{unwanted}}}',
        f"{{{told_of.replace('7', unwanted)}}}",
    ):
        assert read(payload) == wanted


@pytest.mark.parametrize(
    "payload",
    [
        "null",
        "true",
        "false",
        "0",
        "-1.5",
        "1e400",
        "9" * 400,
        "9" * 5000,
        '""',
        '"userMessage"',
        r'"\ud800"',
        "[]",
        "{}",
        '[{"type":"userMessage"}]',
        "[" * 999 + "]" * 999,
        '{"type":' * 999 + "1" + "}" * 999,
        '[{"usage":' * 499 + "1" + "}]" * 499,
        '{"error":' * 999 + "{}" + "}" * 999,
        r'{"\ud800":1}',
        " {} ",
        "[null]",
    ],
)
def test_a_payload_of_any_kind_is_read_as_the_second_reader_reads_it(payload: str) -> None:
    for reader, settings in ((PLAIN, DEFAULT), (OTHERWISE, OTHER)):
        assert same(reader.read(payload), second_reading(payload, settings))


def test_a_text_that_no_database_gave_is_no_payload() -> None:
    for text in ("\ud800", '{"toolName":"\ud800"}', "", "{", '{"toolName":', "\0"):
        assert read(text) == {}
        columns = FacetReader(DEFAULT).read_all(['{"type":"userMessage"}', text, '{"userId":"u"}'])
        assert (list(columns[0]), list(columns[3])) == (["userMessage", "", ""], ["", "", "u"])


def test_what_upstream_decides_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Types and statuses are remembered up to a number, and long ones never."""
    assert facet_reader._MOST_WORDS <= 100_000
    monkeypatch.setattr(facet_reader, "_MOST_WORDS", 50)
    reader = FacetReader(DEFAULT)
    for number in range(200):
        assert told(
            reader, type=f"user message {number}", status=f"failed {number}", role=f"user {number}"
        ) == {
            "event_type": f"user message {number}",
            "status": f"failed {number}",
        }
    assert told(reader, type="userMessage", status="failed")["actor"] == "user"
    assert told(reader, type="note", role="human")["actor"] == "user"
    assert {len(reader._meanings[name]) for name in ("types", "statuses", "roles")} == {50}
    fresh = FacetReader(DEFAULT)
    told(fresh, type="x" * 300, status="y" * 300, role="z" * 300)
    told(fresh, type="\ud800", status="a\0")
    assert [list(fresh._meanings[name]) for name in ("types", "statuses", "roles")] == [[""], [""], []]


# ------------------------------------------------------------------ many payloads at once

WIDE = [json.dumps({f"n{number}_{at}": 1 for at in range(9)}) for number in range(30)]


def by_column(payloads: list[str | None], settings: FacetsSettings = DEFAULT) -> list[tuple[Any, ...]]:
    rows = [second_reading(payload, settings) for payload in payloads]
    return list(zip(*rows, strict=True)) if rows else [()] * len(FACETS)


def assert_read_alike(reader: FacetReader, payloads: list[str | None], settings: FacetsSettings) -> None:
    """Assert that many payloads at once are read as the second reader reads each."""
    columns, expected = reader.read_all(payloads), by_column(payloads, settings)
    assert len(columns) == len(FACETS)
    assert all(same(tuple(one), other) for one, other in zip(columns, expected, strict=True)), payloads


def test_no_payloads_have_no_facets() -> None:
    assert [list(column) for column in FacetReader(DEFAULT).read_all([])] == [[] for _ in FACETS]


def test_many_payloads_are_read_as_each_alone_whatever_was_read_before() -> None:
    """Names never met, payloads that only slices can be cut of, and none at all, anywhere in a page."""
    reader = FacetReader(DEFAULT)
    usual = [json.dumps({"type": "toolCall", "toolName": name, "x": [1]}) for name in ("a", "b", "é")]
    for odd in (
        None,
        '{"role":"user","new":1}',
        '{"type":"\\ud800","status":"failed"}',
        '{"cost":1e999,"agentName":"a"}',
        '{"userId":"u","a\\n":1}',
        '{"":1,"usage":{"inputTokens":7},"type":null}',
        '{"error":{},"type":"toolResult"}',
        '{"error":{"x":1},"type":"toolResult"}',
        '{"x":"\\ud800","type":"userMessage"}',
        "[]",
        "null",
    ):
        for page in ([odd], [odd, *usual], [*usual, odd], [usual[0], odd, odd, *usual[1:]]):
            assert_read_alike(reader, page, DEFAULT)
            assert_read_alike(FacetReader(DEFAULT), page, DEFAULT)


def test_names_once_met_are_read_without_the_slower_code(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = FacetReader(DEFAULT)
    payloads = ['{"type":"toolCall","x":1}', '{"type":"userMessage","userId":"u"}', None, "null"]
    assert_read_alike(reader, payloads, DEFAULT)
    monkeypatch.delattr(facet_reader.FacetCode, "facets_of")
    assert_read_alike(reader, payloads[::-1], DEFAULT)
    assert_read_alike(reader, ['{"x":1,"userId":"u","type":"plan"}', "{}"], DEFAULT)


@pytest.mark.parametrize(
    "odd",
    [*WIDE[:1], '{"a\\n":1}', '{"a\\"":1}', json.dumps({"x" * 300: 1})],
    ids=["too many", "a line's end", "a quote", "a long one"],
)
def test_where_names_are_too_many_or_odd_no_more_is_learnt_and_what_is_known_stays(
    odd: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Upstream decides how many names there are, and how long: neither memory nor time grows with them.

    And one odd event does not make all others slower.
    """
    assert facet_reader._MOST_NAMES <= 100
    monkeypatch.setattr(facet_reader, "_MOST_NAMES", 8)
    reader = FacetReader(DEFAULT)
    assert_read_alike(reader, ['{"type":"plan"}'], DEFAULT)
    assert_read_alike(reader, ['{"type":"plan"}', odd, '{"type":"userMessage"}'], DEFAULT)
    made: list[object] = []
    monkeypatch.setattr(facet_reader, "FacetCode", lambda *given: made.append(given))
    for payload in (*WIDE, '{"type":"plan"}', odd):
        assert_read_alike(reader, [payload], DEFAULT)
    assert made == []
    assert reader._quick is not None
    known = set(reader._quick.names or ())
    assert "type" in known
    assert len(known) <= 8
    assert not known & {"a\n", 'a"', "x" * 300}


def codes_made(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Return what the names will be of each code that is made from now on."""
    made: list[object] = []
    true = facet_reader.FacetCode

    def noted(*given: Any) -> Any:
        made.append(given[2:])
        return true(*given)

    monkeypatch.setattr(facet_reader, "FacetCode", noted)
    return made


def test_names_are_learnt_from_a_whole_page_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = codes_made(monkeypatch)
    reader = FacetReader(DEFAULT)
    page = [f'{{"type":"plan","n{number}":1}}' for number in range(20)]
    assert_read_alike(reader, page, DEFAULT)
    assert_read_alike(reader, [*page, '{"role":"user"}', '{"userId":"u"}'], DEFAULT)
    names = ["type", *(f"n{number}" for number in range(20))]
    assert made == [(names,), (), ([*names, "role", "userId"],)]


def test_nothing_is_learnt_where_payloads_are_read_slice_by_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    """An odd name behind a plain one: what is read so refuses no other names, and would pass them over."""
    made = codes_made(monkeypatch)
    settings = FacetsSettings(user_id=("who['a\"b']", "userId"))
    reader = FacetReader(settings)
    for page in (['{"who":{"x":1}}'], ['{"userId":"u"}'], ['{"who":{"a\\"b":"v"},"userId":"u"}', '{"n":1}']):
        assert_read_alike(reader, [*page], settings)
    assert made == [(["who"],), ()]


def test_threads_may_share_a_reader_while_it_learns() -> None:
    """One meets ever new names, so that nothing more is learnt, while others read what they have learnt."""
    reader = FacetReader(DEFAULT)
    pages = [
        [f'{{"type":"plan","userId":"u{at}","n{number % 70}":1}}' for at in range(3)] for number in range(280)
    ]
    with ThreadPoolExecutor(4) as threads:
        columns = list(threads.map(reader.read_all, pages))
    assert [[list(column) for column in each] for each in columns] == [
        [list(column) for column in by_column([*page])] for page in pages
    ]


# ------------------------------------------------------------------ columns and version


def test_what_is_read_is_what_is_stored() -> None:
    columns = [column.name for column in task_event.columns]
    assert FACETS == ALL_FACETS == tuple(columns[columns.index(FACETS[0]) : columns.index("facets_version")])
    assert len(PLAIN.read("{}")) == len(FACETS)


def test_the_version_stands_for_the_rules_and_the_configuration_but_not_for_the_time_zone() -> None:
    versions = {PLAIN.version}
    for name in (*TEXT_PATHS, *NUMBER_PATHS, *WORD_LISTS):
        for value in ((*getattr(DEFAULT, name), "another"), getattr(DEFAULT, name)[1:], ()):
            versions.add(FacetReader(FacetsSettings(**{name: value})).version)
    assert len(versions) >= 1 + 2 * len((*TEXT_PATHS, *NUMBER_PATHS, *WORD_LISTS))
    assert all(0 <= version < 2**31 for version in versions)
    assert FacetReader(FacetsSettings(time_zone="Asia/Kolkata")).version == PLAIN.version
    assert FacetReader(FacetsSettings()).version == PLAIN.version


def test_the_version_changes_with_the_order_of_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    turned = FacetReader(FacetsSettings(model=DEFAULT.model[::-1]))
    assert turned.version != PLAIN.version
    monkeypatch.setattr(facet_reader, "_EXTRACTOR", facet_reader._EXTRACTOR + 1)
    assert FacetReader(DEFAULT).version != PLAIN.version


# ------------------------------------------------------------------ any payload


def same(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    return one == other and [value == "" for value in one] == [value == "" for value in other]


def words_of(settings: FacetsSettings) -> list[str]:
    return [
        json.dumps(spelt)
        for key in WORD_LISTS
        for word in getattr(settings, key)
        for spelt in spellings(word)[:5]
    ]


_numbers = st.sampled_from(
    [
        "0",
        "1",
        "5",
        "5.0",
        "2.5",
        "-1",
        "-0",
        "1e3",
        "1e9",
        "1000000001",
        "1e12",
        "1000000000001",
        "1e400",
        "9" * 30,
        "9" * 5000,
        str(2**64),
        "true",
        "false",
        "null",
        '"7"',
        '"NaN"',
        '""',
    ]
)
_long = st.sampled_from(["x" * 64, "x" * 65, "x" * 256, "x" * 257, "é" * 129, "🚀" * 65]).map(json.dumps)


def wanted_payloads(settings: FacetsSettings) -> st.SearchStrategy[str]:
    """Draw payloads that hold something in wanted places, right or wrong, among other things."""
    ways = [
        parse_path(path).steps for facet in (*TEXT_PATHS, *NUMBER_PATHS) for path in getattr(settings, facet)
    ]
    names = sorted({step for way in ways for step in way if isinstance(step, str)})
    name = st.sampled_from(names).map(json.dumps) | st.sampled_from(['"x"', r'"\ud800"'])
    leaf = st.one_of(st.sampled_from(words_of(settings)), _numbers, _long, raw_json.strings)

    @st.composite
    def containers(draw: st.DrawFn, inner: st.SearchStrategy[str]) -> str:
        if draw(st.integers(0, 3)) == 0:
            return f"[{','.join(draw(st.lists(inner, max_size=3)))}]"
        return raw_json.members(draw, draw(st.lists(st.tuples(name, inner), max_size=5)))

    return containers(st.recursive(leaf, containers, max_leaves=4)) | raw_json.values


@given(wanted_payloads(DEFAULT))
@example('{"error":{},"type":"toolResult"}')
@example('{"error":{"type":{}},"type":"toolResult"}')
@example(r'{"type":"\ud800","event_type":"userMessage","status":"\u0000"}')
@example('{"inputTokens":1e400,"input_tokens":5.0,"usage":{"inputTokens":7}}')
def test_any_payload_is_read_as_the_second_reader_reads_it(payload: str) -> None:
    assert same(PLAIN.read(payload), second_reading(payload, DEFAULT))


@given(st.lists(st.lists(wanted_payloads(DEFAULT), max_size=4), max_size=3))
def test_any_payloads_are_read_together_as_each_alone(pages: list[list[str | None]]) -> None:
    reader = FacetReader(DEFAULT)
    for page in pages:
        assert_read_alike(reader, page, DEFAULT)


@given(st.lists(wanted_payloads(OTHER), max_size=6))
def test_any_payloads_are_read_together_so_under_another_configuration(page: list[str | None]) -> None:
    reader = FacetReader(OTHER)
    for _ in range(2):
        assert_read_alike(reader, page, OTHER)


@given(wanted_payloads(OTHER))
def test_any_payload_is_read_so_under_another_configuration(payload: str) -> None:
    assert same(OTHERWISE.read(payload), second_reading(payload, OTHER))


@given(raw_json.deep())
def test_a_payload_may_be_as_deep_as_it_likes(payload: str) -> None:
    assert same(PLAIN.read(payload), second_reading(payload, DEFAULT))


PLAIN_NAMES = ['"a"', '"b"', '""', '"é"', '"0"']
ODD_NAMES = [*PLAIN_NAMES, r'"\""', r'"\\"', r'"\n"']


@st.composite
def configurations(draw: st.DrawFn) -> FacetsSettings:
    """Draw paths of all forms over a few names; names that are hard to look for in half of them only."""
    name = st.sampled_from(draw(st.sampled_from([PLAIN_NAMES, ODD_NAMES])))
    step = st.one_of(name, name, st.sampled_from(["0", "1", "-1"])).map(lambda text: f"[{text}]")
    path = st.lists(step, max_size=3).map(lambda steps: "$" + "".join(steps))
    scaled = st.tuples(path, st.sampled_from(["", " * 2", " * 0.5"])).map("".join)
    return FacetsSettings(
        **{facet: tuple(draw(st.lists(path, max_size=2))) for facet in TEXT_PATHS},
        **{facet: tuple(draw(st.lists(scaled, max_size=2))) for facet in NUMBER_PATHS},
    )


def _object(parts: list[tuple[str, str]]) -> str:
    return "{" + ",".join(f"{name}:{value}" for name, value in parts) + "}"


_few = st.recursive(
    st.sampled_from(["1", "0", "2.5", '"user"', '"error"', '"x"', "null", "true", r'"\ud800"', '""']),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{','.join(items)}]")
        | st.lists(st.tuples(st.sampled_from(ODD_NAMES), inner), max_size=3).map(_object)
    ),
    max_leaves=8,
)


@given(configurations(), st.lists(_few, min_size=1, max_size=5))
def test_any_configuration_reads_any_payload_as_the_second_reader_does(
    settings: FacetsSettings, payloads: list[str]
) -> None:
    reader = FacetReader(settings)
    for payload in payloads:
        assert same(reader.read(payload), second_reading(payload, settings)), payload
    for _ in range(2):
        assert_read_alike(reader, [*payloads], settings)
