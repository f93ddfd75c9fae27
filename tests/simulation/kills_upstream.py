"""What do the logs do between two kills, and what was served of them? A world that keeps each page."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from maia_sync.sandbox.world import Log, Served, World
from tests.logs import stamp, task_id

if TYPE_CHECKING:
    from random import Random

_STAMP = re.compile(rb'"timestamp":"([^"]+)"')
_ODD = (
    '{"data":{"n":%d,"n":"%d"},"groupId":"g","timestamp":"STAMP"}',
    '{"data":{"n":%d,"s":"\\u0000 \\ud800"},"groupId":"g","timestamp":"STAMP"}',
    '{"kind":"plan","data":[ %d, 1e400, -0.0 ],"groupId":7,"timestamp":"STAMP"}',
    '{"data":"\U0001f9ed %d","timestamp":"STAMP"}',
    '{"data":%d,"groupId":null,"timestamp":null}',
    '{"groupId":"no data %d","timestamp":"STAMP"}',
    '"no event %d"',
    "[%d]",
)


class ServedPage(NamedTuple):
    """One page as it was served."""

    asked: str | None
    following: str | None
    elements: tuple[bytes, ...]


class WatchedWorld(World):
    """A world that remembers each page that it served, once however often it was asked for."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.pages: dict[str, dict[ServedPage, None]] = {}
        self._latest: list[bytes] = []

    def read(self, task_id: str, limit: int | str | None = None, token: str | None = None) -> Served:
        """Return a page; the server's one thread is the only one that reads."""
        served = super().read(task_id, limit, token)
        page = ServedPage(token, served.next_token, tuple(self._latest))
        self.pages.setdefault(task_id.lower(), {})[page] = None
        return served

    def _body(self, events: list[bytes], token: str | None) -> bytes:
        self._latest = events
        return super()._body(events, token)


class Logs:
    """The logs of a world: new ones come, some only grow, others are changed anywhere."""

    def __init__(self, world: WatchedWorld, dice: Random, *, longest: int) -> None:
        self.world = world
        self.growing: set[str] = set()
        """Tasks whose logs are appended to and nothing else."""
        self.active: list[str] = []
        self._dice = dice
        self._longest = longest
        self._number = 0
        self._seconds: dict[str, int] = {}

    def begin(self) -> str:
        """Begin a log, and return its task: in any order, to grow or to be changed."""
        name = task_id(len(self.world.logs) + 1)
        self.world.orders[name] = self._dice.choice(("oldest-first", "newest-first"))
        self.world.add(Log(name))
        self._seconds[name] = 0
        self.active.append(name)
        if self._dice.random() < 0.5:
            self.growing.add(name)
        self.append(name, self._dice.randint(1, self._longest))
        return name

    def append(self, name: str, number: int) -> None:
        """Let a log grow at its newest end."""
        self.world.logs[name].extend([self._newest(name) for _ in range(number)])

    def go_on(self) -> None:
        """Let time pass: most logs grow, and those that are changed are changed in one way or another."""
        for name in self.active:
            if self._dice.random() < 0.8:
                self.append(name, self._dice.randrange(25))
            if name not in self.growing and self._dice.random() < 0.7:
                self._change(self.world.logs[name])

    def _newest(self, name: str) -> bytes:
        self._seconds[name] += self._dice.random() < 0.9
        moment = stamp(self._seconds[name])
        if self._dice.random() < 0.03:
            self._number += 1
            odd = self._dice.choice(_ODD).replace("%d", str(self._number)).replace("STAMP", moment)
            return odd.encode()
        return self._event(moment)

    def _event(self, moment: str) -> bytes:
        """Return an event whose payload is its own."""
        self._number += 1
        group = self._dice.choice(("g", "g", "h"))
        data = f'{{"n":{self._number},"text":"as it was"}}'
        return f'{{"data":{data},"groupId":"{group}","timestamp":"{moment}"}}'.encode()

    def _change(self, log: Log) -> None:
        at = self._dice.randrange(len(log))
        element = log.events[at]
        found = _STAMP.search(element)
        moment = found[1].decode() if found else stamp(0)
        match self._dice.randrange(5):
            case 0:
                log.replace(at, element.replace(b'"as it was"', b'"changed %d"' % self._number))
                self._number += 1
            case 1:
                log.replace(at, element.replace(b',"text":"as', b', "text" : "\\u0061s'))
            case 2:
                log.insert(at, *[self._event(moment) for _ in range(self._dice.randint(1, 4))])
            case 3:
                if len(log) > 20:
                    log.remove(at, self._dice.randint(1, 2))
            case 4:
                log.insert(self._dice.randrange(len(log)), element)
