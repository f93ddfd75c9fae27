"""Which tasks does the command line name? UUIDs from arguments, a file or standard input."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from maia_sync.errors import UsageError
from maia_sync.service.task_list import fault_of_label, parse_task_list, read_task_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from maia_sync.service.task_list import NamedTask

_LONGEST_SHOWN = 60


def parse_task_id(text: str) -> str:
    """Return a task id as 36 lower-case characters from any standard spelling of a UUID.

    Raises UsageError, which names the text.
    """
    task_id = read_task_id(text)
    if task_id is None:
        raise UsageError(f"{shown(text)} is not a task id: expected a UUID")
    return task_id


def parse_task_ids(texts: Iterable[str]) -> list[str]:
    """Return task ids in their order, each once. Raises UsageError for the first bad one."""
    return list(dict.fromkeys(parse_task_id(text) for text in texts))


def check_label(label: str) -> str:
    """Return the label if a database can keep it. Raises UsageError."""
    fault = fault_of_label(label)
    if fault is not None:
        raise UsageError(fault)
    return label


def parse_task_file(content: bytes, name: str) -> list[NamedTask]:
    """Return the tasks that a file names (see service/task_list.py).

    Raises UsageError, which names the first bad line.
    """
    listed = parse_task_list(content)
    if listed.bad_lines:
        line = listed.bad_lines[0]
        raise UsageError(f"{name}, line {line.number}: {line.expected}; found {shown(line.found)}")
    return list(listed.tasks)


def read_task_file(path: str) -> list[NamedTask]:
    """Return the tasks of a file, or of standard input for "-". Raises UsageError."""
    if path == "-":
        return parse_task_file(sys.stdin.buffer.read(), "standard input")
    try:
        content = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise UsageError(f"--from-file: cannot read {shown(path)}: {reason}") from error
    return parse_task_file(content, path)


def not_tracked(task_ids: Sequence[str]) -> UsageError:
    """Return the error for tasks that are not in the database, or untracked."""
    if len(task_ids) == 1:
        return UsageError(f"task {task_ids[0]} is not tracked")
    first = ", ".join(task_ids[:3]) + (", ..." if len(task_ids) > 3 else "")
    return UsageError(f"{len(task_ids)} of these tasks are not tracked: {first}")


def shown(text: str) -> str:
    """Return what was given, quoted and cut, for a message."""
    cut = text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "..."
    return f'"{cut}"'
