"""Does the oracle bite? The code is broken on purpose, one way at a time: a story must notice each.

The ways are edits of tests/mutants.py, where each has a test of its own too; here nothing but the simulator
looks, and it does not know what was edited.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tests.mutants import MUTANTS, lay_out
from tests.simulation.trials import first_broken

if TYPE_CHECKING:
    from tests.mutants import Mutant

NOTICED: tuple[str, ...] = (
    "reads the next token as `more` alone",
    'takes the token "" for a token',
    "takes a 200 without results for an empty log",
    "drops what cannot be stored as an event",
    "appends late insertions at the end",
    "numbers ordinals from one",
    "takes another spelling for another payload",
    "writes a page under a lease that it has lost",
    "takes a task whose lease is alive",
    "drops the revision",
    "pairs changes before equal payloads",
    "marks as vanished before the last page",
    "forgets new events in the summaries",
    "spells payloads anew",
    "keeps a timestamp's instant instead of its text",
    "commits events before their checkpoint",
    "moves the checkpoint without the events",
    "keeps the leases of an interrupted run",
    "polls from the log's start",
    "lets one task's failure end the run",
    "keeps a token that was refused",
    "lets rows above an open gap end a walk",
    "forgets what an interrupted head walk left out",
    "stores newest-first logs upside down",
    "lets a worker write whose lease is another's",
)
"""What each edit breaks, as tests/mutants.py has it.

Not among them: the second of two locks on one door (a checkpoint of a newer epoch), and what these worlds do
not have (tokens that take one limit only, an old event at a log's head, access tokens refused for good) or
have so seldom that it takes minutes (an event that is served again after it had vanished).
"""


class Bitten(msgspec.Struct, frozen=True):
    """What became of one way to break the code."""

    promise: str
    breaks: str
    played: int
    """Stories, the one that noticed among them."""
    violation: str | None
    trouble: str = ""


def bite(most: int, *, jobs: int) -> list[Bitten]:
    """Try every way, with so many stories at most; the code as it is must survive all that it took."""
    chosen = [mutant for mutant in MUTANTS if mutant.breaks in NOTICED]
    if len(chosen) != len(NOTICED):
        raise SystemExit("tests/mutants.py does not have every edit that is named here")
    with (
        tempfile.TemporaryDirectory(prefix="maia-sync-bite-") as scratch,
        ThreadPoolExecutor(jobs) as threads,
    ):
        folders = [Path(scratch) / str(number) for number in range(len(chosen))]
        bitten = list(threads.map(_try, chosen, folders, [most] * len(chosen)))
    _, unchanged = first_broken(range(max(each.played for each in bitten)))
    if unchanged is not None:
        raise SystemExit(f"the code breaks a promise as it is: seed {unchanged.seed}, {unchanged.violation}")
    return bitten


def _try(mutant: Mutant, folder: Path, most: int) -> Bitten:
    lay_out(folder)
    path = folder / "maia_sync" / mutant.file
    code = path.read_text(encoding="utf-8")
    if code.count(mutant.old) != 1:
        return Bitten(mutant.promise, mutant.breaks, 0, None, "the text to be edited is not there")
    path.write_text(code.replace(mutant.old, mutant.new), encoding="utf-8")
    played = subprocess.run(
        [sys.executable, "-m", "tests.simulation", "--until-broken", str(most)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if played.returncode:
        last = (played.stderr.strip().splitlines() or ["nothing was said"])[-1]
        return Bitten(mutant.promise, mutant.breaks, 0, None, last)
    found = msgspec.json.decode(played.stdout)
    return Bitten(mutant.promise, mutant.breaks, found["played"], found["violation"])


def print_bites(bitten: list[Bitten]) -> int:
    """Print the table; returns 1 if anything was not noticed."""
    print("| promise | the code ... | seeds needed | what was noticed |\n| --- | --- | ---: | --- |")
    for each in bitten:
        noticed = each.violation or f"NOTHING {each.trouble}".strip()
        print(f"| {each.promise} | {each.breaks} | {each.played} | {noticed.partition(':')[0]} |")
    survived = sum(each.violation is None for each in bitten)
    print(f"\n{len(bitten)} ways to break the code, {survived} not noticed")
    return 1 if survived else 0
