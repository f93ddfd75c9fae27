"""Which payloads does an erasure, or a limit of age, mean? What an entry of the log tells decides it.

So whoever reads the log knows which payloads should be gone, whether or not they can still be read.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from maia_sync.archive.entry import PAYLOAD_TYPES, facts_of
from maia_sync.model import NO_TIMESTAMP
from maia_sync.store.archived import ErasureFacts

if TYPE_CHECKING:
    from maia_sync.archive.entry import Entry

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Selection(NamedTuple):
    """What one erasure is of."""

    at: int
    """That of its own entry in the log: only entries before it are meant."""
    task: str
    before: int | None
    """Nanoseconds since the epoch; None: all."""

    def selects(self, index: int, entry: Entry) -> bool:
        """Tell whether the payload of an entry is erased."""
        return (
            index < self.at
            and entry.task == self.task
            and entry.type in PAYLOAD_TYPES
            and (self.before is None or nanoseconds_of(entry) < self.before)
        )


def selection_of(index: int, entry: Entry) -> Selection | None:
    """Return what an erasure's entry means; None for another entry. Raises ValueError for what is none."""
    facts = facts_of(entry) if entry.type == "erasure" else None
    if not isinstance(facts, ErasureFacts) or entry.task is None:
        return None
    return Selection(index, entry.task, None if facts.before is None else nanoseconds(facts.before))


def nanoseconds_of(entry: Entry) -> int:
    """Return how old an entry is: when its event occurred, or else when it was received."""
    if entry.timestamp is not None and entry.timestamp != NO_TIMESTAMP:
        return entry.timestamp
    return nanoseconds(entry.received or "")


def nanoseconds(moment: str) -> int:
    """Return a moment of an entry in nanoseconds since the epoch. Raises ValueError for what is none."""
    return nanoseconds_at(datetime.fromisoformat(moment))


def nanoseconds_at(moment: datetime) -> int:
    """Return an aware moment in nanoseconds since the epoch."""
    passed = moment.astimezone(UTC) - _EPOCH
    return ((passed.days * 86_400 + passed.seconds) * 1_000_000 + passed.microseconds) * 1_000
