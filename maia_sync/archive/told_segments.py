"""Which data segments does the log tell of, and which files stand for them once payloads were erased?

The log tells of each file before it is one of the archive's: of a segment, of the erasure, and of the files
that were written anew for it, each in the place of another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from maia_sync.archive.entry import facts_of
from maia_sync.archive.segment import parse_segment_path
from maia_sync.archive.selection import selection_of
from maia_sync.store.archived import ErasureFacts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from maia_sync.archive.entry import Entry, RedactedFacts
    from maia_sync.archive.finding import Findings


class _Line(NamedTuple):
    """A file's line in SHA256SUMS."""

    at: int
    """Its number, from 0 on: that of its data segment among all, however often that is written anew."""
    rows: int


class ToldSegments:
    """What the log has told of files so far; whatever it tells that cannot be is reported."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._files: dict[str, _Line] = {}
        self._replaced: dict[str, int] = {}
        self._named: dict[int, int] = {}
        """Files that were written anew, by the index of the erasure's entry."""
        self._payloads: dict[int, int] = {}
        """How many payloads each erasure was of, says its entry."""
        self._erasure: int | None = None
        self.lines: list[tuple[str, str]] = []
        """What SHA256SUMS should hold: sum and path of the file of each segment, in the log's order."""

    def __contains__(self, path: str) -> bool:
        return path in self._files or path in self._replaced

    @property
    def replaced(self) -> Mapping[str, int]:
        """The files in whose place others are, with the indexes of the entries that tell so."""
        return self._replaced

    def add(self, path: str, sha256: str, rows: int) -> int:
        """Take a data segment in; return its number among them."""
        self._files[path] = _Line(len(self.lines), rows)
        self.lines.append((sha256, path))
        return len(self.lines) - 1

    def path(self, number: int) -> str:
        """Return the file that stands for a data segment by now."""
        return self.lines[number][1]

    def take_erasure(self, index: int, entry: Entry) -> None:
        """Take the entry of an erasure."""
        try:
            is_one, facts = selection_of(index, entry) is not None, facts_of(entry)
        except ValueError:
            is_one, facts = False, None
        if is_one and isinstance(facts, ErasureFacts):
            self._payloads[index] = facts.payloads
        else:
            self._findings.add("entry", f"entry {index}", "tells of an erasure, and not of what")
        self._erasure = index
        self._named[index] = 0

    def replace(self, index: int, facts: RedactedFacts) -> int | None:
        """Take the entry of a file in another's place; return the number of its segment, or report it."""
        parsed, old = parse_segment_path(facts.path), self._files.get(facts.replaces)
        of_old = parse_segment_path(facts.replaces)
        if facts.erasure != self._erasure or self._erasure is None:
            wrong = "and names another erasure than the one before it"
        elif old is None:
            wrong = f"in place of {facts.replaces}, which does not stand there"
        elif parsed is None or of_old is None or parsed != of_old._replace(redacted=index):
            wrong = "by a name that cannot be"
        elif (facts.first, facts.end, facts.rows) != (parsed.first, parsed.end, old.rows):
            wrong = "which has not the rows of the one before it"
        else:
            self._files[facts.path] = self._files.pop(facts.replaces)
            self._replaced[facts.replaces] = index
            self.lines[old.at] = (facts.sha256, facts.path)
            self._named[facts.erasure] += 1
            return old.at
        self._findings.add("entry", f"entry {index}", f"tells of a file in another's place, {wrong}")
        return None

    def end(self, emptied: Mapping[int, int] | None) -> None:
        """Report erasures that have rid no file of anything, or not of what they tell.

        `emptied`: of how many payloads each has rid them; None if not all of them could be looked at.
        """
        for index, files in self._named.items():
            told = self._payloads.get(index, 0)
            if not files:
                wrong = "no file was written anew for it"
            elif emptied is not None and emptied.get(index, 0) != told:
                wrong = f"not how many payloads it was of: {emptied.get(index, 0):,}, and not {told:,}"
            else:
                continue
            self._findings.add("entry", f"entry {index}", f"tells of an erasure, and {wrong}")
