"""Who has a place, who lends it, and when is all the work done?"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from maia_sync.sync.crew import Places, work_through

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from maia_sync.sync.crew import Place


async def numbers(most: int) -> AsyncIterator[int]:
    for number in range(most):
        yield number


class Floor:
    """Counts who is there: with a place, and in all."""

    def __init__(self) -> None:
        self.seated = self.there = 0
        self.most_seated = self.most_there = 0
        self.done: list[int] = []

    def come(self) -> None:
        self.seated += 1
        self.there += 1
        self.most_seated, self.most_there = (
            max(self.most_seated, self.seated),
            max(self.most_there, self.there),
        )


def test_what_waits_lends_its_place_to_others_up_to_a_number_and_takes_one_again_to_go_on() -> None:
    floor = Floor()

    async def work(number: int, place: Place) -> None:
        floor.come()
        await place.take()  # it has it already
        await asyncio.sleep(0.001)
        floor.seated -= 1
        place.lend()
        place.lend()  # as it is
        await asyncio.sleep(0.01)
        await place.take()
        floor.seated += 1
        floor.most_seated = max(floor.most_seated, floor.seated)
        await asyncio.sleep(0.001)
        floor.seated -= 1
        floor.there -= 1
        floor.done.append(number)

    async def story(places: Places) -> int | None:
        told = await work_through(numbers(40), work, places=places, stop=asyncio.Future())
        assert places.at_work == 0
        return told

    assert asyncio.run(story(Places(2, lent=5))) is None
    assert sorted(floor.done) == list(range(40))
    assert (floor.most_seated, floor.most_there) == (2, 7)


def test_who_lends_nothing_keeps_others_out() -> None:
    floor = Floor()

    async def work(number: int, _: Place) -> None:
        floor.come()
        await asyncio.sleep(0.001)
        floor.seated -= 1
        floor.there -= 1
        floor.done.append(number)

    async def story() -> None:
        await work_through(numbers(20), work, places=Places(3, lent=9), stop=asyncio.Future())

    asyncio.run(story())
    assert sorted(floor.done) == list(range(20))
    assert (floor.most_seated, floor.most_there) == (3, 3)


def test_who_waits_for_a_piece_of_work_is_not_at_work() -> None:
    seen: list[tuple[int, int]] = []

    async def slow(places: Places) -> AsyncIterator[int]:
        for number in range(3):
            await asyncio.sleep(0.001)
            seen.append((places.at_work, await places.hunger()))
            yield number

    async def work(number: int, place: Place) -> None:
        if number == 1:
            place.lend()
        await asyncio.sleep(0.05)

    async def story() -> None:
        places = Places(3, lent=1)
        await work_through(slow(places), work, places=places, stop=asyncio.Future())

    asyncio.run(story())
    assert seen == [(0, 3), (1, 2), (1, 2)]


def test_work_that_goes_on_finds_a_place_while_others_wait_for_work() -> None:
    """As a daemon's do, for as long as a task is walked: that may be due again."""
    over = asyncio.Event()

    async def pieces() -> AsyncIterator[int]:
        yield 1
        await over.wait()

    async def work(_: int, place: Place) -> None:
        place.lend()
        await asyncio.sleep(0.01)
        await place.take()
        over.set()

    async def story() -> None:
        working = work_through(pieces(), work, places=Places(2, lent=5), stop=asyncio.Future())
        await asyncio.wait_for(working, 10)

    asyncio.run(story())


@pytest.mark.parametrize("lends", [True, False])
def test_what_a_piece_of_work_raises_ends_the_others(lends: bool) -> None:
    ended: list[int] = []

    async def work(number: int, place: Place) -> None:
        if lends:
            place.lend()
        try:
            if number == 3:
                raise LookupError
            await asyncio.sleep(60)
        finally:
            ended.append(number)

    async def story() -> None:
        places = Places(4 - 2 * lends, lent=2)
        with pytest.raises(LookupError):
            await work_through(numbers(9), work, places=places, stop=asyncio.Future())

    asyncio.run(story())
    assert sorted(ended) == [0, 1, 2, 3]


def test_a_stop_ends_those_that_have_lent_their_places_as_well() -> None:
    ended: list[int] = []

    async def work(number: int, place: Place) -> None:
        place.lend()
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(number)

    async def story() -> int | None:
        stop: asyncio.Future[int] = asyncio.Future()
        asyncio.get_running_loop().call_later(0.02, stop.set_result, 15)
        return await work_through(numbers(9), work, places=Places(1, lent=3), stop=stop)

    assert asyncio.run(story()) == 15
    assert ended == [0, 1, 2, 3]
