"""Which [facets] section fits what was explored? Paths by name, type and frequency; words by their sense.

A suggestion is read by a person before it is used: what is doubtful stands in a comment. A facet for which
nothing was found keeps its default, as its key is left out.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import msgspec

from maia_sync.analytics.explore import ListedPath
from maia_sync.analytics.naming import Suggestion, letters_of, suggestion_for
from maia_sync.analytics.word_sorting import (
    ACTOR_LISTS,
    KIND_LISTS,
    actor_list_of,
    kind_list_of,
    tells_failure,
)
from maia_sync.facet_settings import NUMBER_PATHS, TEXT_PATHS, WORD_LISTS, FacetsSettings
from maia_sync.json_path import parse_path, render_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from maia_sync.analytics.explore import Report, Steps

_MOST_CANDIDATES = 6
_MOST_UNSORTED = 50
_WIDTH = 100
_TYPES: Final[dict[str, frozenset[str]]] = {
    **{name: frozenset(("string",)) for name in TEXT_PATHS},
    "is_error": frozenset(("boolean", "string", "object")),
    **{name: frozenset(("integer", "number")) for name in NUMBER_PATHS},
}
_WITHIN: Final = {
    "tool_name": ("tool_call_words", "tool_result_words"),
    "tool_call_id": ("tool_call_words", "tool_result_words"),
    "error_type": ("error_words",),
}
"""In which events a name that is no name of the facet elsewhere, such as `id`, is one."""
_MOSTLY = 0.9


class _Candidate(msgspec.Struct, frozen=True, kw_only=True):
    path: ListedPath
    suggestion: Suggestion
    fitting: int
    """In how many payloads it has a value of the facet's type."""

    @property
    def text(self) -> str:
        return render_path(self.path.steps, self.suggestion.factor)


def likely_event_types(report: Report, known: FacetsSettings | None = None) -> list[str]:
    """Return the paths at which the type of an event is likely told, the likeliest first."""
    return [one.text for one in _Suggester(report, known or FacetsSettings()).candidates("event_type")]


def suggest(report: Report, known: FacetsSettings | None = None) -> str:
    """Return the text of a [facets] section, in TOML.

    The report tells event types apart by paths that `likely_event_types` names. `known` are the lists of
    words that are used so far: what they hold means what they say, and stays in the lists.
    """
    return "\n".join(_Suggester(report, known or FacetsSettings()).lines()) + "\n"


class _Suggester:
    """Looks for each facet in one report."""

    def __init__(self, report: Report, known: FacetsSettings) -> None:
        self._report = report
        self._known = known
        self._words: dict[Steps, dict[str, int]] = {each.steps: each.words for each in report.words}
        self._kinds: dict[str | None, str | None] = {
            each.word: None if each.word is None else kind_list_of(each.word, known)
            for each in report.event_types
        }
        self._payloads = {each.word: each.payloads for each in report.event_types}
        self._by_type: dict[Steps, dict[str | None, int]] = {}
        for event_type in report.event_types:
            for path in event_type.paths:
                self._by_type.setdefault(path.steps, {})[event_type.word] = path.payloads

    def lines(self) -> Iterable[str]:
        """Yield the section line by line."""
        yield "[facets]"
        yield f"# Suggested from {self._report.payloads:,} stored payloads: read it before you use it."
        found = {facet: self.candidates(facet) for facet in (*TEXT_PATHS, *NUMBER_PATHS)}
        for facet, candidates in found.items():
            yield from _path_lines(facet, candidates)
        yield from self._word_lines(found)
        yield f"time_zone = {_quoted(self._known.time_zone)}"

    def candidates(self, facet: str) -> list[_Candidate]:
        """Return the likely paths of a facet, the likeliest first."""
        fitting = [one for path in self._report.paths if (one := self._candidate(facet, path)) is not None]
        most = max((one.fitting for one in fitting), default=1)
        # Frequent beats rare, and outer beats inner, but a name that says it beats both.
        fitting.sort(
            key=lambda one: (
                one.suggestion.weight
                + (not one.suggestion.certain)
                + 2 * (1 - one.fitting / most)
                + len(one.path.steps) / 4,
                one.text,
            )
        )
        if facet == "event_type" and fitting and self._says_only_who(fitting[0]):
            fitting.sort(key=lambda one: not self._tells_of_tools(one))
        return [one for one in fitting if not self._is_redundant(one, fitting)][:_MOST_CANDIDATES]

    def _says_only_who(self, one: _Candidate) -> bool:
        """Tell whether the words at a path are roles alone, such as user and assistant."""
        return all(actor_list_of(word, self._known) is not None for word in self._words[one.path.steps])

    def _tells_of_tools(self, one: _Candidate) -> bool:
        kinds = {kind_list_of(word, self._known) for word in self._words[one.path.steps]}
        return not kinds.isdisjoint(("tool_call_words", "tool_result_words")) and not self._says_only_who(one)

    def _is_redundant(self, one: _Candidate, others: Iterable[_Candidate]) -> bool:
        """Tell whether events that have a doubtful path have a better one as well, as their numbers show."""
        better = [other.path.steps for other in others if other.suggestion.weight < one.suggestion.weight]
        both = 0
        for event_type, number in self._by_type.get(one.path.steps, {}).items():
            most = max((self._by_type[steps].get(event_type, 0) for steps in better), default=0)
            both += max(0, most + number - self._payloads[event_type])
        return both > (1 - _MOSTLY) * one.path.payloads

    def _candidate(self, facet: str, path: ListedPath) -> _Candidate | None:
        suggestion = suggestion_for(facet, path.steps)
        fitting = sum(number for kind, number in path.types.items() if kind in _TYPES[facet])
        if suggestion is None or not fitting or not _can_be_written(path.steps):
            return None
        if facet == "event_type" and path.steps not in self._words:
            return None
        if facet == "actor" and not self._tells_roles(path.steps):
            return None
        if facet == "status" and suggestion.weight and path.steps not in self._words:
            return None
        if suggestion.weight == 2 and not self._is_within(facet, path.steps):
            return None
        return _Candidate(path=path, suggestion=suggestion, fitting=fitting)

    def _tells_roles(self, steps: Steps) -> bool:
        return any(actor_list_of(word, self._known) is not None for word in self._words.get(steps, {}))

    def _is_within(self, facet: str, steps: Steps) -> bool:
        """Tell whether a path of a general name occurs, nearly always, in the events it needs."""
        if facet not in _WITHIN:
            return True
        if any(_says(other, steps) for other in _TYPES if other != facet):
            return False
        counts = self._by_type.get(steps, {})
        within = sum(number for word, number in counts.items() if self._kinds[word] in _WITHIN[facet])
        return within > 0 and within >= _MOSTLY * sum(counts.values())

    # -------------------------------------------------------------- words

    def _word_lines(self, found: Mapping[str, Sequence[_Candidate]]) -> Iterable[str]:
        types = self._words_at(found["event_type"])
        roles = self._words_at(found["actor"])
        statuses = self._words_at(found["status"])
        sorted_words: dict[str, list[str]] = {name: [] for name in WORD_LISTS}
        unsorted: dict[str, list[str]] = {"event types": [], "roles": [], "statuses": []}
        for word in types:
            places = (kind_list_of(word, self._known), actor_list_of(word, self._known))
            for name in filter(None, places):
                sorted_words[name].append(word)
            if not any(places):
                unsorted["event types"].append(word)
        for word in roles:
            role = actor_list_of(word, self._known)
            (unsorted["roles"] if role is None else sorted_words[role]).append(word)
        for word in statuses:
            (
                sorted_words["failed_words"] if tells_failure(word, self._known) else unsorted["statuses"]
            ).append(word)
        for name in (*ACTOR_LISTS, *KIND_LISTS, "failed_words"):
            yield from _list_lines(name, sorted_words[name], getattr(self._known, name))
        yield from _comment_lines(
            "Event types in no list: place them where they belong", unsorted["event types"]
        )
        yield from _comment_lines("Roles in no list", unsorted["roles"])
        yield from _comment_lines("Statuses that are no failure, as far as can be seen", unsorted["statuses"])

    def _words_at(self, candidates: Iterable[_Candidate]) -> list[str]:
        counts: dict[str, int] = {}
        for one in candidates:
            for word, number in self._words.get(one.path.steps, {}).items():
                counts[word] = counts.get(word, 0) + number
        return sorted(counts, key=lambda word: (-counts[word], word))


def _says(facet: str, steps: Steps) -> bool:
    suggestion = suggestion_for(facet, steps)
    return suggestion is not None and suggestion.weight == 0


def _can_be_written(steps: Steps) -> bool:
    """Tell whether a path has a text: a name with half a surrogate pair has none."""
    try:
        return parse_path(render_path(steps)).steps == steps
    except ValueError:
        return False


def _path_lines(facet: str, candidates: Sequence[_Candidate]) -> Iterable[str]:
    if not candidates:
        yield f"# {facet}: nothing found"
        return
    if facet == "duration_ms" and not all(one.suggestion.unit for one in candidates):
        unnamed = ", ".join(one.text for one in candidates if not one.suggestion.unit)
        yield f"# No unit in the name of {unnamed}: taken for milliseconds; seconds would want * 1000."
    yield from _array_lines(facet, [one.text for one in candidates])


def _list_lines(name: str, found: Sequence[str], known: Sequence[str]) -> Iterable[str]:
    if not found:
        yield f"# {name}: nothing found"
        return
    distinct: dict[str, str] = {}
    for word in (*found, *known):
        distinct.setdefault(letters_of(word), word)
    yield from _array_lines(name, list(distinct.values()))


def _comment_lines(told: str, words: Sequence[str]) -> Iterable[str]:
    if words:
        more = f" and {len(words) - _MOST_UNSORTED} more" if len(words) > _MOST_UNSORTED else ""
        yield f"# {told}: {', '.join(map(_quoted, words[:_MOST_UNSORTED]))}{more}."


def _array_lines(name: str, texts: Sequence[str]) -> Iterable[str]:
    line = f"{name} = [{', '.join(map(_quoted, texts))}]"
    if len(line) <= _WIDTH:
        yield line
        return
    yield f"{name} = ["
    yield from (f"  {_quoted(text)}," for text in texts)
    yield "]"


def _quoted(text: str) -> str:
    """Return a TOML basic string: JSON's spelling of a text that has no DEL and no surrogate is one."""
    return json.dumps(text, ensure_ascii=False)
