"""Where does a task's log stand on the site? The addresses of its pages, and the places that they name.

Whatever comes from elsewhere is quoted. A cursor is a place in the reading order, written so that it means
nothing to whoever sees it.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

import msgspec

from maia_sync.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from maia_sync.store.named_rows import RowName
    from maia_sync.store.reading import Position
    from maia_sync.store.timeline import Standing

_LONGEST: Final = 4_000
_BITS: Final = 2**63
_Place = tuple[int, datetime, int, str, int]
_Stand = tuple[int, int, int]
_Decoded = tuple[_Place | None, _Stand | None]


def task_address(task_id: str, anchor: int | None = None, /, **query: object) -> str:
    """Return the address of a task's timeline; `anchor` is the `seq` of an event on it."""
    asked = {name: value for name, value in query.items() if value is not None}
    return f"/tasks/{task_id}" + _query(asked) + ("" if anchor is None else f"#seq-{anchor}")


def event_address(task_id: str, name: RowName, page: str = "event", /, **query: object) -> str:
    """Return the address of an event's page, or of its payload."""
    group_id, timestamp, ordinal = name
    asked = {"group": group_id, "timestamp": timestamp, "ordinal": ordinal, **query}
    return f"/tasks/{task_id}/{page}{_query(asked)}"


def quarantine_address(task_id: str, **query: object) -> str:
    """Return the address of what of a task is in quarantine."""
    return f"/tasks/{task_id}/quarantine{_query(query)}"


def _query(asked: Mapping[str, object]) -> str:
    return f"?{urlencode(asked, errors='replace')}" if asked else ""


def write_cursor(place: Position | None, standing: Standing | None = None) -> str:
    """Return a place as part of an address, and how much of the log there was up to it."""
    told = None if standing is None else (standing.events, standing.revisions, standing.vanished)
    return base64.urlsafe_b64encode(msgspec.json.encode((place, told))).rstrip(b"=").decode()


def read_cursor(text: str) -> Position:
    """Return the place that a cursor names. Raises UsageError for what is none."""
    place, _ = _read(text)
    if place is None:
        raise _no_place()
    return place


def read_standing_cursor(text: str) -> tuple[Position | None, _Stand]:
    """Return the place, None before the log's first event, and how much there was. Raises UsageError."""
    place, told = _read(text)
    if told is None:
        raise _no_place()
    return place, told


def _read(text: str) -> _Decoded:
    if len(text) > _LONGEST:
        raise _no_place()
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        place, told = msgspec.json.decode(raw, type=_Decoded)
    except (ValueError, msgspec.DecodeError) as error:
        raise _no_place() from error
    if place is not None:
        numbers_fit = all(-_BITS <= each < _BITS for each in (place[0], place[4])) and abs(place[2]) < 2**31
        if not numbers_fit or not _has_utc(place[1]) or "\0" in place[3]:
            raise _no_place()
    return place, told


def _has_utc(moment: datetime) -> bool:
    """Tell whether a moment is one of UTC's calendar."""
    try:
        return moment.tzinfo is not None and moment.astimezone(UTC) is not None
    except OverflowError:
        return False


def read_whole_number(text: str, name: str) -> int:
    """Return a number of an address that a database takes for one. Raises UsageError."""
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 20 and -_BITS <= int(text) < _BITS):
        raise UsageError(f"{name} in the address is not a whole number")
    return int(text)


def _no_place() -> UsageError:
    return UsageError("the address names no place in this log: open the task once more")
