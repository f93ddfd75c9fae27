"""Which parts of an event's payload does a reader see, and in which form? Text, Markdown, steps or raw JSON.

A payload is any JSON value: what is not as expected is shown raw, from its beginning. Nothing is longer here
than a screenful or two; the event's own page has the whole.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import msgspec
from markupsafe import Markup

from maia_sync.analytics.gist import UNREAD, decode, member_of, steps_of, text_of
from maia_sync.web.markdown import LONGEST, render_markdown
from maia_sync.web.payload_text import find_member, html_size, lay_out

if TYPE_CHECKING:
    from collections.abc import Sequence

    from maia_sync.store.timeline import TimelineRow

Form: TypeAlias = Literal["text", "markdown", "raw", "steps"]

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
    is_cut: bool = False
    """There is more."""

    @property
    def weight(self) -> int:
        """About how many bytes it takes on a page, and how much time."""
        told = sum(html_size(text) + html_size(status) + 60 for text, status in self.steps)
        worked = _work_of(self.text) if self.form == "markdown" else 0
        shown = len(self.html.encode()) if self.form == "markdown" else html_size(self.text)
        return told + shown + worked


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


def arguments_of(payload: Payload) -> tuple[Piece, ...]:
    """Return what a tool was called with; else the payload."""
    return _members(payload, (("Arguments", _ARGUMENTS),)) or raw_of(payload)


def result_of(payload: Payload) -> tuple[Piece, ...]:
    """Return what a tool gave back, or what went wrong; else the payload."""
    return _members(payload, (("Error", _TROUBLES), ("Result", _RESULTS))) or raw_of(payload)


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
    return (Piece("raw", laid.text, label=label, is_cut=not laid.is_whole),)


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
    if payload.data is None or not isinstance(payload.value, dict) or payload.value is UNREAD:
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
            found += raw_of(payload, label=label, start=start)
    return tuple(found)


_STRINGS: Final = json.JSONDecoder()
