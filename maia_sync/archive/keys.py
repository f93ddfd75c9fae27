"""Where do the archive's keys come from? A private key's file, and the verifier key beside it."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from maia_sync.archive.ed25519 import decode_private_key, make_private_key
from maia_sync.archive.note import Signer, VerifierKey, is_name
from maia_sync.errors import ConfigError, UsageError
from maia_sync.store.digest_key import make_digest_key
from maia_sync.store.erasing import read_keyed_by
from maia_sync.store.erasure_rest import is_any_keyed_by, is_any_pruned_by_others
from maia_sync.store.pruning import read_keyed_digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from maia_sync.store.database import Database, Transaction
    from maia_sync.store.digest_key import DigestKey

_HEADING: Final = "maia-sync archive key of "
_NAMED: Final = re.compile(rf"^{_HEADING}(\S+)\s*^-----BEGIN ", re.MULTILINE)
_LONGEST_FILE: Final = 100_000


def verifier_path(key_file: Path) -> Path:
    """Return where the verifier key lies: beside the private key."""
    return key_file.with_name(f"{key_file.name}.pub")


def digests_path(key_file: Path) -> Path:
    """Return where the key of keyed digests lies, unless archive.digest_key_file names another file."""
    return key_file.with_name(f"{key_file.name}.digests")


def make_key(path: Path, name: str) -> VerifierKey:
    """Make a key, with the verifier key beside it. Raises UsageError if one of the files is there already."""
    if not is_name(name):
        raise UsageError("a key's name is not empty, has no spaces and no +, and at most 200 characters")
    if not path.name or path.is_dir():
        raise UsageError(f"{path}: is a folder: name the file in it that the key is to go to")
    key, pem = make_private_key()
    verifier = Signer(name, key).verifier
    secret = f"{_HEADING}{name}\n".encode() + pem
    _write_all(((path, secret, 0o600), _public_file(path, verifier)))
    return verifier


def restore_verifier(path: Path) -> tuple[VerifierKey, bool]:
    """Return the verifier key of a private key's file, and whether it was missing beside it and is written.

    Raises UsageError if there is no private key, or if something else lies where its verifier key belongs.
    """
    try:
        verifier = load_signer(path).verifier
    except ConfigError as error:
        raise UsageError(str(error)) from error
    public = verifier_path(path)
    if not os.path.lexists(public):
        _write_all((_public_file(path, verifier),))
        return verifier, True
    if load_verifier(str(public)) != verifier:
        raise UsageError(f"{public}: is there already, and is not the public half of {path}: {verifier}")
    return verifier, False


def digest_key_of(database: Database, *, erasing: str | None = None, renewed: bool = False) -> DigestKey:
    """Return the key by which removed payloads are known again; one is made if none was ever needed.

    To be asked by the archive's only writer. Raises what `require_fit` does.
    """
    file = database.digest_key
    key = file.load()
    with database.transaction(write=False) as tx:
        require_fit(tx, key, erasing=erasing, renewed=renewed)
    if key is not None:
        return key
    if file.path is None:
        raise ConfigError(["archive.digest_key_file: expected a file's path, or archive.key_file"])
    return make_digest_key(file.path)


def require_fit(
    tx: Transaction, key: DigestKey | None, *, erasing: str | None = None, renewed: bool = False
) -> None:
    """Raise ConfigError if payloads were removed by a key before, and this one, or none, is another.

    `erasing`: the task that is erased. No other is looked at then if the key has removed something before,
    for it was `renewed` once: that is to be said by a person, who knows that the one before is lost for good.
    """
    if renewed:
        return
    keyed = read_keyed_digest(tx)
    if keyed is None:
        return
    if key is None:
        where = "it is not set" if tx.digest_key.path is None else f"{tx.digest_key.path} is not there"
        raise _unfit(f"{where}, and payloads were pruned or erased before")
    another = f"{tx.digest_key.path} holds another key than that by which payloads"
    if not key.has_made(keyed) and not is_any_keyed_by(tx, key.id):
        raise _unfit(f"{another} were pruned or erased before")
    if erasing is None:
        if is_any_pruned_by_others(tx, key.id):
            raise _unfit(f"{another} were pruned before")
    elif not all(map(key.has_made, read_keyed_by(tx, erasing))):
        raise _unfit(f"{another} of the task {erasing} were pruned or erased before")


def _unfit(what: str) -> ConfigError:
    mend = (
        "bring the key from the host that has done so; if it is lost for good, `maia-sync archive erase "
        "--new-digest-key` does without it, and `maia-sync archive restore` brings back what was pruned"
    )
    return ConfigError([f"archive.digest_key_file: {what}: {mend}"])


def _public_file(path: Path, verifier: VerifierKey) -> tuple[Path, bytes, int]:
    return verifier_path(path), f"{verifier}\n".encode(), 0o644


def _write_all(files: Iterable[tuple[Path, bytes, int]]) -> None:
    """Write new files with their modes: all of them, or none. Raises UsageError."""
    made: list[Path] = []
    try:
        for path, content, mode in files:
            _write_new(path, content, mode, made)
    except FileExistsError as error:
        _delete(made)
        raise UsageError(f"{error.filename}: is there already, and a key is never overwritten") from error
    except OSError as error:
        _delete(made)
        raise UsageError(
            f"{error.filename or path}: cannot be written: {error.strerror or type(error).__name__}"
        ) from error


def _write_new(path: Path, content: bytes, mode: int, made: list[Path]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    made.append(path)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def _delete(made: Sequence[Path]) -> None:
    for path in made:
        path.unlink(missing_ok=True)


def load_signer(path: Path) -> Signer:
    """Return the signer of a private key's file. Raises ConfigError if there is none in it."""
    held = _read(path, ConfigError)
    named = _NAMED.search(held.decode(errors="replace"))
    if named is None or not is_name(named[1]):
        raise ConfigError(
            [f"{path}: holds no key that `archive keygen` has made: the line with its name is missing"]
        )
    try:
        return Signer(named[1], decode_private_key(held[held.index(b"-----BEGIN ") :]))
    except ValueError as error:
        raise ConfigError([f"{path}: no Ed25519 key can be read from it"]) from error


def load_verifier(key: str | Path) -> VerifierKey:
    """Return a verifier key: of a file (a Path), or of a text that is a key or names a file.

    Raises ConfigError for a Path, which a configuration has named, and UsageError for a text, which a person
    has typed.
    """
    if not str(key).strip():
        raise UsageError("expected a verifier key, or a file that holds one, not an empty text")
    if isinstance(key, str) and key.count("+") >= 2 and not os.path.isfile(key):  # noqa: PTH113 - never raises
        try:
            return VerifierKey.parse(key.strip())
        except ValueError as error:
            raise UsageError(str(error)) from error
    wrong = ConfigError if isinstance(key, Path) else UsageError
    held = _read(Path(key), wrong)
    try:
        return VerifierKey.parse(held.decode().strip())
    except ValueError as error:
        raise _named(wrong, f"{key}: holds no verifier key: {_why(error)}") from error


def _why(error: ValueError) -> str:
    return "it is no text" if isinstance(error, UnicodeDecodeError) else str(error)


def _read(path: Path, wrong: type[ConfigError | UsageError]) -> bytes:
    try:
        if stat.S_ISFIFO(path.lstat().st_mode):  # a shell's <(command) is a link to one
            raise _named(wrong, f"{path}: is no file, but a pipe")
        with path.open("rb") as file:
            return file.read(_LONGEST_FILE)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise _named(wrong, f"{path}: cannot be read: {reason}") from error


def _named(wrong: type[ConfigError | UsageError], sentence: str) -> ConfigError | UsageError:
    return ConfigError([sentence]) if issubclass(wrong, ConfigError) else UsageError(sentence)
