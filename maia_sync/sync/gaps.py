"""What of a newest-first log is not stored yet, and where does a walk of it go on?

New events come at the head, so a poll reads from there until it meets rows that were stored before
it: what lies behind these is stored too, down to the next open gap. A gap is what an interrupted
walk has left out: it is stored with each page, with a cursor of its own, and read when the head is
known. All places run along the walk, from new to old. Pure; what is met is decided from what
`identity` found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from maia_sync.model import NO_TIMESTAMP, Gap, StoredRow
from maia_sync.sync.identity import name_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from maia_sync.model import Window

_MOST_GAPS = 32
"""More are joined from the old end; what is stored between them is then read again."""
_FEWEST_IN_A_ROW = 2
_FEWEST_WITHOUT_TIME = 5


def met_place(ending: Sequence[StoredRow], window: Window, floor: int | None, *, elements: int) -> int | None:
    """Return the place of the stored row up to which nothing is missing any more, or None.

    A page of `elements` has met what was stored before where it ends with rows at or behind the
    floor that are neighbours in the copy too: one row alone may be an old event served in a new
    place, and rows without a timestamp may be other events that look the same.
    """
    if floor is None or not ending or ending[-1].seq < floor:
        return None
    live = [row for row in window.rows if not row.vanished]
    index = {name_of(row): at for at, row in enumerate(live)}
    run = [ending[-1]]
    for row in reversed(ending[-_FEWEST_WITHOUT_TIME:-1]):
        at, behind = index.get(name_of(row)), index.get(name_of(run[-1]))
        if at is None or behind is None or behind != at + 1 or row.seq < floor:
            break
        run.append(row)
    timed = any(row.timestamp != NO_TIMESTAMP for row in run)
    fewest = min(_FEWEST_IN_A_ROW if timed else _FEWEST_WITHOUT_TIME, len(live), elements)
    return run[0].seq if len(run) >= fewest else None


def left_open(own: Gap, others: Sequence[Gap]) -> tuple[Gap, ...]:
    """Return the gaps that are left when a walk stands at `own`, with others behind it.

    A gap into which the walk has come is read on as a part of its own.
    """
    entered = [gap for gap in others if gap.cursor.compare_seq <= own.cursor.compare_seq]
    floors = [gap.floor for gap in (own, *entered)]
    floor = None if None in floors else max(floor for floor in floors if floor is not None)
    gaps = [Gap(cursor=own.cursor, floor=floor), *(gap for gap in others if gap not in entered)]
    while len(gaps) > _MOST_GAPS:
        last = gaps.pop()
        gaps[-1] = Gap(cursor=gaps[-1].cursor, floor=last.floor)
    return tuple(gaps)


def left_behind(met: int, others: Sequence[Gap]) -> tuple[Gap, ...]:
    """Return the gaps that are left when a walk has met the row at a place: those that lie behind it."""
    return tuple(gap for gap in others if gap.floor is None or gap.floor > met)
