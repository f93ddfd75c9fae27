"""What did a run come to, in plain words? Report values in, lines of text out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maia_sync.cli.durations import show_duration
from maia_sync.cli.escaping import one_line
from maia_sync.cli.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from maia_sync.model import RunReport, VerifyReport, WalkReport

_MOST_LISTED = 20


def summarize_run(report: RunReport) -> Iterator[str]:
    """Yield the lines that tell a person what one sync came to."""
    took = show_duration(report.ended_at - report.started_at)
    size = f"{report.size_bytes / 1e6:,.1f} MB"
    yield (
        f"{counted(report.tasks, 'task')}, {counted(report.pages, 'page')}, "
        f"{counted(report.requests, 'request')}, {size}, in {took}"
    )
    yield f"Events: {report.new:,} new, {report.changed:,} changed, {report.unchanged:,} unchanged"
    if report.vanished:
        yield f"{counted(report.vanished, 'event')} no longer served by Maia: kept, and marked vanished"
    if report.doubted:
        look = "looks" if report.doubted == 1 else "look"
        yield (
            f"{counted(report.doubted, 'row')} {look} vanished, more than a tenth of their task: run "
            "`maia-sync sync --full` once more to confirm"
        )
    if report.quarantined:
        elements = counted(report.quarantined, "element")
        yield f"{elements} could not be stored as events: kept in the table quarantine"
    if report.held:
        yield f"{counted(len(report.held), 'task')} left to other workers, which hold them now"
    if report.failed:
        yield f"{counted(report.failed, 'task')} failed; what was stored before stays:"
        yield from _failures([walk for walk in report.walks if walk.error is not None], report.failed)
    if report.interrupted_by is not None:
        yield "Interrupted; the next sync goes on where this one stopped"
    elif report.error is not None:
        yield one_line(report.error)


def summarize_verify(report: VerifyReport) -> Iterator[str]:
    """Yield the lines that tell a person what a comparison came to."""
    compared = report.tasks - len(report.failed)
    yield (
        f"Compared {counted(report.events, 'event')} of {counted(compared, 'task')} "
        f"({counted(report.pages, 'page')}, {counted(report.requests, 'request')})"
    )
    if report.failed:
        yield f"{counted(len(report.failed), 'task')} could not be compared:"
        yield from _failures(report.failed, len(report.failed))
    if report.difference_count:
        yield f"The copy and Maia differ in {counted(report.difference_count, 'event')}"
    elif report.interrupted_by is not None:
        yield "Interrupted; no difference up to here"
    elif compared:
        yield "No difference"


def _failures(walks: Sequence[WalkReport], in_all: int) -> Iterator[str]:
    for walk in walks[:_MOST_LISTED]:
        yield one_line(f"  {walk.task_id}: {walk.error}")
    if in_all > min(len(walks), _MOST_LISTED):
        yield f"  ... and {in_all - min(len(walks), _MOST_LISTED)} more: `maia-sync status` lists them"
