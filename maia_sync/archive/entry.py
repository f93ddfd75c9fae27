"""What does one entry of the log look like, and what of a payload is hashed into it?

An entry is compact JSON of at most 65,535 bytes (C2SP tlog-tiles), with what does not apply left out. It
never holds a payload: `payload` is the hex SHA-256 over 32 random bytes and the payload, which lie together
in a data segment and can be erased there without breaking the log.

The payload's bytes: an event's `data` as it came, in UTF-8, or a message's request, or an element in
quarantine. Where an event has unknown fields, or a timestamp that cannot be read, they are part of its
payload: then the bytes are data, a zero byte, extra, a zero byte, the timestamp's text, each empty if it is
absent (a zero byte stands in no JSON text). A readable timestamp stands in the entry, as `timestamp_text`.
"""

from __future__ import annotations

import hashlib
from datetime import UTC
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeAlias, get_args

import msgspec

from maia_sync.errors import Bug
from maia_sync.store.archived import (
    ErasureFacts,
    HoldFacts,
    QuarantineFacts,
    RecordType,
    Removed,
    RunFacts,
    SentFacts,
    TaskFacts,
)
from maia_sync.store.archived import Facts as RecordFacts

if TYPE_CHECKING:
    from datetime import datetime

    from maia_sync.store.archived import Record

MOST_BYTES: Final = 65_535
SALT_BYTES: Final = 32
_LARGE: Final = 1 << 16
_LONGEST_TIMESTAMP: Final = 64
_LONGEST_TEXT: Final = 8_000
"""Characters of an error or a reason, which may take six bytes each in JSON."""
_LONG_TEXTS: Final = frozenset(("error", "reason", "release_reason"))
TYPES: Final = (*get_args(RecordType), "segment", "redacted")
"""The types of entries."""
PAYLOAD_TYPES: Final = frozenset(("event", "revision", "quarantine", "sent"))
"""The types of entries that have a payload, and so a row in a segment."""


class SegmentFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One data segment: a file of the archive."""

    path: str
    sha256: str
    rows: int
    first: int
    """Its rows belong to entries from this index on ..."""
    end: int
    """... up to this one, which is not among them."""


class RedactedFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A data segment that takes the place of another, from which payloads were erased.

    It has the same rows in the same order. Those whose payload was erased have NULL in `salt`, `data` and
    `extra`, and in `timestamp_text` unless their entry tells it; `raw` has their keyed digests one after the
    other (of an event `digest` and `canonical`, of an element in quarantine `digest`; of a sent message none:
    NULL).
    """

    path: str
    sha256: str
    rows: int
    first: int
    end: int
    """These as in SegmentFacts."""
    replaces: str
    """The path of the file whose place it takes, which is deleted."""
    erasure: int
    """The index of the entry of the erasure for which it was written."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One entry; `type` is a store.archived.RecordType, `segment`, or `redacted`."""

    v: int
    """The version of this format: 1."""
    type: str
    task: str | None = None
    group: str | None = None
    timestamp: int | None = None
    """As in the key: nanoseconds since the Unix epoch, or model.NO_TIMESTAMP."""
    timestamp_text: str | None = None
    ordinal: int | None = None
    revision: int | None = None
    id: int | None = None
    received: str | None = None
    """UTC, `2026-11-26T11:12:13.123456Z`; None in `segment` and `redacted`."""
    run: int | None = None
    payload: str | None = None
    facts: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    """JSON of what more there is to be told of it: see `facts_of`."""
    removed: Removed | None = None
    """Of what is `missing`, as it was pruned or erased before it was archived; older logs do not tell it."""


Facts: TypeAlias = RecordFacts | SegmentFacts | RedactedFacts
_FACTS: Final[dict[str, type[Facts]]] = {
    "run": RunFacts,
    "sent": SentFacts,
    "quarantine": QuarantineFacts,
    "segment": SegmentFacts,
    "redacted": RedactedFacts,
    "task": TaskFacts,
    "hold": HoldFacts,
    "erasure": ErasureFacts,
}
_TOO_DEEP: Final = "the JSON is nested too deeply"
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Entry)


@lru_cache(maxsize=64)  # a page's events share theirs
def text_of_moment(moment: datetime) -> str:
    """Return a moment as entries tell it."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def is_told_in_entry(record: Record) -> bool:
    """Tell whether the timestamp's text stands in the entry, not in the payload."""
    return stands_in_entry(record.timestamp_text, record.occurred_at)


def stands_in_entry(timestamp_text: str | None, occurred_at: datetime | None) -> bool:
    """Tell the same of a row of a segment."""
    return (
        timestamp_text is not None and occurred_at is not None and len(timestamp_text) <= _LONGEST_TIMESTAMP
    )


def payload_of(record: Record) -> bytes:
    """Return the bytes that are hashed, and kept in a segment's columns."""
    if record.raw is not None:
        return record.raw
    data = (record.data or "").encode()
    text = None if is_told_in_entry(record) else record.timestamp_text
    if record.extra is None and text is None and record.data is not None:
        return data
    return b"\0".join((data, (record.extra or "").encode(), (text or "").encode("utf-8", "surrogatepass")))


def payload_hash(salt: bytes, payload: bytes) -> str:
    """Return what an entry says of a payload: hex of SHA-256 over salt and payload."""
    if len(payload) < _LARGE:
        return hashlib.sha256(salt + payload).hexdigest()
    hashed = hashlib.sha256(salt)  # without a copy of what is large
    hashed.update(payload)
    return hashed.hexdigest()


def entry_of(record: Record, payload: str | None) -> Entry:
    """Return the entry for a record; `payload` is its payload's hash."""
    return Entry(
        v=1,
        type=record.type,
        task=record.task_id,
        group=record.group_id,
        timestamp=record.timestamp,
        timestamp_text=record.timestamp_text if is_told_in_entry(record) else None,
        ordinal=record.ordinal,
        revision=record.revision,
        id=record.number,
        received=text_of_moment(record.received_at),
        run=record.run_id,
        payload=payload,
        facts=msgspec.UNSET if record.facts is None else msgspec.Raw(_encoder.encode(_bounded(record.facts))),
        removed=record.removed if record.type == "missing" else None,
    )


def segment_entry(facts: SegmentFacts) -> Entry:
    """Return the entry that binds a segment's bytes."""
    return Entry(v=1, type="segment", facts=msgspec.Raw(_encoder.encode(facts)))


def redacted_entry(facts: RedactedFacts) -> Entry:
    """Return the entry that binds the bytes of a segment in another's place."""
    return Entry(v=1, type="redacted", facts=msgspec.Raw(_encoder.encode(facts)))


def encode_entry(entry: Entry) -> bytes:
    """Return an entry's bytes, which are the leaf of the tree."""
    encoded = _encoder.encode(entry)
    if len(encoded) > MOST_BYTES:
        raise Bug("an entry of the archive's log would be too large")
    return encoded


def decode_entry(encoded: bytes) -> Entry:
    """Return an entry. Raises msgspec.DecodeError (a ValueError) for what is none."""
    try:
        return _decoder.decode(encoded)
    except RecursionError as error:
        raise msgspec.DecodeError(_TOO_DEEP) from error


def facts_of(entry: Entry) -> Facts | None:
    """Return what more an entry tells. Raises msgspec.DecodeError (a ValueError) for what is none."""
    if not isinstance(entry.facts, msgspec.Raw) or entry.type not in _FACTS:
        return None
    try:
        return msgspec.json.decode(entry.facts, type=_FACTS[entry.type])
    except RecursionError as error:
        raise msgspec.DecodeError(_TOO_DEEP) from error


def _bounded(facts: RecordFacts) -> RecordFacts:
    long = {
        name: value[:_LONGEST_TEXT]
        for name in _LONG_TEXTS.intersection(facts.__struct_fields__)
        if (value := getattr(facts, name)) is not None and len(value) > _LONGEST_TEXT
    }
    return msgspec.structs.replace(facts, **long) if long else facts
