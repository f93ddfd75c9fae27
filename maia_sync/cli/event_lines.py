"""How does a stored event look: as a line for people, as its raw payload, as a JSON object?"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from maia_sync.analytics.gist import decode, words_of
from maia_sync.cli.escaping import one_line

if TYPE_CHECKING:
    from datetime import datetime

    from maia_sync.store.reading import LogRow

_GROUP_SHORT = 8
_TYPE_WIDTH = 14
_LONGEST_EXCERPT = 1000
_LONGEST_DECODED = 1_000_000
"""Characters of a payload that are decoded for its excerpt; a longer one is shown raw, from its beginning."""


class _Gist(NamedTuple):
    kind: str
    excerpt: str


def human_line(row: LogRow, width: int) -> str:
    """Return one line of at most `width` characters: time, group, type, a mark or two, an excerpt."""
    gist = _gist(row.data) if row.pruned_at is None else _Gist("-", "")
    marks = ("[vanished] " if row.vanished_at is not None else "") + (
        f"[revision {row.revision}] " if row.revision else ""
    )
    marks += removal_of(row)
    group = row.group_id[:_GROUP_SHORT] or "-"
    head = f"{_moment(row):<19}  {group:<{_GROUP_SHORT}}  {gist.kind:<{_TYPE_WIDTH}}  "
    return _cut(one_line(head + marks + gist.excerpt), width)


def removal_of(row: LogRow) -> str:
    """Return the mark of an event whose payload was taken out; "" if it was not."""
    if row.erased_at is not None:
        return f"[erased {row.erased_at:%Y-%m-%d}]"
    return "" if row.pruned_at is None else f"[pruned {row.pruned_at:%Y-%m-%d}]"


def _moment(row: LogRow) -> str:
    if row.occurred_at is not None:
        return f"{row.occurred_at:%Y-%m-%d %H:%M:%S}"
    return row.timestamp_text[:19] if row.timestamp_text else "-"


def _cut(line: str, width: int) -> str:
    return line if len(line) <= width else line[: max(width - 3, 0)] + "..."


def _gist(data: str | None) -> _Gist:
    """Guess what a payload is and what it says; any JSON value is possible."""
    if data is None:
        return _Gist("-", "(no data)")
    value = decode(data, _LONGEST_DECODED)
    if not isinstance(value, dict):
        return _Gist("-", data[:_LONGEST_EXCERPT])
    kind = value.get("type")
    words = [part[:_LONGEST_EXCERPT] for part in words_of(value)]
    return _Gist(kind if isinstance(kind, str) else "-", ": ".join(words) or data[:_LONGEST_EXCERPT])


def json_object(row: LogRow) -> str:
    """Return the event as one JSON object; `data` and `extra` stand in it to the letter.

    Where the event had no data, or has lost it, the object has no "data"; null is JSON's null, as it came.
    """
    plain: dict[str, object] = {
        "task_id": row.task_id,
        "seq": row.seq,
        "group_id": row.group_id,
        "timestamp": row.timestamp if row.has_instant else None,
        "timestamp_text": row.timestamp_text,
        "occurred_at": _iso(row.occurred_at),
        "ordinal": row.ordinal,
        "revision": row.revision,
        "digest": row.digest.hex(),
        "canonical": None if row.canonical is None else row.canonical.hex(),
        "first_seen_at": _iso(row.first_seen_at),
        "last_changed_at": _iso(row.last_changed_at),
        "vanished_at": _iso(row.vanished_at),
        "pruned_at": _iso(row.pruned_at),
        "erased_at": _iso(row.erased_at),
        "run_id": row.run_id,
    }
    members = [f'"{name}": {json.dumps(value, ensure_ascii=False)}' for name, value in plain.items()]
    members.append(f'"extra": {"null" if row.extra is None else row.extra}')
    if row.data is not None:
        members.append(f'"data": {row.data}')
    return "{" + ", ".join(members) + "}"


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
