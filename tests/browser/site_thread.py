"""How does a test get the pages over a database? Served on loopback from a thread of their own."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from maia_sync.clock import SystemClock
from maia_sync.service.health import Health
from maia_sync.settings import Secret
from maia_sync.store.asking import ReadingDatabase
from maia_sync.web.application import Pages, make_web
from maia_sync.web.server import WebServer
from maia_sync.web.site import Site

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

PATIENCE = 60.0


class SiteThread:
    """The pages over a database, as long as the `with` block lasts; `url` is where."""

    def __init__(self, database_url: str, *, token: str | None = None) -> None:
        self._database_url = database_url
        self._token = None if token is None else Secret(token)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._begun = threading.Event()
        self.url = ""

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._begun.wait(PATIENCE), "the pages are not served"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(PATIENCE)

    async def _serve(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        clock = SystemClock()
        make_database = partial(ReadingDatabase, url=self._database_url, clock=clock)
        pages = Pages(
            lambda: Site(database=make_database(), zone=ZoneInfo("UTC"), clock=clock), token=self._token
        )
        health = Health(clock=clock, check_database=lambda: None)
        app = make_web(health=health, token=self._token, pages=pages)
        async with WebServer(app, "127.0.0.1", 0) as server:
            self.url = server.url
            self._begun.set()
            await self._end.wait()
        pages.close()
