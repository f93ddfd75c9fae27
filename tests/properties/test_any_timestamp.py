"""Does any timestamp name the instant that a calendar counted in fractions names? (P4)"""

from __future__ import annotations

from fractions import Fraction

from hypothesis import assume, example, given
from hypothesis import strategies as st
from properties.second_reader import NOWHERE, calendar_text, place_of, read_moment

from maia_sync.maia.timestamp import Instant, read_instant

LIMIT = Fraction(2**63, 10**9)

years = st.integers(1, 9999) | st.sampled_from(
    [1, 2, 1582, 1677, 1678, 1900, 1969, 1970, 2000, 2016, 2262, 2263, 9998, 9999]
)
fractions = st.text("0123456789", min_size=1, max_size=12) | st.text("09", min_size=1, max_size=40)
offsets = st.builds(
    "{}{:02d}:{:02d}".format, st.sampled_from("+-"), st.integers(0, 23), st.sampled_from([0, 1, 30, 45, 59])
)


@st.composite
def timestamps(draw: st.DrawFn) -> str:
    """Spell a date and time as RFC 3339 does: calendar days that exist and some that do not."""
    month, day = draw(st.integers(1, 12)), draw(st.integers(1, 28) | st.sampled_from([1, 28, 29, 30, 31]))
    date = f"{draw(years):04d}-{month:02d}-{day:02d}"
    hour, minute = draw(st.integers(0, 23) | st.just(23)), draw(st.integers(0, 59) | st.just(59))
    second = draw(st.integers(0, 60) | st.sampled_from([59, 60]))
    fraction = draw(st.just("") | fractions.map(".{}".format))
    zone = draw(st.sampled_from("Zz") | offsets)
    return f"{date}{draw(st.sampled_from('Tt T'))}{hour:02d}:{minute:02d}:{second:02d}{fraction}{zone}"


@st.composite
def near_misses(draw: st.DrawFn) -> str:
    """Spell a timestamp with a slip: a character dropped, doubled or changed for another."""
    text = draw(timestamps())
    at = draw(st.integers(0, len(text) - 1))
    slip = draw(st.sampled_from(["", text[at] * 2]) | st.sampled_from(list("0123456789TtZz+-:. ,٣²\n_")))
    return text[:at] + slip + text[at + 1 :]


def counted(text: str) -> Instant:
    """Read an instant by counting days and fractions."""
    moment = read_moment(text)
    place, rest = place_of(moment, text)
    return Instant(place, calendar_text(moment), rest)


@given(timestamps())
@example("0001-01-01T00:00:00Z")
@example("0001-01-01T00:00:59+00:01")
@example("0000-12-31T23:59:59-00:01")
@example("9999-12-31T23:59:60Z")
@example("9999-12-31T23:59:59.999999999999-00:00")
@example("9999-12-31T23:59:59-00:01")
@example("1900-02-29T00:00:00Z")
@example("2000-02-29t23:59:60.000000000001z")
@example("2000-02-29T23:59:60.5Z")
@example("2000-02-29T23:59:59.1234567890Z")
@example("2000-02-29T23:59:59.1234567891Z")
@example("1677-09-21T00:12:43.145224192Z")
@example("1677-09-21T00:12:43.145224193Z")
@example("1677-09-21T00:12:00.1Z")
@example("2262-04-11T23:47:16.8547758079999Z")
@example("2262-04-11T23:47:16.854775808Z")
@example("2262-04-11T23:47:59.9Z")
def test_any_timestamp_names_the_instant_that_counting_gives(text: str) -> None:
    assert read_instant(text) == counted(text)


@given(near_misses() | st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
@example("2026-01-05T08:00:0\u0663Z")
@example("2026-01-05T08:00:00.\u0663Z")
@example("2026-01-05T08:00:00.5+0\u0661:00")
def test_a_slip_in_a_timestamp_makes_it_another_instant_or_none(text: str) -> None:
    assert read_instant(text) == counted(text)


close_by = st.sampled_from(
    [
        "",
        ".0",
        ".000000000",
        ".1",
        ".10",
        ".999999999",
        ".9999999999",
        ".000000001",
        ".0000000011",
        ".000000000999",
    ]
)
zones = st.sampled_from(["Z", "z", "+00:00", "-00:00", "+01:00", "-01:00", "+00:01", "-23:59"])
neighbours = st.builds(
    "{}:{:02d}{}{}".format,
    st.sampled_from(
        ["2016-12-31T23:59", "2017-01-01T00:59", "2016-12-31t22:59", "2017-01-01T00:00", "1969-12-31T23:59"]
    ),
    st.sampled_from([0, 1, 59, 60]),
    close_by,
    zones,
)


@given(neighbours | timestamps(), neighbours | timestamps())
def test_places_in_the_key_are_ordered_as_the_instants_are(one: str, other: str) -> None:
    moments = [read_moment(text) for text in (one, other)]
    first, second = moments
    assume(first is not None and second is not None and abs(first) < LIMIT - 1 and abs(second) < LIMIT - 1)
    assert first is not None
    assert second is not None
    a, b = read_instant(one), read_instant(other)
    if a.nanoseconds != b.nanoseconds:
        assert (a.nanoseconds < b.nanoseconds) == (first < second)
    else:
        assert abs(first - second) < Fraction(1, 10**9)
        assert (a.payload_part == b.payload_part) == (first == second)
    assert a.occurred_at is not None
    assert b.occurred_at is not None
    if first <= second:
        assert a.occurred_at <= b.occurred_at


@given(timestamps())
def test_what_has_no_place_in_the_key_counts_whole_as_payload(text: str) -> None:
    instant = read_instant(text)
    moment = read_moment(text)
    assert (instant.occurred_at is None) == (moment is None)
    if instant.nanoseconds == NOWHERE:
        assert text.encode() in instant.payload_part
    else:
        assert moment is not None
        digits = instant.payload_part.decode()
        kept = instant.nanoseconds + (Fraction(int(digits), 10 ** len(digits)) if digits else 0)
        assert moment == kept / Fraction(10**9), "no digit is lost between the key and the payload"
