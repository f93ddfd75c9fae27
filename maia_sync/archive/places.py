"""Which place does a URL or a folder's path name?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from maia_sync.archive.folder import FolderPlace
from maia_sync.errors import UsageError

if TYPE_CHECKING:
    from maia_sync.archive.place import Place

_OBJECT_STORES: Final = ("s3", "gs", "az")


def open_place(url: str) -> Place:
    """Return the place: a folder's path or file://, or s3://, gs:// or az:// with a bucket and a prefix.

    Nothing is read or made yet. Raises UsageError for what names none, and ArchiveError where packages are
    missing for it.
    """
    parts = urlsplit(url) if "://" in url else None
    folder = folder_of(url)
    if folder is not None:
        return FolderPlace(folder)
    if parts is None or parts.scheme not in _OBJECT_STORES or not parts.netloc:
        raise UsageError("expected a folder, or a URL that begins with s3://, gs://, az:// or file:///")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise UsageError("expected the archive's URL without credentials, and nothing behind its path")
    from maia_sync.archive.objects import ObjectPlace  # noqa: PLC0415 - its library is optional

    return ObjectPlace(url)


def folder_of(url: str) -> Path | None:
    """Return the folder that a path or a URL names; None for what is none. Raises UsageError for no path."""
    if "://" not in url:
        return _folder(url)
    parts = urlsplit(url)
    is_folder = parts.scheme == "file" and parts.netloc in ("", "localhost")
    return _folder(unquote(parts.path)) if is_folder else None


def _folder(path: str) -> Path:
    if not path or "\0" in path:
        raise UsageError("expected the path of the archive's folder")
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UsageError("expected the path of a folder: there is no such user") from error
