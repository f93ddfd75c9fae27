"""What does one run do? Walk many tasks, a few at a time, each failing on its own, one report."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeVar
from urllib.parse import urlsplit

import msgspec

from maia_sync.errors import (
    Bug,
    GiveUpTask,
    LeaseLost,
    MaiaSyncError,
    UpstreamUnreachable,
)
from maia_sync.model import WALKED_STATUSES, RunReport, RunStarted, WalkReport
from maia_sync.store.reporting import settle_zone
from maia_sync.store.runs import close_lost_runs, finish_run, start_run
from maia_sync.store.tasks import count_tasks
from maia_sync.sync.claims import NamedTasks
from maia_sync.sync.crew import Places, task_ids_to_walk, work_through
from maia_sync.sync.page_group import PageWriter
from maia_sync.sync.patience import PatientHandover
from maia_sync.sync.silence import Silence
from maia_sync.sync.walk import Surroundings, Walk

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Sequence
    from datetime import datetime

    from maia_sync.maia.client import MaiaClient
    from maia_sync.model import Observation, Observer, PollPlanner, RunKind
    from maia_sync.settings import Settings
    from maia_sync.store.database import Database, Transaction
    from maia_sync.store.facets import FacetReader
    from maia_sync.sync.claims import Claim
    from maia_sync.sync.crew import Place
    from maia_sync.sync.due import DueTasks
    from maia_sync.sync.handover import Handover
    from maia_sync.sync.heartbeat import Heartbeat

T = TypeVar("T")

_LENT = 24
"""Places that walks may lend while their last pages wait, unless one is walked after another."""
_MOST_REPORTED = 100
"""Walks of each sort (failed, held, with news) that a report names; its totals count all."""


class Run:
    """One run over tasks; `run()` once. `stop` ends it after the pages in hand.

    `watched` names the tasks one after another, as often as it likes, instead of `task_ids`; `due`
    claims them: then other workers share them, and a long walk gives way to others.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        client: MaiaClient,
        database: Database,
        handover: Handover,
        worker: str,
        task_ids: Sequence[str],
        full: bool,
        planner: PollPlanner,
        facets: FacetReader,
        heartbeat: Heartbeat,
        observers: Sequence[Observer],
        watched: AsyncIterator[str] | None = None,
        due: DueTasks | None = None,
    ) -> None:
        self._watched = watched
        self._due = due
        self._planner = planner
        self._facets = facets
        self._heartbeat = heartbeat
        self._settings = settings
        self._client = client
        self._database = database
        self._handover = handover
        self._worker = worker
        self._task_ids = task_ids
        self._full = full
        self._kind: RunKind = due.kind if due is not None else "full" if full else "sync"
        self._observers = observers
        concurrency = settings.api.concurrency
        self._patient = PatientHandover(
            handover,
            clock=database.clock,
            patience=settings.database.patience,
            observers=observers,
        )
        self._silence = Silence(concurrency=concurrency, answers=lambda: client.answers)
        self._tally = _Tally()

    async def run(self, stop: asyncio.Future[int]) -> RunReport:
        """Walk every task, or until `stop` is given the number of a signal.

        Raises OperatorMustAct (credentials, database, upstream unreachable) after closing the run.
        """
        run_id, started_at, tasks = await self._handover.run(self._open)
        self._tell(RunStarted(run_id=run_id, kind=self._kind, tasks=tasks))
        try:
            async with self._heartbeat.beating():
                stopped = await self._walk_all(run_id, stop)
        except Exception as fault:
            reason = (
                str(fault) if isinstance(fault, MaiaSyncError) else f"an unforeseen {type(fault).__name__}"
            )
            with suppress(MaiaSyncError):  # a database that is gone cannot be told so
                await self._close(run_id, started_at, error=reason)
            raise
        unreachable = self._silence.unanswered(self._tally.tasks)
        failures = unreachable or (None if stopped else self._tally.failure_text())
        report = await self._close(run_id, started_at, error=failures, interrupted_by=stopped)
        if unreachable is not None and stopped is None:
            raise UpstreamUnreachable(unreachable)
        return report

    def _open(self) -> tuple[int, datetime, int]:
        with self._database.transaction() as tx:
            close_lost_runs(tx, silent_seconds=self._settings.schedule.silence)
            settle_zone(tx, self._settings.facets.time_zone)
            run_id = start_run(
                tx,
                kind=self._kind,
                worker=self._worker,
                upstream_host=urlsplit(self._settings.api.base_url).hostname,
                credential=self._settings.auth.name,
            )
            return run_id, tx.now, self._count_tasks(tx)

    def _count_tasks(self, tx: Transaction) -> int:
        if self._due is not None:
            return 0
        counts = count_tasks(tx) if not self._task_ids else {}
        return len(self._task_ids) or sum(counts.get(status, 0) for status in WALKED_STATUSES)

    async def _walk_all(self, run_id: int, stop: asyncio.Future[int]) -> int | None:
        """Keep `api.concurrency` walks going until no task is left; returns the stopping signal."""
        at_once = 1 if self._watched is not None else self._settings.api.concurrency
        places = Places(at_once, lent=_LENT if at_once > 1 else 0)
        around = Surroundings(
            settings=self._settings,
            client=self._client,
            database=self._database,
            handover=self._patient,
            writer=PageWriter(self._database, handover=self._handover, patient=self._patient, places=places),
            worker=self._worker,
            run_id=run_id,
            planner=self._planner,
            facets=self._facets,
            heartbeat=self._heartbeat,
            turn=None if self._due is None else self._due.turn,
            observers=self._observers,
        )
        tasks = self._due or NamedTasks(
            self._watched or task_ids_to_walk(self._database, self._patient, self._task_ids),
            database=self._database,
            handover=self._patient,
            heartbeat=self._heartbeat,
            worker=self._worker,
            lease_seconds=self._settings.schedule.lease,
            places=places,
        )
        try:
            return await work_through(tasks.claims(), partial(self._walk, around), places=places, stop=stop)
        finally:
            await tasks.give_back(self._handover)

    async def _walk(self, around: Surroundings, claim: Claim, place: Place) -> None:
        """Walk one task. Raises UpstreamUnreachable where upstream is plainly down: no walk goes on then."""
        walk = Walk(around, claim, place, full=self._full)
        try:
            report = await walk.run()
        except LeaseLost:
            report = msgspec.structs.replace(walk.report, kind=None, lease_lost=True)
        except (GiveUpTask, Bug) as error:
            report = failed_walk(walk.report, error)
            self._silence.note_failure(error)
        except BaseException:
            if walk.report.kind is not None:  # cut off: what it had committed counts, if it had begun
                self._tally.add(walk.report)
            raise
        self._tally.add(report)
        self._tell(report)
        self._silence.require_no_outage()

    async def _close(
        self, run_id: int, started_at: datetime, *, error: str | None, interrupted_by: int | None = None
    ) -> RunReport:
        def close() -> RunReport:
            with self._database.transaction() as tx:
                status: Literal["succeeded", "failed", "interrupted"] = "failed" if error else "succeeded"
                if interrupted_by is not None:
                    status = "interrupted"
                report = self._tally.report(
                    run_id=run_id,
                    kind=self._kind,
                    started_at=started_at,
                    ended_at=tx.now,
                    status=status,
                    requests=self._client.requests,
                    error=error,
                    interrupted_by=interrupted_by,
                )
                finish_run(tx, report)
                return report

        handover = self._patient if interrupted_by is None else self._handover
        report = await handover.run(close)
        self._tell(report)
        return report

    def _tell(self, observation: Observation) -> None:
        for observer in self._observers:
            observer(observation)


def failed_walk(report: WalkReport, error: GiveUpTask | Bug) -> WalkReport:
    """Return the report of a walk that this error ended."""
    return msgspec.structs.replace(report, error=str(error), error_kind=type(error).__name__)


class _Tally:
    """Adds up walks; keeps only a bounded number of them."""

    def __init__(self) -> None:
        self._totals = dict.fromkeys(
            ("pages", "size_bytes", "new", "changed", "unchanged", "quarantined", "vanished", "doubted"), 0
        )
        self.tasks = 0
        self._failed = 0
        self._held_count = 0
        self._held: list[str] = []
        self._failures: list[WalkReport] = []
        self._news: list[WalkReport] = []

    def add(self, walk: WalkReport) -> None:
        """Count one walk that has ended."""
        for name in self._totals:
            self._totals[name] += getattr(walk, name)
        if walk.kind is None and walk.error is None:
            self._held_count += 1
            _keep(self._held, walk.task_id)
            return
        self.tasks += 1
        if walk.error is not None:
            self._failed += 1
            _keep(self._failures, walk)
            return
        if walk.new or walk.changed or walk.vanished or walk.quarantined or walk.doubted:
            _keep(self._news, walk)

    def failure_text(self) -> str | None:
        """Return one sentence about the failed walks, if any; a task may have had several."""
        if not self._failed:
            return None
        first = self._failures[0]
        return f"{self._failed} of {self.tasks} walks failed; {first.task_id}: {first.error}"

    def report(
        self,
        *,
        run_id: int,
        kind: RunKind,
        started_at: datetime,
        ended_at: datetime,
        status: Literal["succeeded", "failed", "interrupted"],
        requests: int,
        error: str | None,
        interrupted_by: int | None,
    ) -> RunReport:
        """Return the run's report."""
        return RunReport(
            run_id=run_id,
            kind=kind,
            started_at=started_at,
            ended_at=ended_at,
            status=status,
            tasks=self.tasks,
            held=tuple(self._held),
            walks=(*self._failures, *self._news),
            requests=requests,
            failed=self._failed,
            error=error,
            interrupted_by=interrupted_by,
            **self._totals,
        )


def _keep(kept: list[T], value: T) -> None:
    if len(kept) < _MOST_REPORTED:
        kept.append(value)
