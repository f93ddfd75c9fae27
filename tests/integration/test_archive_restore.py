"""Does a database come back from its archive alone, whole, verified, and able to go on? On both databases."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from archived_entries import Killed, make_signer
from logs import TASK
from memory_place import MemoryPlace
from restored_copy import assert_same, plain, rows_of
from restoring_small import assert_clean, erase_from, make_small, opener, prune_all, restore
from small_archive import OTHER, SmallArchive, element

from maia_sync.archive import restoring
from maia_sync.archive.create import create
from maia_sync.archive.restore import restore_archive
from maia_sync.cli.archive_verbs import summarize_create
from maia_sync.errors import ArchiveError, DatabaseUnfinished, UsageError
from maia_sync.store.holds import insert_holds, lock_holds, read_holds, release_holds
from maia_sync.store.tasks import set_status, upsert_tasks

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack
    from pathlib import Path

    from oracle import Copy

    from maia_sync.store.database import Database


@pytest.fixture(autouse=True)
def many_transactions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restoring, "_ENOUGH", 1)


@pytest.fixture
def small(stage_for: Callable[..., Any], tmp_path: Path) -> SmallArchive:
    return make_small(stage_for, tmp_path)


@pytest.fixture
def new_database(
    request: pytest.FixtureRequest, tmp_path: Path, cleanup: ExitStack
) -> Callable[[str], tuple[Database, Copy]]:
    return opener(request, tmp_path, cleanup)


sqlite_only = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
TO = pytest.mark.parametrize(
    ("database_url", "to"),
    [("sqlite", "sqlite"), ("postgresql", "postgresql"), ("sqlite", "postgresql")],
    indirect=["database_url"],
)


@TO
def test_a_database_comes_back_row_by_row_and_goes_on(
    small: SmallArchive, to: str, new_database: Callable[[str], tuple[Database, Copy]]
) -> None:
    with small.database.transaction() as tx:
        upsert_tasks(tx, [OTHER], label="another one")
        set_status(tx, [OTHER], "paused")
        lock_holds(tx)
        held = insert_holds(tx, [TASK, None], reason="a lawsuit", held_by="lawyer@host")
        release_holds(tx, held[:1], reason="it was settled", released_by="another@host")
    small.create()
    database, copy = new_database(to)
    report = restore(small, database)
    assert report.completed, report.findings
    assert (report.restored, report.resumed_at, report.erased) == (report.size, 0, 0)
    assert report.size == small.size
    assert_same(small.stage.copy, copy)
    begun = "SELECT started_at FROM archive_restore"  # no checkpoint is dated by the restore
    assert copy.one(f"SELECT count(*) FROM archive_checkpoint WHERE created_at >= ({begun})") == 0
    with database.transaction() as tx:
        assert [hold.task_id for hold in read_holds(tx)] == [None]
    database.require_migrated()
    assert_goes_on(small, copy, database)


def assert_goes_on(small: SmallArchive, copy: Copy, database: Database) -> None:
    """Walks of the restored copy store nothing twice, and its archive goes on where it was."""
    app = small.stage.open_another(database__url=copy.url)
    place = small.place.copy()
    key = small.signer.verifier
    assert_clean(place, key, database)
    assert create(database, place, small.signer, worker="two", clock=database.clock).new == 0
    copy.watch_writes("task_event", "task_event_revision", "quarantine")
    for full in (False, True):
        assert app.sync(full=full).status == "succeeded"
        assert copy.writes() == {}
    small.stage.world.logs[TASK].append(element(600, "a new event"))
    assert app.sync().new == 1
    created = create(database, place, small.signer, worker="two", clock=database.clock)
    assert (created.entries, created.was_cut_off) == ({"event": 1, "run": 3}, False)
    assert_clean(place, key, database)


@pytest.mark.parametrize(
    ("database_url", "to"), [("sqlite", "sqlite"), ("sqlite", "postgresql")], indirect=["database_url"]
)
def test_what_was_erased_comes_back_as_erased_and_is_known_again(
    small: SmallArchive, to: str, new_database: Callable[[str], tuple[Database, Copy]]
) -> None:
    for task, before in ((TASK, datetime(2026, 1, 6, 0, 0, 1, tzinfo=UTC)), (OTHER, None), (TASK, None)):
        erased = erase_from(small, task, before)
        assert sum(erased.payloads.values()) > 0
        small.stage.world.logs[TASK].append(element(700, f"new before {before}"))
        small.stage.sync_well()
    small.create()
    database, copy = new_database(to)
    report = restore(small, database)
    assert report.completed, report.findings
    assert report.erased > 300
    assert_same(small.stage.copy, copy)
    assert copy.one("SELECT count(*) FROM task_event WHERE erased_at < '2000-01-01'") == 0
    app = small.stage.open_another(database__url=copy.url)
    copy.watch_writes("task_event", "task_event_revision", "quarantine", "sent_message")
    for full in (False, True):
        assert app.sync(full=full).status == "succeeded"
        assert copy.writes() == {}
    created = create(database, small.place, small.signer, worker="two", clock=database.clock)
    assert created.entries == {"run": 2}
    assert_clean(small.place, small.signer.verifier, database)


@sqlite_only
def test_what_was_pruned_comes_back_whole(
    small: SmallArchive, new_database: Callable[[str], tuple[Database, Copy]]
) -> None:
    before = rows_of(small.stage.copy)
    assert prune_all(small).payloads > 300
    assert rows_of(small.stage.copy) != before
    database, copy = new_database("sqlite")
    assert restore(small, database).completed
    assert rows_of(copy) == before


@pytest.mark.parametrize(
    ("database_url", "to"), [("sqlite", "sqlite"), ("postgresql", "sqlite")], indirect=["database_url"]
)
def test_a_new_log_tells_what_was_pruned_and_erased_so_that_it_is_known_again(
    small: SmallArchive, to: str, new_database: Callable[[str], tuple[Database, Copy]]
) -> None:
    erase_from(small, TASK, datetime(2026, 1, 6, 8, 5, 30, tzinfo=UTC))
    prune_all(small)
    small.stage.world.logs[TASK].replace(40, element(40, "revised behind the prune"))
    small.stage.sync_well(full=True)
    with small.database.transaction() as tx:
        lock_holds(tx)
        insert_holds(tx, [TASK], reason="a lawsuit", held_by="lawyer@host")
    small.create()
    signer, place = make_signer("another.example/log"), MemoryPlace()
    created = create(small.database, place, signer, worker="one", clock=small.database.clock, new_log=True)
    assert created.entries["missing"] > 300
    tasks = small.stage.copy.one("SELECT count(*) FROM task")
    assert (created.entries["task"], created.entries["hold"]) == (tasks, 1)
    assert ("event" in created.entries, created.entries["revision"]) == (False, 1)
    assert "pruned before" in "\n".join(summarize_create(created))
    database, copy = new_database(to)
    report = restore_archive(place, signer.verifier, database, facets=small.stage.app.facets)
    assert report.completed, report.findings
    of_row = "task_id, group_id, timestamp, ordinal, revision, pruned_at, erased_at, digest"
    for table, columns in (
        ("task_event", f"{of_row}, canonical, seq"),
        ("task_event_revision", of_row),
        ("quarantine", "id, pruned_at, erased_at, digest"),
        ("sent_message", "id, pruned_at, erased_at, outcome"),
    ):
        was, now = (
            {tuple(map(plain, row)) for row in each.ask(f"SELECT {columns} FROM {table}")}
            for each in (small.stage.copy, copy)
        )
        assert was == now, table
    assert_clean(place, signer.verifier, database)
    assert copy.one("SELECT count(*) FROM task_event WHERE erased_at IS NOT NULL") > 200
    app = small.stage.open_another(database__url=copy.url)
    copy.watch_writes("task_event", "task_event_revision", "quarantine")
    for full in (False, True):
        assert app.sync(full=full).status == "succeeded"
        assert copy.writes() == {}


@sqlite_only
def test_a_database_that_holds_anything_is_refused(
    small: SmallArchive, new_database: Callable[[str], tuple[Database, Copy]]
) -> None:
    with pytest.raises(UsageError, match="is not empty"):
        restore(small, small.database)
    database, copy = new_database("sqlite")
    copy.ask("CREATE TABLE theirs (a INT)")
    copy.ask("INSERT INTO theirs VALUES (1)")
    with pytest.raises(UsageError, match=r"is not empty \(theirs\)"):
        restore(small, database)
    assert copy.ask("SELECT name FROM sqlite_master") == [("theirs",)]
    copy.ask("DELETE FROM theirs")
    assert restore(small, database).completed
    with pytest.raises(UsageError, match="has been restored"):
        restore(small, database)


@sqlite_only
def test_nothing_is_restored_from_what_is_altered_and_the_rest_once_it_is_mended(
    small: SmallArchive, new_database: Callable[[str], tuple[Database, Copy]]
) -> None:
    database, copy = new_database("sqlite")
    path = max(path for path in small.place.files if path.startswith("data/date=2026-01-06"))
    whole = small.place.files[path]
    small.place.files[path] = whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:]
    report = restore(small, database)
    assert (report.completed, report.finding_count > 0, report.interrupted_by) == (False, True, None)
    assert 0 < report.restored < report.size
    assert copy.one("SELECT entries FROM archive_restore") == report.restored
    with pytest.raises(DatabaseUnfinished, match="archive restore"):
        database.require_migrated()
    small.place.files[path] = whole
    again = restore(small, database)
    assert (again.completed, again.resumed_at) == (True, report.restored)
    assert_same(small.stage.copy, copy)


@sqlite_only
def test_from_an_archive_that_lacks_a_file_comes_what_was_before_it(
    small: SmallArchive, new_database: Callable[[str], tuple[Database, Copy]]
) -> None:
    database, copy = new_database("sqlite")
    path = max(path for path in small.place.files if path.startswith("data/date=2026-01-06"))
    whole = small.place.files.pop(path)
    report = restore(small, database)
    assert [finding.place for finding in report.findings] == [path]
    assert (report.completed, 0 < report.restored < report.size) == (False, True)
    small.place.files[path] = whole
    assert restore(small, database).completed
    assert_same(small.stage.copy, copy)


@sqlite_only
def test_a_restore_that_was_begun_goes_on_with_the_same_archive_alone(
    small: SmallArchive, new_database: Callable[[str], tuple[Database, Copy]]
) -> None:
    database, _ = new_database("sqlite")
    told: list[int] = []
    report = restore(
        small, database, progress=lambda done, _: told.append(done), stopped=lambda: 15 if told else None
    )
    assert (report.completed, report.interrupted_by) == (False, 15)
    other = small.place.copy()
    small.stage.sync_well()
    small.create()
    with pytest.raises(ArchiveError, match="begin anew with an empty database"):
        restore(small, database)
    signer, place = make_signer("another.example/log"), MemoryPlace()
    create(small.database, place, signer, worker="one", clock=small.database.clock, new_log=True)
    with pytest.raises(UsageError, match=r"restored from the archive of tests\.example"):
        restore_archive(place, signer.verifier, database, facets=small.stage.app.facets)
    again = restore_archive(other, small.signer.verifier, database, facets=small.stage.app.facets)
    assert again.completed


@sqlite_only
def test_where_there_is_no_archive_nothing_is_made(
    small: SmallArchive, new_database: Callable[[str], tuple[Database, Copy]]
) -> None:
    database, copy = new_database("sqlite")
    with pytest.raises(ArchiveError, match="there is no archive"):
        restore_archive(MemoryPlace(), small.signer.verifier, database, facets=small.stage.app.facets)
    small.place.files["checkpoint"] = small.place.files["checkpoint"].replace(b"\n", b"\n1", 1)
    assert restore(small, database).finding_count > 0
    assert copy.ask("SELECT name FROM sqlite_master") == []


@sqlite_only
def test_from_an_archive_whose_create_was_cut_off_comes_what_is_signed(
    small: SmallArchive, new_database: Callable[[str], tuple[Database, Copy]]
) -> None:
    was = rows_of(small.stage.copy)
    small.stage.world.logs[TASK].append(element(600, "a new event"))
    small.stage.sync_well()
    place = Dying(dict(small.place.files))
    with pytest.raises(Killed):
        small.create(place)
    place.dies = False
    database, copy = new_database("sqlite")
    report = restore_archive(place, small.signer.verifier, database, facets=small.stage.app.facets)
    assert report.completed, report.findings
    assert rows_of(copy) == was
    created = create(database, place, small.signer, worker="two", clock=database.clock)
    assert created.was_cut_off
    assert_clean(place, small.signer.verifier, database)


class Dying(MemoryPlace):
    """A place in which a create dies before its checkpoint stands."""

    dies = True

    def replace(self, path: str, content: bytes) -> None:
        if self.dies and path == "SHA256SUMS":
            raise Killed
        super().replace(path, content)
