"""How does a log get into a database page by page, without a network? The heart's own steps, on a real file.

A page is compared and written as `sync/page.py` does it, from the cursor that the page before it left.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from itertools import count, pairwise
from typing import TYPE_CHECKING

from sqlalchemy import text

from maia_sync.analytics.facet_reader import FacetReader
from maia_sync.errors import KeysTaken
from maia_sync.facet_settings import FacetsSettings
from maia_sync.maia.wire import decode_page
from maia_sync.model import TaskLog
from maia_sync.store.bulk import insert_new_rows
from maia_sync.store.events import revise_events, store_canonicals, unmark_vanished
from maia_sync.sync.compare import compare_page
from maia_sync.sync.order import START

if TYPE_CHECKING:
    from collections.abc import Sequence

    from maia_sync.clock import ManualClock
    from maia_sync.model import Event, PagePlan
    from maia_sync.store.database import Database

_numbers = count(1)
FACETS = FacetReader(FacetsSettings())


_ROWS = text(
    "SELECT group_id, timestamp, ordinal, data, extra, timestamp_text, revision FROM task_event "
    "WHERE task_id = :task ORDER BY seq, first_seen_at, ordinal"
)
_REVISIONS = text(
    "SELECT group_id, timestamp, ordinal, data, extra, timestamp_text, revision FROM task_event_revision "
    "WHERE task_id = :task ORDER BY group_id, timestamp, ordinal, revision"
)


@dataclass(frozen=True)
class Row:
    """One stored event, or an earlier payload of one."""

    group_id: str
    timestamp: int
    ordinal: int
    data: str | None
    extra: str | None
    timestamp_text: str | None
    revision: int


@dataclass(frozen=True)
class Came:
    """What a walk over a log came to."""

    new: int
    changed: int
    unchanged: int


class Copying:
    """The copy of one task's log; each has a task of its own in the database."""

    def __init__(self, database: Database, clock: ManualClock, *, newest_first: bool = False) -> None:
        self._database = database
        self._clock = clock
        self._newest_first = newest_first
        self._log = TaskLog(task_id=str(uuid.UUID(int=next(_numbers))), newest_first=newest_first)

    def walk(self, elements: Sequence[bytes], borders: Sequence[int]) -> Came:
        """Read a log, given in the order in which it is served, from its start; pages end at the borders."""
        ends = [0, *sorted({min(border, len(elements)) for border in borders}), len(elements)]
        pages = [_events(elements[start:end]) for start, end in pairwise(ends)]
        cursor, plans = START, []
        for at, events in enumerate(pages):
            following = pages[at + 1] if at + 1 < len(pages) else None
            self._clock.advance(1)
            try:
                plan = self._write(events, cursor, following, look_first=False)
            except KeysTaken:
                plan = self._write(events, cursor, following, look_first=True)
            cursor = plan.top_seq
            plans.append(plan)
        return Came(
            new=sum(len(plan.new) for plan in plans),
            changed=sum(len(plan.changed) for plan in plans),
            unchanged=sum(plan.unchanged for plan in plans),
        )

    def _write(
        self, events: list[Event], cursor: int, following: list[Event] | None, *, look_first: bool
    ) -> PagePlan:
        with self._database.transaction() as tx:
            last = following is None
            plan = compare_page(tx, self._log, events, cursor, last_page=last, look_first=look_first).plan
            if plan.undecided:
                plan = compare_page(
                    tx,
                    self._log,
                    events,
                    cursor,
                    last_page=last,
                    following=following,
                    look_first=look_first,
                ).plan
            assert not plan.undecided
            insert_new_rows(tx, self._log, plan.new, None, FACETS)
            revise_events(tx, self._log.task_id, plan.changed, None, FACETS)
            unmark_vanished(tx, self._log.task_id, plan.returned)
            store_canonicals(tx, self._log.task_id, plan.canonicals)
        return plan

    def rows(self) -> list[Row]:
        """Return the current rows in the order in which the log is served."""
        rows = self._read(_ROWS)
        return rows[::-1] if self._newest_first else rows

    def revisions(self) -> list[Row]:
        """Return the earlier payloads."""
        return self._read(_REVISIONS)

    def _read(self, statement: object) -> list[Row]:
        with self._database.transaction(write=False) as tx:
            found = tx.connection.execute(statement, {"task": self._log.task_id})  # type: ignore[call-overload]
            return [Row(*row) for row in found]


def _events(elements: Sequence[bytes]) -> list[Event]:
    page = decode_page(b'{"results":[' + b",".join(elements) + b"]}")
    assert not page.quarantined
    return page.events
