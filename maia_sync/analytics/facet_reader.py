"""Which facets does a payload have? Payload text in, the values of the facet columns out.

What a configuration's words mean, and what becomes of odd values; the rest is code made of its paths.
"""

from __future__ import annotations

import math
from functools import cached_property
from hashlib import sha256
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from maia_sync.analytics.facet_code import FacetCode
from maia_sync.analytics.payload_shape import is_empty_object, is_odd_name, names_of
from maia_sync.facet_settings import FACETS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from maia_sync.facet_settings import FacetsSettings
    from maia_sync.store.facets import FacetColumns, FacetRow

_EXTRACTOR = 1
"""Grows with each change of the rules below, so that `facets rebuild` finds the rows made by earlier ones."""
_MOST_BYTES = 256
_MOST_WORDS = 10_000
_MOST_NAMES = 64
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
    """Reads facets as a configuration wants them.

    It learns which names payloads have, wanted or not: what knows them all reads such payloads in half the
    time. One with a name never met is read by what knows no names, and taught from. Upstream decides how many
    names there are: once one is odd, or they are too many, no more is learnt.
    """

    def __init__(self, settings: FacetsSettings) -> None:
        self.version = _version_of(settings)
        self._settings = settings
        self._quick: FacetCode | None = None
        """What reads payloads with known names; None: no names are known."""
        self._learns = True
        self.told: set[str] = set()
        """Facets that any of many payloads has told so far."""

    def read(self, data: str | None) -> FacetRow:
        """Return a payload's facets in the order of FACETS, "" for what it does not tell; never raises."""
        return self._any.facets_of(data)

    def read_all(self, payloads: Sequence[str | None]) -> FacetColumns:
        """Return the facets of many payloads, column by column; never raises."""
        told: list[Any] = []
        left = iter(payloads)
        quick = self._quick  # threads share the reader: another may have learnt meanwhile
        if quick is None and self._learns:
            quick = self._learn((), payloads)
        while (odd := (quick or self._any).tell(left, told)) is not None:
            told += self._any.facets_of(odd)
            if quick is not None and self._learns and not set(names_of(odd)).issubset(quick.names or ()):
                quick = self._learn(quick.names or (), payloads)
        columns = tuple(told[at :: len(FACETS)] for at in range(len(FACETS)))
        for name, column in zip(FACETS, columns, strict=True):
            if name not in self.told and column.count("") < len(column):
                self.told.add(name)
        return columns

    def _learn(self, names: Iterable[str], payloads: Iterable[str | None]) -> FacetCode | None:
        """Read payloads with these names and those of some payloads quickly from now on, if that can be."""
        known = dict.fromkeys(names)
        for name in chain.from_iterable(names_of(payload or "") for payload in payloads):
            if name in known:
                continue
            if len(known) >= _MOST_NAMES or len(name) > _MOST_BYTES or is_odd_name(name):
                self._learns = False
                break
            known[name] = None
        if known.keys() != set(names):
            code = FacetCode(self._settings, self._meanings, list(known))
            if code.is_quick:
                self._quick = code
            else:
                self._learns = False
        return self._quick

    @cached_property
    def _meanings(self) -> dict[str, Any]:
        """What the code refers to."""
        return {
            "types": _Types(self._settings),
            "statuses": _Statuses(self._settings),
            "roles": _Roles(self._settings),
            "kind_of_actor": _KIND_OF_ACTOR,
            "text": _text,
            "number": _number,
            "tells": _tells,
        }

    @cached_property
    def _any(self) -> FacetCode:
        """What reads any payload."""
        return FacetCode(self._settings, self._meanings)


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


class _Meanings(dict[str, tuple[Any, ...]]):
    """What each word met so far comes to: the text to store, and what it stands for."""

    def first(self, values: Sequence[Any]) -> tuple[Any, ...]:
        """Return what the first value comes to that is a text which both databases can store."""
        word = next((value for value in values if _text((value,), "name")), "")
        found = self.get(word)
        if found is None:
            found = (_text((word,), "name"), *self._meant(word))
            if len(self) < _MOST_WORDS and len(word) <= _MOST_BYTES:  # upstream decides how many there are
                self[word] = found
        return found

    def _meant(self, word: str) -> tuple[Any, ...]:
        raise NotImplementedError


class _Types(_Meanings):
    """Of event types: the kind, the actor."""

    def __init__(self, settings: FacetsSettings) -> None:
        super().__init__({"": ("", "", "")})
        self._kinds = _Words(settings, _KINDS)
        self._actors = _Words(settings, _ACTORS)

    def _meant(self, word: str) -> tuple[str, str]:
        kind = self._kinds.meaning(word)
        return kind, self._actors.meaning(word) or _ACTOR_OF_KIND.get(kind, "")


class _Statuses(_Meanings):
    """Of statuses: whether one tells of a failure."""

    def __init__(self, settings: FacetsSettings) -> None:
        super().__init__({"": ("", False)})
        self._failed = _Words(settings, (("failed", "failed_words"),))

    def _meant(self, word: str) -> tuple[bool]:
        return (bool(self._failed.meaning(word)),)


class _Roles(dict[str, str]):
    """Whose events those of each role met so far are: one of _ACTORS, or ""."""

    def __init__(self, settings: FacetsSettings) -> None:
        super().__init__()
        self._actors = _Words(settings, _ACTORS)

    def __missing__(self, role: str) -> str:
        actor = self._actors.meaning(role)
        if len(self) < _MOST_WORDS and len(role) <= _MOST_BYTES:
            self[role] = actor
        return actor


def _letters(word: str) -> str:
    return "".join(character for character in word.casefold() if character.isalnum()) or word


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
) -> float | Literal[""]:
    """Return the first value that is a number within bounds, times its factor, or ""."""
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
    return ""


def _tells(values: Sequence[Any], ways: Sequence[tuple[str | int, ...]], data: str) -> bool:
    """Tell whether one of the values is neither null, false, 0 nor empty, an object included."""
    return any(
        bool(value) and not (isinstance(value, msgspec.Struct) and is_empty_object(value, data, way))
        for value, way in zip(values, ways, strict=True)
    )
