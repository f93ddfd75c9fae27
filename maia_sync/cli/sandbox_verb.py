"""How does one try maia-sync without Maia? sandbox: serves the stand-in API on loopback."""

import threading
from typing import TYPE_CHECKING, Annotated

import typer

from maia_sync.cli.screen import flush, say
from maia_sync.cli.task_ids import shown
from maia_sync.errors import UsageError

if TYPE_CHECKING:
    from maia_sync.clock import Clock
    from maia_sync.sandbox.world import World

_ORDERS = ("oldest-first", "newest-first")
_MISSING_EXTRA = 'the sandbox needs two more packages: pip install "maia-sync[demo]"'


def register(cli: typer.Typer) -> None:
    """Add the verb of this module."""
    cli.command()(sandbox)


def sandbox(
    *,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The port on 127.0.0.1; 0 takes a free one.")
    ] = 8322,
    tasks: Annotated[int, typer.Option(min=1, max=10_000, help="How many tasks there are.")] = 5,
    events: Annotated[int, typer.Option(min=0, max=1_000_000, help="How many events each log has.")] = 200,
    seed: Annotated[int, typer.Option(help="The same seed makes the same logs.")] = 1,
    order: Annotated[str, typer.Option(metavar="O", help="oldest-first or newest-first.")] = "oldest-first",
    grow: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=0.01, help="Add an event to a log this often.")
    ] = None,
) -> None:
    """Serve a stand-in for the Maia API on this machine until Ctrl-C."""
    require_sandbox()
    from maia_sync.clock import SystemClock
    from maia_sync.sandbox.server import serve_forever
    from maia_sync.sandbox.story import make_world

    if order not in _ORDERS:
        raise UsageError(f"--order: expected {' or '.join(_ORDERS)}, got {shown(order)}")
    world = make_world(seed=seed, tasks=tasks, events_per_task=events, order=order)
    if grow is not None:
        threading.Thread(target=_grow, args=(world, grow, SystemClock()), daemon=True).start()
    serve_forever(world, port=port, announce=lambda url: _announce(url, list(world.logs)))


def require_sandbox() -> None:
    """Raise UsageError unless the packages that the sandbox needs are installed."""
    from importlib.util import find_spec

    if find_spec("starlette") is None or find_spec("uvicorn") is None:
        raise UsageError(_MISSING_EXTRA)


def _grow(world: "World", seconds: float, clock: "Clock") -> None:
    from maia_sync.sandbox.story import more_events

    while True:
        for log in list(world.logs.values()):
            clock.pause(seconds)
            more_events(log, 1)


def _announce(url: str, task_ids: list[str]) -> None:
    say(f"The sandbox serves {len(task_ids)} tasks at {url} until Ctrl-C.")
    say("\nIn another terminal, before other commands:\n")
    say(f"  export MAIA_SYNC_API__BASE_URL={url}\n  export MAIA_SYNC_AUTH__TOKEN=sandbox")
    say("\nAny bearer token is accepted. The tasks:\n")
    for task_id in task_ids:
        say(f"  {task_id}")
    flush()
