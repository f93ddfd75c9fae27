"""Where do a walk's pages come from? From the client, at most one of them fetched ahead."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from maia_sync.errors import GiveUpTask
from maia_sync.sync.limits import PageLimits

if TYPE_CHECKING:
    from maia_sync.maia.client import MaiaClient
    from maia_sync.model import Cursor, Page


class PageSource:
    """The pages of one task's log, for one walk."""

    def __init__(self, client: MaiaClient, task_id: str, *, page_size: int) -> None:
        self._client = client
        self._task_id = task_id
        self._limits = PageLimits(page_size)
        self._ahead: tuple[str | None, asyncio.Future[Page]] | None = None

    @property
    def is_behind_asked(self) -> bool:
        """Tell whether a page is being fetched ahead, or has been."""
        return self._ahead is not None

    async def page_at(self, cursor: Cursor) -> Page:
        """Return the page that a cursor names, which may have been fetched ahead."""
        if self._ahead is not None and self._ahead[0] == cursor.page_token:
            (_, ahead), self._ahead = self._ahead, None
            return await ahead
        await self.drop_ahead()
        return await self._fetch(cursor)

    async def peek_at(self, cursor: Cursor) -> Page:
        """Return the page that a cursor names, and keep it for `page_at`."""
        if self._ahead is None or self._ahead[0] != cursor.page_token:
            await self.drop_ahead()
            self.look_ahead(cursor)
        if self._ahead is None:
            raise AssertionError
        return await asyncio.shield(self._ahead[1])

    def look_ahead(self, cursor: Cursor) -> None:
        """Begin to fetch a page that will be asked for next; the one ahead must have been taken."""
        if self._ahead is None:
            self._ahead = (cursor.page_token, asyncio.ensure_future(self._fetch(cursor)))

    def keep(self, cursor: Cursor, page: Page) -> None:
        """Keep a page that was fetched to look at it, for `page_at`."""
        kept: asyncio.Future[Page] = asyncio.get_running_loop().create_future()
        kept.set_result(page)
        self._ahead = (cursor.page_token, kept)

    async def try_limit(self, cursor: Cursor, limit: int) -> Page | None:
        """Ask for a page with a limit of its own; None if upstream does not answer that."""
        try:
            return await self._client.fetch_page(self._task_id, cursor.page_token, limit)
        except GiveUpTask:
            return None

    async def drop_ahead(self) -> None:
        """Forget the page ahead."""
        dropped, self._ahead = self._ahead, None
        if dropped is not None:
            dropped[1].cancel()
            with suppress(asyncio.CancelledError, Exception):
                await dropped[1]

    async def _fetch(self, cursor: Cursor) -> Page:
        limit = self._limits.limit_for(cursor)
        page = await self._client.fetch_page(self._task_id, cursor.page_token, limit)
        self._limits.note(limit, page)
        more = self._limits.larger_to_try(cursor, page)
        if more is None:
            return page
        larger = await self.try_limit(cursor, more)
        return larger if self._limits.is_proof(page, larger) and larger is not None else page
