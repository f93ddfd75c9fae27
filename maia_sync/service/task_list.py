"""Which tasks does a list name? From a file, a command's output, or standard input.

A line names one task: its id, and behind it a label if you like. Or it is JSON, as commands print it: the id
as a string, or an object with `task_id` (else `taskId`, else `id`) and perhaps `label`; what else stands in
the object does not matter. Blank lines and # comments count for nothing.
"""

from __future__ import annotations

import re
from io import BytesIO, TextIOWrapper
from typing import NamedTuple
from uuid import UUID

import msgspec

MOST_BYTES = 64 * 1024 * 1024
"""A longer list is taken for a mistake."""
_LONGEST_LINE = 64 * 1024
_MOST_BAD_LINES = 5
_LONGEST_SHOWN = 60
_DIGITS = "[0-9A-Fa-f]"
_PLAIN = f"{_DIGITS}{{8}}(?:-{_DIGITS}{{4}}){{3}}-{_DIGITS}{{12}}"
_UUID = re.compile(rf"{_PLAIN}|{_DIGITS}{{32}}|\{{{_PLAIN}\}}|urn:uuid:{_PLAIN}", re.ASCII)
_ID_NAMES = ("task_id", "taskId", "id")
_NO_ID = "expected a task id, which is a UUID"


class NamedTask(NamedTuple):
    """A task id, and the label that stood beside it."""

    task_id: str
    label: str | None


class BadLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a list that names no task."""

    number: int
    expected: str
    """What is wrong with it, without any of its text."""
    found: str
    """How it begins, as it came: for the eyes of the person who wrote it only (promise P9)."""


class TaskList(msgspec.Struct, frozen=True, kw_only=True):
    """What a list names."""

    tasks: tuple[NamedTask, ...]
    bad_lines: tuple[BadLine, ...]
    """The first of them."""
    bad_line_count: int

    @property
    def is_complete(self) -> bool:
        """Tell whether every line could be read: only then does what is missing tell anything."""
        return self.bad_line_count == 0


def read_task_id(text: str) -> str | None:
    """Return a task id as 36 lower-case characters from any standard spelling of a UUID, else None."""
    text = text.strip()
    return str(UUID(text)) if _UUID.fullmatch(text) else None


def fault_of_label(label: str) -> str | None:
    """Return why no database can keep this label, or None if they can."""
    if not _is_text(label):
        return "the label is not readable text (UTF-8)"
    return "the label holds a NUL character, which no database keeps" if "\0" in label else None


def parse_task_list(content: bytes) -> TaskList:
    """Return the tasks that a list names, in its order, and the lines that name none."""
    tasks: list[NamedTask] = []
    bad_lines: list[BadLine] = []
    bad_line_count = 0
    # Read line by line: a list of 64 MiB of line breaks is not to become as many objects.
    lines = TextIOWrapper(BytesIO(content), encoding="utf-8-sig", errors="surrogateescape", newline=None)
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        read = _read_line(text)
        if isinstance(read, NamedTask):
            tasks.append(read)
            continue
        bad_line_count += 1
        if bad_line_count <= _MOST_BAD_LINES:
            bad_lines.append(BadLine(number=number, expected=read, found=text[:_LONGEST_SHOWN]))
    return TaskList(tasks=tuple(tasks), bad_lines=tuple(bad_lines), bad_line_count=bad_line_count)


def _read_line(text: str) -> NamedTask | str:
    """Return the task that a line names, or what was expected instead."""
    if len(text) > _LONGEST_LINE:
        return f"expected no more than {_LONGEST_LINE:,} characters"
    if not _is_text(text):
        return "expected UTF-8 text"
    first, _, label = text.replace("\t", " ").partition(" ")
    task_id = read_task_id(first)
    if task_id is not None:
        return _named(task_id, label)
    return _read_json(text) if text[0] in '{["' else _NO_ID


def _read_json(text: str) -> NamedTask | str:
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return f"{_NO_ID}, or whole JSON on one line"
    if isinstance(value, str):
        value = {"task_id": value}
    if not isinstance(value, dict):
        return "expected one JSON object or string to a line"
    found = next((value[name] for name in _ID_NAMES if value.get(name) is not None), None)
    task_id = read_task_id(found) if isinstance(found, str) else None
    if task_id is None:
        return 'expected a task id, which is a UUID, as "task_id", "taskId" or "id"'
    label = value.get("label")
    if label is not None and not isinstance(label, str):
        return 'expected a text as "label"'
    return _named(task_id, label or "")


def _named(task_id: str, label: str) -> NamedTask | str:
    label = label.strip()
    return fault_of_label(label) or NamedTask(task_id, label or None)


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
