"""What odd elements can a page hold? Raw bytes by name, for tests of everything that reads pages."""

from __future__ import annotations

GROUP = b'"groupId":"6f1c0f1e-5f0a-4c8e-9d5e-0a1b2c3d4e5f"'


def _event(data: bytes, *, timestamp: bytes = b'"2026-01-05T08:00:00.5Z"', group: bytes = GROUP) -> bytes:
    return b'{"data":' + data + b"," + group + b',"timestamp":' + timestamp + b"}"


def nested(depth: int) -> bytes:
    """Return an event whose payload is an array nested `depth` deep (the element itself not counted)."""
    return _event(b"[" * depth + b"]" * depth)


STORABLE: dict[str, bytes] = {
    "lone surrogate in the payload": _event(rb'{"text":"broken \ud83d emoji"}'),
    "NUL in the payload": _event(rb'{"text":"a\u0000b"}'),
    "huge number": _event(b'{"n":123456789012345678901234567890.10e+400}'),
    "negative zero and trailing zeros": _event(b'{"a":-0,"b":1.500,"c":1E5}'),
    "duplicate keys in the payload": _event(b'{"a":1,"a":2}'),
    "white space": b' {\n "data" : { "a" : [ 1 , 2 ] } ,\t"timestamp" : "2026-01-05T08:00:01Z"\r\n} ',
    "escaped slashes and letters": _event(rb'{"url":"https:\/\/x\/\u0041"}'),
    "escaped member names": rb'{"d\u0061ta":{"a":1},"timest\u0061mp":"2026-01-05T08:00:02Z"}',
    "empty object": b"{}",
    "null members": b'{"data":null,"groupId":null,"timestamp":null}',
    "no payload": b"{" + GROUP + b',"timestamp":"2026-01-05T08:00:03Z"}',
    "payload false": _event(b"false"),
    "payload empty string": _event(b'""'),
    "no group": b'{"data":{"a":1},"timestamp":"2026-01-05T08:00:04Z"}',
    "empty group": _event(b"{}", group=b'"groupId":""'),
    "number as group": _event(b"{}", group=b'"groupId":17'),
    "object as group": _event(b"{}", group=b'"groupId":{"a":1}'),
    "long group": _event(b"{}", group=b'"groupId":"' + b"g" * 513 + b'"'),
    "NUL in the group": _event(b"{}", group=rb'"groupId":"a\u0000b"'),
    "lone surrogate in the group": _event(b"{}", group=rb'"groupId":"\udc00"'),
    "no timestamp": b'{"data":{"a":2},' + GROUP + b"}",
    "unreadable timestamp": _event(b"{}", timestamp=b'"yesterday"'),
    "number as timestamp": _event(b"{}", timestamp=b"1767600000"),
    "timestamp beyond the year 9999": _event(b"{}", timestamp=b'"+12026-01-05T08:00:00Z"'),
    "timestamp in the year 1": _event(b"{}", timestamp=b'"0001-01-01T00:00:00Z"'),
    "leap second": _event(b"{}", timestamp=b'"2016-12-31T23:59:60Z"'),
    "twelve fraction digits": _event(b"{}", timestamp=b'"2026-01-05T08:00:05.123456789012Z"'),
    "timestamp with an offset": _event(b"{}", timestamp=b'"2026-01-05T10:00:06.25+02:00"'),
    "timestamp in small letters": _event(b"{}", timestamp=b'"2026-01-05t08:00:07z"'),
    "unknown members": b'{"id":"e1","data":{"a":3},"timestamp":"2026-01-05T08:00:08Z","tags":["x", 1.0]}',
    "repeated known member": b'{"data":{"a":1},"data":{"a":2},"timestamp":"2026-01-05T08:00:09Z"}',
    "nested 900 deep": nested(900),
}
"""Elements that are events, however odd."""

UNSTORABLE: dict[str, bytes] = {
    "null": b"null",
    "number": b"17",
    "string": b'"an event?"',
    "array": b'[{"data":1}]',
    "true": b"true",
    "invalid UTF-8": _event(b'{"text":"caf\xe9"}'),
    "overlong UTF-8": _event(b'{"text":"\xc0\xaf"}'),
    "UTF-8 of a surrogate": _event(b'{"text":"\xed\xa0\xbd"}'),
    "nested 2000 deep": nested(2000),
}
"""Elements of `results` that no event can be made of: to be quarantined."""
