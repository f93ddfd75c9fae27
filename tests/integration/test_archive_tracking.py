"""Does the archive tell how tasks are tracked, and what is on hold: once, and again whenever that changes?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from archive_replay import Replay, archive, assert_archived
from oracle import Copy

from maia_sync.clock import ManualClock
from maia_sync.store.archive_tasks import read_tracked, told_as
from maia_sync.store.archived import HoldFacts, TaskFacts
from maia_sync.store.database import Database
from maia_sync.store.holds import insert_holds, lock_holds, read_holds, release_holds
from maia_sync.store.sources import apply_difference, read_difference
from maia_sync.store.tasks import set_status, upsert_tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from maia_sync.store.database import Transaction

FIRST, SECOND = (f"0000000{number}-1111-4111-8111-111111111111" for number in (1, 2))


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    url = database_url.replace("postgresql://", "postgresql+psycopg://", 1)
    database = Database(url=url, clock=ManualClock())
    with database.transaction() as tx:
        upsert_tasks(tx, [FIRST, SECOND], label="ours")
    yield database
    database.close()


def told(database: Database, replay: Replay) -> dict[str, int]:
    """Archive what is new; return how many records there were of each type."""
    before = dict(replay.kinds)
    archive(database, replay)
    return {kind: count for kind, n in replay.kinds.items() if (count := n - before.get(kind, 0))}


def test_a_task_is_told_again_whenever_it_is_tracked_otherwise(database: Database, database_url: str) -> None:
    replay, copy = Replay(), Copy(database_url)
    assert told(database, replay) == {"task": 2}
    assert replay.tasks[FIRST].sources == ("hand",)
    assert told(database, replay) == {}

    def listed(tx: Transaction) -> None:
        difference = read_difference(tx, "tasks_file", [(FIRST, "theirs")], complete=True)
        apply_difference(tx, difference)

    changes: list[Callable[[Transaction], Any]] = [
        lambda tx: set_status(tx, [FIRST], "paused"),
        lambda tx: set_status(tx, [FIRST], "active"),
        lambda tx: upsert_tasks(tx, [FIRST], label="another \u00e4 label"),
        listed,
        lambda tx: set_status(tx, [FIRST], "untracked"),
    ]
    for change in changes:
        with database.transaction() as tx:
            change(tx)
        assert told(database, replay) == {"task": 1}
        assert told(database, replay) == {}
        assert_archived(replay, copy)
    assert replay.tasks[FIRST].status == "untracked"
    assert replay.tasks[SECOND] == TaskFacts(
        label="ours",
        status="active",
        tracked_at=replay.tasks[SECOND].tracked_at,
        paused_by=None,
        sources=("hand",),
        log_order=None,
    )
    with database.transaction() as tx:
        assert all(told_as(each.facts) == each.archived_as for each in read_tracked(tx))


def test_how_a_task_is_tracked_that_changes_while_it_is_read_is_told_again(database: Database) -> None:
    replay = Replay()

    def meanwhile() -> None:
        with database.transaction() as tx:
            set_status(tx, [FIRST], "paused")

    assert archive(database, replay, meanwhile=meanwhile) == 3
    assert replay.tasks[FIRST].status == "paused"
    assert archive(database, replay) == 0


def test_a_create_that_was_cut_off_before_it_signed_tells_all_of_it_again(database: Database) -> None:
    replay = Replay()
    assert archive(database, replay, cut_off="before") == 0
    assert told(database, replay) == {"task": 2}


def test_a_hold_is_told_and_told_again_once_it_is_released(database: Database) -> None:
    replay = Replay()
    archive(database, replay)
    with database.transaction() as tx:
        lock_holds(tx)
        insert_holds(tx, [FIRST, None], reason="a lawsuit", held_by="ann@host")
    assert told(database, replay) == {"hold": 2}
    assert told(database, replay) == {}
    with database.transaction() as tx:
        lock_holds(tx)
        (own, _) = read_holds(tx)
        release_holds(tx, [own], reason="settled " * 2_000, released_by="bob@host")
    assert told(database, replay) == {"hold": 1}
    first, second = replay.numbered["hold", own.id]
    assert (first.task_id, first.received_at) == (second.task_id, second.received_at) == (FIRST, own.held_at)
    assert isinstance(first.facts, HoldFacts)
    assert isinstance(second.facts, HoldFacts)
    assert (first.facts.reason, first.facts.released_at) == ("a lawsuit", None)
    assert (second.facts.released_by, second.facts.released_at is None) == ("bob@host", False)
    (for_all,) = replay.numbered["hold", own.id + 1]
    assert for_all.task_id is None
