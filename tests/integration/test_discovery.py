"""Which tasks are tracked follows the operator's file and command, and what people say counts more."""

from __future__ import annotations

import asyncio
import os
import select
import sys
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any, TypeVar

import psutil
import pytest
from logs import task_id
from sqlalchemy import delete, event, update
from sqlalchemy import select as sql_select

from maia_sync.clock import SystemClock
from maia_sync.errors import DatabaseUnreachable
from maia_sync.service.command import run_command
from maia_sync.service.discovery import Discovery
from maia_sync.settings import DatabaseSettings, ScheduleSettings
from maia_sync.store.database import Database
from maia_sync.store.schema import task, task_source
from maia_sync.store.sources import apply_difference, read_difference, read_sources
from maia_sync.store.tasks import heat, read_tasks, set_status, upsert_tasks
from maia_sync.sync.handover import InlineHandover

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from maia_sync.model import Task
    from maia_sync.service.discovery import DiscoveryReport
    from maia_sync.store.tasks import ChosenStatus

T = TypeVar("T")
A, B, C = task_id(1), task_id(2), task_id(3)


class Place:
    """A database, a tasks file, a command whose output is another file, and a Discovery that knows them."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.path = folder / "tasks.txt"
        self.printed = folder / "printed"
        self.discovery = self.start()

    def start(self, **settings: Any) -> Discovery:
        """As a worker does that starts anew."""
        schedule = ScheduleSettings(
            tasks_file=self.path, discovery_command=("cat", str(self.printed)), **settings
        )
        self.discovery = Discovery(schedule, database=self.database, handover=InlineHandover())
        return self.discovery

    def listing(self, *lines: str) -> DiscoveryReport:
        """Put these lines into the file and have it read."""
        fresh = self.path.with_suffix(".new")
        fresh.write_text("".join(f"{line}\n" for line in lines))
        fresh.replace(self.path)
        report = self.read()
        assert report is not None
        return report

    def printing(self, *lines: str) -> DiscoveryReport:
        """Have the command print these lines."""
        self.printed.write_text("".join(f"{line}\n" for line in lines))
        return self.run()

    def read(self, *, forced: bool = False) -> DiscoveryReport | None:
        return asyncio.run(self.discovery.read_tasks_file(forced=forced))

    def run(self) -> DiscoveryReport:
        report = asyncio.run(self.discovery.run_command())
        assert report is not None
        return report

    def said(self, status: ChosenStatus, *task_ids: str) -> None:
        """A person says so."""
        with self.database.transaction() as tx:
            set_status(tx, task_ids, status)

    def track(self, *task_ids: str, label: str | None = None) -> None:
        with self.database.transaction() as tx:
            upsert_tasks(tx, task_ids, label=label)

    def found(self, of_task: str, **values: Any) -> None:
        """A walk found this out."""
        with self.database.transaction() as tx:
            tx.connection.execute(update(task).where(task.c.task_id == of_task).values(**values))

    def tasks(self) -> dict[str, Task]:
        with self.database.transaction(write=False) as tx:
            return {each.task_id: each for each in read_tasks(tx)}

    def standing(self) -> dict[str, str]:
        """Return how each task stands in a word: its status, or who paused it."""
        return {each.task_id: each.paused_by or each.status for each in self.tasks().values()}

    def sources(self) -> dict[str, tuple[str, ...]]:
        with self.database.transaction(write=False) as tx:
            return read_sources(tx)


@pytest.fixture
def place(database_url: str, tmp_path: Path) -> Iterator[Place]:
    url = DatabaseSettings(url=database_url).url
    with closing(Database(url=url, clock=SystemClock())) as database:
        yield Place(database, tmp_path)


def is_hot(each: Task) -> bool:
    return each.next_poll_at is not None and each.poll_interval == 0


def never_due(each: Task) -> bool:
    return each.next_poll_at is None and each.next_reconcile_at is None


def test_what_the_file_lists_is_tracked_and_due_at_once(place: Place) -> None:
    report = place.listing("# ours", A, f"{B} the second")
    assert (report.source, report.listed, report.added, report.error) == ("tasks_file", 2, 2, None)
    tasks = place.tasks()
    assert {each: tasks[each].label for each in tasks} == {A: None, B: "the second"}
    assert all(is_hot(each) and each.status == "active" for each in tasks.values())
    assert place.sources() == {A: ("tasks_file",), B: ("tasks_file",)}


def test_what_the_command_prints_is_tracked_as_lines_or_json(place: Place) -> None:
    report = place.printing(A, f'{{"id": "{B}", "label": "the second"}}', f'"{C}"')
    assert (report.source, report.listed, report.added) == ("discovery_command", 3, 3)
    assert place.tasks()[B].label == "the second"


def test_the_file_is_read_again_only_when_it_has_changed_or_by_force(place: Place) -> None:
    place.listing(A)
    assert place.read() is None
    forced = place.read(forced=True)
    assert forced is not None
    assert (forced.listed, forced.added) == (1, 0)
    assert place.listing(A, B).added == 1
    place.start()
    assert place.read() is not None


def test_nothing_to_read_is_nothing_to_report(place: Place) -> None:
    discovery = Discovery(ScheduleSettings(), database=place.database, handover=InlineHandover())
    assert asyncio.run(discovery.read_tasks_file(forced=True)) is None
    assert asyncio.run(discovery.run_command()) is None


def test_removal_pauses_and_never_deletes_and_a_new_listing_makes_hot_again(place: Place) -> None:
    place.listing(A, B)
    place.found(A, next_reconcile_at=place.tasks()[A].tracked_at, poll_interval=60.0, failures=3)
    assert place.listing(B).paused == 1
    assert place.standing() == {A: "source", B: "active"}
    assert never_due(place.tasks()[A])
    assert place.listing(A, B).resumed == 1
    back = place.tasks()[A]
    assert (back.status, back.paused_by, back.failures) == ("active", None, 0)
    assert is_hot(back)


@pytest.mark.parametrize("said", ["paused", "untracked"])
def test_what_is_paused_or_untracked_by_hand_stays_so_whatever_sources_say(
    place: Place, said: ChosenStatus
) -> None:
    stands = "hand" if said == "paused" else said
    place.listing(A, B)
    place.said(said, A)
    assert never_due(place.tasks()[A])
    place.start()
    for lines in ((A, B), (B,), (A, f"{B} x")):
        report = place.listing(*lines)
        assert (report.resumed, report.paused) == (0, 0)
        assert place.standing()[A] == stands
    assert place.printing(A).resumed == 0
    assert place.standing()[A] == stands
    assert never_due(place.tasks()[A])


def test_a_task_resumed_by_hand_belongs_to_its_source_as_before(place: Place) -> None:
    place.listing(A, B)
    place.said("paused", A)
    place.said("active", A)
    assert is_hot(place.tasks()[A])
    assert place.listing(B).paused == 1


def test_a_task_that_no_source_lists_any_more_is_a_persons_once_it_is_resumed(place: Place) -> None:
    place.listing(A, B)
    place.listing(B)
    place.said("active", A)
    assert place.sources()[A] == ("hand",)
    place.listing(A, B)
    assert place.listing(B).paused == 0
    assert place.standing()[A] == "active"


def test_what_is_tracked_by_hand_outlives_any_source(place: Place) -> None:
    place.track(A)
    place.listing(A, B)
    place.track(B)
    assert place.sources() == {A: ("hand", "tasks_file"), B: ("hand", "tasks_file")}
    assert place.listing(C).paused == 0
    assert place.standing() == {A: "active", B: "active", C: "active"}
    place.said("untracked", B)
    assert B not in place.sources()


def test_a_task_tracked_before_there_were_sources_counts_as_tracked_by_hand(place: Place) -> None:
    place.track(A, label="mine")
    with place.database.transaction() as tx:
        tx.connection.execute(delete(task_source))
    place.listing(f"{A} theirs")
    place.listing(B)
    assert (place.standing()[A], place.tasks()[A].label) == ("active", "mine")


def test_a_task_is_paused_when_the_last_source_drops_it(place: Place) -> None:
    place.listing(A, B)
    place.printing(A)
    assert place.listing(B).paused == 0
    assert place.printing(C).paused == 1
    assert place.standing() == {A: "source", B: "active", C: "active"}


@pytest.mark.parametrize("status", ["forbidden", "missing"])
def test_what_upstream_withholds_waits_for_its_turn_while_it_is_listed(place: Place, status: str) -> None:
    place.listing(A, B)
    place.found(A, status=status, poll_interval=86_400.0, failures=3, times_missing=3)
    before = place.tasks()[A]
    place.listing(A, B, C)
    assert place.tasks()[A] == before
    assert place.listing(B, C).paused == 1
    assert place.standing()[A] == "source"


def test_bad_lines_are_told_without_their_text_and_pause_nothing(place: Place) -> None:
    place.listing(A, B)
    report = place.listing(C, "s3cret", *["{}"] * 10)
    assert (report.added, report.paused, report.error) == (1, 0, None)
    assert report.problems[0].startswith("line 2: ")
    assert len(report.problems) <= 10
    assert "s3cret" not in str(report)
    assert place.standing() == {A: "active", B: "active", C: "active"}


def test_a_file_that_cannot_be_read_pauses_nothing_and_is_told_once(place: Place) -> None:
    place.listing(A)
    content = place.path.read_text()
    place.path.unlink()
    missing = place.read()
    assert missing is not None
    assert missing.error is not None
    assert str(place.path) in missing.error
    assert (place.read(), place.standing()) == (None, {A: "active"})
    place.path.mkdir()
    folder = place.read()
    assert folder is not None
    assert "not a file" in str(folder.error)
    place.path.rmdir()
    place.path.write_text(content)
    back = place.read()
    assert back is not None
    assert (back.error, back.listed) == (None, 1)


def test_an_empty_file_pauses_what_it_had_listed_and_says_so(place: Place) -> None:
    place.listing(A, B)
    report = place.listing()
    assert (report.paused, report.problems) == (2, ("it names no task",))
    assert place.standing() == {A: "source", B: "source"}


@pytest.mark.parametrize(
    "command",
    [
        ("sh", "-c", "echo s3cret; echo s3cret >&2; exit 3"),
        ("sh", "-c", "kill -9 $$"),
        ("sh", "-c", "echo s3cret >&2"),
        ("true",),
        ("./no-such-command",),
        ("a\0b",),
    ],
)
def test_a_command_that_fails_or_prints_nothing_changes_nothing(
    place: Place, command: tuple[str, ...]
) -> None:
    place.printing(A)
    schedule = ScheduleSettings(discovery_command=command)
    place.discovery = Discovery(schedule, database=place.database, handover=InlineHandover())
    report = place.run()
    assert report.error is not None
    assert report.error.startswith("schedule.discovery_command ")
    assert "s3cret" not in str(report)
    assert place.standing() == {A: "active"}


def test_a_command_that_prints_a_comment_alone_knows_of_no_task(place: Place) -> None:
    place.printing(A)
    report = place.printing("# none")
    assert (report.error, report.paused, report.problems) == (None, 1, ("it names no task",))


def test_a_label_follows_the_sources_unless_a_person_tracks_the_task(place: Place) -> None:
    place.track(B, label="mine")
    place.track(C)
    place.listing(f"{A} one", f"{B} one", f"{C} one")
    assert [place.tasks()[each].label for each in (A, B, C)] == ["one", "mine", "one"]
    place.listing(f"{A} two", f"{B} two", f"{C} two")
    assert [place.tasks()[each].label for each in (A, B, C)] == ["two", "mine", "one"]
    place.listing(A, B, C)
    assert place.tasks()[A].label == "two"


def test_a_list_without_changes_costs_one_statement_and_writes_nothing(place: Place) -> None:
    many = [f"{task_id(number)} label" for number in range(3_000)]
    place.track(task_id(0), label="mine")
    assert place.listing(*many).added == 2_999
    statements: list[str] = []
    event.listen(
        place.database.engine,
        "before_cursor_execute",
        lambda _connection, _cursor, statement, *_: statements.append(statement),
    )
    assert place.read(forced=True) is not None
    assert [each for each in statements if not each.startswith("BEGIN")] == statements[-1:]
    assert statements[-1].startswith("SELECT")
    statements.clear()
    assert place.listing(*many[:-1], f"{task_id(5_000)} label").paused == 1
    assert len(statements) < 20


def test_a_long_list_is_taken_over_in_parts_and_none_is_left_out(place: Place) -> None:
    many = [task_id(number) for number in range(4_500)]
    assert place.listing(*many).added == 4_500
    assert place.listing(A).paused == 4_499
    assert place.listing(*many).resumed == 4_499
    assert set(place.standing().values()) == {"active"}


def test_two_workers_that_take_over_the_same_list_do_it_once(place: Place) -> None:
    before = [(task_id(number), None) for number in range(500)]
    with place.database.transaction() as tx:
        apply_difference(tx, read_difference(tx, "tasks_file", before, complete=True))
    with place.database.transaction(write=False) as tx:
        after = [(task_id(number), None) for number in range(250, 750)]
        difference = read_difference(tx, "tasks_file", reversed(after), complete=True)
    together = threading.Barrier(2, timeout=60)
    changes = []

    def work() -> None:
        together.wait()
        with place.database.transaction() as tx:
            changes.append(apply_difference(tx, difference))

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [sum(each) for each in zip(*((c.added, c.resumed, c.paused) for c in changes), strict=True)] == [
        250,
        0,
        250,
    ]
    standing = place.standing()
    assert {standing[task_id(number)] for number in range(250)} == {"source"}


def test_a_list_that_the_database_did_not_take_is_read_again(place: Place) -> None:
    place.listing(A)
    broken = [True]

    class Handover(InlineHandover):
        async def run(self, work: Callable[[], T], *, surely: bool = False, once: bool = False) -> T:
            result = await super().run(work, surely=surely, once=once)
            if broken and place.sources().get(B):
                broken.clear()
                raise DatabaseUnreachable("gone")
            return result

    schedule = ScheduleSettings(tasks_file=place.path)
    place.discovery = Discovery(schedule, database=place.database, handover=Handover())
    with pytest.raises(DatabaseUnreachable):
        place.listing(A, B)
    again = place.read()
    assert again is not None
    assert (again.listed, again.added) == (2, 0)


def test_heat_makes_due_what_is_polled_and_nothing_else(place: Place) -> None:
    place.track(A, B, C)
    place.said("paused", B)
    place.found(A, poll_interval=900.0)
    place.found(C, poll_interval=900.0, status="missing", next_poll_at=None)
    with place.database.transaction() as tx:
        assert heat(tx, [A, B, C, task_id(9)]) == 2
        assert tx.connection.execute(
            sql_select(task.c.task_id).where(task.c.next_poll_at == tx.now).order_by(task.c.task_id)
        ).scalars().all() == [A, C]
    assert never_due(place.tasks()[B])
    assert place.tasks()[C].status == "missing"


class Fifo:
    """A pipe by name: it tells when a process has opened it, and when the last one that had is dead."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path

    def opened(self) -> int:
        """Wait until a process holds it."""
        return os.open(self.path, os.O_RDONLY)

    def released(self, reader: int) -> bool:
        """Wait until none does."""
        poll = select.poll()
        poll.register(reader, select.POLLIN)
        return any(happened & select.POLLHUP for _, happened in poll.poll(30_000))


@pytest.fixture
def fifo(tmp_path: Path) -> Fifo:
    return Fifo(tmp_path / "held")


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 100])
def test_a_command_that_nobody_waits_for_any_more_is_killed_with_all_its_children(
    fifo: Fifo, turns: int
) -> None:
    script = f"sleep 100 3>{fifo.path} & wait"

    async def stop_it() -> int:
        before = psutil.Process().children()
        running = asyncio.create_task(run_command(("sh", "-c", script), seconds=1000, most_bytes=1000))
        while psutil.Process().children() == before:  # noqa: ASYNC110 - nothing tells it
            await asyncio.sleep(0)
        for _ in range(turns):  # asyncio needs some until it knows what it has started
            await asyncio.sleep(0)
        reader = fifo.opened()  # the child runs, while the loop stands still
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        return reader

    reader = asyncio.run(stop_it())
    assert fifo.released(reader)
    os.close(reader)


def test_a_command_that_takes_too_long_is_killed_with_all_its_children(fifo: Fifo) -> None:
    reader = os.open(fifo.path, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(fifo.path, os.O_WRONLY)
    script = f"exec 3>{fifo.path}; sleep 100 & echo {A}; wait"
    printed = asyncio.run(run_command(("sh", "-c", script), seconds=0.5, most_bytes=1000))
    assert printed.error == "did not end within 0.5 seconds"
    assert printed.output == b""
    os.close(writer)
    assert fifo.released(reader)
    os.close(reader)


def test_a_child_that_has_left_the_group_does_not_keep_us_waiting() -> None:
    # It holds the command's output open, so that no end of it comes in time.
    script = "import os, sys, time; os.fork() and sys.exit(); os.setsid(); time.sleep(10)"
    printed = asyncio.run(run_command((sys.executable, "-c", script), seconds=0.5, most_bytes=1000))
    assert printed.error == "did not end within 0.5 seconds"


def test_a_command_that_prints_without_end_is_ended(fifo: Fifo) -> None:
    script = f"exec 3>{fifo.path}; yes"

    async def listen() -> tuple[str | None, int]:
        running = asyncio.create_task(run_command(("sh", "-c", script), seconds=1000, most_bytes=100_000))
        reader = await asyncio.to_thread(fifo.opened)
        return (await running).error, reader

    error, reader = asyncio.run(listen())
    assert error == "printed more than 100,000 bytes"
    assert fifo.released(reader)
    os.close(reader)


def test_what_a_command_prints_in_time_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(os.urandom(3_000_000))
    printed = asyncio.run(run_command(("cat", str(path)), seconds=1000, most_bytes=3_000_000))
    assert (printed.error, printed.output) == (None, path.read_bytes())
