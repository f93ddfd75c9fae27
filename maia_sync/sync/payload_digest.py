"""Which digests does a payload have that is known as stored text? Also the keyed ones, once it is removed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from maia_sync.maia.element import digest_of
from maia_sync.maia.timestamp import read_instant
from maia_sync.sync.canonical import canonical_of_payload

if TYPE_CHECKING:
    from maia_sync.store.digest_key import DigestKey


class KeyedDigests(NamedTuple):
    """What stands in `digest` and `canonical` once a payload is removed."""

    digest: bytes
    canonical: bytes


def digest_of_payload(data: str | None, extra: str | None, timestamp_text: str | None) -> bytes:
    """Return the digest that an event with this payload is stored with; 32 bytes."""
    part = b"" if timestamp_text is None else read_instant(timestamp_text).payload_part
    return digest_of(data, extra, part)


def keyed_digests_of(
    key: DigestKey, data: str | None, extra: str | None, timestamp_text: str | None
) -> KeyedDigests:
    """Return the keyed digests by which a payload is known again, in whatever spelling."""
    digest = digest_of_payload(data, extra, timestamp_text)
    return KeyedDigests(key.of(digest), key.of(canonical_of_payload(data, extra, timestamp_text)))
