"""What does verify say of a copy that was made at the wrong moment, and with the wrong database?"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest
from memory_place import MemoryPlace
from small_archive import SmallArchive, make_small_archive, small_world
from test_archive_verify import live_on, told

from maia_sync.archive.against_database import AgainstDatabase
from maia_sync.archive.keys import load_signer, make_key
from maia_sync.archive.note import open_checkpoint
from maia_sync.archive.verify import verify_archive

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SEVERAL = 400
"""Events that fill the log's last tile and bundle."""


class DiedError(BaseException):
    """What ends a create as SIGKILL would."""


class MortalPlace(MemoryPlace):
    """Dies before a file of this name is written."""

    fatal = ""

    def replace(self, path: str, content: bytes) -> None:
        if path == self.fatal:
            raise DiedError
        super().replace(path, content)

    def write_new(self, path: str, content: bytes) -> None:
        if self.fatal.endswith("/") and path.startswith(self.fatal):
            raise DiedError
        super().write_new(path, content)


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


@pytest.fixture
def archive(stage_for: Callable[..., Any], tmp_path: Path) -> SmallArchive:
    return make_small_archive(stage_for, tmp_path)


def grow(archive: SmallArchive) -> None:
    for number in range(3):
        live_on(archive, number)
    log = archive.stage.world.logs[next(iter(archive.stage.world.logs))]
    log.extend([b'{"data":%d,"timestamp":"2026-01-09T08:00:00.5Z"}' % at for at in range(SEVERAL)])
    archive.stage.sync(full=True)


def cut_off(archive: SmallArchive, fatal: str) -> MemoryPlace:
    """Return what a create leaves that dies before it writes a file."""
    place = MortalPlace(dict(archive.place.files))
    place.fatal = fatal
    with pytest.raises(DiedError):
        archive.create(place)
    return MemoryPlace(place.files)


def test_what_a_create_left_that_was_cut_off_is_one_finding(archive: SmallArchive) -> None:
    grow(archive)
    for fatal in ("SHA256SUMS", "checkpoints/"):
        place = cut_off(archive, fatal)
        beyond = len(place.files) - len(archive.place.files) - 1
        assert beyond > 5
        alone = archive.verify(place, database=False)
        assert told(alone) == [("file", "unfinished")]
        sentence = alone.findings[0].sentence
        assert f"has left {beyond} files beyond the checkpoint" in sentence
        assert "copy again when no create is at work, or verify with the database" in sentence
        assert archive.verify(place).findings == ()
        del place.files["unfinished"]
        (finding,) = archive.verify(place, database=False).findings
        assert f"and {beyond - 1} more files lie beyond the checkpoint" in finding.sentence
        archive.forget_pending()
    place = cut_off(archive, "checkpoint")
    (finding,) = archive.verify(place, database=False).findings
    assert (finding.kind, finding.place) == ("rollback", "checkpoint")
    assert "or was copied during a create" in finding.sentence


def test_a_copy_of_old_and_new_files_is_one_finding(archive: SmallArchive) -> None:
    """The checkpoint was copied first, and a create finished before all else was."""
    old = dict(archive.place.files)
    grow(archive)
    archive.create()
    assert not any(".p/" in path for path in archive.place.files if path.startswith("tile/0/002"))
    mixed = MemoryPlace({**archive.place.files, "checkpoint": old["checkpoint"]})
    assert told(archive.verify(mixed, database=False)) == [("rollback", "checkpoint")]
    newest = max(path for path in mixed.files if path.startswith("checkpoints/"))
    del mixed.files[newest]
    (finding,) = archive.verify(mixed, database=False).findings
    assert finding.kind == "file"
    assert "copy again when no create is at work" in finding.sentence


def test_full_tiles_stand_in_for_partial_ones(archive: SmallArchive) -> None:
    old = dict(archive.place.files)
    grow(archive)
    archive.create()
    gone = [path for path in old if path not in archive.place.files and ".p/" in path]
    assert {path.partition(".p/")[0] for path in gone} == {"tile/0/002", "tile/entries/002"}
    files = {path: held for path, held in old.items() if path not in gone}
    assert ("file", "tile/0/002.p/96") in told(archive.verify(MemoryPlace(files), database=False))
    full = {path: archive.place.files[path] for path in ("tile/0/002", "tile/entries/002")}
    report = archive.verify(MemoryPlace(files | full), database=False)
    assert report.findings == ()
    assert "read in place of partial ones" in report.notes[0]
    # A full one that does not begin as the partial one did explains nothing.
    full["tile/0/002"] = bytes(32) + full["tile/0/002"][32:]
    assert ("log", "tile/0/002.p/96") in told(archive.verify(MemoryPlace(files | full), database=False))


def test_a_first_create_that_was_cut_off_is_a_note_with_the_database_and_one_finding_without(
    stage_for: Callable[..., Any], tmp_path: Path
) -> None:
    make_key(tmp_path / "archive.key", "tests.example/maia-sync")
    archive = SmallArchive(stage_for(small_world()), MemoryPlace(), load_signer(tmp_path / "archive.key"))
    archive.stage.sync_well()
    for fatal in ("data/", "checkpoints/", "checkpoint"):
        place = cut_off(archive, fatal)
        with_database = archive.verify(place)
        assert with_database.findings == ()
        assert "there is no checkpoint yet" in with_database.notes[0]
        (finding,) = archive.verify(place, database=False).findings
        assert (finding.kind, finding.place) == ("checkpoint", "checkpoint")
        assert "copy again when none is at work" in finding.sentence
        archive.forget_pending()


def test_a_database_that_has_not_written_the_archive_is_one_finding(
    archive: SmallArchive, tmp_path: Path
) -> None:
    make_key(tmp_path / "other.key", "another.example/maia-sync")
    other = SmallArchive(archive.stage, MemoryPlace(), load_signer(tmp_path / "other.key"))
    other.place.files |= archive.place.files
    comparison = AgainstDatabase(archive.database, other.signer.verifier)
    head = open_checkpoint(archive.place.files["checkpoint"], archive.signer.verifier)
    report = verify_archive(archive.place, archive.signer.verifier, comparison=comparison)
    (finding,) = report.findings
    assert (finding.kind, finding.place) == ("database", "archive_log")
    assert "this database has not written this archive" in finding.sentence
    assert "--no-database" in finding.sentence
    assert report.database is None
    assert report.root == base64.b64encode(head.root).decode()
    assert report.root_hex == head.root.hex()
