"""What does one element of `results` become: an Event, or a quarantine entry?

The rules are DESIGN section 3's: what the group key holds, what counts as payload, what the
digest covers, what cannot be stored. Stored text is always a slice of the bytes that came.
"""

from __future__ import annotations

import json
from hashlib import sha256

from maia_sync.maia.json_slices import MalformedJson, TooDeep, members_of, tokens_of
from maia_sync.maia.timestamp import NOWHERE, read_instant
from maia_sync.model import Event, Quarantined

MAX_GROUP_BYTES = 512
HASHED_GROUP = "sha256:"
_SEPARATOR = b"\0"  # cannot occur in JSON text, so the parts of a digest cannot run together
_NOTHING = (None, b"null")
KNOWN = frozenset(("data", "groupId", "timestamp"))
"""The fields of TaskEvent that the contract names."""


def make_event(*, data: str | None, group_id: str, timestamp_text: str | None, extra: str | None) -> Event:
    """Make an Event of parts that are known to be storable; `data` is valid JSON."""
    instant = NOWHERE if timestamp_text is None else read_instant(timestamp_text)
    return Event(
        group_id=group_id,
        timestamp=instant.nanoseconds,
        timestamp_text=timestamp_text,
        occurred_at=instant.occurred_at,
        data=data,
        extra=extra,
        digest=digest_of(data, extra, instant.payload_part),
    )


def digest_of(data: str | None, extra: str | None, timestamp_part: bytes) -> bytes:
    """Hash a payload: SHA-256(data) as a rule, so that anyone can recompute it.

    Where there is extra, or a part of the timestamp that the key does not hold, it is
    SHA-256(data || 00 || extra || 00 || timestamp part), absent parts being empty.
    """
    if extra is None and not timestamp_part:
        return sha256((data or "").encode()).digest()
    parts = ((data or "").encode(), (extra or "").encode(), timestamp_part)
    return sha256(_SEPARATOR.join(parts)).digest()


def read_element(raw: bytes) -> Event | Quarantined:
    """Read one raw element strictly; what cannot be stored comes back as Quarantined."""
    try:
        raw.decode()
        tokens_of(raw)
    except UnicodeDecodeError:
        return quarantined(raw, "it is not valid UTF-8")
    except (MalformedJson, TooDeep) as fault:
        return quarantined(raw, str(fault))
    if raw[:1] != b"{":
        return quarantined(raw, "it is not a JSON object")
    return event_of([(json.loads(name), name, value) for name, value in members_of(raw)])


def quarantined(raw: bytes, reason: str) -> Quarantined:
    """Keep an element byte for byte, with the reason."""
    return Quarantined(raw=raw, reason=reason, digest=sha256(raw).digest())


def event_of(members: list[tuple[str, bytes, bytes]]) -> Event:
    """Make an Event of an object's (name, raw name, raw value), in order, repeats included."""
    known = {name: at for at, (name, _, _) in enumerate(members) if name in KNOWN}  # the last one counts
    group_raw, timestamp_raw, data = (
        members[known[name]][2] if name in known else None for name in ("groupId", "timestamp", "data")
    )
    group_id, timestamp_text = group_key(group_raw), _storable_string(timestamp_raw)
    told = {known.get("data")}
    if group_raw in _NOTHING or group_id == _storable_string(group_raw):
        told.add(known.get("groupId"))
    if timestamp_raw in _NOTHING or timestamp_text is not None:
        told.add(known.get("timestamp"))
    untold = [name + b":" + value for at, (_, name, value) in enumerate(members) if at not in told]
    return make_event(
        data=None if data is None else data.decode(),
        group_id=group_id,
        timestamp_text=timestamp_text,
        extra=("{" + b",".join(untold).decode() + "}") if untold else None,
    )


def group_key(raw: bytes | None) -> str:
    """Turn the raw JSON of `groupId` into the key's group (DESIGN section 3, identity)."""
    if raw is None or raw == b"null":
        return ""
    text = _storable_string(raw)
    if text is not None and len(text.encode()) <= MAX_GROUP_BYTES:
        return text
    return HASHED_GROUP + sha256(raw).hexdigest()


def _storable_string(raw: bytes | None) -> str | None:
    """Return the text of a raw JSON string that both databases can hold, else None."""
    if raw is None or raw[:1] != b'"':
        return None
    text: str = json.loads(raw)
    return text if is_storable(text) else None


def is_storable(text: str) -> bool:
    """Tell whether both databases can hold the text: PostgreSQL has no NUL, UTF-8 no surrogate."""
    if "\0" in text:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
