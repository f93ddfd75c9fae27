"""What does the daemon do when it is time? One plain method for each job; who calls them does not matter."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from maia_sync.store.runs import close_lost_runs
from maia_sync.sync.due import DueTasks, Turn
from maia_sync.sync.heartbeat import Heartbeat
from maia_sync.sync.patience import PatientHandover
from maia_sync.sync.run import Run

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from datetime import datetime

    from maia_sync.clock import Clock
    from maia_sync.maia.client import MaiaClient
    from maia_sync.model import Observer, PollPlanner, RunReport
    from maia_sync.settings import Settings
    from maia_sync.store.database import Database
    from maia_sync.store.facets import FacetReader
    from maia_sync.store.leases import ClaimKind
    from maia_sync.sync.handover import Handover

T = TypeVar("T")

_RECONCILE_SECONDS = 300.0
"""After which a run that reconciles ends and another goes on, so that what it came to is told."""
_SHARE_OF_A_TICK = 0.9
"""How much of the time until the next tick a run waits for tasks to come due: it ends before that."""


class Ticks:
    """The daemon's jobs, each one turn of its loop."""

    def __init__(
        self,
        *,
        settings: Settings,
        database: Database,
        client: MaiaClient,
        handover: Handover,
        clock: Clock,
        worker: str,
        planner: PollPlanner,
        facets: FacetReader,
        observers: Sequence[Observer],
        stop: asyncio.Future[int],
    ) -> None:
        self._settings = settings
        self._database = database
        self._client = client
        self._handover = handover
        self._clock = clock
        self._worker = worker
        self._planner = planner
        self._facets = facets
        self._observers = observers
        self._stop = stop

    async def poll(self) -> RunReport | None:
        """Poll what is due, and what comes due before the next tick; None if nothing did.

        Raises OperatorMustAct like a run.
        """
        rhythm = self._settings.schedule.poll
        until = None
        if isinstance(rhythm, float):
            until = self._clock.monotonic() + _SHARE_OF_A_TICK * rhythm
        turn = Turn(self._settings.schedule.turn_pages, until, waits=until is not None)
        return await self._run("poll", turn, None)

    async def reconcile(self, due_at: datetime | None = None) -> RunReport | None:
        """Reconcile tasks for which it was time by then (None: by now), for a while; None if there were none.

        Raises OperatorMustAct like a run.
        """
        until = self._clock.monotonic() + _RECONCILE_SECONDS
        return await self._run("reconcile", Turn(self._settings.schedule.turn_pages, until), due_at)

    async def keep_house(self) -> int:
        """Close the runs whose process died without a word; return how many there were."""

        def work() -> int:
            with self._database.transaction() as tx:
                return close_lost_runs(tx, silent_seconds=self._settings.schedule.silence)

        return await self._handover.run(work)

    async def _run(self, kind: ClaimKind, turn: Turn, due_at: datetime | None) -> RunReport | None:
        lease_seconds = self._settings.schedule.lease
        heartbeat = Heartbeat(
            database=self._database, handover=self._handover, clock=self._clock, lease_seconds=lease_seconds
        )
        patient = PatientHandover(
            self._handover,
            clock=self._clock,
            patience=self._settings.database.patience,
            observers=self._observers,
        )
        due = DueTasks(
            kind=kind,
            database=self._database,
            handover=patient,
            clock=self._clock,
            heartbeat=heartbeat,
            worker=self._worker,
            lease_seconds=lease_seconds,
            most=self._settings.api.concurrency,
            turn=turn,
            due_at=due_at,
        )
        try:
            if not await unless_stopped(due.look(), self._stop):
                return None
            run = Run(
                settings=self._settings,
                client=self._client.for_a_run(),
                database=self._database,
                handover=self._handover,
                worker=self._worker,
                task_ids=(),
                full=kind == "reconcile",
                planner=self._planner,
                facets=self._facets,
                heartbeat=heartbeat,
                observers=self._observers,
                due=due,
            )
            return await run.run(self._stop)
        finally:
            await due.give_back(self._handover)


async def unless_stopped(work: Coroutine[Any, Any, T], stop: asyncio.Future[int]) -> T | None:
    """Return what the work comes to, or None if `stop` comes first; then the work is cancelled."""
    working = asyncio.ensure_future(work)
    try:
        awaited: set[asyncio.Future[Any]] = {working, stop}
        await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
        return await working if working.done() else None
    finally:
        if not working.done():
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
