"""Are tasks tracked as the archive has told last? Each is told anew once that has changed, so it may wait."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from maia_sync.archive.entry import facts_of
from maia_sync.store import archive_compare
from maia_sync.store.archived import TaskFacts
from maia_sync.store.moments import read_moment

if TYPE_CHECKING:
    from datetime import datetime

    from maia_sync.archive.entry import Entry
    from maia_sync.archive.finding import Findings
    from maia_sync.archive.log_reader import LogReader
    from maia_sync.store.database import Transaction


class _Told(NamedTuple):
    """What the newest entry of a task tells."""

    number: int
    told_as: bytes
    """As `task.archived_as` has it: see archive_tasks.told_as."""
    tracked_at: datetime


class ToldTasks:
    """What the entries of a log tell of tasks; the newest of each counts."""

    def __init__(self) -> None:
        self._told: dict[str, _Told] = {}

    def take(self, index: int, entry: Entry, findings: Findings) -> None:
        """Take an entry of a task."""
        try:
            facts = facts_of(entry)
        except ValueError:
            facts = None
        if entry.task is None or not isinstance(facts, TaskFacts) or not isinstance(entry.facts, msgspec.Raw):
            findings.add("entry", f"entry {index}", "tells of a task what cannot be read")
            return
        self._told[entry.task] = _Told(index, hashlib.sha256(entry.facts).digest(), facts.tracked_at)

    def compare(self, tx: Transaction, log: LogReader, origin: str, findings: Findings) -> None:
        """Report how the table `task` differs. All entries of the log must have been taken.

        Where `archived_as` is NULL, the next create tells of the task again.
        """
        is_older = archive_compare.has_newer(tx, origin, log.head.size)
        left = dict(self._told)
        for task_id, archived_as, tracked_at in archive_compare.read_told(tx):
            told = left.pop(task_id, None)
            wrong = None
            if told is None:
                if archived_as is not None and not is_older:
                    wrong = "is noted to be told of by the archive (archived_as), and no entry does"
            elif not _is_moment(told.tracked_at, tracked_at):
                wrong = f"has another tracked_at in the database (entry {told.number} of the archive)"
            elif archived_as not in (None, told.told_as) and not is_older:
                wrong = f"was told of otherwise, says the database (entry {told.number} of the archive)"
            if wrong is not None:
                findings.add("database", f"task {task_id}", wrong)
        for task_id, told in left.items():
            findings.add(
                "database",
                f"task {task_id}",
                f"does not stand in the table task (entry {told.number} of the archive tells of it)",
            )


def _is_moment(told: datetime, given: object) -> bool:
    try:
        return read_moment(given) == told
    except ValueError:
        return False
