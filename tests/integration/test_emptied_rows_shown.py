"""How does an event look whose payload was taken out: on the command line, on pages, and to facets?"""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from logs import TASK, event, events, world_of
from oracle import Copy
from page_check import Checked
from starlette.applications import Starlette
from taken_out import key_in, take_out, take_out_others
from test_summaries import assert_summed_up
from told_story import driver_url, open_writing, store_elements

from maia_sync.analytics.facet_reader import FacetReader
from maia_sync.analytics.rebuild import Rebuild
from maia_sync.cli.main import run as run_command
from maia_sync.clock import SystemClock
from maia_sync.facet_settings import FacetsSettings
from maia_sync.store.asking import ReadingDatabase
from maia_sync.store.facets import has_stale_facets
from maia_sync.web import event_page, timeline
from maia_sync.web.site import Site

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Staging = Callable[..., Any]

ODD = b'{"data":"kept-as-bytes","groupId":"\xff"}'


@pytest.fixture
def stage(stage_for: Staging, tmp_path: Path) -> Any:
    """Return a stage whose log has four events: whole, pruned, erased, and changed since it was pruned."""
    stage = stage_for(world_of([*events(4), ODD]), archive__digest_key_file=key_in(tmp_path))
    stage.sync_well()
    for number, erased in ((1, False), (2, True), (3, False)):
        chosen = partial(is_number, number)
        take_out(stage.app.database, TASK, chosen=chosen, erased=erased)
    take_out_others(stage.app.database, TASK, erased=True)
    stage.world.logs[TASK].replace(3, event(3, "otherwise"))
    stage.sync_well(full=True)
    return stage


def is_number(number: int, row: Any) -> bool:
    return f'"n":{number},' in row.data


def run(monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], *words: str) -> int:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    return run_command([*words])


def test_events_tell_what_was_pruned_and_erased(
    stage: Any,
    environ_for: Any,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    environ = environ_for(stage.server.url, database_url)
    assert run(monkeypatch, environ, "events", TASK) == 0
    lines = capsys.readouterr().out.splitlines()
    today = f"{stage.app.clock.now():%Y-%m-%d}"
    assert [f"[pruned {today}]" in line for line in lines] == [False, True, False, False]
    assert [f"[erased {today}]" in line for line in lines] == [False, False, True, False]
    assert "as it was" in lines[0]
    assert not any("no data" in line for line in lines)

    assert run(monkeypatch, environ, "events", TASK, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [("data" in each, bool(each["pruned_at"]), bool(each["erased_at"])) for each in told] == [
        (True, False, False),
        (False, True, False),
        (False, True, True),
        (True, False, False),
    ]
    assert [len(each["digest"]) for each in told] == [64, 72, 72, 64]

    assert run(monkeypatch, environ, "events", TASK, "--raw") == 0
    printed = capsys.readouterr()
    assert [json.loads(line)["n"] for line in printed.out.splitlines()] == [0, 3]
    assert printed.err == (
        "Not printed: 1 payload pruned from this database. The archive has such payloads: `maia-sync archive "
        f"prove {TASK}/{told[1]['seq']} --output event.tlog-proof` and then `maia-sync archive check-proof "
        "event.tlog-proof --payload FILE` write the last one to FILE.\n"
        "Not printed: 1 payload erased, here and from the archive.\n"
    )


def test_pages_tell_what_was_pruned_and_erased(stage: Any, database_url: str) -> None:
    clock = SystemClock()
    database = ReadingDatabase(url=driver_url(database_url), clock=clock)
    site = Site(database=database, zone=ZoneInfo("UTC"), clock=clock)
    app = Starlette(routes=[*timeline.routes(site), *event_page.routes(site)])

    def get(address: str) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
                return await http.get(address)

        return asyncio.run(ask())

    def look(address: str) -> str:
        answer = get(address)
        assert answer.status_code == 200, answer.text
        Checked(answer.text)
        return answer.text

    log = look(f"/tasks/{TASK}")
    assert (log.count("Pruned: the archive has it"), log.count("Erased, here and from")) == (1, 1)
    assert "No data" not in log
    rows = stage.copy.log(TASK)
    said = ("", "was pruned from this database", "was erased", "What was different cannot be shown any more")
    for row, words in zip(rows, said, strict=True):
        name = f"group=g&timestamp={row.timestamp}&ordinal={row.ordinal}"
        page = look(f"/tasks/{TASK}/event?{name}")
        assert words in page
        assert "without data" not in page
        payload = get(f"/tasks/{TASK}/payload?{name}")
        assert payload.status_code == (200 if row.data else 404)
        assert row.data or "erased" in payload.text or "pruned" in payload.text
    earlier = get(f"/tasks/{TASK}/payload?{name}&revision=0")
    assert (earlier.status_code, "pruned from this database" in earlier.text) == (404, True)
    assert "was erased" in look(f"/tasks/{TASK}/quarantine")
    assert get(f"/tasks/{TASK}/quarantine/1").status_code == 404
    database.close()


def test_a_rebuild_of_facets_leaves_emptied_rows_empty_and_comes_to_an_end(
    database_url: str, tmp_path: Path
) -> None:
    database = open_writing(database_url)
    database.digest_key.path = key_in(tmp_path)
    said = [
        {"data": {"type": kind, "kind": kind, "userId": f"u{at}", "costUsd": 0.5}, "groupId": f"g{at % 3}"}
        for at, kind in enumerate(("userMessage", "agentMessage", "toolCall", "error") * 10)
    ]
    elements = [
        json.dumps({**each, "timestamp": f"2026-02-01T0{at // 10}:{at % 10}0:00Z"}).encode()
        for at, each in enumerate(said)
        if at % 10 < 6
    ]
    store_elements(database, TASK, elements)

    take_out(database, TASK, chosen=lambda row: row.group_id != "g1")
    for settings in (FacetsSettings(event_type=("kind",), user_id=("nowhere",)), FacetsSettings()):
        reader = FacetReader(settings)
        work = Rebuild(database, reader, zone="UTC", batch=5)
        assert sum(batch.changed for batch in work.rebuild(TASK)) == sum(
            '"g1"' in str(each) for each in map(bytes.decode, elements)
        )
        assert list(work.rebuild(TASK)) == []
        with database.transaction(write=False) as tx:
            assert not has_stale_facets(tx, reader.version)
        copy = Copy(database_url)
        assert_summed_up(copy, "UTC", "rebuilt")
        told = "SELECT count(*) FROM task_event WHERE pruned_at IS NOT NULL AND event_type IS NOT NULL"
        assert copy.one(told) == 0
    database.close()
