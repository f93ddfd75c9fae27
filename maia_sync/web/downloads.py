"""How is a whole answer sent as CSV, however long it is? Piece by piece, as the database gives it.

A cell is written to the letter. One that a spreadsheet would take for a formula (`=1+1`) stays what it is: a
download is data for a program too, which an apostrophe in front would falsify.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import StreamingResponse

from maia_sync.report.cells import csv_line

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator, Mapping

    from starlette.responses import Response

    from maia_sync.store.answer import Value
    from maia_sync.store.asking import ReadingDatabase
    from maia_sync.store.statement import Statement

GIVES_UP_AFTER: Final = 120.0
"""Seconds that a download may take the database."""
AT_ONCE: Final = 2
_PIECE: Final = 1 << 16


class Downloads:
    """Answers as CSV; a few are sent at a time, others wait for their turn."""

    def __init__(self, database: ReadingDatabase) -> None:
        self._database = database
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def send(
        self, name: str, statement: Statement, values: Mapping[str, Value], *, columns: int | None = None
    ) -> Response:
        """Return the response: a file of this name, of letters that need no quoting, and its first columns.

        Raises MaiaSyncError if the answer does not begin; one that breaks off later breaks the connection
        off, so that nobody takes it for a whole one.
        """
        pieces = self._pieces(statement, values, columns)
        await self._turns.acquire()
        try:
            first = await asyncio.to_thread(next, pieces, b"")
        except BaseException:
            self._turns.release()
            raise
        return StreamingResponse(
            self._sent(first, pieces),
            media_type="text/csv; charset=utf-8; header=present",
            headers={"Content-Disposition": f'attachment; filename="{name}.csv"'},
        )

    async def _sent(self, first: bytes, pieces: Generator[bytes]) -> AsyncIterator[bytes]:
        try:
            piece = first
            while piece:
                yield piece
                piece = await asyncio.to_thread(next, pieces, b"")
        finally:
            self._turns.release()
            with suppress(ValueError):  # it is just working in a thread, which lets go of it in the end
                pieces.close()

    def _pieces(self, statement: Statement, values: Mapping[str, Any], most: int | None) -> Generator[bytes]:
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
