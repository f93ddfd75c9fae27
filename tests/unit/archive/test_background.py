from __future__ import annotations

import threading

import pytest

from maia_sync.archive.background import Background


def test_all_work_is_done_when_the_wait_is_over() -> None:
    background = Background(threads=4, most_weight=10)
    done: list[int] = []
    for number in range(500):
        background.do(lambda number=number: done.append(number), 1)  # type: ignore[misc]
    background.wait()
    assert sorted(done) == list(range(500))


def test_what_goes_wrong_is_raised_once_and_what_waited_is_dropped() -> None:
    background = Background(threads=1, most_weight=10)
    go, done = threading.Event(), []

    def fail() -> None:
        go.wait()
        raise OSError("no room")

    background.do(fail, 1)
    background.do(lambda: done.append(1), 1)
    go.set()
    with pytest.raises(OSError, match="no room"):
        background.wait()
    background.wait()
    assert done == []
    background.do(lambda: done.append(2), 10)
    background.wait()
    assert done == [2]


def test_no_more_than_the_most_weight_is_under_way() -> None:
    background = Background(threads=2, most_weight=10)
    go, begun = threading.Event(), threading.Event()
    background.do(go.wait, 8)

    def add() -> None:
        background.do(begun.set, 5)

    adding = threading.Thread(target=add)
    adding.start()
    assert not begun.wait(0.05)
    go.set()
    adding.join()
    background.wait()
    assert begun.is_set()


def test_something_heavier_than_all_is_done_alone() -> None:
    background = Background(threads=2, most_weight=10)
    done: list[int] = []
    background.do(lambda: done.append(1), 100)
    background.do(lambda: done.append(2), 100)
    background.wait()
    assert sorted(done) == [1, 2]
