"""Can the archive be written and verified as it is configured, and do its checkpoints get elsewhere?"""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from maia_sync.cli.checkup import failed, ok, problem, warning
from maia_sync.cli.escaping import one_line
from maia_sync.cli.wording import counted
from maia_sync.errors import EXIT_CONFIG, ArchiveDiffers, ConfigError, DatabaseError, MaiaSyncError
from maia_sync.store.archive_log import ANEW

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from maia_sync.app import App
    from maia_sync.archive.note import Signer, VerifierKey
    from maia_sync.archive.place import Place
    from maia_sync.cli.checkup import Finding
    from maia_sync.settings import ArchiveSettings
    from maia_sync.store.archive_standing import ArchiveStanding

_SEE = "see [archive] in the configuration"


def check_archive(app: App) -> Iterator[Finding]:
    """Yield what is found of the archive; nothing where there is none, and nothing was pruned."""
    archive = app.settings.archive
    if archive.url is None:
        yield from _check_digest_key(app, archive)
        return
    verifier: VerifierKey | None = None
    try:
        verifier, findings = _check_keys(archive)
        yield from findings
    except MaiaSyncError as error:
        yield failed("archive", error, _SEE, error.exit_code)
    yield from _check_digest_key(app, archive)
    if verifier is not None:
        try:
            yield _check_place(app, archive, verifier)
        except MaiaSyncError as error:
            yield failed("archive", error, _SEE, error.exit_code)
    yield from _check_anchor(app, archive)


def _check_keys(archive: ArchiveSettings) -> tuple[VerifierKey | None, list[Finding]]:
    """Tell by which key the archive is to be verified, and what is wrong with the keys."""
    from maia_sync.archive.keys import load_signer, load_verifier

    if archive.verifier_key_file is None:
        mend = "set archive.key_file; `maia-sync archive keygen` makes a key"
        return None, [warning("archive key", "archive.url is set, but archive.key_file is not", mend)]
    signer = None if archive.key_file is None else load_signer(archive.key_file)
    try:
        verifier = load_verifier(archive.verifier_key_file)
    except ConfigError as error:
        mend = _SEE
        if archive.key_file is not None:
            mend = f"`maia-sync archive keygen --from-key {archive.key_file}` makes it again"
        return _half(signer), [failed("archive key", error, mend, EXIT_CONFIG)]
    if archive.key_file is None or signer is None:
        found = f"{verifier.name} can be verified here, but not written: archive.key_file is not set"
        return verifier, [ok("archive key", found)]
    if signer.verifier != verifier:
        found = f"{archive.verifier_key_file} is not the public half of {archive.key_file}"
        return signer.verifier, [problem("archive key", found, _SEE, EXIT_CONFIG)]
    exposed = [*_check_exposure(archive, archive.key_file)]
    return verifier, exposed or [ok("archive key", f"{archive.key_file} is the key of {verifier.name}")]


def _half(signer: Signer | None) -> VerifierKey | None:
    return None if signer is None else signer.verifier


def _check_exposure(archive: ArchiveSettings, key_file: Path) -> Iterator[Finding]:
    from maia_sync.archive.configured import lies_in_archive

    if lies_in_archive(archive, key_file):
        found = f"{key_file} lies in the archive's folder: everyone who gets a copy gets the private key"
        mend = f"move it elsewhere, and set archive.key_file; if somebody has a copy by now, {ANEW}"
        yield problem("archive key", found, mend, EXIT_CONFIG)
    if key_file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        found = f"others on this machine may reach the private key in {key_file}"
        yield warning("archive key", found, f"chmod 600 {key_file}")


def _check_digest_key(app: App, archive: ArchiveSettings) -> Iterator[Finding]:
    """Tell whether payloads that were removed can be known again, and by nobody else.

    Without an archive, only where some were: what is made of them by the key is in the database all the same.
    """
    from maia_sync.archive.configured import lies_in_archive

    path = archive.digest_key_file
    check = "digests' key"
    keyed = _keyed_digest(app)
    if archive.url is None and keyed is None:
        return
    try:
        key = app.database.digest_key.load()
    except ConfigError as error:
        mend = "bring the file back from a copy, or name another in archive.digest_key_file"
        yield failed(check, error, mend, error.exit_code)
        return
    mend = "set archive.digest_key_file to the one of the host that has pruned or erased"
    if keyed is not None and (key is None or not key.has_made(keyed)):
        is_there = "is another one" if key is not None else "is missing"
        found = (
            f"payloads were pruned or erased, and the key to know them again {is_there}: {path or 'not set'}"
        )
        yield problem(check, found, mend, EXIT_CONFIG)
        return
    if key is None or path is None:
        return
    if archive.url is not None and lies_in_archive(archive, path):
        found = f"{path} lies in the archive's folder: who gets a copy can find out what was erased by trying"
        yield problem(check, found, "move it elsewhere, and set archive.digest_key_file", EXIT_CONFIG)
    elif path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        found = f"others on this machine may reach the key in {path}"
        yield warning(check, found, f"chmod 600 {path}")
    else:
        yield ok(check, f"{path}: payloads that were pruned or erased are known again by it")


def _keyed_digest(app: App) -> bytes | None:
    from maia_sync.store.pruning import read_keyed_digest

    if not _is_usable(app):  # check_database tells it
        return None
    with app.database.transaction(write=False) as tx:
        return read_keyed_digest(tx)


def _check_place(app: App, archive: ArchiveSettings, verifier: VerifierKey) -> Finding:
    """Tell whether a create would succeed, or without a key for one, whether the place can be read."""
    from maia_sync.archive.configured import configured_place

    place = configured_place(archive)
    try:
        if archive.key_file is not None and _is_usable(app):
            return _rehearse(app, place, verifier)
        return _read(app, place, verifier)
    except ArchiveDiffers as error:
        mend = "run `maia-sync archive verify`, and bring the archive back from a copy"
        return failed("archive", error, mend, error.exit_code)
    except ConfigError as error:
        return failed("archive", error, "set archive.key_file to the file of that key", error.exit_code)


def _rehearse(app: App, place: Place, verifier: VerifierKey) -> Finding:
    from maia_sync.archive.rehearsal import rehearse

    found = rehearse(app.database, place, verifier)
    if found.writer is not None:
        told = f"{found.writer} is writing it just now, or has died a short while ago: nothing was looked at"
        return warning("archive", told, "run `maia-sync doctor` again when it has ended")
    order = "; the next create puts in order what one before has left" if found.is_cut_off else ""
    if found.head is None:
        begin = f"{place.name} holds no archive yet, and can be written: `maia-sync archive create` begins it"
        return ok("archive", begin + order)
    ends = f"{place.name} ends at {counted(found.head.size, 'entry')}, signed by {verifier.name}"
    return ok("archive", f"{ends}, as this database has it, and can be written{order}")


def _read(app: App, place: Place, verifier: VerifierKey) -> Finding:
    from maia_sync.archive.log_key import wrong_key
    from maia_sync.archive.recovery import read_head

    if _is_usable(app):
        with app.database.transaction(write=False) as tx:
            wrong = wrong_key(tx, place, verifier)
        if wrong is not None:
            return problem("archive", wrong, "correct archive.verifier_key_file", EXIT_CONFIG)
    head = read_head(place, verifier)
    if head is None:
        return warning("archive", f"{place.name} holds no archive", "is archive.url right?")
    ends = f"{place.name} ends at {counted(head.size, 'entry')}, signed by {verifier.name}"
    return ok("archive", f"{ends}; it was not compared with the database")


def _is_usable(app: App) -> bool:
    """Tell whether the database can be asked; check_database tells why not."""
    try:
        app.database.require_migrated()
    except DatabaseError:
        return False
    return True


def _check_anchor(app: App, archive: ArchiveSettings) -> Iterator[Finding]:
    known = _standing(app)
    if known is not None and known.anchor_error is not None:
        found = f"the newest checkpoint was not handed over: {one_line(known.anchor_error)}"
        yield warning("anchor", found, "see archive.anchor_command and archive.anchor_url")
    elif archive.anchor_command is None and archive.anchor_url is None:
        yield warning(
            "anchor",
            "no checkpoint leaves this machine: who has the key could write another history unnoticed",
            "set archive.anchor_command or archive.anchor_url",
        )
    else:
        yield ok("anchor", "each new checkpoint is handed to somebody else")


def _standing(app: App) -> ArchiveStanding | None:
    from maia_sync.store.archive_standing import read_archive_standing

    try:
        with app.database.transaction(write=False) as tx:
            return read_archive_standing(tx)
    except MaiaSyncError:  # check_database tells it
        return None
