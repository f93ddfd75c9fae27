"""Do any file and any environment come to settings, or to sentences that name each place? (P9)

Files are written as text and read from disk, as an operator's are.
"""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from maia_sync.config import load_settings, variable_name
from maia_sync.config_keys import KEYS
from maia_sync.errors import ConfigError
from maia_sync.settings import Secret, Settings

if TYPE_CHECKING:
    from pathlib import Path

Key = tuple[str, str]
ALL_KEYS: list[Key] = [(section, name) for section, names in KEYS.items() for name in names]
CANARY = "c4nary-Xq7"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where every example writes its file."""
    return tmp_path_factory.mktemp("config") / "maia.toml"


# ------------------------------------------------------------------ TOML by hand


def toml_text(text: str) -> str:
    """Spell a basic string of TOML."""
    spelt = "".join(
        char if char.isprintable() and char not in '"\\' else f"\\U{ord(char):08x}" for char in text
    )
    return f'"{spelt}"'


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
looks_right = st.sampled_from([
    "30s", "1.5h", "0 3 * * sun", "eu1", "auto", "https://x.example", "http://127.0.0.1:1", "sqlite:///x.db",
    "postgresql://u@h/d", "127.0.0.1:0", "full", "json", "debug", "token-1", "~/x",
    "~no-one/x", "/no/such", " ", "\0", "1e3",
])  # fmt: skip
scalars = st.one_of(
    st.integers(-(2**63), 2**63 - 1).map(str),
    st.integers(-1, 1100).map(str),
    st.floats().map(lambda number: repr(number).replace("e", "E")),
    st.sampled_from(
        [
            "true",
            "false",
            "0x1F",
            "1_000",
            "-0.0",
            "inf",
            "-nan",
            "2026-01-05",
            "08:00:00",
            "2026-01-05T08:00:00Z",
        ]
    ),
    texts.map(toml_text),
    looks_right.map(toml_text),
)
toml = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]")
        | st.dictionaries(texts.map(toml_text), inner, max_size=2).map(
            lambda table: "{" + ", ".join(f"{name} = {value}" for name, value in table.items()) + "}"
        )
    ),
    max_leaves=5,
)
"""Any value of TOML, spelt."""


def load(file: Path, content: str | bytes, environ: dict[str, str]) -> Settings | list[str]:
    """Return the settings, or the problems."""
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    try:
        return load_settings(file, environ)
    except ConfigError as error:
        return list(error.problems)


def value_of(settings: Settings, key: Key) -> Any:
    return getattr(getattr(settings, key[0]), key[1])


# ------------------------------------------------------------------ whatever stands there


@given(key=st.sampled_from(ALL_KEYS), value=toml)
def test_any_value_at_any_key_is_a_setting_or_a_problem_that_names_file_and_key(
    file: Path, key: Key, value: str
) -> None:
    loaded = load(file, f"[{key[0]}]\n{key[1]} = {value}\n", {})
    if isinstance(loaded, Settings):
        return
    assert loaded
    for problem in loaded:  # archive.retention may be too short, and lack what it needs beside it
        assert problem.startswith(f"{file}: {'.'.join(key)}: expected ")
        assert problem.isprintable()
        assert len(problem) < len(str(file)) + 500


@given(st.lists(st.tuples(st.sampled_from(ALL_KEYS), toml), max_size=6, unique_by=lambda pair: pair[0]))
def test_many_wrong_values_are_each_told(file: Path, given: list[tuple[Key, str]]) -> None:
    alone = {key: load(file, f"[{key[0]}]\n{key[1]} = {value}\n", {}) for key, value in given}
    by_section: dict[str, list[str]] = {}
    for (section, name), value in given:
        by_section.setdefault(section, []).append(f"{name} = {value}")
    text = "".join(f"[{section}]\n" + "\n".join(lines) + "\n" for section, lines in by_section.items())
    together = load(file, text, {})
    wrong = [problem for loaded in alone.values() if isinstance(loaded, list) for problem in loaded]
    if isinstance(together, Settings):
        told = []
        for key, loaded in alone.items():
            if isinstance(loaded, Settings):
                assert value_of(together, key) == value_of(loaded, key)
    else:
        told = together
    # Rules over several keys may add a problem, or find one healed by another key.
    shared = re.compile(r"beside it|one kind of credential|no longer than|https://|only with")
    assert {problem for problem in wrong if not shared.search(problem)} <= set(told)
    assert all(problem in wrong or shared.search(problem) for problem in told)


@given(key=st.sampled_from(ALL_KEYS), text=texts | looks_right | st.text("0123456789smhd.[]\"', "))
def test_any_variable_is_a_setting_or_a_problem_that_names_it(file: Path, key: Key, text: str) -> None:
    loaded = load(file, "", {variable_name(key): text})
    if isinstance(loaded, Settings):
        return
    assert loaded
    for problem in loaded:
        assert problem.startswith(f"environment: {variable_name(key)}: expected ")
        assert problem.isprintable()


@given(name=st.text(min_size=1, max_size=12), section=st.sampled_from([*KEYS, None]), value=toml)
def test_any_other_name_is_a_problem_that_names_the_file(
    file: Path, name: str, section: str | None, value: str
) -> None:
    assume(name not in (KEYS if section is None else KEYS[section]))
    assume(all(not "\ud800" <= char <= "\udfff" for char in name))
    head = "" if section is None else f"[{section}]\n"
    loaded = load(file, f"{head}{toml_text(name)} = {value}\n", {})
    assert isinstance(loaded, list)
    where = f"{file}: " if section is None else f"{file}: {section}."
    assert loaded[0].startswith(where)
    assert loaded[0].isascii() or loaded[0].isprintable()


@given(st.text(), st.binary(max_size=80), st.data())
def test_any_bytes_as_a_file_are_settings_or_problems_that_name_it(
    file: Path, text: str, noise: bytes, data: st.DataObject
) -> None:
    lines = b'[api]\npage_size = 5\n[auth]\ntoken = "t"\n[schedule]\npoll = "30s"\n'
    at = data.draw(st.integers(0, len(lines)))
    for content in (noise, text.encode("utf-8", "surrogatepass"), lines[:at] + noise + lines[at:]):
        loaded = load(file, content, {})
        if not isinstance(loaded, Settings):
            assert loaded
            assert all(problem.startswith(f"{file}: ") for problem in loaded)


# ------------------------------------------------------------------ what is right

VALUES: dict[Key, st.SearchStrategy[Any]] = {
    ("api", "region"): st.sampled_from(["eu1", "us1"]),
    ("api", "page_size"): st.integers(1, 1000),
    ("api", "concurrency"): st.integers(1, 256),
    ("api", "retries"): st.integers(0, 20),
    ("api", "requests_per_second"): st.floats(0.001, 1e6),
    ("api", "allow_insecure_http"): st.booleans(),
    ("api", "timeout"): st.floats(0.001, 1e6),
    ("schedule", "turn_pages"): st.integers(1, 1_000_000),
    ("schedule", "lease"): st.floats(5, 1e6),
    ("schedule", "discovery_command"): st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6), max_size=3
    ).map(lambda words: ["cmd", *words]),
    ("auth", "token"): st.text(
        st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=20
    ),
    ("log", "level"): st.sampled_from(["debug", "info", "warning", "error"]),
}
"""Some keys of each kind, and values that they take."""


@st.composite
def right_values(draw: st.DrawFn) -> tuple[Key, Any, Any]:
    """Choose a key and two values that it takes."""
    key = draw(st.sampled_from(sorted(VALUES)))
    return key, draw(VALUES[key]), draw(VALUES[key])


def as_toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return toml_text(value)
    return "[" + ", ".join(map(toml_text, value)) + "]" if isinstance(value, list) else repr(value)


def as_variable(value: Any) -> str:
    return json.dumps(value) if isinstance(value, list | bool) else str(value)


def as_setting(value: Any, key: Key) -> Any:
    if key == ("auth", "token"):
        return Secret(value)
    return tuple(value) if isinstance(value, list) else value


@given(right_values())
def test_a_right_value_means_the_same_in_the_file_and_in_the_environment_which_wins(
    file: Path, chosen: tuple[Key, Any, Any]
) -> None:
    key, one, other = chosen
    text = f"[{key[0]}]\n{key[1]} = {as_toml(one)}\n"
    from_file = load(file, text, {})
    assert isinstance(from_file, Settings), from_file
    assert value_of(from_file, key) == as_setting(one, key)
    assert load(file, "", {variable_name(key): as_variable(one)}) == from_file
    both = load(file, text, {variable_name(key): as_variable(other)})
    assert isinstance(both, Settings)
    assert value_of(both, key) == as_setting(other, key)
    assert load(file, text, {variable_name(key): ""}) == from_file


@given(chosen=right_values(), wrong=toml)
def test_the_environment_wins_over_whatever_the_file_says(
    file: Path, chosen: tuple[Key, Any, Any], wrong: str
) -> None:
    key, value, _ = chosen
    environ = {variable_name(key): as_variable(value)}
    assert load(file, f"[{key[0]}]\n{key[1]} = {wrong}\n", environ) == load(file, "", environ)


UNITS = {
    "ms": Decimal("0.001"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
    "d": Decimal(86_400),
    "": Decimal(1),
}


@given(
    number=st.from_regex(r"[0-9]{1,9}(\.[0-9]{1,9})?", fullmatch=True),
    unit=st.sampled_from(sorted(UNITS)),
    blank=st.sampled_from(["", " "]),
)
def test_a_duration_is_its_number_times_its_unit_or_refused_for_its_size(
    file: Path, number: str, unit: str, blank: str
) -> None:
    seconds = Decimal(number) * UNITS[unit]
    text = f"{number}{blank if unit else ''}{unit}"
    for loaded in (
        load(file, f'[api]\ntimeout = "{text}"\n', {}),
        load(file, "", {"MAIA_SYNC_API__TIMEOUT": text}),
    ):
        if not 0 < seconds <= 3650 * 86_400:
            assert isinstance(loaded, list)
        else:
            assert isinstance(loaded, Settings)
            assert math.isclose(loaded.api.timeout, seconds, rel_tol=1e-12)


# ------------------------------------------------------------------ what nobody may see


HIDDEN = [key for key in ALL_KEYS if KEYS[key[0]][key[1]].hidden]
shapes = st.sampled_from([
    "%s", " %s", "%s\n", "https://%s", "https://u:%s@h", "postgres://u:%s@h@/d", "postgresql://u:p@h:%s/d",
    "sqlite:///%s?x", '["%s"', "'%s", "http://h?%s", "a b %s", "\x00%s",
])  # fmt: skip


@given(key=st.sampled_from(HIDDEN), shape=shapes, in_list=st.booleans())
def test_no_problem_shows_the_value_of_a_key_that_may_hold_a_secret(
    file: Path, key: Key, shape: str, in_list: bool
) -> None:
    value = shape % CANARY
    spelt = f"[{toml_text(value)}, 1]" if in_list else toml_text(value)
    environ = {} if "\0" in value else {variable_name(key): value}
    for loaded in (load(file, f"[{key[0]}]\n{key[1]} = {spelt}\n", {}), load(file, "", environ)):
        if isinstance(loaded, list):
            assert CANARY not in " ".join(loaded)
