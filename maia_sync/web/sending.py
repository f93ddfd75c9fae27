"""How is a long answer sent to a visitor who may be slow, or gone? Piece by piece, and not for ever."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from starlette.responses import Response

from maia_sync.web.server import BrokenOff

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from starlette.types import Receive, Scope, Send

WITHIN: Final = 180.0
"""Seconds within which all must have been taken; the server lets go of whoever takes nothing much sooner."""


class Sending(Response):
    """A response of pieces: `piece` gives the next one, an empty one at the end.

    `leave` is called once, in the loop, when all is sent or the visitor has gone. One that takes too long is
    broken off, as one whose next piece cannot be had: nobody takes it for a whole one.
    """

    def __init__(
        self,
        piece: Callable[[], Awaitable[bytes | memoryview]],
        leave: Callable[[], None],
        *,
        media_type: str,
        headers: Mapping[str, str],
        within: float = WITHIN,
    ) -> None:
        self._piece = piece
        self._leave = leave
        self._within = within
        self.status_code = 200
        self.media_type = media_type
        self.background = None
        self.init_headers(headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        sending = asyncio.ensure_future(self._send(send, has_body=scope["method"] != "HEAD"))
        leaving = asyncio.ensure_future(_gone(receive))
        try:
            await asyncio.wait({sending, leaving}, timeout=self._within, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()  # raises what went wrong
            elif not leaving.done():
                raise BrokenOff
        finally:
            self._leave()
            sending.cancel()
            leaving.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)

    async def _send(self, send: Send, *, has_body: bool) -> None:
        start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        await send(start)
        while has_body and (piece := await self._piece()):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
