"""What do the archive's records say of quarantined elements, sent messages, runs, holds? Rows with an id.

Elements in quarantine never change. A sent message does when its outcome is known, a run that was given up
for lost may end after all, and a hold is released: then they are archived again, and the latest record
counts. A row whose payload was pruned before it could be archived is told of as `missing`, by its id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from sqlalchemy import bindparam, select

from maia_sync.store.archived import HoldFacts, QuarantineFacts, Record, Removed, RunFacts, SentFacts
from maia_sync.store.digest_key import is_keyed
from maia_sync.store.schema import archive_hold, quarantine, sent_message, sync_run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Select, Table


class Numbered(msgspec.Struct, frozen=True, kw_only=True):
    """One of these tables, and how its rows become records."""

    table: Any
    record_of: Any
    """Takes a row of `select`, returns its Record."""
    select: Any
    """All that there is to archive of it, by id; runs alone that have ended."""
    weighs: int
    """Which of the selected columns a row's size lies in."""
    changing: tuple[str, ...] = ()
    """The columns that may change after a row was archived."""

    @property
    def waiting(self) -> Select[Any]:
        """Return the statement for rows that are not archived yet, `most` of them."""
        statement: Select[Any] = self.select.where(self.table.c.checkpoint_id.is_(None))
        return statement.limit(bindparam("most"))

    def state_of(self, row: Any) -> int:
        """Return what tells a row from what it may become. Two processes do not agree on it."""
        return hash(tuple(getattr(row, name) for name in self.changing))


def _record_of_quarantined(row: Any) -> Record:
    is_pruned = row.pruned_at is not None
    return Record(
        type="missing" if is_pruned else "quarantine",
        received_at=row.quarantined_at,
        task_id=row.task_id,
        run_id=row.run_id,
        number=row.id,
        raw=None if is_pruned else bytes(row.raw),
        facts=QuarantineFacts(reason=row.reason),
        removed=_removed(row, bytes(row.digest)) if is_pruned else None,
    )


def _record_of_sent(row: Any) -> Record:
    facts = SentFacts(
        sent_by=row.sent_by, outcome=row.outcome, completed_at=row.completed_at, error=row.error
    )
    is_pruned = row.pruned_at is not None
    return Record(
        type="missing" if is_pruned else "sent",
        received_at=row.sent_at,
        task_id=row.task_id,
        number=row.id,
        data=None if is_pruned else row.request,
        facts=facts,
        removed=_removed(row, None) if is_pruned else None,
    )


def _removed(row: Any, digest: bytes | None) -> Removed:
    return Removed(
        pruned_at=row.pruned_at,
        erased_at=row.erased_at,
        digest=digest.hex() if digest is not None and is_keyed(digest) else None,
    )


def _record_of_run(row: Any) -> Record:
    facts = RunFacts(**{name: getattr(row, name) for name in RunFacts.__struct_fields__})
    return Record(type="run", received_at=row.ended_at, number=row.id, facts=facts)


def _record_of_hold(row: Any) -> Record:
    facts = HoldFacts(**{name: getattr(row, name) for name in HoldFacts.__struct_fields__})
    return Record(type="hold", received_at=row.held_at, task_id=row.task_id, number=row.id, facts=facts)


def _rows_of(
    table: Table, record_of: Callable[[Any], Record], *, heavy: str, changing: Sequence[str] = ()
) -> Numbered:
    columns = [column for column in table.c if column.name != "checkpoint_id"]
    statement = select(*columns).order_by(table.c.id)
    if table is sync_run:
        statement = statement.where(sync_run.c.ended_at.is_not(None))
    names = [column.name for column in columns]
    return Numbered(
        table=table,
        record_of=record_of,
        select=statement,
        weighs=names.index(heavy),
        changing=tuple(changing),
    )


QUARANTINE: Final = _rows_of(quarantine, _record_of_quarantined, heavy="raw")
SENT: Final = _rows_of(
    sent_message, _record_of_sent, heavy="request", changing=("outcome", "completed_at", "error")
)
RUNS: Final = _rows_of(sync_run, _record_of_run, heavy="worker", changing=("status", "ended_at", "error"))
HOLDS: Final = _rows_of(
    archive_hold,
    _record_of_hold,
    heavy="reason",
    changing=("released_at", "released_by", "release_reason"),
)
