"""How is a whole answer sent as CSV, however long it is? Piece by piece, as the database gives it.

A cell is written to the letter. One that a spreadsheet would take for a formula (`=1+1`) stays what it is: a
download is data for a program too, which an apostrophe in front would falsify.
"""

from __future__ import annotations

import asyncio
import queue
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any, Final

from maia_sync.errors import DatabaseError, UsageError
from maia_sync.report.cells import csv_line
from maia_sync.web.sending import WITHIN, Sending
from maia_sync.web.threads import Busy, Turns, start

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from starlette.responses import Response

    from maia_sync.store.answer import Value
    from maia_sync.store.asking import ReadingDatabase
    from maia_sync.store.statement import Statement

GIVES_UP_AFTER: Final = 120.0
"""Seconds that a download may take the database."""
AT_ONCE: Final = 2
PATIENCE: Final = 5.0
"""Seconds that a download waits for its turn."""
_PIECE: Final = 1 << 16
_OTHERS: Final = "Other downloads are under way: try again in a minute"
_NO_ANSWER: Final = "The database is busy: try again in a minute"
_LATER: Final = 60


class Downloads:
    """Answers as CSV; a few are sent at a time, others wait for their turn, but not for long."""

    def __init__(
        self, database: ReadingDatabase, *, patience: float = PATIENCE, within: float = WITHIN
    ) -> None:
        self._database = database
        self._within = within
        self._turns = Turns(AT_ONCE, patience=patience, sentence=_OTHERS, retry_after=_LATER)

    async def send(
        self, name: str, statement: Statement, values: Mapping[str, Value], *, columns: int | None = None
    ) -> Response:
        """Return the response: a file of this name, of letters that need no quoting, and its first columns.

        Raises DatabaseError if the answer does not begin, and Busy; one that breaks off later breaks the
        connection off, so that nobody takes it for a whole one.
        """
        end_turn = await self._turns.take()
        source = _Source(self._pieces(statement, values, columns), end_turn)
        try:
            async with asyncio.timeout(self._within):
                await source.read_first()
        except BaseException as error:
            source.leave()
            if isinstance(error, UsageError):  # the question is ours
                raise DatabaseError(str(error)) from error
            if isinstance(error, TimeoutError):
                raise Busy(_NO_ANSWER, retry_after=_LATER) from error
            raise
        return Sending(
            source.next,
            source.leave,
            media_type="text/csv; charset=utf-8; header=present",
            headers={"Content-Disposition": f'attachment; filename="{name}.csv"'},
            within=self._within,
        )

    def _pieces(self, statement: Statement, values: Mapping[str, Any], most: int | None) -> Generator[bytes]:
        self._database.require_migrated_lately()
        with self._database.ask(statement, values, timeout=GIVES_UP_AFTER) as answer:
            held = [csv_line([column.name for column in answer.columns][:most])]
            size = 0
            for row in answer.rows:
                held.append(csv_line(row[:most]))
                size += len(held[-1])
                if size >= _PIECE:
                    yield "".join(held).encode("utf-8", "backslashreplace")
                    held, size = [], 0
            if held:
                yield "".join(held).encode("utf-8", "backslashreplace")


class _Source:
    """The pieces of one download, read and let go of in one thread of its own.

    Whoever leaves does not wait for it, however stuck the database is; the turn ends when it is let go of.
    """

    def __init__(self, pieces: Generator[bytes], end_turn: Callable[[], None]) -> None:
        self._pieces = pieces
        self._end_turn = end_turn
        self._loop = asyncio.get_running_loop()
        self._wanted: queue.SimpleQueue[asyncio.Future[bytes] | None] = queue.SimpleQueue()
        self._first = b""
        start("maia-sync-download", self._work)

    async def read_first(self) -> None:
        """Read the first piece, which may be long in coming. Raises what is wrong."""
        self._first = await self._read()

    async def next(self) -> bytes:
        """Return the next piece; an empty one at the end."""
        if self._first:
            piece, self._first = self._first, b""
            return piece
        return await self._read()

    async def _read(self) -> bytes:
        wanted: asyncio.Future[bytes] = self._loop.create_future()
        self._wanted.put(wanted)
        return await wanted

    def leave(self) -> None:
        """Have what has not been read let go of."""
        self._wanted.put(None)

    def _work(self) -> None:
        # An end that does not go well is of no interest any more.
        with suppress(Exception), closing(self._pieces):
            while (wanted := self._wanted.get()) is not None:
                piece, trouble = b"", None
                try:
                    piece = next(self._pieces, b"")
                except BaseException as error:  # noqa: BLE001 - raised where the piece is wanted
                    trouble = error
                self._tell(_settle, wanted, piece, trouble)
        self._tell(self._end_turn)

    def _tell(self, what: Callable[..., None], *given: Any) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(what, *given)


def _settle(wanted: asyncio.Future[bytes], piece: bytes, trouble: BaseException | None) -> None:
    if wanted.done():
        return
    if trouble is None:
        wanted.set_result(piece)
    else:
        wanted.set_exception(trouble)
