"""What is told of an `archive create`: while it is at work, and of what it came to?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, TypeAlias

import msgspec

_MOST_NAMED: Final = 5
"""Runs that a sentence names."""


class CreateProgress(msgspec.Struct, frozen=True, kw_only=True):
    """A chunk has been written; numbers of this create so far."""

    entries: int
    segments: int
    segment_bytes: int


AnchorOutcome: TypeAlias = Literal["anchored", "failed", "none configured", "no checkpoint", "interrupted"]


class CreateReport(msgspec.Struct, frozen=True, kw_only=True):
    """What one create came to."""

    place: str
    origin: str
    """The log's name."""
    entries: dict[str, int]
    """New entries by their type, without those that tell of segments."""
    size_before: int
    """Entries in the log, as its checkpoints count them."""
    size_after: int
    checkpoints: int
    """How many were made."""
    checkpoint: str | None
    """The newest one, as it was signed; None if there is none."""
    segments: int
    segment_bytes: int
    replaced: str | None
    """The log whose place this one has taken: everything is archived anew."""
    enrolled: int
    """Tasks that are archived from now on."""
    was_cut_off: bool
    """Whether the create before had been cut off; what it left was put in order first, and counts here if it
    had signed a checkpoint that was not yet the archive's.
    """
    older_runs: tuple[int, ...]
    """Ids of runs, among the new entries, that an older version has made since the log was begun."""
    anchor: AnchorOutcome
    """What became of the newest checkpoint."""
    anchor_error: str | None
    unscrubbed: str | None = None
    """Why the database's free pages may still hold what was erased; None if they do not."""
    interrupted_by: int | None
    """A signal's number; then what came after the last checkpoint is archived by the next create."""
    seconds: float

    @property
    def new(self) -> int:
        """How many things were archived."""
        return sum(self.entries.values())

    @property
    def root(self) -> str | None:
        """The newest checkpoint's root, as it stands there."""
        return None if self.checkpoint is None else self.checkpoint.split("\n")[2]

    @property
    def incomplete(self) -> str | None:
        """What is missing because older versions still write the database; None if nothing is."""
        if not self.older_runs:
            return None
        named = [f"{number}" for number in self.older_runs[:_MOST_NAMED]]
        more = len(self.older_runs) - len(named)
        named += [f"{more:,} more"] if more else []
        listed = " and ".join(part for part in (", ".join(named[:-1]), named[-1]) if part)
        runs = f"run {listed} was" if len(self.older_runs) == 1 else f"runs {listed} were"
        return (
            f"{runs} made by an older version, which notes nothing for the archive: what it stored is "
            "missing there (`maia-sync archive verify` names it). Stop such workers, and begin anew with "
            "`maia-sync archive create --new-log`"
        )


Anchor: TypeAlias = Callable[[str, int], None]
"""Hands a checkpoint, of a log of so many entries, to whoever keeps it; raises MaiaSyncError."""
Observe: TypeAlias = Callable[[CreateProgress], None]
Stopped: TypeAlias = Callable[[], int | None]
"""Returns the number of the signal that asks for the end, or None."""
