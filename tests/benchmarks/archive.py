"""How quickly is an archive made, verified and asked for a proof, and in how much memory?

`python -m tests.benchmarks.archive` from the repository's root prints the table of README.md. The copy holds
the sandbox's stories, as in answers.py. Create, verify (with and without the database) and proofs are
measured in a process of their own each, without start-up: imports, keys, and opening the database.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maia_sync.analytics.facet_reader import FacetReader
from maia_sync.archive.against_database import AgainstDatabase
from maia_sync.archive.create import create
from maia_sync.archive.ed25519 import require_cryptography
from maia_sync.archive.keys import load_signer, make_key
from maia_sync.archive.places import open_place
from maia_sync.archive.proof import check_proof, decode_proof, encode_proof
from maia_sync.archive.prove import EventAddress, prove
from maia_sync.archive.segment import require_pyarrow
from maia_sync.archive.verify import verify_archive
from maia_sync.clock import SystemClock
from maia_sync.facet_settings import FacetsSettings
from maia_sync.maia.wire import decode_page
from maia_sync.model import NewRow, TaskLog
from maia_sync.store.bulk import insert_new_rows
from maia_sync.store.database import Database
from maia_sync.store.migrations import upgrade
from maia_sync.store.tasks import upsert_tasks
from tests.benchmarks.answers import STEP, stories
from tests.benchmarks.child import cpu_seconds
from tests.benchmarks.databases import PostgresqlDatabases, SqliteDatabases

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROOFS = 50
TARGETS = {"create": 50_000, "verify": 50_000, "verify with the database": 50_000}
"""Entries a second at least."""
MOST_MEMORY = 300


def fill(database: Database, events: int) -> None:
    """Store the stories, as answers.py does, with no more than the archive needs."""
    reader = FacetReader(FacetsSettings())
    for task_id, bodies in stories(events):
        seqs = count(STEP, STEP)
        for body in bodies:
            rows = [NewRow(event=event, ordinal=0, seq=next(seqs)) for event in decode_page(body).events]
            with database.transaction() as tx:
                upsert_tasks(tx, [task_id])
                insert_new_rows(tx, TaskLog(task_id=task_id), rows, None, reader)


def measured_create(database: Database, folder: str, key: Path) -> dict[str, Any]:
    """Archive everything."""
    report = create(database, open_place(folder), load_signer(key), worker="one", clock=database.clock)
    return {"entries": report.new, "files": _files(folder)}


def measured_verify(_: Database, folder: str, key: Path) -> dict[str, Any]:
    """Verify all of it offline."""
    report = verify_archive(open_place(folder), load_signer(key).verifier)
    assert not report.findings, report.findings[:5]
    return {"entries": report.size}


def measured_comparison(database: Database, folder: str, key: Path) -> dict[str, Any]:
    """Verify all of it, against the database too."""
    verifier = load_signer(key).verifier
    comparison = AgainstDatabase(database, verifier)
    report = verify_archive(open_place(folder), verifier, comparison=comparison)
    assert not report.findings, report.findings[:5]
    return {"entries": report.size}


def measured_proofs(database: Database, folder: str, key: Path) -> dict[str, Any]:
    """Prove some events, each as a verb would that was just started; the slowest tells."""
    with database.transaction(write=False) as tx:
        names = tx.connection.exec_driver_sql(
            'SELECT task_id, group_id, "timestamp", ordinal FROM task_event '
            f"WHERE seq / {STEP} - seq / {STEP} / 997 * 997 = 500 LIMIT {PROOFS}"
        ).fetchall()
    verifier = load_signer(key).verifier
    spent = []
    for task_id, group, timestamp, ordinal in names:
        event = EventAddress(task_id=str(task_id), group_id=group, timestamp=timestamp, ordinal=ordinal)
        began = time.perf_counter()
        text = encode_proof(prove(open_place(folder), verifier, event))
        spent.append(time.perf_counter() - began)
        check_proof(decode_proof(text), verifier)
    return {"entries": len(spent), "median": statistics.median(spent), "slowest": max(spent)}


def _files(folder: str) -> int:
    return sum(path.is_file() for path in Path(folder).rglob("*"))


STEPS: dict[str, Callable[[Database, str, Path], dict[str, Any]]] = {
    "create": measured_create,
    "verify": measured_verify,
    "verify with the database": measured_comparison,
    "proofs": measured_proofs,
}


def measure(step: str, url: str, folder: str, key: Path) -> None:
    """Do one step in this process and print what it took."""
    require_pyarrow()
    require_cryptography()
    with closing(Database(url=url, clock=SystemClock())) as database:
        with database.transaction(write=False):
            pass
        cpu, began = cpu_seconds(), time.perf_counter()
        told = STEPS[step](database, folder, key)
        told |= {"seconds": time.perf_counter() - began, "cpu": cpu_seconds() - cpu, "peak": _peak_mb()}
    print(json.dumps(told))


def _peak_mb() -> float:
    found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    return int(found[1]) / 1024 if found else 0.0


def lines(dialect: str, told: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of the table."""
    for step, found in told.items():
        what = (
            f"| {step} | {dialect} | {found['entries']:,} | {found['seconds']:.1f} s | {found['cpu']:.1f} s "
        )
        if step == "proofs":
            each = f"median {found['median']:.3f} s, slowest {found['slowest']:.3f} s"
            yield f"{what}| {each} | {found['peak']:.0f} |"
            continue
        rate = found["entries"] / found["seconds"]
        missed = "" if rate >= TARGETS[step] and found["peak"] < MOST_MEMORY else ", missed"
        yield f"{what}| {rate:,.0f}/s{missed} | {found['peak']:.0f} |"


def main() -> None:
    """Fill a database of each kind, and archive, verify and prove."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--events", type=int, default=1_000_000)
    arguments.add_argument("--database", choices=("sqlite", "postgresql"), action="append")
    arguments.add_argument("--folder", type=Path, help="where databases and archives are made")
    arguments.add_argument("--measure", nargs=4, metavar=("STEP", "URL", "ARCHIVE", "KEY"))
    given = arguments.parse_args()
    if given.measure:
        step, url, folder, key = given.measure
        measure(step, url, folder, Path(key))
        return
    print("| step | database | entries | wall | CPU | speed | peak MB |")
    print("| --- | --- | ---: | ---: | ---: | --- | ---: |")
    for dialect in given.database or ("sqlite",):
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            kind = SqliteDatabases if dialect == "sqlite" else PostgresqlDatabases
            with kind(Path(folder)) as databases, databases.fresh() as place:
                with closing(Database(url=place.url, clock=SystemClock())) as database:
                    upgrade(database)
                    fill(database, given.events)
                key = Path(folder) / "archive.key"
                make_key(key, "test.example/benchmark")
                told = {step: _apart(step, place.url, f"{folder}/archive", key) for step in STEPS}
        for line in lines(dialect, told):
            print(line, flush=True)


def _apart(step: str, url: str, folder: str, key: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.benchmarks.archive", "--measure", step, url, folder, str(key)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


if __name__ == "__main__":
    main()
