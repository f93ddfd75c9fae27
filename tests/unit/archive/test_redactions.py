"""Which erasures mean a payload, of those that come before or behind an entry of the log?"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any, cast

from memory_place import MemoryPlace

from maia_sync.archive import redactions as module
from maia_sync.archive.entry import Entry
from maia_sync.archive.merkle import TreeHead
from maia_sync.archive.redactions import Erasures, Redactions
from maia_sync.archive.segment import SegmentPath
from maia_sync.archive.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pytest

    from maia_sync.archive.log_reader import LogReader
    from maia_sync.archive.note import VerifierKey

SIZE = 100_000


class Log:
    """As much of a log as is asked for."""

    head = TreeHead(SIZE, bytes(32))


def redactions_of(selections: Iterable[Selection]) -> Redactions:
    """Return what is known once the log has told of these."""
    log = cast("LogReader", Log())
    redactions: Any = Redactions(MemoryPlace({}), cast("VerifierKey", None), log)
    for each in selections:
        redactions.take(each, "2026-01-01T00:00:00.000000Z")
    return cast("Redactions", redactions)


def meaning(selections: list[Selection], index: int, entry: Entry) -> int | None:
    return next((each.at for each in sorted(selections) if each.selects(index, entry)), None)


def test_the_first_erasure_within_reach_is_the_one_that_means_a_payload() -> None:
    dice = random.Random(9)
    selections = [
        Selection(at, dice.choice("abc"), dice.choice([None, *range(0, 100, 7)]))
        for at in dice.sample(range(2_000), 25)
    ]
    redactions = redactions_of(selections)
    for _ in range(4_000):
        index, number = dice.randrange(1_000), dice.choice([None, dice.randrange(2_000)])
        entry = Entry(
            v=1, type=dice.choice(["event", "run"]), task=dice.choice("abcd"), timestamp=dice.randrange(100)
        )
        known = [each for each in selections if number is not None and each.at < number]
        owed = [each for each in selections if number is None or each.at > number]
        of_file: tuple[tuple[list[Selection], Erasures], ...] = (
            (known, redactions.known_to(number)),
            (owed, redactions.owed_by(number)),
        )
        for some, erasures in of_file:
            assert erasures.of(index, entry) == meaning(some, index, entry)
            assert bool(erasures) == bool(some)


def test_many_erasures_cost_little_for_each_of_many_files() -> None:
    redactions = redactions_of(Selection(at, f"t{at % 500}", at) for at in range(0, 4_000, 2))
    entry = Entry(v=1, type="event", task="t0", timestamp=9_999)
    begun = time.process_time()
    for number in range(20_000):
        known, owed = redactions.known_to(number % 4_000), redactions.owed_by(number % 4_000)
        assert known.of(0, entry) is None
        assert bool(owed) == (number % 4_000 < 3_998)
    assert time.process_time() - begun < 2


def test_a_newer_log_that_does_not_go_on_from_the_trusted_one_is_not_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Other(Log):
        def __init__(self, *_: object) -> None:
            self.head = TreeHead(SIZE + 1, bytes(32))

        def root_at(self, size: int) -> bytes:
            return b"\1" * 32 if size == SIZE else bytes(32)

    learnt: list[object] = []
    redactions = redactions_of([])
    monkeypatch.setattr(module, "open_checkpoint", lambda *_: Other().head)
    monkeypatch.setattr(module, "LogReader", Other)
    monkeypatch.setattr(Redactions, "learn", lambda _, paths: learnt.append(list(paths)))
    assert redactions.look_again(SegmentPath(None, 0, 20, None), "data/") is None
    assert learnt == []
    monkeypatch.setattr(Other, "root_at", lambda *_: Log.head.root)
    redactions.look_again(SegmentPath(None, 0, 20, None), "data/")
    assert learnt == [[]]
