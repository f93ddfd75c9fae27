"""Which entries go to the log together, and which rows to data segments with them?

A chunk takes records until it is full. Each record becomes an entry, and each payload a row beside it, with
32 random bytes of its own.
"""

from __future__ import annotations

import os
from collections import Counter
from datetime import UTC
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from maia_sync.archive.entry import (
    PAYLOAD_TYPES,
    SALT_BYTES,
    encode_entry,
    entry_of,
    payload_hash,
    payload_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date, datetime

    from maia_sync.store.archived import Record

MOST_ENTRIES: Final = 65_536
MOST_PAYLOAD: Final = 32 << 20
_BY_RECEIPT: Final = frozenset(("quarantine", "sent"))
"""Their rows go by the date on which they were received, as they tell of none of their own."""


class Rows(NamedTuple):
    """The columns of rows with a payload, as lists; what does not apply is None."""

    entry: list[int]
    type: list[str]
    task_id: list[str | None]
    group_id: list[str | None]
    timestamp: list[int | None]
    timestamp_text: list[str | None]
    occurred_at: list[datetime | None]
    ordinal: list[int | None]
    revision: list[int | None]
    seq: list[int | None]
    received_at: list[datetime]
    run_id: list[int | None]
    number: list[int | None]
    data: list[bytes | None]
    """In UTF-8: so it is hashed, and a text of Python's can take four times as much."""
    extra: list[str | None]
    raw: list[bytes | None]
    salt: list[bytes]

    def clear(self) -> None:
        """Forget all rows."""
        for column in self:
            column.clear()


class Chunk:
    """Entries that follow each other in the log, from `first` up to `end`, and their payloads' rows."""

    def __init__(self, first: int) -> None:
        self.first = first
        self.end = first
        """The index of the log's entry after the last one here."""
        self.types: Counter[str] = Counter()
        """How many entries there are of each type."""
        self.payload_bytes = 0
        self._rows: dict[date | None, list[tuple[Any, ...]]] = {}
        """By their date in UTC; each has what Rows has columns for."""

    @property
    def is_full(self) -> bool:
        """Tell whether no further record should go in."""
        return self.end - self.first >= MOST_ENTRIES or self.payload_bytes >= MOST_PAYLOAD

    def take(self, records: Sequence[Record]) -> list[bytes]:
        """Take records in, in their order, as long as there is room; return the entry of each one taken.

        The entries are to be appended to the log, and are not kept here.
        """
        room = MOST_ENTRIES - (self.end - self.first)
        salts = os.urandom(SALT_BYTES * min(room, len(records)))
        entries: list[bytes] = []
        for at, record in enumerate(records[:room]):
            if self.payload_bytes >= MOST_PAYLOAD:
                break
            hashed = None
            if record.type in PAYLOAD_TYPES:
                hashed = self._keep(record, salts[SALT_BYTES * at : SALT_BYTES * (at + 1)])
            entries.append(encode_entry(entry_of(record, hashed)))
            self.types[record.type] += 1
            self.end += 1
        return entries

    def take_out(self) -> Iterator[tuple[date | None, Rows]]:
        """Yield the rows of each date in UTC, those without one last; whatever was taken out is gone."""
        for day in sorted(self._rows, key=lambda day: (day is None, day)):
            yield day, Rows._make(map(list, zip(*self._rows.pop(day), strict=True)))

    def _keep(self, record: Record, salt: bytes) -> str:
        """Put a record's payload into the rows; return its hash."""
        payload = payload_of(record)
        data = None if record.data is None else payload
        if data is not None and b"\0" in payload:  # then the payload is more than that
            data = str(record.data).encode()
        moment = record.received_at if record.type in _BY_RECEIPT else record.occurred_at
        row = (
            self.end,
            record.type,
            record.task_id,
            record.group_id,
            record.timestamp,
            record.timestamp_text,
            record.occurred_at,
            record.ordinal,
            record.revision,
            record.seq,
            record.received_at,
            record.run_id,
            record.number,
            data,
            record.extra,
            record.raw,
            salt,
        )
        self._rows.setdefault(None if moment is None else _day(moment), []).append(row)
        self.payload_bytes += len(payload)
        return payload_hash(salt, payload)


def _day(moment: datetime) -> date:
    return (moment if moment.tzinfo is UTC else moment.astimezone(UTC)).date()
