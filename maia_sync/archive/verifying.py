"""What is told of an `archive verify`: what was compared, what was not, and what is wrong?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from maia_sync.archive.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from collections.abc import Set as AbstractSet
    from typing import TypeAlias

    from maia_sync.archive.entry import Entry
    from maia_sync.archive.finding import Findings
    from maia_sync.archive.log_reader import LogReader
    from maia_sync.archive.verify_segments import ArchivedRow

    Progress: TypeAlias = Callable[[int, int], None]
    """Called with the entries read so far, and with those of the whole log."""
    Stopped: TypeAlias = Callable[[], int | None]
    """Returns the number of the signal that asks for the end, or None."""


class DatabaseFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What was compared with the database."""

    place: str
    events: int
    """Events and revisions that were looked up there."""
    rows: int
    """Quarantined elements, sent messages, runs, holds and erasures that were looked up there."""
    pruned: int
    """Payloads that were taken out there, and that the archive alone has."""
    erased: int
    """Payloads that were erased from both."""
    waiting: int
    """Rows there that the next create archives."""
    not_enrolled: int
    """Tasks of which nothing has been archived so far."""


class ArchiveReport(msgspec.Struct, frozen=True, kw_only=True):
    """What one verification of an archive came to."""

    place: str
    origin: str
    key: str
    """The verifier key that all was compared with."""
    size: int
    """Entries of the log."""
    root: str | None
    """Its root, in base64 as checkpoints tell it; None if no checkpoint could be trusted."""
    root_hex: str | None
    checkpoints: int
    """Earlier and newest ones that were compared with the log."""
    since: int | None
    """The size of the earlier checkpoint that was given."""
    files: int
    entries: dict[str, int]
    """By their type, as far as they were read."""
    segments: int
    segment_bytes: int
    payloads: int
    """Rows of segments that were compared with their entries; of these ..."""
    erased: int
    """... so many are empty, as an erasure in the log says that they should be."""
    unchecked: int
    """Payloads that could not be, as their segment is missing or altered."""
    database: DatabaseFigures | None
    """None if no database was asked."""
    notes: tuple[str, ...]
    """What is no difference, and should be known."""
    findings: tuple[Finding, ...]
    """The first thousand."""
    finding_count: int
    interrupted_by: int | None


class Comparison(Protocol):
    """What an archive is compared with while it is read: the database that it was made of."""

    def prepare(self, findings: Findings) -> bytes | None:
        """Note what should be there, before the archive is looked at; return the newest checkpoint."""
        ...

    def stranger(self) -> str | None:
        """Tell why the database cannot be compared with this archive, once that has a checkpoint."""
        ...

    def take_rows(self, rows: Sequence[ArchivedRow]) -> None:
        """Compare things with a payload."""
        ...

    def take_entry(self, index: int, entry: Entry) -> None:
        """Compare something without a payload; all entries with one are handed over as well, in order."""
        ...

    def skip(self) -> None:
        """Take note that not all entries could be read: what is missing may stand in them."""
        ...

    def end(self, log: LogReader, copies: AbstractSet[int]) -> None:
        """Compare what has to be seen as a whole; `copies`: the sizes of checkpoints that lie there."""
        ...

    def writer(self, size: int) -> str | None:
        """Tell which create is at work, or was cut off, beyond a log of this size; None for none."""
        ...

    def erasing(self) -> list[tuple[int, int]] | None:
        """Return the sizes of the log before and after each erasure that is not finished.

        None if the database does not know: then the archive's own mark tells (layout.UNFINISHED).
        """
        ...

    def figures(self) -> DatabaseFigures:
        """Return what was compared."""
        ...

    notes: list[str]
    """What is no difference, and should be known."""
