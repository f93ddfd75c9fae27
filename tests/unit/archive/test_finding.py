"""Are findings told once each, in bounds, and are row numbers remembered in little room?"""

from __future__ import annotations

import random

from maia_sync.archive.finding import MOST_KEPT, Findings, place_of_event
from maia_sync.archive.numbers import Numbers


def test_the_same_place_is_told_once_and_a_flood_is_counted() -> None:
    findings = Findings()
    findings.add("log", "tile/0/000", "is missing")
    findings.add("log", "tile/0/000", "is damaged")
    assert [each.sentence for each in findings.kept] == ["is missing"]
    for number in range(3 * MOST_KEPT):
        findings.add("row", f"row {number}", "is another")
    assert (len(findings.kept), findings.count) == (MOST_KEPT, 3 * MOST_KEPT + 1)


def test_what_is_no_text_is_told_as_text() -> None:
    findings = Findings()
    findings.add("file", "x\udcff", "is there")
    assert findings.kept[0].place == "x\\udcff"
    told = place_of_event("t", "\x1b[31m" + "g" * 200, None, 0)
    assert told.isprintable()
    assert len(told) < 200


def test_numbers_are_what_was_added() -> None:
    rng = random.Random(7)
    added = {rng.choice((rng.randrange(10**6), rng.randrange(2**63))) for _ in range(2000)}
    numbers = Numbers()
    for number in added:
        numbers.add(number)
    assert all(number in numbers for number in added)
    assert not any(number + 1 in numbers for number in added if number + 1 not in added)
