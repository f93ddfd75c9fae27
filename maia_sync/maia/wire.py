"""What do the bytes of one response of GET messages say? Bytes in, a Page out, or BrokenPage.

Two ways lead to the same Page. The fast one lets msgspec take the page apart with raw payloads,
and proves by lengths that nothing but the three known fields was there. What it refuses or
cannot prove goes element by element through `element.read_element`, which sees every byte.

Contract: `results` is the list of events; the schema names the next token `more`, the text
`nextCursor`: both are read; absent, null and "" all mean the end.
"""

from __future__ import annotations

import json

import msgspec

from maia_sync.errors import BrokenPage
from maia_sync.maia.element import KNOWN, MAX_GROUP_BYTES, event_of, is_storable, make_event, read_element
from maia_sync.maia.json_slices import MAX_DEPTH, MalformedJson, items_of, members_of
from maia_sync.model import Event, Page, Quarantined

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SHORTEST_REPEAT = len('"data":1,')


class _WireElement(msgspec.Struct, gc=False):
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    groupId: str | msgspec.UnsetType | None = msgspec.UNSET  # noqa: N815 - the contract's spelling
    timestamp: str | msgspec.UnsetType | None = msgspec.UNSET


class _WirePage(msgspec.Struct, gc=False):
    results: msgspec.Raw
    more: str | None = None
    nextCursor: str | None = None  # noqa: N815 - the contract's spelling


_decode_wire_page = msgspec.json.Decoder(_WirePage).decode
_decode_elements = msgspec.json.Decoder(list[_WireElement]).decode
_decode_raws = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def decode_page(body: bytes) -> Page:
    """Decode one response body. Raises BrokenPage if it is not a page with a `results` array."""
    text = body.removeprefix(_BYTE_ORDER_MARK)
    try:
        wire = _decode_wire_page(text)
        results, next_token = bytes(wire.results), wire.more or wire.nextCursor or None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        results, next_token = _cut_page(text)
    if results[:1] != b"[":
        raise BrokenPage("the answer has no results array")
    if next_token is not None and not is_storable(next_token):
        raise BrokenPage("the answer's page token cannot be stored")
    elements: list[Event | Quarantined] | list[Event] | None = _read_all_proven(results)
    if elements is None:
        elements = [_read_alone(raw) for raw in _cut_results(results)]
    return Page(
        events=[element for element in elements if isinstance(element, Event)],
        quarantined=[element for element in elements if isinstance(element, Quarantined)],
        next_token=next_token,
        size_bytes=len(body),
    )


def _read_all_proven(results: bytes) -> list[Event] | None:
    """Read all elements the fast way, or return None if a single byte is unaccounted for.

    A compact array of objects that hold nothing but the known fields, each once, has a length
    that follows from their values. Anything else (an unknown field, a repeated one, an escape in
    a group, a blank) makes the bytes longer than that, never shorter: equal length is a proof.
    """
    try:
        if not results.isascii():
            results.decode()
        wires = _decode_elements(results)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    length = 1 + max(len(wires), 1)
    events: list[Event] = []
    for wire in wires:
        members = 0
        data = group = text = None
        if wire.data is not msgspec.UNSET:
            data = bytes(wire.data)
            if _may_be_too_deep(data):
                return None
            length += 7 + len(data)
            members = 1
        if wire.groupId is not msgspec.UNSET:
            group = wire.groupId
            length += 10 + _string_length(group)
            members += 1
        if wire.timestamp is not msgspec.UNSET:
            text = wire.timestamp
            length += 12 + _string_length(text)
            members += 1
        if group and len(group) * 4 > MAX_GROUP_BYTES:
            return None
        length += 1 + max(members, 1)
        events.append(make_event(data=data, group_id=group or "", timestamp_text=text, extra=None))
    return events if length == len(results) else None


def _string_length(text: str | None) -> int:
    """Return how many bytes the string (or null) takes in JSON if nothing in it is escaped."""
    if text is None:
        return 4
    return 2 + (len(text) if text.isascii() else len(text.encode()))


def _may_be_too_deep(raw: bytes) -> bool:
    return len(raw) > MAX_DEPTH and raw.count(b"[") + raw.count(b"{") >= MAX_DEPTH


def _cut_results(results: bytes) -> list[bytes]:
    try:
        return [bytes(raw) for raw in _decode_raws(results)]
    except (msgspec.DecodeError, RecursionError):
        pass
    try:
        return items_of(results)
    except MalformedJson as fault:
        raise BrokenPage(f"the answer's results cannot be taken apart: {fault}") from fault


def _read_alone(raw: bytes) -> Event | Quarantined:
    """Read one element by msgspec if that provably sees every field, else strictly by hand."""
    try:
        if not raw.isascii():
            raw.decode()
        values = _decode_members(raw)
        names = [name.encode() for name in values]
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return read_element(raw)
    length = 1 + sum(4 + len(name) + len(value) for name, value in zip(names, values.values(), strict=True))
    # White space alone may make a known-only element longer, but by less than a repeat would.
    slack = _SHORTEST_REPEAT if values.keys() <= KNOWN else 1
    if len(raw) - length >= slack or _may_be_too_deep(raw):
        return read_element(raw)
    return event_of(
        [
            (text, b'"' + name + b'"', bytes(value))
            for name, (text, value) in zip(names, values.items(), strict=True)
        ]
    )


def _cut_page(body: bytes) -> tuple[bytes, str | None]:
    """Cut a page that msgspec refused into its results and its next token."""
    try:
        fields = {json.loads(name, strict=False): value for name, value in members_of(body)}
        tokens = [json.loads(fields.get(name, b"null"), strict=False) for name in ("more", "nextCursor")]
    except (MalformedJson, UnicodeDecodeError, ValueError, RecursionError) as fault:
        raise BrokenPage(f"the answer is not a page: {_first_words(body)}") from fault
    if "results" not in fields:
        raise BrokenPage("the answer has no results array")
    for token in tokens:
        if token is not None and not isinstance(token, str):
            raise BrokenPage("the answer's page token is not a string")
    return fields["results"], tokens[0] or tokens[1] or None


def _first_words(body: bytes) -> str:
    """Say what kind of thing came instead of a page, without quoting it."""
    start = body.lstrip()[:1]
    if not start:
        return "it is empty"
    return "it looks like HTML" if start == b"<" else "it is not valid JSON, or cut short"
