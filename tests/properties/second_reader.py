"""What does a page say, read a second time by other means? Shares nothing with maia_sync.

The standard library reads strings, plain loops do the rest; instants are fractions, the calendar is counted
in days. Slow and simple, so that it can be believed: what maia_sync decodes has to say the same.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from fractions import Fraction
from json.decoder import scanstring
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

DEEPEST = 1000
LONGEST_GROUP = 512
LONGEST_TOKEN = 2**20
NOWHERE = -(2**63)
BLANKS = " \t\n\r"
_CLOSES = {"{": "}", "[": "]"}
_NUMBER = re.compile(r"-?([1-9][0-9]*|0)(\.[0-9]+)?([eE][-+]?[0-9]+)?")


class NotJsonError(Exception):
    """The text breaks RFC 8259."""


class NoPageError(Exception):
    """The body is no page."""


# ------------------------------------------------------------------ JSON


@dataclass
class Node:
    """One value of a JSON text, and where it stands."""

    kind: str
    """`{`, `[`, `"`, or `-` for what is spelt out: numbers, true, false, null."""
    start: int
    end: int
    text: str = ""
    """What a string says."""
    children: list[Node] = field(default_factory=list)
    """Of an object: name, value, name, value ..."""

    def members(self) -> Iterator[tuple[Node, Node]]:
        return zip(self.children[::2], self.children[1::2], strict=True)


def parse(text: str) -> tuple[Node, int]:
    """Read a JSON text without recursion; returns its value and how deep it is nested."""
    at, unclosed, deepest = _skip(text, 0), [], 0
    while True:
        node = _begin(text, at)
        at = node.end
        if node.kind in _CLOSES:
            deepest = max(deepest, len(unclosed) + 1)
            at = _skip(text, at)
            if text[at : at + 1] != _CLOSES[node.kind]:
                unclosed.append(node)
                at = _name(text, at, node)
                continue
            node.end = at = at + 1
        while True:
            at = _skip(text, at)
            if not unclosed:
                if at < len(text):
                    raise NotJsonError
                return node, deepest
            parent = unclosed[-1]
            parent.children.append(node)
            if text[at : at + 1] == ",":
                at = _name(text, _skip(text, at + 1), parent)
                break
            if text[at : at + 1] != _CLOSES[parent.kind]:
                raise NotJsonError
            node = unclosed.pop()
            node.end = at = at + 1


def _begin(text: str, at: int) -> Node:
    """Read a string, a number or a word; of a container only its bracket."""
    char = text[at : at + 1]
    if char and char in _CLOSES:
        return Node(char, at, at + 1)
    if char == '"':
        try:
            said, end = scanstring(text, at + 1, True)
        except ValueError:
            raise NotJsonError from None
        return Node('"', at, end, said)
    for word in ("true", "false", "null"):
        if text.startswith(word, at):
            return Node("-", at, at + len(word))
    number = _NUMBER.match(text, at)
    if number is None:
        raise NotJsonError
    return Node("-", at, number.end())


def _name(text: str, at: int, parent: Node) -> int:
    """Read a member's name and colon, if the parent is an object; returns where its value begins."""
    if parent.kind == "[":
        return at
    if text[at : at + 1] != '"':
        raise NotJsonError
    name = _begin(text, at)
    at = _skip(text, name.end)
    if text[at : at + 1] != ":":
        raise NotJsonError
    parent.children.append(name)
    return _skip(text, at + 1)


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in BLANKS:
        at += 1
    return at


def meaning(text: str) -> Any:
    """Return a value that is equal exactly for texts that differ in spelling alone."""
    return json.loads(
        text,
        parse_int=lambda digits: ("number", digits),
        parse_float=lambda digits: ("number", digits),
        object_pairs_hook=lambda pairs: ("object", sorted(pairs, key=lambda pair: pair[0])),
    )


# ------------------------------------------------------------------ elements and pages


@dataclass(frozen=True)
class Told:
    """What an event says."""

    group_id: str
    timestamp: int
    timestamp_text: str | None
    occurred_at: str | None
    data: str | None
    extra: str | None
    digest: bytes


@dataclass(frozen=True)
class Said:
    """What a page says: its events, the raw bytes of what is none, its token."""

    events: list[Told]
    odd: list[bytes]
    token: str | None


def read_page(body: bytes) -> Said | None:
    """Read a page; None if it is not JSON as a whole, NoPageError if it is no page."""
    try:
        text = body.removeprefix(b"\xef\xbb\xbf").decode()
        page, _ = parse(text)
    except (UnicodeDecodeError, NotJsonError):
        return None
    fields = {name.text: value for name, value in page.members()} if page.kind == "{" else {}
    results = fields.get("results")
    if results is None or results.kind != "[":
        raise NoPageError
    tokens = [_token(text, fields.get(name)) for name in ("more", "nextCursor")]
    token = tokens[0] or tokens[1] or None
    if token is not None and (len(token) > LONGEST_TOKEN or not _storable(token)):
        raise NoPageError
    return said_by([text[node.start : node.end].encode() for node in results.children], token)


def said_by(elements: list[bytes], token: str | None) -> Said:
    """Return what a page of these elements says."""
    read = [(read_element(raw), raw) for raw in elements]
    return Said(
        events=[told for told, _ in read if told is not None],
        odd=[raw for told, raw in read if told is None],
        token=token,
    )


def _token(text: str, node: Node | None) -> str | None:
    if node is None or text[node.start : node.end] == "null":
        return None
    if node.kind != '"':
        raise NoPageError
    return node.text


def read_element(raw: bytes) -> Told | None:
    """Read an element without blanks around it; None for what cannot be stored as an event."""
    try:
        text = raw.decode()
        element, depth = parse(text)
    except (UnicodeDecodeError, NotJsonError):
        return None
    if depth > DEEPEST or element.kind != "{":
        return None
    members = list(element.members())
    last = {name.text: at for at, (name, _) in enumerate(members)}
    by_name = {name: members[at][1] for name, at in last.items()}
    left_over = dict(enumerate(members))
    data = by_name.get("data")
    if data is not None:
        del left_over[last["data"]]
    group_id, kept_whole = _group(text, by_name.get("groupId"))
    if kept_whole:
        left_over.pop(last.get("groupId", -1), None)
    stamp, kept_whole = _stamp(text, by_name.get("timestamp"))
    if kept_whole:
        left_over.pop(last.get("timestamp", -1), None)
    spelt = [f"{_cut(text, name)}:{_cut(text, value)}" for name, value in left_over.values()]
    return tell(
        group_id=group_id,
        timestamp_text=stamp,
        data=None if data is None else _cut(text, data),
        extra="{" + ",".join(spelt) + "}" if spelt else None,
    )


def tell(*, group_id: str, timestamp_text: str | None, data: str | None, extra: str | None) -> Told:
    """Work out what follows from an event's texts: its instant and its digest."""
    moment = read_moment(timestamp_text)
    place, rest = place_of(moment, timestamp_text)
    digest = hashlib.sha256((data or "").encode())
    if extra is not None or rest:
        digest.update(b"\0" + (extra or "").encode() + b"\0" + rest)
    return Told(
        group_id=group_id,
        timestamp=place,
        timestamp_text=timestamp_text,
        occurred_at=calendar_text(moment),
        data=data,
        extra=extra,
        digest=digest.digest(),
    )


def _cut(text: str, node: Node) -> str:
    return text[node.start : node.end]


def _group(text: str, node: Node | None) -> tuple[str, bool]:
    """Return the key's group, and whether that is all there is to say of it."""
    if node is None or _cut(text, node) == "null":
        return "", True
    if node.kind == '"' and _storable(node.text) and len(node.text.encode()) <= LONGEST_GROUP:
        return node.text, True
    return "sha256:" + hashlib.sha256(_cut(text, node).encode()).hexdigest(), False


def _stamp(text: str, node: Node | None) -> tuple[str | None, bool]:
    if node is None or _cut(text, node) == "null":
        return None, True
    if node.kind == '"' and _storable(node.text):
        return node.text, True
    return None, False


def _storable(text: str) -> bool:
    return not any(char == "\0" or "\ud800" <= char <= "\udfff" for char in text)


# ------------------------------------------------------------------ instants


def read_moment(text: str | None) -> Fraction | None:
    """Return the seconds since 1970 that an RFC 3339 text names, in full; None if it names none."""
    if text is None or not text.isascii() or len(text) < 20:
        return None
    digits = [text[at : at + size] for at, size in ((0, 4), (5, 2), (8, 2), (11, 2), (14, 2), (17, 2))]
    marks = text[4] + text[7] + text[10].upper().replace("T", " ") + text[13] + text[16]
    if marks != "-- ::" or not all(part.isdigit() for part in digits):
        return None
    year, month, day, hour, minute, second = map(int, digits)
    rest, fraction = text[19:], Fraction(0)
    if rest[0] == ".":
        tail = rest[1:].lstrip("0123456789")
        decimals = rest[1 : len(rest) - len(tail)]
        if not decimals:
            return None
        rest, fraction = tail, Fraction(int(decimals), 10 ** len(decimals))
    offset = _offset(rest)
    if offset is None or year < 1 or not 1 <= month <= 12 or not 1 <= day <= _month_length(year, month):
        return None
    if hour > 23 or minute > 59 or second > 60:
        return None
    whole = days_until(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset * 60
    started = whole - second
    if started < _FIRST or whole >= _END:
        return None
    return whole + fraction


def _offset(text: str) -> int | None:
    """Return the minutes by which a zone is ahead of UTC."""
    if text in ("Z", "z"):
        return 0
    if len(text) != 6 or text[0] not in "+-" or text[3] != ":":
        return None
    if not (text[1:3] + text[4:]).isdigit() or int(text[1:3]) > 23 or int(text[4:]) > 59:
        return None
    return (int(text[1:3]) * 60 + int(text[4:])) * (1 if text[0] == "+" else -1)


def _is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def _month_length(year: int, month: int) -> int:
    if month == 2:
        return 29 if _is_leap(year) else 28
    return 30 if month in (4, 6, 9, 11) else 31


def days_until(year: int, month: int, day: int) -> int:
    """Count the days since 1970-01-01."""
    before = year - 1
    leaps = before // 4 - before // 100 + before // 400
    return 365 * before + leaps + sum(_month_length(year, one) for one in range(1, month)) + day - 719_163


_FIRST, _END = days_until(1, 1, 1) * 86_400, days_until(10_000, 1, 1) * 86_400


def place_of(moment: Fraction | None, text: str | None) -> tuple[int, bytes]:
    """Return an instant's place in the key, and what of its text the key does not hold."""
    if text is None:
        return NOWHERE, b""
    whole = None if moment is None else moment * 10**9 // 1
    if moment is None or whole is None or not -(2**63) < whole < 2**63:
        return NOWHERE, json.dumps(text, ensure_ascii=False).encode()
    rest = moment * 10**9 - whole
    digits = ""
    while rest:
        rest *= 10
        digits += str(rest // 1)
        rest -= rest // 1
    return whole, digits.encode()


def calendar_text(moment: Fraction | None) -> str | None:
    """Spell an instant as date and time in UTC, to the microsecond below."""
    if moment is None:
        return None
    days, second = divmod(moment // 1, 86_400)
    year = 1 + (days + 719_162) * 400 // 146_097
    year -= days_until(year, 1, 1) > days
    year += days_until(year + 1, 1, 1) <= days
    month = max(one for one in range(1, 13) if days_until(year, one, 1) <= days)
    day = days - days_until(year, month, 1) + 1
    micros = (moment - moment // 1) * 10**6 // 1
    clock = f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}.{micros:06d}"
    return f"{year:04d}-{month:02d}-{day:02d} {clock}"
