"""Which events have no payload any more, and what is said of that where figures are shown?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from maia_sync.analytics.filling import row_of
from maia_sync.report.figures import count

if TYPE_CHECKING:
    from maia_sync.analytics.filling import Filled

REMOVED: Final = "removed"
OF_TIME: Final = "removed-of-time"
"""The panels that count them: the second one where more were removed in all than the first one reads."""
_COUNT_AS: Final = "as events, and not as messages, calls, errors, tokens or cost"
_NOTHING_LEFT: Final = "No event of this time that still has its payload tells anything of this."


class Removed(msgspec.Struct, frozen=True, kw_only=True):
    """How many events were pruned, and how many erased; a vanished one is neither."""

    pruned: int
    erased: int
    undated_pruned: int = 0
    """Pruned ones of which no time is known; they are none of `pruned`."""
    undated_erased: int = 0
    is_at_least: bool = False
    """Not all were counted."""

    @property
    def undated(self) -> int:
        """How many of them are of no known time."""
        return self.undated_pruned + self.undated_erased

    def whenever(self) -> Removed:
        """Return the same, those of no known time among the others."""
        return Removed(
            pruned=self.pruned + self.undated_pruned,
            erased=self.erased + self.undated_erased,
            is_at_least=self.is_at_least,
        )


def has_more(first: Filled) -> bool:
    """Tell whether the first panel has read as many as it may, so that the second one is of use."""
    told = row_of(first)
    return told is not None and _number(told["read_rows"]) >= _number(first.values["limit"])


def removed_of(first: Filled, of_time: Filled | None = None) -> Removed | None:
    """Return what the panels tell; None if no event of the time was removed, or there is no answer."""
    counts = row_of(first)
    if counts is None:
        return None
    pruned, erased, undated_pruned, undated_erased = (
        _number(counts[name]) for name in ("pruned", "erased", "undated_pruned", "undated_erased")
    )
    is_at_least = has_more(first)
    by_time = row_of(of_time)
    if of_time is not None and by_time is not None:
        pruned, erased = max(pruned, _number(by_time["pruned"])), max(erased, _number(by_time["erased"]))
        is_at_least = has_more(of_time)
    if not (is_at_least or pruned or erased or undated_pruned or undated_erased):
        return None
    return Removed(
        pruned=pruned,
        erased=erased,
        undated_pruned=undated_pruned,
        undated_erased=undated_erased,
        is_at_least=is_at_least,
    )


def sentence(removed: Removed, of: str) -> str:
    """Return what a reader of figures must know; `of` names the events that were counted: `615 events`."""
    pruned, erased, undated = removed.pruned, removed.erased, removed.undated
    if not (pruned or erased or undated):
        return f"Events were pruned or erased; how many of this time was not counted. They count {_COUNT_AS}."
    told = ""
    if pruned or erased:
        verb = "was" if (pruned or erased) == 1 else "were"
        words = ((pruned, f"{verb} pruned"), (erased, "erased" if pruned else f"{verb} erased"))
        parts = " and ".join(f"{count(number)} {word}" for number, word in words if number)
        least = "at least " if removed.is_at_least else ""
        told = f"Of {of}, {least}{parts}: they count {_COUNT_AS}."
    if undated:
        verb = "was" if undated == 1 else "were"
        told = f"{told} {count(undated)} of no known time {verb} pruned or erased.".lstrip()
    return told


def without_advice(filled: Filled, removed: Removed | None) -> Filled:
    """Return a panel that, where it has no rows, does not blame the time or the facets for that."""
    of_time = {"since", "since_day"} & set(filled.values)
    if removed is None or filled.rows or not of_time:
        return filled
    panel = msgspec.structs.replace(filled.panel, empty=_NOTHING_LEFT)
    return msgspec.structs.replace(filled, panel=panel)


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
