"""Which rows whose payloads were removed does a page serve again? They are known by keyed digests alone.

Such a row is handed on with the digests that it would have if its payload were there: the digest of the event
that it equals to the letter, the canonical one of an event that is spelt anew. One that equals none of the
page's events keeps its keyed digests, which equal nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from maia_sync.store.digest_key import KEYED_BYTES, is_keyed
from maia_sync.sync.canonical import canonical_of_event

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from maia_sync.model import Event, EventKey, StoredRow
    from maia_sync.store.digest_key import DigestKeyFile


def known_again(key_file: DigestKeyFile, rows: list[StoredRow], events: Iterable[Event]) -> list[StoredRow]:
    """Return the rows; those without a payload that equal one of the events with its digests.

    Raises DigestKeyMissing if they cannot be compared for want of the key.
    """
    if all(len(row.digest) != KEYED_BYTES for row in rows):  # as in nearly every page
        return rows
    removed: dict[EventKey, list[StoredRow]] = {}
    for row in rows:
        if is_keyed(row.digest):
            removed.setdefault((row.group_id, row.timestamp), []).append(row)
    served: dict[EventKey, list[Event]] = {}
    for event in events:
        if (event.group_id, event.timestamp) in removed:
            served.setdefault((event.group_id, event.timestamp), []).append(event)
    found = {
        id(row): known
        for key, of_key in served.items()
        for row, known in zip(removed[key], _known(key_file, removed[key], of_key), strict=True)
    }
    return [found.get(id(row), row) for row in rows]


def _known(key_file: DigestKeyFile, rows: Sequence[StoredRow], events: Sequence[Event]) -> list[StoredRow]:
    """Return the removed rows of one key, as they compare with the events of that key."""
    key = key_file.require(rows[0].digest)
    for row in rows:
        key_file.require(row.digest)
    digests = {key.of(digest): digest for digest in {event.digest for event in events}}
    to_the_letter = {digests.get(row.digest) for row in rows}
    others = (event for event in events if event.digest not in to_the_letter)
    canonicals = {key.of(canonical): canonical for canonical in map(canonical_of_event, others)}
    return [
        msgspec.structs.replace(
            row,
            digest=digests.get(row.digest, row.digest),
            canonical=row.canonical and canonicals.get(row.canonical, row.canonical),
        )
        for row in rows
    ]
