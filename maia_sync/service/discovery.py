"""Which tasks do the operator's file and command list? The API cannot tell which there are.

A source that cannot be read changes nothing: no task is paused because a file was missing, a command failed,
took too long, or printed nothing at all, as a broken pipeline does (a command that really knows of no task
prints a comment). A list with lines that name no task adds tasks, but pauses none. A readable
file without any task pauses all that it had listed.
"""

from __future__ import annotations

import errno
import stat
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from maia_sync.model import TaskSource
from maia_sync.service.command import run_command
from maia_sync.service.task_list import MOST_BYTES, parse_task_list
from maia_sync.store.sources import SourceChange, apply_difference, read_difference

if TYPE_CHECKING:
    from pathlib import Path

    from maia_sync.service.task_list import TaskList
    from maia_sync.settings import ScheduleSettings
    from maia_sync.store.database import Database
    from maia_sync.store.sources import SourceDifference
    from maia_sync.sync.handover import Handover

_FileState: TypeAlias = tuple[int, int, int]
"""When it was changed last, its size, its inode: a file with the same three is not read again."""
_TASKS_A_TRANSACTION = 2000
"""A stop, and the pages of the tasks that are changed, wait for one transaction at most."""
_TOO_LARGE = f"it is larger than {MOST_BYTES:,} bytes"


class DiscoveryReport(msgspec.Struct, frozen=True, kw_only=True):
    """What reading a source came to."""

    source: TaskSource
    listed: int = 0
    """Tasks that it names."""
    added: int = 0
    """Tasks that were not known before."""
    resumed: int = 0
    paused: int = 0
    problems: tuple[str, ...] = ()
    """What is odd about the list, a sentence each; never a word of its text (promise P9)."""
    error: str | None = None
    """Why the source could not be read; nothing has changed then."""


class Discovery:
    """Takes over the tasks that the sources list."""

    def __init__(self, settings: ScheduleSettings, *, database: Database, handover: Handover) -> None:
        self._settings = settings
        self._database = database
        self._handover = handover
        self._state: _FileState | None = None
        self._error: str | None = None

    async def read_tasks_file(self, *, forced: bool = False) -> DiscoveryReport | None:
        """Read the tasks file, if there is one and it has changed, or in any case if `forced`.

        None: there was nothing to do, or only what has been told already. Raises DatabaseError.
        """
        path = self._settings.tasks_file
        if path is None:
            return None
        file = await self._handover.run(partial(self._read_if_changed, path, forced=forced))
        if file.content is None:
            return self._fail(file.error, forced=forced)
        report = await self._take_over("tasks_file", file.content)
        # Only now: if the database has failed, the file is read again.
        self._state, self._error = file.state, None
        return report

    async def run_command(self) -> DiscoveryReport | None:
        """Run the discovery command, if there is one. Raises DatabaseError."""
        command = self._settings.discovery_command
        if command is None:
            return None
        seconds = self._settings.discovery_timeout
        printed = await run_command(command, seconds=seconds, most_bytes=MOST_BYTES)
        error = printed.error
        if error is None and not printed.output.strip():
            error = "printed nothing; if it knows of no task, it is to print a comment, such as # none"
        if error is not None:
            return DiscoveryReport(source="discovery_command", error=f"schedule.discovery_command {error}")
        return await self._take_over("discovery_command", printed.output)

    def _read_if_changed(self, path: Path, *, forced: bool) -> _File:
        try:
            state = _state_of(path)
            unchanged = state == self._state and not forced
            return _File(state=state) if unchanged else _File(state=state, content=_read(path))
        except OSError as error:
            reason = error.strerror or type(error).__name__
            return _File(error=f"schedule.tasks_file: cannot read {path}: {reason}")

    def _fail(self, error: str | None, *, forced: bool) -> DiscoveryReport | None:
        """Report an error, unless it is the one that was reported last: the file is looked at often."""
        if error is None or (error == self._error and not forced):
            return None
        self._error, self._state = error, None
        return DiscoveryReport(source="tasks_file", error=error)

    async def _take_over(self, source: TaskSource, content: bytes) -> DiscoveryReport:
        named, difference = await self._handover.run(partial(self._compare, source, content))
        change = SourceChange()
        for part in difference.parts(_TASKS_A_TRANSACTION):
            change += await self._handover.run(partial(self._apply, part))
        return DiscoveryReport(
            source=source,
            listed=len({task.task_id for task in named.tasks}),
            added=change.added,
            resumed=change.resumed,
            paused=change.paused,
            problems=_problems(named),
        )

    def _compare(self, source: TaskSource, content: bytes) -> tuple[TaskList, SourceDifference]:
        named = parse_task_list(content)
        with self._database.transaction(write=False) as tx:
            return named, read_difference(tx, source, named.tasks, complete=named.is_complete)

    def _apply(self, part: SourceDifference) -> SourceChange:
        with self._database.transaction() as tx:
            return apply_difference(tx, part)


class _File(msgspec.Struct, frozen=True, kw_only=True):
    """What was found of a file: its content, or an error, or neither if it has not changed."""

    state: _FileState | None = None
    content: bytes | None = None
    error: str | None = None


def _state_of(path: Path) -> _FileState:
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is not a file")  # and might never end
    if found.st_size > MOST_BYTES:
        raise OSError(errno.EFBIG, _TOO_LARGE)
    return found.st_mtime_ns, found.st_size, found.st_ino


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:  # it has grown meanwhile
        raise OSError(errno.EFBIG, _TOO_LARGE)
    return content


def _problems(named: TaskList) -> tuple[str, ...]:
    problems = [f"line {line.number}: {line.expected}" for line in named.bad_lines]
    more = named.bad_line_count - len(problems)
    if more:
        problems.append(f"{more:,} more lines name no task")
    if problems:
        problems.append("no task is paused as long as there are such lines")
    elif not named.tasks:
        problems.append("it names no task")
    return tuple(problems)
