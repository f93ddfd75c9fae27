"""How does a stretch of a log become a conversation? Rows in, turns with their items out; no I/O.

Events of one group that follow each other are a turn. A tool's result is folded into its call where both are
at hand, and else says where the other one stands.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias
from urllib.parse import quote

import msgspec

from maia_sync.web.payload_text import html_size
from maia_sync.web.pieces import (
    Payload,
    Piece,
    arguments_of,
    error_of,
    message_of,
    plan_of,
    preview_of,
    raw_of,
    read_payload,
    result_of,
    writer_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from maia_sync.store.timeline import Call, TimelineRow, Turn

Kind: TypeAlias = Literal["message", "plan", "call", "result", "error", "usage", "status", "other"]

_FRAME: Final = 900
"""About how many bytes an item takes besides its pieces and what it is called."""
_ADDRESSES: Final = 5
"""How many times a group's name can stand in addresses: of its turn, the event, what changed in it."""
_NAMES: Final = ("event_type", "user_id", "agent_name", "tool_name", "status", "error_type")
_TIMES_NAMED: Final = 2
"""By a turn's head, and by the event."""
_SHORT_RAW: Final = 2_000
"""Characters of a payload up to which it is on the page, folded away."""
_WHO: Final = {"user": "User", "agent": "Agent", "tool": "Tool"}
_KINDS: Final[Mapping[str, Kind]] = {"tool_call": "call", "tool_result": "result"}
_LABELS: Final[Mapping[Kind, str]] = {
    "plan": "Plan",
    "call": "Tool call",
    "result": "Tool result",
    "error": "Error",
    "usage": "Usage",
    "status": "Status",
}

_NOTHING_LEFT: Final = {False: "Pruned: the archive has it", True: "Erased, here and from the archive"}
"""In place of a payload that was taken out: by whether the archive has lost it, too."""


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One event as it is shown; `row` has its facets, without the payload."""

    row: Any
    """A TimelineRow."""
    kind: Kind
    style: str
    """The class of its article: user, agent, tool, plan, error, other."""
    who: str
    """User, Agent, or what kind of event it is."""
    by: str
    """A name, foreign; "" if none is told."""
    pieces: tuple[Piece, ...]
    raw: Piece | None
    """The payload, where it is short, and its pieces show some of it but not all."""
    shows_all: bool = False
    """A piece is the payload itself."""
    preview: str = ""
    """Of a call: the beginning of what it was called with, on one line; foreign."""
    work: int = 0
    """How long it took to read, told as a weight."""

    @property
    def weight(self) -> int:
        """About how many bytes it takes on a page, and how much time."""
        return (
            _FRAME
            + _ADDRESSES * len(quote(self.row.group_id, errors="replace"))
            + _size_of_names(self.row)
            + self.work
            + sum(piece.weight for piece in self.pieces)
            + (self.raw.weight if self.raw else 0)
            + html_size(self.preview)
        )

    @property
    def is_cut(self) -> bool:
        """Tell whether there is more of it than is shown."""
        hides_some = self.kind in ("call", "result") and not self.shows_all and self.raw is None
        return any(piece.is_cut for piece in self.pieces) or (hides_some and bool(self.pieces))


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """An item with what belongs to it."""

    item: Item
    result: Item | None = None
    """Of a call: its result, folded into it."""
    duration_ms: float | None = None
    outcome: str | None = None
    elsewhere: int | None = None
    """Of a call or a result alone: the `seq` of the other one."""
    call_has_vanished: bool = False
    """Of a result alone: the call that stands elsewhere has vanished."""

    @property
    def is_changed(self) -> bool:
        """Tell whether upstream has changed the event, or the result that is folded into it."""
        return bool(self.item.row.revision or (self.result and self.result.row.revision))

    @property
    def is_slim(self) -> bool:
        """Tell whether it is a call of which one line says all, until it is opened."""
        row = self.item.row
        return (
            self.item.kind == "call"
            and row.vanished_at is None
            and not self.is_changed
            and self.elsewhere is None
            and (row.occurred_at is not None or row.timestamp_text is None)
        )


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """Entries of one group that follow each other."""

    group_id: str
    turn: Any
    """A Turn; None for the group "", and where nothing is known of it."""
    entries: tuple[Entry, ...]
    is_continued: bool
    """The turn has begun before."""
    goes_on: bool
    """The turn goes on behind."""


def _size_of_names(row: TimelineRow) -> int:
    """Return how many bytes the names take that somebody else gave."""
    names = (getattr(row, name) for name in _NAMES)
    return _TIMES_NAMED * sum(html_size(name) for name in names if name)


def make_item(row: TimelineRow, *, plain: bool) -> Item:
    """Return an event as it is shown; `plain`: texts are no Markdown."""
    payload = read_payload(row)
    kind = _kind_of(row)
    pieces = _pieces_of(kind, row, payload, plain=plain)
    shows_all = any(piece.is_payload for piece in pieces)
    nothing = "No data" if row.pruned_at is None else _NOTHING_LEFT[row.erased_at is not None]
    is_short = row.data is not None and len(row.data) < _SHORT_RAW
    raw = raw_of(payload, most=_SHORT_RAW * 3) if is_short and pieces and not shows_all else ()
    return Item(
        row=msgspec.structs.replace(row, data=None, extra=None),
        kind=kind,
        style=_style_of(kind, row),
        who=_who_of(kind, row),
        by=writer_of(row, payload),
        pieces=pieces if row.data is not None else (Piece("text", "", label=nothing),),
        raw=raw[0] if raw else None,
        shows_all=shows_all or row.data is None,
        preview=preview_of(payload) if kind == "call" else "",
        work=payload.work,
    )


def _kind_of(row: TimelineRow) -> Kind:
    kind = row.event_kind or ""
    if kind in _KINDS:
        return _KINDS[kind]
    return kind if kind in ("message", "plan", "error", "usage", "status") else "other"  # type: ignore[return-value]


def _style_of(kind: Kind, row: TimelineRow) -> str:
    if kind in ("call", "result"):
        return "tool"
    if kind in ("plan", "error"):
        return kind
    return row.actor if kind == "message" and row.actor in _WHO and row.actor else "other"


def _who_of(kind: Kind, row: TimelineRow) -> str:
    if kind == "message":
        return _WHO.get(row.actor or "", "Message")
    return _LABELS.get(kind, "")


def _pieces_of(kind: Kind, row: TimelineRow, payload: Payload, *, plain: bool) -> tuple[Piece, ...]:
    if kind == "plan":
        return plan_of(payload, plain=plain)
    if kind == "call":
        return arguments_of(payload, row)
    if kind == "result":
        return result_of(payload, row)
    if kind == "error":
        return error_of(payload)
    tells_tokens = row.input_tokens is not None or row.output_tokens is not None or row.cost is not None
    if (kind == "usage" and tells_tokens) or (kind == "status" and row.status is not None):
        return ()
    return message_of(payload, plain=plain)


def fold(
    items: Sequence[Item],
    calls: Iterable[Call] = (),
    call_places: Mapping[str, int] | None = None,
    vanished_places: Mapping[str, int] | None = None,
) -> list[Entry]:
    """Return the items in their order, each result that belongs to a call among them folded into it.

    `calls` says which result answers which call; `call_places` where calls stand that are not among them, and
    `vanished_places` where those have stood that have vanished.
    """
    told = {(call.call_seq, call.tool_call_id): call for call in calls}
    results: dict[tuple[str, int | str], Item] = {}
    for item in items:
        if item.kind == "result" and item.row.vanished_at is None:
            results.setdefault((item.row.group_id, item.row.tool_call_id or item.row.seq), item)
    folded: set[int] = set()
    entries: list[Entry] = []
    for item in items:
        call = told.get((item.row.seq, item.row.tool_call_id)) if item.kind == "call" else None
        if call is None or item.row.vanished_at is not None:
            entries.append(Entry(item=item, duration_ms=item.row.duration_ms, outcome=item.row.outcome))
            continue
        name = call.tool_call_id or (-1 if call.result_seq is None else call.result_seq)
        result = results.pop((item.row.group_id, name), None)
        if result is not None:
            folded.add(id(result))
        entries.append(
            Entry(
                item=item,
                result=result,
                duration_ms=call.duration_ms,
                outcome=call.outcome,
                elsewhere=None if result is not None else call.result_seq,
            )
        )
    lone = _places_of_calls(told.values(), call_places or {})
    gone = vanished_places or {}
    return [_with_place(entry, lone, gone) for entry in entries if id(entry.item) not in folded]


def _places_of_calls(calls: Iterable[Call], by_id: Mapping[str, int]) -> dict[str | int, int]:
    """Return where the call of a result stands, by the call's id or by the result's seq."""
    places: dict[str | int, int] = {call_id: seq for call_id, seq in by_id.items()}  # noqa: C416 - its type
    for call in calls:
        if call.tool_call_id is None and call.result_seq is not None:
            places[call.result_seq] = call.call_seq
    return places


def _with_place(entry: Entry, places: Mapping[str | int, int], gone: Mapping[str, int]) -> Entry:
    if entry.item.kind != "result":
        return entry
    row = entry.item.row
    place = places.get(row.tool_call_id or row.seq)
    has_vanished = place is None and row.tool_call_id in gone
    return msgspec.structs.replace(
        entry, elsewhere=gone[row.tool_call_id] if has_vanished else place, call_has_vanished=has_vanished
    )


def in_turns(
    entries: Sequence[Entry],
    turns: Mapping[str, Turn],
    *,
    group_before: str | None = None,
    group_behind: str | None = None,
) -> list[Section]:
    """Return the entries in sections by group; the groups of the events around tell what is cut off."""
    grouped = [
        (group_id, tuple(found))
        for group_id, found in groupby(entries, key=lambda entry: entry.item.row.group_id)
    ]
    last = len(grouped) - 1
    return [
        Section(
            group_id=group_id,
            turn=turns.get(group_id) if group_id else None,
            entries=found,
            is_continued=bool(group_id) and at == 0 and group_id == group_before,
            goes_on=bool(group_id) and at == last and group_id == group_behind,
        )
        for at, (group_id, found) in enumerate(grouped)
    ]
