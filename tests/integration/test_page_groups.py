"""P5 and P7: are pages of several tasks, written in one transaction, as good as pages written alone?

The groups are made sure of: the writer waits here until as many pages wait as the test wants together.
"""

from __future__ import annotations

import asyncio
import gc
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

import pytest
from cutting_proxy import CuttingProxy
from logs import after_pages, event, events, task_id, world_of_many
from oracle import Copy, assert_equal_as_set, assert_to_the_letter
from sqlalchemy import event as sqlalchemy_event
from sqlalchemy import text

from maia_sync.app import open_app
from maia_sync.config import load_settings
from maia_sync.errors import Bug, DatabaseLost
from maia_sync.model import PageApplied
from maia_sync.sync import claims, page_group, run, walk
from maia_sync.sync.crew import Places
from maia_sync.sync.page_group import PageWriter
from maia_sync.sync.source import PageSource

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from maia_sync.model import Observation

    Staging = Callable[..., Any]

LENGTH = 12
TASKS = 4
NUMBERS = range(1, TASKS + 1)


class Groups:
    """Has so many pages wait for each other, once, and counts the pages of every transaction."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wanted = 0
        self.tried: list[int] = []
        really = page_group.write_pages

        async def gathered(writer: Any) -> None:
            for _ in range(10_000):
                if len(writer._waiting) >= self.wanted:
                    break
                await asyncio.sleep(0.001)
            self.wanted = 0

        def write_pages(tx: Any, works: Sequence[Any]) -> None:
            self.tried.append(len(works))
            really(tx, works)

        monkeypatch.setattr(PageWriter, "_gathered", gathered)
        monkeypatch.setattr(page_group, "write_pages", write_pages)

    def next_of(self, pages: int) -> None:
        """Let the next group be of so many pages."""
        self.wanted = pages
        self.tried.clear()


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> Groups:
    return Groups(monkeypatch)


def assert_all_well(stage: Any, lengths: dict[int, int] | None = None) -> None:
    for number in NUMBERS:
        length = (lengths or {}).get(number, LENGTH)
        assert_to_the_letter(stage.copy, task_id(number), events(length))
        found = stage.copy.task(task_id(number))
        assert (found["last_error"], found["lease_owner"]) == (None, None)


def test_p5_p6_pages_that_wait_share_one_transaction_and_its_statements(
    stage_for: Staging, groups: Groups
) -> None:
    stage = stage_for(world_of_many(TASKS, LENGTH), api__concurrency=TASKS)
    groups.next_of(TASKS)
    stage.sync_well()
    assert groups.tried == [TASKS]
    assert_all_well(stage)
    told: list[str] = []
    sqlalchemy_event.listen(
        stage.app.database.engine, "before_cursor_execute", lambda _c, _cursor, sql, *_: told.append(sql)
    )
    groups.next_of(TASKS)
    report = stage.sync_well()
    assert (groups.tried, report.unchanged, report.pages, stage.requests) == ([TASKS], 48, TASKS, TASKS)
    of_group = [sql for sql in told if "task_event" in sql or "last_polled_at = " in sql]
    assert len(of_group) == 2
    taking = [sql for sql in told if "lease_epoch + " in sql or "FROM checkpoint" in sql]
    assert len(taking) == 2
    assert not [sql for sql in told if "INTO task_event" in sql or "INTO checkpoint" in sql]


def test_each_page_of_a_group_prolongs_the_lease_of_a_walk_that_goes_on(
    stage_for: Staging, groups: Groups
) -> None:
    stage = stage_for(world_of_many(TASKS, LENGTH), api__concurrency=TASKS, api__page_size=5)
    until: dict[str, list[Any]] = {task_id(number): [] for number in NUMBERS}

    def observe(seen: Observation) -> None:
        if isinstance(seen, PageApplied):
            until[seen.task_id].append(stage.copy.task(seen.task_id)["lease_expires_at"])

    groups.next_of(TASKS)
    assert stage.sync(observers=[observe]).status == "succeeded"
    assert groups.tried[0] == TASKS
    for first, second, last in until.values():
        assert first < second
        assert last is None


def test_p7_a_task_that_another_worker_has_taken_is_left_to_it_and_the_others_are_written(
    stage_for: Staging, groups: Groups
) -> None:
    world = world_of_many(TASKS, LENGTH)
    stage = stage_for(world, api__concurrency=TASKS)
    theft = "UPDATE task SET lease_owner = 'another', lease_epoch = lease_epoch + 1 WHERE task_id = ?"
    after_pages(world, TASKS, lambda: stage.copy.ask(f"{theft} RETURNING 1", task_id(2)))
    groups.next_of(TASKS)
    report = stage.sync_well()
    assert groups.tried[0] == TASKS
    assert sorted(groups.tried[1:]) == [1] * TASKS
    assert (report.new, list(report.held)) == (3 * LENGTH, [task_id(2)])
    assert stage.copy.one("SELECT count(*) FROM task_event") == 3 * LENGTH
    assert stage.copy.one("SELECT count(*) FROM checkpoint") == 3
    assert stage.copy.task(task_id(2))["lease_owner"] == "another"


def test_p2_p7_a_key_that_was_taken_to_be_new_is_looked_up_for_its_own_task_alone(
    stage_for: Staging, groups: Groups
) -> None:
    world = world_of_many(TASKS, LENGTH)
    stage = stage_for(world, api__concurrency=TASKS, api__page_size=10)
    stage.sync_well()
    for number in NUMBERS:
        world.logs[task_id(number)].events.append(event(LENGTH))
    world.logs[task_id(2)].events.append(event(3, "beside the first of its key"))
    groups.next_of(TASKS)
    report = stage.sync_well()
    assert groups.tried == [TASKS, *[1] * (TASKS + 1)]
    assert (report.new, report.changed) == (TASKS + 1, 0)
    for number in NUMBERS:
        assert_equal_as_set(stage.copy, task_id(number), world.logs[task_id(number)].events)
        assert stage.copy.task(task_id(number))["lease_owner"] is None


def test_p7_a_page_that_cannot_be_written_fails_alone(
    stage_for: Staging, groups: Groups, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = stage_for(world_of_many(TASKS, LENGTH), api__concurrency=TASKS)
    really = page_group.write_page

    def write_page(tx: Any, lease: Any, *others: Any, **named: Any) -> Any:
        written = really(tx, lease, *others, **named)
        if lease.task_id == task_id(3):
            raise Bug("the story wants it")
        return written

    with monkeypatch.context() as patch:
        patch.setattr(page_group, "write_page", write_page)
        groups.next_of(TASKS)
        report = stage.sync()
    assert (report.status, report.failed, report.new) == ("failed", 1, 3 * LENGTH)
    assert stage.copy.one("SELECT count(*) FROM task_event WHERE task_id = ?", task_id(3)) == 0
    assert stage.copy.task(task_id(3))["last_error"] == "the story wants it"
    assert stage.copy.task(task_id(3))["lease_owner"] is None
    groups.next_of(TASKS)
    stage.sync_well()
    assert groups.tried == [TASKS]
    assert_all_well(stage)


def test_what_happens_to_a_task_of_a_group_is_noted_if_it_has_an_archive_and_only_then(
    stage_for: Staging, groups: Groups
) -> None:
    stage = stage_for(world_of_many(TASKS, LENGTH), api__concurrency=TASKS)
    stage.copy.ask("UPDATE task SET archived = ? WHERE task_id = ? RETURNING 1", True, task_id(2))
    groups.next_of(TASKS)
    stage.sync_well()
    assert groups.tried == [TASKS]
    noted = stage.copy.ask("SELECT DISTINCT task_id FROM archive_journal")
    assert [str(found) for (found,) in noted] == [task_id(2)]


def test_p7_a_checkpoint_that_cannot_be_read_fails_its_own_task_alone(stage_for: Staging) -> None:
    world = world_of_many(TASKS, LENGTH)
    stage = stage_for(world, api__concurrency=TASKS)
    stage.sync_well()
    stage.copy.ask("UPDATE checkpoint SET gaps = '{' WHERE task_id = ? RETURNING 1", task_id(2))
    for number in NUMBERS:
        world.logs[task_id(number)].events.append(event(LENGTH))
    report = stage.sync()
    assert (report.failed, report.new, len(report.held)) == (1, TASKS - 1, 0)
    assert stage.copy.task(task_id(2))["last_error"] is not None
    assert stage.copy.one("SELECT count(*) FROM task WHERE lease_owner IS NOT NULL") == 0


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_p7_a_row_that_somebody_locks_keeps_only_its_own_page_waiting(
    stage_for: Staging, groups: Groups
) -> None:
    world = world_of_many(TASKS, LENGTH)
    stage = stage_for(world, api__concurrency=TASKS)
    told: list[str] = []
    locked = ExitStack()

    def lock() -> None:
        tx = locked.enter_context(stage.app.database.transaction())
        tx.connection.execute(text("UPDATE task SET label = 'x' WHERE task_id = :id"), {"id": task_id(2)})

    def observe(seen: Observation) -> None:
        if isinstance(seen, PageApplied):
            told.append(seen.task_id)
            if len(told) == TASKS - 1:
                locked.close()

    after_pages(world, TASKS, lock)
    groups.next_of(TASKS)
    report = stage.sync(observers=[observe])
    assert (report.status, report.new) == ("succeeded", TASKS * LENGTH)
    assert sorted(groups.tried) == [1] * TASKS + [TASKS]
    assert told[-1] == task_id(2)
    assert_all_well(stage)


def test_p8_a_large_page_goes_alone(stage_for: Staging, groups: Groups) -> None:
    world = world_of_many(TASKS, LENGTH)
    world.logs[task_id(1)].events[:] = [event(1, "x" * page_group.SMALL)]
    stage = stage_for(world, api__concurrency=TASKS)
    groups.next_of(TASKS - 1)
    stage.sync_well()
    assert sorted(groups.tried) == [1, TASKS - 1]


def test_a_group_has_a_bounded_number_of_pages(
    stage_for: Staging, groups: Groups, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_group, "MOST_PAGES", 3)
    stage = stage_for(world_of_many(TASKS, LENGTH), api__concurrency=TASKS)
    groups.next_of(TASKS)
    stage.sync_well()
    assert groups.tried == [3, 1]
    assert_all_well(stage)


def test_p8_a_group_has_a_bounded_number_of_bytes(
    stage_for: Staging, groups: Groups, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = stage_for(world_of_many(TASKS, LENGTH), api__concurrency=TASKS)
    monkeypatch.setattr(page_group, "_MOST_BYTES", 1)
    groups.next_of(TASKS)
    stage.sync_well()
    assert groups.tried == [1] * TASKS
    assert_all_well(stage)


@pytest.mark.parametrize("before", [True, False], ids=["not done", "done"])
@pytest.mark.parametrize("length", [LENGTH, 3], ids=["goes on", "ends"])
def test_p2_p5_each_page_of_a_group_finds_out_by_itself_whether_it_was_committed(
    emptied_postgresql_database: Callable[[], str],
    serve: Any,
    environ_for: Callable[..., dict[str, str]],
    cleanup: Any,
    groups: Groups,
    before: bool,
    length: int,
) -> None:
    proxy = cleanup.enter_context(CuttingProxy(emptied_postgresql_database()))
    url = proxy.url.replace("postgresql://", "postgresql+psycopg://", 1)
    world = world_of_many(TASKS, length)
    environ = environ_for(serve(world).url, url, api__page_size=10, api__concurrency=TASKS)
    app = cleanup.enter_context(open_app(load_settings(environ=environ)))
    app.track([task_id(number) for number in NUMBERS])
    told: list[str] = []

    def observe(seen: Observation) -> None:
        if isinstance(seen, PageApplied):
            told.append(seen.task_id)

    proxy.cut_at_commit(before=before, having="UPDATE checkpoint")
    groups.next_of(TASKS)
    report = app.sync(observers=[observe])
    assert report.status == "succeeded", report.error
    assert (proxy.cuts, groups.tried[0]) == (1, TASKS)
    pages = 2 if length > 10 else 1
    assert (report.new, report.unchanged, report.pages) == (TASKS * length, 0, TASKS * pages)
    assert sorted(told) == sorted(pages * [task_id(number) for number in NUMBERS])
    copy = Copy(proxy.url)
    for number in NUMBERS:
        assert_to_the_letter(copy, task_id(number), events(length))
    assert copy.free_leases() == 0


class Waiting:
    """A hand-over that holds work back until it is let go."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.may_begin = asyncio.Event()
        self.may_end = asyncio.Event()

    async def run(self, work: Callable[[], Any], **_: bool) -> Any:
        await self.may_begin.wait()
        done = work()
        self.begun.set()
        await self.may_end.wait()
        return done


class Work:
    """Stands in for a page to be written."""

    class page:  # noqa: N801 - an attribute
        size_bytes = 100

    def __init__(self) -> None:
        self.written: str | None = None


def test_a_walk_that_is_cut_off_takes_its_page_back_or_waits_for_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: list[list[Any]] = []

    def write(_: Any, works: list[Any]) -> None:
        tried.append(works)
        for work in works:
            work.written = "committed"

    monkeypatch.setattr(PageWriter, "_write", write)

    async def story() -> None:
        handover = Waiting()
        writer: Any = PageWriter(None, handover=handover, patient=handover, places=Places(1))  # type: ignore[arg-type]
        works = [Work() for _ in range(3)]
        writing = [asyncio.create_task(writer.write(work)) for work in works]
        await asyncio.sleep(0.01)
        writing[0].cancel()
        with suppress(asyncio.CancelledError):
            await writing[0]
        assert tried == []
        handover.may_begin.set()
        await handover.begun.wait()
        assert tried == [works[1:]]
        writing[1].cancel()
        await asyncio.sleep(0.01)
        assert not writing[1].done()
        handover.may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await writing[1]
        assert await writing[2] == "committed"
        assert [work.written for work in works] == [None, "committed", "committed"]

    asyncio.run(story())


def test_what_became_of_a_page_that_nobody_waits_for_any_more_makes_no_noise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    noise: list[dict[str, Any]] = []

    def write(*_: Any) -> None:
        raise DatabaseLost("the story wants it", commit_unknown=True)

    class Slow(Waiting):
        async def run(self, work: Callable[[], Any], **_: bool) -> Any:
            try:
                return work()
            finally:
                self.begun.set()
                await self.may_end.wait()

    monkeypatch.setattr(PageWriter, "_write", write)

    async def story() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: noise.append(context))
        handover = Slow()
        writer: Any = PageWriter(None, handover=handover, patient=handover, places=Places(1))  # type: ignore[arg-type]
        writing = asyncio.create_task(writer.write(Work()))
        await handover.begun.wait()
        writing.cancel()
        await asyncio.sleep(0.01)
        handover.may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await writing

    asyncio.run(story())
    gc.collect()
    assert noise == []


def test_what_kills_the_writer_is_told_to_every_page_that_waits() -> None:
    class Gone(BaseException):
        pass

    class Broken:
        async def run(self, _: Callable[[], Any], **__: bool) -> Any:
            raise Gone

    async def story() -> None:
        writer: Any = PageWriter(None, handover=Broken(), patient=Broken(), places=Places(1))  # type: ignore[arg-type]
        ends = await asyncio.gather(*(writer.write(Work()) for _ in range(3)), return_exceptions=True)
        assert [type(end) for end in ends] == [Gone] * 3

    asyncio.run(story())


def test_p7_where_walks_last_no_task_is_held_before_somebody_can_walk_it(
    stage_for: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "_SHORT", 0.0)
    monkeypatch.setattr(run, "_LENT", 0)
    world = world_of_many(6, 2)
    world.logs[task_id(1)].events[:] = events(40)
    stage = stage_for(world, api__concurrency=2, api__page_size=5)
    held: list[int] = []

    def look(_: Observation) -> None:
        held.append(stage.copy.one("SELECT count(*) FROM task WHERE lease_owner IS NOT NULL"))

    stage.app.sync(observers=[look])
    assert max(held) == 2


def test_p7_where_walks_turn_out_to_be_long_what_waits_is_given_back_and_walked_in_the_end(
    stage_for: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    """30 short ones first, so that many are claimed at a time."""
    monkeypatch.setattr(claims, "_SHORT", 60.0)
    monkeypatch.setattr(claims, "_LONG", 0.05)
    world = world_of_many(50, 2)
    for number in range(31, 51):
        world.logs[task_id(number)].events[:] = events(200)
    stage = stage_for(world, api__concurrency=2, api__page_size=10)
    held: list[int] = []

    def look(seen: Observation) -> None:
        if isinstance(seen, PageApplied) and not seen.end_reached:
            monkeypatch.setattr(claims, "_SHORT", 0.0)
            held.append(stage.copy.one("SELECT count(*) FROM task WHERE lease_owner IS NOT NULL"))

    report = stage.app.sync(observers=[look])
    assert (report.tasks, report.failed, report.held) == (50, 0, ())
    assert max(held[len(held) // 2 :]) <= 4
    assert [stage.copy.one(f"SELECT count(*) FROM task WHERE {what}") for what in HELD_OR_NEW] == [0, 0]


HELD_OR_NEW = ("lease_owner IS NOT NULL", "last_polled_at IS NULL")


class Writer:
    """Takes the place of the writer: writes nothing before the test lets it, and notes who waits."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.waiting = self.most_waiting = 0
        self.may_write = asyncio.Event()
        really = PageWriter.write

        async def write(writer: Any, work: Any) -> Any:
            self.waiting += 1
            self.most_waiting = max(self.most_waiting, self.waiting)
            with suppress(TimeoutError):
                await asyncio.wait_for(self.may_write.wait(), 0.5)
            self.may_write.set()
            self.waiting -= 1
            return await really(writer, work)

        monkeypatch.setattr(PageWriter, "write", write)


@pytest.mark.parametrize(
    ("length", "api", "most"),
    [(2, {}, 2 + 24), (12, {"page_size": 6}, 2), (2, {"concurrency": 1}, 1)],
    ids=["last pages", "others", "one after another"],
)
def test_p8_while_last_pages_wait_others_are_asked_for_and_never_more_at_once(
    stage_for: Staging, monkeypatch: pytest.MonkeyPatch, length: int, api: dict[str, int], most: int
) -> None:
    world = world_of_many(60, length)
    stage = stage_for(world, **{f"api__{name}": value for name, value in ({"concurrency": 2} | api).items()})
    writer = Writer(monkeypatch)
    stage.sync_well()
    assert writer.most_waiting == most
    assert world.tally.most_in_flight <= 2
    assert stage.copy.one("SELECT count(*) FROM task_event") == 60 * length
    assert stage.copy.one("SELECT count(*) FROM task WHERE lease_owner IS NOT NULL") == 0


def test_p8_a_large_last_page_keeps_its_place(stage_for: Staging, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "SMALL", 100)
    stage = stage_for(world_of_many(9, 3), api__concurrency=2)
    writer = Writer(monkeypatch)
    stage.sync_well()
    assert writer.most_waiting == 2


def test_p8_a_walk_that_goes_on_behind_a_last_page_has_a_place_again(
    stage_for: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A poll of a newest-first log, whose only page is its last by now, then the rest of a reconcile."""
    world = world_of_many(1, 12, order="newest-first")
    stage = stage_for(world, api__order="newest-first", api__concurrency=2, api__page_size=5)
    stage.sync_well()
    with ExitStack() as failing:
        failing.enter_context(pytest.MonkeyPatch.context()).setattr(
            PageSource, "page_at", fails_at(2, PageSource.page_at)
        )
        assert stage.sync(full=True).failed == 1
    del world.logs[task_id(1)].events[:-3]
    at_work: list[int] = []
    crews: list[Places] = []

    def places(*given: Any, **named: Any) -> Places:
        crews.append(Places(*given, **named))
        return crews[-1]

    really = PageSource.page_at

    async def page_at(source: Any, cursor: Any) -> Any:
        at_work.append(crews[-1].at_work)
        return await really(source, cursor)

    monkeypatch.setattr(run, "Places", places)
    monkeypatch.setattr(PageSource, "page_at", page_at)
    report = stage.sync(full=True)
    assert report.pages >= 2
    assert at_work == [1] * len(at_work)
    assert crews[-1].at_work == 0


def fails_at(number: int, really: Any) -> Any:
    calls = iter(range(1, 100))

    async def page_at(source: Any, cursor: Any) -> Any:
        if next(calls) == number:
            raise Bug("the story wants it")
        return await really(source, cursor)

    return page_at


class Pauses:
    """Counts the moments that pages were made to wait for others."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, app: Any) -> None:
        self.number = 0
        clock = app.database.clock
        really = clock.sleep

        async def sleep(seconds: float) -> None:
            self.number += seconds == page_group._PATIENCE
            await really(seconds)

        monkeypatch.setattr(clock, "sleep", sleep, raising=False)


def test_last_pages_wait_for_others_while_some_may_come_and_no_longer(
    stage_for: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = world_of_many(100, 2)
    stage = stage_for(world, api__concurrency=2)
    tried: list[int] = []
    really = page_group.write_pages

    def write_pages(tx: Any, works: Sequence[Any]) -> None:
        tried.append(len(works))
        really(tx, works)

    monkeypatch.setattr(page_group, "write_pages", write_pages)
    monkeypatch.setattr(page_group, "_PATIENCE", 60.0)  # whoever waits for nothing, waits for long
    pauses = Pauses(monkeypatch, stage.app)
    stage.sync_well()
    assert sum(tried) == 100
    assert max(tried) > 8
    assert pauses.number > 0


@pytest.mark.parametrize("length", [2, 40])
def test_where_nobody_else_is_at_work_no_page_waits(
    stage_for: Staging, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    stage = stage_for(world_of_many(1, length), api__page_size=5)
    pauses = Pauses(monkeypatch, stage.app)
    stage.sync_well()
    assert pauses.number == 0


def test_pages_that_others_wait_for_are_not_made_to_wait(
    stage_for: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Walks go on behind them: their places are not lent."""
    stage = stage_for(world_of_many(2, 40), api__page_size=5)
    pauses = Pauses(monkeypatch, stage.app)
    stage.sync_well()
    assert pauses.number <= 2  # each walk's last


@pytest.mark.parametrize(
    ("pages", "most", "pauses"),
    [("ww", 9, 1), ("wn", 9, 0), ("nw", 9, 0), ("ww", 2, 0), ("w w", 2, 1), ("w n", 9, 1), ("w w n", 9, 1)],
)
def test_a_group_that_is_full_or_that_somebody_waits_for_is_written_at_once(
    monkeypatch: pytest.MonkeyPatch, pages: str, most: int, pauses: int
) -> None:
    """w: a page that may wait, n: one that may not; behind a blank they come during the pause."""
    slept: list[float] = []

    class Patient:
        """A database whose clock lets pages wait until somebody ends that."""

        async def sleep(self, seconds: float) -> None:
            slept.append(seconds)
            await asyncio.sleep(0.01 if " " not in pages else 60)

        @property
        def clock(self) -> Patient:
            return self

    class AtOnce:
        async def run(self, work: Callable[[], Any], **_: bool) -> Any:
            return work()

    def write(_: Any, works: list[Any]) -> None:
        for work in works:
            work.written = len(works)

    monkeypatch.setattr(PageWriter, "_write", write)
    monkeypatch.setattr(page_group, "MOST_PAGES", most)

    async def story() -> None:
        places = Places(1)
        await places.take()
        writer: Any = PageWriter(Patient(), handover=AtOnce(), patient=AtOnce(), places=places)  # type: ignore[arg-type]
        writing: list[asyncio.Task[Any]] = []
        for sort in pages:
            if sort == " ":
                await asyncio.sleep(0.01)
                assert not any(each.done() for each in writing)
                continue
            work: Any = Work()
            work.may_wait = sort == "w"
            writing.append(asyncio.create_task(writer.write(work)))
        together = await asyncio.wait_for(asyncio.gather(*writing), 10)
        assert together == [len(writing)] * len(writing)

    asyncio.run(story())
    assert slept == [page_group._PATIENCE] * pauses
