"""How far is a run? Observers that draw a bar on a terminal, or write a line where there is none."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from maia_sync.cli.escaping import one_line
from maia_sync.cli.screen import console, note
from maia_sync.cli.wording import counted
from maia_sync.model import PageApplied, RunReport, RunStarted, WalkReport

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.progress import Progress

    from maia_sync.clock import Clock
    from maia_sync.model import Observation, Observer
    from maia_sync.settings import LogSettings

_WHAT = {"sync": "Reading", "full": "Reconciling", "verify": "Comparing"}

_ENDED = {"succeeded": "succeeded", "failed": "failed", "interrupted": "been interrupted"}


@contextmanager
def watching(log: LogSettings, clock: Clock) -> Iterator[list[Observer]]:
    """Yield the observers that show a run on stderr: a bar on a terminal, lines otherwise."""
    if sys.stderr.isatty():
        with _progress() as progress:
            yield [Bar(progress)]
    else:
        yield [Lines(log, clock)]


def _progress() -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("tasks"),
        TextColumn("{task.fields[events]}", justify="right"),
        console=console(stderr=True),
        expand=True,
    )


class Bar:
    """Draws tasks done of tasks in all, and the events read so far."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._events = 0
        self._task: Any = None

    def __call__(self, seen: Observation) -> None:
        """Take one observation in."""
        if isinstance(seen, RunStarted):
            total = seen.tasks if seen.tasks or seen.kind != "verify" else None
            self._task = self._progress.add_task(_WHAT[seen.kind], total=total, events="")
        elif self._task is None:
            return
        elif isinstance(seen, PageApplied):
            self._events += seen.new + seen.changed + seen.unchanged + seen.quarantined
            self._progress.update(self._task, events=f"{self._events:>9,} events  {self._rate():>9}")
        elif isinstance(seen, WalkReport):
            if seen.error is not None:
                self._progress.console.print(_failure(seen), soft_wrap=True)
            self._progress.update(self._task, advance=1)

    def _rate(self) -> str:
        elapsed = self._progress.tasks[self._task].elapsed or 0.0
        return f"{self._events / elapsed:,.0f}/s" if elapsed >= 0.1 else ""


class Lines:
    """Writes a line when a run begins, when it ends, and for each task that failed."""

    def __init__(self, log: LogSettings, clock: Clock) -> None:
        self._log = log
        self._clock = clock

    def __call__(self, seen: Observation) -> None:
        """Take one observation in."""
        if isinstance(seen, RunStarted):
            begun = f"{_WHAT[seen.kind]} {counted(seen.tasks, 'task') if seen.tasks else 'tasks'}"
            self._write("info", begun, run_id=seen.run_id, kind=seen.kind, tasks=seen.tasks)
        elif isinstance(seen, WalkReport) and seen.error is not None:
            self._write("warning", _failure(seen), task_id=seen.task_id, error_kind=seen.error_kind)
        elif isinstance(seen, RunReport):
            came_to = f"{counted(seen.new, 'new event')}, {counted(seen.failed, 'task')} failed"
            ended = f"The run has {_ENDED[seen.status]}: {came_to}"
            fields = {"status": seen.status, "new": seen.new, "failed": seen.failed}
            self._write("info", ended, run_id=seen.run_id, **fields)

    def _write(self, level: str, sentence: str, **fields: object) -> None:
        levels = ("debug", "info", "warning", "error")
        if levels.index(level) < levels.index(self._log.level):
            return
        moment = self._clock.now()
        if self._log.format == "json":
            import msgspec

            line = {"time": moment, "level": level, "message": sentence, **fields}
            note(msgspec.json.encode(line).decode())
        else:
            note(f"{moment:%Y-%m-%d %H:%M:%SZ} {sentence}")


def _failure(walk: WalkReport) -> str:
    return one_line(f"Task {walk.task_id} failed: {walk.error}")
