"""What is asked of an `archive erase`, and what is told of what it came to?"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from maia_sync.archive.creating import AnchorOutcome
from maia_sync.archive.entry import text_of_moment
from maia_sync.archive.selection import nanoseconds
from maia_sync.store.erasure_rest import Limit

if TYPE_CHECKING:
    from collections.abc import Iterator

_OBJECT_STORES = ("s3://", "gs://", "az://")


class EraseRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Which payloads are to be erased, by whom, and why."""

    task_id: str
    before: datetime | None
    """Those that are older; None: all."""
    reason: str
    basis: str
    """The legal one."""
    erased_by: str
    new_digest_key: bool = False
    """Whether to do without the key by which payloads were removed before, as it is lost for good."""

    @property
    def limit(self) -> Limit:
        """Return the same as the database is asked for it."""
        return Limit(self.task_id, self.before, self.nanoseconds)

    @property
    def nanoseconds(self) -> int | None:
        """Return `before` in nanoseconds since the epoch."""
        return None if self.before is None else nanoseconds(text_of_moment(self.before))


class EarlierErasure(msgspec.Struct, frozen=True, kw_only=True):
    """What the log tells of an erasure of the same task before."""

    entry: int
    """Its index in the log."""
    erased_at: datetime
    before: datetime | None
    payloads: int


class EraseReport(msgspec.Struct, frozen=True, kw_only=True):
    """What one erasure came to, or would come to."""

    place: str
    origin: str
    """The log's name."""
    task_id: str
    before: datetime | None
    dry_run: bool
    payloads: dict[str, int]
    """How many of the log's entries lost theirs, or would, by type."""
    files: int
    """Data segments that were written anew, or would be."""
    emptied: int
    """Payloads that were taken out of the database; those that were pruned before are not among them."""
    unknown: int
    """Payloads that were taken out of the task before by another key, and will not be known again."""
    newer: int
    """Payloads that came while it was erased, so that they are neither archived nor erased."""
    archived: int
    """Records that were archived before."""
    waiting: bool
    """Whether something of the task waits to be archived, and would be erased as well: of a dry run."""
    waiting_payloads: int
    """How many payloads that are meant wait to be archived first: of a dry run."""
    is_tracked: bool
    """Whether the task is still followed, so that what it tells from now on is stored."""
    earlier: tuple[EarlierErasure, ...]
    """Where nothing is left to erase: what was erased before, the oldest first."""
    erasure: int | None
    """The index of the log's entry that tells of it; None if there was nothing to erase."""
    erased_at: datetime | None
    checkpoint: str | None
    """The newest one, as it was signed."""
    anchor: AnchorOutcome | None
    """None of a dry run."""
    anchor_error: str | None
    unscrubbed: str | None
    """Why the database's free pages may still hold what was erased; None if they do not."""
    not_reached: tuple[str, ...]
    """Where copies may lie that cannot be reached from here."""
    interrupted_by: int | None
    """A signal's number; then nothing was erased."""
    seconds: float

    @property
    def erased(self) -> int:
        """How many payloads there were."""
        return sum(self.payloads.values())


def copies_elsewhere(place: str, *, is_postgresql: bool, earlier_logs: list[str]) -> Iterator[str]:
    """Yield where copies of what was erased may lie that nobody here can reach."""
    if place.startswith(_OBJECT_STORES):
        yield (
            f"earlier versions of objects at {place}: versioning, soft delete, object lock and replication "
            "keep what was deleted there"
        )
    else:
        yield f"backups and snapshots of {place}, and what its file system keeps of deleted files"
    yield "copies of the archive elsewhere: bring each up to date, and delete there what is gone here"
    for origin in earlier_logs:
        yield f"the archive of {origin}, the log before this one: it is left as it is"
    yield "backups of the database"
    if is_postgresql:
        yield "PostgreSQL's write-ahead log, its archive, replicas and base backups"
        yield (
            "unused space of PostgreSQL's pg_statistic and pg_statistic_ext_data, unless our user owns the "
            "database"
        )
    else:
        yield "what the file system keeps of the database's earlier pages, and its snapshots"
    yield "proofs that were handed out (`maia-sync archive prove`): each holds its payload"
    yield "whatever was printed or exported: reports, answers of `query`, `events`, log files of others"
    yield "Maia itself, which may still serve it"
