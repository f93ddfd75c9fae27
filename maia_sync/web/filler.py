"""How does a page get its panels filled in time? Those that are not ready are shown as pending."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from maia_sync.analytics.filling import Filled, fill_panel, values_of
from maia_sync.analytics.panels import read_panels
from maia_sync.errors import DatabaseError, UsageError
from maia_sync.report.removed import OF_TIME, REMOVED, Removed, has_more, removed_of
from maia_sync.web.answers import PATIENCE, Answers, Found, Wanted

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

    from maia_sync.analytics.panels import Panel
    from maia_sync.analytics.window import Window
    from maia_sync.clock import Clock
    from maia_sync.store.asking import ReadingDatabase

T = TypeVar("T")

GIVES_UP_AFTER: Final = 30.0
"""Seconds that a question may take."""
_SLOW: Final = "v_tool_call"
"""Pairing each call with its result takes its time: some 3 microseconds a call."""
_NEWEST: Final = "newest-event"


class _UnfilledError(Exception):
    """A panel has trouble instead of an answer."""

    def __init__(self, filled: Filled) -> None:
        super().__init__()
        self.filled = filled


def _filled(found: Found[Filled]) -> Filled:
    return found.error.filled if isinstance(found.error, _UnfilledError) else found.result()


class Filler:
    """The panels over one database, which is only read; answers are shared by all visitors."""

    def __init__(self, database: ReadingDatabase, clock: Clock, *, max_lag: float) -> None:
        self.panels: Mapping[str, Panel] = read_panels(max_lag)
        self._database = database
        self._clock = clock
        self._answers = Answers(clock)

    async def fill(
        self,
        panels: Sequence[Panel],
        window: Window,
        key: str,
        *,
        task_id: str | None = None,
        patience: float = PATIENCE,
        then: Callable[[Filled], object] | None = None,
    ) -> list[Filled]:
        """Return the panels with their answers, after at most so many seconds; `key` names the window.

        Panels that ask the same share one answer. One that is still being asked comes back pending. `then` is
        done with an answer in the thread that has asked.
        """
        wanted = [self._wanted(panel, window, key, task_id, then) for panel in panels]
        answers = await self._answers.get(wanted, patience)
        return [
            self._pending(panel, window, task_id)
            if found is None
            else msgspec.structs.replace(_filled(found), panel=panel)
            for panel, found in zip(panels, answers, strict=True)
        ]

    async def count_removed(
        self, window: Window, key: str, *, task_id: str | None = None, patience: float = PATIENCE
    ) -> Removed | None:
        """Return how many events of a window have no payload any more; None if there are none.

        None as well while nobody knows.
        """
        begun = self._clock.monotonic()
        [first] = await self.fill([self.panels[REMOVED]], window, key, task_id=task_id, patience=patience)
        if task_id is not None or not has_more(first):
            return removed_of(first)
        left = max(0.0, patience - (self._clock.monotonic() - begun))
        return removed_of(first, *await self.fill([self.panels[OF_TIME]], window, key, patience=left))

    def _wanted(
        self,
        panel: Panel,
        window: Window,
        key: str,
        task_id: str | None,
        then: Callable[[Filled], object] | None,
    ) -> Wanted[Filled]:
        values = values_of(panel, window, task_id=task_id)
        moves = not {"since", "until"}.isdisjoint(values)
        ask = partial(self._ask, panel, window, task_id, then)
        named = (panel.statement.text, key if moves else "", task_id, panel.limit)
        is_slow = _SLOW in panel.statement.text
        return Wanted(key=named, ask=ask, version=tuple(values.items()), is_slow=is_slow)

    def _ask(
        self, panel: Panel, window: Window, task_id: str | None, then: Callable[[Filled], object] | None
    ) -> Filled:
        filled = fill_panel(self._database, panel, window, task_id=task_id, timeout=GIVES_UP_AFTER)
        if filled.trouble is not None:
            raise _UnfilledError(filled)  # so that it is not kept as long as an answer is
        if then is not None:
            then(filled)
        return filled

    def _pending(self, panel: Panel, window: Window, task_id: str | None) -> Filled:
        return Filled(
            panel=panel,
            values=values_of(panel, window, task_id=task_id),
            columns=(),
            rows=(),
            asked_at=self._clock.now(),
            seconds=0.0,
            is_pending=True,
        )

    async def find(self, key: Hashable, ask: Callable[[float], T], patience: float = PATIENCE) -> T | None:
        """Return what `ask`, told how long it may take, finds out; None while it is still being found out.

        Raises what it raises; of what the database refuses, the database is to blame and no visitor.
        """
        wanted: Wanted[T] = Wanted(key=key, ask=partial(ask, GIVES_UP_AFTER))
        [found] = await self._answers.get([wanted], patience)
        try:
            return None if found is None else found.result()
        except UsageError as error:
            raise DatabaseError(str(error)) from error

    async def look(self, bound: datetime, patience: float = PATIENCE) -> datetime | None:
        """Return when the newest event before a moment was; None if there is none, or nobody knows in time.

        Raises DatabaseError where the database cannot be used, or not by this version.
        """
        found = await self.find(_NEWEST, partial(self._newest, bound), patience)
        return next(iter(found or ()), None)

    def _newest(self, bound: datetime, timeout: float) -> list[datetime]:
        self._database.require_migrated()
        statement = self.panels[_NEWEST].statement
        with self._database.ask(statement, {"until": bound}, timeout=timeout) as answer:
            return [_moment(cell) for (cell,) in answer.rows if isinstance(cell, str)]


def _moment(cell: str) -> datetime:
    return datetime.fromisoformat(cell).replace(tzinfo=UTC)
