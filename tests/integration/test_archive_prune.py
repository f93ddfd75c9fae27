"""Does a prune take out what is old, archived and not on hold, and nothing else, and stay the copy itself?"""

from __future__ import annotations

import stat
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from archived_entries import assert_sound, make_signer
from logs import TASK, event, events, stamp
from memory_place import MemoryPlace
from pruned_rows import Dump, assert_emptied_or_whole, dump, key_in, selected
from small_archive import OTHER, SmallArchive, element, make_small_archive
from sqlalchemy import func, insert, select, text, update
from told_story import open_writing, store_elements

from maia_sync.archive import archived_payloads
from maia_sync.archive import prune as pruning
from maia_sync.archive.create import create
from maia_sync.archive.erase import erase
from maia_sync.archive.erasing import EraseRequest
from maia_sync.archive.prune import prune
from maia_sync.errors import ArchiveBusy, ArchiveDiffers, ArchiveError, ConfigError, DatabaseError
from maia_sync.sandbox.world import Log, World
from maia_sync.store import schema
from maia_sync.store.digest_key import DigestKeyFile, make_digest_key
from maia_sync.store.holds import insert_holds, lock_holds, read_holds, release_holds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from maia_sync.archive.pruning import PruneReport
    from maia_sync.store.database import Database, Transaction

OLD = timedelta(days=100)
ALL = timedelta(0)
SECOND_DAY = datetime(2026, 1, 6, tzinfo=UTC)
"""On which the small archive's later events happened."""
sqlite_only = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def small(stage_for: Callable[..., Any], tmp_path: Path) -> SmallArchive:
    archive = make_small_archive(stage_for, tmp_path)
    archive.database.digest_key = DigestKeyFile(tmp_path / "archive.key.digests")
    return archive


class Plain:
    """A copy that was stored without HTTP, and its archive: cheaper, where no more is needed."""

    def __init__(self, database: Database, key_file: Path) -> None:
        self.database = database
        database.digest_key = DigestKeyFile(key_file)
        self.place = MemoryPlace()
        self.signer = make_signer()
        for task in (TASK, OTHER):
            store_elements(database, task, [event(number) for number in range(60)])
        self.create()

    def create(self) -> None:
        create(self.database, self.place, self.signer, worker="test", clock=self.database.clock)


@pytest.fixture
def plain(database_url: str, key_file: Path) -> Iterator[Plain]:
    with closing(open_writing(database_url)) as database:
        yield Plain(database, key_file)


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return tmp_path / "archive.key.digests"


def pruned(archive: SmallArchive | Plain, older_than: timedelta = OLD, **options: Any) -> PruneReport:
    return prune(
        archive.database,
        archive.place,
        archive.signer,
        older_than,
        **{"worker": "test", "by": "me@here", "clock": archive.database.clock, **options},
    )


def hold(database: Database, *task_ids: str | None) -> None:
    with database.transaction() as tx:
        lock_holds(tx)
        insert_holds(tx, task_ids, reason="a case", held_by="me@here")


def assert_pruned(
    archive: SmallArchive, before: Dump, report: PruneReport, key_file: Path, **but: Any
) -> None:
    """All that is old is gone, nothing else, and the archive is still the database's."""
    chosen = selected(before, report.older_than, **but)
    assert report.finding_count == 0, report.findings
    gone = assert_emptied_or_whole(before, dump(archive.database), chosen, key_in(key_file))
    assert gone == report.payloads == len(chosen)
    verified = archive.verify()
    assert not verified.findings, verified.findings


def test_what_is_old_goes_and_all_else_stays_to_the_letter(small: SmallArchive, key_file: Path) -> None:
    before, files = dump(small.database), dict(small.place.files)
    now = datetime.now(UTC)
    rehearsed = pruned(small, now - SECOND_DAY, dry_run=True)
    assert dump(small.database) == before
    assert not key_file.exists()
    report = pruned(small, now - SECOND_DAY)
    assert small.place.files == files
    assert_pruned(small, before, report, key_file)
    told = ("payloads", "bytes", "held", "months", "size")
    assert [getattr(rehearsed, name) for name in told] == [getattr(report, name) for name in told]
    assert [(one.month, one.payloads) for one in report.months] == [("2026-01", report.payloads)]
    assert 250 < report.payloads < 400
    with small.database.transaction(write=False) as tx:
        row = tx.connection.execute(select(schema.archive_prune)).one()
    assert (row.payloads, row.held, row.pruned_by) == (report.payloads, 0, "me@here")
    assert row.ended_at >= row.started_at > row.older_than_at
    assert pruned(small, now - SECOND_DAY).payloads == 0


def test_all_that_is_archived_can_go_and_upstream_brings_none_of_it_back(
    small: SmallArchive, key_file: Path
) -> None:
    before = dump(small.database)
    report = pruned(small, ALL)
    assert_pruned(small, before, report, key_file)
    assert {one.month for one in report.months} > {"2026-01"}, "also what tells of no time, by its receipt"
    with small.database.transaction(write=False) as tx:
        assert not tx.connection.execute(select(func.sum(schema.task_turn.c.user_messages))).scalar()
    emptied = dump(small.database)
    for full in (False, True, True):
        run = small.stage.sync(full=full)
        assert (run.new, run.changed, run.vanished, run.quarantined) == (0, 0, 0, 0)
    again = dump(small.database)
    assert [again[name] for name in ("task_event", "task_event_revision", "quarantine", "sent_message")] == [
        emptied[name] for name in ("task_event", "task_event_revision", "quarantine", "sent_message")
    ]
    log = small.stage.world.logs[TASK]
    log.replace(3, element(3, "another one"))
    assert small.stage.sync(full=True).changed == 1
    small.create()
    assert not small.verify().findings
    assert pruned(small, ALL).payloads == 1


def test_what_is_on_hold_stays_until_all_its_holds_are_released(small: SmallArchive, key_file: Path) -> None:
    before = dump(small.database)
    hold(small.database, TASK)
    small.create()
    before["archive_hold"] = dump(small.database)["archive_hold"]
    before |= {name: rows for name, rows in dump(small.database).items() if name.startswith("archive_")}
    before["task"] = dump(small.database)["task"]
    report = pruned(small)
    assert_pruned(small, before, report, key_file, but={TASK})
    assert report.payloads == 40
    assert report.held == len(selected(before, report.older_than, but={OTHER})) > 500
    assert report.months[0].held == report.held
    hold(small.database, None)
    release(small.database, TASK)
    assert (pruned(small).payloads, pruned(small, dry_run=True).held) == (0, report.held)
    release(small.database, None)
    assert pruned(small).payloads == report.held


def release(database: Database, task_id: str | None) -> None:
    with database.transaction() as tx:
        lock_holds(tx)
        chosen = [one for one in read_holds(tx) if one.task_id == task_id]
        release_holds(tx, chosen, reason="it is over", released_by="me@here")


def test_where_anything_is_wrong_nothing_is_pruned(plain: Plain, key_file: Path) -> None:
    path = next(path for path in plain.place.files if path.endswith(".parquet"))
    whole = plain.place.files[path]
    plain.place.files[path] = whole[:-1] + b"?"
    before = dump(plain.database)
    report = pruned(plain)
    assert (report.payloads, report.finding_count) == (0, len(report.findings))
    assert report.findings[0].place == path
    assert report.trouble is not None
    assert path in report.trouble
    plain.place.files[path] = whole
    with plain.database.transaction() as tx:
        one = schema.task_event.c.ordinal == 0
        name = tx.connection.execute(select(schema.task_event.c.seq).where(one).limit(1)).scalar_one()
        altered = update(schema.task_event).where(schema.task_event.c.seq == name)
        tx.connection.execute(altered.values(data='"altered"'))
    assert pruned(plain).findings[0].kind == "database"
    assert pruned(plain, dry_run=True).finding_count > 0
    after = dump(plain.database)
    assert {row["pruned_at"] for row in after["task_event"].values()} == {None}
    assert after["archive_prune"] == before["archive_prune"] == {}
    assert key_file.exists(), "it is made before the archive is looked at"


@sqlite_only
@pytest.mark.parametrize(("column", "other"), [("data", '"changed"'), ("digest", b"d" * 32)])
def test_what_has_changed_since_it_was_verified_stays(
    plain: Plain, key_file: Path, column: str, other: Any
) -> None:
    before = dump(plain.database)
    changed = next(name for name in before["task_event"] if name[0] == OTHER)

    def change(done: int, total: int) -> None:
        if done == total:
            with plain.database.transaction() as tx:
                event = schema.task_event.c
                conditions = [event[name] == value for name, value in zip(NAME, changed, strict=True)]
                tx.connection.execute(update(schema.task_event).where(*conditions).values({column: other}))

    report = pruned(plain, progress=change)
    before["task_event"][changed][column] = other
    chosen = selected(before, report.older_than) - {("task_event", changed)}
    gone = assert_emptied_or_whole(before, dump(plain.database), chosen, key_in(key_file))
    assert gone == report.payloads == len(chosen)


NAME = ("task_id", "group_id", "timestamp", "ordinal")


@sqlite_only
def test_a_file_that_has_changed_since_it_was_verified_is_not_believed(plain: Plain) -> None:
    path = next(path for path in plain.place.files if path.endswith(".parquet"))

    def alter(done: int, total: int) -> None:
        if done == total:
            plain.place.files[path] += b"?"

    with pytest.raises(ArchiveDiffers, match="no longer what it was when it was verified just now"):
        pruned(plain, progress=alter)


@sqlite_only
def test_the_key_is_made_once_and_missed_if_it_was_used(plain: Plain, key_file: Path) -> None:
    plain.database.digest_key = DigestKeyFile(None)
    with pytest.raises(ConfigError, match=r"archive\.digest_key_file: expected a file's path"):
        pruned(plain)
    plain.database.digest_key = DigestKeyFile(key_file)
    pruned(plain)
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    key_file.rename(key_file.with_name("elsewhere"))
    plain.database.digest_key = DigestKeyFile(key_file)
    with pytest.raises(ConfigError, match="is not there, and payloads were pruned or erased before"):
        pruned(plain)
    make_digest_key(key_file)
    with pytest.raises(ConfigError, match="another key than that by which payloads were pruned"):
        pruned(plain)


@sqlite_only
def test_it_ends_after_the_payloads_in_hand_and_goes_on(
    plain: Plain, key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "MOST_AT_ONCE", 10)
    before = dump(plain.database)

    def stopped() -> int | None:
        with plain.database.transaction(write=False) as tx:
            gone = tx.connection.execute(select(func.sum(schema.archive_prune.c.payloads))).scalar() or 0
        return 15 if gone >= 20 else None

    first = pruned(plain, stopped=stopped)
    assert first.interrupted_by == 15
    assert first.payloads == 20
    with plain.database.transaction(write=False) as tx:
        row = tx.connection.execute(
            select(schema.archive_prune).order_by(schema.archive_prune.c.id.desc())
        ).first()
    assert row is not None
    assert (row.payloads, row.ended_at) == (first.payloads, None)
    second = pruned(plain)
    chosen = selected(before, second.older_than)
    gone = assert_emptied_or_whole(before, dump(plain.database), chosen, key_in(key_file))
    assert gone == first.payloads + second.payloads == len(chosen)


def noted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the list of how many payloads each batch has that is looked up from now on."""
    sizes: list[int] = []
    read = archived_payloads.read_batches

    def reading(*arguments: Any, **options: Any) -> Iterator[Any]:
        for batch in read(*arguments, **options):
            sizes.append(len(batch.payloads))
            yield batch

    monkeypatch.setattr(pruning, "read_batches", reading)
    return sizes


@pytest.fixture
def copy(stage_for: Callable[..., Any], key_file: Path) -> SmallArchive:
    """Return a copy of two short logs and its archive; to be added to by syncs."""
    world = World()
    for task in (TASK, OTHER):
        world.add(Log(task, events(20)))
    archive = SmallArchive(stage_for(world, archive__digest_key_file=key_file), MemoryPlace(), make_signer())
    archive.stage.sync_well()
    archive.create()
    return archive


def extended(archive: SmallArchive, task_id: str, *elements: bytes) -> None:
    archive.stage.world.logs[task_id].extend(elements)
    archive.stage.sync_well()


@sqlite_only
def test_batches_are_large_where_tasks_have_taken_turns(
    copy: SmallArchive, key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20, 23):
        for task in (TASK, OTHER):
            extended(copy, task, event(number))
        copy.create()
    before, sizes = dump(copy.database), noted(monkeypatch)
    for name in ("MOST_HELD", "MOST_HELD_BYTES"):
        with monkeypatch.context() as patched:
            patched.setattr(archived_payloads, name, 10)
            assert pruned(copy, dry_run=True).payloads == 46
    assert sizes == [20, 20, 3, 3] + [20, 20] + [1, 1] * 3
    sizes.clear()
    report = pruned(copy)
    assert sizes == [23, 23]
    assert_pruned(copy, before, report, key_file)
    assert report.payloads == 46


def test_what_an_earlier_prune_has_read_is_read_again_only_where_it_may_have_left_something(
    copy: SmallArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = noted(monkeypatch)
    hold(copy.database, OTHER)
    assert (pruned(copy).payloads, pruned(copy).held) == (20, 20)
    assert sizes == [20, 20] * 2, "as long as something is held"
    release(copy.database, OTHER)
    assert pruned(copy).payloads == 20
    sizes.clear()
    assert (pruned(copy, dry_run=True).payloads, pruned(copy).payloads, sizes) == (0, 0, [])
    # What has come since is read, of whatever date it is; what has no date that tells its age, each time.
    undated = b'{"data":"u","groupId":"u"}'
    ancient = b'{"data":"a","groupId":"a","timestamp":"1500-01-01T00:00:00Z"}'
    extended(copy, TASK, *events(5, 20), undated, ancient)
    copy.create()
    assert (pruned(copy).payloads, sizes) == (5, [5])
    for payloads in (2, 0):
        sizes.clear()
        assert (pruned(copy, ALL).payloads, sizes) == (payloads, [2])
    with copy.database.transaction() as tx:
        tx.connection.execute(update(schema.archive_prune).values(origin="another.example/log"))
    sizes.clear()
    assert (pruned(copy).payloads, sizes) == (0, [25, 20])


@sqlite_only
def test_days_that_have_come_of_age_since_are_read(
    copy: SmallArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = '{"data":1,"groupId":"g","timestamp":"2026-01-06T%02d:00:00Z"}'
    extended(copy, TASK, *((text % hour).encode() for hour in range(9)))
    copy.create()
    assert pruned(copy, datetime.now(UTC) - datetime(2026, 1, 6, 4, 30, tzinfo=UTC)).payloads == 45
    sizes = noted(monkeypatch)
    assert (pruned(copy).payloads, sizes) == (4, [9])


@sqlite_only
def test_nothing_is_pruned_before_there_is_an_archive_or_beside_another_writer(
    plain: Plain, key_file: Path
) -> None:
    with plain.place.lock(), pytest.raises(ArchiveBusy):
        pruned(plain)
    with plain.database.transaction() as tx:
        tx.connection.execute(text("UPDATE archive_checkpoint SET status = 'gone'"))
    with pytest.raises(ArchiveError, match="only what is archived is pruned: run `maia-sync archive create`"):
        pruned(plain)
    assert not key_file.exists()


def test_a_message_of_which_nobody_knows_yet_is_left_for_a_day(plain: Plain) -> None:
    sent = schema.sent_message
    with plain.database.transaction() as tx:
        now = tx.now
        for hours in (1, 48):
            values = {
                "task_id": OTHER,
                "sent_by": "me",
                "sent_at": now - timedelta(hours=hours),
                "request": f'{{"message":"{hours}"}}',
                "outcome": "unknown",
            }
            tx.connection.execute(insert(sent).values(values))
    plain.create()
    pruned(plain, ALL)
    with plain.database.transaction(write=False) as tx:
        rows = tx.connection.execute(select(sent.c.request).order_by(sent.c.id)).scalars().all()
    assert rows == ['{"message":"1"}', "null"]


def test_once_hold_has_returned_nothing_more_is_pruned(plain: Plain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "MOST_AT_ONCE", 2)
    database = plain.database
    some_are_gone, reports = threading.Event(), []

    def stopped() -> int | None:
        with database.transaction(write=False) as tx:
            if (tx.connection.execute(select(func.sum(schema.archive_prune.c.payloads))).scalar() or 0) > 10:
                some_are_gone.set()
        return None

    thread = threading.Thread(target=lambda: reports.append(pruned(plain, stopped=stopped)))
    thread.start()
    some_are_gone.wait(30)
    hold(database, None)
    with database.transaction(write=False) as tx:
        is_there = schema.task_event.c.pruned_at.is_(None)
        count = select(func.count()).select_from(schema.task_event).where(is_there)
        left = tx.connection.execute(count).scalar_one()
    thread.join(60)
    with database.transaction(write=False) as tx:
        assert tx.connection.execute(count).scalar_one() == left
    (report,) = reports
    print(f"{report.payloads} were gone before the hold, {report.held} stayed")
    assert report.payloads > 10
    assert report.held > 0


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_hold_waits_for_whoever_removes_something(plain: Plain) -> None:
    def hold_at_once() -> None:
        with plain.database.transaction() as tx:
            tx.connection.exec_driver_sql("SET LOCAL lock_timeout = '20ms'")
            lock_holds(tx)

    with plain.database.transaction() as removing:
        removing.connection.execute(update(schema.archive_log).values(lease_owner="me"))
        with pytest.raises(DatabaseError):
            hold_at_once()
    hold_at_once()


@pytest.mark.parametrize("first", ["erase", "prune"])
def test_what_was_erased_is_left_alone_and_its_segments_are_still_those_of_the_others(
    plain: Plain, key_file: Path, first: str
) -> None:
    request = EraseRequest(task_id=TASK, before=None, reason="asked", basis="a law", erased_by="me@here")

    def erase_task() -> None:
        erased = erase(
            plain.database, plain.place, plain.signer, request, worker="test", clock=plain.database.clock
        )
        assert erased.payloads == {"event": 60}

    if first == "erase":
        erase_task()
    before = dump(plain.database)
    report = pruned(plain)
    assert report.payloads == (60 if first == "erase" else 120)
    chosen = selected(before, report.older_than, but={TASK} if first == "erase" else ())
    gone = assert_emptied_or_whole(before, dump(plain.database), chosen, key_in(key_file))
    assert gone == report.payloads
    if first == "prune":
        erase_task()
    assert_sound(plain.place, plain.signer.verifier, plain.database)
    assert pruned(plain).payloads == 0


@sqlite_only
def test_what_is_just_as_old_as_the_limit_stays(plain: Plain, monkeypatch: pytest.MonkeyPatch) -> None:
    read, limit = archived_payloads.read_batches, datetime.fromisoformat(stamp(7))
    monkeypatch.setattr(
        pruning, "read_batches", lambda place, log, _, **rest: read(place, log, limit, **rest)
    )
    assert pruned(plain, dry_run=True).payloads == 2 * 7


@sqlite_only
def test_a_hold_that_comes_before_the_last_look_is_seen(
    plain: Plain, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hold_all(tx: Transaction, _: str) -> None:
        insert_holds(tx, [None], reason="a case", held_by="me@here")

    monkeypatch.setattr(pruning, "lock_task", hold_all)
    before = dump(plain.database)["task_event"]
    report = pruned(plain)
    assert (report.payloads, report.held) == (0, 120)
    assert dump(plain.database)["task_event"] == before


@sqlite_only
def test_who_has_lost_the_lease_meanwhile_prunes_nothing(plain: Plain) -> None:
    def lose(done: int, total: int) -> None:
        if done == total:
            with plain.database.transaction() as tx:
                tx.connection.execute(update(schema.archive_log).values(lease_owner="another"))

    with pytest.raises(ArchiveBusy):
        pruned(plain, progress=lose)
    assert dump(plain.database)["archive_prune"] == {}
