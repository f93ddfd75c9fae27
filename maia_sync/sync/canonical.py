"""Are two payloads the same JSON value, spelt differently? A digest that does not see spelling.

Key order, white space and escapes do not count; number spelling, repeated names and their order
do. Asked only where a key is met again with another digest, so it may cost more than a hash.
Containers are hashed from the inside out: memory and time stay linear at any depth.
"""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING

from maia_sync.maia.json_slices import MalformedJson, TooDeep, tokens_of
from maia_sync.maia.timestamp import read_instant

if TYPE_CHECKING:
    from maia_sync.model import Event


def canonical_of_event(event: Event) -> bytes:
    """Return the canonical digest of an event's payload; 32 bytes."""
    return canonical_of_payload(event.data, event.extra, event.timestamp_text)


def canonical_of_payload(data: str | None, extra: str | None, timestamp_text: str | None) -> bytes:
    """Return the canonical digest of a payload given as stored text; 32 bytes."""
    part = b"" if timestamp_text is None else read_instant(timestamp_text).payload_part
    whole = (_canonical(data), _canonical(extra), sha256(part).digest())
    return sha256(b"".join(whole)).digest()


def _canonical(text: str | None) -> bytes:
    if text is None:
        return sha256(b"absent").digest()
    try:
        return sha256(_value(text.encode())).digest()
    except (MalformedJson, TooDeep):
        # Only a payload that was altered in the database can be no JSON: it equals nothing but itself.
        return sha256(b"altered" + text.encode()).digest()


def _value(raw: bytes) -> bytes:
    """Fold one valid JSON value into bytes that are equal exactly for equal values."""
    open_containers: list[tuple[bytes, list[bytes]]] = []
    parts: list[bytes] = []
    for start, end in tokens_of(raw):
        byte = raw[start:end][:1]
        if byte in b"[{":
            open_containers.append((byte, parts))
            parts = []
        elif byte in b"]}":
            kind, outer = open_containers.pop()
            outer.append(_container(kind, parts))
            parts = outer
        elif byte == b'"':
            parts.append(b"s" + json.loads(raw[start:end]).encode("utf-8", "surrogatepass"))
        elif byte not in b",:":
            parts.append(b"n" + raw[start:end])
    return parts[0]


def _container(kind: bytes, parts: list[bytes]) -> bytes:
    """Hash a container's parts; an object's members are sorted by name, repeats keep their order."""
    if kind == b"{":
        members = sorted(zip(parts[::2], parts[1::2], strict=True), key=lambda member: member[0])
        parts = [part for member in members for part in member]
    hashed = sha256(kind)
    for part in parts:
        hashed.update(b"%d:" % len(part))
        hashed.update(part)
    return kind + hashed.digest()
