"""Does a walk of a newest-first log end where nothing is missing behind it, and only there?"""

from __future__ import annotations

from maia_sync.model import NO_TIMESTAMP, Cursor, Gap, StoredRow, Window
from maia_sync.sync.gaps import left_behind, left_open, met_place


def row(place: int, *, timestamp: int | None = None, vanished: bool = False) -> StoredRow:
    return StoredRow(
        group_id=f"g{place}",
        timestamp=place if timestamp is None else timestamp,
        ordinal=0,
        seq=place,
        digest=b"",
        canonical=None,
        vanished=vanished,
    )


def gap(start: int, floor: int | None) -> Gap:
    return Gap(cursor=Cursor(page_token=f"t{start}", compare_seq=start), floor=floor)


ROWS = [row(place) for place in (10, 20, 30, 40, 50)]
STORED = Window(rows=ROWS, next_seq=None)


def test_two_neighbours_at_the_pages_end_meet_what_is_stored() -> None:
    assert met_place(ROWS[:2], STORED, 10, elements=50) == 20
    assert met_place(ROWS, STORED, 10, elements=50) == 50


def test_one_row_alone_or_rows_that_are_no_neighbours_do_not() -> None:
    assert met_place(ROWS[3:4], STORED, 10, elements=50) is None
    assert met_place([ROWS[0], ROWS[2]], STORED, 10, elements=50) is None
    assert met_place([ROWS[1], ROWS[0]], STORED, 10, elements=50) is None
    assert met_place([], STORED, 10, elements=50) is None


def test_rows_above_the_floor_do_not() -> None:
    assert met_place(ROWS[:3], STORED, 40, elements=50) is None
    assert met_place(ROWS[2:], STORED, 40, elements=50) == 50


def test_without_a_floor_a_walk_goes_to_the_logs_end() -> None:
    assert met_place(ROWS, STORED, None, elements=5) is None


def test_rows_without_timestamps_must_be_five() -> None:
    bare = [row(place, timestamp=NO_TIMESTAMP) for place in range(10)]
    among = Window(rows=bare, next_seq=None)
    assert met_place(bare[:4], among, 0, elements=50) is None
    assert met_place(bare[:5], among, 0, elements=50) == 4


def test_vanished_rows_between_neighbours_do_not_part_them() -> None:
    among = Window(rows=[row(10), row(20, vanished=True), row(30)], next_seq=None)
    assert met_place([among.rows[0], among.rows[2]], among, 10, elements=50) == 30


def test_of_a_page_of_one_event_one_row_is_enough() -> None:
    assert met_place(ROWS[:1], STORED, 10, elements=1) == 10


def test_a_walk_that_has_met_a_row_leaves_the_gaps_behind_it() -> None:
    assert left_behind(50, [gap(10, 40), gap(60, 90), gap(95, None)]) == (gap(60, 90), gap(95, None))


def test_a_gap_into_which_a_walk_has_come_is_a_part_of_its_own() -> None:
    assert left_open(gap(15, 20), [gap(30, 40)]) == (gap(15, 20), gap(30, 40))
    assert left_open(gap(35, 20), [gap(30, 40), gap(60, None)]) == (gap(35, 40), gap(60, None))
    assert left_open(gap(70, 20), [gap(30, 40), gap(60, None)]) == (gap(70, None),)


def test_the_number_of_gaps_is_bounded_and_none_is_forgotten() -> None:
    others = [gap(100 * number, 100 * number + 50) for number in range(1, 60)]
    gaps = left_open(gap(0, 50), others)
    assert len(gaps) <= 32
    assert gaps[-1].floor == others[-1].floor
    assert all(
        any(kept.cursor.compare_seq <= each.cursor.compare_seq and each.floor <= kept.floor for kept in gaps)  # type: ignore[operator]
        for each in others
    )
