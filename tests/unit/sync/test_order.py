"""Do new rows get their place, and does a reconcile remember exactly what it saw?"""

from __future__ import annotations

import pytest

from maia_sync.maia.element import make_event
from maia_sync.model import NewRow, SeenRows, StoredRow, Window
from maia_sync.sync.order import START, STEP, Placer, add_seen


def row(seq: int, *, ordinal: int = 0, tied: bool = False, next_seq: int | None = None) -> StoredRow:
    return StoredRow(
        group_id=f"g{seq}",
        timestamp=1,
        ordinal=ordinal,
        seq=seq,
        digest=b"",
        canonical=None,
        vanished=False,
        tied=tied,
        next_seq=next_seq,
    )


def window(*seqs: int, next_seq: int | None = None) -> Window:
    return Window(rows=[row(seq) for seq in seqs], next_seq=next_seq)


def place(
    cursor: int, among: Window, lower: int, count: int, *, open_run: bool = False
) -> list[tuple[int, int]]:
    return Placer(cursor, among, []).place(lower, count, open_run=open_run)


def test_appended_rows_are_a_step_apart() -> None:
    assert place(START, window(), START, 3) == [(STEP, 0), (2 * STEP, 0), (3 * STEP, 0)]
    assert place(5 * STEP, window(), 5 * STEP, 2, open_run=True) == [(6 * STEP, 0), (7 * STEP, 0)]


def test_one_row_between_two_takes_the_middle() -> None:
    assert place(0, window(100, 200, 300), 100, 1) == [(150, 0)]


def test_rows_in_front_of_the_first_leave_room_in_front_of_them() -> None:
    assert place(START, window(STEP), START, 2) == [(-STEP, 0), (0, 0)]
    first, second = (seq for seq, _ in place(START, window(STEP), START, 2, open_run=True))
    assert first < second < STEP - 1000 * STEP


def test_without_room_rows_share_their_lower_neighbours_seq_in_order() -> None:
    assert place(0, window(100, 101), 100, 3) == [(100, 1), (100, 2), (100, 3)]
    assert place(0, window(100, 102, 300), 100, 3) == [(101, 0), (101, 1), (101, 2)]


def test_places_given_count_as_taken() -> None:
    placer = Placer(0, window(100, 200, 300), [])
    assert placer.place(100, 1, open_run=False) == [(150, 0)]
    assert placer.place(100, 1, open_run=False) == [(125, 0)]


def test_in_front_of_a_last_row_that_stays_the_last_the_room_lasts() -> None:
    lower, last = STEP, 2 * STEP
    seqs = []
    for _ in range(20_000):
        ((lower, tie),) = place(START, window(lower, last), lower, 1)
        seqs.append(lower)
        assert tie == 0
    assert seqs[0] == STEP + STEP // 2
    assert seqs == sorted(set(seqs))


def test_a_row_behind_the_window_brings_its_own_upper_neighbour() -> None:
    far = row(1000, next_seq=1010)
    assert Placer(0, window(100, next_seq=200), [far]).place(1000, 1, open_run=False) == [(1005, 0)]
    last = row(1000, next_seq=None)
    assert Placer(0, window(100, next_seq=200), [last]).place(1000, 1, open_run=False) == [(1000 + STEP, 0)]


def test_what_is_seen_without_a_gap_is_one_range() -> None:
    among = window(10, 20, 30, 40)
    seen = add_seen(SeenRows(), START, among, among.rows[:2], [])
    assert seen.ranges == ((START, 20),)
    seen = add_seen(seen, 20, window(30, 40), among.rows[2:], [])
    assert seen == SeenRows(ranges=((START, 40),))


def test_a_row_that_was_not_served_breaks_the_range() -> None:
    among = window(10, 20, 30, 40)
    assert add_seen(SeenRows(), START, among, [among.rows[0], among.rows[2]], []).ranges == (
        (START, 10),
        (30, 30),
    )


def test_new_rows_are_seen() -> None:
    new = NewRow(event=make_event(data="1", group_id="n", timestamp_text=None, extra=None), ordinal=0, seq=15)
    among = window(10, 20)
    assert add_seen(SeenRows(), START, among, among.rows, [new]).ranges == ((START, 20),)


@pytest.mark.parametrize("served", [0, 1])
def test_of_rows_that_share_a_seq_each_is_remembered_by_itself(served: int) -> None:
    twins = [row(10), row(10, ordinal=1)]
    among = Window(rows=[*twins, row(20)], next_seq=None)
    seen = add_seen(SeenRows(), START, among, [twins[served], among.rows[2]], [])
    assert seen.tied == ((10, "g10", 1, served),)
    assert seen.ranges == ((START, START), (20, 20))


def test_a_row_found_elsewhere_is_remembered_alone() -> None:
    seen = add_seen(SeenRows(), 100, window(), [row(5), row(7, tied=True)], [])
    assert (5, 5) in seen.ranges
    assert seen.tied == ((7, "g7", 1, 0),)
