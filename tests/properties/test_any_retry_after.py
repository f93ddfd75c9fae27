"""Is any Retry-After a wait within bounds, and every form of an HTTP date the moment that it names?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import assume, example, given
from hypothesis import strategies as st
from properties.second_reader import days_until

from maia_sync.maia.pace import LONGEST_PAUSE, read_http_date, read_retry_after

NOW = datetime(2026, 1, 5, 8, tzinfo=UTC)
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

moments = st.datetimes(datetime(2000, 1, 1), datetime(2060, 1, 1)).map(lambda one: one.replace(microsecond=0))  # noqa: DTZ001 - HTTP dates are UTC
distances = st.integers(-1000, 1000) | st.integers(-(10**9), 10**9)


def spelt(moment: datetime, form: str) -> str:
    """Spell a moment in one of the three forms of RFC 9110 section 5.6.7, by hand."""
    day, month = DAYS[(days_until(moment.year, moment.month, moment.day) + 3) % 7], MONTHS[moment.month - 1]
    clock = f"{moment.hour:02d}:{moment.minute:02d}:{moment.second:02d}"
    return {
        "IMF-fixdate": f"{day[:3]}, {moment.day:02d} {month} {moment.year:04d} {clock} GMT",
        "RFC 850": f"{day}, {moment.day:02d}-{month}-{moment.year % 100:02d} {clock} GMT",
        "asctime": f"{day[:3]} {month} {moment.day:2d} {clock} {moment.year:04d}",
    }[form]


forms = st.sampled_from(["IMF-fixdate", "RFC 850", "asctime"])
blanks = st.sampled_from(["", " ", "\t "])


@given(st.integers(0, 10**30), st.sampled_from(["", "+", "-"]), st.integers(0, 30), blanks)
@example(seconds=1, sign="", zeros=18, blank="")
def test_any_number_of_seconds_is_cut_to_what_a_pause_may_last(
    seconds: int, sign: str, zeros: int, blank: str
) -> None:
    text = f"{blank}{sign}{'0' * zeros}{seconds}{blank}"
    expected = 0 if sign == "-" else min(seconds, LONGEST_PAUSE)
    assert read_retry_after(text, date="", now=NOW) == expected


@given(moments, distances, forms, forms, blanks)
def test_a_date_in_any_form_is_a_wait_from_the_answers_own_date_in_any_form(
    date: datetime, distance: int, form: str, own_form: str, blank: str
) -> None:
    wanted = date + timedelta(seconds=distance)
    assume(2000 <= wanted.year < 2060)
    expected = min(max(distance, 0), LONGEST_PAUSE)
    text = blank + spelt(wanted, form) + blank
    assert read_retry_after(text, date=spelt(date, own_form), now=NOW) == expected
    assert read_retry_after(text, date="", now=date.replace(tzinfo=UTC)) == expected
    zone = timezone(timedelta(hours=-11))
    assert read_retry_after(text, date="?", now=date.replace(tzinfo=UTC).astimezone(zone)) == expected


@given(moments, forms)
def test_every_form_of_a_date_is_the_moment_that_it_names(moment: datetime, form: str) -> None:
    assert read_http_date(spelt(moment, form)) == moment.replace(tzinfo=UTC)


@st.composite
def near_dates(draw: st.DrawFn) -> str:
    """Spell an HTTP date with slips: parts dropped, exchanged, or replaced by monstrous ones."""
    words = spelt(draw(moments), draw(forms)).replace("-", " - ").split(" ")
    odd = st.sampled_from(
        [
            "99",
            "9" * 30,
            "9" * 5000,
            "-1",
            "+9999",
            "-99999999",
            "24:60:61",
            "1:2:3:4",
            ":",
            "²",
            "GMT+1",
            "\0",
            ",",
        ]
    )
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(words) - 1))
        words[at : at + 1] = draw(st.lists(odd | st.sampled_from(words), max_size=2))
        if not words:
            break
    return " ".join(words)


anything = st.one_of(
    near_dates(),
    st.text(st.characters(max_codepoint=0xFF)),
    st.text(),
    st.text("0123456789+-.eE:, GMTJanFb", max_size=40),
    st.floats().map(str),
)


@given(anything, anything | st.just(""), st.datetimes(timezones=st.just(UTC)))
@example("Mon, 01 Jan 0001 00:00:00 +2359", "Fri, 31 Dec 9999 23:59:59 -2359", NOW)
@example("Fri, 31 Dec 9999 23:59:59 -2359", "Mon, 01 Jan 0001 00:00:00 +2359", NOW)
def test_any_text_at_all_is_a_wait_within_bounds_or_says_nothing(text: str, date: str, now: datetime) -> None:
    wait = read_retry_after(text, date=date, now=now)
    assert wait is None or 0 <= wait <= LONGEST_PAUSE
