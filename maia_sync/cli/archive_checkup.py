"""Can the archive be written and verified as it is configured, and do its checkpoints get elsewhere?"""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from maia_sync.cli.checkup import failed, ok, problem, warning
from maia_sync.cli.escaping import one_line
from maia_sync.errors import EXIT_CONFIG, ArchiveDiffers, MaiaSyncError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from maia_sync.app import App
    from maia_sync.archive.note import VerifierKey
    from maia_sync.cli.checkup import Finding
    from maia_sync.settings import ArchiveSettings
    from maia_sync.store.archive_standing import ArchiveStanding

_SEE = "see [archive] in the configuration"


def check_archive(app: App) -> Iterator[Finding]:
    """Yield what is found of the archive; nothing where none is configured."""
    archive = app.settings.archive
    if archive.url is None:
        return
    try:
        verifier, findings = _check_keys(archive)
        yield from findings
        if verifier is not None:
            yield _check_place(app, archive.url, verifier)
    except MaiaSyncError as error:
        yield failed("archive", error, _SEE, error.exit_code)
    yield from _check_anchor(app, archive)


def _check_keys(archive: ArchiveSettings) -> tuple[VerifierKey | None, list[Finding]]:
    """Tell by which key the archive is to be verified, and what is wrong with the keys."""
    from maia_sync.archive.keys import load_signer, load_verifier

    if archive.verifier_key_file is None:
        mend = "set archive.key_file; `maia-sync archive keygen` makes a key"
        return None, [warning("archive key", "archive.url is set, but archive.key_file is not", mend)]
    verifier = load_verifier(archive.verifier_key_file)
    if archive.key_file is None:
        found = f"{verifier.name} can be verified here, but not written: archive.key_file is not set"
        return verifier, [ok("archive key", found)]
    signer = load_signer(archive.key_file)
    if signer.verifier != verifier:
        found = f"{archive.verifier_key_file} is not the public half of {archive.key_file}"
        return None, [problem("archive key", found, _SEE, EXIT_CONFIG)]
    if archive.key_file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        found = f"others on this machine may reach the private key in {archive.key_file}"
        return verifier, [warning("archive key", found, f"chmod 600 {archive.key_file}")]
    return verifier, [ok("archive key", f"{archive.key_file} is the key of {verifier.name}")]


def _check_place(app: App, url: str, verifier: VerifierKey) -> Finding:
    """Tell whether the place can be read, and ends where the database says."""
    from maia_sync.archive.places import open_place
    from maia_sync.archive.recovery import read_head

    place = open_place(url)
    try:
        head = read_head(place, verifier)
    except ArchiveDiffers as error:
        mend = "run `maia-sync archive verify`, and bring the archive back from a copy"
        return failed("archive", error, mend, error.exit_code)
    known = _standing(app)
    if head is None and known is not None and known.entries:
        found = f"{place.name} holds no archive, though this database has written {known.entries:,} entries"
        mend = "bring the archive back from a copy, or correct archive.url"
        return problem("archive", found, mend, ArchiveDiffers.exit_code)
    if head is None:
        return ok("archive", f"{place.name} holds no archive yet: `maia-sync archive create` begins it")
    return ok("archive", f"{place.name} ends at {head.size:,} entries, signed by {verifier.name}")


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
