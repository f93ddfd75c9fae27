"""Does verify tell what is wrong with an archive, and nothing of one that is in order, whatever goes on?"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from logs import TASK
from memory_place import MemoryPlace
from small_archive import SmallArchive, element, in_folder, make_small_archive, small_world
from sqlalchemy import delete, func, insert, select, update

from maia_sync.archive import verify_segments
from maia_sync.archive.folder import FolderPlace
from maia_sync.archive.keys import load_signer, make_key
from maia_sync.archive.merkle import TreeHead
from maia_sync.archive.note import sign_checkpoint
from maia_sync.archive.verify import verify_archive
from maia_sync.errors import ArchiveError
from maia_sync.store import schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    from maia_sync.archive.verifying import ArchiveReport

Staging = Callable[..., Any]


def told(report: ArchiveReport) -> list[tuple[str, str]]:
    return [(finding.kind, finding.place) for finding in report.findings]


def live_on(archive: SmallArchive, number: int) -> None:
    """Let the copy get what an archive has not: new, changed, vanished, returned events, quarantine, runs."""
    log = archive.stage.world.logs[TASK]
    log.extend([element(at, "a late event", 9) for at in range(600 + number * 10, 604 + number * 10)])
    log.replace(40 + number, element(40 + number, "a late change"))
    taken = log.remove(60 + number, 1)
    log.append(f'"odd {number}"'.encode())
    log.append(b'{"data":%d,"timestamp":"1969-12-31T23:59:5%d.9999999Z"}' % (number, number % 10))
    archive.stage.sync(full=True)
    archive.stage.sync(full=True)
    if number % 2:
        log.insert(60 + number, *taken)
        archive.stage.sync(full=True)


def test_an_archive_in_order_has_no_findings_while_the_copy_goes_on(
    stage_for: Staging, tmp_path: Path
) -> None:
    archive = make_small_archive(stage_for, tmp_path)
    report = archive.verify()
    assert report.findings == ()
    assert report.notes == ()
    assert report.entries == {
        "event": 566, "revision": 20, "vanished": 3, "returned": 2, "quarantine": 2, "sent": 1, "run": 5,
        "segment": 7, "task": 2,
    }  # fmt: skip
    assert report.size == sum(report.entries.values())
    assert (report.payloads, report.segments, report.checkpoints) == (589, 7, 3)
    assert report.database is not None
    assert (report.database.events, report.database.rows, report.database.waiting) == (586, 8, 0)
    for number in range(3):
        live_on(archive, number)
        report = archive.verify()
        assert report.findings == ()
        assert report.database is not None
        assert report.database.waiting > 0
    archive.create()
    assert archive.verify().findings == ()


class HookedFolder(FolderPlace):
    """A folder that calls a function before and after everything that is written, or before each reading."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.on_write: Callable[[], object] = lambda: None
        self.on_read: Callable[[], object] = lambda: None

    def read(self, path: str) -> bytes | None:
        self.on_read()
        return super().read(path)

    def write_new(self, path: str, content: bytes) -> None:
        super().write_new(path, content)
        self.on_write()

    def replace(self, path: str, content: bytes) -> None:
        super().replace(path, content)
        self.on_write()

    def delete(self, paths: Any) -> None:
        super().delete(paths)
        self.on_write()


def test_nothing_is_reported_between_the_phases_of_a_create(stage_for: Staging, tmp_path: Path) -> None:
    archive = make_small_archive(stage_for, tmp_path)
    in_folder(archive.place, tmp_path / "archive")
    place = HookedFolder(tmp_path / "archive")
    live_on(archive, 1)
    reports: list[ArchiveReport] = []
    place.on_write = lambda: reports.append(archive.verify(FolderPlace(tmp_path / "archive")))
    archive.create(place)
    assert len(reports) >= 10
    assert [told(report) for report in reports if report.findings] == []
    assert any("a create" in note for report in reports for note in report.notes)


def test_nothing_is_reported_if_a_create_comes_between(stage_for: Staging, tmp_path: Path) -> None:
    archive = make_small_archive(stage_for, tmp_path)
    in_folder(archive.place, tmp_path / "archive")
    place = HookedFolder(tmp_path / "archive")
    reads = 0

    def count() -> None:
        nonlocal reads
        reads += 1

    place.on_read = count
    archive.verify(place)
    in_all, before = reads, list(range(0, reads, reads // 8))
    assert in_all > 20
    for number, wanted in enumerate(before):
        reads = 0

        def create_once(wanted: int = wanted, number: int = number) -> None:
            nonlocal reads
            reads += 1
            if reads == wanted + 1:
                place.on_read = lambda: None
                live_on(archive, number)
                archive.create(FolderPlace(tmp_path / "archive"))
                live_on(archive, number + 100)

        place.on_read = create_once
        report = archive.verify(place)
        assert told(report) == [], f"a create before reading {wanted} of {in_all}"


class DiedError(BaseException):
    """What ends a create as SIGKILL would, as far as its files and the database can tell."""


def test_a_create_that_was_cut_off_is_no_difference_to_who_asks_the_database(
    stage_for: Staging, tmp_path: Path
) -> None:
    archive = make_small_archive(stage_for, tmp_path)
    live_on(archive, 1)
    writes = 0
    for last in (1, 2, 3, 5, 8, *range(10, 30)):
        folder = tmp_path / f"archive-{last}"
        in_folder(archive.place, folder)
        place = HookedFolder(folder)
        writes = 0

        def die(last: int = last) -> None:
            nonlocal writes
            writes += 1
            if writes == last:
                raise DiedError

        place.on_write = die
        with pytest.raises(DiedError):
            archive.create(place)
        assert told(archive.verify(FolderPlace(folder))) == [], last
        alone = archive.verify(FolderPlace(folder), database=False)
        # Without the database nobody vouches for what lies there beyond the checkpoint.
        assert {kind for kind, _ in told(alone)} <= {"file", "manifest", "rollback"}
        there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
        beyond = there - archive.place.files.keys() - {"unfinished"}
        assert bool(alone.findings) == (alone.size == archive.size and bool(beyond))
        assert len(alone.findings) <= 1
        if alone.size > archive.size:
            break
        archive.forget_pending()
    else:
        pytest.fail("no create died behind its checkpoint")
    archive.create(FolderPlace(folder))
    assert archive.verify(FolderPlace(folder)).findings == ()


class TestOnOneDatabase:
    """What does not depend on which database it is."""

    @pytest.fixture
    def database_url(self, sqlite_url: str) -> str:
        return sqlite_url

    @pytest.fixture
    def archive(self, stage_for: Staging, tmp_path: Path) -> SmallArchive:
        return make_small_archive(stage_for, tmp_path)

    def test_an_older_archive_is_recognised(self, archive: SmallArchive) -> None:
        older, newest = archive.place.copy(), archive.place.files["checkpoint"]
        live_on(archive, 1)
        archive.create()
        assert ("rollback", "checkpoint") in told(archive.verify(older))
        since = archive.place.files["checkpoint"]
        report = archive.verify(older, database=False, since=since)
        assert told(report) == [("rollback", "checkpoint")]
        assert archive.verify(older, database=False).findings == ()  # it was once in order
        assert archive.verify(archive.place, database=False, since=newest).findings == ()
        only_the_checkpoint = archive.place.copy()
        only_the_checkpoint.files["checkpoint"] = newest
        assert ("rollback", "checkpoint") in told(archive.verify(only_the_checkpoint, database=False))

    def test_an_older_database_is_recognised(
        self, archive: SmallArchive, database_url: str, tmp_path: Path
    ) -> None:
        path = database_url.removeprefix("sqlite:///")
        archive.stage.app.close()
        shutil.copyfile(path, tmp_path / "older.db")
        live_on(archive, 1)
        archive.create()
        archive.stage.app.close()
        for end in ("", "-wal", "-shm"):
            if Path(path + end).exists():
                Path(path + end).replace(tmp_path / f"gone{end}")
        shutil.copyfile(tmp_path / "older.db", path)
        report = archive.verify()
        assert ("database", f"checkpoint of {report.size:,} entries") in told(report)
        assert any(place.startswith("event of task") for _, place in told(report))

    def test_another_key_and_another_log_are_refused(self, archive: SmallArchive, tmp_path: Path) -> None:
        make_key(tmp_path / "other.key", archive.signer.name)
        other = load_signer(tmp_path / "other.key")
        report = verify_archive(archive.place, other.verifier)
        assert told(report) == [("checkpoint", "checkpoint")]
        assert (report.root, report.root_hex) == (None, None)
        head = TreeHead(200, bytes(32))
        forked = archive.verify(since=sign_checkpoint(head, archive.signer).encode())
        assert told(forked) == [("checkpoint", "the earlier checkpoint that was given")]
        key = archive.signer.verifier
        for needed in (f"both signed by the key of {key.name} (id {key.key_id.hex()})", "was rewritten"):
            assert needed in forked.findings[0].sentence
        unsigned = archive.verify(since=sign_checkpoint(head, other).encode())
        assert told(unsigned) == [("checkpoint", "the earlier checkpoint that was given")]

    def test_without_a_checkpoint_the_newest_copy_tells_more(self, archive: SmallArchive) -> None:
        place = archive.place.copy()
        del place.files["checkpoint"]
        bundle = bytearray(place.files["tile/entries/001"])
        bundle[700] ^= 1
        place.files["tile/entries/001"] = bytes(bundle)
        found = told(archive.verify(place, database=False))
        assert found == [("checkpoint", "checkpoint"), ("log", "tile/entries/001")]

    def test_where_nothing_is_there_is_no_archive_unless_there_should_be_one(
        self, archive: SmallArchive
    ) -> None:
        with pytest.raises(ArchiveError, match="there is no archive"):
            archive.verify(MemoryPlace(), database=False)
        with pytest.raises(ArchiveError, match="there is no archive"):
            archive.verify(MemoryPlace({"letters/of_mine.txt": b"x"}), database=False)
        report = archive.verify(MemoryPlace({"letters/of_mine.txt": b"x"}))
        assert told(report) == [("checkpoint", "checkpoint")]
        assert "the database has written one" in report.findings[0].sentence

    def test_a_segment_of_other_bytes_is_never_parsed(
        self, archive: SmallArchive, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        parsed: list[bytes] = []
        read = verify_segments.read_segment

        def watched(content: bytes) -> Iterator[Any]:
            parsed.append(content)
            return read(content)

        monkeypatch.setattr(verify_segments, "read_segment", watched)
        place = archive.place.copy()
        path = min(path for path in place.files if path.startswith("data/"))
        place.files[path] = b"PAR1" + os.urandom(500) + b"PAR1"
        report = archive.verify(place)
        assert told(report) == [("segment", path)]
        assert report.unchecked > 0
        assert place.files[path] not in parsed
        assert len(parsed) == report.segments - 1

    def test_files_of_a_create_that_nobody_knows_of_are_found(self, archive: SmallArchive) -> None:
        place = archive.place.copy()
        forged = "data/date=2026-01-05/000000000606-000000000700.parquet"
        place.files[forged] = next(held for path, held in place.files.items() if path.startswith("data/"))
        place.files["unfinished"] = b'{"since":606,"origin":"tests.example/maia-sync"}'
        place.files["tile/0/003"] = bytes(8192)
        assert told(archive.verify(place)) == [
            ("file", forged),
            ("file", "tile/0/003"),
            ("file", "unfinished"),
        ]
        alone = archive.verify(place, database=False)
        assert told(alone) == [("file", "unfinished")]
        assert "has left 2 files beyond the checkpoint" in alone.findings[0].sentence
        del place.files["unfinished"]
        assert told(archive.verify(place, database=False)) == [("file", forged), ("file", "tile/0/003")]

    def test_partial_files_are_those_of_the_checkpoints_and_no_others(self, archive: SmallArchive) -> None:
        place = archive.place.copy()
        older = place.files.pop("tile/1/000.p/1")
        assert told(archive.verify(place, database=False)) == [("file", "tile/1/000.p/1")]
        place.files["tile/1/000.p/1"] = older
        fitting = {"tile/0/001.p/17": place.files["tile/0/001"][: 17 * 32], "tile/0/002.p/95": b""}
        fitting["tile/0/002.p/95"] = place.files["tile/0/002.p/96"][: 95 * 32]
        place.files |= fitting
        assert told(archive.verify(place, database=False)) == [("file", path) for path in fitting]

    def test_rows_that_stand_in_another_order_are_found(self, archive: SmallArchive) -> None:
        event = schema.task_event
        with archive.database.transaction() as tx:
            turned = update(event).where(event.c.task_id == TASK, event.c.seq == 7 << 20)
            tx.connection.execute(turned.values(seq=-event.c.seq))
        assert told(archive.verify()) == [("database", f"task {TASK}")]
        with archive.database.transaction() as tx:
            tx.connection.execute(
                update(event).where(event.c.task_id == TASK).values(seq=-func.abs(event.c.seq))
            )
        assert told(archive.verify()) == [("database", f"task {TASK}")]
        with archive.database.transaction() as tx:
            turn = {"task_id": TASK, "noted_at": tx.now, "records": 1, "turned": True}
            tx.connection.execute(insert(schema.archive_journal).values(turn))
        assert archive.verify().findings == ()
        archive.create()
        assert archive.verify().findings == ()

    def test_what_a_forged_journal_hides_is_found(self, archive: SmallArchive) -> None:
        """An inserted row, and a note that an archived one waits: the numbers agree, the names do not."""
        event, journal = schema.task_event, schema.archive_journal
        with archive.database.transaction() as tx:
            row = dict(tx.connection.execute(select(event).where(event.c.seq == 1 << 20)).first()._mapping)
            tx.connection.execute(insert(event).values({**row, "ordinal": 1}))
            new = {row["group_id"]: [row["timestamp"]]}
            note = {"task_id": row["task_id"], "noted_at": tx.now, "records": 1}
            tx.connection.execute(insert(journal).values(**note, changes=json.dumps({"new": new})))
        found = told(archive.verify())
        assert ("database", f"task {row['task_id']}") in found
        assert any(place.endswith("ordinal 1, revision 0") for _, place in found)
        with archive.database.transaction() as tx:
            tx.connection.execute(delete(journal).where(journal.c.checkpoint_id.is_(None)))
            tx.connection.execute(insert(journal).values(**{**note, "records": 0}, whole=True))
        assert told(archive.verify()) == [("database", f"task {row['task_id']}")]

    def test_links_devices_and_endless_files_are_not_read(
        self, archive: SmallArchive, tmp_path: Path
    ) -> None:
        folder = tmp_path / "archive"
        in_folder(archive.place, folder)
        place = FolderPlace(folder)
        assert archive.verify(place, database=False).findings == ()

        def grow(path: Path) -> None:
            with path.open("wb") as file:
                file.truncate(1 << 40)

        kept = tmp_path / "kept"
        deeds: tuple[Callable[[Path], object], ...] = (lambda path: path.symlink_to(kept), grow, os.mkfifo)
        for name in ("checkpoint", "tile/0/000", "tile/entries", "data", "checkpoints/000000000294"):
            for deed in deeds:
                path = folder / name
                if path.is_dir() and deed is grow:
                    continue
                path.rename(kept)
                deed(path)
                report = archive.verify(place, database=False)
                assert ("file", name) in told(report), deed
                assert (report.root is None) == (not name.startswith("tile/"))
                path.unlink()
                kept.rename(path)
        with open(os.fsencode(folder) + b"/no text: \xff", "wb"):  # noqa: PTH123 - a name that is no text
            assert told(archive.verify(place, database=False)) == [("file", "no text: \\udcff")]
        (folder / "no text: \udcff").unlink()
        (folder / ".new").mkdir(exist_ok=True)
        (folder / ".new" / "hidden").write_bytes(b"x")
        assert told(archive.verify(place, database=False)) == [("file", ".new/hidden")]

    def test_before_the_first_create_there_is_no_archive(self, stage_for: Staging, tmp_path: Path) -> None:
        make_key(tmp_path / "archive.key", "tests.example/maia-sync")
        archive = SmallArchive(stage_for(small_world()), MemoryPlace(), load_signer(tmp_path / "archive.key"))
        archive.stage.sync_well()
        with pytest.raises(ArchiveError, match="there is no archive"):
            archive.verify()
        (tmp_path / "archive").mkdir()
        (tmp_path / "archive" / "SHA256SUMS").write_text("of something else\n")
        with pytest.raises(ArchiveError, match="there is no archive"):
            archive.verify(FolderPlace(tmp_path / "archive"))
        (tmp_path / "archive" / "SHA256SUMS").unlink()
        place, reports = HookedFolder(tmp_path / "archive"), []
        place.on_write = lambda: reports.append(archive.verify(FolderPlace(tmp_path / "archive")))
        archive.create(place)
        before = [report for report in reports if report.root is None]
        assert len(reports) > len(before) > 3
        assert [told(report) for report in reports if report.findings] == []
        assert all("there is no checkpoint yet" in report.notes[0] for report in before)
