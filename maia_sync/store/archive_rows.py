"""What does the database hold of things that are named by the ids of their rows? For the archive to compare.

Rows are read whatever stands in them: see `archive_compare.py`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import msgspec
from sqlalchemy import or_, select

from maia_sync.store.archive_numbered import HOLDS, QUARANTINE, RUNS, SENT, Numbered
from maia_sync.store.archived import ErasureFacts, Record
from maia_sync.store.moments import as_given, read_row
from maia_sync.store.schema import archive_checkpoint, archive_erasure

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from maia_sync.store.database import Transaction

_CHUNK: Final = 500
_STREAMED: Final = 2_000
_NOTHING: Final = "null"
"""What stands in place of a request that was taken out."""
Kind: TypeAlias = Literal["quarantine", "sent", "run", "hold", "erasure"]
"""What is named by the id of its row."""


class StoredRow(msgspec.Struct, frozen=True, gc=False):
    """A row as the archive would tell of it now."""

    record: Record
    """Without its payload, if that was taken out; its type is that of its kind all the same."""
    is_pruned: bool = False
    erased_at: datetime | None = None
    digest: bytes | None = None
    """Of an element in quarantine."""
    has_payload: bool = False
    """Whether a payload stands there that was taken out, says the row."""

    @property
    def is_erased(self) -> bool:
        """Whether the payload is gone from the archive as well, says the row."""
        return self.erased_at is not None


def _record_of_erasure(row: Any) -> Record:
    before = row.before_at
    facts = ErasureFacts(
        before=None if before is None else _text_of(before),
        reason=row.reason,
        basis=row.basis,
        erased_by=row.erased_by,
        payloads=row.payloads,
    )
    return Record(type="erasure", received_at=row.erased_at, task_id=row.task_id, number=row.id, facts=facts)


def _text_of(moment: Any) -> str:
    """Return a moment as entries of the log tell it."""
    text: str = moment.astimezone(UTC).isoformat(timespec="microseconds")
    return text.removesuffix("+00:00") + "Z"


_ERASURES: Final = Numbered(
    table=archive_erasure,
    record_of=_record_of_erasure,
    select=select(*(column for column in archive_erasure.c if column.name != "scrubbed_at")),
    weighs=0,
)
_NUMBERED: Final[dict[Kind, Numbered]] = {
    "quarantine": QUARANTINE,
    "sent": SENT,
    "run": RUNS,
    "hold": HOLDS,
    "erasure": _ERASURES,
}


def read_numbered(tx: Transaction, kind: Kind, ids: Sequence[int]) -> dict[int, StoredRow | str]:
    """Return what the archive's records would say of rows now, by their ids.

    Of a row that holds what its columns cannot, return which column that is.
    """
    numbered = _NUMBERED[kind]
    table = numbered.table.c
    columns = [*numbered.select.selected_columns]
    given = numbered.select.with_only_columns(*(as_given(tx, column) for column in columns))
    found: dict[int, StoredRow | str] = {}
    for at in range(0, len(ids), _CHUNK):
        statement = given.where(table.id.in_(ids[at : at + _CHUNK]))
        found |= {row.id: _row_of(kind, numbered, columns, row) for row in tx.connection.execute(statement)}
    return found


def _row_of(kind: Kind, numbered: Numbered, columns: Sequence[Any], row: Any) -> StoredRow | str:
    read = read_row(columns, row)
    if isinstance(read, str):
        return read
    record: Record = numbered.record_of(read)
    if kind not in ("quarantine", "sent"):
        return StoredRow(record)
    is_pruned, is_erased = read.pruned_at is not None, read.erased_at is not None
    payload = bytes(read.raw) if kind == "quarantine" else read.request
    return StoredRow(
        msgspec.structs.replace(record, type=kind),
        is_pruned=is_pruned,
        erased_at=read.erased_at,
        digest=bytes(read.digest) if kind == "quarantine" else None,
        has_payload=(is_pruned or is_erased) and payload not in (b"", _NOTHING),
    )


def read_numbers(tx: Transaction, kind: Kind, size: int) -> Iterator[tuple[int, bool]]:
    """Yield the ids of a table's rows, each with whether a log of this size should have it as it is.

    Runs that are not over are left out: they are not archived yet.
    """
    columns = _NUMBERED[kind].table.c
    later = select(archive_checkpoint.c.id).where(archive_checkpoint.c.tree_size > size)
    waits = or_(columns.checkpoint_id.is_(None), columns.checkpoint_id.in_(later))
    statement = select(columns.id, waits)
    if kind == "run":
        statement = statement.where(columns.ended_at.is_not(None))
    for number, is_waiting in tx.connection.execute(statement, execution_options={"yield_per": _STREAMED}):
        yield number, not is_waiting
