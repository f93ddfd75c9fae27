"""What do the bytes of one response of GET messages say, and which bytes does a POST send?

Bytes in, a Page out, or BrokenPage; an OutgoingMessage in, bytes out.

Two ways lead to the same Page. The fast one lets msgspec take the page apart with raw payloads,
and proves by lengths that nothing but the three known fields was there. What it refuses or
cannot prove goes element by element through `element.read_element`, which sees every byte.

Contract: `results` is the list of events; the schema names the next token `more`, the text
`nextCursor`: both are read; absent, null and "" all mean the end.
"""

from __future__ import annotations

import json
from contextlib import suppress
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET

from maia_sync.errors import BrokenPage, PageTooLarge, UsageError
from maia_sync.maia.element import (
    KNOWN,
    MAX_GROUP_BYTES,
    digest_of,
    event_of,
    is_storable,
    make_event,
    read_element,
)
from maia_sync.maia.json_slices import MAX_DEPTH, MalformedJson, TooMany, items_of, members_of
from maia_sync.maia.timestamp import read_instants
from maia_sync.model import Event, OutgoingMessage, Page, Quarantined
from maia_sync.page_events import PageEvents

if TYPE_CHECKING:
    from collections.abc import Sequence

_FRONT = b'{"results":['
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SHORTEST_REPEAT = len('"data":1,')
_MOST_ELEMENTS = 100_000
"""A hundred times the contract's maximum. Without a bound, a page of `{},{},` takes 75 times its size."""
_MOST_BRACES = 1_000_000
_MOST_COMMAS = 1_000_000
_LONGEST_TOKEN = 1 << 20
_WHOLE = len('{"data":,"groupId":"","timestamp":""}')


class _WireElement(msgspec.Struct, gc=False):
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    groupId: str | msgspec.UnsetType | None = msgspec.UNSET  # noqa: N815 - the contract's spelling
    timestamp: str | msgspec.UnsetType | None = msgspec.UNSET


class _WirePage(msgspec.Struct, gc=False):
    results: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    more: str | None = None
    nextCursor: str | None = None  # noqa: N815 - the contract's spelling


_decode_wire_page = msgspec.json.Decoder(_WirePage).decode
_decode_elements = msgspec.json.Decoder(list[_WireElement]).decode
_decode_element = msgspec.json.Decoder(_WireElement).decode
_decode_raws = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def decode_page(body: bytes, *, limit: int = 0) -> Page:
    """Decode the body of a response that was asked for with this limit.

    Raises BrokenPage if it is not a page with a `results` array.
    """
    text = body.removeprefix(_BYTE_ORDER_MARK)
    quarantined: list[Quarantined] = []
    cut = _cut_at_the_ends(text)
    results, next_token = cut or _cut(text)
    events = _read_all_proven(results)
    if events is None and cut is not None:
        results, next_token = _cut(text)
        events = None if results == cut[0] else _read_all_proven(results)
    if events is None:
        elements = [_read_alone(raw) for raw in _cut_results(results)]
        events = [element for element in elements if isinstance(element, Event)]
        quarantined = [element for element in elements if isinstance(element, Quarantined)]
    return Page(
        events=events,
        quarantined=quarantined,
        next_token=next_token,
        size_bytes=len(body),
        limit=limit,
    )


def encode_message(message: OutgoingMessage) -> bytes:
    """Return the JSON body of SendMessageRequest, in UTF-8; what is absent is left out.

    Raises UsageError for what the contract cannot carry: mode or branch without an agent's name,
    text with half a surrogate pair.
    """
    if message.agent is None and (message.mode is not None or message.branch is not None):
        raise UsageError("a mode or a branch can be sent only with an agent's name")
    body: dict[str, object] = {"message": message.message}
    if message.agent is not None:
        given = {"name": message.agent, "mode": message.mode, "targetBranchName": message.branch}
        body["agentConfig"] = {name: value for name, value in given.items() if value is not None}
    if message.allowed_tools:
        body["grantedPermissions"] = [{"toolName": tool} for tool in message.allowed_tools]
    try:
        return msgspec.json.encode(body)
    except UnicodeEncodeError:
        # The cause would carry the text into a traceback.
        raise UsageError("the message is not valid text: it holds half a surrogate pair") from None


class _SendResponse(msgspec.Struct):
    taskId: str  # noqa: N815 - the contract's spelling


def names_task(body: bytes, task_id: str) -> bool:
    """Tell whether a body is a SendMessageResponse about this task; a login page with a 200 is not."""
    try:
        return msgspec.json.decode(body, type=_SendResponse).taskId.lower() == task_id.lower()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def _cut_at_the_ends(text: bytes) -> tuple[bytes, str | None] | None:
    """Cut a page that begins with its results, as far as the last bracket; None where that cannot be.

    msgspec then need not go through all of it to find where they end. What is cut off is proven to be
    right if the results can be decoded: both parts together are the page, and both are valid.
    """
    end = text.rfind(b"]") + 1
    is_likely = text[end - 2 : end] == b"}]" or end == len(_FRONT) + 1
    if not is_likely or not text.startswith(_FRONT) or text[end : end + 1] not in (b",", b"}"):
        return None
    with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        wire = _decode_wire_page(b'{"":0' + text[end:])
        token = _token_in(wire)
        if wire.results is UNSET and _can_be_stored(token):
            return text[len(_FRONT) - 1 : end], token
    return None


def _cut(text: bytes) -> tuple[bytes, str | None]:
    """Cut a page into its results and its next token. Raises BrokenPage."""
    wire = _WirePage()
    with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        wire = _decode_wire_page(text)
    if wire.results is UNSET:
        results, token = _cut_by_hand(text)
    else:
        results, token = bytes(wire.results), _token_in(wire)
    if results[:1] != b"[":
        raise BrokenPage("the answer has no results array")
    if not _can_be_stored(token):
        raise BrokenPage("the answer's page token cannot be stored")
    return results, token


def _token_in(wire: _WirePage) -> str | None:
    return wire.more or wire.nextCursor or None


def _can_be_stored(token: str | None) -> bool:
    return token is None or (len(token) <= _LONGEST_TOKEN and is_storable(token))


def _read_all_proven(results: bytes) -> Sequence[Event] | None:
    """Read all elements the fast way, or return None if a single byte is unaccounted for.

    A compact array of objects that hold nothing but the known fields, each once, has a length
    that follows from their values. Anything else (an unknown field, a repeated one, an escape in
    a group, a blank) makes the bytes longer than that, never shorter: equal length is a proof.
    """
    plain = results.isascii()
    wires = _decode_wires(results, plain=plain)
    if wires is None:
        return None
    raws, groups, texts = _columns_of(wires)
    if {*map(type, raws)} != {msgspec.Raw} or {*map(type, groups)} != {str} or {*map(type, texts)} != {str}:
        return _read_each(wires, len(results), plain=plain)
    length = 1 + len(wires) * (1 + _WHOLE) + sum(map(len, raws))
    for column in (groups, texts):
        length += sum(map(len, column)) if plain else len("".join(column).encode())
    if length != len(results) or max(map(len, groups)) * 4 > MAX_GROUP_BYTES:
        return None
    return _read_columns(raws, groups, texts)


def _columns_of(wires: list[_WireElement]) -> tuple[list[Any], list[Any], list[Any]]:
    return (
        [wire.data for wire in wires],
        [wire.groupId for wire in wires],
        [wire.timestamp for wire in wires],
    )


def _read_columns(raws: list[msgspec.Raw], groups: list[str], texts: list[str]) -> PageEvents | None:
    """Make events of elements that hold each of the known fields, or return None if one may be too deep."""
    data = [str(raw, "utf-8") for raw in raws]
    if max(map(len, data)) > MAX_DEPTH and any(map(_may_be_too_deep, data)):
        return None
    instants = read_instants(texts)
    if instants.payload_parts is None:
        digests = [hashed.digest() for hashed in map(sha256, raws)]
    else:
        digests = [
            digest_of(each, None, part) for each, part in zip(data, instants.payload_parts, strict=True)
        ]
    return PageEvents(
        group_ids=groups,
        timestamps=instants.nanoseconds,
        timestamp_texts=texts,
        occurred_ats=instants.occurred_at,
        data=data,
        digests=digests,
    )


def _read_each(wires: list[_WireElement], size: int, *, plain: bool) -> list[Event] | None:
    """Read elements of which some lack a field, or hold null there; `size` is theirs together, in bytes."""
    length = 1 + max(len(wires), 1)
    events: list[Event] = []
    for wire in wires:
        raw, group, text = wire.data, wire.groupId, wire.timestamp
        members = 0
        data = None
        if raw is not UNSET:
            data = str(raw, "utf-8")
            length += 7 + len(raw)
            members = 1
            if len(raw) > MAX_DEPTH and _may_be_too_deep(data):
                return None
        if group is UNSET:
            group = None
        else:
            length += 10 + _length_of(group, plain=plain)
            members += 1
            if group and len(group) * 4 > MAX_GROUP_BYTES:
                return None
        if text is UNSET:
            text = None
        else:
            length += 12 + _length_of(text, plain=plain)
            members += 1
        length += 2 if members < 2 else 1 + members
        events.append(make_event(data=data, group_id=group or "", timestamp_text=text, extra=None))
    return events if length == size else None


def _length_of(text: str | None, *, plain: bool) -> int:
    """Return how many bytes a string, or null, takes as JSON that needs no escape."""
    if text is None:
        return len("null")
    return 2 + (len(text) if plain else len(text.encode()))


def _decode_wires(results: bytes, *, plain: bool) -> list[_WireElement] | None:
    """Take all elements apart, or return None where that cannot be done, or not within bounds."""
    if len(results) > _MOST_BRACES and results.count(b"{") > _MOST_BRACES:
        return None
    try:
        if not plain:
            results.decode()
        wires = _decode_elements(results)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if len(wires) > _MOST_ELEMENTS:
        raise _too_many()
    return wires


def _may_be_too_deep(text: str) -> bool:
    return len(text) > MAX_DEPTH and text.count("[") + text.count("{") >= MAX_DEPTH


def _too_many() -> PageTooLarge:
    return PageTooLarge(f"the API's answer holds more than {_MOST_ELEMENTS:,} events")


def _cut_results(results: bytes) -> list[bytes]:
    """Cut the results into elements; where there may be very many, by our own hand, which stops in time."""
    if results.count(b",") <= _MOST_COMMAS:
        try:
            return [bytes(raw) for raw in _decode_raws(results)]
        except (msgspec.DecodeError, RecursionError):
            pass
    try:
        return items_of(results, most=_MOST_ELEMENTS)
    except TooMany as fault:
        raise _too_many() from fault
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
    unknown = values.keys() - KNOWN
    if len(raw) - length >= (1 if unknown else _SHORTEST_REPEAT) or _may_be_too_deep(raw.decode()):
        return read_element(raw)
    with suppress(msgspec.ValidationError):
        wire = _decode_element(raw)
        group, text = wire.groupId or "", wire.timestamp or None
        if len(group) * 4 <= MAX_GROUP_BYTES and text and is_storable(group) and is_storable(text):
            extra = ",".join(
                f'"{name}":{bytes(value).decode()}' for name, value in values.items() if name in unknown
            )
            return make_event(
                data=None if wire.data is UNSET else bytes(wire.data).decode(),
                group_id=group,
                timestamp_text=text,
                extra=f"{{{extra}}}" if extra else None,
            )
    event = event_of(
        [
            (text, b'"' + name + b'"', bytes(value))
            for name, (text, value) in zip(names, values.items(), strict=True)
        ]
    )
    # What makes it longer may be an escape in a name, which extra has to keep.
    return event if event.extra is None or len(raw) == length else read_element(raw)


def _cut_by_hand(body: bytes) -> tuple[bytes, str | None]:
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
