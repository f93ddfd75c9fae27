"""Do the promises hold in simulated lives, and is the simulator worth believing?

500 stories; `python -m tests.simulation` plays more, and breaks the code on purpose (see README.md).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import msgspec
import pytest

from tests.simulation.bite import NOTICED
from tests.simulation.shrink import shrink
from tests.simulation.stories import lines_of, read_stories
from tests.simulation.story import Act, Change, FaultKind, PointKind, make_story
from tests.simulation.theatre import play
from tests.simulation.trials import Folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.simulation.story import Story
    from tests.simulation.theatre import Outcome

SEEDS = 500
AT_A_TIME = 25
ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def template() -> Iterator[Path]:
    with Folder() as template:
        yield template


def must_hold(story: Story, outcome: Outcome) -> None:
    assert outcome.violation is None, f"{outcome.violation}, at step {outcome.step + 1} of\n{lines_of(story)}"


@pytest.mark.parametrize("first", range(0, SEEDS, AT_A_TIME))
def test_every_promise_holds_in_simulated_lives(first: int, template: Path) -> None:
    crashes = faults = compared = together = 0
    for seed in range(first, first + AT_A_TIME):
        story = make_story(seed)
        outcome = play(story, template)
        must_hold(story, outcome)
        crashes += sum(outcome.crashes.values())
        faults += sum(outcome.faults.values())
        compared += outcome.compared
        together += outcome.together
    assert crashes > AT_A_TIME
    assert faults > 4 * AT_A_TIME
    assert compared > 100 * AT_A_TIME
    assert together > 0


@pytest.mark.parametrize("name", read_stories())
def test_no_story_that_once_broke_a_promise_does_so_again(name: str, template: Path) -> None:
    story = read_stories()[name]
    must_hold(story, play(story, template))


TRACE = """
import sys
from tests.simulation.story import make_story
from tests.simulation.theatre import play
from tests.simulation.trials import Folder

with Folder() as template:
    print([play(make_story(seed), template).trace for seed in range(12)])
"""


def test_one_seed_decides_everything() -> None:
    traces = set()
    for number in ("0", "1"):
        played = subprocess.run(
            [sys.executable, "-c", TRACE],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": number},
            capture_output=True,
            text=True,
            check=True,
        )
        assert len(set(json.loads(played.stdout))) == 12
        traces.add(played.stdout)
    assert len(traces) == 1


def told_in_readme(mark: str) -> list[list[str]]:
    """Return the rows of the table in README.md that stands under this mark."""
    _, _, rest = (ROOT / "README.md").read_text(encoding="utf-8").partition(f"<!-- {mark} -->\n")
    lines = rest.partition("<!-- /")[0].strip().splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_published_number_is_that_of_a_full_run() -> None:
    rows = {what: number.replace(",", "").strip("`") for what, number in told_in_readme("survived")}
    proved = [what for what in rows if what.endswith(("promises broken", "events lost", "events duplicated"))]
    assert len(proved) >= 9  # of the stories, and of each sort of real processes
    assert {rows[what] for what in proved} == {"0"}
    assert int(rows["seeds played"]) >= 10_000
    assert int(rows["faults of the API"]) + int(rows["troubles of the database"]) >= 100_000
    assert int(rows["crashes"]) >= 20_000
    assert len(rows["measured at commit"]) == 12
    for kind in get_args(FaultKind):
        assert int(rows[f"- {kind.replace('_', ' ')}"]) > 0
    for point in get_args(PointKind):
        assert int(rows[f"- {point}"]) > 0


def test_every_way_to_break_the_code_that_is_published_is_tried() -> None:
    told = {breaks: int(needed) for _, breaks, needed, _ in told_in_readme("bitten")}
    assert set(told) == set(NOTICED)
    assert len(told) >= 15
    assert max(told.values()) <= 500


def test_a_story_is_shrunk_to_what_breaks_the_promise() -> None:
    def breaks(story: Story) -> bool:
        kinds = [step.kind for step in story.steps if isinstance(step, Change)]
        faults = [fault.kind for step in story.steps if isinstance(step, Act) for fault in step.one.faults]
        return "reorder" in kinds and "cut" in faults

    story = next(story for story in map(make_story, range(1000)) if breaks(story) and len(story.steps) > 15)
    shorter = shrink(story, breaks)
    assert breaks(shorter)
    change, act = sorted(shorter.steps, key=lambda step: isinstance(step, Act))
    assert isinstance(change, Change)
    assert change.count == 1
    assert isinstance(act, Act)
    assert [fault.kind for fault in act.one.faults] == ["cut"]
    assert (act.other, act.one.crash, act.one.midway, act.one.troubles) == (None, None, (), ())


def test_a_story_can_be_kept_and_read_again() -> None:

    story = make_story(7)
    assert msgspec.json.decode(msgspec.json.encode(story), type=type(story)) == story
