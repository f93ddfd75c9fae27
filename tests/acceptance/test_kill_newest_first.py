"""P5 for newest-first logs: does `kill -9` on every head page in turn leave anything out?"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest
from killable import Forge
from logs import TASK, events, world_of
from oracle import assert_to_the_letter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Staging = Callable[..., Any]

NEWEST = "newest-first"
HEAD_PAGES = 17


@pytest.fixture(scope="module")
def forge() -> Iterator[Forge]:
    with Forge() as forge:
        yield forge


@pytest.mark.parametrize("moment", ["after the commit", "mid-page"])
@pytest.mark.parametrize("grows", [0, 130])
def test_p5_newest_first_1700_new_events_killed_on_every_head_page_in_turn(
    stage_for: Staging,
    forge: Forge,
    environ_for: Callable[..., dict[str, str]],
    database_url: str,
    moment: str,
    grows: int,
) -> None:
    """2,500 events are stored, 1,700 come, and each life dies one page further on; then one lives."""
    stage = stage_for(world_of(events(2500), order=NEWEST), api__page_size=100)
    stage.sync_well()
    stage.world.logs[TASK].extend(events(1700, 2500))
    environ = environ_for(stage.server.url, database_url, api__page_size=100)
    stage.world.reset_counters()
    for page in range(1, HEAD_PAGES + 1):
        if moment == "mid-page":
            order = {"die_before": ["UPDATE checkpoint", page]}
        else:
            order = {"die_after_pages": page}
        life = forge.start(environ, **order)
        life.end()
        assert life.status == -signal.SIGKILL or page > 2
        stage.copy.free_leases()
        log = stage.world.logs[TASK]
        log.extend(events(grows, len(log)))
    (report,) = forge.start(environ).end()
    assert (report["status"], report["held"]) == ("succeeded", 0)
    print(f"{moment}, {grows} more each time: {stage.world.tally.requests} requests")
    assert_to_the_letter(stage.copy, TASK, stage.world.logs[TASK].events)
    assert stage.copy.checkpoint(TASK)["gaps"] is None
    stage.sync_well()
    assert stage.requests == 1


def test_p5_a_newest_first_backfill_killed_before_every_statement_in_turn_loses_nothing(
    stage_for: Staging, forge: Forge, environ_for: Callable[..., dict[str, str]], database_url: str
) -> None:
    stage = stage_for(world_of(events(95), order=NEWEST), api__page_size=10)
    environ = environ_for(stage.server.url, database_url, api__page_size=10)
    length, step = 95, 0
    while True:
        step += 1
        life = forge.start(environ, die_at=step)
        life.end()
        stage.copy.free_leases()
        if life.status == 0:
            break
        assert life.status == -signal.SIGKILL
        if step % 7 == 0:
            stage.world.logs[TASK].extend(events(12, length))
            length += 12
    assert step > 30
    assert_to_the_letter(stage.copy, TASK, events(length))
    assert stage.sync_well().new == 0
    assert stage.requests == 1
