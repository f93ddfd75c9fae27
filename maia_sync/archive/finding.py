"""What is wrong with an archive, and where? One finding for each thing that should not be."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

Kind: TypeAlias = Literal[
    "checkpoint",
    "rollback",
    "log",
    "entry",
    "segment",
    "row",
    "manifest",
    "file",
    "database",
]
"""checkpoint: not signed by the key, malformed, or of another tree. rollback: the archive is older than what
is known of it. log: a tile or a bundle of entries. entry: one entry of the log. segment: a data file. row: a
row of a data file. manifest: SHA256SUMS. file: one that should be there, or should not. database: archive and
database tell different things.
"""
MOST_KEPT: Final = 1_000
"""Findings that are kept to be told one by one; beyond, they are counted."""
_LONGEST_SHOWN: Final = 80


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is not as it should be."""

    kind: Kind
    place: str
    """A file of the archive, `entry 1234`, or a row of the database; never a payload."""
    sentence: str


class Findings:
    """What has been found so far; of the same kind at the same place only the first is told."""

    def __init__(self) -> None:
        self.kept: list[Finding] = []
        self.count = 0
        self._told: set[tuple[str, str]] = set()

    def add(self, kind: Kind, place: str, sentence: str) -> None:
        """Take note of one."""
        if (kind, place) in self._told:
            return
        self.count += 1
        if len(self.kept) < MOST_KEPT:
            self._told.add((kind, place))
            self.kept.append(Finding(kind=kind, place=_spelt(place), sentence=_spelt(sentence)))


def _spelt(text: str) -> str:
    """Return a text that can be told as UTF-8: names of files need not be text at all."""
    return text.encode("utf-8", "backslashreplace").decode()


def counted(number: int, thing: str) -> str:
    """Return a number and its noun: "1 entry", "1,234 entries"."""
    things = f"{thing[:-1]}ies" if thing.endswith("y") else f"{thing}s"
    return f"{number:,} {thing if number == 1 else things}"


def place_of_event(
    task: str | None, group: str | None, timestamp: int | str | None, ordinal: int | None
) -> str:
    """Return how a finding names an event."""
    return f"event of task {task}, group {shown(group)}, timestamp {timestamp}, ordinal {ordinal}"


def shown(text: str | None) -> str:
    """Return a text of upstream's as a message shows it: quoted and cut, without control characters."""
    if text is None:
        return "none"
    cut = text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "..."
    return ascii(cut)
