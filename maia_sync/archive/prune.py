"""Which payloads may go from the database? Old ones that the archive has just been seen to hold, no others.

The whole archive is verified first, against the database as well. Then the data segments that can hold old
payloads are read once more, with the bytes that the log tells of; not those in which an earlier prune has
left nothing that is so old. Each payload is compared to the letter with what is stored, in the transaction
that takes it out. That transaction renews the writer's lease, and reads the legal holds after that
(store/holds.py).
"""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple

from maia_sync.archive.against_database import AgainstDatabase
from maia_sync.archive.archived_payloads import read_batches
from maia_sync.archive.keys import digest_key_of
from maia_sync.archive.log_reader import LogReader
from maia_sync.archive.merkle import TreeHead
from maia_sync.archive.pruning import PrunedMonth, PruneReport
from maia_sync.archive.verify import verify_archive
from maia_sync.archive.writing import Writing, leased
from maia_sync.errors import ArchiveError, Bug
from maia_sync.store import archive_log, emptying, pruning
from maia_sync.store.emptying import EmptiedEvent
from maia_sync.store.facets import lock_task
from maia_sync.store.holds import read_holds_on
from maia_sync.sync.payload_digest import digest_of_payload, keyed_digests_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from maia_sync.archive.archived_payloads import ArchivedPayload, Batch, Kind
    from maia_sync.archive.lease import Lease
    from maia_sync.archive.note import Signer, VerifierKey
    from maia_sync.archive.place import Place
    from maia_sync.archive.verifying import ArchiveReport, Progress, Stopped
    from maia_sync.clock import Clock
    from maia_sync.store.database import Database, Transaction
    from maia_sync.store.digest_key import DigestKey
    from maia_sync.store.pruning import HeldPayload

MOST_AT_ONCE: Final = 1_000
"""Payloads that are taken out in one transaction: pages wait for it."""
_SETTLED: Final = timedelta(days=1)
"""A message of which nobody knows by then what became of it stays so."""
_KEPT_EVERY: Final = 60.0
"""Seconds after which the lease is prolonged while the archive is verified."""


def _never() -> None:
    return None


def prune(
    database: Database,
    place: Place,
    signer: Signer,
    older_than: timedelta,
    *,
    worker: str,
    by: str,
    clock: Clock,
    dry_run: bool = False,
    progress: Progress | None = None,
    stopped: Stopped = _never,
) -> PruneReport:
    """Take payloads out of the database that are older than that, and return what it came to.

    An event is as old as it says, and what tells of no time as its receipt. `by` is the person or the worker
    that asks for it. With `dry_run` nothing is written, nobody is kept waiting, and the report tells what
    would be taken out. If anything is wrong with the archive it is in the report, and nothing is taken out.
    Once `stopped` says so, it ends after the payloads in hand. Raises ArchiveBusy if another process is
    writing the archive, ConfigError if the digests' key is missing that was used before, ArchiveError and
    DatabaseError.
    """
    _require_archive(database, signer.verifier)
    with database.transaction(write=False) as tx:
        before = tx.now - older_than
    if dry_run:
        return _Pruning(database, place, signer.verifier, before, clock=clock, stopped=stopped).rehearse(
            progress
        )
    with leased(database, place, signer.verifier, worker) as (lease, _):
        key = digest_key_of(database)
        writing = Writing(database, place, signer, lease)
        work = _Pruning(database, place, signer.verifier, before, clock=clock, stopped=stopped)
        work.go(lease, key, by, progress)
        work.unscrubbed = writing.finish_erasures(stopped)
        writing.end()
    return work.report()


def _require_archive(database: Database, key: VerifierKey) -> None:
    with database.transaction(write=False) as tx:
        done = archive_log.last_checkpoint(tx, key.name, "done")
    if done is None:
        raise ArchiveError(
            f"there is no archive of {key.name} yet, and only what is archived is pruned: run `maia-sync "
            "archive create`"
        )


class _Due(NamedTuple):
    """Payloads of one task that are stored as they are archived."""

    payloads: list[ArchivedPayload]
    is_held: bool


class _Pruning:
    """One prune, with what it has come to so far."""

    def __init__(
        self,
        database: Database,
        place: Place,
        key: VerifierKey,
        before: datetime,
        *,
        clock: Clock,
        stopped: Stopped,
    ) -> None:
        self._database = database
        self._place = place
        self._key = key
        self._before = before
        self._clock = clock
        self._stopped = stopped
        self._begun = clock.monotonic()
        self._verified: ArchiveReport | None = None
        self._is_dry = True
        self._payloads: defaultdict[str, int] = defaultdict(int)
        self._bytes: defaultdict[str, int] = defaultdict(int)
        self._held: defaultdict[str, int] = defaultdict(int)
        """These by month."""
        self.unscrubbed: str | None = None

    def rehearse(self, progress: Progress | None) -> PruneReport:
        """Find out what would be taken out."""
        for batch in self._old_ones(progress):
            with self._database.transaction(write=False) as tx:
                due = _due_of(tx, batch)
            self._count(due.payloads, is_held=due.is_held)
        return self.report()

    def go(self, lease: Lease, key: DigestKey, by: str, progress: Progress | None) -> None:
        """Take out what is old, batch by batch."""
        self._is_dry = False
        number: int | None = None
        for batch in self._old_ones(_keeping(lease, self._clock, progress)):
            with self._database.transaction(write=False) as tx:  # most have been pruned long since
                due = _due_of(tx, batch)
            if due.payloads and not due.is_held:
                with self._database.transaction() as tx:
                    lease.keep_in(tx)
                    if number is None:
                        number = self._begin(tx, by)
                    due = _take_out(tx, number, batch, key)
            self._count(due.payloads, is_held=due.is_held)
        if self._is_over:
            with self._database.transaction() as tx:
                lease.keep_in(tx)
                if number is None:
                    number = self._begin(tx, by)
                pruning.end_prune(tx, number, sum(self._held.values()))

    def _begin(self, tx: Transaction, by: str) -> int:
        verified = self._verified
        assert verified is not None  # noqa: S101 - it comes first
        return pruning.begin_prune(tx, self._before, by, origin=self._key.name, size=verified.size)

    @property
    def _is_over(self) -> bool:
        report = self._verified
        return report is not None and not report.finding_count and self._stopped() is None

    def _old_ones(self, progress: Progress | None) -> Iterator[Batch]:
        """Verify the archive, and yield the old payloads that it holds, unless anything is wrong with it."""
        report = self._verified = verify_archive(
            self._place,
            self._key,
            comparison=AgainstDatabase(self._database, self._key),
            progress=progress,
            stopped=self._stopped,
        )
        if report.finding_count or report.root_hex is None:
            return
        log = LogReader(self._place, TreeHead(report.size, bytes.fromhex(report.root_hex)))
        with self._database.transaction(write=False) as tx:
            done = pruning.read_done_prune(tx, self._key.name, settled=_SETTLED)
        for batch in read_batches(self._place, log, self._before, most=MOST_AT_ONCE, done=done):
            if self._stopped() is not None:
                return
            yield batch

    def _count(self, payloads: list[ArchivedPayload], *, is_held: bool) -> None:
        for payload in payloads:
            if is_held:
                self._held[payload.month] += 1
            else:
                self._payloads[payload.month] += 1
                self._bytes[payload.month] += payload.size

    def report(self) -> PruneReport:
        """Return what it came to."""
        verified = self._verified
        assert verified is not None  # noqa: S101 - it comes first
        months = sorted({*self._payloads, *self._held})
        return PruneReport(
            place=self._place.name,
            origin=self._key.name,
            size=verified.size,
            older_than=self._before,
            dry_run=self._is_dry,
            payloads=sum(self._payloads.values()),
            bytes=sum(self._bytes.values()),
            held=sum(self._held.values()),
            months=tuple(
                PrunedMonth(
                    month=month,
                    payloads=self._payloads[month],
                    bytes=self._bytes[month],
                    held=self._held[month],
                )
                for month in months
            ),
            findings=verified.findings,
            finding_count=verified.finding_count,
            unscrubbed=self.unscrubbed,
            interrupted_by=self._stopped(),
            seconds=self._clock.monotonic() - self._begun,
        )


def _keeping(lease: Lease, clock: Clock, progress: Progress | None) -> Progress:
    """Keep the lease while the archive is verified, which may take longer than it lasts."""
    kept_at = clock.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal kept_at
        if clock.monotonic() - kept_at >= _KEPT_EVERY:
            lease.keep()
            kept_at = clock.monotonic()
        if progress is not None:
            progress(done, total)

    return tell


def _take_out(tx: Transaction, number: int, batch: Batch, key: DigestKey) -> _Due:
    """Take out what is due of a batch, now that nobody else writes to its task; return what that was."""
    lock_task(tx, batch.task_id)
    due = _due_of(tx, batch)
    if due.payloads and not due.is_held:
        emptied = _EMPTY[batch.kind](tx, batch.task_id, due.payloads, key)
        if emptied != len(due.payloads):
            raise Bug("other payloads would be taken out than those that were compared")
        pruning.note_pruned(tx, number, emptied)
    return due


def _due_of(tx: Transaction, batch: Batch) -> _Due:
    """Return which payloads are stored to the letter as they are archived, and whether they are on hold."""
    found = _DUE[batch.kind](tx, batch)
    return _Due(found, is_held=bool(found) and bool(read_holds_on(tx, batch.task_id)))


# Events


def _events_due(tx: Transaction, batch: Batch) -> list[ArchivedPayload]:
    named = [(payload, payload.name) for payload in batch.payloads if payload.name is not None]
    found = pruning.read_held_payloads(tx, batch.task_id, [name for _, name in named])
    return [
        payload
        for (payload, _), stored in zip(named, found, strict=True)
        if stored is not None and _is_same(payload, stored)
    ]


def _is_same(payload: ArchivedPayload, stored: HeldPayload) -> bool:
    data, extra, stamp, digest = stored
    return (
        (None if data is None else data.encode()) == payload.data
        and (extra, stamp) == (payload.extra, payload.timestamp_text)
        and digest == digest_of_payload(data, extra, stamp)
    )


def _empty_events(tx: Transaction, task_id: str, payloads: list[ArchivedPayload], key: DigestKey) -> int:
    rows = [
        EmptiedEvent(
            *payload.name, *keyed_digests_of(key, _text_of(payload), payload.extra, payload.timestamp_text)
        )
        for payload in payloads
        if payload.name is not None
    ]
    return emptying.empty_events(tx, task_id, rows, erased=False)


def _text_of(payload: ArchivedPayload) -> str | None:
    return None if payload.data is None else payload.data.decode()


# What has an id


def _elements_due(tx: Transaction, batch: Batch) -> list[ArchivedPayload]:
    held = pruning.read_held_elements(tx, [payload.number for payload in batch.payloads])
    return [payload for payload in _each_once(batch) if held.get(payload.number) == payload.raw]


def _empty_elements(tx: Transaction, _: str, payloads: list[ArchivedPayload], key: DigestKey) -> int:
    keyed = [(payload.number, key.of(sha256(payload.raw or b"").digest())) for payload in payloads]
    return emptying.empty_quarantined(tx, keyed, erased=False)


def _messages_due(tx: Transaction, batch: Batch) -> list[ArchivedPayload]:
    numbers = [payload.number for payload in batch.payloads]
    held = pruning.read_held_messages(tx, numbers, settled=_SETTLED)
    stored = {number: request.encode() for number, request in held.items()}
    return [
        payload
        for payload in _each_once(batch)
        if payload.number in stored and stored[payload.number] == payload.data
    ]


def _empty_messages(tx: Transaction, _: str, payloads: list[ArchivedPayload], __: DigestKey) -> int:
    return emptying.empty_sent(tx, [payload.number for payload in payloads], erased=False)


def _each_once(batch: Batch) -> list[ArchivedPayload]:
    """Return what is told of each row last: a message is archived again once its outcome is known."""
    return [*{payload.number: payload for payload in batch.payloads}.values()]


_DUE: Final[dict[Kind, Callable[[Transaction, Batch], list[ArchivedPayload]]]] = {
    "event": _events_due,
    "quarantine": _elements_due,
    "sent": _messages_due,
}
_EMPTY: Final[dict[Kind, Callable[[Transaction, str, list[ArchivedPayload], DigestKey], int]]] = {
    "event": _empty_events,
    "quarantine": _empty_elements,
    "sent": _empty_messages,
}
