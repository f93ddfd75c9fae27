"""Which facets does a payload have? Payload text in, the values of the facet columns out.

The paths of the configuration become one function, written and compiled once as `dataclasses` does: it
runs for every event of every backfill, and a loop over some hundred paths would cost several times the
rest. What is odd (a value of another type, a long text, an unknown word) leaves that way for a slower one.
"""

from __future__ import annotations

import math
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from maia_sync.analytics.payload_shape import PayloadReader, Shape, is_empty_object
from maia_sync.facet_settings import FACETS, NUMBER_PATHS, TEXT_PATHS
from maia_sync.json_path import parse_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from maia_sync.facet_settings import FacetsSettings
    from maia_sync.json_path import Path

_EXTRACTOR = 1
"""Grows with each change of the rules below, so that `facets rebuild` finds the rows made by earlier ones."""
_MOST_BYTES = 256
_AT_ONCE = 64
_MOST = {"duration_ms": 10**12, "input_tokens": 10**12, "output_tokens": 10**12, "cost": 10**9}
"""What is beyond measures nothing: 30 years, a trillion tokens. It also keeps sums within 64 bits."""
_WHOLE = frozenset(("input_tokens", "output_tokens"))
_IDS = frozenset(("user_id", "tool_call_id"))
_MOST_WORDS = 10_000
_KINDS: Final = (
    ("message", "message_words"),
    ("plan", "plan_words"),
    ("tool_call", "tool_call_words"),
    ("tool_result", "tool_result_words"),
    ("error", "error_words"),
    ("usage", "usage_words"),
    ("status", "status_words"),
)
_ACTORS: Final = (("user", "user_words"), ("agent", "agent_words"), ("tool", "tool_words"))
_ACTOR_OF_KIND: Final = {"plan": "agent", "tool_call": "agent", "tool_result": "tool"}
_KIND_OF_ACTOR: Final = {"user": "message", "agent": "message", "tool": "tool_result"}


class FacetReader:
    """Reads facets as a configuration wants them."""

    def __init__(self, settings: FacetsSettings) -> None:
        self.version = _version_of(settings)
        self.read = _compile(settings)
        """Return a payload's facets in the order of FACETS, "" for what it does not tell; never raises.

        The compiled function itself: a method around it would cost a sixth of it for every event.
        """


def _version_of(settings: FacetsSettings) -> int:
    """Return a number in 31 bits that stands for the rules and the configuration together."""
    said = {name: getattr(settings, name) for name in settings.__struct_fields__ if name != "time_zone"}
    return int.from_bytes(sha256(msgspec.json.encode([_EXTRACTOR, said])).digest()[:4]) >> 1


class _Words:
    """What words stand for, by their letters and digits alone."""

    def __init__(self, settings: FacetsSettings, lists: Iterable[tuple[str, str]]) -> None:
        self._meanings: dict[str, str] = {}
        for meaning, name in lists:
            for word in getattr(settings, name):
                self._meanings.setdefault(_letters(word), meaning)

    def meaning(self, word: str) -> str:
        """Return what a word stands for, or ""."""
        return self._meanings.get(_letters(word), "")


class _Types(dict[str, tuple[str, str, str] | None]):
    """What each event type met so far comes to: the text to store, the kind, the actor; None: no text."""

    def __init__(self, settings: FacetsSettings) -> None:
        super().__init__({"": ("", "", "")})
        self._kinds = _Words(settings, _KINDS)
        self._actors = _Words(settings, _ACTORS)

    def __missing__(self, event_type: str) -> tuple[str, str, str] | None:
        stored = _text((event_type,), "name")
        if not stored:
            return None
        kind = self._kinds.meaning(event_type)
        actor = self._actors.meaning(event_type) or _ACTOR_OF_KIND.get(kind, "")
        found = (stored, kind, actor)
        if len(self) < _MOST_WORDS and len(event_type) <= _MOST_BYTES:  # upstream decides how many there are
            self[event_type] = found
        return found


class _Statuses(dict[str, tuple[str, bool] | None]):
    """What each status met so far comes to: the text to store, and whether it tells of a failure."""

    def __init__(self, settings: FacetsSettings) -> None:
        super().__init__({"": ("", False)})
        self._failed = _Words(settings, (("failed", "failed_words"),))

    def __missing__(self, status: str) -> tuple[str, bool] | None:
        stored = _text((status,), "name")
        if not stored:
            return None
        found = (stored, bool(self._failed.meaning(status)))
        if len(self) < _MOST_WORDS and len(status) <= _MOST_BYTES:
            self[status] = found
        return found


def _letters(word: str) -> str:
    return "".join(character for character in word.casefold() if character.isalnum()) or word


def _first_text(values: Sequence[Any]) -> str:
    """Return the first value that is a text which both databases can store, whole, or ""."""
    return next((value for value in values if _text((value,), "name")), "")


def _text(values: Sequence[Any], kind: Literal["id", "name"]) -> str:
    """Return the first value that is a text, as both databases can store it and as long as fits, or ""."""
    for value in values:
        if type(value) is str and value and "\0" not in value:
            try:
                encoded = value.encode()
            except UnicodeEncodeError:
                continue
            if len(encoded) <= _MOST_BYTES:
                return value
            if kind == "id":
                return f"sha256:{sha256(encoded).hexdigest()}"
            return encoded[:_MOST_BYTES].decode(errors="ignore")
    return ""


def _number(
    values: Sequence[Any], factors: Sequence[float | None], most: int, *, whole: bool
) -> float | None:
    """Return the first value that is a number within bounds, times its factor."""
    for value, factor in zip(values, factors, strict=True):
        if type(value) is not int and type(value) is not float:
            continue
        try:
            number = value if factor is None else value * factor
        except OverflowError:
            continue
        if not 0 <= number <= most:  # also NaN
            continue
        if not whole:
            return float(number)
        if number == math.floor(number):
            return int(number)
    return None


def _actor(values: Sequence[Any], words: _Words) -> str:
    """Return whose event it is, as the first value says that does, or ""."""
    return next((found for value in values if type(value) is str and (found := words.meaning(value))), "")


def _tells(values: Sequence[Any], ways: Sequence[tuple[str | int, ...]], data: str) -> bool:
    """Tell whether one of the values is neither null, false, 0 nor empty, an object included."""
    return any(
        bool(value) and not (isinstance(value, msgspec.Struct) and is_empty_object(value, data, way))
        for value, way in zip(values, ways, strict=True)
    )


class _Code:
    """The source of a function that reads a payload's facets, and what it refers to."""

    def __init__(self, settings: FacetsSettings) -> None:
        self.paths = {
            name: [parse_path(text) for text in getattr(settings, name)]
            for name in (*TEXT_PATHS, *NUMBER_PATHS)
        }
        shape = Shape(path.steps for each in self.paths.values() for path in each)
        self.scope: dict[str, Any] = {"read": PayloadReader(shape).read}
        self._expressions: dict[tuple[str | int, ...], str] = {(): "found"}
        self._is_deep: list[str] = []
        self._root = self._open(shape, (), "found")

    def source(self) -> str:
        """Return the function: most payloads are flat, and then the paths that lead deeper are passed by."""
        shallow, deeper = self._root[:2], self._root[2:]
        return "\n".join(
            [
                "def facets_of(data):",
                "    found = None if data is None else read(data)",
                *_indented(1, shallow),
                f"    if {' or '.join(self._is_deep) or 'False'}:",
                *_indented(2, deeper),
                *_indented(2, self._body(deep=True)),
                *_indented(1, self._body(deep=False)),
            ]
        )

    def _open(self, shape: Shape, steps: tuple[str | int, ...], value: str) -> list[str]:
        """Return the lines that take a value apart, and note an expression for each part that is wanted."""
        number = len(self.scope)
        self.scope |= {f"Shape{number}": shape.struct, f"nothing{number}": shape.struct()}
        lines = [
            f"o{number} = {value}",
            f"if type(o{number}) is not Shape{number}: o{number} = nothing{number}",
        ]
        for name, child in shape.named.items():
            inner = self._expressions[*steps, name] = f"o{number}.{shape.fields[name]}"
            if child.named or child.indexed:
                lines += self._open(child, (*steps, name), inner)
                if not steps:
                    self._is_deep.append(f"{inner} is not None")
        for index, child in shape.indexed.items():
            item = f"i{number}_{len(lines)}"
            lines.append(f"{item} = item({value}, {index})")
            self._expressions[*steps, index] = item
            lines += self._open(child, (*steps, index), item)
        if shape.indexed and not steps:
            self._is_deep.append("type(found) is list")
        return lines

    def _found(self, name: str, *, deep: bool) -> list[str]:
        return [self._expressions[path.steps] for path in self._paths(name, deep=deep)]

    def _paths(self, name: str, *, deep: bool) -> list[Path]:
        """Return the paths of a facet; those that lead into a flat object alone, or all."""
        return [
            path
            for path in self.paths[name]
            if deep or not path.steps or (len(path.steps) == 1 and isinstance(path.steps[0], str))
        ]

    def _body(self, *, deep: bool) -> list[str]:
        lines: list[str] = []
        for name in ("user_id", "agent_name", "model", "tool_name", "tool_call_id"):
            lines += self._text(name, deep=deep)
        for name in NUMBER_PATHS:
            lines += self._number(name, deep=deep)
        roles = self._found("actor", deep=deep)
        marks = self._found("is_error", deep=deep)
        ways = tuple(path.steps for path in self._paths("is_error", deep=deep))
        self.scope[f"ways_{deep}"] = ways
        told = f"({' or '.join(marks)}) and tells({_tuple(marks)}, ways_{deep}, data)" if marks else "False"
        return [
            *lines,
            *self._word("event_type", "types", deep=deep),
            "event_type, event_kind, actor = told",
            f"if {' or '.join(roles) or False}:",
            f"    actor = whose({_tuple(roles)}, actors) or actor",
            "    if not event_type: event_kind = kind_of_actor.get(actor, '')",
            *self._word("status", "statuses", deep=deep),
            "status, failed = told",
            "outcome, error_type = 'ok' if event_kind == 'tool_result' else '', ''",
            f"if event_kind == 'error' or failed or {told}:",
            "    outcome = 'error'",
            *_indented(1, self._text("error_type", deep=deep)),
            f"return {_tuple(_told(name) for name in FACETS)}",
        ]

    def _word(self, name: str, meanings: str, *, deep: bool) -> list[str]:
        found = self._found(name, deep=deep)
        first = f"{meanings}[first_text({_tuple(found)})]"
        return [
            f"{name} = {' or '.join([*found, repr('')])}",
            f"told = {meanings}[{name}] if type({name}) is str else {first}",
            f"if told is None: told = {first}",
        ]

    def _text(self, name: str, *, deep: bool) -> list[str]:
        found = self._found(name, deep=deep)
        kind = "id" if name in _IDS else "name"
        odd = f"type({name}) is not str or len({name}) > {_AT_ONCE} or not {name}.isprintable()"
        return [
            f"{name} = {' or '.join([*found, repr('')])}",
            f"if {name} and ({odd}): {name} = text({_tuple(found)}, {kind!r})",
        ]

    def _number(self, name: str, *, deep: bool) -> list[str]:
        found = self._found(name, deep=deep)
        factors = tuple(path.factor for path in self._paths(name, deep=deep))
        plain = next((at for at, factor in enumerate(factors) if factor is not None), len(factors))
        slow = f"{name} = number({_tuple(found)}, {factors!r}, {_MOST[name]}, whole={name in _WHOLE})"
        return [
            f"{name} = {found[0] if plain else None}",
            *(f"if {name} is None: {name} = {each}" for each in found[1:plain]),
            f"if {name} is None:",
            f"    if {' or '.join(f'{each} is not None' for each in found[plain:]) or False}: {slow}",
            f"elif type({name}) is not int or not 0 <= {name} <= {_MOST[name]}: {slow}",
        ]


def _indented(levels: int, lines: Iterable[str]) -> list[str]:
    return [f"{'    ' * levels}{line}" for line in lines]


def _told(name: str) -> str:
    return f"'' if {name} is None else {name}" if name in NUMBER_PATHS else name


def _tuple(expressions: Iterable[str]) -> str:
    return f"({' '.join(f'{each},' for each in expressions)})"


def _item(value: Any, index: int) -> Any:
    return value[index] if type(value) is list and -len(value) <= index < len(value) else None


def _compile(settings: FacetsSettings) -> Callable[[str | None], tuple[Any, ...]]:
    code = _Code(settings)
    source = code.source()
    scope = {
        **code.scope,
        "types": _Types(settings),
        "statuses": _Statuses(settings),
        "actors": _Words(settings, _ACTORS),
        "kind_of_actor": _KIND_OF_ACTOR,
        "text": _text,
        "first_text": _first_text,
        "number": _number,
        "whose": _actor,
        "item": _item,
        "tells": _tells,
    }
    exec(source, scope)  # noqa: S102 - of our own words alone: names of payloads stand in no line of it
    made: Callable[[str | None], tuple[Any, ...]] = scope["facets_of"]
    return made
