"""What does a payload say? A guess at its words, for whoever shows events to people.

What is inside a payload is Maia's to decide: any JSON value is possible, and none is an error.
"""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

UNREAD: Final = object()
"""In place of a payload's value: there is none, or it could not be decoded."""
WORDS: Final = ("text", "message", "content", "title", "summary", "toolName", "status", "error", "result")
"""Members that say something, in the order in which they are told on one line."""
MESSAGE: Final = (
    *("text", "message", "content", "answer", "output", "summary", "title", "thought", "reasoning"),
    *("prompt", "question", "detail", "details", "description", "error", "body", "value", "parts", "result"),
)
"""Members that can be what a message says, the likeliest first."""
WRAPPINGS: Final = ("data", "payload", "event", "attributes")
"""Members in which a payload can be wrapped up once more."""
STEPS: Final = ("steps", "plan", "items", "tasks", "todos")
_STEP_TEXTS: Final = ("title", "text", "step", "description", "content", "name", "task")
_IN_PARTS: Final = ("text", "content", "message", "value")
_DEEPEST: Final = 6
_MOST_PARTS: Final = 200
_MOST_CHARACTERS: Final = 4_000_000


def decode(data: str | None, most: int = _MOST_CHARACTERS) -> object:
    """Return a payload's value, all numbers inexact; UNREAD for one of more characters than `most`."""
    if data is None or len(data) > most:
        return UNREAD
    try:
        return json.loads(data, parse_int=float)  # int() refuses what has thousands of digits
    except (ValueError, RecursionError):
        return UNREAD


def words_of(value: Mapping[str, Any]) -> list[str]:
    """Return what an object says in one line: each member that says something, in the order of WORDS."""
    found = []
    for name in WORDS:
        part = value.get(name)
        if isinstance(part, dict):
            part = part.get("message")
        elif isinstance(part, list):
            part = "\n".join(_texts_of(part, 1))
        if isinstance(part, str) and part:
            found.append(part)
    return found


def text_of(value: object, names: Sequence[str] = MESSAGE) -> str | None:
    """Return what a payload says: the text itself, or that of the likeliest member; None if it says nothing.

    A member can be a list of parts, or an object that has a message; a payload can be wrapped up once more.
    """
    return _text_of(value, names, 0)


def _text_of(value: object, names: Sequence[str], depth: int) -> str | None:
    if isinstance(value, str):
        return value or None
    if isinstance(value, list):
        return "\n".join(_texts_of(value, depth + 1)) or None
    if not isinstance(value, dict) or depth >= _DEEPEST:
        return None
    for name in names:
        if name in value and (found := _text_of(value[name], MESSAGE, depth + 1)):
            return found
    for name in WRAPPINGS:
        if isinstance(value.get(name), dict) and (found := _text_of(value[name], names, depth + 1)):
            return found
    return None


def first_text_of(value: object, depth: int = 0) -> str:
    """Return the first text in a value that has more than blanks in it; "" if there is none."""
    if isinstance(value, str):
        return value if value.strip() else ""
    if depth >= _DEEPEST or not isinstance(value, dict | list):
        return ""
    parts = islice(value.values() if isinstance(value, dict) else value, _MOST_PARTS)
    return next((found for part in parts if (found := first_text_of(part, depth + 1))), "")


def _texts_of(parts: list[Any], depth: int) -> Iterator[str]:
    """Yield the texts of a list: those of its texts, and of its parts that are objects."""
    for part in parts[:_MOST_PARTS]:
        if isinstance(part, str):
            yield part
        elif isinstance(part, dict) and depth < _DEEPEST and (found := _text_of(part, _IN_PARTS, depth + 1)):
            yield found


def steps_of(value: object, depth: int = 0) -> list[tuple[str, str]]:
    """Return a plan's steps, each as its text and its status; empty where the payload has none."""
    if not isinstance(value, dict) or depth >= _DEEPEST:
        return []
    for name in STEPS:
        steps = value.get(name)
        if isinstance(steps, list) and (found := [_step(each) for each in steps[:_MOST_PARTS]]):
            return found if all(text for text, _ in found) else []
        if isinstance(steps, dict) and (found := steps_of(steps, depth + 1)):
            return found
    return next((found for name in WRAPPINGS if (found := steps_of(value.get(name), depth + 1))), [])


def _step(value: object) -> tuple[str, str]:
    if isinstance(value, dict):
        text = next((part for name in _STEP_TEXTS if isinstance(part := value.get(name), str) and part), "")
        status = value.get("status", value.get("state"))
        return text, status if isinstance(status, str) else ""
    return (value, "") if isinstance(value, str) else ("", "")


def member_of(value: object, names: Sequence[str], depth: int = 0) -> tuple[bool, Any]:
    """Return whether a payload has a member of one of these names, and that member's value."""
    if isinstance(value, dict) and depth < _DEEPEST:
        for name in names:
            if name in value:
                return True, value[name]
        for name in WRAPPINGS:
            has, found = member_of(value.get(name), names, depth + 1)
            if has:
                return True, found
    return False, None
