"""Which checkpoints has the database made, and are they those that lie in the archive?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from maia_sync.archive.finding import counted
from maia_sync.archive.layout import CHECKPOINT, checkpoint_path
from maia_sync.archive.note import open_checkpoint
from maia_sync.errors import ArchiveDiffers
from maia_sync.store import archive_compare, archive_log

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from maia_sync.archive.finding import Findings
    from maia_sync.archive.log_reader import LogReader
    from maia_sync.archive.note import VerifierKey
    from maia_sync.store.archive_compare import StoredCheckpoint
    from maia_sync.store.database import Transaction


def compare_checkpoints(
    tx: Transaction,
    log: LogReader,
    key: VerifierKey,
    findings: Findings,
    *,
    done: StoredCheckpoint | None,
    copies: AbstractSet[int],
) -> None:
    """Compare the checkpoints that the database has made with those that lie in the archive."""
    head = log.head
    if done is not None and done.size > head.size:
        findings.add(
            "rollback",
            CHECKPOINT,
            f"tells of {counted(head.size, 'entry')}, and the database has written {done.size:,}: "
            "the archive has been put back to an older state",
        )
    if archive_log.read_origin(tx) != key.name:
        findings.add("database", "archive_log", f"does not say that the database is archived as {key.name}")
    known: set[int] = set()
    for row in archive_compare.read_checkpoints(tx, key.name):
        if row.fault is not None:
            findings.add(
                "database", f"row {row.id} of archive_checkpoint", f"has a {row.fault} that cannot be read"
            )
            if row.fault in archive_compare.NAMING:
                continue
        if row.size <= head.size:
            known.add(row.size)
        _compare_one(row, log, key, findings, copies)
    for size in sorted({*copies, head.size} - known):
        if size > head.size:
            break
        findings.add(
            "database",
            f"checkpoint of {counted(size, 'entry')}",
            "is not known to the database: that was put back to an older state, or the archive is another's",
        )


def _compare_one(
    row: StoredCheckpoint, log: LogReader, key: VerifierKey, findings: Findings, copies: AbstractSet[int]
) -> None:
    place = f"checkpoint of {counted(row.size, 'entry')}"
    if not _is_signed(row, key):
        findings.add("database", place, "is not as it was signed, in the database")
    if row.size > log.head.size:
        return
    if row.size not in copies:
        findings.add("file", checkpoint_path(row.size), "is missing: the database has made this checkpoint")
    if _root_at(log, row.size) not in (None, row.root):
        findings.add(
            "database",
            place,
            "has another root in the database than in the archive: they do not belong together",
        )


def _is_signed(row: StoredCheckpoint, key: VerifierKey) -> bool:
    try:
        return open_checkpoint(row.note, key) == (row.size, row.root)
    except ArchiveDiffers:
        return False


def _root_at(log: LogReader, size: int) -> bytes | None:
    try:
        return log.root_at(size)
    except ArchiveDiffers:
        return None
