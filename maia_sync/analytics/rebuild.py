"""How do stored events get the facets of another configuration? Batch by batch, from the stored payloads.

Each batch is a transaction: its rows' facets, and the summaries of their groups and quarters. A row keeps
the version of the rules that made its facets, so what is done is passed by: an interrupted rebuild goes on
where it stopped, and events stored meanwhile need none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from maia_sync.store.facets import lock_task, read_stale, replace_facets
from maia_sync.store.reporting import settle_zone
from maia_sync.store.summaries import sum_again
from maia_sync.store.sums import count_alike
from maia_sync.store.tasks import read_tasks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from maia_sync.store.database import Database, Transaction
    from maia_sync.store.facets import FacetReader, FacetRow, StaleRow
    from maia_sync.store.named_rows import RowName

_BATCH = 2000


class RebuiltBatch(msgspec.Struct, frozen=True, kw_only=True):
    """What one transaction of a rebuild came to."""

    task_id: str
    events: int
    """Events whose facets were read again."""
    changed: int
    """Of these, how many have other facets now."""


class Rebuild:
    """Reads the facets of stored events again, where other rules made them."""

    def __init__(self, database: Database, reader: FacetReader, *, zone: str, batch: int = _BATCH) -> None:
        self._database = database
        self._reader = reader
        self._zone = zone
        self._batch = batch

    def task_ids(self, named: Sequence[str] = ()) -> list[str]:
        """Return the tasks to go through: the named ones, or all there are, also untracked ones."""
        with self._database.transaction() as tx:
            settle_zone(tx, self._zone)
            return [task.task_id for task in read_tasks(tx, task_ids=list(named) or None)]

    def rebuild(self, task_id: str) -> Iterator[RebuiltBatch]:
        """Go through one task's log; yields after each commit. Raises DatabaseError."""
        after: RowName | None = None
        late: str | None = None
        while True:
            with self._database.transaction() as tx:
                lock_task(tx, task_id)
                rows = read_stale(tx, task_id, self._reader.version, after, self._batch)
                if not rows:
                    if late is not None:  # a walk has written the rest of it meanwhile
                        sum_again(tx, task_id, [(late, None)])
                    return
                after = rows[-1].name
                changed, late = self._write(tx, task_id, rows, late)
            yield RebuiltBatch(task_id=task_id, events=len(rows), changed=changed)

    def _write(
        self, tx: Transaction, task_id: str, rows: list[StaleRow], late: str | None
    ) -> tuple[int, str | None]:
        """Write a batch; return how many rows have other facets, and the group left to be summed up later.

        A long group is summed up once, with its last batch, not with each.
        """
        read = zip(*self._reader.read_all([row.data for row in rows]), strict=True)
        facets: list[tuple[RowName, FacetRow]] = [
            (row.name, told) for row, told in zip(rows, read, strict=True)
        ]
        replace_facets(tx, task_id, facets, self._reader.version)
        moved: list[tuple[str, str | None]] = [
            (row.name[0], row.occurred_at)
            for row, (_, now) in zip(rows, facets, strict=True)
            if row.facets is None or not count_alike(row.facets, now)
        ]
        # The first group may have begun before an interruption, with events that moved then.
        moved += [(group_id, None) for group_id in (rows[0].name[0], late) if group_id is not None]
        last = rows[-1].name[0]
        following = read_stale(tx, task_id, self._reader.version, rows[-1].name, 1)
        goes_on = bool(following) and following[0].name[0] == last
        sum_again(tx, task_id, moved, but=last if goes_on else None)
        changed = sum(row.facets != now for row, (_, now) in zip(rows, facets, strict=True))
        return changed, last if goes_on else None
