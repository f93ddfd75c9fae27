"""How near to the floor is maia-sync? Runs both and others in turn on the same work; prints medians, ratios.

`python -m tests.benchmarks --help` from the repository's root; what came out is in README.md.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tests.benchmarks.databases import PostgresqlDatabases, SqliteDatabases
from tests.benchmarks.environment import document
from tests.benchmarks.results import markdown
from tests.benchmarks.running import Bench
from tests.benchmarks.startup import NAME as STARTUP
from tests.benchmarks.startup import ROUNDS as STARTUP_ROUNDS
from tests.benchmarks.startup import measure_startup
from tests.benchmarks.workloads import QUICK, RUNNERS, SUBJECT, Sizes, all_workloads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.benchmarks.databases import Databases
    from tests.benchmarks.results import Document
    from tests.benchmarks.workloads import Workload

_KINDS = {"sqlite": SqliteDatabases, "postgresql": PostgresqlDatabases}
_NAMES = [*(workload.name for workload in all_workloads(Sizes())), STARTUP]


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--workload", choices=_NAMES, action="append", help="only this one; repeatable")
    parser.add_argument("--database", choices=_KINDS, action="append", help="only this kind; repeatable")
    parser.add_argument(
        "--runner", choices=[each.name for each in RUNNERS], action="append", help="only this one; repeatable"
    )
    parser.add_argument("--rounds", type=int, help="instead of each workload's own number")
    parser.add_argument("--events", type=int, help="of a backfill, instead of 1,000,000 and 200,000")
    parser.add_argument("--tasks", type=int, help="of idle and trickle, instead of 2,000")
    parser.add_argument("--quick", action="store_true", help="a smoke of everything: figures mean nothing")
    parser.add_argument("--dlt-python", metavar="PATH", help="an interpreter that has dlt, if this has not")
    parser.add_argument("--folder", type=Path, help="where the databases are made")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write a document too; see results.py")
    parser.add_argument(
        "--profile", type=Path, metavar="FOLDER", help="leave cProfile files of maia-sync's runs instead"
    )
    return parser.parse_args()


def chosen_workloads(options: argparse.Namespace) -> list[Workload]:
    """Return the workloads that were asked for, with the cases that can be run here."""
    sizes = QUICK if options.quick else Sizes()
    if options.events:
        sizes = replace(sizes, events=options.events, fewer_events=options.events)
    if options.tasks:
        sizes = replace(sizes, tasks=options.tasks)
    missing = set()
    if find_spec("aiohttp") is None:
        missing |= {each.name for each in RUNNERS if each.options.get("fast")}
    if options.dlt_python is None and find_spec("dlt") is None:
        missing |= {each.name for each in RUNNERS if each.module == "with_dlt"}
    if options.profile:
        missing |= {each.name for each in RUNNERS if each.module != SUBJECT.module}
    chosen = []
    for workload in all_workloads(sizes):
        cases = [
            case
            for case in workload.cases
            if case.runner.name not in missing and case.runner.name in (options.runner or [case.runner.name])
        ]
        rounds = options.rounds or (1 if options.quick else workload.rounds)
        if workload.name in (options.workload or _NAMES) and cases:
            chosen.append(replace(workload, cases=tuple(cases), rounds=rounds))
    return chosen


def measure_all(
    options: argparse.Namespace, workloads: Sequence[Workload], databases: Databases, told: Document
) -> None:
    """Run every workload on one kind of database; the document is kept up after each."""
    bench = Bench(databases, dlt_python=options.dlt_python or sys.executable)
    for workload in workloads:
        if options.profile:
            bench.profile(workload, options.profile)
            continue
        told.results.append(bench.compare(workload))
        _keep(options.json, told)
    if _starts(options):
        rounds = options.rounds or (1 if options.quick else STARTUP_ROUNDS)
        told.results.append(measure_startup(databases, rounds))
        _keep(options.json, told)


def _starts(options: argparse.Namespace) -> bool:
    """Tell whether start-up is measured: whole commands, by no runner."""
    return STARTUP in (options.workload or _NAMES) and not options.runner and not options.profile


def _keep(path: Path | None, told: Document) -> None:
    if path is not None:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(told)) + b"\n")


def main() -> None:
    """Run every workload on every database that was asked for."""
    options = arguments()
    workloads = chosen_workloads(options)
    if not workloads and not _starts(options):
        raise SystemExit(
            "Nothing of what was asked for can be run here: see --help, and README.md for what it needs."
        )
    told = document(options.dlt_python)
    try:
        for dialect in options.database or _KINDS:
            with ExitStack() as stack:
                folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
                databases: Databases = stack.enter_context(_KINDS[dialect](folder))
                told.versions[dialect] = databases.version()
                measure_all(options, workloads, databases, told)
    finally:
        if not options.profile:
            print("\n".join(markdown([told])))


if __name__ == "__main__":
    main()
