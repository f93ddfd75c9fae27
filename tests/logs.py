"""How does a test write a log? Raw elements by hand, as the sandbox serves them."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

from maia_sync.sandbox.world import Log, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def task_id(number: int) -> str:
    """Return the id of a test's task; they sort by number."""
    return f"{number:08d}-1111-4111-8111-111111111111"


TASK = task_id(1)
BEARER = "test-bearer-5f2c9a"


def stamp(number: int) -> str:
    """Return the moment of the n-th event: one a second."""
    return f"2026-01-05T{8 + number // 3600:02d}:{number // 60 % 60:02d}:{number % 60:02d}.25Z"


def event(number: int, text: str = "as it was", *, group: str = "g") -> bytes:
    """Return the n-th event of a log, with a key of its own."""
    data = f'{{"n":{number},"text":"{text}"}}'
    return f'{{"data":{data},"groupId":"{group}","timestamp":"{stamp(number)}"}}'.encode()


def twin(number: int, text: str) -> bytes:
    """Return an event of the n-th key, told from others of that key by its payload alone."""
    return f'{{"data":"{text}","groupId":"g","timestamp":"{stamp(number)}"}}'.encode()


def events(length: int, start: int = 0) -> list[bytes]:
    """Return `length` events, each with a key of its own."""
    return [event(number) for number in range(start, start + length)]


class RecordingWorld(World):
    """A world that remembers every event that it served."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.served: list[bytes] = []

    def _body(self, events: list[bytes], token: str | None) -> bytes:
        self.served += events
        return super()._body(events, token)


def world_of(elements: Iterable[bytes], **settings: Any) -> RecordingWorld:
    """Return a world of one task, TASK, with this log."""
    world = RecordingWorld(**settings)
    world.add(Log(TASK, elements))
    return world


def world_of_many(tasks: int, length: int, **settings: Any) -> World:
    """Return a world of tasks 1 to `tasks`, each with a log of `length` events."""
    world = World(**settings)
    for number in range(1, tasks + 1):
        world.add(Log(task_id(number), events(length)))
    return world


def after_pages(world: World, number: int, deed: Callable[[], object]) -> None:
    """Do something when so many pages have been served, to any task."""
    served = count(1)

    def script(_asked: str | None, natural: str | None) -> str | None:
        if next(served) == number:
            deed()
        return natural

    world.scripted_tokens.update(dict.fromkeys(world.logs, script))
