"""What do the logs of busy Maia agents look like? A story told from a seed: same seed, same bytes.

Each turn of a task is one group: a user's message, a plan, tool calls with their results, now and then an
error, the tokens used, an answer and a status. Elements are written as text, piece by piece.
"""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from functools import cache
from itertools import chain, count, islice
from typing import TYPE_CHECKING, Any
from uuid import UUID

from maia_sync.sandbox import phrases
from maia_sync.sandbox.world import Log, SentMessage, World

if TYPE_CHECKING:
    from collections.abc import Iterator

FIRST_DAY = datetime(2026, 1, 5, 8, tzinfo=UTC)

_SECOND = 1_000_000_000
_MILLISECOND = 1_000_000
_DIGITS = (9, 9, 9, 6, 6, 6, 3, 3, 4, 5, 7, 8)


def make_world(seed: int = 1, tasks: int = 3, events_per_task: int = 200, **settings: Any) -> World:
    """Return a world of `tasks` logs; `settings` are the attributes of World."""
    world = World(**settings)
    for index in range(tasks):
        log = world.add(Log(task_uuid(seed, index)))
        more_events(log, events_per_task, seed=seed)
    return world


def task_uuid(seed: int, index: int) -> str:
    """Return the id of the index-th task of a world made from this seed."""
    bits = _dice(f"{seed}/task/{index}").getrandbits(128)
    return str(UUID(int=bits, version=4))


def more_events(log: Log, number: int, *, seed: int = 1) -> list[bytes]:
    """Append what happens next in a log, and return it; a log without a teller gets one."""
    if log.teller is None:
        log.teller = Storyteller(f"{seed}/{log.task_id}")
    events: list[bytes] = log.teller.tell(number)
    log.extend(events)
    return events


class Storyteller:
    """Tells one task's story, event by event, strictly forward in time."""

    def __init__(self, seed: str, start: datetime = FIRST_DAY) -> None:
        self._dice = _dice(seed)
        self._nanos = int(start.timestamp()) * _SECOND + self._dice.randrange(3600 * _SECOND)
        self._user = self._dice.choice(phrases.USERS)
        self._agent = self._dice.choice(phrases.AGENTS)
        self._model = self._dice.choice(phrases.MODELS)
        self._group = ""
        self._turns = self._endless_turns()

    def tell(self, number: int) -> list[bytes]:
        """Return the next `number` events."""
        return list(islice(self._turns, number))

    def told(self, sent: SentMessage, *, answers: bool) -> list[bytes]:
        """Return the events of a message sent to the task, and of the agent's answer to it.

        The turn that was being told is broken off.
        """
        self._turns = self._endless_turns()
        self._wait(2, 60)
        self._group = self._uuid()
        events = [self._element(self._user_says(json.dumps(sent.message)))]
        if answers:
            self._wait(1, 5)
            events += [self._element(self._agent_says()), self._usage(), self._status("completed")]
        return events

    def _endless_turns(self) -> Iterator[bytes]:
        return chain.from_iterable(self._turn() for _ in count())

    def _turn(self) -> Iterator[bytes]:
        dice = self._dice
        self._wait(60, 480)
        self._group = self._uuid()
        yield self._element(self._user_says(dice.choice(phrases.REQUESTS)))
        yield self._status("running")
        self._wait(1, 4)
        yield self._element(self._plan())
        failed = False
        for _ in range(2 + int(dice.random() * 6)):
            if dice.random() < 0.4:
                self._wait(1, 3)
                yield self._element(self._agent_says())
            call, result, failed = self._tool()
            yield call
            yield result
            if failed and dice.random() < 0.5:
                yield self._element(self._trouble())
        yield self._usage()
        self._wait(1, 3)
        yield self._element(self._agent_says())
        yield self._status("failed" if failed and dice.random() < 0.5 else "completed")

    def _user_says(self, text: str) -> str:
        return f'{{"type":"userMessage",{self._user},"text":{text},"attachments":[]}}'

    def _agent_says(self) -> str:
        text = self._dice.choice(phrases.remarks())
        return f'{{"type":"agentMessage","agentName":"{self._agent}","model":"{self._model}","text":{text}}}'

    def _plan(self) -> str:
        steps = self._dice.choice(phrases.plans())
        return f'{{"type":"plan","agentName":"{self._agent}","model":"{self._model}","steps":{steps}}}'

    def _trouble(self) -> str:
        return f'{{"type":"error","agentName":"{self._agent}",{self._dice.choice(phrases.TROUBLES)}}}'

    def _tool(self) -> tuple[bytes, bytes, bool]:
        dice = self._dice
        tool = dice.choice(phrases.tools())
        call_id = f"call_{dice.getrandbits(64):016x}"
        name = f'"toolCallId":"{call_id}","toolName":"{tool.name}"'
        self._wait(0.2, 2)
        call = self._element(
            f'{{"type":"toolCall",{name},"agentName":"{self._agent}","arguments":{dice.choice(tool.arguments)}}}'
        )
        duration = max(3, int(dice.expovariate(1 / tool.mean_milliseconds)))
        self._nanos += duration * _MILLISECOND
        failed = dice.random() < tool.failure_rate
        outcome = dice.choice(phrases.FAILURES) if failed else dice.choice(tool.results)
        status = "failed" if failed else "succeeded"
        result = f'{{"type":"toolResult",{name},"status":"{status}","durationMs":{duration},{outcome}}}'
        return call, self._element(result), failed

    def _usage(self) -> bytes:
        dice = self._dice
        read, written = int(dice.expovariate(1 / 9000)) + 400, int(dice.expovariate(1 / 900)) + 20
        cost = read * 3 + written * 15
        return self._element(
            f'{{"type":"usage","agentName":"{self._agent}","model":"{self._model}","inputTokens":{read},'
            f'"outputTokens":{written},"cacheReadTokens":{read // 3},"costUsd":0.{cost:07d}0}}'
        )

    def _status(self, status: str) -> bytes:
        return self._element(f'{{"type":"taskStatus","status":"{status}","agentName":"{self._agent}"}}')

    def _element(self, data: str) -> bytes:
        self._nanos += 2 * _MILLISECOND + int(self._dice.random() * 40 * _MILLISECOND)
        return f'{{"data":{data},"groupId":"{self._group}","timestamp":"{self._stamp()}"}}'.encode()

    def _stamp(self) -> str:
        seconds, nanos = divmod(self._nanos, _SECOND)
        day, rest = divmod(seconds, 86400)
        digits = _DIGITS[int(self._dice.random() * len(_DIGITS))]
        return (
            f"{_day(day)}T{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}.{f'{nanos:09d}'[:digits]}Z"
        )

    def _wait(self, shortest: float, longest: float) -> None:
        self._nanos += int((shortest + self._dice.random() * (longest - shortest)) * _SECOND)

    def _uuid(self) -> str:
        text = f"{self._dice.getrandbits(128):032x}"
        return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"


def _dice(seed: str) -> random.Random:
    return random.Random(seed)  # noqa: S311 - a story, not a secret


@cache
def _day(days: int) -> str:
    return datetime.fromtimestamp(days * 86400, UTC).strftime("%Y-%m-%d")
