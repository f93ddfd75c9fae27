"""What does an error answer say? problem+json (RFC 9457) as one short, safe sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote, unquote_plus

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

_LONGEST = 300
_MOST_QUOTINGS = 3


class _Problem(msgspec.Struct):
    title: object = None
    detail: object = None
    violations: object = None


def explain_problem(body: bytes, *, secrets: Iterable[str]) -> str:
    """Return `: what upstream said`, or "" if it said nothing readable.

    Upstream may quote the request. Words that hold one of the secrets, in whatever URL spelling,
    are not repeated at all: blotting out one spelling would leave another.
    """
    try:
        problem = msgspec.json.decode(body, type=_Problem)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    violations = problem.violations if isinstance(problem.violations, list) else []
    said = [text for text in (problem.detail or problem.title, *violations) if isinstance(text, str) and text]
    sentence = "; ".join(dict.fromkeys(said))
    if any(secret and _holds(sentence, secret) for secret in secrets):
        return " (its words are not repeated: they quote a token)"
    plain = "".join(char if char.isprintable() else " " for char in sentence)
    return f": {' '.join(plain.split())[:_LONGEST]}" if plain.strip() else ""


def _holds(sentence: str, secret: str) -> bool:
    spellings = [sentence]
    for _ in range(_MOST_QUOTINGS):
        spellings += [unquote(spellings[-1]), unquote_plus(spellings[-1])]
    return any(secret in spelling for spelling in spellings)
