"""How does a process live that is to be killed? It syncs until a moment that was drawn before."""

from __future__ import annotations

import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from tests.killable import Forge, Life

Moment = Literal["delay", "page", "step", "report"]
MOMENTS: tuple[Moment, ...] = ("delay", "page", "step", "report")
_MOST_PAGES = 60
_MOST_STEPS = 400


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a process does, and when it is killed."""

    full: bool = False
    moment: Moment | None = None
    """When: after a `delay`, after so many committed pages and a little more, before its n-th statement or
    commit, or once its `report` is out; None: never."""
    number: int = 0
    """Of the page or the step."""
    share: float = 0.0
    """Of the time that such a run usually takes."""
    pause: float | None = None
    """It is not killed but stopped for so many seconds after the delay, and its leases run out meanwhile."""


@dataclass(frozen=True, kw_only=True)
class Lived:
    """What a process has done, and how it ended."""

    plan: Plan
    pid: int
    killed: bool
    pages: int
    """Commits that it could tell of."""
    reports: list[dict[str, Any]]
    seconds: float
    wrong: str | None
    """Why its end was none that it may have."""

    @property
    def phase(self) -> str:
        """When in its life it was killed."""
        if self.reports:
            return "after the last commit"
        return "between commits" if self.pages else "before the first commit"


def draw_plan(dice: Random, *, full: bool) -> Plan:
    """Draw a moment: any time from start-up to after the last commit; small numbers are likelier."""
    moment = dice.choices(MOMENTS, weights=(4, 4, 3, 1))[0]
    most = _MOST_STEPS if moment == "step" else _MOST_PAGES
    return Plan(full=full, moment=moment, number=int(most ** dice.random()), share=1.1 * dice.random())


def draw_pause(dice: Random, *, full: bool) -> Plan:
    """Draw when a process is paused, and for how long: not so long that others give a lock up."""
    return Plan(full=full, share=dice.random(), pause=0.2 * dice.random())


def live(
    forge: Forge,
    environ: dict[str, str],
    plan: Plan,
    usually: float,
    end_leases: Callable[[int], None] = lambda _: None,
) -> Lived:
    """Let a process live as planned; `usually`: the seconds that such a run takes.

    `end_leases`: does what time does to the leases of a process with this id.
    """
    order = {"die_at": plan.number} if plan.moment == "step" else {}
    life = forge.start(environ, {"full": plan.full}, **order)
    began = time.monotonic()
    if _waited(life, plan, usually):
        life.send(signal.SIGKILL)
    elif plan.pause is not None:
        _pause(life, plan.share * usually, plan.pause, end_leases)
    reports = life.end()
    return Lived(
        plan=plan,
        pid=life.pid,
        killed=life.status == -signal.SIGKILL,
        pages=sum("page" in line for line in life.told),
        reports=reports,
        seconds=time.monotonic() - began,
        wrong=_wrong(life, reports),
    )


def _waited(life: Life, plan: Plan, usually: float) -> bool:
    """Wait for the moment to kill; False if the process has ended, or kills itself."""
    if plan.moment == "delay":
        time.sleep(usually * plan.share)  # a random moment, not a signal that could be waited for
        return True
    if plan.moment == "page":
        if not life.wait_for_pages(plan.number):
            return False
        time.sleep(plan.share * 0.004)
        return True
    return plan.moment == "report" and any("report" in line for line in life.lines())


def _pause(life: Life, delay: float, pause: float, end_leases: Callable[[int], None]) -> None:
    time.sleep(delay)
    end_leases(life.pid)  # before it stops, as it may stop while it holds a lock
    with suppress(ProcessLookupError):  # it has just ended
        life.send(signal.SIGSTOP)
        time.sleep(pause)
        life.send(signal.SIGCONT)


def _wrong(life: Life, reports: list[dict[str, Any]]) -> str | None:
    errors = [line for line in life.told if "error" in line]
    if errors:
        return f"{errors[0]['error']}: {errors[0]['text']}"
    if life.status == -signal.SIGKILL:
        return None
    if life.status != 0:
        return f"it ended with {life.status}"
    if reports[-1]["status"] != "succeeded" or reports[-1]["failed"]:
        return f"its run did not succeed: {reports[-1]}"
    return None
