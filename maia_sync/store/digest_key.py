"""By what is a payload known again that was removed? A keyed digest: HMAC-SHA-256 with a key of our own.

Whoever has a database or an archive, and not the key, cannot find out a short payload by trying. A keyed
digest is four bytes that tell the key, and the HMAC of the 32 bytes that would stand there otherwise: so its
length tells that it is one.
"""

from __future__ import annotations

import errno
import hmac
import os
import re
import secrets
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from maia_sync.errors import ConfigError, DigestKeyMissing

if TYPE_CHECKING:
    from pathlib import Path

KEY_BYTES: Final = 32
_ID_BYTES: Final = 4
KEYED_BYTES: Final = _ID_BYTES + KEY_BYTES
_MOST_BYTES: Final = 4_096
_NO_LINKS: Final = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
_FILE: Final = re.compile(r"maia-sync-digest-key-v1 ([0-9a-f]{64})\s*")


def is_keyed(digest: bytes | None) -> bool:
    """Tell whether what stands in a digest's column is a keyed one: its payload was removed."""
    return digest is not None and len(digest) == KEYED_BYTES


class DigestKey:
    """The key; never shown."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a digest key has {KEY_BYTES} bytes")
        self._key = key
        self._id = sha256(b"maia-sync digest key\n" + key).digest()[:_ID_BYTES]

    @property
    def id(self) -> bytes:
        """Return what keyed digests by it begin with."""
        return self._id

    def of(self, digest: bytes) -> bytes:
        """Return the keyed digest of a digest."""
        return self._id + hmac.digest(self._key, digest, "sha256")

    def has_made(self, keyed: bytes) -> bool:
        """Tell whether a keyed digest is one by this key."""
        return is_keyed(keyed) and keyed[:_ID_BYTES] == self._id


class DigestKeyFile:
    """Where the key lies; it is read when it is needed for the first time."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._key: DigestKey | None = None

    def load(self) -> DigestKey | None:
        """Return the key; None if there is no file. Raises ConfigError for a file that holds none."""
        if self._key is None and self.path is not None:
            self._key = _read(self.path)
        return self._key

    def require(self, keyed: bytes) -> DigestKey:
        """Return the key by which a keyed digest was made. Raises DigestKeyMissing if it cannot be had."""
        try:
            key = self.load()
        except ConfigError as error:  # other tasks do without it
            raise DigestKeyMissing(
                f"payloads of it were pruned or erased, and the key to know them again is of no use: {error}"
            ) from error
        if key is None:
            where = "archive.digest_key_file is not set" if self.path is None else f"{self.path} is not there"
            raise DigestKeyMissing(
                f"payloads of it were pruned or erased, and the key to know them again is missing: {where}; "
                "bring it from the host that has pruned"
            )
        if not key.has_made(keyed):
            raise DigestKeyMissing(
                f"payloads of it were pruned or erased with another key than the one in {self.path}: bring "
                "that from the host that has pruned"
            )
        return key


def read_digest_key(path: Path) -> DigestKey:
    """Return the key that a file holds. Raises ConfigError."""
    key = _read(path)
    if key is None:
        raise ConfigError([f"archive.digest_key_file: {path} is not there"])
    return key


def _read(path: Path) -> DigestKey | None:
    """Return the key that a file holds; None if there is no file. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            found = _FILE.fullmatch(file.read(_MOST_BYTES).decode(errors="replace"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigError([f"archive.digest_key_file: {path} cannot be read: {reason}"]) from error
    if found is None:
        raise ConfigError([f"archive.digest_key_file: {path} holds no digest key"])
    return DigestKey(bytes.fromhex(found[1]))


def make_digest_key(path: Path) -> DigestKey:
    """Write a new key, for its owner alone. Raises ConfigError if that cannot be done, or a file is there.

    Its file appears whole or not at all, and is there for good before anything is keyed by it.
    """
    key = secrets.token_bytes(KEY_BYTES)
    beside = path.with_name(f"{path.name}.{secrets.token_hex(4)}.new")
    try:
        try:
            _write_whole(beside, f"maia-sync-digest-key-v1 {key.hex()}\n".encode())
            _name(beside, path)
        finally:
            beside.unlink(missing_ok=True)
        _flush(path.parent)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigError([f"archive.digest_key_file: {path} cannot be written: {reason}"]) from error
    return DigestKey(key)


def _write_whole(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def _name(beside: Path, path: Path) -> None:
    """Give a file its name. Raises FileExistsError if something has it."""
    try:
        os.link(beside, path)
    except OSError as error:
        if error.errno not in _NO_LINKS or os.path.lexists(path):
            raise
        beside.replace(path)  # some file systems have no links


def _flush(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that cannot do it for folders
            raise
    finally:
        os.close(descriptor)
