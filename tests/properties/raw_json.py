"""Which bytes can a page be made of? Strategies that spell JSON by hand, in every spelling there is.

Nothing is written by a JSON library: what no library would write is what has to be met.
"""

from __future__ import annotations

from hypothesis import strategies as st

_mostly_none = st.sampled_from(["", "", "", "", " ", "\n", "\t\r", "  "])
_escapes = st.sampled_from(
    [*(rf"\{char}" for char in '"\\/bfnrt'), r"\u0000", r"\u00e9", r"\u00E9", r"\u0041"]
)
_halves = st.sampled_from([r"\ud83d\ude00", r"\uD800", r"\udc00", r"\udfff\ud800", r"\uDBFF\uDFFF"])
_letters = st.text(
    st.characters(exclude_characters='"\\', exclude_categories=["Cs"], min_codepoint=0x20), max_size=4
)
_structure_like = st.sampled_from(["{", "]", "},{", ":", ",", "[", '\\"data\\":', "null", "\x7f", "\u2028"])


def _joined(parts: list[str]) -> str:
    return "".join(parts)


strings = st.lists(_letters | _escapes | _halves | _structure_like, max_size=4).map(
    lambda parts: f'"{_joined(parts)}"'
)
"""JSON strings with every kind of escape, halves of surrogate pairs, and what looks like structure."""
numbers = st.one_of(
    st.from_regex(r"-?(0|[1-9][0-9]{0,3})(\.[0-9]{1,3})?([eE][-+]?[0-9]{1,3})?", fullmatch=True),
    st.sampled_from(
        ["-0", "0.0", "-0E-0", "1e400", "9" * 400, "0." + "0" * 40 + "1", "1E+5", "18446744073709551616"]
    ),
)
words = st.sampled_from(["null", "true", "false"])


@st.composite
def _array(draw: st.DrawFn, inner: st.SearchStrategy[str]) -> str:
    items = draw(st.lists(inner, max_size=3))
    return (
        "["
        + ",".join(_spaced(draw, item) for item in items)
        + (draw(_mostly_none) if not items else "")
        + "]"
    )


def _spaced(draw: st.DrawFn, text: str) -> str:
    return draw(_mostly_none) + text + draw(_mostly_none)


def members(draw: st.DrawFn, parts: list[tuple[str, str]]) -> str:
    """Spell an object of these raw names and values, repeats included."""
    spelt = [f"{_spaced(draw, name)}:{_spaced(draw, value)}" for name, value in parts]
    return "{" + (",".join(spelt) or draw(_mostly_none)) + "}"


@st.composite
def _object(draw: st.DrawFn, inner: st.SearchStrategy[str]) -> str:
    return members(draw, draw(st.lists(st.tuples(strings | st.just('"a"'), inner), max_size=3)))


values = st.recursive(strings | numbers | words, lambda inner: _array(inner) | _object(inner), max_leaves=6)
"""Any JSON value in any spelling."""


@st.composite
def deep(draw: st.DrawFn) -> str:
    """Values about as deep as what an element may hold, or far deeper."""
    depth = draw(st.integers(990, 1005) | st.sampled_from([1500, 3000]))
    opening, closing = draw(st.sampled_from([("[", "]"), ('{"a":', "}"), ('[{"b":', "}]")]))
    times = depth // opening.count("[") if opening == '[{"b":' else depth
    return opening * times + draw(words) + closing * times


_names = st.sampled_from(['"data"', '"groupId"', '"timestamp"', '"x"']) | st.sampled_from(
    [
        r'"d\u0061ta"',
        r'"group\u0049d"',
        r'"timestam\u0070"',
        r'"\u0078"',
        '"DATA"',
        '""',
        '"data "',
        r'"\ud800"',
    ]
)
_short = words | st.sampled_from(["1", "-0", '""', '"t"', "[]", "{}"])
stamps = st.one_of(
    st.sampled_from(
        [
            "2026-01-05T08:00:00Z",
            "2026-01-05T08:00:00.123456789012+02:00",
            "soon",
            "",
            r"\u0000",
            "0001-01-01t00:00:00z",
        ]
    ),
    st.datetimes().map(lambda moment: moment.isoformat() + "Z"),
).map(lambda text: f'"{text}"')
groups = st.sampled_from(
    [
        r'"a\u0000b"',
        r'"\ud800"',
        "7",
        '"g"',
        '""',
        '"' + "g" * 512 + '"',
        '"' + "g" * 513 + '"',
        '"' + "é" * 256 + '"',
        '"' + "é" * 257 + '"',
    ]
)
_plain = (
    st.tuples(st.just('"data"'), values),
    st.tuples(st.just('"groupId"'), groups),
    st.tuples(st.just('"timestamp"'), stamps),
)


@st.composite
def plain_elements(draw: st.DrawFn) -> str:
    """Spell an event as the API does, in the usual order and without blanks."""
    parts = [f"{name}:{value}" for name, value in (draw(part) for part in _plain)]
    return "{" + ",".join(parts) + "}"


@st.composite
def odd_elements(draw: st.DrawFn) -> str:
    """Spell an event with members unknown, repeated or in another spelling, in any order."""
    return members(
        draw,
        draw(st.lists(st.tuples(_names, _short | values | stamps | groups) | st.one_of(*_plain), max_size=5)),
    )


_few_names = st.sampled_from(
    ['"x"', r'"\u0078"', '"data"', '"groupId"', r'"group\u0049d"', r'"timestam\u0070"']
)


@st.composite
def short_elements(draw: st.DrawFn) -> str:
    """Spell an element of a few short members, in which a repetition or an escape takes few bytes."""
    return members(draw, draw(st.lists(st.tuples(_few_names, _short), min_size=1, max_size=4)))


_too_deep = deep().map(lambda value: '{"data":' + value + "}")
elements = st.one_of(*[plain_elements(), odd_elements()] * 4, short_elements(), values, _too_deep)
"""Elements of `results`: events as a rule, among them values that are none."""

broken_scalars = st.sampled_from([
    b"01", b"-", b"1.", b".5", b"+1", b"1e", b"--1", b"0x1", b"nul", b"nulll", b"NaN", b"-Infinity", b"True",
    b"'a'", b"\xff", b"\xc3\xa9",
    b'"\x00"', b'"\x1f"', b'"\n"', rb'"\q"', rb'"\u12"', rb'"\u12_4"', rb'"\U0041"',
    b'"\xff"', b'"\xc0\xaf"', b'"\xed\xa0\xbd"', b'"\xf4\x90\x80\x80"',
])  # fmt: skip
"""Scalars that are none; where each of them ends can be seen all the same."""
broken_containers = st.sampled_from([
    b"[1,]", b"[,1]", b"[1 2]", b"[1:2]", b'{"a"}', b'{"a":}', b'{"a":1,}', b"{1:2}", b"{:}",
    b'{"a":1 "b":2}', b'{"a" 1}', b"{[]:1}", b'{"a"::1}', b"{,}",
])  # fmt: skip
"""Containers that are none, though their brackets match."""


@st.composite
def broken_elements(draw: st.DrawFn) -> bytes:
    """Spell an element that is no JSON, but whose outline is that of a value."""
    harm = draw(broken_scalars | broken_containers)
    before, behind = draw(
        st.sampled_from(
            [
                (b"", b""),
                (b'{"data":', b"}"),
                (b'{"data":', b"}"),
                (b'{"data":', b"}"),
                (b'{"data":[{},', b"]}"),
                (b'{"groupId":', b',"data":1}'),
                (b'{"timestamp":', b"}"),
                (b'{"x":', b',"data":{}}'),
                (b'{"data":1,"x":{"y":[', b"]}}"),
            ]
        )
    )
    return before + harm + behind


@st.composite
def pages(draw: st.DrawFn) -> tuple[list[bytes], bytes, bytes]:
    """Spell the elements of a page, what stands in front of `results`, and what stands behind."""
    raw = st.one_of(plain_elements().map(str.encode), elements.map(str.encode), broken_elements())
    parts = draw(st.lists(raw, max_size=6))
    spare = st.lists(
        st.tuples(st.sampled_from(['"total"', '"x"', '"Results"', '"links"']), values), max_size=2
    )
    before, behind = (
        "".join(f"{_spaced(draw, name)}:{_spaced(draw, value)}," for name, value in draw(spare))
        for _ in range(2)
    )
    return parts, before.encode(), behind.encode()
