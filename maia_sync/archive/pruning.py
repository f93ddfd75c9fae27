"""What is told of an `archive prune`: what was taken out, what was left, and why?"""

from __future__ import annotations

from datetime import datetime

import msgspec

from maia_sync.archive.finding import Finding


class PrunedMonth(msgspec.Struct, frozen=True, kw_only=True):
    """What was pruned of one month in UTC, or would be: by when events occurred, or else were received."""

    month: str
    """2026-01"""
    payloads: int
    bytes: int
    held: int
    """Payloads that are old enough, and were left because of a legal hold."""


class PruneReport(msgspec.Struct, frozen=True, kw_only=True):
    """What one prune came to."""

    place: str
    origin: str
    size: int
    """Entries of the log that was verified first."""
    older_than: datetime
    """Payloads from before that were meant."""
    dry_run: bool
    """Whether nothing was taken out: then these are the payloads that would be."""
    payloads: int
    bytes: int
    """Characters of these payloads, in UTF-8."""
    held: int
    months: tuple[PrunedMonth, ...]
    findings: tuple[Finding, ...]
    """What is wrong with the archive; then nothing was taken out. The first thousand."""
    finding_count: int
    unscrubbed: str | None
    """Why the database's free pages may still hold what was erased earlier; None if they do not."""
    interrupted_by: int | None
    """A signal's number; the next prune goes on."""
    seconds: float

    @property
    def trouble(self) -> str | None:
        """Why nothing was pruned, in a sentence; None if the archive is in order."""
        if not self.finding_count:
            return None
        first = self.findings[0]
        more = f", and {self.finding_count - 1:,} more" if self.finding_count > 1 else ""
        return (
            f"nothing was pruned: the archive is not as it should be: {first.place} {first.sentence}{more} "
            "(`maia-sync archive verify` tells all)"
        )
