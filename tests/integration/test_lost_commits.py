"""Is a page written once though the connection breaks just as it is committed? Both ways are really made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from cutting_proxy import CuttingProxy
from logs import TASK, after_pages, events, world_of
from oracle import Copy, assert_to_the_letter
from own_postgresql import OwnPostgresql
from sqlalchemy import event

from maia_sync.app import open_app
from maia_sync.config import load_settings
from maia_sync.errors import DatabaseFull, DatabaseUnreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from maia_sync.app import App
    from maia_sync.sandbox.world import World

LENGTH = 95
PAGES = 10
PAGE_COMMIT = "UPDATE checkpoint"


@pytest.fixture
def proxy(emptied_postgresql_database: Callable[[], str]) -> Iterator[CuttingProxy]:
    with CuttingProxy(emptied_postgresql_database()) as proxy:
        yield proxy


@pytest.fixture
def through(
    proxy: CuttingProxy, serve: Any, environ_for: Callable[..., dict[str, str]], cleanup: Any
) -> Callable[..., App]:
    """Return a function that opens an App on a world and the proxy's database, with TASK tracked."""

    def open_it(world: World, **settings: object) -> App:
        url = proxy.url.replace("postgresql://", "postgresql+psycopg://", 1)
        environ = environ_for(serve(world).url, url, api__page_size=10, **settings)
        app: App = cleanup.enter_context(open_app(load_settings(environ=environ)))
        app.track([TASK])
        return app

    return open_it


@pytest.mark.parametrize("order", ["oldest-first", "newest-first"])
@pytest.mark.parametrize("page", [0, 4, PAGES - 1])
@pytest.mark.parametrize("before", [True, False], ids=["not done", "done"])
def test_p2_p5_a_commit_of_which_nobody_knows_is_found_out_and_made_once(
    proxy: CuttingProxy, through: Callable[..., App], before: bool, page: int, order: str
) -> None:
    world = world_of(events(LENGTH), order=order)
    app = through(world)
    proxy.cut_at_commit(before=before, skip=page, having=PAGE_COMMIT)
    report = app.sync()
    assert report.status == "succeeded", report.error
    assert proxy.cuts == 1
    assert (report.new, report.unchanged, report.pages) == (LENGTH, 0, PAGES)
    copy = Copy(proxy.url)
    assert_to_the_letter(copy, TASK, events(LENGTH))
    assert copy.free_leases() == 0
    assert copy.one("SELECT count(*) FROM task_event_revision") == 0
    assert world.tally.requests <= PAGES + 1
    world.reset_counters()
    assert app.sync().status == "succeeded"
    assert world.tally.requests == 1


def test_patience_ends_and_the_next_run_goes_on(
    serve: Any, environ_for: Callable[..., dict[str, str]], cleanup: Any
) -> None:
    world = world_of(events(LENGTH))
    with OwnPostgresql() as postgresql:
        url = postgresql.url.replace("postgresql://", "postgresql+psycopg://", 1)
        environ = environ_for(serve(world).url, url, api__page_size=10, database__patience="500ms")
        app: App = cleanup.enter_context(open_app(load_settings(environ=environ)))
        app.upgrade()
        app.track([TASK])
        after_pages(world, 4, postgresql.stop)
        with pytest.raises(DatabaseUnreachable):
            app.sync()
        postgresql.start()
        copy = Copy(postgresql.url)
        stored = copy.one("SELECT count(*) FROM task_event")
        assert 0 < stored < LENGTH
        copy.ask("UPDATE task SET lease_owner = NULL RETURNING 1")  # it would run out by itself
        assert app.sync().status == "succeeded"
        assert_to_the_letter(copy, TASK, events(LENGTH))
        app.close()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_full_disk_ends_the_run_with_a_sentence_and_the_next_one_goes_on(stage_for: Any) -> None:
    stage = stage_for(world_of(events(3_000)), api__page_size=100)
    pages = {"most": 150}

    def limit(connection: Any, _: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages['most']}")

    event.listen(stage.app.database.engine, "connect", limit)
    stage.app.database.engine.dispose()
    with pytest.raises(DatabaseFull, match="no room left"):
        stage.sync()
    stored = stage.copy.one("SELECT count(*) FROM task_event")
    assert 0 < stored < 3_000
    assert stored % 100 == 0
    pages["most"] = 1_000_000
    stage.app.database.engine.dispose()
    stage.copy.ask("UPDATE task SET lease_owner = NULL")  # where there was no room to give it back
    stage.sync_well()
    assert_to_the_letter(stage.copy, TASK, events(3_000))
