"""How many crashes does maia-sync survive? `python -m tests.simulation --seeds 10000 --kills 200`.

Plays the stories of so many seeds, kills so many real processes, and prints what came of it, as a table for
README.md too. Exit code 0 if no promise was broken. What broke one is shrunk to a short story and kept in
`tests/simulation/stories/`, where every run of the tests plays it again.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tests.simulation.bite import bite, print_bites
from tests.simulation.disk_copy import survive_copies
from tests.simulation.disk_full import survive_full_disk
from tests.simulation.kills import survive_kills
from tests.simulation.outages import survive_stops
from tests.simulation.stories import keep, lines_of
from tests.simulation.story import make_story
from tests.simulation.table import Survived, table_of
from tests.simulation.trials import first_broken, play_one, play_seeds, shrunk

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.simulation.table import Provable
    from tests.simulation.trials import Total

_MOST_SHRUNK = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says."""
    given = _parser().parse_args(arguments)
    if given.bite:
        return print_bites(bite(given.most, jobs=given.jobs))
    if given.until_broken:
        return _until_broken(given.first, given.until_broken)
    if given.seed is not None:
        return _one(given.seed)
    return _all(given)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many stories to play (default 1000)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many at a time")
    parser.add_argument("--seed", type=int, help="play this seed alone, and print its story")
    parser.add_argument(
        "--kills",
        type=int,
        default=0,
        help="kill real processes so often on each database, and stop PostgreSQL a tenth as often",
    )
    parser.add_argument(
        "--stops", type=int, help="stop PostgreSQL at once so often (default: a tenth of the kills)"
    )
    parser.add_argument(
        "--until-broken", type=int, metavar="N", help="play until a promise breaks, N at most"
    )
    parser.add_argument(
        "--bite", action="store_true", help="break the code in many ways: is each one noticed?"
    )
    parser.add_argument("--most", type=int, default=500, help="with --bite: seeds for each way (default 500)")
    parser.add_argument("--table", type=Path, help="write the table for README.md to this file too")
    return parser


def _until_broken(first: int, most: int) -> int:
    played, outcome = first_broken(range(first, first + most))
    print(msgspec.json.encode({"played": played, "violation": outcome and outcome.violation}).decode())
    return 0


def _one(seed: int) -> int:
    story = make_story(seed)
    outcome = play_one(story)
    print(lines_of(story))
    print(outcome.violation or "every promise held")
    return 1 if outcome.violation else 0


def _all(given: argparse.Namespace) -> int:
    began = time.monotonic()

    def tell(total: Total) -> None:
        if sys.stderr.isatty() or total.seeds % 1000 == 0:
            print(f"{total.seeds} stories, {time.monotonic() - began:.0f} s", file=sys.stderr)

    total = play_seeds(range(given.first, given.first + given.seeds), jobs=given.jobs, told=tell)
    seconds = time.monotonic() - began
    for outcome in total.broken[:_MOST_SHRUNK]:
        print(f"seed {outcome.seed} is shrunk ...", file=sys.stderr)
        story, shorter = shrunk(outcome.seed)
        print(f"{lines_of(story)}\n{shorter.violation}\nkept as {keep(story)}", file=sys.stderr)
    survived = Survived(total=total, seconds=seconds, commit=_commit(), kills=_kills(given))
    table = table_of(survived)
    print(table)
    if given.table is not None:
        given.table.write_text(table + "\n", encoding="utf-8")
    return 0 if survived.is_well else 1


def _kills(given: argparse.Namespace) -> list[Provable]:
    """Kill, stop, fill and copy, one after the other: each wants the machine for itself."""
    if not given.kills:
        return []
    rounds, few = given.kills, max(1, given.kills // 10)
    return [
        survive_kills(rounds, given.first, "sqlite"),
        survive_kills(rounds, given.first, "postgresql"),
        survive_stops(few, given.first),
        survive_full_disk(max(1, few // 3), given.first),
        survive_copies(few, given.first),
    ]


def _commit() -> str:
    asked = ["git", "rev-parse", "--short=12", "HEAD"]
    try:
        told = subprocess.run(asked, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return told.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
