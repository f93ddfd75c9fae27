"""Is what was erased gone from every file, is everything else as it was, and does nothing bring it back?"""

from __future__ import annotations

import fcntl
import sqlite3
import tempfile
from contextlib import closing
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from archive_replay import moment
from archived_entries import assert_sound, make_signer, read_entries
from logs import task_id
from memory_place import MemoryPlace
from secret_pieces import Secrets, files_below
from told_story import driver_url

from maia_sync.archive import erase as erase_module
from maia_sync.archive import erasure, writing
from maia_sync.archive.create import create
from maia_sync.archive.entry import RedactedFacts, decode_entry, facts_of
from maia_sync.archive.erase import erase, rehearse_erase
from maia_sync.archive.erasing import EraseRequest
from maia_sync.archive.erasure_scan import Gone
from maia_sync.archive.folder import FolderPlace
from maia_sync.archive.layout import CHECKPOINT
from maia_sync.archive.log_reader import LogReader
from maia_sync.archive.note import open_checkpoint
from maia_sync.archive.places import open_place
from maia_sync.archive.prune import prune
from maia_sync.archive.redaction import redact
from maia_sync.archive.segment import read_segment
from maia_sync.archive.selection import Selection
from maia_sync.cli.archive_erase import summarize_erase
from maia_sync.errors import ArchiveDiffers, ArchiveError, ArchiveHeld, ConfigError, UsageError
from maia_sync.model import NO_TIMESTAMP
from maia_sync.sandbox.world import Log, World
from maia_sync.store import scrubbing
from maia_sync.store.archived import ErasureFacts
from maia_sync.store.database import Database
from maia_sync.store.digest_key import DigestKeyFile
from maia_sync.store.erasing import insert_erasure
from maia_sync.store.facets import lock_task
from maia_sync.store.holds import insert_holds, lock_holds
from maia_sync.store.scrubbing import scrub

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Stage

    from maia_sync.archive.erasing import EraseReport
    from maia_sync.archive.note import Signer

ERASED, KEPT = task_id(1), task_id(2)
TABLES = {
    "task_event": "group_id, timestamp, ordinal",
    "task_event_revision": "group_id, timestamp, ordinal, revision",
    "quarantine": "id",
    "sent_message": "id",
    "task_turn": "group_id",
    "task_activity": "slot_at",
}
STAYS = {
    "task_event": "group_id, timestamp, ordinal, seq, revision, first_seen_at, last_changed_at, "
    "vanished_at, run_id",
    "task_event_revision": "group_id, timestamp, ordinal, revision, seen_at, superseded_at, run_id",
    "quarantine": "id, task_id, run_id, quarantined_at, reason",
    "sent_message": "id, task_id, sent_by, sent_at, outcome, completed_at",
}


def element(secrets: Secrets, number: int, *, length: int = 40) -> bytes:
    """Return an event whose texts are secret, of which some become facets."""
    names = {"type": "tool_call", "toolName": secrets.make(), "agentName": secrets.make(60)}
    if number % 7 == 0:
        names = {"role": "user", "userId": secrets.make(300), "toolCallId": secrets.make()}
    texts = {**names, "text": secrets.make(length)}
    data = ",".join(f'"{name}":"{text}"' for name, text in texts.items())
    stamp = f"2026-01-{5 + number % 3:02d}T08:{number // 60:02d}:{number % 60:02d}.25Z"
    extra = f',"more":"{secrets.make()}"' if number % 5 == 0 else ""
    return f'{{"data":{{{data}}},"groupId":"g{number % 4}","timestamp":"{stamp}"{extra}}}'.encode()


def odd_elements(secrets: Secrets) -> list[bytes]:
    return [
        f'{{"data":"{secrets.make()}","timestamp":"{secrets.make()}"}}'.encode(),
        f'{{"data":["{secrets.make(20_000)}"],"groupId":"long"}}'.encode(),
        f'{{"data":"{secrets.make()}","timestamp":"2999-01-05T08:00:00Z"}}'.encode(),
        f'{{"data":"{secrets.make()}","groupId":["{secrets.make()}"]}}'.encode(),
        f'"{secrets.make()}"'.encode(),
        f'{{"data":"{secrets.make()}\xff"}}'.encode("latin-1"),
    ]


class Setting:
    """A copy of two tasks, archived: one is going to be erased, the other must stay as it is."""

    def __init__(
        self, stage_for: Callable[..., Stage], tmp_path: Path, *, place: Any = None, **settings: object
    ) -> None:
        self.secrets, self.others = Secrets(1), Secrets(2)
        world = World()
        for task, secrets in ((ERASED, self.secrets), (KEPT, self.others)):
            world.add(Log(task, [element(secrets, number) for number in range(90)]))
        self.stage = stage_for(world, archive__digest_key_file=tmp_path / "key.digests", **settings)
        self.place, self.signer = place or MemoryPlace(), make_signer()
        self.stage.sync_well()
        self.create()
        for task, secrets in ((ERASED, self.secrets), (KEPT, self.others)):
            log = world.logs[task]
            log.extend(odd_elements(secrets))
            for number in range(20, 30):
                log.replace(number, element(secrets, number, length=3_000))
            log.remove(60, 3)
            self.stage.app.send(task, secrets.make())
        self.stage.sync(full=True)
        self.stage.sync(full=True)
        self.create()

    @property
    def database(self) -> Any:
        return self.stage.app.database

    def create(self) -> None:
        create(self.database, self.place, self.signer, worker="w", clock=self.database.clock)

    def erase(self, task: str = ERASED, before: datetime | None = None, **more: Any) -> EraseReport:
        return erase(
            self.database,
            self.place,
            self.signer,
            request_of(task, before, **more),
            worker="w",
            clock=self.database.clock,
        )

    def rehearse(self, task: str = ERASED, before: datetime | None = None) -> EraseReport:
        key, request = self.signer.verifier, request_of(task, before)
        return rehearse_erase(self.database, self.place, key, request, clock=self.database.clock)

    def prune(self) -> int:
        report = prune(
            self.database,
            self.place,
            self.signer,
            timedelta(days=30),
            worker="w",
            by="me",
            clock=self.database.clock,
        )
        return report.payloads

    def lose_key(self, file: Path) -> None:
        file.unlink()
        self.database.digest_key = DigestKeyFile(file)

    def alter(self, statement: str) -> None:
        with self.database.transaction() as tx:
            tx.connection.exec_driver_sql(statement)

    def rows(self, table: str, task: str, columns: str = "*") -> list[Any]:
        order = TABLES[table]
        return self.stage.copy.ask(f"SELECT {columns} FROM {table} WHERE task_id = '{task}' ORDER BY {order}")


def request_of(task: str = ERASED, before: datetime | None = None, **more: Any) -> EraseRequest:
    return EraseRequest(
        task_id=task, before=before, reason="asked to", basis="Art. 17", erased_by="me", **more
    )


def log_of(place: MemoryPlace, signer: Signer) -> list[bytes]:
    log = LogReader(place, open_checkpoint(place.files[CHECKPOINT], signer.verifier))
    return [entry for _, bundle in log.entries() for entry in bundle]


def pieces_in_database(setting: Setting, database_url: str, folder: Path) -> int:
    """Return how many pieces stand in the files of the database: what lies in base/, of PostgreSQL's."""
    if not database_url.startswith("postgresql"):
        return sum(setting.secrets.in_files(files_below(folder)).values())
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CHECKPOINT")
        (oid,) = connection.execute(
            "SELECT oid FROM pg_database WHERE datname = current_database()"
        ).fetchone() or (0,)
        names = [name for (name,) in connection.execute("SELECT pg_ls_dir(%s)", (f"base/{oid}",))]
        read = "SELECT pg_read_binary_file(%s, true)"
        held = (connection.execute(read, (f"base/{oid}/{name}",)).fetchone() for name in names)
        return sum(setting.secrets.in_bytes(row[0] or b"") for row in held if row)


def test_no_piece_of_it_is_in_any_file_and_all_else_is_as_it_was(
    stage_for: Callable[..., Stage], tmp_path: Path, database_url: str
) -> None:
    setting = Setting(stage_for, tmp_path)
    mine, place = setting.secrets, setting.place
    before = dict(place.files)
    told = log_of(place, setting.signer)
    kept = {table: setting.rows(table, KEPT) for table in TABLES}
    stays = {table: setting.rows(table, ERASED, columns) for table, columns in STAYS.items()}
    rows_of_others = other_rows(place)
    assert pieces_in_database(setting, database_url, tmp_path) > 1_000, "they are found where they are"
    assert mine.in_archive(place.files.items())

    report = setting.erase()

    assert report.unscrubbed is None
    assert report.payloads.keys() == {"event", "revision", "quarantine", "sent"}
    assert report.emptied >= 90
    assert pieces_in_database(setting, database_url, tmp_path) == 0
    assert mine.in_archive(place.files.items()) == {}
    assert {table: setting.rows(table, KEPT) for table in TABLES} == kept
    assert {table: setting.rows(table, ERASED, columns) for table, columns in STAYS.items()} == stays
    assert other_rows(place) == rows_of_others
    moments = {row for table in STAYS for row in setting.rows(table, ERASED, "erased_at, pruned_at")}
    assert {moment(value) for row in moments for value in row} == {report.erased_at}
    assert_log_goes_on(setting, before, told, report)
    assert_sound(place, setting.signer.verifier, setting.database)


def other_rows(place: MemoryPlace) -> dict[int, tuple[Any, ...]]:
    """Return the rows of the other task in all segments, by their entries."""
    return {
        row[0]: row
        for path, content in place.files.items()
        if path.startswith("data/")
        for rows in read_segment(content)
        for row in zip(*rows, strict=True)
        if row[2] == KEPT
    }


def assert_log_goes_on(
    setting: Setting, before: dict[str, bytes], told: list[bytes], report: EraseReport
) -> None:
    """The log has all its entries, one that tells of the erasure, and one for each file written anew."""
    place = setting.place
    log = log_of(place, setting.signer)
    assert log[: len(told)] == told
    new = [decode_entry(entry) for entry in log[len(told) :]]
    assert report.erasure is not None
    told_of, *redacted = new[-report.files - 1 :]
    facts = facts_of(told_of)
    assert isinstance(facts, ErasureFacts)
    assert (told_of.type, told_of.task, told_of.id) == ("erasure", ERASED, 1)
    assert (facts.reason, facts.basis, facts.erased_by) == ("asked to", "Art. 17", "me")
    assert facts.payloads == report.erased
    replaced = [facts_of(entry) for entry in redacted]
    assert all(isinstance(each, RedactedFacts) and each.erasure == report.erasure for each in replaced)
    assert [each.path for each in replaced] == sorted(each.path for each in replaced)  # type: ignore[union-attr]
    gone = {each.replaces for each in replaced}  # type: ignore[union-attr]
    assert gone == {path for path in before if path.startswith("data/") and path not in place.files}
    lines = place.files["SHA256SUMS"].decode().splitlines()
    paths = [line.partition("  ")[2] for line in lines]
    assert sorted(paths) == sorted(path for path in place.files if path.startswith("data/"))
    newer = {each.replaces: each.path for each in replaced}  # type: ignore[union-attr]
    old = [line.partition("  ")[2] for line in before["SHA256SUMS"].decode().splitlines()]
    assert paths == [newer.get(path, path) for path in old]


def test_polls_and_reconciles_after_it_bring_nothing_back(
    stage_for: Callable[..., Stage], tmp_path: Path
) -> None:
    setting = Setting(stage_for, tmp_path)
    report = setting.erase()
    assert report.erased > 100
    rows = {table: setting.rows(table, ERASED) for table in TABLES}
    for full in (False, True):
        run = setting.stage.sync(full=full)
        assert (run.new, run.changed, run.vanished) == (0, 0, 0), run.failed
    assert {table: setting.rows(table, ERASED) for table in TABLES} == rows
    setting.create()
    assert_sound(setting.place, setting.signer.verifier, setting.database)
    assert setting.secrets.in_archive(setting.place.files.items()) == {}


def test_what_is_older_first_and_then_all_of_it_and_nothing_twice(
    stage_for: Callable[..., Stage], tmp_path: Path
) -> None:
    setting = Setting(stage_for, tmp_path)
    limit = datetime(2026, 1, 6, tzinfo=UTC)
    files = dict(setting.place.files)
    rehearsed = setting.rehearse(before=limit)
    assert setting.place.files == files
    first = setting.erase(before=limit)
    assert (first.payloads, first.files) == (rehearsed.payloads, rehearsed.files)
    assert first.payloads.keys() == {"event", "revision"}
    left = setting.rows("task_event", ERASED, "data IS NULL, timestamp")
    since = limit.timestamp() * 1e9
    assert {bool(gone) for gone, at in left if at != NO_TIMESTAMP and at < since} == {True}
    assert {bool(gone) for gone, at in left if at == NO_TIMESTAMP or at >= since} == {False}
    assert_sound(setting.place, setting.signer.verifier, setting.database)
    second = setting.erase()
    assert second.payloads["event"] > first.payloads["event"]
    assert setting.secrets.in_archive(setting.place.files.items()) == {}
    assert_sound(setting.place, setting.signer.verifier, setting.database)
    size = len(log_of(setting.place, setting.signer))
    third = setting.erase()
    assert (third.erased, third.erasure, third.archived) == (0, None, 0)
    assert [(one.entry, one.payloads) for one in third.earlier] == [
        (first.erasure, first.erased),
        (second.erasure, second.erased),
    ]
    assert [one.erased_at for one in third.earlier] == [first.erased_at, second.erased_at]
    assert len(log_of(setting.place, setting.signer)) == size
    assert read_entries(setting.place, setting.signer.verifier)


def test_a_hold_forbids_it_and_a_task_that_nobody_knows_is_no_task(
    stage_for: Callable[..., Stage], tmp_path: Path
) -> None:
    setting = Setting(stage_for, tmp_path)
    with pytest.raises(UsageError, match="knows a task"):
        setting.erase(task_id(99))
    for whose in (ERASED, None):
        with setting.database.transaction() as tx:
            lock_holds(tx)
            (hold,) = insert_holds(tx, [whose], reason="a case", held_by="counsel")
        files = dict(setting.place.files)
        with pytest.raises(ArchiveHeld, match="legal hold since"):
            setting.erase()
        assert setting.place.files == files
        with setting.database.transaction() as tx:
            lock_holds(tx)
            tx.connection.exec_driver_sql("DELETE FROM archive_hold")
        assert hold.released_at is None


def test_what_was_pruned_before_is_erased_as_well(stage_for: Callable[..., Stage], tmp_path: Path) -> None:
    setting = Setting(stage_for, tmp_path)
    assert setting.prune() > 100
    pruned = setting.rows("task_event", ERASED, "pruned_at IS NOT NULL, digest")
    assert any(gone for gone, _ in pruned)
    erased = setting.erase()
    assert erased.erased > erased.emptied
    now = setting.rows("task_event", ERASED, "pruned_at IS NOT NULL, digest, erased_at IS NOT NULL")
    assert all(gone and is_erased for gone, _, is_erased in now)
    assert all(digest == now[at][1] for at, (gone, digest) in enumerate(pruned) if gone)
    assert setting.secrets.in_archive(setting.place.files.items()) == {}
    assert_sound(setting.place, setting.signer.verifier, setting.database)
    run = setting.stage.sync(full=True)
    assert (run.new, run.changed, run.vanished) == (0, 0, 0), run.failed


def test_what_arrives_meanwhile_is_archived_and_erased_as_well(
    stage_for: Callable[..., Stage], tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = Setting(stage_for, tmp_path)
    log = setting.stage.world.logs[ERASED]
    arrivals = iter(range(2_000, 2_001))

    def arrive(*arguments: Any) -> Any:
        for number in arrivals:
            log.extend([element(setting.secrets, number)])
            setting.stage.sync_well()
        return redact(*arguments)

    signed: list[bool] = []

    def lock(tx: Any, task: str) -> None:
        if not tx.is_postgresql:
            tx.connection.exec_driver_sql("PRAGMA secure_delete = OFF")  # some are built so
        lock_task(tx, task)

    def sign(tx: Any, *arguments: Any, **options: Any) -> None:
        """Nothing more arrives by now: on PostgreSQL a walk would wait for the task's row."""
        if not tx.is_postgresql:
            assert tx.connection.exec_driver_sql("PRAGMA secure_delete").scalar() == 1
        else:
            with psycopg.connect(database_url) as walk, pytest.raises(psycopg.errors.LockNotAvailable):
                walk.execute("SELECT status FROM task WHERE task_id = %s FOR UPDATE NOWAIT", (ERASED,))
        insert_erasure(tx, *arguments, **options)
        signed.append(True)

    monkeypatch.setattr(erasure, "redact", arrive)
    monkeypatch.setattr(erasure, "lock_task", lock)
    monkeypatch.setattr(erasure, "insert_erasure", sign)
    report = setting.erase()
    assert (report.archived > 0, report.newer, len(signed)) == (True, 0, 1)
    assert setting.secrets.in_archive(setting.place.files.items()) == {}
    assert_sound(setting.place, setting.signer.verifier, setting.database)


def test_of_a_task_that_is_never_quiet_what_came_last_is_left_and_told_of(
    stage_for: Callable[..., Stage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = Setting(stage_for, tmp_path)
    log, new = setting.stage.world.logs[ERASED], Secrets(3)
    came = 2
    arrivals = iter(range(2_000, 2_000 + came))

    def arrive(*arguments: Any) -> Any:
        """Bring a new event, one that replaces what is erased, and what cannot be stored."""
        for number in arrivals:
            log.extend([element(new, number), f'"{new.make()}"'.encode()])
            log.replace(number % 20, element(new, number % 20))
            setting.stage.sync(full=True)
            break
        return redact(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(erasure, "redact", arrive)
        patched.setattr(erase_module, "_ATTEMPTS", 1)
        report = setting.erase()
    assert report.newer == 3 * came
    assert setting.secrets.in_archive(setting.place.files.items()) == {}
    held = setting.rows("task_event", ERASED, "pruned_at IS NULL, revision")
    assert sum(bool(is_held) for is_held, _ in held) == 2 * came
    assert_sound(setting.place, setting.signer.verifier, setting.database)
    setting.create()
    assert_sound(setting.place, setting.signer.verifier, setting.database)
    run = setting.stage.sync(full=True)
    assert (run.new, run.changed, run.vanished) == (0, 0, 0), run.failed
    again = setting.erase()
    assert (again.erased, again.newer) == (3 * came, 0)
    assert new.in_archive(setting.place.files.items()) == {}
    assert_sound(setting.place, setting.signer.verifier, setting.database)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_message_of_which_more_is_known_meanwhile_hides_nothing(
    stage_for: Callable[..., Stage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its row waits, and its payload is erased: it makes up for none that the archive does not know."""
    setting = Setting(stage_for, tmp_path)

    def learn(*arguments: Any) -> Any:
        setting.alter(f"UPDATE sent_message SET checkpoint_id = NULL WHERE task_id = '{ERASED}'")
        return redact(*arguments)

    one = f"SELECT min(id) FROM quarantine WHERE task_id = '{ERASED}'"
    setting.alter(f"UPDATE quarantine SET id = id + 1000 WHERE id = ({one})")
    monkeypatch.setattr(erasure, "redact", learn)
    monkeypatch.setattr(erase_module, "_ATTEMPTS", 1)
    with pytest.raises(ArchiveDiffers, match="holds 1 payload of the task"):
        setting.erase()


def test_a_hold_that_is_set_meanwhile_is_obeyed(
    stage_for: Callable[..., Stage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = Setting(stage_for, tmp_path)
    files = dict(setting.place.files)

    def hold(*arguments: Any) -> Any:
        with setting.database.transaction() as tx:
            lock_holds(tx)
            insert_holds(tx, [ERASED], reason="a case", held_by="counsel")
        return redact(*arguments)

    monkeypatch.setattr(erasure, "redact", hold)
    with pytest.raises(ArchiveHeld, match="set by counsel"):
        setting.erase()
    setting.create()
    assert files.items() - setting.place.files.items() <= {
        (path, content) for path, content in files.items() if "data/" not in path
    }
    assert_sound(setting.place, setting.signer.verifier, setting.database)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_reader_keeps_it_in_the_write_ahead_log_and_the_next_create_empties_that(
    stage_for: Callable[..., Stage], tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scrubbing, "_PAUSE", 0.2)
    setting = Setting(stage_for, tmp_path)
    database = Database(
        url=database_url,
        clock=setting.database.clock,
        busy_timeout=0.02,
        digest_key_file=tmp_path / "key.digests",
    )
    with closing(sqlite3.connect(database_url.removeprefix("sqlite:///"))) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM task").fetchone()
        report = erase(
            database, setting.place, setting.signer, request_of(), worker="w", clock=database.clock
        )
        assert report.erasure is not None
        assert report.unscrubbed is not None
        assert "write-ahead log" in report.unscrubbed
        assert setting.stage.copy.ask("SELECT scrubbed_at FROM archive_erasure") == [(None,)]
    database.close()
    setting.create()
    assert setting.stage.copy.ask("SELECT id FROM archive_erasure WHERE scrubbed_at IS NULL") == []
    assert pieces_in_database(setting, database_url, tmp_path) == 0


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_who_ends_it_once_it_is_signed_does_not_wait_for_the_rest(
    stage_for: Callable[..., Stage], tmp_path: Path
) -> None:
    setting = Setting(stage_for, tmp_path)

    def stopped() -> int | None:
        return 2 if setting.stage.copy.ask("SELECT id FROM archive_erasure") else None

    database, clock = setting.database, setting.database.clock
    report = erase(
        database, setting.place, setting.signer, request_of(), worker="w", clock=clock, stopped=stopped
    )
    assert (report.erasure is None, report.interrupted_by) == (False, None)
    assert report.unscrubbed is not None
    assert report.unscrubbed.startswith("interrupted: ")
    setting.create()
    assert setting.stage.copy.ask("SELECT id FROM archive_erasure WHERE scrubbed_at IS NULL") == []


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_damaged_files_and_who_ends_it_before_it_is_signed_leave_all_as_it_was(
    stage_for: Callable[..., Stage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = Setting(stage_for, tmp_path)
    files, rows = setting.place.files, {table: setting.rows(table, ERASED) for table in TABLES}
    before = dict(files)
    path, other, *_ = sorted(path for path in files if path.startswith("data/"))
    for content, told in ((None, "missing"), (files[other], "damaged")):
        del files[path]
        if content is not None:
            files[path] = content
        with pytest.raises(ArchiveDiffers, match=f"{path} is {told}: nothing was erased"):
            setting.erase()
        files[path] = before[path]
    done: list[Any] = []

    def note(*arguments: Any) -> Any:
        done.append(redact(*arguments))
        return done[-1]

    monkeypatch.setattr(erasure, "redact", note)
    ends = {"clock": setting.database.clock, "stopped": lambda: 2 if done else None}
    report = erase(setting.database, setting.place, setting.signer, request_of(), worker="w", **ends)
    assert (report.erasure, report.erased, report.interrupted_by, len(done)) == (None, 0, 2, 1)
    setting.create()
    assert files == before
    assert {table: setting.rows(table, ERASED) for table in TABLES} == rows


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_whoever_does_not_own_the_tables_cannot_scrub_them_and_is_told(
    stage_for: Callable[..., Stage], tmp_path: Path, database_url: str
) -> None:
    setting = Setting(stage_for, tmp_path)
    role = f"other_{token_hex(4)}"
    parts = urlsplit(driver_url(database_url))
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
        connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
        try:
            url = urlunsplit(parts._replace(netloc=f"{role}:x@{parts.netloc.rpartition('@')[2]}"))
            database = Database(url=url, clock=setting.database.clock)
            told = scrub(database)
            database.close()
        finally:
            connection.execute(f"DROP OWNED BY {role}")
            connection.execute(f"DROP ROLE {role}")
    assert told is not None
    assert "task_event, task_event_revision, quarantine" in told


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_in_an_object_store_the_old_objects_are_gone_and_their_versions_are_named(
    stage_for: Callable[..., Stage], tmp_path: Path, s3_url: str
) -> None:
    setting = Setting(stage_for, tmp_path, place=open_place(s3_url))
    before = {each.path for each in setting.place.list("data/")}
    report = setting.erase()
    after = {each.path: setting.place.read(each.path) or b"" for each in setting.place.list()}
    assert setting.secrets.in_archive(after.items()) == {}
    gone = before - after.keys()
    assert len(gone) == report.files > 0
    assert report.not_reached[0].startswith("earlier versions of objects at s3://")
    assert_sound(setting.place, setting.signer.verifier, setting.database)


# What the archive does not know


@pytest.mark.parametrize("what", ["unnoted", "altered", "with a number"])
def test_payloads_that_the_archive_does_not_know_are_not_left_in_silence(
    stage_for: Callable[..., Stage], tmp_path: Path, what: str
) -> None:
    """Without the look for what is left, it ends well and they stay."""
    setting = Setting(stage_for, tmp_path)
    if what == "unnoted":  # as by an older version
        setting.stage.world.logs[ERASED].extend([element(setting.secrets, n) for n in range(100, 105)])
        setting.stage.sync_well()
        setting.alter("DELETE FROM archive_journal WHERE checkpoint_id IS NULL")
        left = 5
    elif what == "altered":
        of_group = f"task_id = '{ERASED}' AND group_id = 'g1'"
        setting.alter(f"UPDATE task_event SET revision = revision + 7 WHERE {of_group}")
        left = len(setting.stage.copy.ask(f"SELECT seq FROM task_event WHERE {of_group}"))
    else:
        left = sum(len(setting.rows(table, ERASED)) for table in ("quarantine", "sent_message"))
        for table in ("quarantine", "sent_message"):
            setting.alter(f"UPDATE {table} SET id = id + 1000 WHERE task_id = '{ERASED}'")
    files = {path for path in setting.place.files if path.startswith("data/")}
    rows = {table: setting.rows(table, ERASED) for table in TABLES}
    told = f"holds {left} payloads of the task {ERASED} that the archive does not have"
    with pytest.raises(ArchiveDiffers, match=told):
        setting.erase()
    assert {table: setting.rows(table, ERASED) for table in TABLES} == rows
    assert files <= setting.place.files.keys()
    assert setting.stage.copy.ask("SELECT id FROM archive_erasure") == []
    if what == "unnoted":  # what is older is known
        assert setting.erase(before=datetime(2026, 1, 1, tzinfo=UTC)).erased == 0
    setting.erase(KEPT)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_nor_are_they_where_all_that_the_archive_knows_is_erased(
    stage_for: Callable[..., Stage], tmp_path: Path
) -> None:
    setting = Setting(stage_for, tmp_path)
    setting.erase()
    assert setting.rehearse().erased == 0
    setting.stage.world.logs[ERASED].extend([element(setting.secrets, 100)])
    setting.stage.sync_well()
    setting.alter("DELETE FROM archive_journal WHERE checkpoint_id IS NULL")
    for ask in (setting.erase, setting.rehearse):
        with pytest.raises(ArchiveDiffers, match="holds 1 payload of the task"):
            ask()


def test_a_dry_run_counts_what_waits_as_well_in_part_or_all_of_it(
    stage_for: Callable[..., Stage], tmp_path: Path
) -> None:
    """In each state that a task comes by, and what is said is what comes of it."""
    setting = Setting(stage_for, tmp_path)
    archived = setting.rehearse()
    assert (archived.waiting_payloads, archived.is_tracked) == (0, True)
    setting.stage.world.logs[ERASED].extend([element(setting.secrets, n) for n in range(100, 105)])
    setting.stage.sync_well()
    in_part = setting.rehearse()
    assert (in_part.erased, in_part.waiting_payloads, in_part.waiting) == (archived.erased, 5, True)
    assert "data segments) and 5 that wait to be archived first would be" in next(summarize_erase(in_part))

    limit = datetime(2026, 1, 6, tzinfo=UTC)
    older = setting.rehearse(before=limit)
    setting.alter("UPDATE task SET archived = false")  # as before the first create
    for table in ("archive_checkpoint", "archive_log", "archive_journal"):
        setting.alter(f"DELETE FROM {table}")
    for table in ("quarantine", "sent_message"):
        setting.alter(f"UPDATE {table} SET checkpoint_id = NULL")
    setting.place = MemoryPlace()
    never = setting.rehearse()
    assert (never.erased, never.waiting) == (0, True)
    assert never.waiting_payloads == sum(
        len(setting.rows(table, ERASED)) for table in TABLES if table not in {"task_turn", "task_activity"}
    )
    assert setting.rehearse(before=limit).waiting_payloads == older.erased + older.waiting_payloads
    assert setting.erase().erased == never.waiting_payloads
    assert setting.rehearse().waiting_payloads == 0


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_dry_run_refuses_the_archive_of_another_database(
    stage_for: Callable[..., Stage], tmp_path: Path
) -> None:
    setting = Setting(stage_for, tmp_path)
    setting.rehearse()
    setting.alter("UPDATE archive_checkpoint SET tree_size = tree_size + 1")
    with pytest.raises(ArchiveDiffers, match="do not belong together"):
        setting.rehearse()


# The digests' key


def test_without_the_key_that_is_lost_a_task_is_erased_if_a_person_says_so(
    stage_for: Callable[..., Stage], tmp_path: Path
) -> None:
    setting, file = Setting(stage_for, tmp_path), tmp_path / "key.digests"
    before = setting.erase(before=datetime(2026, 1, 6, tzinfo=UTC))
    setting.lose_key(file)
    for task in (ERASED, KEPT):
        with pytest.raises(ConfigError, match=r"is not there.*--new-digest-key"):
            setting.erase(task)
    with pytest.raises(ConfigError, match=r"is not there.*--new-digest-key"):
        setting.prune()
    assert not file.exists()
    assert setting.erase(KEPT, new_digest_key=True).unknown == 0
    with pytest.raises(ConfigError, match=f"another key than that by which payloads of the task {ERASED}"):
        setting.erase()
    report = setting.erase(new_digest_key=True)
    assert report.unknown == before.erased
    assert setting.secrets.in_archive(setting.place.files.items()) == {}
    assert_sound(setting.place, setting.signer.verifier, setting.database)
    assert setting.erase(KEPT).erased == 0, "it is said once"
    run = setting.stage.sync(full=True)
    assert [walk.task_id for walk in run.walks if walk.error_kind == "DigestKeyMissing"] == [ERASED]


def test_what_was_pruned_by_the_lost_key_is_known_again_by_the_new_one(
    stage_for: Callable[..., Stage], tmp_path: Path
) -> None:
    setting, file = Setting(stage_for, tmp_path), tmp_path / "key.digests"
    assert setting.prune() > 100
    setting.lose_key(file)
    assert setting.erase(new_digest_key=True).unknown == 0
    with pytest.raises(ConfigError, match=r"payloads were pruned before.*archive restore"):
        setting.prune()  # those of the other task: verify could not compare them for good
    assert_sound(setting.place, setting.signer.verifier, setting.database)
    assert setting.erase(KEPT, new_digest_key=True).unknown == 0
    run = setting.stage.sync(full=True)
    assert (run.new, run.changed, run.vanished) == (0, 0, 0), run.failed
    setting.create()
    assert setting.prune() == 0


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_host_with_a_key_of_its_own_that_comes_between_is_noticed(
    stage_for: Callable[..., Stage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = Setting(stage_for, tmp_path)
    mine, leased = setting.database.digest_key, writing.leased

    def come_between(*arguments: Any) -> Any:
        monkeypatch.setattr(erase_module, "leased", leased)
        setting.database.digest_key = DigestKeyFile(tmp_path / "others.digests")
        setting.erase(KEPT)
        setting.database.digest_key = mine
        return leased(*arguments)

    monkeypatch.setattr(erase_module, "leased", come_between)
    with pytest.raises(ConfigError, match="payloads were pruned or erased before"):
        setting.erase()
    assert not (tmp_path / "key.digests").exists()


# Files


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_where_a_folder_cannot_be_locked_nothing_is_left_of_a_writer_that_died(
    stage_for: Callable[..., Stage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(38, "no locks")

    monkeypatch.setattr(fcntl, "flock", refuse)
    setting = Setting(stage_for, tmp_path, place=FolderPlace(tmp_path / "archive"))
    new = tmp_path / "archive" / ".new"
    new.mkdir()
    (new / "0123456789abcdef").write_bytes(b"a payload")
    assert setting.erase().erased > 100
    assert not new.exists()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_without_room_for_temporary_files_it_says_so(
    stage_for: Callable[..., Stage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = Setting(stage_for, tmp_path)

    def refuse() -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    for ask, task in ((setting.erase, ERASED), (setting.rehearse, ERASED), (setting.erase, task_id(77))):
        with pytest.raises(ArchiveError, match="cannot write a temporary file: No space left"):
            ask(task)


def test_what_earlier_erasures_have_meant_is_found_at_once() -> None:
    limits = [5, None, 3, 9, 9, 1, 7, 2]
    for number in range(len(limits)):
        erasures = [Selection(10 * at, ERASED, limit) for at, limit in enumerate(limits[number:], 1)]
        gone = Gone(erasures)
        for index in range(0, 100, 5):
            for age in range(11):
                meant = any(index < one.at and (one.before is None or age < one.before) for one in erasures)
                assert gone.has(index, age) == meant
