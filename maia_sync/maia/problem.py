"""What does an error answer say? problem+json (RFC 9457) as one short, safe sentence."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

import msgspec

_LONGEST = 300


class _Problem(msgspec.Struct):
    title: object = None
    detail: object = None
    violations: object = None


def explain_problem(body: bytes, *, hide: Mapping[str, str]) -> str:
    """Return `: what upstream said`, or "" if it said nothing readable.

    Upstream may quote the request: `hide` maps each secret in it to what stands for it instead.
    """
    try:
        problem = msgspec.json.decode(body, type=_Problem)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    violations = problem.violations if isinstance(problem.violations, list) else []
    said = [text for text in (problem.detail or problem.title, *violations) if isinstance(text, str) and text]
    sentence = "; ".join(dict.fromkeys(said))
    for secret, name in hide.items():
        if secret:
            sentence = sentence.replace(secret, name).replace(quote(secret, safe=""), name)
    plain = "".join(char if char.isprintable() else " " for char in sentence)
    return f": {' '.join(plain.split())[:_LONGEST]}" if plain.strip() else ""
