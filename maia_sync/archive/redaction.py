"""What does a data segment look like once payloads are taken out, and by which digests are they known again?

See RedactedFacts in entry.py. All other rows stay as they were, to the letter.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from maia_sync.archive.chunk import Rows
from maia_sync.archive.entry import stands_in_entry
from maia_sync.archive.segment import encode_segment, read_segment
from maia_sync.store.emptying import EmptiedEvent
from maia_sync.sync.payload_digest import keyed_digests_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from maia_sync.store.digest_key import DigestKey


class Emptied(NamedTuple):
    """Payloads that were taken out: by what the database knows them."""

    events: list[EmptiedEvent]
    quarantined: list[tuple[int, bytes]]
    """Each id with its keyed digest."""
    sent: list[int]

    @property
    def number(self) -> int:
        """How many there are."""
        return len(self.events) + len(self.quarantined) + len(self.sent)


def redact(content: bytes, entries: Collection[int], key: DigestKey) -> tuple[bytes, Emptied]:
    """Return a segment without the payloads of these entries, and what those were.

    Raises ValueError, with a sentence, for what is no segment.
    """
    parts = zip(*read_segment(content), strict=True)
    whole = Rows._make([value for part in column for value in part] for column in parts)
    emptied = Emptied([], [], [])
    for at, entry in enumerate(whole.entry):
        if entry in entries:
            whole.raw[at] = _take_out(whole, at, key, emptied)
            whole.data[at] = whole.extra[at] = None
            if not stands_in_entry(whole.timestamp_text[at], whole.occurred_at[at]):
                whole.timestamp_text[at] = None
            whole.salt[at] = None  # type: ignore[call-overload] # as only those are that were not erased
    return encode_segment(whole), emptied


def _take_out(rows: Rows, at: int, key: DigestKey, emptied: Emptied) -> bytes | None:
    """Note a payload that is taken out; return what stands in `raw` in its place."""
    number, raw = rows.number[at], rows.raw[at]
    if rows.type[at] == "sent":
        emptied.sent.append(_known(number))
        return None
    if rows.type[at] == "quarantine":
        keyed = key.of(sha256(raw or b"").digest())
        emptied.quarantined.append((_known(number), keyed))
        return keyed
    data = rows.data[at]
    text = None if data is None else data.decode()
    digests = keyed_digests_of(key, text, rows.extra[at], rows.timestamp_text[at])
    emptied.events.append(
        EmptiedEvent(
            rows.group_id[at] or "",
            _known(rows.timestamp[at]),
            _known(rows.ordinal[at]),
            _known(rows.revision[at]),
            *digests,
        )
    )
    return b"".join(digests)


def _known(number: int | None) -> int:
    if number is None:
        raise ValueError("a row of it does not name what its payload is of")
    return number
