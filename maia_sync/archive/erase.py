"""How are payloads erased from archive and database at once, so that the log still proves all the rest?

Entries stay, and with them the hashes of payloads; the payloads and their salts go. Whatever is not archived
yet is archived first; erasure.py does the rest.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from maia_sync.archive.create import Creation
from maia_sync.archive.erasing import EraseReport, copies_elsewhere
from maia_sync.archive.erasure import Attempt, require_no_hold, rest_of
from maia_sync.archive.erasure_scan import Scan
from maia_sync.archive.folder import forget_unnamed
from maia_sync.archive.keys import digest_key_of, require_fit
from maia_sync.archive.log_reader import LogReader
from maia_sync.archive.recovery import examine, read_head, require_begun
from maia_sync.archive.writing import leased
from maia_sync.errors import ArchiveBusy, ArchiveDiffers, UsageError
from maia_sync.store.archive_anew import takes_a_place
from maia_sync.store.erasing import is_waiting, knows_task, read_earlier_logs
from maia_sync.store.erasure_rest import count_payloads, count_pruned, count_waiting, is_enrolled
from maia_sync.store.tasks import read_tasks

if TYPE_CHECKING:
    from maia_sync.archive.creating import Anchor, AnchorOutcome, Stopped
    from maia_sync.archive.erasing import EarlierErasure, EraseRequest
    from maia_sync.archive.merkle import TreeHead
    from maia_sync.archive.note import Signer, VerifierKey
    from maia_sync.archive.place import Place
    from maia_sync.clock import Clock
    from maia_sync.store.database import Database

_ATTEMPTS: Final = 3
"""So often what the task has got is archived first; what comes during the last attempt is left."""


def _never() -> None:
    return None


def erase(
    database: Database,
    place: Place,
    signer: Signer,
    request: EraseRequest,
    *,
    worker: str,
    clock: Clock,
    anchor: Anchor | None = None,
    stopped: Stopped = _never,
) -> EraseReport:
    """Erase payloads of a task from the archive and the database; return what it came to.

    Whatever of the task is not archived yet is archived first; what comes during the last attempt is left.
    Once `stopped` says so it ends, unless it is signed already. Raises ArchiveHeld under a legal hold,
    UsageError for a task that nobody knows, ConfigError if the digests' key is missing that was used before,
    ArchiveBusy if another process is at it, ArchiveDiffers if the database holds payloads of it that the
    archive does not know, and what a create raises.
    """
    begun = clock.monotonic()
    _require_possible(database, place, signer.verifier, request)
    archived = 0
    anchored: tuple[AnchorOutcome, str | None] = ("interrupted", None)
    with leased(database, place, signer.verifier, worker) as (lease, _):
        key = digest_key_of(database, erasing=request.task_id, renewed=request.new_digest_key)
        forget_unnamed(place)
        for attempt in range(1, _ATTEMPTS + 1):
            place.settle()
            work = Creation(database, place, signer, lease)
            work.archive_all(stopped)
            archived += work.entries.total()
            outcome = Attempt(work, request, key, stopped, is_last=attempt == _ATTEMPTS).make()
            if outcome is not None:
                break
        else:
            raise _busy(request)
        unscrubbed = None
        if stopped() is None or outcome.entry is not None:
            anchored = work.hand_over(anchor)
            unscrubbed = work.finish_erasures(stopped)
        newest = work.newest()
        work.end()
    return EraseReport(
        place=place.name,
        origin=signer.name,
        task_id=request.task_id,
        before=request.before,
        dry_run=False,
        payloads=dict(sorted(outcome.payloads.items())),
        files=outcome.files,
        emptied=outcome.emptied,
        unknown=outcome.unknown,
        newer=outcome.newer,
        archived=archived,
        waiting=False,
        waiting_payloads=0,
        is_tracked=_is_tracked(database, request.task_id),
        earlier=outcome.earlier,
        erasure=outcome.entry,
        erased_at=None if outcome.erasure is None else outcome.erasure.erased_at,
        checkpoint=None if newest is None else newest.note,
        anchor=anchored[0],
        anchor_error=anchored[1],
        unscrubbed=unscrubbed,
        not_reached=_not_reached(database, place, signer.name),
        interrupted_by=None if outcome.entry is not None else stopped(),
        seconds=clock.monotonic() - begun,
    )


def _busy(request: EraseRequest) -> ArchiveBusy:
    return ArchiveBusy(
        f"the task {request.task_id} gets something new again and again, so that nothing was erased: "
        f"`maia-sync pause {request.task_id}` keeps it quiet meanwhile"
    )


def rehearse_erase(
    database: Database, place: Place, key: VerifierKey, request: EraseRequest, *, clock: Clock
) -> EraseReport:
    """Return what an erasure would come to; write nothing. Raises what `erase` does."""
    begun = clock.monotonic()
    _require_possible(database, place, key, request)
    _require_ours(database, place, key)
    held = _Held.read(database, key, request)  # first: what is archived meanwhile is counted twice at worst
    counts: Counter[str] = Counter()
    files = 0
    earlier: tuple[EarlierErasure, ...] = ()
    head = read_head(place, key)
    if head is not None:
        with _scan(place, head, request) as scan:
            counts, files = scan.count(), sum(1 for _ in scan.files())
            earlier = tuple(scan.erasures)
    waiting = held.waiting_beside(counts.total())
    if not counts and not waiting and held.payloads and not held.is_waiting:
        raise rest_of(request.task_id, held.payloads)
    return EraseReport(
        place=place.name,
        origin=key.name,
        task_id=request.task_id,
        before=request.before,
        dry_run=True,
        payloads=dict(sorted(counts.items())),
        files=files,
        emptied=0,
        unknown=0,
        newer=0,
        archived=0,
        waiting=held.is_waiting,
        waiting_payloads=waiting,
        is_tracked=_is_tracked(database, request.task_id),
        earlier=() if counts or waiting else earlier,
        erasure=None,
        erased_at=None,
        checkpoint=None,
        anchor=None,
        anchor_error=None,
        unscrubbed=None,
        not_reached=_not_reached(database, place, key.name),
        interrupted_by=None,
        seconds=clock.monotonic() - begun,
    )


class _Held(NamedTuple):
    """What the database holds of the payloads that are meant."""

    payloads: int
    pruned: int
    """So many the archive alone has."""
    waiting: int | None
    """How many wait to be archived; None if the rows alone do not tell."""
    is_waiting: bool

    @classmethod
    def read(cls, database: Database, key: VerifierKey, request: EraseRequest) -> _Held:
        """Count them."""
        with database.transaction(write=False, snapshot=True) as tx:
            payloads, pruned = count_payloads(tx, request.limit), count_pruned(tx, request.limit)
            is_noted = is_enrolled(tx, request.task_id) and not takes_a_place(tx, key.name)
            waiting = count_waiting(tx, request.limit) if is_noted else None
            waits = is_waiting(tx, request.task_id) if is_noted else payloads > 0
        return cls(payloads, pruned, waiting, waits)

    def waiting_beside(self, archived: int) -> int:
        """Return how many wait, where the archive has so many."""
        if self.waiting is not None:
            return self.waiting
        return max(self.payloads - max(archived - self.pruned, 0), 0)


def _is_tracked(database: Database, task_id: str) -> bool:
    with database.transaction(write=False) as tx:
        return any(task.status != "untracked" for task in read_tasks(tx, task_ids=[task_id]))


def _require_ours(database: Database, place: Place, key: VerifierKey) -> None:
    """Refuse, as an erasure would, an archive that does not belong to the database."""
    try:
        examine(database, place, key)
    except ArchiveDiffers:  # a writer at work may have made a checkpoint between the two looks of this
        examine(database, place, key)


def _require_possible(database: Database, place: Place, key: VerifierKey, request: EraseRequest) -> None:
    """Refuse what can be refused before anything is written; first what a create refuses as well."""
    require_begun(database, place, key)
    with database.transaction(write=False) as tx:
        require_no_hold(tx, request.task_id)
        key_file = tx.digest_key
        require_fit(tx, key_file.load(), erasing=request.task_id, renewed=request.new_digest_key)
        if knows_task(tx, request.task_id):
            return
    head = read_head(place, key)
    if head is not None:
        with _scan(place, head, request) as scan:
            if scan.knows_task:
                return
    raise UsageError(f"neither the database nor the archive knows a task {request.task_id}")


def _scan(place: Place, head: TreeHead, request: EraseRequest) -> Scan:
    scan = Scan(LogReader(place, head), request.task_id, request.nanoseconds)
    scan.read()
    return scan


def _not_reached(database: Database, place: Place, origin: str) -> tuple[str, ...]:
    with database.transaction(write=False) as tx:
        earlier = read_earlier_logs(tx, origin)
    return tuple(copies_elsewhere(place.name, is_postgresql=database.is_postgresql, earlier_logs=earlier))
