"""Which request gets which answer? The sandbox's ASGI application over a world."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request  # noqa: TC002 - Starlette reads the annotations of endpoints
from starlette.routing import Mount, Route

from maia_sync.sandbox.control import control_routes
from maia_sync.sandbox.faults import OAUTH, Fault
from maia_sync.sandbox.mischief import Answer, Mistreated, problem, refused, spoilt
from maia_sync.sandbox.sending import read_message
from maia_sync.sandbox.tally import Seen
from maia_sync.sandbox.world import Refusal, Served, World

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

MESSAGES = "/v1/ai/agents/tasks/{task_id}/messages"

_ARRIVAL = "sandbox.arrival"


def build_app(world: World, *, compress: bool = False) -> Starlette:
    """Return the application: both endpoints (also below /dpc), the token endpoint, and /_sandbox/."""
    messages = Route(MESSAGES, _Messages(world).answer, methods=["GET", "POST"])
    messages.methods = {"GET", "POST"}  # the contract has no HEAD, which Starlette adds to each GET
    middleware = [Middleware(_InFlight, world)]
    if compress:
        middleware.append(Middleware(GZipMiddleware, minimum_size=500, compresslevel=1))
    app = Starlette(
        routes=[
            messages,
            Mount("/dpc", routes=[messages]),
            Route("/oauth/dpc/token", _AccessTokens(world).answer, methods=["POST"]),
            Mount("/_sandbox", routes=control_routes(world)),
        ],
        middleware=middleware,
        exception_handlers={HTTPException: _no_such_route},
    )
    app.router.redirect_slashes = False
    return app


async def _no_such_route(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = tuple((getattr(error, "headers", None) or {}).items())
    return replace(problem(status, "The sandbox has no such route."), headers=headers).as_response()


class _InFlight:
    """Notes how many requests for messages are on their way; one that is stalled is until its client goes."""

    def __init__(self, app: ASGIApp, world: World) -> None:
        self._app = app
        self._world = world

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].endswith("/messages"):
            await self._app(scope, receive, send)
            return
        with self._world.tally.answering(self._world.clock) as arrival:
            scope[_ARRIVAL] = arrival
            await self._app(scope, receive, send)


class _Messages:
    """GET and POST of a task's messages."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def answer(self, request: Request) -> Response:
        if self._world.latency:
            await self._world.clock.sleep(self._world.latency)
        if not self._lets_in(request):
            answer = problem(401, "The bearer token is missing or not valid.")
            return self._noted(request, None, answer).as_response()
        fault = self._world.faults.take(_task_id(request), request.method)
        if request.method == "POST":
            return self._sent(request, fault, await request.body())
        return self._page(request, fault or self._world.slowness(request.query_params.get("limit")))

    def _lets_in(self, request: Request) -> bool:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and self._world.bearers.accepts(token.strip())

    def _page(self, request: Request, fault: Fault | None) -> Response:
        if fault and (instead := spoilt(fault)):
            return self._noted(request, fault, instead).as_response()
        empty = fault is not None and fault.kind == "empty_pages"
        read = self._world.read_empty if empty else self._world.read
        query = request.query_params
        token = query.get("paginationToken")
        try:
            served = read(_task_id(request), query.get("limit"), token)
        except Refusal as refusal:
            return self._delivered(request, fault, refused(refusal), None)
        return self._delivered(request, fault, Answer(status=200, body=served.body), served)

    def _sent(self, request: Request, fault: Fault | None, body: bytes) -> Response:
        try:
            log = self._world.log(_task_id(request))
            message = read_message(log.task_id, body)
        except Refusal as refusal:
            answer = refused(refusal)
        else:
            if fault is None or fault.applied or _arrives(fault):
                self._world.send(message)
            answer = Answer(status=202, body=json.dumps({"taskId": log.task_id}).encode())
        if fault and (instead := spoilt(fault)):
            return self._noted(request, fault, instead).as_response()
        return self._delivered(request, fault, answer, None)

    def _delivered(
        self, request: Request, fault: Fault | None, answer: Answer, served: Served | None
    ) -> Response:
        """Return the answer, mistreated where the fault says so; a page counts as served once it is sent."""
        self._noted(request, fault, answer, served)
        token = request.query_params.get("paginationToken")
        count = partial(self._world.count_page, _task_id(request), token, served) if served else None
        if fault is None or fault.kind == "empty_pages":
            if count:
                count()
            return answer.as_response()
        return Mistreated(fault, answer, self._world.clock, count)

    def _noted(
        self, request: Request, fault: Fault | None, answer: Answer, served: Served | None = None
    ) -> Answer:
        silent = fault is not None and (fault.kind == "reset" or _never_answers(fault))
        query = request.query_params
        self._world.tally.note(
            Seen(
                method=request.method,
                task_id=_task_id(request),
                token=query.get("paginationToken"),
                limit=query.get("limit"),
                status=None if silent else answer.status,
                fault=fault.kind if fault else None,
                events=served.events if served else 0,
                arrival=request.scope.get(_ARRIVAL),
                answered_at=self._world.clock.monotonic(),
            )
        )
        return answer


class _AccessTokens:
    """POST of client credentials (RFC 6749, section 4.4)."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def answer(self, request: Request) -> Response:
        fault = self._world.faults.take(OAUTH, "POST")
        self._world.tally.note_oauth(fault.kind if fault else None)
        if fault and (instead := spoilt(fault)):
            return instead.as_response()
        answer = self._exchange(await request.body())
        if fault and fault.kind != "empty_pages":
            return Mistreated(fault, answer, self._world.clock)
        return answer.as_response()

    def _exchange(self, body: bytes) -> Answer:
        form = {name: values[-1] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}
        if form.get("grant_type") != "client_credentials":
            return _oauth_error(400, "unsupported_grant_type", "Only client_credentials is granted.")
        if not form.get("audience"):
            return _oauth_error(400, "invalid_request", "The audience is missing.")
        bearers = self._world.bearers
        if not bearers.knows(form.get("client_id", ""), form.get("client_secret", "")):
            return _oauth_error(401, "invalid_client", "The client id or its secret is wrong.")
        life = bearers.life if bearers.told_life is None else bearers.told_life
        answer = {"access_token": bearers.issue(), "token_type": "Bearer", "expires_in": round(life)}
        return Answer(status=200, body=json.dumps(answer).encode(), headers=(("Cache-Control", "no-store"),))


def _oauth_error(status: int, error: str, description: str) -> Answer:
    body = json.dumps({"error": error, "error_description": description}).encode()
    return Answer(status=status, body=body)


def _task_id(request: Request) -> str:
    return str(request.path_params["task_id"]).lower()


def _arrives(fault: Fault) -> bool:
    """Say whether the true answer comes in the end."""
    return fault.kind in ("trickle", "empty_pages") or (fault.kind == "stall" and fault.seconds is not None)


def _never_answers(fault: Fault) -> bool:
    return fault.kind == "stall" and fault.seconds is None
