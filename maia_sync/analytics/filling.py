"""What do the questions of page and report answer just now? Each is asked by itself, with a limit of time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from maia_sync.analytics.panels import Panel
from maia_sync.errors import MaiaSyncError
from maia_sync.store.answer import Row, Value

if TYPE_CHECKING:
    from maia_sync.analytics.window import Window
    from maia_sync.store.answer import Cell
    from maia_sync.store.asking import ReadingDatabase


class Filled(msgspec.Struct, frozen=True, kw_only=True):
    """A panel with its answer; cells are as in store/answer.py."""

    panel: Panel
    values: Mapping[str, Value]
    """What its statement was told."""
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    asked_at: datetime
    seconds: float
    """How long the answer took."""
    trouble: str | None = None
    """Why there is no answer: a sentence."""
    is_pending: bool = False
    """The answer is being worked out; there are no rows yet."""

    def column(self, name: str) -> int:
        """Return where a column stands."""
        return self.columns.index(name)

    @property
    def sql(self) -> str:
        """What was asked, complete: to be pasted into `maia-sync query`, sqlite3 or psql."""
        return f"{self.panel.statement.spelt_out(self.values)};"


def row_of(filled: Filled | None) -> Mapping[str, Cell] | None:
    """Return the one row of an answer by the names of its columns; None if there is none."""
    if filled is None or not filled.rows:
        return None
    return dict(zip(filled.columns, filled.rows[0], strict=True))


def values_of(
    panel: Panel, window: Window, *, task_id: str | None = None, limit: int | None = None
) -> Mapping[str, Value]:
    """Return what a panel's statement is told, in the order of their names: nothing that it does not name."""
    told: Mapping[str, Value] = {**window.values(), "task": task_id, "limit": limit or panel.limit}
    return {name: told[name] for name in sorted(panel.statement.parameters)}


def fill_panel(
    database: ReadingDatabase,
    panel: Panel,
    window: Window,
    *,
    task_id: str | None = None,
    limit: int | None = None,
    timeout: float | None = None,
) -> Filled:
    """Ask a panel's question and return the panel with its answer, or with what went wrong."""
    values = values_of(panel, window, task_id=task_id, limit=limit)
    begun, asked_at = database.clock.monotonic(), database.clock.now()
    columns: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    trouble = None
    try:
        with database.ask(panel.statement, values, timeout=timeout) as answer:
            columns = tuple(column.name for column in answer.columns)
            rows = tuple(answer.rows)
    except MaiaSyncError as error:
        columns, rows, trouble = (), (), str(error)
    return Filled(
        panel=panel,
        values=values,
        columns=columns,
        rows=rows,
        asked_at=asked_at,
        seconds=database.clock.monotonic() - begun,
        trouble=trouble,
    )
