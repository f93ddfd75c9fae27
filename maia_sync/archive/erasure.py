"""How is one erasure made, so that a death at any moment leaves all of it or nothing?

Data segments are written anew without the payloads, beside the old ones, and the log tells why (see
`selection.py` and RedactedFacts). One transaction of the database signs that and empties its rows: before it
nothing has happened, and files that were written are deleted by whoever comes next. After it, whoever comes
next completes it: see recovery.py for the checkpoint, and finishing.py for old files and free pages.
"""

from __future__ import annotations

from collections import Counter
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from maia_sync.archive.emptied_names import EmptiedNames
from maia_sync.archive.entry import (
    RedactedFacts,
    encode_entry,
    entry_of,
    redacted_entry,
    text_of_moment,
)
from maia_sync.archive.erasure_scan import Scan
from maia_sync.archive.finding import counted
from maia_sync.archive.keys import require_fit
from maia_sync.archive.log_reader import LogReader
from maia_sync.archive.manifest import Sum, decode_manifest, encode_manifest
from maia_sync.archive.publishing import Front, Written
from maia_sync.archive.redaction import redact
from maia_sync.archive.segment import parse_segment_path, segment_path
from maia_sync.errors import ArchiveDiffers, ArchiveError, ArchiveHeld
from maia_sync.store.archive_log import Marks
from maia_sync.store.archived import ErasureFacts, Record
from maia_sync.store.emptying import empty_events, empty_quarantined, empty_sent, sum_task_again
from maia_sync.store.erasing import (
    Erasure,
    insert_erasure,
    is_waiting,
    last_erasure_id,
    note_moment,
)
from maia_sync.store.erasure_rest import count_keyed_by_others, count_payloads, count_waiting
from maia_sync.store.facets import lock_task
from maia_sync.store.holds import read_holds_on
from maia_sync.store.scrubbing import overwrite_deleted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from maia_sync.archive.create import Creation
    from maia_sync.archive.creating import Stopped
    from maia_sync.archive.erasing import EarlierErasure, EraseRequest
    from maia_sync.archive.erasure_scan import File
    from maia_sync.store.database import Transaction
    from maia_sync.store.digest_key import DigestKey


class Outcome(NamedTuple):
    """What became of an attempt."""

    payloads: Counter[str]
    """How many of the log's entries lost theirs, by type."""
    files: int = 0
    emptied: int = 0
    """Payloads that were in the database."""
    unknown: int = 0
    """Payloads that were taken out before by another key, and will not be known again."""
    newer: int = 0
    """Payloads that came meanwhile, and are left."""
    entry: int | None = None
    """The index of the log's entry; None if nothing was erased."""
    erasure: Erasure | None = None
    earlier: tuple[EarlierErasure, ...] = ()
    """Erasures of the task before, where nothing is left to erase."""


def require_no_hold(tx: Transaction, task_id: str) -> None:
    """Raise ArchiveHeld if a hold in force keeps a task's payloads."""
    holds = read_holds_on(tx, task_id)
    if holds:
        whose = "all tasks are" if holds[0].task_id is None else f"the task {task_id} is"
        raise ArchiveHeld(
            f"{whose} under a legal hold since {holds[0].held_at:%Y-%m-%d}, set by {holds[0].held_by}: "
            "nothing was erased; `maia-sync archive holds` lists them"
        )


def require_no_rest(tx: Transaction, request: EraseRequest, *, newer: int = 0) -> None:
    """Raise ArchiveDiffers if the database holds payloads that are meant, other than so many newer ones.

    To be asked when all that the archive knows of is out of it.
    """
    rest = count_payloads(tx, request.limit) - newer
    if rest:
        raise rest_of(request.task_id, rest)


def rest_of(task_id: str, number: int) -> ArchiveDiffers:
    """Return the error that tells of payloads that the archive does not know."""
    return ArchiveDiffers(
        f"the database holds {counted(number, 'payload')} of the task {task_id} that the archive "
        "does not have, or not as they are: nothing was erased; `maia-sync archive verify` tells which, "
        "and `maia-sync archive create --new-log` with another key archives all anew"
    )


class Attempt:
    """One attempt at what is asked for: everything that is archived now, and was not erased before."""

    def __init__(
        self, work: Creation, request: EraseRequest, key: DigestKey, stopped: Stopped, *, is_last: bool
    ) -> None:
        self._work = work
        self._request = request
        self._key = key
        self._stopped = stopped
        self._is_last = is_last
        """Whether what comes meanwhile is left, and told of, rather than archived in another attempt."""
        self._redactions: dict[str, Sum] = {}
        """What comes in the place of these paths."""
        self._names = EmptiedNames()

    def make(self) -> Outcome | None:
        """Make it; None if the task has got something new meanwhile.

        What was written then is left for a recovery, as after a death.
        """
        try:
            return self._make()
        except OSError as error:  # of temporary files: places and databases have errors of their own
            reason = error.strerror or type(error).__name__
            raise ArchiveError(f"cannot write a temporary file: {reason}; nothing was erased") from error

    def _make(self) -> Outcome | None:
        work, nothing = self._work, Outcome(Counter())
        if work.head is None:
            return nothing
        scan = Scan(LogReader(work.place, work.head), self._request.task_id, self._request.nanoseconds)
        with scan, self._names:
            scan.read(self._goes_on)
            counts = scan.count()
            if not self._goes_on():
                return nothing
            erasure = self._plan(scan, counts.total())
            if erasure is None or not counts:
                return None if erasure is None else nothing._replace(earlier=tuple(scan.erasures))
            work.note_begun()
            index = work.log.size
            work.log.append([encode_entry(entry_of(_record_of(erasure), None))])
            for file in scan.files():
                if not self._goes_on():
                    return nothing
                self._rewrite(file, index)
            removed = self._commit(erasure)
        return None if removed is None else Outcome(counts, len(self._redactions), *removed, index, erasure)

    def _goes_on(self) -> bool:
        self._work.lease.keep()
        return self._stopped() is None

    def _plan(self, scan: Scan, payloads: int) -> Erasure | None:
        """Return what is going to be noted; None if something of the task waits to be archived."""
        with self._work.database.transaction(write=False, snapshot=True) as tx:
            newer = self._newer(tx)
            if newer is None:
                return None
            if not payloads:
                require_no_rest(tx, self._request, newer=newer)
            return Erasure(
                id=max(last_erasure_id(tx), scan.last_erasure) + 1,
                task_id=self._request.task_id,
                before=self._request.before,
                reason=self._request.reason,
                basis=self._request.basis,
                erased_by=self._request.erased_by,
                erased_at=tx.now,
                payloads=payloads,
            )

    def _rewrite(self, file: File, erasure: int) -> None:
        """Write a segment anew without its payloads that are meant, and tell of it in the log."""
        work = self._work
        name = f"{work.place.name}: {file.current.path}"
        content = work.place.read(file.current.path)
        if content is None or sha256(content).hexdigest() != file.current.sha256:
            raise ArchiveDiffers(
                f"{name} is {'missing' if content is None else 'damaged'}: nothing was erased"
            )
        try:
            new, emptied = redact(content, file.entries, self._key)
        except ValueError as error:
            raise ArchiveDiffers(f"{name} cannot be read: {error}") from error
        if emptied.number != len(file.entries):
            raise ArchiveDiffers(f"{name} does not have the rows that the log tells of: nothing was erased")
        self._names.take(emptied)
        parsed = parse_segment_path(file.path)
        day = None if parsed is None else parsed.day
        path = segment_path(day, file.facts.first, file.facts.end, work.log.size)
        facts = RedactedFacts(
            path=path,
            sha256=sha256(new).hexdigest(),
            rows=file.facts.rows,
            first=file.facts.first,
            end=file.facts.end,
            replaces=file.current.path,
            erasure=erasure,
        )
        work.place.write_new(path, new)
        work.log.append([encode_entry(redacted_entry(facts))])
        self._redactions[file.current.path] = Sum(facts.sha256, path)

    def _newer(self, tx: Transaction) -> int | None:
        """Return how many payloads wait to be archived, and are left; None if there may be none."""
        if not is_waiting(tx, self._request.task_id):
            return 0
        return count_waiting(tx, self._request.limit) if self._is_last else None

    def _commit(self, erasure: Erasure) -> tuple[int, int, int] | None:
        """Sign it and take the payloads out of the database, all at once.

        Returns how many were there; how many were taken out before by another key; how many came too late.
        None if what waits to be archived by now is to be archived first: then nothing has happened.
        """
        work, request, task_id = self._work, self._request, erasure.task_id
        manifest = encode_manifest(self._sums())
        head = work.log.finish()
        work.place.settle()
        with work.database.transaction(durable=True) as tx:
            work.lease.keep_in(tx)  # whoever sets a hold waits for this row
            require_no_hold(tx, task_id)
            lock_task(tx, task_id)
            if self._newer(tx) is None:
                return None
            require_fit(tx, self._key, erasing=task_id, renewed=request.new_digest_key)
            overwrite_deleted(tx)
            emptied = self._empty(tx, erasure)
            newer = self._newer(tx) or 0  # a message waits whose outcome is new, and has just been emptied
            require_no_rest(tx, request, newer=newer)
            unknown = count_keyed_by_others(tx, task_id, self._key.id) if request.new_digest_key else 0
            number, note = work.sign_in(tx, head, Marks())
            insert_erasure(tx, erasure, checkpoint_id=number)
        written = Written(Counter({"erasure": 1}), [], 0, self._redactions)
        work.publish(head, number, Front(note.encode(), manifest), written)
        return emptied, unknown, newer

    def _sums(self) -> Iterator[Sum]:
        """Yield the lines of SHA256SUMS, with the new files in the place of the old ones."""
        work = self._work
        left = set(self._redactions)
        for each in decode_manifest(work.front.manifest or b""):
            left.discard(each.path)
            yield self._redactions.get(each.path, each)
        if left:
            raise ArchiveDiffers(f"{work.place.name}: SHA256SUMS lacks {min(left)}: nothing was erased")

    def _empty(self, tx: Transaction, erasure: Erasure) -> int:
        task_id = erasure.task_id
        emptied = 0
        for some in self._names:
            emptied += empty_events(tx, task_id, some.events, erased=True, sum_again=False)
            emptied += empty_quarantined(tx, some.quarantined, erased=True)
            emptied += empty_sent(tx, some.sent, erased=True)
        note_moment(tx, task_id, erasure.erased_at)
        sum_task_again(tx, task_id)
        return emptied


def _record_of(erasure: Erasure) -> Record:
    return Record(
        type="erasure",
        received_at=erasure.erased_at,
        task_id=erasure.task_id,
        number=erasure.id,
        facts=ErasureFacts(
            before=None if erasure.before is None else text_of_moment(erasure.before),
            reason=erasure.reason,
            basis=erasure.basis,
            erased_by=erasure.erased_by,
            payloads=erasure.payloads,
        ),
    )
