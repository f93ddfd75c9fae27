"""How does each of the daemon's jobs end for those who look after it: logs, metrics, systemd, the ping?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from maia_sync.archive.finding import counted
from maia_sync.errors import MaiaSyncError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from maia_sync.archive.creating import CreateReport
    from maia_sync.archive.pruning import PruneReport
    from maia_sync.clock import Clock
    from maia_sync.model import RunKind, RunReport
    from maia_sync.service.discovery import Discovery, DiscoveryReport
    from maia_sync.service.health import Health
    from maia_sync.service.logs import Log
    from maia_sync.service.metrics import Metrics
    from maia_sync.service.notify import Notifier
    from maia_sync.service.ping import Pinger
    from maia_sync.service.scheduled_archive import ScheduledArchive
    from maia_sync.service.scheduled_report import ScheduledReport

_PING_PAUSE = 60.0
"""Seconds between two pings at least: whoever takes them may refuse more."""


class Turns(Protocol):
    """The turns of the loop that walk tasks; see sync/ticks.py."""

    async def poll(self) -> RunReport | None:
        """Poll what is due; None if nothing was."""
        ...

    async def reconcile(self, due_at: datetime | None = None) -> RunReport | None:
        """Reconcile what was due by then; None if nothing was."""
        ...

    async def keep_house(self) -> int:
        """Close lost runs; return how many."""
        ...


class Duties:
    """The daemon's jobs, with what is told of each; the `Work` and the `Overseer` of a Daemon."""

    def __init__(
        self,
        *,
        turns: Turns,
        discovery: Discovery,
        log: Log,
        metrics: Metrics,
        health: Health,
        notifier: Notifier,
        pinger: Pinger | None,
        unless_stopped: Callable[[Awaitable[object]], Awaitable[object]],
        clock: Clock,
        report: ScheduledReport | None = None,
        archive: ScheduledArchive | None = None,
    ) -> None:
        self._archive = archive
        self._report = report
        self._turns = turns
        self._discovery = discovery
        self._log = log
        self._metrics = metrics
        self._health = health
        self._notifier = notifier
        self._pinger = pinger
        self._unless_stopped = unless_stopped
        self._clock = clock
        self._ping_again_at = 0.0

    async def poll(self) -> RunReport | None:
        """Poll what is due."""
        report = await self._turns.poll()
        await self._note("poll", report)
        return report

    async def reconcile(self, due_at: datetime | None = None) -> RunReport | None:
        """Reconcile what was due by then."""
        report = await self._turns.reconcile(due_at)
        await self._note("reconcile", report)
        return report

    async def read_tasks_file(self) -> bool:
        """Take over the tasks file if it has changed; tell whether there are tasks to be polled now."""
        return self._note_discovery(await self._discovery.read_tasks_file())

    async def run_discovery(self) -> bool:
        """Run the discovery command and take over what it lists; tell whether there are tasks to poll."""

        async def discover() -> bool:
            return self._note_discovery(await self._discovery.run_command())

        return bool(await self._unless_stopped(discover()))

    async def write_report(self, due_at: datetime | None = None) -> None:
        """Write the report if none has been written since then, or for as long as its schedule says."""
        if self._report is not None:
            await self._unless_stopped(self._write(self._report, due_at))

    async def _write(self, report: ScheduledReport, due_at: datetime | None) -> None:
        written = await report.write_if_due(due_at)
        if written is None:
            return
        for trouble in written.troubles:
            self._log.warning("report_incomplete", message=trouble)
        self._log.info(
            "report_written",
            message=f"Wrote {written.path}: {written.panels} panels, {written.size:,} bytes",
            seconds=round(written.seconds, 3),
            bytes=written.size,
        )

    async def archive(self, due_at: datetime | None = None) -> None:
        """Archive what is new unless that was done since then, or for as long as its schedule says."""
        if self._archive is not None:
            await self._unless_stopped(self._bring_up_to_date(self._archive, due_at))

    async def _bring_up_to_date(self, archive: ScheduledArchive, due_at: datetime | None) -> None:
        report = await archive.archive_if_due(due_at)
        if report is None:
            return
        self._note_archived(report)
        if report.interrupted_by is None:
            await self._prune(archive)

    def _note_unscrubbed(self, reason: str | None) -> None:
        if reason is not None:
            self._log.warning("erasure_unfinished", message=reason[0].upper() + reason[1:])

    async def _prune(self, archive: ScheduledArchive) -> None:
        """Prune what has come of age; that it fails says nothing against the archive's new checkpoint."""
        try:
            report = await archive.prune_if_due()
        except MaiaSyncError as error:
            self._note_prune_failed(str(error))
            return
        if report is not None and report.trouble is not None:
            self._note_prune_failed(report.trouble[0].upper() + report.trouble[1:])
        elif report is not None and report.interrupted_by is None:
            self._note_pruned(report)

    def _note_pruned(self, report: PruneReport) -> None:
        self._note_unscrubbed(report.unscrubbed)
        self._metrics.note_pruned(report.payloads)
        held = f", and left {report.held:,} on legal hold" if report.held else ""
        self._log.info(
            "pruned",
            message=f"Pruned {counted(report.payloads, 'payload')} from before "
            f"{report.older_than:%Y-%m-%d %H:%M:%S} UTC{held}",
            payloads=report.payloads,
            bytes=report.bytes,
            left=report.held,
            seconds=round(report.seconds, 3),
        )

    def _note_prune_failed(self, reason: str) -> None:
        self._metrics.note_prune_failed()
        self._log.error("prune_failed", message=reason)

    def _note_archived(self, report: CreateReport) -> None:
        grown = report.size_after - report.size_before
        self._metrics.note_archived(grown)
        if report.checkpoints:
            self._log.info(
                "archived",
                message=f"Archived at {report.place}: the log has grown from {report.size_before:,} to "
                f"{counted(report.size_after, 'entry')}",
                entries=grown,
                records=report.new,
                size=report.size_after,
                segments=report.segments,
                bytes=report.segment_bytes,
                seconds=round(report.seconds, 3),
            )
        if report.incomplete is not None:
            self._log.warning(
                "archive_incomplete",
                message=report.incomplete[0].upper() + report.incomplete[1:],
                runs=len(report.older_runs),
            )
        self._note_unscrubbed(report.unscrubbed)
        if report.anchor_error is not None:
            message = f"The newest checkpoint of the archive was not handed over: {report.anchor_error}"
            self._log.warning("anchor_failed", message=message, size=report.size_after)

    async def keep_house(self) -> None:
        """Close lost runs."""
        lost = await self._turns.keep_house()
        if lost:
            self._log.warning("runs_lost", message=f"{lost} runs whose process died were closed", runs=lost)

    def beat(self) -> None:
        """Show that the loop turns."""
        self._health.beat()
        self._notifier.watchdog()

    def job_trouble(self, job: str, trouble: str, reason: str) -> None:
        """Tell that a job was missed or has failed."""
        self._metrics.note_job(job, "missed" if trouble == "missed" else "failed")
        if trouble == "missed":
            self._log.warning("job_missed", message=reason, job=job)
        else:
            self._log.error("archive_failed" if job == "archive" else "tick_failed", message=reason, job=job)
            self._notifier.status(f"{job} failed: {reason}")

    async def _note(self, kind: RunKind, report: RunReport | None) -> None:
        if report is None:
            self._metrics.note_idle_turn(kind)
        else:
            at = f"{report.ended_at:%Y-%m-%d %H:%M:%S} UTC"
            self._notifier.status(
                f"Run {report.run_id} {report.status} at {at}: {report.tasks} tasks, {report.new} new events"
            )
        if report is None or report.status == "succeeded":
            await self._ping()

    async def _ping(self) -> None:
        now = self._clock.monotonic()
        if self._pinger is None or now < self._ping_again_at:
            return
        self._ping_again_at = now + _PING_PAUSE
        await self._unless_stopped(self._ping_now(self._pinger))

    async def _ping_now(self, pinger: Pinger) -> None:
        trouble = await pinger.ping()
        self._metrics.note_ping(succeeded=trouble is None)
        if trouble is not None:
            self._log.warning("ping_failed", message=trouble)

    def _note_discovery(self, report: DiscoveryReport | None) -> bool:
        if report is None:
            return False
        fields = {"source": report.source, "listed": report.listed}
        if report.error is not None:
            self._metrics.note_discovery_failure(report.source)
            self._log.warning("discovery_failed", message=report.error, **fields)
        for problem in report.problems:
            self._log.warning("discovery_failed", message=problem, **fields)
        if report.added or report.resumed or report.paused:
            self._log.info(
                "tasks_discovered",
                message=f"{report.added} tasks added, {report.resumed} resumed, {report.paused} paused",
                added=report.added,
                resumed=report.resumed,
                paused=report.paused,
                **fields,
            )
        return bool(report.added or report.resumed)
