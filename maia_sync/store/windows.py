"""Which rows of a task are stored behind a place? Those of several tasks are read by one statement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from maia_sync.model import StoredRow, TaskLog, Window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from maia_sync.store.database import Transaction


class Stretch(NamedTuple):
    """Up to `limit` rows behind a place in the order of a walk."""

    log: TaskLog
    after: int
    limit: int


_COLUMNS = "group_id, timestamp, ordinal, seq, digest, canonical, vanished_at IS NOT NULL AS vanished"
_WINDOW = (
    "SELECT * FROM (SELECT {{number}} AS number, {columns} FROM task_event WHERE task_id = {mark}"
    " AND seq {behind} {mark} ORDER BY seq{down}, first_seen_at{down}, ordinal{down} LIMIT {mark}) AS stretch"
)
# In the driver's own words, which costs a fifth of SQLAlchemy's.
_WINDOWS = {
    (is_postgresql, newest_first): _WINDOW.format(
        columns=_COLUMNS,
        mark="%s" if is_postgresql else "?",
        behind="<" if newest_first else ">",
        down=" DESC" if newest_first else "",
    )
    for is_postgresql in (False, True)
    for newest_first in (False, True)
}
"""By whether the database is PostgreSQL, and whether the log is newest-first."""


def read_window(tx: Transaction, log: TaskLog, after: int, limit: int) -> Window:
    """Return up to `limit` rows behind a place in the order of the walk, and what follows them."""
    stretch = Stretch(log, after, limit)
    found = tx.read_ahead.pop(stretch, None)
    return _window(stretch, _read(tx, [stretch])[0] if found is None else found)


def read_windows_ahead(tx: Transaction, stretches: Sequence[Stretch]) -> None:
    """Read what `read_window` will be asked for in this transaction: each is kept for one use.

    Before anything is written to these tasks.
    """
    tx.read_ahead.update(zip(stretches, _read(tx, stretches), strict=True))


def _read(tx: Transaction, stretches: Sequence[Stretch]) -> list[list[Any]]:
    """Return the rows of each stretch, and one more where there are more."""
    selects: list[str] = []
    values: list[Any] = []
    for number, (log, after, limit) in enumerate(stretches):
        selects.append(_WINDOWS[tx.is_postgresql, log.newest_first].format(number=number))
        values += (log.task_id, -after if log.newest_first else after, limit + 1)
    found: list[list[Any]] = [[] for _ in stretches]
    for row in tx.connection.exec_driver_sql(" UNION ALL ".join(selects), tuple(values)).all():
        found[row[0]].append(row)
    return found


def _window(stretch: Stretch, found: list[Any]) -> Window:
    limit, sign = stretch.limit, -1 if stretch.log.newest_first else 1
    next_seq = found[limit][4] if len(found) > limit else None
    rows = [
        StoredRow(
            group_id=group_id,
            timestamp=timestamp,
            ordinal=ordinal,
            seq=sign * seq,
            digest=digest,
            canonical=canonical,
            vanished=bool(vanished),
            tied=seq == next_seq,
        )
        for _, group_id, timestamp, ordinal, seq, digest, canonical, vanished in found[:limit]
    ]
    return Window(rows=rows, next_seq=None if next_seq is None else sign * next_seq)
