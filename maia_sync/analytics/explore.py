"""Which paths occur in payloads, how often, and with which types? Counted in bounded memory.

A payload is somebody else's text: any JSON value, however deep, wide or oddly spelt. Only its outline is
looked at: the first levels of it, the first item of each array, a bounded number of places. Where distinct
paths become too many (ids used as names), the rare ones are forgotten, and the report says so. No value is
kept, but for the words found where an event's type, role or status is likely told.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from maia_sync.analytics.naming import looks_like_word, may_hold_types, may_hold_words
from maia_sync.analytics.word_sorting import tells_a_role
from maia_sync.json_path import parse_path
from maia_sync.maia.json_slices import MalformedJson, end_of_value, members_of, skip_space

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Kind = Literal["string", "integer", "number", "boolean", "null", "object", "array"]
"""A JSON type; `integer` is a number without fraction and exponent."""
Steps = tuple[str | int, ...]

MOST_STEPS = 6
MOST_PLACES = 5_000
"""So many places of one payload are looked at, the outer ones first."""
LONGEST_NAME = 120
"""A member with a longer name is passed over."""
MOST_PATHS = 10_000
"""So many distinct paths are kept when there are twice as many."""
MOST_LISTED = 1_000
MOST_WORDS = 50
"""Where there are more distinct words, they are no types, roles or statuses."""
_MOST_WORD_PATHS = 250
_FEW_PAYLOADS = 20


class ListedPath(msgspec.Struct, frozen=True, kw_only=True):
    """A path, in how many payloads it occurs, and in how many of them with which type."""

    steps: Steps
    payloads: int
    types: dict[Kind, int]


class ListedType(msgspec.Struct, frozen=True, kw_only=True):
    """The payloads of one event type, or those without a known one, and their paths by frequency."""

    word: str | None
    payloads: int
    paths: list[ListedPath]


class ListedWords(msgspec.Struct, frozen=True, kw_only=True):
    """The distinct words found at one path, with the number of payloads of each; frequent ones first."""

    steps: Steps
    words: dict[str, int]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a number of payloads look like. Nothing in it is a value, but for words."""

    payloads: int
    """Those whose outline was counted."""
    absent: int
    """Events without data."""
    unreadable: int
    """Texts that are no JSON."""
    cut: int
    """Payloads of which only a part was looked at, as they have too many places."""
    event_types: list[ListedType]
    """By frequency."""
    paths: list[ListedPath]
    """Of all payloads, by frequency."""
    words: list[ListedWords]
    paths_left_out: int
    """About how many rarer paths are not in `paths`; if it is not 0, frequencies of rare paths may be low."""


def explore(payloads: Iterable[str | None], event_type_paths: Sequence[str]) -> Report:
    """Return what these payloads look like; None stands for an event without data.

    The type of an event is the text that the first of `event_type_paths` leads to. Raises ValueError for
    what is no path.
    """
    tally = _Tally([parse_path(text).steps for text in event_type_paths])
    for payload in payloads:
        tally.add(payload)
    return tally.report()


class _Words:
    """Counts the words at one place, until they turn out to be something else."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.others = 0

    def add(self, text: str) -> str | None:
        """Count a text; return it if it is a word."""
        if not looks_like_word(text) or (text not in self.counts and len(self.counts) > MOST_WORDS):
            self.others += 1
            return None
        self.counts[text] += 1
        return text

    @property
    def total(self) -> int:
        return self.counts.total() + self.others

    @property
    def are_words(self) -> bool:
        """Tell whether they are few, and hardly anything else was found."""
        return 0 < len(self.counts) <= MOST_WORDS and self.others * 9 <= self.counts.total()


class _Tally:
    """What has been counted so far."""

    def __init__(self, event_type_paths: Sequence[Steps]) -> None:
        self._event_type_paths = event_type_paths
        self._payloads: Counter[str | None] = Counter()
        self._absent = self._unreadable = self._cut = self._forgotten = 0
        self._paths: dict[Steps, Counter[tuple[str | None, Kind]]] = {}
        self._words: dict[Steps, _Words] = {}
        self._types = _Words()

    def add(self, payload: str | None) -> None:
        """Count one payload."""
        if payload is None:
            self._absent += 1
            return
        try:
            outline = _outline_of(payload)
        except (MalformedJson, ValueError):
            self._unreadable += 1
            return
        event_type = self._event_type(outline)
        self._payloads[event_type] += 1
        self._count_places(outline, event_type)
        if len(self._paths) > 2 * MOST_PATHS:
            self._forget_rare_paths()

    def _event_type(self, outline: Any) -> str | None:
        for steps in self._event_type_paths:
            found = _follow(outline, steps)
            if isinstance(found, str):
                return self._types.add(found)
        return None

    def _count_places(self, outline: Any, event_type: str | None) -> None:
        places: deque[tuple[Steps, Any]] = deque([((), outline)])
        met = 1
        while places:
            steps, value = places.popleft()
            kind = _kind_of(value)
            self._paths.setdefault(steps, Counter())[event_type, kind] += 1
            if kind == "string" and (steps in self._words or self._takes_words(steps)):
                self._words[steps].add(value)
            if len(steps) == MOST_STEPS:
                continue
            for step, inner in _parts_of(value):
                if met == MOST_PLACES:
                    self._cut += 1
                    met += 1
                if met > MOST_PLACES:
                    break
                met += 1
                places.append(((*steps, step), inner))

    def _takes_words(self, steps: Steps) -> bool:
        if not may_hold_words(steps) and steps not in self._event_type_paths:
            return False
        if len(self._words) > 2 * _MOST_WORD_PATHS:
            kept = sorted(self._words, key=lambda one: -self._words[one].total)[:_MOST_WORD_PATHS]
            self._words = {one: self._words[one] for one in kept}
        self._words[steps] = _Words()
        return True

    def _forget_rare_paths(self) -> None:
        ranked = sorted(self._paths, key=lambda steps: (-self._paths[steps].total(), len(steps)))
        self._forgotten += len(ranked) - MOST_PATHS
        self._paths = {steps: self._paths[steps] for steps in ranked[:MOST_PATHS]}

    def report(self) -> Report:
        """Return what was counted."""
        listed = sorted(self._paths, key=lambda steps: (-self._paths[steps].total(), _order(steps)))
        if len(listed) > MOST_LISTED and self._payloads.total() >= _FEW_PAYLOADS:
            listed = [steps for steps in listed if self._paths[steps].total() > 1]  # ids used as names
        del listed[MOST_LISTED:]
        left_out = self._forgotten + len(self._paths) - len(listed)
        words = [
            ListedWords(steps=steps, words=dict(found.counts.most_common()))
            for steps in listed
            if (found := self._words.get(steps)) is not None and self._are_shown(steps, found)
        ]
        return Report(
            payloads=self._payloads.total(),
            absent=self._absent,
            unreadable=self._unreadable,
            cut=self._cut,
            event_types=self._listed_types(listed),
            paths=[_listed(steps, self._paths[steps].items()) for steps in listed],
            words=words,
            paths_left_out=left_out,
        )

    def _are_shown(self, steps: Steps, found: _Words) -> bool:
        """Tell whether words may leave: where a role stands, names of people can stand as well."""
        if not found.are_words:
            return False
        if steps in self._event_type_paths or may_hold_types(steps):
            return True
        roles = sum(number for word, number in found.counts.items() if tells_a_role(word))
        return 2 * roles >= found.counts.total()

    def _listed_types(self, listed: Sequence[Steps]) -> list[ListedType]:
        if not self._payloads:
            return []
        if not self._types.are_words:
            everything = [_listed(steps, self._paths[steps].items()) for steps in listed]
            return [ListedType(word=None, payloads=self._payloads.total(), paths=everything)]
        return [
            ListedType(word=word, payloads=payloads, paths=self._paths_of(word, listed))
            for word, payloads in self._payloads.most_common()
        ]

    def _paths_of(self, word: str | None, listed: Sequence[Steps]) -> list[ListedPath]:
        paths = [
            _listed(steps, [each for each in self._paths[steps].items() if each[0][0] == word])
            for steps in listed
        ]
        present = [path for path in paths if path.payloads]
        return sorted(present, key=lambda path: (-path.payloads, _order(path.steps)))


def _listed(steps: Steps, counts: Iterable[tuple[tuple[str | None, Kind], int]]) -> ListedPath:
    types: Counter[Kind] = Counter()
    for (_, kind), number in counts:
        types[kind] += number
    return ListedPath(steps=steps, payloads=types.total(), types=dict(types.most_common()))


def _order(steps: Steps) -> tuple[int, list[str]]:
    return (len(steps), [str(step) for step in steps])


# ------------------------------------------------------------------ one payload


def _outline_of(payload: str) -> Any:
    """Return a payload as Python values; numbers that Python has no room for as any number of their type.

    Raises MalformedJson, or ValueError.
    """
    try:
        return msgspec.json.decode(payload)
    except (msgspec.MsgspecError, RecursionError):
        return _outline(payload.encode("utf-8", "surrogatepass"), MOST_STEPS)


def _outline(raw: bytes, levels: int) -> Any:
    """Return what the first `levels` levels of a JSON text hold, of an array the first item."""
    start = skip_space(raw, 0)
    first = raw[start : start + 1]
    if first == b"{":
        members = members_of(raw) if levels else []
        return {json.loads(name, strict=False): _outline(inner, levels - 1) for name, inner in members}
    if first == b"[":
        at = skip_space(raw, start + 1)
        if not levels or raw[at : at + 1] == b"]":
            return []
        return [_outline(raw[at : end_of_value(raw, at)], levels - 1)]
    if first == b'"':
        return json.loads(raw, strict=False)
    word = raw.strip()
    if word in (b"null", b"true", b"false"):
        return json.loads(word)
    if not first or first not in b"-0123456789":
        raise MalformedJson("it is not valid JSON")
    return 0.5 if any(mark in word for mark in b".eE") else 1


def _kind_of(value: Any) -> Kind:
    if isinstance(value, str):
        return "string"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "number"
    return "object" if isinstance(value, dict) else "array"


def _parts_of(value: Any) -> Iterable[tuple[str | int, Any]]:
    if isinstance(value, dict):
        return ((name, inner) for name, inner in value.items() if len(name) <= LONGEST_NAME)
    if isinstance(value, list) and value:
        return [(0, value[0])]
    return ()


def _follow(value: Any, steps: Steps) -> Any:
    """Return what a path leads to; None if to nothing."""
    for step in steps:
        if isinstance(step, str) and isinstance(value, dict):
            value = value.get(step)
        elif isinstance(step, int) and isinstance(value, list) and -len(value) <= step < len(value):
            value = value[step]
        else:
            return None
    return value
