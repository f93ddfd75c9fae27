"""Which parts of an event's payload does a reader see, and in which form? Text, Markdown, steps or raw JSON.

A payload is any JSON value: what is not as expected is shown raw, from its beginning. Nothing is longer here
than a screenful or two; the event's own page has the whole.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import msgspec
from markupsafe import Markup

from maia_sync.analytics.gist import decode, first_text_of, member_of, steps_of, text_of
from maia_sync.report.figures import cut
from maia_sync.web.markdown import LONGEST, render_markdown
from maia_sync.web.payload_text import find_member, html_size, lay_out, members_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from maia_sync.store.timeline import TimelineRow
    from maia_sync.web.payload_text import Member

Form: TypeAlias = Literal["text", "markdown", "raw", "steps", "block"]

LONGEST_RAW: Final = 4_000
_MOST_STEPS: Final = 50
_LONGEST_STEP: Final = 400
_ARGUMENTS: Final = (
    *("arguments", "args", "input", "parameters", "toolInput", "tool_input", "toolArguments"),
    *("tool_arguments", "params", "request", "gen_ai.tool.call.arguments"),
)
_RESULTS: Final = (
    *("result", "output", "content", "response", "toolOutput", "tool_output", "results", "value"),
    "gen_ai.tool.call.result",
)
_TROUBLES: Final = ("error", "exception", "failure")
_ERRORS: Final = (
    "message",
    "error",
    "text",
    "detail",
    "details",
    "description",
    "reason",
    "content",
    "title",
)
_TOLD: Final[Mapping[str, str]] = {
    "type": "event_type",
    "eventType": "event_type",
    "event_type": "event_type",
    "toolName": "tool_name",
    "tool_name": "tool_name",
    "toolCallId": "tool_call_id",
    "tool_call_id": "tool_call_id",
    "durationMs": "duration_ms",
    "duration_ms": "duration_ms",
    "status": "status",
}
"""Members that the line of a call tells, and the facets that they became."""
_TOLD_BY_OUTCOME: Final[Mapping[str, frozenset[str]]] = {
    "ok": frozenset(("ok", "success", "succeeded", "completed", "done")),
    "error": frozenset(("failed", "failure", "error")),
}
"""Which status says no more than the outcome, which is what stands on the line."""
_LONGEST_TOLD: Final = 400
_LONGEST_PREVIEW: Final = 80
_PREVIEW_FROM: Final = 400
_NAMES: Final = ("userName", "user_name", "displayName", "display_name", "author", "name")
_MARKDOWN_COSTS: Final = 2
"""How much a character of Markdown weighs, besides what it becomes: reading it takes the time of a page."""
_MARKS: Final = "*_[`<"
_MARK_COSTS: Final = 20
"""How much each of these weighs: what it belongs to is looked for."""

_VALUES_PER_BYTE: Final = 2


class Piece(msgspec.Struct, frozen=True):
    """One part of what is shown of an event."""

    form: Form
    text: str = ""
    """Of text and raw JSON; foreign, still to be escaped."""
    html: Markup = Markup()
    """Of Markdown: escaped and harmless."""
    steps: tuple[tuple[str, str], ...] = ()
    """Of a plan: each step's text and status."""
    label: str = ""
    """What it is, in a word of ours; empty where that goes without saying."""
    name: str = ""
    """Of a member shown by itself: its name, foreign."""
    is_cut: bool = False
    """There is more."""
    is_payload: bool = False
    """It is the payload itself, or its beginning."""

    @property
    def weight(self) -> int:
        """About how many bytes it takes on a page, and how much time."""
        told = sum(html_size(text) + html_size(status) + 60 for text, status in self.steps)
        worked = _work_of(self.text) if self.form == "markdown" else 0
        shown = len(self.html.encode()) if self.form == "markdown" else html_size(self.text)
        return told + shown + worked + html_size(self.name)


def _work_of(text: str) -> int:
    """Return how long a text takes to be read as Markdown, told as a weight."""
    marks = sum(text.count(mark) for mark in _MARKS)
    return len(text) * _MARKDOWN_COSTS + marks * _MARK_COSTS


class Payload(msgspec.Struct, frozen=True):
    """An event's payload: its text and, where that could be read, its value."""

    data: str | None
    value: Any

    @property
    def work(self) -> int:
        """How long it takes to read, told as a weight: by about how many values it has."""
        return 0 if self.data is None else (self.data.count(",") + self.data.count("{")) // _VALUES_PER_BYTE


def read_payload(row: TimelineRow) -> Payload:
    """Return the payload of an event."""
    return Payload(row.data, decode(row.data))


def message_of(payload: Payload, *, plain: bool) -> tuple[Piece, ...]:
    """Return what a message says, as Markdown or as plain text; the payload itself if it says nothing."""
    said = text_of(payload.value)
    return (text_piece(said, plain=plain),) if said is not None else raw_of(payload)


def plan_of(payload: Payload, *, plain: bool) -> tuple[Piece, ...]:
    """Return a plan's steps, and what it says besides."""
    steps = steps_of(payload.value)
    if not steps:
        return message_of(payload, plain=plain)
    said = text_of(payload.value)
    shown = tuple((text[:_LONGEST_STEP], status[:40]) for text, status in steps[:_MOST_STEPS])
    is_cut = len(steps) > _MOST_STEPS or any(len(text) > _LONGEST_STEP for text, _ in steps)
    told = () if said is None else (text_piece(said, plain=plain),)
    return (*told, Piece("steps", steps=shown, is_cut=is_cut))


def arguments_of(payload: Payload, row: TimelineRow) -> tuple[Piece, ...]:
    """Return what a tool was called with; else what the payload says besides what the call's line tells."""
    return _members(payload, (("Arguments", _ARGUMENTS),)) or _besides(payload, row)


def result_of(payload: Payload, row: TimelineRow) -> tuple[Piece, ...]:
    """Return what a tool gave back, or what went wrong; else what is not told by the line anyway."""
    return _members(payload, (("Error", _TROUBLES), ("Result", _RESULTS))) or _besides(payload, row)


def preview_of(payload: Payload) -> str:
    """Return the beginning of the first text that a tool was called with, on one line; "" for none."""
    _, arguments = member_of(payload.value, _ARGUMENTS)
    return cut(" ".join(first_text_of(arguments).strip()[:_PREVIEW_FROM].split()), _LONGEST_PREVIEW)


def error_of(payload: Payload) -> tuple[Piece, ...]:
    """Return what an error says."""
    said = text_of(payload.value, _ERRORS)
    return raw_of(payload) if said is None else (text_piece(said, plain=True),)


def raw_of(
    payload: Payload, *, label: str = "", start: int = 0, most: int = LONGEST_RAW
) -> tuple[Piece, ...]:
    """Return the payload, or the value in it that begins at `start`, laid out; a long one is cut."""
    if payload.data is None:
        return ()
    laid = lay_out(payload.data, start=start, most=most)
    return (Piece("raw", laid.text, label=label, is_cut=not laid.is_whole, is_payload=not start),)


def text_piece(said: str, *, plain: bool, label: str = "") -> Piece:
    """Return a text, as Markdown unless that would take too long; a long one is cut."""
    text, is_cut = said[:LONGEST], len(said) > LONGEST
    html = None if plain else render_markdown(text)
    if html is None:
        return Piece("text", text, label=label, is_cut=is_cut)
    return Piece("markdown", text, html=html, label=label, is_cut=is_cut)


def writer_of(row: TimelineRow, payload: Payload) -> str:
    """Return who an event is by, as far as it is told: a name rather than an id."""
    if row.actor == "user":
        _, name = member_of(payload.value, _NAMES)
        return name if isinstance(name, str) and name else row.user_id or ""
    return row.agent_name or ""


def _members(payload: Payload, wanted: Sequence[tuple[str, Sequence[str]]]) -> tuple[Piece, ...]:
    """Return the members of these names, each as it stands in the payload's text."""
    if payload.data is None or not isinstance(payload.value, dict):
        return ()
    found: list[Piece] = []
    for label, names in wanted:
        start = find_member(payload.data, names)
        if start is None or payload.data.startswith("null", start):
            continue
        if payload.data.startswith('"', start):
            said, _ = _STRINGS.raw_decode(payload.data, start)
            found.append(text_piece(said, plain=True, label=label))
        else:
            found += _object_of(payload, start, label=label)
    return tuple(found)


def _besides(payload: Payload, row: TimelineRow) -> tuple[Piece, ...]:
    """Return what a payload says besides what its facets, on the line, tell; where it is no object, all."""
    if not isinstance(payload.value, dict):
        return raw_of(payload)
    return _object_of(payload, 0, row=row)


def _object_of(
    payload: Payload, start: int, *, label: str = "", row: TimelineRow | None = None
) -> tuple[Piece, ...]:
    """Return the value that begins at `start`: of an object, texts of several lines by themselves.

    With a row, without those members that its facets tell.
    """
    data = payload.data or ""
    members = members_of(data, start)
    wanted = [each for each in members if row is None or not _is_told(data, each, row)]
    texts = {each.start: text for each in wanted if (text := _lines_in(data, each)) is not None}
    if len(wanted) == len(members) and not texts:
        return raw_of(payload, label=label, start=start)
    pieces = [*_blocks((each, texts[each.start]) for each in wanted if each.start in texts)]
    kept = ",".join(data[each.start : each.end].rstrip() for each in wanted if each.start not in texts)
    if kept:
        laid = lay_out(f" {{{kept}}}", start=1, most=LONGEST_RAW)
        pieces.append(Piece("raw", laid.text, is_cut=not laid.is_whole))
    if not pieces:
        return (Piece("text", label="Nothing but what the line above tells"),)
    return (msgspec.structs.replace(pieces[0], label=label), *pieces[1:])


def _blocks(texts: Iterator[tuple[Member, str]]) -> Iterator[Piece]:
    """Yield members that are texts, as far as there is room for them: the last one is cut, or left out."""
    left = LONGEST_RAW
    for member, text in texts:
        if left <= 0:
            yield Piece("block", "…", name=member.name, is_cut=True)
            return
        yield Piece("block", text[:left], name=member.name, is_cut=len(text) > left)
        left -= len(text) + len(member.name)


def _lines_in(data: str, member: Member) -> str | None:
    """Return the text that a member is, if that has several lines."""
    value = data[member.value : member.end].strip()
    if not value.startswith('"') or "\\" not in value:
        return None
    text, end = _STRINGS.raw_decode(value)
    return text if end == len(value) and ("\n" in text or "\r" in text) else None


def _is_told(data: str, member: Member, row: TimelineRow) -> bool:
    """Tell whether a member says exactly what a facet of the row tells."""
    facet = _TOLD.get(member.name)
    if facet is None or member.end - member.value > _LONGEST_TOLD:
        return False
    value = decode(data[member.value : member.end])
    if isinstance(value, bool) or value != getattr(row, facet):
        return False
    return facet != "status" or value in _TOLD_BY_OUTCOME.get(row.outcome or "", ())


_STRINGS: Final = json.JSONDecoder()
