"""What is on a page of a task's timeline? A stretch of the log that is neither too long nor too large.

It ends at a hundred events, at some hundred kilobytes of HTML, or after some megabytes of payloads, whichever
comes first, and has one event at least.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

import msgspec

from maia_sync.store.quarantined import count_quarantined
from maia_sync.store.timeline import (
    iterate_calls,
    iterate_rows,
    read_call_places,
    read_calls,
    read_event,
    read_neighbour,
    read_revisions,
    read_standing,
    read_turns,
)
from maia_sync.web.addresses import write_cursor
from maia_sync.web.conversation import Entry, Item, Section, fold, in_turns, make_item
from maia_sync.web.difference import Difference, compare

if TYPE_CHECKING:
    from maia_sync.store.database import Transaction
    from maia_sync.store.named_rows import RowName
    from maia_sync.store.reading import Position

MOST_EVENTS: Final = 100
MOST_BYTES: Final = 300_000
MOST_PAYLOAD: Final = 16_000_000
_MOST_DIFFERENCES: Final = 10
_MOST_ANSWERED: Final = 50
_LONGEST_COMPARED: Final = 20_000
_LONGEST_DIFFERENCE: Final = 4_000


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """Which stretch is wanted; with nothing set, the newest one."""

    after: Any = None
    """A Position: the events behind it."""
    before: Any = None
    """A Position: the events before it."""
    from_start: bool = False
    seq: int | None = None
    """The events from this `seq` on."""
    plain: bool = False
    """Texts are shown as they are, not as Markdown."""

    @property
    def backwards(self) -> bool:
        """Tell whether the stretch is read from its end."""
        forwards = self.after is not None or self.from_start
        return not forwards and self.seq is None


class LogPage(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of a log, ready to be shown."""

    sections: tuple[Section, ...]
    differences: Any
    """By an event's name: what upstream changed last."""
    first: Any = None
    """The Position of its first event; None if there are no events."""
    last: Any = None
    is_oldest: bool = True
    """Nothing is before it."""
    is_newest: bool = True
    quarantined: int = 0
    news: str = ""
    """The cursor for news behind it; "" if it is not the place to wait for them."""

    @property
    def events(self) -> int:
        """How many events are on it."""
        return sum(1 + (entry.result is not None) for part in self.sections for entry in part.entries)


def read_page(tx: Transaction, task_id: str, asked: Asked) -> LogPage:
    """Return the stretch that is asked for."""
    start = asked.before if asked.backwards else asked.after
    items = _take(tx, task_id, start, asked)
    if not items:
        return _empty_page(tx, task_id, asked)
    first, last = items[0].row.position, items[-1].row.position
    before = read_neighbour(tx, task_id, first, backwards=True)
    behind = read_neighbour(tx, task_id, last)
    return LogPage(
        sections=_sections(tx, task_id, items, before, behind),
        differences=_differences(tx, task_id, items),
        first=first,
        last=last,
        is_oldest=before is None,
        is_newest=behind is None,
        quarantined=count_quarantined(tx, task_id),
        news=write_cursor(last, read_standing(tx, task_id, last)) if behind is None else "",
    )


def read_answered(tx: Transaction, task_id: str, page: LogPage, *, plain: bool) -> LogPage:
    """Return the calls before a page whose results are on it, those folded into them.

    Of many results only some are taken: it is for a page that is open already, to which a few have come.
    """
    turns = {part.group_id: part.turn for part in page.sections}
    waiting = [
        entry
        for part in page.sections
        for entry in part.entries
        if entry.item.kind == "result" and entry.item.row.vanished_at is None and _is_before(entry, page)
    ][:_MOST_ANSWERED]
    found: list[Entry] = []
    calls = _calls_at(tx, task_id, {entry.elsewhere for entry in waiting}, plain=plain) if waiting else []
    for entry in waiting:
        result = entry.item
        name = (entry.elsewhere, result.row.tool_call_id, result.row.group_id)
        call = next((each for each in calls if _name_of_call(each) == name), None)
        if call is None:
            continue
        bare_in = [result.row.group_id] if result.row.tool_call_id is None else []
        told = read_calls(tx, task_id, call.row.seq, call.row.seq, bare_in=bare_in)
        pairs = [each for each in told if each.result_seq == result.row.seq]
        found += [each for each in fold([call, result], pairs) if each.result is not None]
    return LogPage(
        sections=tuple(in_turns(found, turns)),
        differences=page.differences | _differences(tx, task_id, [entry.item for entry in found]),
    )


def _is_before(entry: Entry, page: LogPage) -> bool:
    """Tell whether the call of a result stands before the page."""
    place = entry.elsewhere
    return place is not None and not entry.call_has_vanished and place <= page.first[0]


def _calls_at(tx: Transaction, task_id: str, seqs: set[int | None], *, plain: bool) -> list[Item]:
    """Return the calls that stand there, as far as there is room for them."""
    found: list[Item] = []
    size = read = 0
    with closing(iterate_calls(tx, task_id, [seq for seq in seqs if seq is not None])) as rows:
        for row in rows:
            item = make_item(row, plain=plain)
            size += item.weight
            read += len(row.data or "")
            if found and (size > MOST_BYTES or read > MOST_PAYLOAD):
                break
            found.append(item)
    return found


def _name_of_call(call: Item) -> tuple[int, str | None, str]:
    return call.row.seq, call.row.tool_call_id, call.row.group_id


def _empty_page(tx: Transaction, task_id: str, asked: Asked) -> LogPage:
    """Return the page of a stretch without events: the log has none, or none there."""
    is_beside = asked.before is not None or asked.seq is not None
    news = "" if is_beside else write_cursor(asked.after, read_standing(tx, task_id, asked.after))
    return LogPage(
        sections=(),
        differences={},
        is_oldest=asked.before is not None or (asked.after is None and asked.seq is None),
        is_newest=asked.before is None,
        quarantined=count_quarantined(tx, task_id),
        news=news,
    )


def _take(tx: Transaction, task_id: str, start: Position | None, asked: Asked) -> list[Item]:
    """Read events until it is enough; in reading order."""
    items: list[Item] = []
    size = read = 0
    with closing(
        iterate_rows(tx, task_id, start=start, seq=asked.seq, backwards=asked.backwards, limit=MOST_EVENTS)
    ) as rows:
        for row in rows:
            item = make_item(row, plain=asked.plain)
            size += item.weight
            if items and size > MOST_BYTES:
                break
            items.append(item)
            read += len(row.data or "")
            if len(items) == MOST_EVENTS or read > MOST_PAYLOAD:
                break
    return items[::-1] if asked.backwards else items


def _sections(
    tx: Transaction, task_id: str, items: list[Item], before: Position | None, behind: Position | None
) -> tuple[Section, ...]:
    groups = [*{item.row.group_id for item in items} - {""}]
    sections = in_turns(
        _folded(tx, task_id, items),
        read_turns(tx, task_id, groups) if groups else {},
        group_before=None if before is None else before[3],
        group_behind=None if behind is None else behind[3],
    )
    return tuple(sections)


def _folded(tx: Transaction, task_id: str, items: list[Item]) -> list[Entry]:
    tools = [item for item in items if item.kind in ("call", "result")]
    if not tools:
        return fold(items)
    bare_in = [*{item.row.group_id for item in tools if item.row.tool_call_id is None}]
    calls = read_calls(tx, task_id, items[0].row.seq, items[-1].row.seq, bare_in=bare_in)
    here = {call.tool_call_id for call in calls}
    lone = {item.row.tool_call_id for item in tools if item.kind == "result"} - here - {None}
    places = read_call_places(tx, task_id, [*lone]) if lone else {}
    lone -= {*places}
    vanished = read_call_places(tx, task_id, [*lone], vanished=True) if lone else {}
    return fold(items, calls, places, vanished)


def _differences(tx: Transaction, task_id: str, items: list[Item]) -> dict[RowName, Difference]:
    """Return what has changed in the latest revisions, where that is quickly told."""
    found: dict[RowName, Difference] = {}
    for item in [item for item in items if item.row.revision > 0][:_MOST_DIFFERENCES]:
        row = read_event(tx, task_id, item.row.name)
        earlier = read_revisions(tx, task_id, item.row.name, limit=1)
        if row is None or not earlier or row.pruned_at is not None or earlier[0].pruned_at is not None:
            continue
        texts = (earlier[0].data, row.data)
        if max(len(text or "") for text in texts) <= _LONGEST_COMPARED:
            difference = compare(*texts)
            if 0 < sum(line.size for line in difference.lines) <= _LONGEST_DIFFERENCE:
                found[item.row.name] = difference
    return found
