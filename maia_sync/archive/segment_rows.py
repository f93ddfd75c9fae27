"""Does a row of a data segment agree with its entry of the log? And is one empty whose payload was erased?"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from maia_sync.archive.entry import SALT_BYTES, is_told_in_entry, payload_hash, payload_of
from maia_sync.model import NO_TIMESTAMP
from maia_sync.store.archived import Record
from maia_sync.store.digest_key import KEYED_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date
    from typing import TypeAlias

    from maia_sync.archive.chunk import Rows
    from maia_sync.archive.entry import Entry

    Row: TypeAlias = tuple[int, Record, bytes | None, bytes | None]
    """The index of its entry, what it tells, its data in UTF-8, and its salt: None once it is erased."""

_BY_RECEIPT: Final = frozenset(("quarantine", "sent"))
_COLUMNS: Final = (
    *("type", "task_id", "group_id", "timestamp", "ordinal", "revision", "run_id", "number", "received_at"),
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DIGESTS: Final = {"event": 2, "revision": 2, "quarantine": 1}
"""How many keyed digests stand in `raw` of a row that was emptied."""


def rows_of(rows: Rows) -> Iterator[Row]:
    """Yield each row.

    Raises ValueError for what no row can be.
    """
    for (
        index,
        type_,
        task_id,
        group_id,
        timestamp,
        timestamp_text,
        occurred_at,
        ordinal,
        revision,
        seq,
        received_at,
        run_id,
        number,
        data,
        extra,
        raw,
        salt,
    ) in zip(*rows, strict=True):
        if index is None or received_at is None:
            raise ValueError("a row in it lacks what each row has")
        record = Record(
            type=type_,
            received_at=received_at,
            task_id=task_id,
            group_id=group_id,
            timestamp=timestamp,
            ordinal=ordinal,
            revision=revision,
            run_id=run_id,
            number=number,
            seq=seq,
            timestamp_text=timestamp_text,
            occurred_at=occurred_at,
            data="" if data is not None else None,  # what is hashed is made of the bytes, below
            extra=extra,
            raw=raw,
        )
        yield index, record, data, salt


def difference(
    entry: Entry, record: Record, day: date | None, received: str, *, is_erased: bool = False
) -> str | None:
    """Tell which column of a row is not what its entry says; None if none is, its payload apart."""
    told = (
        entry.type,
        entry.task,
        entry.group,
        entry.timestamp,
        entry.ordinal,
        entry.revision,
        entry.run,
        entry.id,
        entry.received,
    )
    stands = (
        record.type,
        record.task_id,
        record.group_id,
        record.timestamp,
        record.ordinal,
        record.revision,
        record.run_id,
        record.number,
        received,
    )
    if told != stands:
        return next(name for name, one, other in zip(_COLUMNS, told, stands, strict=True) if one != other)
    if entry.timestamp_text != (record.timestamp_text if is_erased or is_told_in_entry(record) else None):
        return "timestamp_text"
    moment = record.received_at if record.type in _BY_RECEIPT else record.occurred_at
    if not _is_the_instant(record) or day != (None if moment is None else moment.date()):
        return "occurred_at, or the date in the file's name"
    return None


def hash_of(record: Record, data: bytes | None, salt: bytes | None) -> str | None:
    """Return what an entry should say of a payload; None if the salt is none."""
    if salt is None or len(salt) != SALT_BYTES:
        return None
    payload = payload_of(record)
    if record.raw is None and data:  # payload_of was given no data, which stands in front of all else
        return payload_hash(salt, data + payload if payload else data)
    return payload_hash(salt, payload)


def left_of(record: Record, data: bytes | None, salt: bytes | None) -> str | None:
    """Tell what is left of a payload that was erased, as a part of a sentence; None if nothing is.

    The timestamp's text is compared with the entry by `difference`.
    """
    columns = {"salt": salt, "data": data, "extra": record.extra}
    left = next((name for name, value in columns.items() if value is not None), None)
    if left is not None:
        return f"its {left} is still there"
    digests = KEYED_BYTES * _DIGESTS.get(record.type, 0)
    return None if len(record.raw or b"") == digests else "its raw holds something else than keyed digests"


def _is_the_instant(record: Record) -> bool:
    """Tell whether the moment is that of the key, as far as the key can tell it."""
    if record.occurred_at is None or record.timestamp in (None, NO_TIMESTAMP):
        return True
    passed = record.occurred_at - _EPOCH
    micros = (passed.days * 86_400 + passed.seconds) * 1_000_000 + passed.microseconds
    return micros == (record.timestamp or 0) // 1_000
