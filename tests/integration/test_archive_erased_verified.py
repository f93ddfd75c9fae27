"""Does verify hold an archive from which payloads were erased to its log, and the database as well?"""

from __future__ import annotations

import fcntl
import json
import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hand_erasure import WHEN, HandErasure, erase, use_digest_key
from logs import BEARER, TASK
from memory_place import MemoryPlace
from small_archive import OTHER, SmallArchive, element, in_folder, make_small_archive
from sqlalchemy import update

from maia_sync.archive.folder import FolderPlace
from maia_sync.archive.prove import EventAddress, prove
from maia_sync.archive.segment import read_segment
from maia_sync.cli.main import run
from maia_sync.errors import ArchiveError
from maia_sync.store import schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from maia_sync.archive.place import FileThere
    from maia_sync.archive.verifying import ArchiveReport
    from maia_sync.store.digest_key import DigestKey

MORNING = datetime(2026, 1, 5, 8, 2, tzinfo=UTC)


def told(report: ArchiveReport) -> list[tuple[str, str]]:
    return [(finding.kind, finding.place) for finding in report.findings]


@pytest.fixture
def archive(stage_for: Callable[..., Any], tmp_path: Path) -> SmallArchive:
    return make_small_archive(stage_for, tmp_path)


@pytest.fixture
def key(archive: SmallArchive, tmp_path: Path) -> DigestKey:
    return use_digest_key(archive, tmp_path)


def segments_of(archive: SmallArchive) -> set[str]:
    return {path for path in archive.place.files if path.startswith("data/")}


def assert_clean(archive: SmallArchive, *, erased: int) -> None:
    for database in (True, False):
        report = archive.verify(database=database)
        assert report.findings == ()
        assert report.notes == ()
        assert (report.erased, report.payloads, report.segments) == (erased, 589, 7)
        if report.database is not None:
            assert (report.database.erased, report.database.events) == (erased, 586)


def test_what_was_erased_is_no_difference_and_stays_so(archive: SmallArchive, key: DigestKey) -> None:
    before, first = archive.place.files["checkpoint"], segments_of(archive)
    erase(archive, key, OTHER)
    assert_clean(archive, erased=40)
    erase(archive, key, TASK, MORNING)
    assert_clean(archive, erased=40 + 120 + 20)
    erase(archive, key, TASK)
    assert_clean(archive, erased=589)
    assert segments_of(archive).isdisjoint(first)
    assert archive.verify(database=False, since=before).findings == ()
    archive.stage.world.logs[TASK].append(element(600, "a later event", 9))
    archive.stage.sync(full=True)
    archive.create()
    assert archive.verify().findings == ()
    assert archive.verify().erased == 589


def test_nothing_is_reported_at_any_step_of_an_erasure(archive: SmallArchive, key: DigestKey) -> None:
    erase(archive, key, OTHER)
    erasure = HandErasure(archive, key, TASK, lambda entry: entry.task == TASK and entry.payload is not None)
    for step in erasure.STEPS:
        told_of = archive.verify()
        assert told(told_of) == [], step.__name__
        assert any("a create" in note for note in told_of.notes), step.__name__
        # Without the database nobody vouches for what lies there beyond the checkpoint, or should not.
        alone = {kind for kind, _ in told(archive.verify(database=False))}
        assert alone <= {"file", "manifest", "rollback"}, step.__name__
        step(erasure)
    assert_clean(archive, erased=589)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_only_an_erasure_that_is_not_finished_explains_an_old_file(
    archive: SmallArchive, key: DigestKey, tmp_path: Path
) -> None:
    erasure = HandErasure(archive, key, OTHER, lambda entry: entry.task == OTHER and bool(entry.payload))
    for step in erasure.STEPS[:4]:
        step(erasure)
    for database in (True, False):
        report = archive.verify(database=database)
        assert report.findings == ()
        assert any("from which payloads were erased lie there still" in each for each in report.notes)
    old = {path: archive.place.files[path] for path in erasure.old}
    for step in erasure.STEPS[4:]:
        step(erasure)
    in_folder(archive.place, tmp_path / "archive")
    in_folder(MemoryPlace(old), tmp_path / "archive")
    descriptor = os.open(tmp_path / "archive", os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # as anybody can who may read there
        for since in (None, archive.size):
            if since is not None:
                name = archive.signer.name
                (tmp_path / "archive" / "unfinished").write_text(f'{{"since":{since},"origin":"{name}"}}')
            for database in (True, False):
                report = archive.verify(FolderPlace(tmp_path / "archive"), database=database)
                assert told(report) == [("file", path) for path in sorted(old)]
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_what_a_faulty_erasure_has_left_is_found(archive: SmallArchive, key: DigestKey) -> None:
    """Signed by the key, as one by a program with a mistake would be: only what it tells is held to."""
    files = dict(archive.place.files)

    def erased(meant: Callable[[Any], bool], task_id: str = OTHER, more: int = 0) -> list[tuple[str, str]]:
        archive.place.files.clear()
        archive.place.files.update(files)
        erasure = HandErasure(archive, key, task_id, meant, more=more)
        for step in (HandErasure.name_files, HandErasure.publish, HandErasure.delete_old):
            step(erasure)
        found = told(archive.verify(database=False))
        with archive.database.transaction() as tx:
            tx.connection.execute(update(schema.archive_log).values(lease_owner=None, lease_expires_at=None))
        return [each for each in found if each != ("file", "unfinished")]

    is_first = iter([True])
    kinds = {kind for kind, _ in erased(lambda entry: entry.task == OTHER and not next(is_first, False))}
    assert kinds == {"row"}  # one payload is still there, in a file that knows of the erasure
    assert erased(lambda entry: entry.task == OTHER and entry.payload is not None) == []
    found = erased(lambda entry: entry.task == OTHER and entry.payload is not None, more=1)
    assert [kind for kind, _ in found] == ["entry"]  # it tells of a payload that it has not erased

    the_sixth = 1_767_657_600 * 10**9
    half = erased(lambda entry: entry.task == OTHER and entry.timestamp < 1_767_600_020 * 10**9)
    assert {kind for kind, _ in half} == {"row"}
    found = erased(lambda entry: entry.timestamp is not None and entry.group == "g0")
    assert {kind for kind, _ in found} == {"row"}  # the other task's are gone as well
    found = erased(lambda entry: (entry.timestamp or 0) < the_sixth and entry.task == TASK, task_id=TASK)
    assert {kind for kind, _ in found} == {"row"}
    assert any("date=2026-01-06" in path for _, path in found)  # no file of that day was written anew
    assert not any("date=2026-01-05" in path for _, path in found)
    nothing = erased(lambda _: False)
    assert [kind for kind, _ in nothing] == ["entry"]


class HookedPlace(MemoryPlace):
    """A place that calls a function before each reading."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(files)
        self.on_read: Callable[[], object] = lambda: None

    def read(self, path: str) -> bytes | None:
        self.on_read()
        return super().read(path)


class ListedPlace(MemoryPlace):
    """A place that calls a function once its files were listed for the first time."""

    def __init__(self, files: dict[str, bytes], then: Callable[[], object]) -> None:
        super().__init__(files)
        self._then: list[Callable[[], object]] = [then]

    def list(self, prefix: str = "") -> Iterator[FileThere]:
        yield from [*super().list(prefix)]
        if self._then:
            self._then.pop()()


class TestOnOneDatabase:
    """What does not depend on which database it is."""

    @pytest.fixture
    def database_url(self, sqlite_url: str) -> str:
        return sqlite_url

    def test_what_is_put_back_or_taken_away_is_found(self, archive: SmallArchive, key: DigestKey) -> None:
        kept = dict(archive.place.files)
        first = erase(archive, key, OTHER)
        between = dict(archive.place.files)
        second = erase(archive, key, TASK)
        files, old = archive.place.files, first.old[0]
        new = next(path for path in first.files if path.startswith(old.removesuffix(".parquet")))
        newest = next(path for path in second.files if path.startswith(old.removesuffix(".parquet")))
        cases: tuple[tuple[dict[str, bytes], set[str], list[tuple[str, str]]], ...] = (
            ({old: kept[old]}, set(), [("file", old)]),
            ({new: between[new]}, set(), [("file", new)]),
            ({}, {newest}, [("segment", newest)]),
            ({old: kept[old]}, {newest}, [("segment", newest), ("file", old)]),
            ({new: between[new]}, {newest}, [("segment", newest), ("file", new)]),
            ({newest: between[new]}, set(), [("segment", newest)]),
            ({newest: files[newest] + b"x"}, set(), [("segment", newest)]),
        )
        for put, taken, expected in cases:
            place = MemoryPlace({path: held for path, held in (files | put).items() if path not in taken})
            for database in (True, False):
                found = told(archive.verify(place, database=database))
                assert set(expected) <= set(found), found
                rows = [each for each in found if each not in expected]
                # An older file is compared as what it is: its rows should have been emptied.
                expected_more = {"row", "database"} if newest in taken and put else set()
                assert {kind for kind, _ in rows} <= expected_more, found
        stray = newest.replace(f"-{second.old_size + 1:012}.", f"-{second.old_size:012}.")
        assert stray != newest
        another = newest.replace(f"-{second.old_size + 1:012}.", f"-{second.old_size + 2:012}.")
        for path in (stray, another, old.replace(".parquet", f"-{7:012}.parquet")):
            place = MemoryPlace(files | {path: files[newest]})
            assert told(archive.verify(place, database=False)) == [("file", path)]
        assert archive.verify().findings == ()

    def test_a_segment_that_was_written_anew_is_not_parsed_unless_the_log_names_it(
        self, archive: SmallArchive, key: DigestKey, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        erasure = erase(archive, key, OTHER)
        parsed: list[bytes] = []

        def watched(content: bytes) -> Any:
            parsed.append(content)
            return read_segment(content)

        monkeypatch.setattr("maia_sync.archive.verify_segments.read_segment", watched)
        [new, *_] = erasure.files
        evil = b"PAR1 something evil PAR1"
        archive.place.files[new] = evil
        archive.place.files[new.replace(f"-{erasure.old_size + 1:012}.", f"-{3:012}.")] = evil
        assert {kind for kind, _ in told(archive.verify(database=False))} == {"segment", "file"}
        assert evil not in parsed

    def test_nothing_is_reported_if_an_erasure_comes_between(
        self, archive: SmallArchive, key: DigestKey
    ) -> None:
        place = HookedPlace(archive.place.files)
        reads = 0

        def count() -> None:
            nonlocal reads
            reads += 1

        place.on_read = count
        archive.verify(place)
        in_all = reads
        points = range(0, in_all, in_all // 6)
        for number, wanted in enumerate(points, 1):
            reads = 0

            def erase_once(wanted: int = wanted, number: int = number) -> None:
                nonlocal reads
                reads += 1
                if reads == wanted + 1:
                    place.on_read = lambda: None
                    erase(archive, key, TASK, MORNING + timedelta(seconds=3 * number))

            place.on_read = erase_once
            report = archive.verify(place)
            assert report.findings == (), f"an erasure before reading {wanted} of {in_all}"
        erase(archive, key, TASK)
        assert_clean(archive, erased=549)

    def test_a_file_that_comes_while_files_are_listed_is_compared(
        self, archive: SmallArchive, key: DigestKey
    ) -> None:
        faulty: list[str] = []

        def erase_and_damage() -> None:
            kept = dict(archive.place.files)
            erasure = erase(archive, key, OTHER)
            archive.place.files |= {path: kept[path] for path in erasure.old}  # not deleted yet
            faulty.extend(erasure.files)
            archive.place.files |= {path: held + b"x" for path, held in erasure.files.items()}

        place = ListedPlace(archive.place.files, erase_and_damage)
        found = told(archive.verify(place))
        assert {("segment", path) for path in faulty} <= set(found)

    def test_checkpoints_that_come_while_files_are_listed_are_no_difference(
        self, archive: SmallArchive, key: DigestKey
    ) -> None:
        def erase_twice() -> None:
            erase(archive, key, OTHER)
            erase(archive, key, TASK, MORNING)

        copies = archive.verify().checkpoints
        report = archive.verify(ListedPlace(archive.place.files, erase_twice))
        assert report.findings == ()
        assert report.checkpoints == copies + 2

    def test_when_it_was_erased_is_compared(self, archive: SmallArchive, key: DigestKey) -> None:
        erase(archive, key, TASK)
        earlier = WHEN - timedelta(seconds=1)
        for table in (schema.task_event_revision, schema.quarantine, schema.sent_message):
            with archive.database.transaction() as tx:
                changed = update(table).where(table.c.erased_at.is_not(None)).values(erased_at=earlier)
                altered = tx.connection.execute(changed).rowcount
            found = archive.verify().findings
            assert len(found) == altered > 0
            assert {each.sentence.partition(" (")[0] for each in found} == {
                "was erased at another moment, says the database"
            }
            with archive.database.transaction() as tx:
                tx.connection.execute(changed.values(erased_at=WHEN))
        assert archive.verify().findings == ()

    def test_an_erased_payload_cannot_be_proven_and_its_receipt_can(
        self, archive: SmallArchive, key: DigestKey
    ) -> None:
        at = 1_767_600_007 * 10**9 + 250_000_000
        event = EventAddress(task_id=OTHER, group_id="g0", timestamp=at, ordinal=0)
        verifier = archive.signer.verifier
        assert prove(archive.place, verifier, event).payload is not None
        erase(archive, key, TASK)
        erasure = erase(archive, key, OTHER)
        with pytest.raises(
            ArchiveError, match=f"was erased: `maia-sync archive entries --from {erasure.old_size} "
        ):
            prove(archive.place, verifier, event)
        proof = prove(archive.place, verifier, event, with_payload=False)
        assert proof.payload is None
        with pytest.raises(ArchiveError, match="was erased"):
            prove(archive.place, verifier, proof.number)

    def test_it_is_told_on_the_command_line(
        self,
        archive: SmallArchive,
        key: DigestKey,
        database_url: str,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        erasure = erase(archive, key, OTHER)
        in_folder(archive.place, tmp_path / "archive")
        for name, value in {
            "DATABASE__URL": database_url,
            "AUTH__TOKEN": BEARER,
            "ARCHIVE__URL": str(tmp_path / "archive"),
            "ARCHIVE__KEY_FILE": str(tmp_path / "archive.key"),
        }.items():
            monkeypatch.setenv(f"MAIA_SYNC_{name}", value)
        monkeypatch.chdir(tmp_path)

        def ran(*arguments: str, code: int = 0) -> str:
            assert run(["archive", *arguments]) == code
            told_of = capsys.readouterr()
            assert "of some length" not in told_of.out + told_of.err
            return told_of.out + told_of.err

        told_of = ran("verify")
        assert "1 erasure" in told_of
        assert "Erased: 40 more payloads, as the log says; the entries stay" in told_of
        assert json.loads(ran("verify", "--json"))["database"]["erased"] == 40
        [line] = ran("entries", "--type", "erasure").splitlines()
        assert all(
            each in line for each in (OTHER, "she asked for it", "GDPR", "by tests@here", "payloads 40")
        )
        [redacted, *_] = ran("entries", "--type", "redacted").splitlines()
        assert f"in place of {erasure.old[0]}" in redacted
        assert f"erasure entry {erasure.old_size}" in redacted
        assert "listed by" in ran("entries", "--type", "task")
        assert json.loads(ran("list", "--json"))["redacted"] == len(erasure.files)
        event = (OTHER, "--group", "g0", "--timestamp", "2026-01-05T08:00:07.25Z")
        assert "was erased" in ran("prove", *event, "-o", "proof", code=1)
        assert not (tmp_path / "proof").exists()
        ran("prove", *event, "-o", "proof", "--without-payload")
        assert "Payload: not in this proof" in ran("check-proof", "proof")
        ran("prove", str(erasure.old_size), "-o", "proof")
        assert "Basis: GDPR, article 17" in ran("check-proof", "proof")
