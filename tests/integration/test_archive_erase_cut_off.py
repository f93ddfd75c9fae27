"""Does a death at any moment of an erasure leave all of it or nothing, and does the next writer finish it?

It dies before each call of its place, before each commit, and before and behind the scrubbing.
"""

from __future__ import annotations

import random
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from archived_entries import (
    Fuse,
    Killed,
    MortalPlace,
    assert_sound,
    checkpoint_size,
    dying,
    make_signer,
    read_entries,
)
from logs import event, task_id
from oracle import Copy
from sqlalchemy import insert, update
from test_random_worlds import TASK, SmallWorld, sync
from told_story import driver_url, store_elements

from maia_sync.archive import finishing
from maia_sync.archive.create import create
from maia_sync.archive.erase import erase, rehearse_erase
from maia_sync.archive.erasing import EraseRequest
from maia_sync.archive.layout import UNFINISHED, Unfinished
from maia_sync.clock import ManualClock
from maia_sync.errors import ArchiveDiffers, ArchiveError
from maia_sync.store import schema
from maia_sync.store.database import Database
from maia_sync.store.scrubbing import scrub
from maia_sync.store.sent import complete_sent_message, insert_sent_message
from maia_sync.store.tasks import upsert_tasks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import ExitStack
    from pathlib import Path

    from maia_sync.archive.erasing import EraseReport

EVENTS = 30


def open_database(url: str, folder: Path) -> Database:
    return Database(url=driver_url(url), clock=ManualClock(), digest_key_file=folder / "key.digests")


class Setting:
    """A database and its archive: tasks of which one is erased, with revisions and all else; news since."""

    def __init__(self, url: str, folder: Path, *, tasks: int = 1) -> None:
        self.database = open_database(url, folder)
        self.signer = make_signer()
        self.place = MortalPlace()
        for number in range(tasks):
            store_elements(self.database, task_id(number), [event(at) for at in range(EVENTS)])
        self.world = SmallWorld(random.Random(11))
        with self.database.transaction() as tx:
            tx.connection.execute(update(schema.task).values(status="paused"))  # the world has one log
            upsert_tasks(tx, [TASK])
        self.news()
        create(self.database, self.place, self.signer, worker="one", clock=self.database.clock)
        self.news()

    def news(self) -> None:
        for full in (False, True):
            for _ in range(4):
                self.world.change()
            assert isinstance(self.database.clock, ManualClock)
            self.database.clock.advance(1)
            sync(self.world, self.database, full=full, order="oldest-first")
        with self.database.transaction() as tx:
            sent = insert_sent_message(tx, task_id=TASK, sent_by="me", request='{"message":"hello"}')
            complete_sent_message(tx, sent.id, "accepted", None)
            reason = {"reason": "not an object", "raw": b"[%d]" % sent.id, "digest": bytes([sent.id])}
            values = {"task_id": TASK, "quarantined_at": self.database.clock.now(), **reason}
            tx.connection.execute(insert(schema.quarantine).values(values))

    def erase(self, database: Database, place: MortalPlace, task: str = TASK) -> EraseReport:
        request = EraseRequest(task_id=task, before=None, reason="asked to", basis="Art. 17", erased_by="me")
        return erase(database, place, self.signer, request, worker="one", clock=database.clock)

    def create(self, database: Database, place: MortalPlace) -> None:
        create(database, place, self.signer, worker="one", clock=database.clock)

    def one_death(
        self, database: Database, place: MortalPlace, fuse: Fuse, task: str = TASK
    ) -> EraseReport | None:
        """Erase until the fuse burns; None if it has. Every other two of such deaths are power cuts."""
        try:
            with dying(place, database, fuse), scrubbing_to_death(fuse):
                return self.erase(database, place, task)
        except BaseException:
            if not fuse.burnt:
                raise
            if len(fuse.steps) % 4 < 2:
                place.cut_power()
        return None


@contextmanager
def scrubbing_to_death(fuse: Fuse) -> Iterator[None]:
    """Let the fuse burn before and behind the scrubbing as well."""

    def scrubbing(database: Database, *arguments: Any, **options: Any) -> str | None:
        fuse.step("scrub")
        trouble = scrub(database, *arguments, **options)
        fuse.step("scrubbed")
        return trouble

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(finishing, "scrub", scrubbing)
        yield


def payloads_in(url: str, task: str = TASK) -> int:
    """Return how many payloads of a task the database holds."""
    queries = (
        "SELECT count(*) FROM task_event WHERE data IS NOT NULL AND task_id = '{}'",
        "SELECT count(*) FROM task_event_revision WHERE data IS NOT NULL AND task_id = '{}'",
        "SELECT count(*) FROM quarantine WHERE length(raw) > 0 AND task_id = '{}'",
        "SELECT count(*) FROM sent_message WHERE CAST(request AS text) <> 'null' AND task_id = '{}'",
    )
    copy = Copy(url)
    return sum(number for query in queries for (number,) in copy.ask(query.format(task)))


def rows_of_others(url: str) -> list[Any]:
    tables = ("task_event", "task_event_revision", "task_turn", "task_activity")
    copy = Copy(url)
    return [
        sorted(map(repr, copy.ask(f"SELECT * FROM {table} WHERE task_id <> '{TASK}'"))) for table in tables
    ]


def is_unfinished(url: str) -> bool:
    return bool(Copy(url).ask("SELECT id FROM archive_erasure WHERE scrubbed_at IS NULL"))


def test_after_a_death_before_any_step_the_next_writer_comes_to_the_same_or_has_nothing_to_undo(
    sqlite_url: str, tmp_path: Path, cleanup: ExitStack
) -> None:
    setting = Setting(sqlite_url, tmp_path)
    setting.create(setting.database, setting.place)  # deaths before are those of a create
    setting.database.close()
    key = setting.signer.verifier

    def copied(name: str) -> tuple[Database, str]:
        path = tmp_path / f"{name}.db"
        shutil.copyfile(sqlite_url.removeprefix("sqlite:///"), path)
        database = open_database(f"sqlite:///{path}", tmp_path)
        cleanup.callback(database.close)
        return database, f"sqlite:///{path}"

    undisturbed, fuse = setting.place.copy(), Fuse(None)
    database, url = copied("undisturbed")
    whole = payloads_in(url)
    others = rows_of_others(url)
    report = setting.one_death(database, undisturbed, fuse)
    assert report is not None
    assert report.files > 1
    assert payloads_in(url) == 0
    expected, files = read_entries(undisturbed, key), set(undisturbed.files)
    changing = [at for at, step in enumerate(fuse.steps) if not step.startswith(("read", "list", "settle"))]
    assert [step for step in fuse.steps if step.startswith("delete data/")]
    assert "scrubbed" in fuse.steps
    seen = set()
    step_names = fuse.steps
    for number, step in enumerate(changing):
        (database, url), place = copied("disturbed"), setting.place.copy()
        burning = Fuse(step, error=(lambda: ArchiveError("as if")) if number % 2 else Killed)
        survived = setting.one_death(database, place, burning) is not None
        assert burning.burnt
        at = burning.steps[-1]
        assert not survived or (step_names[step].startswith("delete data/") and number % 2), "tried again"
        left = payloads_in(url)
        assert left in (0, whole), at
        seen.add(left)
        assert rows_of_others(url) == others, at
        if number % 9 == 0:
            assert_sound(place, key, database)
        if number % 5 == 0:  # dies again, while it puts things in order or soon after
            setting.one_death(database, place, Fuse(random.Random(step).randrange(60)))
            left = payloads_in(url)
        if number % 4 == 1:
            setting.create(database, place)
            assert payloads_in(url) == left, at
            assert not is_unfinished(url), at
        setting.erase(database, place)
        assert payloads_in(url) == 0, at
        assert not is_unfinished(url), at
        assert read_entries(place, key) == expected, at
        assert set(place.files) == files, at
        assert rows_of_others(url) == others, at
        if number % 12 == 0:
            assert_sound(place, key, database)
        database.close()
    assert seen == {0, whole}


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_deaths_before_every_third_step_on_postgresql_leave_all_or_nothing(
    database_url: str, tmp_path: Path
) -> None:
    tasks = 25
    setting = Setting(database_url, tmp_path, tasks=tasks)
    database, place, key = setting.database, setting.place, setting.signer.verifier
    erased: set[str] = set()
    deaths = 0
    for number in range(tasks):
        task = task_id(number)
        if setting.one_death(database, place, Fuse(3 * number), task) is None:
            deaths += 1
        left = payloads_in(database_url, task)
        assert left in (0, EVENTS), (number, left)
        if number % 4 == 0:
            assert_sound(place, key, database)
        setting.create(database, place)
        assert payloads_in(database_url, task) == left
        assert not is_unfinished(database_url)
        if left == 0:
            erased.add(task)
    assert deaths > 10
    assert 3 < len(erased) < tasks - 3
    assert_sound(place, key, database)
    for number in range(tasks):
        assert payloads_in(database_url, task_id(number)) == (0 if task_id(number) in erased else EVENTS)
    database.close()


def cut_off_before(setting: Setting, last: str) -> None:
    class Dying(Fuse):
        def step(self, name: str) -> None:
            if name == last:
                raise Killed

    setting.place.fuse = Dying(None)
    with pytest.raises(Killed):
        setting.erase(setting.database, setting.place)
    setting.place.fuse = Fuse(None)


def test_what_a_signed_erasure_has_written_has_to_be_there_before_it_is_the_archive_s(
    sqlite_url: str, tmp_path: Path
) -> None:
    setting = Setting(sqlite_url, tmp_path)
    setting.create(setting.database, setting.place)
    files = setting.place.files
    before = dict(files)
    cut_off_before(setting, "replace SHA256SUMS")
    left = dict(files)
    assert payloads_in(sqlite_url) == 0
    assert before.keys() <= left.keys(), "nothing is deleted before its checkpoint stands"
    for path in sorted(path for path in left.keys() - before.keys() if path.startswith("data/")):
        del files[path]
        with pytest.raises(ArchiveDiffers, match="once it had signed a checkpoint of"):
            setting.create(setting.database, setting.place)
        files[path] = left[path]
        assert files == left
    clock = setting.database.clock
    create(setting.database, setting.place, setting.signer, worker="one", clock=clock, finishing=False)
    gone = {path for path in before.keys() - files.keys() if path.startswith("data/")}
    assert gone, "old files do not wait for the database to be scrubbed"
    assert checkpoint_size(setting.place, setting.signer.verifier) > 0
    assert_sound(setting.place, setting.signer.verifier, setting.database)
    setting.database.close()


def test_an_erasure_of_which_the_database_knows_nothing_any_more_is_undone(
    sqlite_url: str, tmp_path: Path
) -> None:
    """The database was put back to the moment before it was signed, and nobody has seen what was signed."""
    setting = Setting(sqlite_url, tmp_path)
    setting.create(setting.database, setting.place)
    path, kept = sqlite_url.removeprefix("sqlite:///"), tmp_path / "kept.db"
    setting.database.close()
    shutil.copyfile(path, kept)
    setting.database = open_database(sqlite_url, tmp_path)
    files = setting.place.files
    before = dict(files)
    size = len(read_entries(setting.place, setting.signer.verifier))
    cut_off_before(setting, f"write checkpoints/{size_of_next(setting):012}")
    assert files["SHA256SUMS"] != before["SHA256SUMS"]
    setting.database.close()
    shutil.copyfile(kept, path)
    setting.database = open_database(sqlite_url, tmp_path)
    setting.create(setting.database, setting.place)
    assert files == before
    assert len(read_entries(setting.place, setting.signer.verifier)) == size
    assert payloads_in(sqlite_url) > 0
    setting.database.close()


def test_what_an_eraser_that_was_overtaken_has_written_is_deleted(sqlite_url: str, tmp_path: Path) -> None:
    setting = Setting(sqlite_url, tmp_path)
    files, since = setting.place.files, checkpoint_size(setting.place, setting.signer.verifier)
    setting.create(setting.database, setting.place)  # by others, who went on meanwhile
    before = dict(files)
    old = min(path for path in files if path.startswith("data/"))
    files[old.replace(".parquet", f"-{since:012}.parquet")] = b"as if written anew"
    files[UNFINISHED] = msgspec.json.encode(Unfinished(since=since, origin=setting.signer.name))
    setting.create(setting.database, setting.place)
    assert files == before
    setting.database.close()


def size_of_next(setting: Setting) -> int:
    """Return how many entries the log would have after the erasure."""
    trial = rehearse_erase(
        setting.database,
        setting.place,
        setting.signer.verifier,
        EraseRequest(task_id=TASK, before=None, reason="", basis="", erased_by=""),
        clock=setting.database.clock,
    )
    return checkpoint_size(setting.place, setting.signer.verifier) + 1 + trial.files
