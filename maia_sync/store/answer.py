"""What is an answer to somebody's own SQL made of? Columns, rows of plain cells, and a limit of time.

A cell looks the same from both databases: a moment is the text `YYYY-MM-DD HH:MM:SS.ffffff` in UTC, a day is
`YYYY-MM-DD`, a UUID is text, JSON is the text that is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

import msgspec

from maia_sync.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date, datetime

Cell: TypeAlias = bool | int | float | str | bytes | None
Row: TypeAlias = tuple[Cell, ...]
Value: TypeAlias = "datetime | date | str | int | None"
"""What a parameter stands for; a datetime is aware."""
Kind: TypeAlias = Literal["any", "bool", "integer", "number", "real", "moment", "day", "bytes", "text"]
"""What a column holds: "any" on SQLite, where each cell has a type of its own; "number": int or float."""


class Column(msgspec.Struct, frozen=True):
    """A column of an answer."""

    name: str
    kind: Kind


class Answer(msgspec.Struct, frozen=True):
    """What a query gives: its columns, and its rows as they come; to be read while the query is open."""

    columns: tuple[Column, ...]
    rows: Iterator[Row]


class Limit(msgspec.Struct, frozen=True):
    """How long a query may take, and until when that is; None: as long as it likes."""

    clock: Clock
    seconds: float | None
    until: float | None
    is_closed: Callable[[], bool] = lambda: False
    """Whether nobody waits for the answer any more."""

    def is_over(self) -> bool:
        """Tell whether the time has gone by."""
        return self.until is not None and self.clock.monotonic() >= self.until

    def ends(self) -> bool:
        """Tell whether the query is to be ended."""
        return self.is_closed() or self.is_over()


class Question(Protocol):
    """One statement put to one of the two databases, within a transaction."""

    def ask(self, values: Mapping[str, Value]) -> tuple[Column, ...]:
        """Begin, with a value for each parameter, and return the columns."""

    def rows(self) -> Iterator[Row]:
        """Yield the rows."""

    def end(self) -> None:
        """Let another thread end it: who reads its rows gets an error soon."""

    def close(self) -> None:
        """Let go of what has not been read."""
