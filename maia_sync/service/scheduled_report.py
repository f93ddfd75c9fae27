"""Is it time for a report, and where does it go? Written in a thread of its own, which only reads the copy.

Whether a report is due is told by the file that the last one has left, of whichever date its name is: so it
does not matter when the daemon was started, nor how often, and several workers with the same file do not
write it over and over.
"""

from __future__ import annotations

import asyncio
import glob
import re
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

import msgspec

from maia_sync.errors import Bug, MaiaSyncError
from maia_sync.report.formats import format_of, render
from maia_sync.report.making import last_seconds, make_report
from maia_sync.report.whole_file import whole_file
from maia_sync.service.side_thread import in_daemon_thread
from maia_sync.store.asking import ReadingDatabase
from maia_sync.version import __version__

if TYPE_CHECKING:
    from maia_sync.clock import Clock
    from maia_sync.settings import ReportSettings, Settings

_KEY: Final = "report.file"
_LONGEST_QUESTION: Final = 600.0
"""Seconds for one panel."""
_PART_OF_DATE: Final = re.compile("%[YmdHM%]")
_DIGITS: Final = "[0-9]"
_LOOKS_EARLY: Final = timedelta(seconds=5)
"""The daemon looks once a minute, though not to the millisecond: what is due so soon is due."""
_CLOCKS_DIFFER: Final = timedelta(minutes=5)
"""A file server's clock may be so far ahead of ours."""


class WrittenReport(msgspec.Struct, frozen=True, kw_only=True):
    """A report that the daemon has written."""

    path: Path
    panels: int
    size: int
    seconds: float
    troubles: tuple[str, ...]
    """Why panels have no answer, a sentence for each."""


class ScheduledReport:
    """Writes the report of `settings.report` when it is due."""

    def __init__(self, settings: Settings, *, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._zone = ZoneInfo(settings.facets.time_zone)
        self._written_at: datetime | None = None

    async def write_if_due(self, due_at: datetime | None = None) -> WrittenReport | None:
        """Write a report if none has been written since `due_at`, or for as long as the schedule says.

        Raises MaiaSyncError if it cannot be made or written; what is under way ends when this is cancelled.
        """
        now = self._clock.now()
        path = self.path_for(due_at or now)
        if not await in_daemon_thread(lambda: self._is_due(path, due_at, now), name="report"):
            return None
        url = self._settings.database.resolve_url()
        database = ReadingDatabase(url=url, clock=self._clock, connections=1)
        given_up = threading.Event()
        try:
            written = await in_daemon_thread(
                lambda: self._write(database, path, now, given_up), name="report"
            )
        except asyncio.CancelledError:
            given_up.set()
            threading.Thread(target=database.close, daemon=True).start()  # which ends the question in hand
            raise
        self._written_at = now
        return written

    def path_for(self, moment: datetime) -> Path:
        """Return the file of a report that is due then."""
        there = moment.astimezone(self._zone)

        def told(part: re.Match[str]) -> str:
            return "%" if part[0] == "%%" else there.strftime(part[0])

        return Path(_PART_OF_DATE.sub(told, str(self._report.file)))

    @property
    def _report(self) -> ReportSettings:
        return self._settings.report

    def _is_due(self, path: Path, due_at: datetime | None, now: datetime) -> bool:
        rhythm = self._report.schedule
        interval = timedelta(seconds=rhythm) if isinstance(rhythm, float) else None
        last = self._written_at or (_modified_at(path) if interval is None else self._newest_at())
        if last is None or last > now + _CLOCKS_DIFFER:  # none, or the clock was ahead when it was written
            return True
        if interval is None:
            return due_at is not None and last < due_at
        return now - last >= interval - min(_LOOKS_EARLY, interval / 10)

    def _newest_at(self) -> datetime | None:
        """Return when the newest file was written whose name the pattern can make."""
        pattern = str(self._report.file)
        told, at = "", 0
        for part in _PART_OF_DATE.finditer(pattern):
            told += glob.escape(pattern[at : part.start()])
            told += "%" if part[0] == "%%" else _DIGITS * (4 if part[0] == "%Y" else 2)
            at = part.end()
        named = glob.iglob(told + glob.escape(pattern[at:]))  # noqa: PTH207 - folders are of the pattern too
        found = map(_modified_at, map(Path, named))
        return max((moment for moment in found if moment is not None), default=None)

    def _write(
        self, database: ReadingDatabase, path: Path, now: datetime, given_up: threading.Event
    ) -> WrittenReport:
        form = format_of(str(path))
        if form is None:
            raise Bug(f"{path} has no format")
        begun = self._clock.monotonic()
        window = last_seconds(self._report.since, now, self._zone)
        with closing(database):
            report = make_report(
                database,
                window,
                version=__version__,
                max_lag=self._settings.schedule.max_lag,
                timeout=_LONGEST_QUESTION,
            )
        content = render(report, form).encode("utf-8", "backslashreplace")
        if given_up.is_set():
            raise MaiaSyncError("the report was given up, as the daemon ends")
        _make_folder(path)
        with whole_file(str(path), told_by=_KEY) as file:
            file.write(content)
        return WrittenReport(
            path=path,
            panels=len(report.panels),
            size=len(content),
            seconds=self._clock.monotonic() - begun,
            troubles=tuple(f"{filled.panel.title}: {filled.trouble}" for filled in report.troubles),
        )


def _modified_at(path: Path) -> datetime | None:
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except (OSError, ValueError):
        return None


def _make_folder(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise MaiaSyncError(f"{_KEY}: cannot make the folder {path.parent}: {reason}") from error
