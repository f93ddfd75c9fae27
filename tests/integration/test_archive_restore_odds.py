"""What comes back where something was cut off, gone before it was archived, or changed meanwhile?"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from archived_entries import Killed, make_signer
from logs import TASK
from memory_place import MemoryPlace
from restoring_small import assert_clean, erase_from, make_small, opener, restore
from small_archive import OTHER, SmallArchive, element
from sqlalchemy import delete, func, insert, select, update

from maia_sync.archive import restore as archive_restore
from maia_sync.archive.create import create
from maia_sync.archive.layout import Unfinished
from maia_sync.archive.restore import restore_archive
from maia_sync.cli.archive_restore import summarize_restore
from maia_sync.errors import ArchiveDiffers, ArchiveError, DatabaseUnfinished
from maia_sync.store import archive_reading, restoring, schema
from maia_sync.store.erasing import read_keyed_by
from maia_sync.store.pruning import read_keyed_digest
from maia_sync.store.restored_events import TO_BE_TOLD, moment_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack
    from pathlib import Path

    from oracle import Copy

    from maia_sync.store.database import Database

    New = Callable[[str], tuple[Database, Copy]]

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
EVENTS = schema.task_event.c
RUNS = schema.sync_run.c
SENT = schema.sent_message.c


@pytest.fixture
def small(stage_for: Callable[..., Any], tmp_path: Path) -> SmallArchive:
    return make_small(stage_for, tmp_path)


@pytest.fixture
def new_database(request: pytest.FixtureRequest, tmp_path: Path, cleanup: ExitStack) -> New:
    return opener(request, tmp_path, cleanup)


class Dying(MemoryPlace):
    """A place in which a writer dies, at the checkpoint or when it deletes segments."""

    dies_at: str = ""

    def swap(self, path: str, old: bytes | None, new: bytes) -> None:
        if path == self.dies_at:
            raise Killed
        super().swap(path, old, new)

    def delete(self, paths: Any) -> None:
        some = list(paths)
        if self.dies_at == "data/" and any(path.startswith("data/") for path in some):
            raise Killed
        super().delete(some)


def test_what_was_gone_before_it_was_archived_keeps_no_task_from_being_walked(
    small: SmallArchive, new_database: New, tmp_path: Path
) -> None:
    """Its row equals nothing, and no key is needed for that; a run that was not archived is lost."""
    small.stage.world.logs[TASK].append(element(600, "gone at once"))
    small.stage.sync_well()
    newest = select(func.max(EVENTS.seq)).where(EVENTS.task_id == TASK).scalar_subquery()
    last = select(func.max(RUNS.id)).scalar_subquery()
    small.stage.world.logs[OTHER].append(element(601, "of a run that does not end"))
    small.stage.sync_well()
    with small.database.transaction() as tx:
        tx.connection.execute(delete(schema.task_event).where(EVENTS.task_id == TASK, EVENTS.seq == newest))
        number = tx.connection.execute(select(last)).scalar_one()
        tx.connection.execute(update(schema.sync_run).where(RUNS.id == number).values(ended_at=None))
    assert small.create().entries["missing"] == 1
    assert not (tmp_path / "archive.key.digests").exists()
    for dialect in ("sqlite", "postgresql"):
        database, copy = new_database(dialect)
        assert restore(small, database).completed
        assert_clean(small.place, small.signer.verifier, database)
        with database.transaction() as tx:
            assert (read_keyed_digest(tx), read_keyed_by(tx, TASK)) == (None, [])
        assert copy.ask(f"SELECT worker, status FROM sync_run WHERE id = {number}") == [("unknown", "lost")]
        assert copy.one(f"SELECT count(*) FROM task_event WHERE run_id = {number}") == 1
    app = small.stage.open_another(database__url=copy.url.replace("postgresql://", "postgresql+psycopg://"))
    assert (app.sync(full=True).status, app.sync().changed) == ("succeeded", 0)
    assert copy.one("SELECT max(id) FROM sync_run") == number + 2
    created = create(database, small.place, small.signer, worker="two", clock=database.clock)
    assert created.entries == {"revision": 1, "run": 3}
    assert_clean(small.place, small.signer.verifier, database)


@pytest.mark.parametrize("dies_at", ["checkpoint", "data/"])
def test_an_erasure_that_was_cut_off_is_finished_by_who_restores(
    small: SmallArchive, new_database: New, dies_at: str
) -> None:
    erase_from(small, OTHER)
    place = Dying(dict(small.place.files))
    place.dies_at = dies_at
    with pytest.raises(Killed):
        erase_from(small, TASK, place=place)
    place.dies_at = ""
    left = _segments(place)
    if dies_at == "checkpoint":
        lacking = place.copy()
        del lacking.files[max(left - _segments(small.place))]
        with pytest.raises(ArchiveDiffers, match=r"has signed a checkpoint of .* Nothing was restored"):
            restore(small, new_database("sqlite")[0], lacking)
    database, copy = new_database("sqlite")
    report = restore(small, database, place)
    assert report.completed, report.findings
    assert report.erased > 400
    assert copy.one("SELECT count(*) FROM task_event WHERE data IS NOT NULL") == 0
    assert _segments(place) == left
    create(database, place, small.signer, worker="two", clock=database.clock)
    assert len(left - _segments(place)) > 3
    assert copy.one("SELECT count(*) FROM archive_erasure WHERE scrubbed_at IS NULL") == 0
    assert_clean(place, small.signer.verifier, database)


def _segments(place: MemoryPlace) -> set[str]:
    return {path for path in place.files if path.startswith("data/")}


def test_a_checkpoint_that_was_put_back_is_not_taken_for_one_that_was_cut_off(
    small: SmallArchive, new_database: New
) -> None:
    earlier = small.place.files["checkpoint"]
    small.stage.sync_well()
    small.create()
    since, origin = small.size, small.signer.verifier.name
    small.place.files["checkpoint"] = earlier
    database, copy = new_database("sqlite")
    with pytest.raises(ArchiveDiffers, match="put back to an older state"):
        restore(small, database)
    # A create that was cut off tells from where it went on: not from here.
    small.place.files["unfinished"] = msgspec.json.encode(Unfinished(since=since, origin=origin))
    with pytest.raises(ArchiveDiffers, match="put back to an older state"):
        restore(small, database)
    assert copy.ask("SELECT name FROM sqlite_master") == []


class Changing(MemoryPlace):
    """A place that becomes another while it is read."""

    def __init__(self, files: dict[str, bytes], change: Callable[[], Any]) -> None:
        super().__init__(files)
        self._changes = [change]

    def read(self, path: str) -> bytes | None:
        if path.startswith("data/") and self._changes:
            self._changes.pop()()
        return super().read(path)


@pytest.mark.parametrize("erases", [True, False])
def test_an_archive_that_changes_meanwhile_is_not_taken_for_whole(
    small: SmallArchive, new_database: New, *, erases: bool
) -> None:
    small.stage.sync_well()  # of which a create tells

    def change() -> Any:
        return erase_from(small, TASK, datetime(2026, 1, 5, 8, 1, tzinfo=UTC)) if erases else small.create()

    place = Changing(small.place.files, change)
    database, _ = new_database("sqlite")
    with pytest.raises(ArchiveError, match="begin anew with an empty database"):
        restore(small, database, place)
    with pytest.raises(DatabaseUnfinished):
        database.require_migrated()


def test_who_is_interrupted_in_the_last_steps_is_told_so(
    small: SmallArchive, new_database: New, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And so is who restores what another process is restoring."""
    database, _ = new_database("sqlite")
    told: list[int] = []
    was = archive_restore._take_last_steps

    def noting(database: Database, stopped: Callable[[], int | None]) -> bool:
        told.append(1)
        return was(database, stopped)

    monkeypatch.setattr(archive_restore, "_take_last_steps", noting)
    report = restore(small, database, stopped=lambda: 15 if told else None)
    assert (report.completed, report.interrupted_by, report.restored) == (False, 15, report.size)
    assert "Interrupted" in "\n".join(summarize_restore(report))
    monkeypatch.setattr(archive_restore, "_take_last_steps", was)
    told.clear()
    another, _ = new_database("sqlite")

    def also(*_: int) -> None:
        if not told:
            told.append(1)
            with another.transaction() as tx:
                restoring.advance_restore(tx, since=0, entries=1)

    with pytest.raises(ArchiveError, match="another process is restoring the same database"):
        restore(small, another, progress=also)
    small.place.files["checkpoint"] = b"no checkpoint"
    nothing = restore(small, new_database("sqlite")[0])
    said = "\n".join(summarize_restore(nothing))
    assert "nothing was restored" in said
    assert "unfinished" not in said


@pytest.mark.parametrize("enough", [1, 5_000])
def test_a_message_that_was_told_again_without_its_request_keeps_it(
    small: SmallArchive, new_database: New, monkeypatch: pytest.MonkeyPatch, enough: int
) -> None:
    """Whether it was pruned meanwhile, or erased."""
    monkeypatch.setattr("maia_sync.archive.restoring._ENOUGH", enough)
    ids = {task: _send(small, task) for task in (TASK, OTHER)}
    small.create()
    erase_from(small, OTHER)
    with small.database.transaction() as tx:
        of_task = update(schema.sent_message).where(SENT.id == ids[TASK])
        tx.connection.execute(of_task.values(request="null", pruned_at=tx.now))
        tx.connection.execute(
            update(schema.sent_message)
            .where(SENT.id.in_(ids.values()))
            .values(outcome="accepted", checkpoint_id=None)
        )
    assert small.create().entries["missing"] == 2
    assert_clean(small.place, small.signer.verifier, small.database)
    database, copy = new_database("sqlite")
    assert restore(small, database).completed
    stored = "SELECT request, outcome, pruned_at IS NULL, erased_at FROM sent_message WHERE id = {}"
    assert copy.ask(stored.format(ids[TASK])) == [('{"message":"hello"}', "accepted", 1, None)]
    erased = small.stage.copy.ask(stored.format(ids[OTHER]))
    assert copy.ask(stored.format(ids[OTHER])) == erased
    assert erased[0][3] is not None
    assert_clean(small.place, small.signer.verifier, database)


def _send(small: SmallArchive, task_id: str) -> int:
    message = {"task_id": task_id, "request": '{"message":"hello"}', "sent_by": "me", "outcome": "unknown"}
    with small.database.transaction() as tx:
        sent = insert(schema.sent_message).values(**message, sent_at=tx.now).returning(SENT.id)
        return int(tx.connection.execute(sent).scalar_one())


def test_who_restores_an_archive_without_entries_of_tasks_is_told_that_all_are_active(
    small: SmallArchive, new_database: New, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = "all of them are active now"
    assert told not in "".join(restore(small, new_database("sqlite")[0]).notes)
    monkeypatch.setattr(archive_reading, "read_tracked", lambda *_: ())
    monkeypatch.setattr(archive_reading, "read_retold", lambda *_: ())
    signer, place = make_signer("another.example/log"), MemoryPlace()
    assert (
        "task"
        not in create(
            small.database, place, signer, worker="one", clock=small.database.clock, new_log=True
        ).entries
    )
    database, copy = new_database("sqlite")
    report = restore_archive(place, signer.verifier, database, facets=small.stage.app.facets)
    assert told in "".join(report.notes)
    assert copy.ask("SELECT DISTINCT status FROM task") == [("active",)]
    first = "SELECT min(first_seen_at) FROM task_event WHERE task_event.task_id = task.task_id"
    assert copy.ask(f"SELECT task_id FROM task WHERE tracked_at > ({first})") == []
    for order in ([("newest-first?",)], []):  # all that tells it then are turns
        with database.transaction() as tx:
            restoring.turn_order(tx, TASK)
        assert copy.ask(f"SELECT log_order FROM checkpoint WHERE task_id = '{TASK}'") == order
    with database.transaction() as tx:
        assert not restoring.has_untold(tx)
        erased = {"pruned_at": tx.now, "erased_at": moment_of(TO_BE_TOLD)}
        tx.connection.execute(update(schema.quarantine).values(erased))
        assert restoring.has_untold(tx)
