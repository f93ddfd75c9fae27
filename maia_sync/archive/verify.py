"""Is an archive what it was when it was written? All of its files, against its key, its log and the database.

Whoever has altered it may have made anew whatever can be made without the key. So all trust begins at a
checkpoint that the key has signed: tiles and bundles are compared with its root, segments with the log's
entries, and files with what the log tells. Nothing is parsed before its bytes are known to be those that
were written, except what has a fixed and simple form.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from maia_sync.archive.entry import TYPES, RedactedFacts, SegmentFacts, decode_entry, encode_entry, facts_of
from maia_sync.archive.finding import Findings, counted
from maia_sync.archive.inventory import fault_of_file, take_inventory
from maia_sync.archive.layout import CHECKPOINT, checkpoint_path
from maia_sync.archive.log_reader import LogReader
from maia_sync.archive.manifest import MANIFEST
from maia_sync.archive.note import open_checkpoint, text_of_root
from maia_sync.archive.redactions import Redactions
from maia_sync.archive.retelling import Retelling
from maia_sync.archive.segment import FOLDER as SEGMENTS
from maia_sync.archive.tiles import WIDTH
from maia_sync.archive.verify_files import (
    Beyond,
    check_copies,
    check_manifest,
    check_replaced,
    contradiction,
    find_writer,
    other_signatures,
)
from maia_sync.archive.verify_segments import SegmentChecks
from maia_sync.archive.verifying import ArchiveReport
from maia_sync.errors import ArchiveDiffers, ArchiveError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from maia_sync.archive.entry import Entry
    from maia_sync.archive.inventory import Inventory
    from maia_sync.archive.merkle import TreeHead
    from maia_sync.archive.note import VerifierKey
    from maia_sync.archive.place import Place
    from maia_sync.archive.verify_segments import ArchivedRow
    from maia_sync.archive.verifying import Comparison, Progress, Stopped

_VERSION: Final = 1
_TYPES: Final = frozenset(TYPES)
_OF_FILES: Final = frozenset(("segment", "redacted"))
_TRIES: Final = 5
_MOST_UNREAD: Final = 64
"""Bundles that cannot be read, after which no more are tried."""


def _never() -> None:
    return None


def verify_archive(
    place: Place,
    key: VerifierKey,
    *,
    since: bytes | None = None,
    comparison: Comparison | None = None,
    notes: Sequence[str] = (),
    progress: Progress | None = None,
    stopped: Stopped = _never,
) -> ArchiveReport:
    """Compare an archive with what its key has signed, with an earlier checkpoint, and with a database.

    `since` is the text of a checkpoint that was kept elsewhere; `notes` are told with the others. Raises
    ArchiveError if the place cannot be read, or holds no archive and should hold none; whatever is wrong with
    an archive is in the report.
    """
    verification = _Verification(place, key, comparison, progress, stopped)
    verification.notes += notes
    return verification.run(since)


class _Verification:
    """One verification, with what it has found so far."""

    def __init__(
        self,
        place: Place,
        key: VerifierKey,
        comparison: Comparison | None,
        progress: Progress | None,
        stopped: Stopped,
    ) -> None:
        self._place = place
        self._key = key
        self._comparison = comparison
        self._progress = progress
        self._stopped = stopped
        self._findings = Findings()
        self.notes: list[str] = []
        self._entries: Counter[str] = Counter()
        self._checkpoints = 0
        self._since: int | None = None
        self._unread = 0
        self._retelling = Retelling(self._findings)
        self._segments = SegmentChecks(place, self._findings, self._take_rows)

    def run(self, since: bytes | None) -> ArchiveReport:
        """Verify; return what it came to."""
        known = None if self._comparison is None else self._comparison.prepare(self._findings)
        first = self._peek()
        size = 0 if first is None else first.size
        inventory = take_inventory(self._place, size, self._findings, self._stopped)
        head = None
        if self._stopped() is not None:
            return self._report(inventory, head)
        if not inventory.is_archive:
            self._findings = Findings()  # whatever else lies there is no archive's
            self._tell_of_none(inventory, known)
        elif not inventory.is_safe:
            self.notes.append("nothing was read, as files are there that may lead out of the archive")
        else:
            head, manifest = self._read_head(inventory, known)
            if head is not None:
                self._leave_stranger()
                self._verify(inventory, head, manifest, since)
        return self._report(inventory, head)

    def _tell_of_none(self, inventory: Inventory, known: bytes | None) -> None:
        """Report that there is no archive, if there should be one. Raises ArchiveError if not."""
        if known is not None:
            self._findings.add(
                "checkpoint",
                CHECKPOINT,
                "is missing, and so is all else: there is no archive here, and the database has written one",
            )
        elif not self._is_begun(inventory):
            raise ArchiveError(f"{self._place.name}: there is no archive")

    def _leave_stranger(self) -> None:
        """Compare nothing with a database that has not written this archive."""
        reason = None if self._comparison is None else self._comparison.stranger()
        if reason is not None:
            self._findings.add("database", "archive_log", reason)
            self._comparison = None

    def _verify(
        self, inventory: Inventory, head: TreeHead, manifest: bytes | None, since: bytes | None
    ) -> None:
        if head.size > inventory.size:  # creates and erasures may have come since the files were listed
            inventory.look_again(self._place)
        log = LogReader(self._place, head)
        if since is not None:
            self._check_since(log, since)
        faulty: dict[str, str] = {}
        for path, sentence in log.check_tiles(self._stopped):
            faulty[path] = sentence
            self._findings.add("log", path, sentence)
        if "is missing" in faulty.values():
            self.notes.append(
                "files of the log are missing: if this is a copy that was made while a create was at work, "
                "copy again when none is"
            )
        self._segments.use(self._redactions(log, inventory))
        self._read_log(log, damaged=bool(faulty))
        if self._stopped() is not None:
            return
        copies = {*inventory.copied, *([head.size] if self._has_copy(head) else [])}
        beyond = Beyond(self._place, self._key, head, inventory.judge(head.size, self._findings))
        beyond.take_for_partials(
            inventory.missing_partials(head.size, self._findings, beyond=beyond.paths, faulty=faulty)
        )
        self._checkpoints = check_copies(
            self._place, self._key, log, inventory, self._findings, stopped=self._stopped
        )
        if self._unread:
            self.notes.append("not all entries could be read: the list of files was not compared")
        else:
            beyond.named = self._check_files(inventory, manifest, head.size, beyond.paths)
        if self._comparison is not None:
            self._comparison.end(log, copies)
        self.notes += beyond.explain(self._comparison, self._findings)

    def _check_files(
        self, inventory: Inventory, manifest: bytes | None, size: int, beyond: Sequence[str]
    ) -> list[str]:
        """Compare data segments and SHA256SUMS with what the log tells; return what that names beyond it."""
        told = self._segments.told
        for path in sorted(inventory.segments.difference(beyond)):
            if path not in told:
                self._findings.add("file", path, "is told of by no entry of the log: it has been put there")
        replaced = {path: told.replaced[path] for path in inventory.segments & told.replaced.keys()}
        self.notes += check_replaced(self._place, self._comparison, replaced, size, self._findings)
        return check_manifest(manifest, told.lines, size, self._findings)

    def _redactions(self, log: LogReader, inventory: Inventory) -> Redactions:
        """Return which files stand for others, as the log names them."""
        redactions = Redactions(self._place, self._key, log)
        redactions.learn(inventory.segments)
        if log.head.size > inventory.size:  # an erasure may have come since the files were listed
            redactions.learn(each.path for each in self._place.list(SEGMENTS))
        return redactions

    def _has_copy(self, head: TreeHead) -> bool:
        return self._place.read(checkpoint_path(head.size)) is not None

    def _peek(self) -> TreeHead | None:
        """Return what the checkpoint says at first sight."""
        if fault_of_file(self._place, CHECKPOINT) is not None:
            return None
        try:
            return open_checkpoint(self._place.read(CHECKPOINT) or b"", self._key)
        except ArchiveDiffers:
            return None

    def _read_head(self, inventory: Inventory, known: bytes | None) -> tuple[TreeHead | None, bytes | None]:
        """Return the head to verify against, and the SHA256SUMS that lay there with it."""
        for _ in range(_TRIES):
            content = self._place.read(CHECKPOINT)
            manifest = self._place.read(MANIFEST)
            if self._place.read(CHECKPOINT) == content:
                break
        if content is None:
            if known is None and len(inventory.checkpoints) < 2 and self._is_begun(inventory):
                return None, None
            left = ", and a create that is unfinished has left files: copy again when none is at work"
            self._findings.add(
                "checkpoint", CHECKPOINT, f"is missing{left if inventory.has_unfinished else ''}"
            )
            return self._other_head(inventory, known), manifest
        try:
            head = open_checkpoint(content, self._key)
        except ArchiveDiffers as error:
            self._findings.add("checkpoint", CHECKPOINT, str(error))
            return self._other_head(inventory, known), manifest
        others = other_signatures(content)
        if others:
            self.notes.append(
                f"the checkpoint has {counted(others, 'more signature')} by others, not checked here"
            )
        return head, manifest

    def _is_begun(self, inventory: Inventory) -> bool:
        """Tell whether the first create is at work, or was cut off, before there was a checkpoint."""
        writer = find_writer(self._place, self._comparison, 0)
        if writer is None:
            return False
        lie = "1 file lies" if inventory.files == 1 else f"{inventory.files:,} files lie"
        self.notes.append(f"there is no checkpoint yet, and {lie} there, of {writer}")
        return True

    def _other_head(self, inventory: Inventory, known: bytes | None) -> TreeHead | None:
        """Return the newest head that the key has signed, as the checkpoint itself cannot be trusted."""
        copies = (self._place.read(checkpoint_path(size)) for size in reversed(inventory.checkpoints))
        heads: list[TreeHead] = []
        for text in [known, *copies]:
            try:
                heads.append(open_checkpoint(text or b"", self._key))
            except ArchiveDiffers:
                continue
            if len(heads) > _TRIES:
                break
        if not heads:
            self.notes.append(
                "no checkpoint there is signed by the key, so nothing else could be compared with anything"
            )
            return None
        head = next((each for each in heads if self._is_there(each)), heads[0])
        self.notes.append(f"compared with a copy of a checkpoint, of {counted(head.size, 'entry')}")
        return head

    def _is_there(self, head: TreeHead) -> bool:
        try:
            LogReader(self._place, head).check_edge()
        except ArchiveDiffers:
            return False
        return True

    def _check_since(self, log: LogReader, since: bytes) -> None:
        place = "the earlier checkpoint that was given"
        try:
            earlier = open_checkpoint(since, self._key)
        except ArchiveDiffers as error:
            self._findings.add("checkpoint", place, str(error))
            return
        self._since = earlier.size
        if earlier.size > log.head.size:
            self._findings.add(
                "rollback",
                CHECKPOINT,
                f"tells of {counted(log.head.size, 'entry')}, and {place} of {earlier.size:,}: the archive "
                "has been put back to an older state",
            )
            return
        try:
            root = log.root_at(earlier.size)
        except ArchiveDiffers:
            return  # what is wrong with the tiles is told of by itself
        if root != earlier.root:
            self._findings.add("checkpoint", place, f"and the archive's {contradiction(self._key)}")

    def _read_log(self, log: LogReader, *, damaged: bool) -> None:
        start, size = 0, log.head.size
        while start < size and self._unread < _MOST_UNREAD and self._stopped() is None:
            try:
                for index, entries in log.entries(start):
                    start = index
                    self._take(index, entries)
                    if self._progress is not None:
                        self._progress(index + len(entries), size)
                    start = index + len(entries)
                    if self._stopped() is not None:
                        return
            except ArchiveDiffers as error:
                if not damaged:
                    self._findings.add("log", f"entry {start}", str(error))
                self._unread += 1
                start = (start // WIDTH + 1) * WIDTH
                self._segments.skip()
                if self._comparison is not None:
                    self._comparison.skip()
        self._segments.end()

    def _take_rows(self, rows: Sequence[ArchivedRow]) -> None:
        self._retelling.take_rows(rows)
        if self._comparison is not None:
            self._comparison.take_rows(rows)

    def _take(self, first: int, entries: list[bytes]) -> None:
        for index, entry in self._decoded(first, entries):
            self._entries[entry.type] += 1
            if entry.type in _OF_FILES:
                self._take_file(index, entry)
                continue
            self._segments.take(index, entry)
            if entry.id is not None:
                self._retelling.take(index, entry)
            if self._comparison is not None:
                self._comparison.take_entry(index, entry)

    def _decoded(self, first: int, entries: list[bytes]) -> Iterator[tuple[int, Entry]]:
        """Yield those entries that can be read, with their indexes."""
        for index, encoded in enumerate(entries, first):
            try:
                entry = decode_entry(encoded)
            except ValueError:
                self._findings.add("entry", f"entry {index}", "cannot be read: it is no entry of maia-sync")
                continue
            if entry.v != _VERSION or entry.type not in _TYPES:
                self._findings.add(
                    "entry",
                    f"entry {index}",
                    "is of a kind that this version does not know: it was not compared",
                )
                continue
            if encode_entry(entry) != encoded:
                self._findings.add("entry", f"entry {index}", "is not spelt as maia-sync writes its entries")
            yield index, entry

    def _take_file(self, index: int, entry: Entry) -> None:
        try:
            facts = facts_of(entry)
        except ValueError:
            facts = None
        if isinstance(facts, SegmentFacts):
            self._segments.take_segment(index, facts)
        elif isinstance(facts, RedactedFacts):
            self._segments.take_redacted(index, facts)
        else:
            self._findings.add("entry", f"entry {index}", "tells of a data segment, and not which one")

    def _report(self, inventory: Inventory, head: TreeHead | None) -> ArchiveReport:
        comparison = self._comparison
        return ArchiveReport(
            place=self._place.name,
            origin=self._key.name,
            key=str(self._key),
            size=0 if head is None else head.size,
            root=None if head is None else text_of_root(head.root),
            root_hex=None if head is None else head.root.hex(),
            checkpoints=self._checkpoints,
            since=self._since,
            files=inventory.files,
            entries=dict(sorted(self._entries.items())),
            segments=len(self._segments.told.lines),
            segment_bytes=self._segments.bytes,
            payloads=self._segments.rows,
            erased=self._segments.erased,
            unchecked=self._segments.unchecked,
            database=None if comparison is None else comparison.figures(),
            notes=(*self.notes, *(() if comparison is None else comparison.notes)),
            findings=tuple(self._findings.kept),
            finding_count=self._findings.count,
            interrupted_by=self._stopped(),
        )
