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

from tests.benchmarks.__main__ import page_server, run_once
from tests.benchmarks.child import Job
from tests.benchmarks.databases import PostgresqlDatabases, SqliteDatabases
from tests.benchmarks.work import Work

STAGES = {
    "none of it": ("facets", "summaries", "indexes"),
    "+ facets": ("summaries", "indexes"),
    "+ summaries": ("indexes",),
    "+ indexes": (),
}


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
            page_server(work) as base_url,
        ):
            for _ in range(given.rounds):
                for stage, without in STAGES.items():
                    job = Job(work=work, base_url=base_url, dialect=dialect, database="", without=without)
                    measured = run_once("subject", job, databases)
                    taken[stage].append((measured.work_cpu, measured.server_cpu))
                    print(f"  {dialect} {stage}: {measured.work_cpu:.2f} s", file=sys.stderr)
        first = median(cpu for cpu, _ in taken["none of it"])
        for stage, results in taken.items():
            cpu, server = (median(each) / work.events * 1e6 for each in zip(*results, strict=True))
            share = cpu * work.events / 1e6 / first
            print(f"| {stage} | {dialect} | {cpu:.1f} | {share:.2f} | {server:.1f} |", flush=True)


if __name__ == "__main__":
    main()
