"""Which place and which key does the configuration name?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from maia_sync.archive.keys import load_signer
from maia_sync.archive.places import folder_of, open_place
from maia_sync.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from maia_sync.archive.note import Signer
    from maia_sync.archive.place import Place
    from maia_sync.settings import ArchiveSettings


_NO_URL: Final = (
    "archive.url: expected the archive's folder or URL: set url below [archive] in the configuration's file, "
    "or MAIA_SYNC_ARCHIVE__URL"
)


def configured_place(settings: ArchiveSettings) -> Place:
    """Return the place of archive.url. Raises ConfigError if there is none."""
    if settings.url is None:
        raise ConfigError([_NO_URL])
    try:
        return open_place(settings.url)
    except UsageError as error:
        raise ConfigError([f"archive.url: {error}"]) from error


def lies_in_archive(settings: ArchiveSettings, path: Path) -> bool:
    """Tell whether a file lies, or would lie, in the folder of archive.url: every copy would have it, too."""
    if settings.url is None:
        return False
    try:
        folder = folder_of(settings.url)
        return folder is not None and path.resolve().is_relative_to(folder.resolve())
    except (UsageError, OSError, RuntimeError):  # no folder, or a link that leads to itself
        return False


def configured_signer(settings: ArchiveSettings) -> Signer:
    """Return what signs with the key of archive.key_file. Raises ConfigError if there is none."""
    if settings.key_file is None:
        raise ConfigError(["archive.key_file: expected a key's file; `maia-sync archive keygen` makes one"])
    try:
        return load_signer(settings.key_file)
    except ConfigError as error:
        is_missing = isinstance(error.__cause__, FileNotFoundError)
        hint = "; `maia-sync archive keygen` makes one" if is_missing else ""
        raise ConfigError([f"archive.key_file: {problem}{hint}" for problem in error.problems]) from error
