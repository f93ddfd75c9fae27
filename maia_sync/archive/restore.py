"""How does a database come back from its archive alone? Verified while it is read, and resumed after a death.

The database has to be empty, or to be one that this very archive is being restored to. It counts as
unfinished, and nothing else uses it, until the last step has been done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from maia_sync.archive.finding import Finding, counted
from maia_sync.archive.layout import (
    CHECKPOINT,
    CHECKPOINTS,
    checkpoint_path,
    parse_checkpoint_path,
    read_unfinished,
)
from maia_sync.archive.log_reader import LogReader
from maia_sync.archive.note import open_checkpoint, text_of_root
from maia_sync.archive.publishing import read_added
from maia_sync.archive.recovery import read_head
from maia_sync.archive.restoring import Restoring
from maia_sync.archive.verify import verify_archive
from maia_sync.errors import ArchiveDiffers, ArchiveError, KeysTaken, UsageError
from maia_sync.store import restored_sums, restoring
from maia_sync.store.migrations import upgrade
from maia_sync.store.reporting import settle_zone
from maia_sync.store.restored_events import moment_of
from maia_sync.store.restoring import KnownCheckpoint
from maia_sync.sync.canonical import canonical_of_payload

if TYPE_CHECKING:
    from collections.abc import Callable

    from maia_sync.archive.merkle import TreeHead
    from maia_sync.archive.note import VerifierKey
    from maia_sync.archive.place import Place
    from maia_sync.archive.verifying import ArchiveReport, Progress, Stopped
    from maia_sync.store.database import Database
    from maia_sync.store.facets import FacetReader
    from maia_sync.store.restoring import RestoreRow

_STOP: Final = -1
"""In place of a signal's number: something is wrong with the archive."""


class RestoreReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a restore came to."""

    place: str
    origin: str
    database: str
    size: int
    """Entries of the archive's log."""
    root: str | None
    """The log's root, as its checkpoint tells it."""
    resumed_at: int
    """Up to which entry a restore before had come."""
    restored: int
    """Up to which entry the database has been restored."""
    entries: dict[str, int]
    """What was restored now, by type."""
    erased: int
    """Payloads among it that were erased: their rows tell so."""
    completed: bool
    notes: tuple[str, ...]
    findings: tuple[Finding, ...]
    """What is wrong with the archive; then the database stays unfinished."""
    finding_count: int
    interrupted_by: int | None
    seconds: float


def _never() -> None:
    return None


def restore_archive(
    place: Place,
    key: VerifierKey,
    database: Database,
    *,
    facets: FacetReader,
    time_zone: str = "UTC",
    progress: Progress | None = None,
    stopped: Stopped = _never,
) -> RestoreReport:
    """Rebuild a database from an archive; what is wrong with the archive is in the report.

    `facets` reads the columns for analytics, which are told in `time_zone`. Raises UsageError if the database
    holds anything else, ArchiveError if there is no archive, or if it has changed since the restore was
    begun, and DatabaseError.
    """
    begun = database.clock.monotonic()
    head = _readable_head(place, key)
    _complete_publication(place, key, head)
    head = _readable_head(place, key)
    if head is None:  # it is told why, and nothing is written
        report = verify_archive(place, key, progress=progress, stopped=stopped)
        if not report.finding_count and report.interrupted_by is None:
            raise ArchiveError(f"{place.name}: there is no archive that could be restored, so far")
        return _report(database, report, None, 0, completed=False, seconds=database.clock.monotonic() - begun)
    _prepare(database, place, time_zone)
    known = _known_checkpoints(place, key, head)
    row = _begin(database, key, known)
    _require_same(database, place, key, head, row)
    restorer = Restoring(
        place,
        key.name,
        database,
        facets,
        head=head,
        sizes=[each.tree_size for each in known],
        done=0 if row is None else row.entries,
    )
    report = verify_archive(
        place,
        key,
        comparison=restorer,
        progress=progress,
        stopped=lambda: _STOP if restorer.is_wrong else stopped(),
    )
    completed = False
    if not report.finding_count and report.interrupted_by is None:
        if restorer.done != head.size or report.root != text_of_root(head.root):
            raise ArchiveError(_changed(database, place))
        if _take_last_steps(database, stopped):
            # What was read need not be one state of an archive that is another by now.
            completed = _readable_head(place, key) == head and _declare_whole(database, restorer.last_run)
            if not completed:
                raise ArchiveError(_changed(database, place))
    seconds = database.clock.monotonic() - begun
    interrupted_by = None if completed else report.interrupted_by or stopped()
    report = msgspec.structs.replace(report, interrupted_by=interrupted_by)
    return _report(database, report, restorer, head.size, completed=completed, seconds=seconds)


def _readable_head(place: Place, key: VerifierKey) -> TreeHead | None:
    try:
        return read_head(place, key)
    except ArchiveDiffers:
        return None


def _complete_publication(place: Place, key: VerifierKey, head: TreeHead | None) -> None:
    """Put the newest checkpoint in its place, if a create or an erase was cut off right before that.

    It was signed, and the database that would have gone on with it is lost: another history in its place must
    not be signed. Raises ArchiveDiffers if the key has signed one that is not there as a whole, or was not
    just being put in its place, and ArchiveBusy if another process is at it.
    """
    size = 0 if head is None else head.size
    left = read_unfinished(place)
    is_cut_off = left is not None and left.origin == key.name and left.since <= size
    if (head is None and not is_cut_off) or not _copies_beyond(place, key, size):
        return
    with place.lock():
        old = place.read(CHECKPOINT)
        if _head_in(old, key) != head or (old is not None and head is None):
            return  # another process has gone on, or it is broken: what comes next tells
        copies = _copies_beyond(place, key, size)
        for signed, content in copies.values():
            if not is_cut_off or len(copies) > 1 or not _is_whole(place, head, signed):
                raise ArchiveDiffers(
                    f"{place.name}: the key has signed a checkpoint of {counted(signed.size, 'entry')} "
                    f"({checkpoint_path(signed.size)}), and the archive ends at {size:,}, or what that "
                    "covers is not there as it was: it was put back to an older state, or lacks files. "
                    "Nothing was restored: bring back what is newer from a copy"
                )
            place.settle()
            place.swap(CHECKPOINT, old, content)


def _copies_beyond(place: Place, key: VerifierKey, size: int) -> dict[int, tuple[TreeHead, bytes]]:
    """Return the signed copies of checkpoints beyond a log of this size."""
    found: dict[int, tuple[TreeHead, bytes]] = {}
    for path in sorted(each.path for each in place.list(CHECKPOINTS)):
        copied = parse_checkpoint_path(path)
        content = place.read(path) if copied is not None and copied > size else None
        signed = _head_in(content, key)
        if signed is not None and content is not None and signed.size == copied:
            found[copied] = signed, content
    return found


def _head_in(content: bytes | None, key: VerifierKey) -> TreeHead | None:
    try:
        return None if content is None else open_checkpoint(content, key)
    except ArchiveDiffers:
        return None


def _is_whole(place: Place, head: TreeHead | None, signed: TreeHead) -> bool:
    """Tell whether a signed log goes on from the one before, and all that it adds is there."""
    try:
        if head is not None and LogReader(place, signed).root_at(head.size) != head.root:
            return False
        read_added(place, 0 if head is None else head.size, signed)
    except ArchiveDiffers:
        return False
    return True


def _prepare(database: Database, place: Place, time_zone: str) -> None:
    """Make the tables. Raises UsageError if something else is in the database."""
    if database.read_revision() is None or not _is_begun(database):
        used = restoring.tables_in_use(database)
        if used:
            named = ", ".join(used[:3]) + ("" if len(used) < 4 else ", ...")
            raise UsageError(
                f"{database.place} is not empty ({named}): {place.name} can be restored to an empty database "
                "only"
            )
    upgrade(database)
    with database.transaction() as tx:
        settle_zone(tx, time_zone)


def _is_begun(database: Database) -> bool:
    with database.transaction(write=False) as tx:
        if not database.engine.dialect.has_table(tx.connection, "archive_restore"):
            return False
        row = restoring.read_restore(tx)
    if row is not None and row.completed_at is not None:
        raise UsageError(
            f"{database.place} has been restored from the archive of {row.origin} already, and is in use"
        )
    return row is not None


def _known_checkpoints(place: Place, key: VerifierKey, head: TreeHead) -> list[KnownCheckpoint]:
    """Return the archive's checkpoints up to its head, from small to large.

    What is no signed checkpoint is left out: the verification tells of it.
    """
    found: dict[int, KnownCheckpoint] = {}
    for path in sorted(each.path for each in place.list(CHECKPOINTS)):
        size = parse_checkpoint_path(path)
        if size is None or size > head.size:
            continue
        content = place.read(path) or b""
        try:
            signed = open_checkpoint(content, key)
            found[size] = KnownCheckpoint(signed.size, signed.root, content.decode())
        except (ArchiveDiffers, ValueError):
            continue
    if head.size not in found:
        raise ArchiveDiffers(
            f"{place.name}: there is no copy of its checkpoint of {counted(head.size, 'entry')}: "
            "`maia-sync archive verify` tells more"
        )
    return [found[size] for size in sorted(found)]


def _begin(database: Database, key: VerifierKey, known: list[KnownCheckpoint]) -> RestoreRow | None:
    """Note that the restore has begun, unless it had; then return how far it has come."""
    try:
        with database.transaction(durable=True) as tx:
            row = restoring.read_restore(tx)
            if row is None:
                restoring.begin_restore(tx, key.name, known)
    except KeysTaken as error:
        raise ArchiveError(
            f"another process has just begun to restore {database.place}: leave it to that one"
        ) from error
    return row


def _require_same(
    database: Database, place: Place, key: VerifierKey, head: TreeHead, row: RestoreRow | None
) -> None:
    """Raise unless what was begun is a restore of this very archive, as it is now."""
    if row is None:
        return
    if row.origin != key.name:
        raise UsageError(
            f"{database.place} is being restored from the archive of {row.origin}, not of {key.name}"
        )
    if (row.tree_size, row.root_hash) != (head.size, head.root):
        raise ArchiveError(_changed(database, place))


def _changed(database: Database, place: Place) -> str:
    return (
        f"{place.name} has got another checkpoint since {database.place} was begun to be restored from it: "
        "begin anew with an empty database, while nobody writes the archive"
    )


def _take_last_steps(database: Database, stopped: Stopped) -> bool:
    """Take the last steps, each of which may be done again; tell whether all of them were."""
    steps: tuple[Callable[[Database, Stopped], bool], ...] = (_fill_canonicals, _sum_up)
    return all(step(database, stopped) for step in steps)


def _declare_whole(database: Database, last_run: tuple[int, str]) -> bool:
    """Note that all is restored; tell whether it is."""
    number, received = last_run
    with database.transaction(durable=True) as tx:
        if restoring.has_untold(tx):  # an erasure was at work meanwhile
            return False
        if number:
            restoring.put_lost_run(tx, number, moment_of(received) or tx.now)
        restoring.complete_restore(tx)
    return True


def _fill_canonicals(database: Database, stopped: Stopped) -> bool:
    after: restored_sums.KeyName | None = None
    while stopped() is None:
        with database.transaction() as tx:
            after = restored_sums.fill_canonicals(tx, after, canonical_of_payload)
        if after is None:
            return True
    return False


def _sum_up(database: Database, stopped: Stopped) -> bool:
    after = ""
    while stopped() is None:
        with database.transaction() as tx:
            after = restored_sums.sum_next_tasks(tx, after)
        if not after:
            return True
    return False


def _report(
    database: Database,
    report: ArchiveReport,
    restorer: Restoring | None,
    size: int,
    *,
    completed: bool,
    seconds: float,
) -> RestoreReport:
    return RestoreReport(
        place=report.place,
        origin=report.origin,
        database=database.place,
        size=size,
        root=report.root,
        resumed_at=0 if restorer is None else restorer.began_at,
        restored=0 if restorer is None else restorer.done,
        entries={} if restorer is None else dict(sorted(restorer.entries.items())),
        erased=0 if restorer is None else restorer.erased,
        completed=completed,
        notes=(*report.notes, *_notes(report, completed=completed)),
        findings=report.findings,
        finding_count=report.finding_count,
        interrupted_by=None if report.finding_count else report.interrupted_by,
        seconds=seconds,
    )


def _notes(report: ArchiveReport, *, completed: bool) -> tuple[str, ...]:
    if not completed or not report.size or report.entries.get("task"):
        return ()
    return ("the archive does not tell how tasks were tracked: all of them are active now, also paused ones",)
