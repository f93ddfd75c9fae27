"""Where does an archive lie? A folder, or an object store: a `Place` knows files by their relative paths.

Paths are relative, with "/" between their parts. A file is there whole or not at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from maia_sync.errors import ArchiveBusy, ArchiveDiffers

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager


_LONGEST_SHOWN: Final = 100


class FileThere(NamedTuple):
    """One file of an archive."""

    path: str
    size: int


class Place(Protocol):
    """An archive's files. All methods raise ArchiveError with a sentence if the place fails."""

    @property
    def name(self) -> str:
        """What messages call it: the folder or the URL, without credentials."""
        ...

    def read(self, path: str) -> bytes | None:
        """Return a file's bytes; None if there is none.

        Raises ArchiveDiffers for what is no plain file of the archive's own, or larger than it can be
        (limits.py), and has not read it then.
        """
        ...

    def write_new(self, path: str, content: bytes) -> None:
        """Write a file that is not there yet. Raises ArchiveBusy if it is.

        It need not be there, nor durable, before `settle`, which may be what raises; `read` finds it.
        """
        ...

    def replace(self, path: str, content: bytes) -> None:
        """Write a file, or put it in the place of what has its name, at once and durably."""
        ...

    def swap(self, path: str, old: bytes | None, new: bytes) -> None:
        """Do as `replace`, if `old` is what the file holds; with None, if there is no file.

        Raises ArchiveBusy otherwise: another writer was there. An object store sees to it itself, where it
        can; a folder relies on its lock.
        """
        ...

    def delete(self, paths: Iterable[str]) -> None:
        """Delete files; those that are not there do not matter. They need not stay away before `settle`."""
        ...

    def list(self, prefix: str = "") -> Iterator[FileThere]:
        """Yield the files whose paths begin with a folder's path (such as "data/"), or all; in any order."""
        ...

    def settle(self) -> None:
        """Make durable whatever `write_new` has written and `delete` has deleted."""
        ...

    def lock(self) -> AbstractContextManager[bool]:
        """Keep other writers out while the block lasts.

        Yields whether this alone is enough: a folder is locked for every process that sees it, and an object
        store cannot be (then a lease in the database is needed beside it). Raises ArchiveBusy if another
        writer is at work.
        """
        ...


def changed(name: str, path: str) -> ArchiveBusy:
    """Return the error of a `swap` that finds another file than its caller has read."""
    return ArchiveBusy(f"{name}: {path} is no longer what it was: another process is writing")


def too_large(name: str, path: str, size: int, most: int) -> ArchiveDiffers:
    """Return the error of a `read` that does not read a file because of its size."""
    return ArchiveDiffers(f"{name}: {path} {oversize(size, most)}")


def oversize(size: int, most: int) -> str:
    """Return what is wrong with a file that is too large."""
    return f"has {size:,} bytes, and can have {most:,} at most"


def checked_path(path: str, name: str) -> str:
    """Return a path if it stays within the place of this name.

    An archive that was altered can name any path. Raises ArchiveDiffers.
    """
    parts = path.split("/")
    if not path or {"", ".", ".."}.intersection(parts) or "\0" in path or not path.isprintable():
        raise ArchiveDiffers(f"{name}: the archive names a path that cannot be: {path[:_LONGEST_SHOWN]!a}")
    return path
