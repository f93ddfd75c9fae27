"""Which rows of a task's log come next? Page by page through the log, and then as they arrive.

A follower must also find rows that are inserted in the middle of the order, and no index leads to
those. So it counts: the rows up to the last printed one are counted, mostly in an index alone, and
only when there are more than before are the rows scanned by the moment at which they were first seen. A
task has one writer at a time, so these moments do not go back; the overlap allows for a clock that
did. What was printed within the overlap is remembered by key, a bounded number of them. A page of
rows is read in a transaction of its own, so that a reader who does not read on holds none open.
"""

from __future__ import annotations

from collections import OrderedDict
from datetime import timedelta
from typing import TYPE_CHECKING

from maia_sync.store.reading import count_up_to, find_start_of_newest, read_log

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from maia_sync.store.database import Database
    from maia_sync.store.reading import LogRow, Position

OVERLAP = timedelta(seconds=10)
MOST_REMEMBERED = 100_000
PAGE_ROWS = 500


class LogReader:
    """Reads one task's log in reading order, and remembers where it is."""

    def __init__(self, database: Database, task_id: str, *, with_vanished: bool = True) -> None:
        self._database = database
        self._task_id = task_id
        self._with_vanished = with_vanished
        self._after: Position | None = None
        self._counted = 0
        self._remembered: OrderedDict[tuple[str, int, int], None] = OrderedDict()
        with database.transaction(write=False) as tx:
            self._started: datetime = tx.now
        self._newest = self._started

    @property
    def has_begun(self) -> bool:
        """Tell whether the reader stands behind a row of the log."""
        return self._after is not None

    def skip_to_newest(self, number: int) -> None:
        """Begin with the newest `number` rows."""
        with self._database.transaction(write=False) as tx:
            self._after = find_start_of_newest(tx, self._task_id, number, with_vanished=self._with_vanished)
            if self._after is not None:
                self._counted = count_up_to(tx, self._task_id, self._after)

    def read_on(self) -> Iterator[LogRow]:
        """Yield the rows behind the last one yielded, to the end of the log as it is then."""
        for row in self._pages(self._after):
            self._after = row.position
            self._counted += 1
            self._remember(row)
            yield row

    def read_news(self) -> Iterator[LogRow]:
        """Yield the rows that have come since: those in the middle first, then those at the end."""
        yield from self._read_inserted()
        yield from self.read_on()

    def _read_inserted(self) -> Iterator[LogRow]:
        last = self._after
        if last is None:
            return
        with self._database.transaction(write=False) as tx:
            counted = count_up_to(tx, self._task_id, last)
        if counted > self._counted:
            since = max(self._started, self._newest - OVERLAP)
            for row in self._pages(None, since=since, up_to=last):
                if _key(row) not in self._remembered:
                    self._remember(row)
                    yield row
        self._counted = counted

    def _pages(
        self, after: Position | None, *, since: datetime | None = None, up_to: Position | None = None
    ) -> Iterator[LogRow]:
        while True:
            with self._database.transaction(write=False) as tx:
                rows = read_log(
                    tx,
                    self._task_id,
                    after=after,
                    up_to=up_to,
                    since=since,
                    with_vanished=self._with_vanished,
                    limit=PAGE_ROWS,
                )
            yield from rows
            if len(rows) < PAGE_ROWS:
                return
            after = rows[-1].position

    def _remember(self, row: LogRow) -> None:
        """Keep in mind what a scan could meet again: nothing older than this reader."""
        if row.first_seen_at < self._started:
            return
        self._newest = max(self._newest, row.first_seen_at)
        self._remembered[_key(row)] = None
        if len(self._remembered) > MOST_REMEMBERED:
            self._remembered.popitem(last=False)


def _key(row: LogRow) -> tuple[str, int, int]:
    return (row.group_id, row.timestamp, row.ordinal)
