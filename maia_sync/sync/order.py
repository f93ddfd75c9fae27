"""Where in the task's order does a new row belong, and what has a reconcile seen of that order?

Everything here is counted in places, which grow along the walk (see model.TaskLog). Rows that a
walk finds behind all others are a step apart, so that rows found later fit between two others;
where there is no room left they share the seq of their older neighbour and are told apart by
first_seen_at (DESIGN section 3).
"""

from __future__ import annotations

from bisect import bisect_right, insort
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from maia_sync.model import NewRow, SeenRows, StoredRow, Window

if TYPE_CHECKING:
    from collections.abc import Sequence

STEP = 2**20
START = -(2**62)
"""The place in front of every row: the cursor of a walk that begins at the log's start."""
_OPEN_RUN_SHARE = 16
"""A run that reaches the page's end may go on: it takes a sixteenth of the gap and leaves the rest."""
_PINNED_SHARE = 12
"""In front of a last row that has had rows put in front of it before, each takes a 2^12th of the gap.

A log whose last event stays the last (a status, say) has all its new ones come there: by halves the
gap would be used up after twenty of them, so it lasts for tens of thousands.
"""
_FRONT_ROOM = 2**44
"""Room left behind an open run in front of the first row, for the pages of it that follow.

A newest-first log that has grown by several pages since the last poll takes this much each time: a
step each for some sixteen million events, some two hundred thousand times.
"""


class Placer:
    """Gives places to the new rows of one page, between the rows that are stored already."""

    def __init__(
        self, cursor_seq: int, window: Window, looked_up: list[StoredRow], *, newest_first: bool = False
    ) -> None:
        self._cursor_seq = cursor_seq
        self._newest_first = newest_first
        self._known = [row.seq for row in window.rows]
        if window.next_seq is not None:
            self._known.append(window.next_seq)
        self._complete = window.next_seq is None
        self._after = {row.seq: row.next_seq for row in looked_up if row.seq > self._end()}

    def _end(self) -> int:
        return self._known[-1] if self._known else self._cursor_seq

    def _successor(self, seq: int) -> int | None:
        if seq in self._after:
            return self._after[seq]
        at = bisect_right(self._known, seq)
        return self._known[at] if at < len(self._known) else None

    def place(self, lower: int, count: int, *, open_run: bool) -> list[tuple[int, int]]:
        """Return (place, tie) for `count` rows in a row that follow the row at `lower`.

        `open_run` says that the log may go on with more new rows right behind these.
        """
        lower = max(lower, self._cursor_seq)
        upper = self._successor(lower)
        pinned = self._complete and upper is not None and upper == self._known[-1]
        places = _between(
            lower, upper, count, open_run=open_run, pinned=pinned, newest_first=self._newest_first
        )
        if lower in self._after:
            self._after[lower] = places[0][0]
            if places[-1][0] != upper:
                self._after[places[-1][0]] = upper
        elif upper is None:
            self._known.extend(seq for seq, _ in places)
        else:
            for seq, _ in places:
                insort(self._known, seq)
        return places


def places_at_the_end(lower: int, count: int) -> range:
    """Return places for so many rows behind the one at `lower`, which is the last of all, or START."""
    lowest = 0 if lower == START else lower
    return range(lowest + STEP, lowest + STEP * count + 1, STEP)


def _between(
    lower: int, upper: int | None, count: int, *, open_run: bool, pinned: bool, newest_first: bool
) -> list[tuple[int, int]]:
    if upper is None:
        return [(place, 0) for place in places_at_the_end(lower, count)]
    if lower == START:
        highest = upper - (_FRONT_ROOM if open_run else 0)
        return [(highest - STEP * (count - at), 0) for at in range(count)]
    gap = upper - lower
    share = gap // (count * _OPEN_RUN_SHARE) if open_run else gap // (count + 1)
    step = min(max(1, share), STEP)
    if pinned and gap < STEP:
        step = min(step, max(1, gap >> _PINNED_SHARE))
    room = (gap - 1) // step
    if newest_first:  # the older neighbour, whose seq is shared where there is no room, is the upper one
        places = [(lower + step * (at + 1), 0) for at in range(min(room, count))]
        return places + [(upper, count - at) for at in range(len(places), count)]
    return [(lower + step * min(at + 1, room), max(0, at + 1 - room)) for at in range(count)]


def add_seen(
    seen: SeenRows, cursor_seq: int, window: Window, matched: list[StoredRow], new: Sequence[NewRow]
) -> SeenRows:
    """Add what one page of a reconcile served to what was seen before; compact where it can be."""
    served = {(row.group_id, row.timestamp, row.ordinal) for row in matched}
    ranges = list(seen.ranges) or [(START, START)]
    tied = set(seen.tied)
    entries = [(row.seq, _name(row), _name(row) in served, row.tied) for row in window.rows]
    entries += [
        (row.seq, (row.event.group_id, row.event.timestamp, row.ordinal), True, row.tie > 0) for row in new
    ]
    entries.sort(key=itemgetter(0))
    last_seq, unbroken = cursor_seq, ranges[-1][1] >= cursor_seq
    for seq, group in groupby(entries, key=itemgetter(0)):
        rows = list(group)
        whole = all(row[2] and not row[3] for row in rows)
        if whole:
            ranges.append((last_seq if unbroken else seq, seq))
        elif any(row[2] for row in rows):
            tied.update((seq, *row[1]) for row in rows if row[2])
        last_seq, unbroken = seq, whole
    in_window = {_name(row) for row in window.rows}
    for row in matched:
        if _name(row) not in in_window:
            if row.tied:
                tied.add((row.seq, *_name(row)))
            else:
                ranges.append((row.seq, row.seq))
    return SeenRows(ranges=_merged(ranges), tied=tuple(sorted(tied)), run_id=seen.run_id)


def seen_by_either(one: SeenRows, other: SeenRows) -> SeenRows:
    """Return what at least one of two reconciles was served."""
    return SeenRows(
        ranges=_merged([*one.ranges, *other.ranges]), tied=tuple(sorted({*one.tied, *other.tied}))
    )


def _name(row: StoredRow) -> tuple[str, int, int]:
    return row.group_id, row.timestamp, row.ordinal


def _merged(ranges: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return tuple(merged)
