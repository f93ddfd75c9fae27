"""How does an answer go wrong on the wire? Acts out scripted faults as ASGI messages.

A connection is closed or reset through the `disrupt` callable that the server puts into each connection's
ASGI state; without one (an in-process transport) ConnectionResetError is raised instead.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.responses import Response

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from starlette.types import Receive, Scope, Send

    from maia_sync.clock import Clock
    from maia_sync.sandbox.faults import Fault
    from maia_sync.sandbox.world import Refusal

DISRUPT = "disrupt"
"""The key of the ASGI state under which a connection can be broken: disrupt(reset: bool)."""

_FLOOD = 64 * 1024 * 1024
_FLOOD_CHUNK = b" " * 65536


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer before it is sent."""

    status: int
    body: bytes
    media_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()

    def as_response(self) -> Response:
        """Return it as Starlette sends it."""
        response = Response(self.body, status_code=self.status, media_type=self.media_type)
        for name, value in self.headers:
            response.headers[name] = value
        return response


def problem(status: int, detail: str, violations: tuple[str, ...] = ()) -> Answer:
    """Return a problem+json answer (RFC 9457)."""
    body: dict[str, object] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    if violations:
        body["violations"] = list(violations)
    headers = (("WWW-Authenticate", "Bearer"),) if status == 401 else ()
    return Answer(
        status=status,
        body=json.dumps(body).encode(),
        media_type="application/problem+json",
        headers=headers,
    )


def refused(refusal: Refusal) -> Answer:
    """Return the answer of a refusal."""
    return problem(refusal.status, refusal.detail, refusal.violations)


def spoilt(fault: Fault) -> Answer | None:
    """Return the answer that stands instead of the true one, or None where the true one is mistreated."""
    if fault.kind == "status":
        answer = _scripted_status(fault)
    elif fault.kind == "garbage":
        answer = Answer(status=200, body=fault.body or b'{"results":[{"data":{"type":"agentMes')
    elif fault.kind == "html":
        page = b"<!DOCTYPE html><html><body><h1>Please sign in to the network</h1></body></html>"
        answer = Answer(status=200, body=fault.body or page, media_type="text/html")
    elif fault.kind == "not_a_page":
        answer = Answer(status=200, body=fault.body or b'{"status":"ok","message":"no results here"}')
    else:
        return None
    return replace(answer, headers=answer.headers + fault.headers)


def _scripted_status(fault: Fault) -> Answer:
    answer = problem(fault.status, fault.detail)
    if fault.body is not None:
        answer = replace(answer, body=fault.body)
    if fault.retry_after is None:
        return answer
    retry_after = fault.retry_after
    text = retry_after if isinstance(retry_after, str) else f"{retry_after:g}"
    return replace(answer, headers=(*answer.headers, ("Retry-After", text)))


class Mistreated(Response):
    """A true answer that is cut, reset, stalled, trickled or drowned on its way."""

    def __init__(
        self, fault: Fault, answer: Answer, clock: Clock, delivered: Callable[[], None] | None = None
    ) -> None:
        super().__init__(answer.body, status_code=answer.status, media_type=answer.media_type)
        self._fault = fault
        self._clock = clock
        self._delivered = delivered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, or what is left of it."""
        acts: dict[str, Callable[[Scope, Receive, Send], Coroutine[None, None, None]]] = {
            "cut": self._cut,
            "reset": self._reset,
            "stall": self._stall,
            "trickle": self._trickle,
            "flood": self._flood,
        }
        await acts[self._fault.kind](scope, receive, send)

    async def _cut(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send(self._start())
        half = bytes(self.body[: len(self.body) // 2])
        await send({"type": "http.response.body", "body": half, "more_body": True})
        await _break_off(scope, receive, reset=False)

    async def _reset(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - nothing is sent
        await _break_off(scope, receive, reset=True)

    async def _stall(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._fault.seconds is None:
            await _gone(receive)
        elif await self._wait(self._fault.seconds, asyncio.ensure_future(_gone(receive))):
            self._count()
            await super().__call__(scope, receive, send)

    async def _trickle(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - an act
        gone = asyncio.ensure_future(_gone(receive))
        step = self._fault.size or 1
        pause = 0.05 if self._fault.seconds is None else self._fault.seconds
        await send(self._start())
        for begin in range(0, len(self.body), step):
            piece = bytes(self.body[begin : begin + step])
            more = begin + step < len(self.body)
            if not more:
                self._count()
            await send({"type": "http.response.body", "body": piece, "more_body": more})
            if more and not await self._wait(pause, gone):
                return
        gone.cancel()

    async def _flood(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - an act
        gone = asyncio.ensure_future(_gone(receive))
        size = self._fault.size or _FLOOD
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b'{"results":[', "more_body": True})
        for _ in range(0, size, len(_FLOOD_CHUNK)):
            await send({"type": "http.response.body", "body": _FLOOD_CHUNK, "more_body": True})
            await self._clock.sleep(0)
            if gone.done():
                return
        await send({"type": "http.response.body", "body": b"]}", "more_body": False})
        gone.cancel()

    def _count(self) -> None:
        if self._delivered:
            self._delivered()

    def _start(self) -> dict[str, object]:
        return {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}

    async def _wait(self, seconds: float, gone: asyncio.Future[None]) -> bool:
        """Wait, and say whether the client is still there."""
        sleep = asyncio.ensure_future(self._clock.sleep(seconds))
        await asyncio.wait({sleep, gone}, return_when=asyncio.FIRST_COMPLETED)
        sleep.cancel()
        return not gone.done()


async def _break_off(scope: Scope, receive: Receive, *, reset: bool) -> None:
    disrupt = scope.get("state", {}).get(DISRUPT)
    if disrupt is None:
        raise ConnectionResetError("the sandbox broke the connection off, as scripted")
    disrupt(reset=reset)
    await _gone(receive)


async def _gone(receive: Receive) -> None:
    """Wait until the connection is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
