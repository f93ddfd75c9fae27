"""Which place and which key does the configuration name?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from maia_sync.archive.keys import load_signer
from maia_sync.archive.places import open_place
from maia_sync.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from maia_sync.archive.note import Signer
    from maia_sync.archive.place import Place
    from maia_sync.settings import ArchiveSettings


def configured_place(settings: ArchiveSettings) -> Place:
    """Return the place of archive.url. Raises ConfigError if there is none."""
    if settings.url is None:
        raise ConfigError(["archive.url: expected the archive's folder or URL"])
    try:
        return open_place(settings.url)
    except UsageError as error:
        raise ConfigError([f"archive.url: {error}"]) from error


def configured_signer(settings: ArchiveSettings) -> Signer:
    """Return what signs with the key of archive.key_file. Raises ConfigError if there is none."""
    if settings.key_file is None:
        raise ConfigError(["archive.key_file: expected a key's file; `maia-sync archive keygen` makes one"])
    try:
        return load_signer(settings.key_file)
    except ConfigError as error:
        raise ConfigError([f"archive.key_file: {problem}" for problem in error.problems]) from error
