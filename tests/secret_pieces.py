"""Does a piece of what must be gone still stand somewhere? Texts like nothing else, searched raw."""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING

from maia_sync.archive.segment import read_segment

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_LETTERS = "GHJKLMNPQRSTVWXZ"
"""None of hex, and no small ones: names, digests and JSON have no such runs."""
_RUN = re.compile(rb"[GHJKLMNPQRSTVWXZ]{16,}")
PIECE = 16


class Secrets:
    """Makes texts, and knows every piece of them."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._pieces: set[bytes] = set()
        self.made = 0

    def make(self, length: int = 40) -> str:
        """Return another text."""
        text = "".join(self._random.choices(_LETTERS, k=length))
        self._pieces.update(text[at : at + PIECE].encode() for at in range(length - PIECE + 1))
        self.made += 1
        return text

    def are_among(self, pieces: set[bytes]) -> bool:
        """Tell whether there is any of them among these."""
        return not self._pieces.isdisjoint(pieces)

    def in_bytes(self, content: bytes) -> int:
        """Return how many pieces stand in these bytes."""
        found = 0
        for run in _RUN.finditer(content):
            letters = run[0]
            found += sum(letters[at : at + PIECE] in self._pieces for at in range(len(letters) - PIECE + 1))
        return found

    def in_files(self, paths: Iterable[Path]) -> dict[str, int]:
        """Return how many pieces stand in which of these files; those without are left out."""
        found = {}
        for path in paths:
            try:
                number = self.in_bytes(path.read_bytes())
            except FileNotFoundError:
                continue
            if number:
                found[str(path)] = number
        return found

    def in_archive(self, files: Iterable[tuple[str, bytes]]) -> dict[str, int]:
        """Return the same of an archive's files: as they are, and of data segments what they hold."""
        found = {}
        for path, content in files:
            number = self.in_bytes(content)
            if path.endswith(".parquet"):
                number += sum(self.in_bytes(value) for value in _values(content))
            if number:
                found[path] = number
        return found


def pieces_in(files: Iterable[tuple[str, bytes]]) -> set[bytes]:
    """Return every piece that could be a secret's in such files."""
    found: set[bytes] = set()
    for path, content in files:
        for held in (content, *(_values(content) if path.endswith(".parquet") else ())):
            for run in _RUN.finditer(held):
                found.update(run[0][at : at + PIECE] for at in range(len(run[0]) - PIECE + 1))
    return found


def _values(segment: bytes) -> Iterator[bytes]:
    for rows in read_segment(segment):
        for column in rows:
            yield repr(column).encode()


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
