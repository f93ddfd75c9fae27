"""What do facets, summaries and the indexes for views cost a backfill? `python -m tests.benchmarks.facets`.

The same backfill as in `python -m tests.benchmarks`, in turn without all three, with facets, with facets and
summaries, and with everything; medians, and each one's share of the first.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from tests.benchmarks.child import Job
from tests.benchmarks.databases import PostgresqlDatabases, SqliteDatabases
from tests.benchmarks.measuring import PageServer, measure
from tests.benchmarks.preparing import prepare
from tests.benchmarks.work import Work

if TYPE_CHECKING:
    from tests.benchmarks.child import Part
    from tests.benchmarks.databases import Databases
    from tests.benchmarks.measuring import Measured

STAGES: dict[str, tuple[Part, ...]] = {
    "none of it": ("facets", "summaries", "indexes"),
    "+ facets": ("summaries", "indexes"),
    "+ summaries": ("indexes",),
    "+ indexes": (),
}


def backfill(work: Work, databases: Databases, server: PageServer, without: tuple[Part, ...]) -> Measured:
    """Measure one backfill with some parts left out."""
    with databases.fresh() as place:
        job = Job(
            work=work, base_url=server.url, dialect=databases.dialect, database=place.url, without=without
        )
        prepare(job)
        measured, _ = measure("subject", job, databases, server)
    return measured


def main() -> None:
    """Run the stages in turn and print a table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--events", type=int, default=200_000)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--database", choices=("sqlite", "postgresql"), action="append")
    arguments.add_argument("--folder", type=Path, help="where the databases are made")
    given = arguments.parse_args()
    work = Work(tasks=20, events_per_task=given.events // 20)
    print("| backfill | database | CPU us/event | of the first | database's own CPU us/event |")
    print("| --- | --- | ---: | ---: | ---: |")
    for dialect in given.database or ("sqlite", "postgresql"):
        kind = SqliteDatabases if dialect == "sqlite" else PostgresqlDatabases
        taken: dict[str, list[tuple[float, float]]] = {stage: [] for stage in STAGES}
        with (
            tempfile.TemporaryDirectory(dir=given.folder) as folder,
            kind(Path(folder)) as databases,
            PageServer(work) as server,
        ):
            for _ in range(given.rounds):
                for stage, without in STAGES.items():
                    measured = backfill(work, databases, server, without)
                    taken[stage].append((measured.work_cpu or 0.0, measured.database_cpu))
                    print(f"  {dialect} {stage}: {measured.work_cpu:.2f} s", file=sys.stderr)
        first = median(cpu for cpu, _ in taken["none of it"])
        for stage, results in taken.items():
            cpu, server = (median(each) / work.events * 1e6 for each in zip(*results, strict=True))
            share = cpu * work.events / 1e6 / first
            print(f"| {stage} | {dialect} | {cpu:.1f} | {share:.2f} | {server:.1f} |", flush=True)


if __name__ == "__main__":
    main()
