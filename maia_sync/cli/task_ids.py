"""Which tasks does the command line name? UUIDs from arguments, a file or standard input."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from maia_sync.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_LONGEST_SHOWN = 60
_DIGITS = "[0-9A-Fa-f]"
_PLAIN = f"{_DIGITS}{{8}}(?:-{_DIGITS}{{4}}){{3}}-{_DIGITS}{{12}}"
_UUID = re.compile(rf"{_PLAIN}|{_DIGITS}{{32}}|\{{{_PLAIN}\}}|urn:uuid:{_PLAIN}", re.ASCII)


class NamedTask(NamedTuple):
    """A task id, and the label that stood beside it."""

    task_id: str
    label: str | None


def parse_task_id(text: str) -> str:
    """Return a task id as 36 lower-case characters from any standard spelling of a UUID.

    Raises UsageError, which names the text.
    """
    if _UUID.fullmatch(text.strip()) is None:
        raise UsageError(f"{shown(text)} is not a task id: expected a UUID")
    return str(UUID(text.strip()))


def parse_task_ids(texts: Iterable[str]) -> list[str]:
    """Return task ids in their order, each once. Raises UsageError for the first bad one."""
    return list(dict.fromkeys(parse_task_id(text) for text in texts))


def check_label(label: str) -> str:
    """Return the label if a database can keep it. Raises UsageError."""
    try:
        label.encode()
    except UnicodeEncodeError:
        raise UsageError("the label is not readable text (UTF-8)") from None
    if "\0" in label:
        raise UsageError("the label holds a NUL character, which no database keeps")
    return label


def parse_task_file(content: bytes, name: str) -> list[NamedTask]:
    """Return the tasks of a file: `ID` or `ID label` a line; blank lines and # comments are skipped.

    Raises UsageError, which names the first bad line.
    """
    tasks = []
    for number, raw in enumerate(content.removeprefix(b"\xef\xbb\xbf").splitlines(), start=1):
        try:
            line = raw.decode().strip()
            if line and not line.startswith("#"):
                task_id, _, label = line.replace("\t", " ").partition(" ")
                label = check_label(label.strip())
                tasks.append(NamedTask(parse_task_id(task_id), label or None))
        except UnicodeDecodeError:
            raise UsageError(f"{name}, line {number}: expected UTF-8 text") from None
        except UsageError as error:
            raise UsageError(f"{name}, line {number}: {error}") from None
    return tasks


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
