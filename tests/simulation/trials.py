"""How are many stories played on all processors, and what do they add up to?"""

from __future__ import annotations

import gc
import multiprocessing
import os
import shutil
import sys
import tempfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tests.simulation.shrink import shrink
from tests.simulation.story import Story, make_story
from tests.simulation.theatre import Outcome, make_template, play

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_IN_MEMORY = Path("/dev/shm")
_AT_A_TIME = 10

_template: Path | None = None


class Total(msgspec.Struct, kw_only=True):
    """What many stories came to."""

    seeds: int = 0
    processes: int = 0
    requests: int = 0
    compared: int = 0
    faults: Counter[str] = msgspec.field(default_factory=Counter)
    """How many befell a process, by kind."""
    crashes: Counter[str] = msgspec.field(default_factory=Counter)
    """How many processes died, by the point at which they did."""
    broken: list[Outcome] = msgspec.field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Add a story."""
        self.seeds += 1
        self.processes += outcome.processes
        self.requests += outcome.requests
        self.compared += outcome.compared
        self.faults.update(outcome.faults)
        self.crashes.update(outcome.crashes)
        if outcome.violation is not None:
            self.broken.append(outcome)


class Folder:
    """A folder with a migrated database to be copied; in memory if that can be had. A context manager."""

    def __enter__(self) -> Path:
        where = str(_IN_MEMORY) if os.access(_IN_MEMORY, os.W_OK) else None
        self._path = Path(tempfile.mkdtemp(prefix="maia-sync-simulation-", dir=where))
        return make_template(self._path)

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._path, ignore_errors=True)


def play_seeds(seeds: Sequence[int], *, jobs: int, told: Callable[[Total], None] | None = None) -> Total:
    """Play the stories of these seeds, so many at a time; `told` hears how far they are."""
    total = Total()
    for outcome in _outcomes(seeds, jobs):
        total.add(outcome)
        if outcome.violation is not None:
            print(f"seed {outcome.seed}, step {outcome.step}: {outcome.violation}", file=sys.stderr)
        if told is not None and total.seeds % 100 == 0:
            told(total)
    return total


def first_broken(seeds: Sequence[int]) -> tuple[int, Outcome | None]:
    """Play until a promise breaks; returns how many stories that took, and the one that did."""
    with Folder() as template:
        for number, seed in enumerate(seeds, start=1):
            outcome = play(make_story(seed), template)
            if outcome.violation is not None:
                return number, outcome
    return len(seeds), None


def play_one(story: Story) -> Outcome:
    """Play one story."""
    with Folder() as template:
        return play(story, template)


def shrunk(seed: int) -> tuple[Story, Outcome]:
    """Return the shortest story found that breaks a promise as the seed's does."""
    with Folder() as template:
        story = make_story(seed)

        def breaks(shorter: Story) -> bool:
            return play(shorter, template).violation is not None

        story = shrink(story, breaks)
        return story, play(story, template)


def _outcomes(seeds: Sequence[int], jobs: int) -> Iterator[Outcome]:
    with Folder() as template:
        if jobs == 1:
            for seed in seeds:
                yield play(make_story(seed), template)
            return
        fresh = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(jobs, mp_context=fresh, initializer=_begin, initargs=(template,)) as pool:
            parts = [seeds[at : at + _AT_A_TIME] for at in range(0, len(seeds), _AT_A_TIME)]
            for outcomes in pool.map(_play_part, parts):
                yield from msgspec.json.decode(outcomes, type=list[Outcome])


def _begin(template: Path) -> None:
    global _template  # noqa: PLW0603 - one per worker process
    _template = template
    gc.freeze()


def _play_part(seeds: Sequence[int]) -> bytes:
    assert _template is not None
    return msgspec.json.encode([play(make_story(seed), _template) for seed in seeds])
