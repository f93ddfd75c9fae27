"""What does a report say? The panels that belong into it, asked one after another."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from maia_sync.analytics.filling import Filled, fill_panel, row_of
from maia_sync.analytics.panels import read_panels
from maia_sync.analytics.window import Window
from maia_sync.errors import UsageError
from maia_sync.report.buckets import axis_of
from maia_sync.report.figures import count, duration, moment_text
from maia_sync.report.removed import OF_TIME, REMOVED, Removed, has_more, removed_of, sentence, without_advice
from maia_sync.store.tasks import read_tasks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from zoneinfo import ZoneInfo

    from maia_sync.analytics.panels import Panel
    from maia_sync.report.buckets import Axis
    from maia_sync.store.asking import ReadingDatabase

_HOUR: Final = 3600
_DAY: Final = 86_400

_MOST_REMOVED: Final = 1_000_000
"""Rows that are read for it; a page reads fewer."""
FIGURES: Final = "figures"
TITLE: Final = "What the agents did"
SECTIONS: Final = (
    ("In short", (FIGURES,)),
    ("Activity", ("activity", "tokens", "cost", "slowest-turns")),
    ("Tools", ("tool-calls", "tools", "tool-durations", "slowest-calls")),
    ("Errors", ("errors", "error-types")),
    ("Models, users, tasks", ("models", "users", "busiest-tasks")),
    (
        "How complete is the copy?",
        (
            *("stored", "freshness", "kept", "task-states", "stale-tasks", "failing-tasks", "withheld-tasks"),
            "quarantine",
        ),
    ),
)
"""The panels by name. None of them shows what payloads say: a report is passed on."""
_ABOUT_THE_COPY: Final = SECTIONS[-1][0]
_OF_ONE_TASK: Final = "task-copy"
_FOR_AXIS: Final = "activity"


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """Panels under one heading."""

    title: str
    panels: tuple[Filled, ...]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A report before it has a format."""

    title: str
    window: Window
    task_id: str | None
    """The only task that it tells of; None for all."""
    made_at: datetime
    database: str
    """Where the copy is kept, without a password."""
    version: str
    sections: tuple[Section, ...]
    earlier: Filled | None = None
    """The key figures of the time before, as long as this one.

    None if it has an open end, or there are events without a payload in either.
    """
    removed: Removed | None = None
    """The events that have no payload any more."""

    @property
    def removed_told(self) -> str | None:
        """What is to be known of them before the figures are read; None if there are none."""
        if self.removed is None:
            return None
        figures = row_of(next((each for each in self.panels if each.panel.name == FIGURES), None))
        events = "the events of this time" if figures is None else f"{count(figures['events'])} events"
        return sentence(self.removed, events)

    @property
    def panels(self) -> tuple[Filled, ...]:
        """All panels, in their order."""
        return tuple(panel for section in self.sections for panel in section.panels)

    @property
    def axis(self) -> Axis | None:
        """From when to when its charts are drawn, where its window is open; None: each as it needs."""
        most = next((filled for filled in self.panels if filled.panel.name == _FOR_AXIS), None)
        return axis_of(most, self.window, self.made_at)

    @property
    def troubles(self) -> tuple[Filled, ...]:
        """The panels without an answer."""
        return tuple(panel for panel in self.panels if panel.trouble is not None)


def make_report(
    database: ReadingDatabase,
    window: Window,
    *,
    version: str,
    max_lag: float,
    title: str = TITLE,
    task_id: str | None = None,
    timeout: float | None = None,
) -> Report:
    """Ask, and return what a report says; a panel that could not be filled says why.

    `max_lag`: the seconds that the copy of an active task may be behind; `timeout`: those that a panel may
    take. Raises DatabaseError if the database is not to be had at all.
    """
    database.require_migrated()
    made_at = database.clock.now()
    filler = _Filler(database, window, task_id, timeout, read_panels(max_lag))
    removed = filler.count_removed(window)
    sections = [
        Section(title=heading, panels=tuple(without_advice(filled, removed) for filled in filler.fill(names)))
        for heading, names in _sections(task_id)
    ]
    return Report(
        title=title,
        window=window,
        task_id=task_id,
        made_at=made_at,
        database=database.place,
        version=version,
        sections=tuple(section for section in sections if section.panels),
        earlier=filler.fill_earlier(made_at) if removed is None else None,
        removed=removed,
    )


def is_known(database: ReadingDatabase, task_id: str) -> bool:
    """Tell whether a task is, or was, tracked. Raises DatabaseError if the database is not to be had."""
    database.require_migrated()
    with database.transaction() as tx:
        return bool(read_tasks(tx, task_ids=[task_id]))


def _sections(task_id: str | None) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the sections; of a single task, the last one begins with how that one stands."""
    for heading, names in SECTIONS:
        is_added = task_id is not None and heading == _ABOUT_THE_COPY
        yield heading, ((_OF_ONE_TASK, *names) if is_added else names)


class _Filler:
    """Fills panels by name; what two of them ask is asked once."""

    def __init__(
        self,
        database: ReadingDatabase,
        window: Window,
        task_id: str | None,
        timeout: float | None,
        panels: Mapping[str, Panel],
    ) -> None:
        self._database = database
        self._window = window
        self._task_id = task_id
        self._timeout = timeout
        self._panels = panels
        self._answers: dict[tuple[str, int | None], Filled] = {}

    def fill(self, names: Sequence[str]) -> Iterator[Filled]:
        """Yield the panels that tell of this time, and of this task if it is about one."""
        for name in names:
            by_hour = f"{name}-by-hour"
            panel = self._panels[by_hour if self._window.is_short and by_hour in self._panels else name]
            if self._task_id is None or "task" in panel.statement.parameters:
                yield self._filled(panel)

    def fill_earlier(self, now: datetime) -> Filled | None:
        """Return the key figures of the window before; None if there is none."""
        before = self._window.before(now)
        if before is None or self.count_removed(before) is not None:
            return None
        return self._fill(FIGURES, before)

    def count_removed(self, window: Window) -> Removed | None:
        """Return how many events of a time have no payload any more."""
        first = self._fill(REMOVED, window, limit=_MOST_REMOVED)
        is_enough = self._task_id is not None or not has_more(first)
        return removed_of(first, None if is_enough else self._fill(OF_TIME, window, limit=_MOST_REMOVED))

    def _fill(self, name: str, window: Window, limit: int | None = None) -> Filled:
        panel = self._panels[name]
        return fill_panel(
            self._database, panel, window, task_id=self._task_id, limit=limit, timeout=self._timeout
        )

    def _filled(self, panel: Panel) -> Filled:
        asked = panel.statement.text, panel.limit
        if asked not in self._answers:
            self._answers[asked] = fill_panel(
                self._database, panel, self._window, task_id=self._task_id, timeout=self._timeout
            )
        return msgspec.structs.replace(self._answers[asked], panel=panel)


def told(window: Window) -> str:
    """Return a line that says of which time a report is, and from when to when that is."""
    return f"{window.label[:1].upper()}{window.label[1:]}: {_stretch(window)} ({window.zone.key})"


def _stretch(window: Window) -> str:
    since, until = (
        None if bound is None else moment_text(bound, window.zone, minutes=True)
        for bound in (window.since, window.until)
    )
    if since is None:
        return "whenever it was" if until is None else f"up to {until}"
    return f"{since} to {until}" if until is not None else f"from {since} on"


def last_seconds(seconds: float, now: datetime, zone: ZoneInfo) -> Window:
    """Return the window of so many seconds that ends now. Raises UsageError for one before the calendar."""
    try:
        since = now - timedelta(seconds=seconds)
    except OverflowError as error:
        raise UsageError("a report cannot begin so long ago") from error
    return Window(since=since, until=now, zone=zone, label=f"the last {_span(seconds)}")


def _span(seconds: float) -> str:
    for length, name in ((_DAY, "day"), (_HOUR, "hour")):
        if seconds % length == 0 and (seconds > length or name == "hour"):
            number = round(seconds / length)
            return name if number == 1 else f"{number:,} {name}s"
    return duration(seconds)
