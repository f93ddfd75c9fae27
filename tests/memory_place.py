"""How does an archive lie in memory? A `Place` that is a dictionary, for tests of what stands above it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from maia_sync.archive.place import FileThere, changed
from maia_sync.errors import ArchiveBusy

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class MemoryPlace:
    """Files by their paths; `files` may be looked into and tampered with."""

    def __init__(self, files: dict[str, bytes] | None = None, *, name: str = "memory") -> None:
        self.files = {} if files is None else files
        self.name = name
        self.settled = 0
        self._locked = False

    def copy(self) -> MemoryPlace:
        return MemoryPlace(dict(self.files), name=self.name)

    def read(self, path: str) -> bytes | None:
        return self.files.get(path)

    def write_new(self, path: str, content: bytes) -> None:
        if path in self.files:
            raise ArchiveBusy(f"{self.name}: {path} is there already: another process may be writing it")
        self.files[path] = bytes(content)

    def replace(self, path: str, content: bytes) -> None:
        self.files[path] = bytes(content)

    def swap(self, path: str, old: bytes | None, new: bytes) -> None:
        if self.read(path) != old:
            raise changed(self.name, path)
        self.replace(path, new)

    def delete(self, paths: Iterable[str]) -> None:
        for path in list(paths):
            self.files.pop(path, None)

    def list(self, prefix: str = "") -> Iterator[FileThere]:
        yield from [
            FileThere(path, len(held)) for path, held in self.files.items() if path.startswith(prefix)
        ]

    def settle(self) -> None:
        self.settled += 1

    @contextmanager
    def lock(self) -> Iterator[bool]:
        if self._locked:
            raise ArchiveBusy(f"{self.name}: another process is writing it")
        self._locked = True
        try:
            yield True
        finally:
            self._locked = False
