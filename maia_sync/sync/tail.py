"""How is a quiet log polled without reading the same events for ever?

A poll reads the checkpoint's page again, which can hold up to 999 known events. After two idle polls
in a row that read more than a hundred, one request more moves the checkpoint up: the page is asked
for without its last 25 events, and the token that comes with it leads to these. That is believed only
if both pages bring exactly what is stored, for a token may mean something else under another limit; if
they do not, or upstream refuses, the task is left alone. A newest-first log has its news in front: there
the first page is simply asked for with a small limit, and again with the usual one if that finds more
news than it holds.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import msgspec

from maia_sync.model import Cursor, TaskLog
from maia_sync.store.windows import read_window
from maia_sync.sync.compare import compare_page
from maia_sync.sync.gaps import met_place
from maia_sync.sync.identity import is_repetition
from maia_sync.sync.order import START
from maia_sync.sync.position import LOG_START

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from maia_sync.model import Checkpoint, Event, Page, Window
    from maia_sync.store.database import Database, Transaction
    from maia_sync.sync.handover import Handover
    from maia_sync.sync.position import Position
    from maia_sync.sync.source import PageSource

SHORT_TAIL = 25
"""Known events that an idle poll of a quiet log reads, at most."""
LONG_TAIL = 100
_QUIET_POLLS = 2
_LEFT_ALONE = -1


def with_quiet_counted(position: Position, checkpoint: Checkpoint, page: Page, *, news: bool) -> Checkpoint:
    """Return the checkpoint of a walk that has ended, its idle polls with a long last page counted."""
    before = checkpoint.quiet_polls
    if position.kind != "poll" or before == _LEFT_ALONE:
        return checkpoint
    quiet, elements = min(before + 1, _QUIET_POLLS), page.element_count
    if news or not checkpoint.order_is_sure:
        quiet = elements = 0
    elif position.tail_refused:
        quiet, elements = _LEFT_ALONE, 0
    elif before == _QUIET_POLLS and checkpoint.newest_first:
        elements = checkpoint.tail_elements  # its short first page says nothing of this
    elif elements <= LONG_TAIL:
        quiet = elements = 0
    return msgspec.structs.replace(checkpoint, quiet_polls=quiet, tail_elements=elements)


class Tail:
    """Spares the reading of one task's long quiet tail, before its poll begins."""

    def __init__(
        self, source: PageSource, database: Database, handover: Handover, task_id: str, *, page_size: int
    ) -> None:
        self._source = source
        self._database = database
        self._handover = handover
        self._task_id = task_id
        self._page_size = page_size

    async def spared(self, position: Position) -> Position:
        """Return where the poll begins: closer to the log's end, if that is time and can be."""
        checkpoint = position.checkpoint
        if position.kind != "poll" or checkpoint.quiet_polls < _QUIET_POLLS or not checkpoint.order_is_sure:
            return position
        if self._page_size <= SHORT_TAIL:
            return position
        if checkpoint.newest_first:
            return await self._with_short_head(position)
        moved = await self._moved_up(position)
        return moved or msgspec.structs.replace(position, tail_refused=True)

    async def _moved_up(self, position: Position) -> Position | None:
        """Return the poll's begin moved up behind all but the last known events; None if that cannot be."""
        cursor, elements = position.cursor, position.checkpoint.tail_elements - SHORT_TAIL
        front = await self._source.try_limit(cursor, elements)
        if front is None or front.element_count != elements:
            return None
        if front.next_token in (None, cursor.page_token):
            return None
        place = await self._ask(partial(self._place_behind, cursor.compare_seq, front.events))
        if place is None:
            return None
        closer = Cursor(page_token=front.next_token, compare_seq=place, limit=self._page_size)
        tail = await self._source.try_limit(closer, self._page_size)
        if tail is None or not await self._ask(partial(self._begins_with_tail, place, tail.events)):
            return None
        self._source.keep(closer, tail)
        return msgspec.structs.replace(position, cursor=closer)

    async def _with_short_head(self, position: Position) -> Position:
        """Fetch a short first page; it is kept only if it leads to what is stored."""
        page = await self._source.try_limit(LOG_START, SHORT_TAIL)
        if page is None or page.element_count > SHORT_TAIL:
            return msgspec.structs.replace(position, tail_refused=True)
        if page.next_token is None or await self._ask(partial(self._meets, position, page)):
            self._source.keep(LOG_START, page)
        return position

    async def _ask(self, read: Callable[[Transaction], int | bool | None]) -> int | bool | None:
        def work() -> int | bool | None:
            with self._database.transaction(write=False) as tx:
                return read(tx)

        return await self._handover.run(work)

    def _place_behind(self, after: int, events: Sequence[Event], tx: Transaction) -> int | None:
        """Return the place of the last of these events, if they are just what is stored there."""
        window = self._live_window(tx, after, len(events))
        if not events or not is_repetition(events, window):
            return None
        return window.rows[len(events) - 1].seq

    def _begins_with_tail(self, after: int, events: Sequence[Event], tx: Transaction) -> bool:
        """Tell whether a page begins with all that is stored behind a place."""
        window = self._live_window(tx, after, SHORT_TAIL)
        known = len(window.rows)
        return 0 < known <= len(events) and is_repetition(events[:known], window)

    def _live_window(self, tx: Transaction, after: int, events: int) -> Window:
        window = read_window(tx, TaskLog(task_id=self._task_id), after, events + LONG_TAIL)
        return msgspec.structs.replace(window, rows=[row for row in window.rows if not row.vanished])

    def _meets(self, position: Position, page: Page, tx: Transaction) -> bool:
        log = TaskLog(task_id=self._task_id, newest_first=True)
        compared = compare_page(tx, log, page.events, START, last_page=False)
        met = met_place(compared.plan.ending, compared.window, position.floor, elements=page.element_count)
        return met is not None
