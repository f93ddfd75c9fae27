"""What can one element of a log look like? Written by hand as raw JSON, never through the code under test.

An element can be edited (the same key, another payload), respelt (the same payload, other JSON) and
twinned (the same key, a payload of its own). Odd ones are among them: see `make_element`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from random import Random

_DATA = (
    ('{"n":%d,"t":"x"}', '{ "t" : "\\u0078", "n": %d}', '{"n":%d ,\n"t":"x"}'),
    ('"text %d"', '"te\\u0078t %d"', '"t\\u0065xt %d"'),
    ('[%d,{"a":null,"b":[]}]', '[ %d, {"b":[],"a":null} ]', '[%d,{"a":null,"\\u0062":[]}]'),
    ("%d", " %d", "%d "),
)
"""Payloads, each in three spellings that say the same."""
_ODD_DATA = (
    '{"n":%d,"n":%d}',
    '{"n":%d,"s":"\\u0000"}',
    '{"n":%d,"s":"\\ud800"}',
    '{"n":%d,"big":1e400}',
    '{"n":%d,"long":123456789012345678901234567890.5000}',
    '{"n":%d,"deep":' + "[" * 60 + "]" * 60 + "}",
    '{"n":%d,"html":"<script>alert(1)</script>\\u001b[31m\\u202e"}',
    '{"n":%d,"emoji":"\U0001f9ed é ß"}',
    '{"n":%d,"":{"":-0.0}}',
)
_ODD_GROUPS = ("7", '""', "null", '"' + "g" * 513 + '"', '"a\\u0000b"', '["g"]', '"\\udc00"', '"Gruppe ü"')
_ODD_STAMPS = (
    "null",
    '"yesterday"',
    "1767225600",
    '"0001-01-01T00:00:00Z"',
    '"9999-12-31T23:59:59.999999999Z"',
    '"2016-12-31T23:59:60Z"',
)
_ODD_MEMBERS = (
    '"kind":"plan"',
    '"data":"an earlier one"',
    '"x\\u0000":[1, 2]',
    '"groupId":8',
    '"new field":{}',
)
_NO_EVENTS = (
    b"%d",
    b'"loose %d"',
    b"[%d]",
    b'{"data":"\xff %d"}',
    b'{"data":%d,"d":' + b"[" * 1001 + b"]" * 1001 + b"}",
)


class Element(msgspec.Struct, frozen=True):
    """One element of a log: which payload, under which key, in which spelling."""

    payload: int
    shape: int
    """Of the payload: below 100 usual, from 100 odd, from 200 no event at all."""
    spelling: int = 0
    group: str | None = None
    """Raw JSON."""
    stamp: str | None = None
    """Raw JSON."""
    member: str | None = None
    """One more member, raw."""

    def raw(self) -> bytes:
        """Return the element's bytes as they are served."""
        if self.shape >= 200:
            return _NO_EVENTS[self.shape - 200].replace(b"%d", b"%d" % self.payload)
        fields = [f'"data":{self._data()}']
        if self.group is not None:
            fields.append(f'"groupId":{self.group}')
        if self.stamp is not None:
            fields.append(f'"timestamp":{self.stamp}')
        if self.member is not None:
            fields.insert(0, self.member)  # a repeated known field: the last one counts
        return ("{" + ", ".join(fields) + "}" if self.spelling else "{" + ",".join(fields) + "}").encode()

    def _data(self) -> str:
        if self.shape >= 100:
            return _ODD_DATA[self.shape - 100].replace("%d", str(self.payload))
        return _DATA[self.shape][self.spelling % 3].replace("%d", str(self.payload))

    @property
    def is_event(self) -> bool:
        """Tell whether it is stored as an event; else it goes into quarantine."""
        return self.shape < 200

    def edited(self, payload: int) -> Element:
        """Return what stands there after a change upstream: the key stays."""
        return msgspec.structs.replace(self, payload=payload)

    def respelt(self) -> Element:
        """Return the same event in other JSON, if there is other JSON for it."""
        return msgspec.structs.replace(self, spelling=self.spelling + 1) if self.shape < 100 else self


def make_element(random: Random, payload: int, second: int, *, odd: float) -> Element:
    """Make an element with a payload of its own; `odd` is how likely each of its parts is a strange one."""
    stamp: str | None = (
        f'"2026-01-05T{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}{_fraction(random)}"'
    )
    group: str | None = random.choice(('"g"', '"g"', '"h"', None))
    member = None
    shape = random.randrange(len(_DATA))
    if random.random() < odd:
        shape = 100 + random.randrange(len(_ODD_DATA))
    if random.random() < odd:
        group = random.choice(_ODD_GROUPS)
    if random.random() < odd:
        stamp = random.choice((None, *_ODD_STAMPS))
    if random.random() < odd:
        member = random.choice(_ODD_MEMBERS)
    if random.random() < odd / 4:
        shape = 200 + random.randrange(len(_NO_EVENTS))
    return Element(
        payload=payload, shape=shape, spelling=random.randrange(3), group=group, stamp=stamp, member=member
    )


def _fraction(random: Random) -> str:
    return random.choice(("Z", "Z", "Z", ".25Z", ".250000000Z", ".2500000000010Z", "+00:00", "z"))
