"""Do stored events get the facets of another configuration: all of them, once, also after an interruption?"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from maia_sync.analytics.facet_reader import FacetReader
from maia_sync.analytics.rebuild import Rebuild
from maia_sync.cli.main import run as run_command
from maia_sync.facet_settings import FacetsSettings
from maia_sync.sandbox.story import make_world, task_uuid
from maia_sync.sandbox.world import Log, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Stage

OTHER = FacetsSettings(event_type=("kind",), model=("llm",), input_tokens=("read",))
TURN = (
    "SELECT task_id, group_id, events, tool_calls, errors, input_tokens, user_id, started_at FROM task_turn"
)
ACTIVITY = "SELECT task_id, slot_at, events, tool_calls, errors, input_tokens FROM task_activity"
EVENT = (
    "SELECT task_id, group_id, timestamp, ordinal, event_type, model, input_tokens, outcome FROM task_event"
)


def everything(stage: Stage) -> list[list[Any]]:
    with stage.app.database.transaction(write=False) as tx:
        return [sorted(map(str, tx.connection.execute(text(query)))) for query in (EVENT, TURN, ACTIVITY)]


def rebuild(stage: Stage, settings: FacetsSettings, *, batch: int = 7) -> tuple[int, int]:
    """Rebuild all tasks; return how many events were read again, and how many have other facets."""
    work = Rebuild(stage.app.database, FacetReader(settings), zone="UTC", batch=batch)
    batches = [done for task_id in work.task_ids() for done in work.rebuild(task_id)]
    return sum(done.events for done in batches), sum(done.changed for done in batches)


def other_world() -> World:
    """Logs of many small groups, and of one long one, whose payloads have other names."""
    world = World()
    for number, groups in enumerate((9, 1)):
        log = world.add(Log(task_uuid(3, number)))
        log.extend(list(elements(groups)))
    return world


def elements(groups: int) -> Iterator[bytes]:
    for at in range(60):
        data = {"kind": ("toolCall", "error", "userMessage")[at % 3], "llm": f"m{at % 2}", "read": at}
        stamp = f"2026-02-01T{at // 6:02d}:{at % 6 * 10:02d}:00Z"
        yield json.dumps({"data": data, "groupId": f"g{at % groups}", "timestamp": stamp}).encode()


def test_a_rebuild_comes_to_what_a_first_sync_with_that_configuration_does(
    stage_for: Callable[..., Stage],
) -> None:
    stage = stage_for(other_world())
    stage.sync_well()
    before = everything(stage)
    assert rebuild(stage, OTHER) == (120, 120)
    rebuilt = everything(stage)
    assert rebuilt != before
    assert "toolCall" in str(rebuilt[0])
    assert rebuild(stage, FacetsSettings()) == (120, 120)
    assert everything(stage) == before
    # The same log, stored with the other configuration from the start.
    with stage.app.database.transaction() as tx:
        for table in ("task_event", "task_turn", "task_activity", "checkpoint"):
            tx.connection.execute(text(f"DELETE FROM {table}"))
    app = stage.open_another(
        facets__event_type='["kind"]', facets__model='["llm"]', facets__input_tokens='["read"]'
    )
    assert app.sync().status == "succeeded"
    assert everything(stage) == rebuilt


def test_what_is_done_is_passed_by(stage_for: Callable[..., Stage]) -> None:
    stage = stage_for(other_world())
    stage.sync_well()
    assert rebuild(stage, FacetsSettings()) == (0, 0)
    assert rebuild(stage, OTHER) == (120, 120)
    assert rebuild(stage, OTHER) == (0, 0)
    assert rebuild(stage, FacetsSettings(event_type=("kind",), model=("llm",), input_tokens=("none",))) == (
        120,
        120,
    )


@pytest.mark.parametrize("stops_after", [1, 2, 5, 8, 9, 13])
def test_an_interrupted_rebuild_goes_on_where_it_stopped(
    stage_for: Callable[..., Stage], stops_after: int
) -> None:
    stage = stage_for(other_world())
    stage.sync_well()
    work = Rebuild(stage.app.database, FacetReader(OTHER), zone="UTC", batch=7)
    done = 0
    batches = (batch for task_id in work.task_ids() for batch in work.rebuild(task_id))
    for _, batch in zip(range(stops_after), batches, strict=False):
        done += batch.events
    assert 0 < done < 120
    assert rebuild(stage, OTHER) == (120 - done, 120 - done)
    halves = everything(stage)
    rebuild(stage, FacetsSettings())
    rebuild(stage, OTHER, batch=1000)
    assert everything(stage) == halves


@pytest.mark.parametrize("stops_after", [0, 1, 4, 7])
def test_a_long_group_is_summed_up_again_whichever_of_its_events_have_changed(
    stage_for: Callable[..., Stage], stops_after: int
) -> None:
    world = World()
    stamps = [f"2026-02-01T{at // 6:02d}:{at % 6 * 10:02d}:00Z" for at in range(60)]
    payloads = [{"n": at, **({"early": 1} if at < 10 else {})} for at in range(60)]
    world.add(Log(task_uuid(3, 1))).extend(
        [
            json.dumps({"data": data, "groupId": "g", "timestamp": stamp}).encode()
            for data, stamp in zip(payloads, stamps, strict=True)
        ]
    )
    stage = stage_for(world)
    stage.sync_well()
    settings = FacetsSettings(input_tokens=("early",))
    work = Rebuild(stage.app.database, FacetReader(settings), zone="UTC", batch=7)
    for _ in zip(range(stops_after), work.rebuild(task_uuid(3, 1)), strict=False):
        pass
    rebuild(stage, settings)
    with stage.app.database.transaction(write=False) as tx:
        for table in ("task_turn", "task_activity"):
            (tokens,) = tx.connection.execute(text(f"SELECT sum(input_tokens) FROM {table}")).one()
            assert tokens == 10, table


def test_events_of_a_version_that_knew_no_facets_are_read_and_summed_up(
    stage_for: Callable[..., Stage],
) -> None:
    stage = stage_for(make_world(seed=4, tasks=2, events_per_task=80))
    stage.sync_well()
    wanted = everything(stage)
    with stage.app.database.transaction() as tx:
        columns = ("event_type", "model", "input_tokens", "outcome", "facets_version")
        nothing = ", ".join(f"{name} = NULL" for name in columns)
        tx.connection.execute(text(f"UPDATE task_event SET {nothing} WHERE ordinal = 0"))
        tx.connection.execute(text("DELETE FROM task_turn"))
        tx.connection.execute(text("DELETE FROM task_activity"))
    assert stage.app.has_stale_facets()
    assert rebuild(stage, FacetsSettings())[0] == 160
    assert everything(stage) == wanted
    assert not stage.app.has_stale_facets()


def test_the_command_rebuilds_what_the_configuration_asks_for(
    stage_for: Callable[..., Stage],
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stage = stage_for(other_world())
    stage.sync_well()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MAIA_SYNC_DATABASE__URL", database_url)
    monkeypatch.setenv("MAIA_SYNC_FACETS__EVENT_TYPE", "kind")
    first, _ = stage.world.logs
    assert run_command(["facets", "rebuild", "--json", "--task", first]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "tasks": 1,
        "events": 60,
        "changed": 60,
        "version": FacetReader(FacetsSettings(event_type=("kind",))).version,
    }
    assert run_command(["facets", "rebuild"]) == 0
    assert "Read the facets of 60 events of 2 tasks again: 60 have others now" in capsys.readouterr().out
    assert run_command(["facets", "rebuild", "--task", task_uuid(3, 5)]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("Error: ")
    assert len(told.err.splitlines()) == 1
