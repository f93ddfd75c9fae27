"""How does a test or a person in another process steer the sandbox? The routes below /_sandbox/."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from starlette.requests import Request  # noqa: TC002 - Starlette reads the annotations of endpoints
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from maia_sync.sandbox.faults import fault_from_json
from maia_sync.sandbox.mischief import problem, refused
from maia_sync.sandbox.story import more_events
from maia_sync.sandbox.world import Refusal, World

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from maia_sync.sandbox.world import Log

    Endpoint = Callable[[Request], Awaitable[Response]]


def control_routes(world: World) -> list[Route]:
    """Return the control routes; they need no access token."""
    desk = _Desk(world)
    return [
        Route("/counters", _guarded(desk.counters), methods=["GET"]),
        Route("/counters/reset", _guarded(desk.reset_counters), methods=["POST"]),
        Route("/tasks", _guarded(desk.tasks), methods=["GET"]),
        Route("/log/{task_id}", _guarded(desk.log), methods=["GET"]),
        Route("/log/{task_id}", _guarded(desk.edit_log), methods=["POST"]),
        Route("/events", _guarded(desk.append_events), methods=["POST"]),
        Route("/messages", _guarded(desk.messages), methods=["GET"]),
        Route("/tokens/revoke", _guarded(desk.revoke_tokens), methods=["POST"]),
        Route("/bearers/revoke", _guarded(desk.revoke_bearers), methods=["POST"]),
        Route("/faults", _guarded(desk.add_faults), methods=["POST"]),
        Route("/faults", _guarded(desk.clear_faults), methods=["DELETE"]),
    ]


def _guarded(endpoint: Endpoint) -> Endpoint:
    """Turn what a caller did wrong into a problem+json answer."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except Refusal as refusal:
            return refused(refusal).as_response()
        except (ValueError, TypeError, KeyError, IndexError) as error:
            return problem(400, f"The sandbox cannot do this: {error}").as_response()

    return answer


class _Desk:
    """One method for each control route."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def counters(self, _request: Request) -> Response:
        return JSONResponse(self._world.counters())

    async def reset_counters(self, _request: Request) -> Response:
        self._world.reset_counters()
        return Response(status_code=204)

    async def tasks(self, _request: Request) -> Response:
        return JSONResponse(list(self._world.logs))

    async def log(self, request: Request) -> Response:
        body = self._log(request.path_params["task_id"]).as_json()
        return Response(body, media_type="application/json")

    async def edit_log(self, request: Request) -> Response:
        """Append, insert, replace or remove one raw element: ?do=...&at=POSITION, the element as body."""
        log = self._log(request.path_params["task_id"])
        event = await request.body()
        deed, position = request.query_params.get("do", "append"), int(request.query_params.get("at", "-1"))
        if deed == "append":
            log.append(event)
        elif deed == "insert":
            log.insert(position, event)
        elif deed == "replace":
            log.replace(position, event)
        elif deed == "remove":
            log.remove(position)
        else:
            raise ValueError(f"do is append, insert, replace or remove, not {deed}")
        return JSONResponse({"events": len(log)})

    async def append_events(self, request: Request) -> Response:
        """Let one log ("task") or each go on by "n" events; answers with the new lengths."""
        order = await _json_body(request)
        number = int(order.get("n", 1))
        name = order.get("task")
        logs = list(self._world.logs.values()) if name is None else [self._log(str(name))]
        for log in logs:
            more_events(log, number)
        return JSONResponse({log.task_id: len(log) for log in logs})

    async def messages(self, _request: Request) -> Response:
        return JSONResponse(
            [
                {
                    "taskId": sent.task_id,
                    "message": sent.message,
                    "agentConfig": sent.agent_config,
                    "grantedPermissions": sent.granted_permissions,
                }
                for sent in self._world.sent
            ]
        )

    async def revoke_tokens(self, _request: Request) -> Response:
        self._world.revoke_tokens()
        return Response(status_code=204)

    async def revoke_bearers(self, _request: Request) -> Response:
        self._world.bearers.revoke()
        return Response(status_code=204)

    async def add_faults(self, request: Request) -> Response:
        """Queue a JSON list of faults; "task" in one restricts it to a task (or "oauth")."""
        scripted = json.loads(await request.body())
        if not isinstance(scripted, list):
            raise TypeError("faults come as a list")
        queue = []
        for value in scripted:
            if not isinstance(value, dict):
                raise TypeError("a fault is an object")
            task_id = value.pop("task", None)
            queue.append((fault_from_json(value), task_id))
        for fault, task_id in queue:
            self._world.faults.add(fault, task_id=task_id)
        return JSONResponse({"queued": len(queue)})

    async def clear_faults(self, _request: Request) -> Response:
        self._world.faults.clear()
        return Response(status_code=204)

    def _log(self, task_id: str) -> Log:
        return self._world.log(task_id)


async def _json_body(request: Request) -> dict[str, Any]:
    value = json.loads(await request.body() or b"{}")
    if not isinstance(value, dict):
        raise TypeError("the body is a JSON object")
    return value
