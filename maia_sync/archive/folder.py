"""How does an archive lie in a folder? Files appear whole, and are on the disk once they have to be.

A file is written under another name in `.new` and then given its own, so that a process that dies leaves no
half of one. What is durable when: `replace` before it returns; what `write_new` has written, in `settle`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import stat
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from maia_sync.archive.background import Background
from maia_sync.archive.limits import most_bytes
from maia_sync.archive.place import FileThere, changed, checked_path, too_large
from maia_sync.errors import ArchiveBusy, ArchiveDiffers, ArchiveError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from maia_sync.archive.place import Place

NEW: Final = ".new"
"""Where files lie before they get their names; they are not listed."""
_THREADS: Final = 8
_MOST_WAITING: Final = 4096
"""Files that may wait to be made durable."""
_NO_LINKS: Final = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
_GONE: Final = (FileNotFoundError, NotADirectoryError)
_READING: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""Neither follows a link nor waits for whoever writes to a pipe."""
_OPENS_NO_FILE: Final = (errno.ELOOP, errno.ENXIO, errno.EISDIR)
LINK: Final = "is a link to another place: an archive holds none, so it has been put there"
NO_FILE: Final = "is no file: it has been put there"
_DEEPEST: Final = 16
"""Folders in one another, more than an archive has; what lies deeper is listed as if it were one file."""


class FolderPlace:
    """A Place in a folder, which is made when the first writer locks it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._made: set[Path] = set()
        """Folders that are there."""
        self._plain: set[Path] = set()
        """Folders below its own that are no links."""
        self._unsettled: set[Path] = set()
        """Folders whose entries are not yet durable."""
        self._background = Background(threads=_THREADS, most_weight=_MOST_WAITING)

    @property
    def name(self) -> str:
        """The folder."""
        return str(self._folder)

    def read(self, path: str) -> bytes | None:
        """Return a file's bytes; None if there is none."""
        target, most = self._at(path), most_bytes(path)
        try:
            self._require_no_links(target.parent)
            with os.fdopen(os.open(target, _READING), "rb") as file:
                there = os.fstat(file.fileno())
                if not stat.S_ISREG(there.st_mode):
                    raise self._planted(target, NO_FILE)
                if there.st_size > most:
                    raise too_large(self.name, path, there.st_size, most)
                return file.read(there.st_size)
        except _GONE:
            return None
        except OSError as error:
            if error.errno in _OPENS_NO_FILE:
                raise self._planted(target, LINK if error.errno == errno.ELOOP else NO_FILE) from error
            raise self._failed("read", path, error) from error

    def write_new(self, path: str, content: bytes) -> None:
        """Write a file that is not there yet; it is durable after `settle`."""
        target = self._at(path)
        try:
            self._make_folder(target.parent)
            beside = self._write_beside(content)
            try:
                _link(beside, target)
            finally:
                beside.unlink(missing_ok=True)
        except FileExistsError as error:
            raise ArchiveBusy(f"{self.name}: {path} is there already: is another process writing?") from error
        except OSError as error:
            raise self._failed("write", path, error) from error
        self._unsettled.add(target.parent)
        self._background.do(partial(self._flush, target), 1)

    def replace(self, path: str, content: bytes) -> None:
        """Write a file, or put it in the place of what has its name, at once and durably."""
        target = self._at(path)
        try:
            self._make_folder(target.parent)
            beside = self._write_beside(content, durably=True)
            try:
                beside.replace(target)
            except OSError:
                beside.unlink(missing_ok=True)
                raise
            _flush(target.parent)
            if target.parent in self._unsettled:  # its own name, in the folder above, may be new
                self._settle_folders()
        except OSError as error:
            raise self._failed("write", path, error) from error

    def swap(self, path: str, old: bytes | None, new: bytes) -> None:
        """Do as `replace`, if `old` is what the file holds; its lock keeps others out meanwhile."""
        if self.read(path) != old:
            raise changed(self.name, path)
        self.replace(path, new)

    def delete(self, paths: Iterable[str]) -> None:
        """Delete files, and the folders that become empty; they stay away for good after `settle`."""
        parents = set()
        for path in paths:
            target = self._at(path)
            self._require_no_links(target.parent)
            try:
                target.unlink()
            except _GONE:
                continue
            except OSError as error:
                raise self._failed("delete", path, error) from error
            parents.add(target.parent)
        self._unsettled |= parents
        for parent in sorted(parents, reverse=True):
            self._remove_empty(parent)

    def list(self, prefix: str = "") -> Iterator[FileThere]:
        """Yield the files below a folder, or all; what is about to be written is none."""
        start = self._at(prefix.rstrip("/")) if prefix else self._folder
        self._require_no_links(start)
        waiting = [(start, 0)]
        while waiting:
            folder, depth = waiting.pop()
            for entry in self._entries(folder):
                try:
                    is_folder = entry.is_dir(follow_symlinks=False)
                    if is_folder and folder == self._folder and entry.name == NEW:
                        continue
                    if is_folder and depth < _DEEPEST:
                        waiting.append((Path(entry.path), depth + 1))
                        continue
                    size = 0 if is_folder else entry.stat(follow_symlinks=False).st_size
                except OSError:  # it has just gone
                    size = 0
                yield FileThere(os.path.relpath(entry.path, self._folder), size)

    def settle(self) -> None:
        """Make durable whatever `write_new` has written and `delete` has deleted."""
        try:
            self._background.wait()
            self._settle_folders()
        except OSError as error:
            raise self._failed("write", "", error) from error

    @contextmanager
    def lock(self) -> Iterator[bool]:
        """Keep other writers out; False where the file system cannot do that."""
        try:
            made = self._make_folder(self._folder)
            descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise self._failed("write", "", error) from error
        is_locked = False
        try:
            is_locked = self._is_locked(descriptor)
            yield is_locked
            self._remove_empty(self._folder / NEW)
        finally:
            if is_locked:
                self._remove_made(made)
            os.close(descriptor)

    def _is_locked(self, descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ArchiveBusy(f"{self.name}: another process is writing this archive") from error
        except OSError:
            return False
        if not self._is_still(descriptor):
            raise ArchiveBusy(f"{self.name}: another process has just removed this folder")
        self._require_no_links(self._folder / NEW)
        with suppress(OSError):
            self._empty_new()
        return True

    def forget_unnamed(self) -> None:
        """Delete what a writer that died was about to give its name. Raises ArchiveError.

        For its only writer, who may hold no lock of it: not every file system has them.
        """
        self._require_no_links(self._folder / NEW)
        try:
            self._empty_new()
        except OSError as error:
            raise self._failed("delete", NEW, error) from error

    def _empty_new(self) -> None:
        for entry in self._entries(self._folder / NEW):
            Path(entry.path).unlink(missing_ok=True)

    def _is_still(self, descriptor: int) -> bool:
        """Tell whether what is locked still has the folder's name: a writer may have removed its own."""
        try:
            return os.path.samestat(os.fstat(descriptor), self._folder.stat())
        except OSError:
            return False

    def _remove_made(self, made: Sequence[Path]) -> None:
        """Remove the folders that were made for this writer, if it has written nothing."""
        for folder in reversed(made):
            try:
                folder.rmdir()
            except OSError:  # not empty
                return
            self._made.discard(folder)
            self._unsettled -= {folder, folder.parent}

    def _at(self, path: str) -> Path:
        return self._folder / checked_path(path, self.name)

    def _entries(self, folder: Path) -> tuple[os.DirEntry[str], ...]:
        try:
            with os.scandir(folder) as entries:
                return tuple(entries)
        except _GONE:
            return ()
        except OSError as error:
            raise self._failed("read", os.path.relpath(folder, self._folder), error) from error

    def _write_beside(self, content: bytes, *, durably: bool = False) -> Path:
        """Write the bytes to a file of a name of its own, which is about to get another."""
        new = self._folder / NEW
        self._make_folder(new)
        beside = new / secrets.token_hex(8)
        try:
            with beside.open("xb", buffering=0) as file:
                left = memoryview(content)
                while left:
                    left = left[file.write(left) :]
                if durably:
                    os.fsync(file.fileno())
        except OSError:
            with suppress(OSError):
                beside.unlink(missing_ok=True)
            raise
        return beside

    def _make_folder(self, folder: Path) -> Sequence[Path]:
        """Make a folder and those above it; return which were not there, the highest first."""
        new: list[Path] = []
        if folder in self._made:
            return new
        self._require_no_links(folder)
        for each in (*reversed(folder.parents), folder):
            if each not in self._made and not each.is_dir():
                with suppress(FileExistsError):
                    each.mkdir()
                    new.append(each)
                self._unsettled.add(each.parent)
            self._made.add(each)
        return new

    def _require_no_links(self, folder: Path) -> None:
        """Raise ArchiveDiffers if a folder, or one on the way to it from the archive's own, is a link."""
        below: list[Path] = []
        while folder not in self._plain and folder != self._folder:
            below.append(folder)
            folder = folder.parent
        for each in reversed(below):
            try:
                mode = each.lstat().st_mode
            except OSError:  # it is not there
                return
            if stat.S_ISLNK(mode):
                raise self._planted(each, LINK)
            if stat.S_ISDIR(mode):
                self._plain.add(each)

    def _planted(self, target: Path, what: str) -> ArchiveDiffers:
        return ArchiveDiffers(f"{self.name}: {os.path.relpath(target, self._folder)} {what}")

    def _remove_empty(self, folder: Path) -> None:
        while folder != self._folder:
            try:
                folder.rmdir()
            except OSError:  # not empty
                return
            self._made.discard(folder)
            self._plain.discard(folder)
            self._unsettled.discard(folder)
            self._unsettled.add(folder.parent)
            folder = folder.parent

    def _flush(self, target: Path) -> None:
        with suppress(*_GONE):  # deleted meanwhile
            _flush(target)

    def _settle_folders(self) -> None:
        while self._unsettled:
            self._flush(self._unsettled.pop())

    def _failed(self, verb: str, path: str, error: OSError) -> ArchiveError:
        reason = error.strerror or type(error).__name__
        what = f"{self.name}/{path}" if path and path != "." else self.name
        return ArchiveError(f"cannot {verb} {what}: {reason}")


def forget_unnamed(place: Place) -> None:
    """Delete what a writer that died was about to give its name at a place. Raises ArchiveError.

    To be asked by the place's only writer. An object is there whole or not at all.
    """
    if isinstance(place, FolderPlace):
        place.forget_unnamed()


def _link(beside: Path, target: Path) -> None:
    """Give a file another name. Raises FileExistsError if something has it."""
    try:
        os.link(beside, target)
    except OSError as error:
        if error.errno not in _NO_LINKS or isinstance(error, FileExistsError):
            raise
        # Some file systems have no links. Nobody else writes here: see `lock`.
        with suppress(FileNotFoundError):
            if stat.S_IFMT(target.lstat().st_mode):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        beside.replace(target)


def _flush(path: Path) -> None:
    """Wait until what the file or folder holds is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that cannot do it for folders
            raise
    finally:
        os.close(descriptor)
