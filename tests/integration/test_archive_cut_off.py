"""Does a death at any moment of a create leave the old checkpoint or the new one, and lose nothing?

A create dies before each call of its place and before each commit. What it leaves has to verify, and the next
one has to come to just the entries, and just the files, that nobody's death has ever touched.
"""

from __future__ import annotations

import random
import shutil
from typing import TYPE_CHECKING, Any

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
from memory_place import MemoryPlace
from sqlalchemy import delete, insert, select
from test_random_worlds import TASK, SmallWorld, sync
from told_story import driver_url, store_story

from maia_sync.archive.chunk import Chunk
from maia_sync.archive.create import create
from maia_sync.archive.entry import decode_entry
from maia_sync.clock import ManualClock
from maia_sync.errors import ArchiveDiffers, ArchiveError
from maia_sync.store import archive_log, schema
from maia_sync.store.archive_reading import open_unarchived
from maia_sync.store.database import Database
from maia_sync.store.sent import complete_sent_message, insert_sent_message
from maia_sync.store.tasks import upsert_tasks

if TYPE_CHECKING:
    from collections import Counter
    from contextlib import ExitStack
    from pathlib import Path

    from maia_sync.archive.creating import CreateReport
    from maia_sync.archive.note import Signer
    from maia_sync.archive.place import Place


class UnlockablePlace(MortalPlace):
    """A place like an object store: nobody can be kept out of it."""

    def copy(self) -> UnlockablePlace:
        return UnlockablePlace(dict(self.files), name=self.name)

    def lock(self) -> Any:
        from contextlib import nullcontext

        return nullcontext(enter_result=False)


def archive(database: Database, place: Place, signer: Signer) -> CreateReport:
    return create(database, place, signer, worker="one", clock=database.clock)


class Setting:
    """A database that has been archived once, and has news since: changes, another task, a run."""

    def __init__(self, url: str, place: MortalPlace) -> None:
        self.database = Database(url=driver_url(url), clock=ManualClock())
        self.signer = make_signer()
        self.place = place
        store_story(self.database, tasks=2, events=180)
        self.world = SmallWorld(random.Random(11))
        with self.database.transaction() as tx:
            upsert_tasks(tx, [TASK])
        self.news()
        archive(self.database, place, self.signer)
        assert_sound(place, self.signer.verifier, self.database)
        self.size = checkpoint_size(place, self.signer.verifier)
        assert 256 < self.size < 512, self.size
        self.news()

    def news(self) -> None:
        """Let things happen to a task; its size is not far from that of a bundle."""
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


def one_death(setting: Setting, database: Database, place: MortalPlace, fuse: Fuse) -> CreateReport | None:
    """Create until the fuse burns; None if it has. Every other two of such deaths are power cuts."""
    try:
        with dying(place, database, fuse):
            return archive(database, place, setting.signer)
    except BaseException:
        if not fuse.burnt:
            raise
        if len(fuse.steps) % 4 < 2:
            place.cut_power()
    return None


def signed_in(database: Database) -> set[bytes]:
    """Return all checkpoints that have been signed, whether or not anybody outside has seen them."""
    with database.transaction(write=False) as tx:
        notes = tx.connection.execute(select(schema.archive_checkpoint.c.note)).scalars()
        return {note.encode() for note in notes}


def copies_in(place: MemoryPlace) -> set[bytes]:
    return {held for path, held in place.files.items() if path.startswith("checkpoints/")}


@pytest.mark.parametrize(("kind", "every"), [(MortalPlace, 1), (UnlockablePlace, 3)])
def test_after_a_death_before_any_step_the_next_create_comes_to_the_same_entries_and_files(
    kind: type[MortalPlace], every: int, sqlite_url: str, tmp_path: Path, cleanup: ExitStack
) -> None:
    setting = Setting(sqlite_url, kind())
    setting.database.close()
    key = setting.signer.verifier

    def copied(name: str) -> Database:
        path = tmp_path / f"{name}.db"
        shutil.copyfile(sqlite_url.removeprefix("sqlite:///"), path)
        database = Database(url=f"sqlite:///{path}", clock=ManualClock())
        cleanup.callback(database.close)
        return database

    undisturbed, fuse = setting.place.copy(), Fuse(None)
    report = one_death(setting, copied("undisturbed"), undisturbed, fuse)
    assert report is not None
    assert report.new > 10
    expected, files = read_entries(undisturbed, key), set(undisturbed.files)
    # What lies there, and in the database, is the same before a step that only reads.
    changing = [at for at, step in enumerate(fuse.steps) if not step.startswith(("read", "list", "settle"))]
    assert any(step.startswith("delete tile/") for step in fuse.steps), "a partial file has become full"
    seen = set()
    for number, step in enumerate(changing[::every]):
        database, place = copied("disturbed"), setting.place.copy()
        # Half of them by an error, after which the code may put things in order.
        burning = Fuse(step, error=(lambda: ArchiveError("as if")) if number % 2 else Killed)
        assert one_death(setting, database, place, burning) is None
        size = checkpoint_size(place, key)
        assert size in (report.size_before, report.size_after), burning.steps[-1]
        seen.add(size)
        assert_sound(place, key, database)
        signed = signed_in(database)
        if number % 3 == 0:  # dies again, while it puts things in order or soon after
            one_death(setting, database, place, Fuse(random.Random(step).randrange(60)))
            signed |= signed_in(database)
        archive(database, place, setting.signer)
        assert signed <= copies_in(place), f"{burning.steps[-1]}: another history was signed"
        assert read_entries(place, key) == expected, burning.steps[-1]
        assert set(place.files) == files, burning.steps[-1]
        if number % 8 == 0:
            assert_sound(place, key, database)
            assert archive(database, place, setting.signer).new == 0
        database.close()
    assert seen == {report.size_before, report.size_after}


def cut_off_before(setting: Setting, last: str) -> None:
    """Let a create die before a step."""

    class Dying(Fuse):
        def step(self, name: str) -> None:
            if name == last:
                raise Killed

    setting.place.fuse = Dying(None)
    with pytest.raises(Killed):
        archive(setting.database, setting.place, setting.signer)
    setting.place.fuse = Fuse(None)


def test_what_a_signed_checkpoint_covers_has_to_be_there_before_it_is_made_the_archive_s(
    sqlite_url: str,
) -> None:
    setting = Setting(sqlite_url, MortalPlace())
    files, before = setting.place.files, dict(setting.place.files)
    cut_off_before(setting, "replace SHA256SUMS")
    left = dict(files)
    new = sorted(left.keys() - before.keys() - {"unfinished"})
    assert {path.partition("/")[0] for path in new} == {"tile", "data"}
    for path in new:
        for held in (None, left[path][:-1] + bytes([left[path][-1] ^ 1])):
            files.update(left)
            if held is None:
                del files[path]
            else:
                files[path] = held
            spoilt = dict(files)
            with pytest.raises(ArchiveDiffers, match="once it had signed a checkpoint of"):
                archive(setting.database, setting.place, setting.signer)
            assert files == spoilt, path
    files.update(left)
    (signed,) = signed_in(setting.database) - copies_in(setting.place)
    report = archive(setting.database, setting.place, setting.signer)
    assert (report.size_before, report.checkpoints, report.was_cut_off) == (setting.size, 1, True)
    assert report.new > 10, "counted where they became part of the archive"
    assert report.segments > 0
    assert files["checkpoint"] == signed
    assert_sound(setting.place, setting.signer.verifier, setting.database)
    setting.database.close()


def test_a_signed_checkpoint_of_which_the_database_knows_nothing_ends_the_log(sqlite_url: str) -> None:
    """The database was put back to the moment before it was signed."""
    setting = Setting(sqlite_url, MortalPlace())
    cut_off_before(setting, "replace checkpoint")
    with setting.database.transaction() as tx:
        pending = schema.archive_checkpoint.c.status == "pending"
        tx.connection.execute(delete(schema.archive_checkpoint).where(pending))
    left = dict(setting.place.files)
    with pytest.raises(ArchiveDiffers, match="knows nothing of: it was put back to an older state"):
        archive(setting.database, setting.place, setting.signer)
    assert setting.place.files == left
    setting.database.close()


def test_deaths_one_after_another_each_some_steps_later_lose_nothing(database_url: str) -> None:
    setting = Setting(database_url, MortalPlace())
    database, place, key = setting.database, setting.place, setting.signer.verifier
    before = kinds_of(read_entries(place, key))
    expected = before + waiting(database)
    deaths = 0
    while one_death(setting, database, place, Fuse(3 * deaths)) is None:
        if deaths % 3 == 0:
            assert_sound(place, key, database)
        deaths += 1
    assert deaths > 10
    assert kinds_of(read_entries(place, key)) == expected
    assert list(waiting(database)) == []
    with database.transaction(write=False) as tx:
        assert archive_log.last_checkpoint(tx, setting.signer.name, "pending") is None
    database.close()


def kinds_of(told: Counter[tuple[Any, ...]]) -> Counter[tuple[Any, ...]]:
    """Return entries without their places in the log, and without what tells of segments."""
    return type(told)(entry[:7] for entry in told if entry[0] not in ("segment", "row"))


def waiting(database: Database) -> Counter[tuple[Any, ...]]:
    """Return what the next create has to archive, as `kinds_of` does."""
    from collections import Counter

    chunk = Chunk(0)
    with database.transaction() as tx:
        archive_log.enrol_tasks(tx, 100)
    with open_unarchived(database, most=10_000) as unarchived:
        encoded = [each for records in unarchived.records() for each in chunk.take(records)]
    entries = [decode_entry(each) for each in encoded]
    return Counter(
        (one.type, one.task, one.group, one.timestamp, one.ordinal, one.revision, one.id) for one in entries
    )


def test_what_lies_beyond_the_checkpoint_is_deleted_and_nothing_else(sqlite_url: str) -> None:
    setting = Setting(sqlite_url, MortalPlace())
    place = setting.place
    before = MemoryPlace(dict(place.files))
    fuse = Fuse(None)
    trial = place.copy()
    trial.fuse = fuse
    archive(setting.database, trial, setting.signer)
    assert set(before.files) - set(trial.files) <= {path for path in before.files if ".p/" in path}, (
        "but partial files, once the full one is there"
    )
    changed = {
        path for path in before.files if trial.files.get(path, before.files[path]) != before.files[path]
    }
    assert changed == {"checkpoint", "SHA256SUMS"}
    setting.database.close()
