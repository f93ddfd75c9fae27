"""Do timestamps name the right instant, to the last digit? (P4)"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from maia_sync.maia.timestamp import read_instant, read_instants
from maia_sync.model import NO_TIMESTAMP

SECOND = 10**9


@pytest.mark.parametrize(
    ("text", "nanoseconds", "occurred_at"),
    [
        ("1970-01-01T00:00:00Z", 0, "1970-01-01 00:00:00.000000"),
        ("1970-01-01T00:00:00.000000001Z", 1, "1970-01-01 00:00:00.000000"),
        ("1970-01-01T00:00:01.5Z", 1_500_000_000, "1970-01-01 00:00:01.500000"),
        ("1970-01-01t01:00:00+01:00", 0, "1970-01-01 00:00:00.000000"),
        ("1969-12-31T23:59:59.999999999z", -1, "1969-12-31 23:59:59.999999"),
        ("1970-01-01 00:00:00-00:00", 0, "1970-01-01 00:00:00.000000"),
        ("2016-12-31T23:59:60Z", 1_483_228_800 * SECOND, "2017-01-01 00:00:00.000000"),
        ("2016-12-31T23:59:60.25Z", 1_483_228_800 * SECOND + SECOND // 4, "2017-01-01 00:00:00.250000"),
        ("2262-04-11T23:47:16.854775807Z", 2**63 - 1, "2262-04-11 23:47:16.854775"),
        ("1677-09-21T00:12:43.145224193Z", -(2**63) + 1, "1677-09-21 00:12:43.145224"),
    ],
)
def test_an_instant_is_read_to_the_nanosecond(text: str, nanoseconds: int, occurred_at: str) -> None:
    instant = read_instant(text)
    assert (instant.nanoseconds, instant.occurred_at, instant.payload_part) == (nanoseconds, occurred_at, b"")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Z",
        "soon",
        "2026-01-01",
        "2026-01-01T00:00:00",
        "2026-02-30T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T00:60:00Z",
        "2026-01-01T00:00:61Z",
        "2026-01-01T00:00:00.Z",
        "2026-01-01T00:00:0²Z",
        "2026-01-01T00:00:00+24:00",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:60Z",
        "2026-01-01T00:00:00Z ",
        "12026-01-01T00:00:00Z",
        "٢026-01-01T00:00:00Z",
        "2026-01-01T00:00:0Z",
        "2026-01-01T00:00:1.55Z",
    ],
)
def test_what_names_no_instant_has_no_place_of_its_own_and_counts_as_payload(text: str) -> None:
    instant = read_instant(text)
    assert instant.nanoseconds == NO_TIMESTAMP
    assert instant.occurred_at is None
    assert text.encode() in instant.payload_part


@pytest.mark.parametrize(
    "text", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999Z", "2262-04-11T23:47:16.854775808Z"]
)
def test_an_instant_out_of_the_keys_range_is_readable_all_the_same(text: str) -> None:
    instant = read_instant(text)
    assert instant.nanoseconds == NO_TIMESTAMP
    assert instant.occurred_at is not None
    assert instant.occurred_at[:10] == text[:10]
    assert text.encode() in instant.payload_part


def test_digits_beyond_nanoseconds_count_as_payload_but_trailing_zeros_do_not() -> None:
    assert read_instant("2026-01-01T00:00:00.123456789012Z").payload_part == b"012"
    assert read_instant("2026-01-01T00:00:00.123456789000Z").payload_part == b""


@given(
    st.datetimes(min_value=datetime(1700, 1, 1), max_value=datetime(2200, 1, 1)),  # noqa: DTZ001 - zone below
    st.integers(min_value=-23 * 60, max_value=23 * 60),
    st.text("0123456789", min_size=1, max_size=9),
)
def test_any_offset_and_fraction_is_read_as_pythons_calendar_says(
    moment: datetime, offset: int, digits: str
) -> None:
    moment = moment.replace(microsecond=0, tzinfo=timezone(timedelta(minutes=offset)))
    text = f"{moment:%Y-%m-%dT%H:%M:%S}.{digits}{moment.isoformat()[-6:]}"
    since = moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    expected = (since.days * 86_400 + since.seconds) * SECOND + int(digits.ljust(9, "0"))
    assert read_instant(text).nanoseconds == expected


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_no_text_at_all_brings_reading_down(text: str) -> None:
    assert read_instant(text).nanoseconds >= NO_TIMESTAMP


FORMS = st.sampled_from(
    [
        "2026-01-01T00:{minute:02}:{second:02}.{digits}Z",
        "2026-01-01t00:{minute:02}:{second:02}.{digits}Z",
        "2026-01-01 00:{minute:02}:{second:02}.{digits}z",
        "2026-02-29T00:{minute:02}:{second:02}.{digits}Z",
        "2026-01-01T00:{minute:02}:{second:02}.{digits}+01:00",
        "2262-04-11T23:47:{second:02}.{digits}Z",
        "2026-01-01T00-{minute:02}:{second:02}.{digits}Z",
        "2026-01-01T00:{minute:02}:{second:02},{digits}Z",
        "2026-01-01T00:{minute:02}:{second:02}.{digits}\u0661Z",
    ]
)


@st.composite
def alike(draw: st.DrawFn) -> list[str]:
    """Timestamps of one form and one number of digits, as one upstream writes them; one may differ."""
    form, size = draw(FORMS), draw(st.integers(1, 11))
    texts = [
        form.format(minute=draw(st.integers(0, 61)), second=draw(st.integers(0, 61)), digits=digits)
        for digits in draw(st.lists(st.text("0123456789", min_size=size, max_size=size), max_size=5))
    ]
    return texts + draw(st.sampled_from([[], ["2026-01-01T00:00:00.1_1Z"], ["soon"], [""]]))


@given(alike())
@example(["2026-01-01T00:00:00.5Z", "2026-01-01T00:00:00.5Z" * 2])
@example(["2026-01-01T00:00:00,5Z"])
@example(["2026-01-01T00:00:00.5X"])
def test_many_at_once_are_read_as_each_is_alone(texts: list[str]) -> None:
    instants, alone = read_instants(texts), [read_instant(text) for text in texts]
    assert instants.nanoseconds == [each.nanoseconds for each in alone]
    assert instants.occurred_at == [each.occurred_at for each in alone]
    parts = [b""] * len(texts) if instants.payload_parts is None else instants.payload_parts
    assert parts == [each.payload_part for each in alone]
