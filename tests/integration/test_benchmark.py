"""Does the benchmark run, and do all who are compared in it do the same work?"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import msgspec
import pytest

from tests.benchmarks.__main__ import main
from tests.benchmarks.measuring import Measured
from tests.benchmarks.results import Document, Result, Row, markdown
from tests.benchmarks.results import main as put_together
from tests.benchmarks.workloads import QUICK, Sizes, Target, all_workloads

if TYPE_CHECKING:
    from pathlib import Path

_RUNNERS = ("floor", "maia-sync", "httpx", "client")


def _call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])


def _read(path: Path) -> dict[str, Result]:
    document = msgspec.json.decode(path.read_bytes(), type=Document)
    return {result.workload: result for result in document.results}


def test_a_smoke_of_a_backfill_idle_tasks_and_a_trickle(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """That each has read and stored what it should, the benchmark itself sees to."""
    chosen = [f"--workload={name}" for name in ("backfill", "idle", "trickle")]
    chosen += [f"--runner={name}" for name in _RUNNERS]
    _call(
        monkeypatch, "--quick", "--database=sqlite", *chosen, f"--folder={tmp_path}", f"--json={tmp_path}/one"
    )
    main()
    printed = capsys.readouterr().out
    results = _read(tmp_path / "one")
    requests = {
        (name, row.case): row.median.requests for name, result in results.items() for row in result.rows
    }
    pages = QUICK.events // QUICK.page_size
    assert requests == {
        ("backfill", "floor"): pages,
        ("backfill", "maia-sync"): pages,
        **{("idle", name): QUICK.tasks for name in _RUNNERS},
        ("trickle", "floor"): QUICK.tasks * 2,  # the last page, and the one that the new events begin
        ("trickle", "maia-sync"): QUICK.tasks * 2,
    }
    assert len({row.median.received for row in results["idle"].rows}) == 1
    for result in results.values():
        for row in result.rows:
            assert f"| {result.workload} | sqlite | {row.case} |" in printed
            assert 0 < (row.median.work_cpu or 0) < row.median.cpu
            assert row.median.peak_memory
    assert "| idle | sqlite | CPU of maia-sync against httpx | 1.3 | " in printed
    _call(monkeypatch, f"{tmp_path}/one")
    put_together()
    assert capsys.readouterr().out == printed


def test_a_smoke_of_growth_and_of_slow_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _call(
        monkeypatch,
        *(
            "--quick",
            "--database=sqlite",
            "--workload=growth",
            "--workload=latency-one",
            "--runner=maia-sync",
        ),
        *(f"--folder={tmp_path}", f"--json={tmp_path}/one"),
    )
    main()
    results = _read(tmp_path / "one")
    grown = {row.units: row.median.requests for row in results["growth"].rows}
    assert grown == {events: events // QUICK.page_size for events in QUICK.growth}
    (slow,) = results["latency-one"].rows
    assert slow.median.requests == slow.units / QUICK.page_size


def test_a_smoke_of_starting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _call(
        monkeypatch,
        *("--quick", "--workload=start-up", "--database=sqlite"),
        *(f"--folder={tmp_path}", f"--json={tmp_path}/one"),
    )
    main()
    rows = _read(tmp_path / "one")["start-up"].rows
    assert [row.case for row in rows] == ["python -c pass", "--version", "sync, no task", "sync, all paused"]


@pytest.mark.parametrize("sizes", [Sizes(), QUICK])
def test_every_workload_has_the_size_that_it_should_and_every_target_a_case(sizes: Sizes) -> None:
    sized = {workload.name: workload.work for workload in all_workloads(sizes)}
    assert {name: work.events for name, work in sized.items() if "backfill" in name or name == "growth"} == {
        "backfill": sizes.events,
        "backfill-8k": sizes.large_events,
        "backfill-25": sizes.events,
        "growth": sizes.growth[-1],
    }
    assert sized["trickle"].tasks == sized["idle"].tasks == sizes.tasks
    assert sized["idle-many"].tasks == sizes.many_tasks
    for workload in all_workloads(sizes):
        names = [case.name for case in workload.cases]
        assert len(set(names)) == len(names)
        for target in workload.targets:
            assert {target.case, target.against or target.case} <= set(names)
        for case in workload.cases:
            assert case.work.page_size <= case.work.events_per_task or workload.phase != "backfill"


def test_costs_are_compared_by_the_event_and_everything_else_as_it_is() -> None:
    def row(case: str, units: int, size: float) -> Row:
        runs = [
            Measured(cpu=size * share, work_cpu=size, wall=size, peak_memory=size * 1e6)
            for share in (1, 2, 9)
        ]
        return Row(case=case, units=units, runs=runs)

    result = Result(
        workload="growth",
        about="much",
        database="sqlite",
        unit="event",
        rows=[row("small", 100, 2.0), row("large", 1_000, 30.0)],
        targets=[
            Target(case="large", figure="cpu", most=1.4, against="small"),
            Target(case="large", figure="wall", most=20.0, against="small"),
            Target(case="large", figure="peak_memory", most=20e6),
            Target(case="absent", figure="cpu", most=1.0, against="small"),
        ],
    )
    document = Document(command="c", began="b", machine="m", versions={"v": "1"}, load=0.5, results=[result])
    assert [line[11:] for line in markdown([document]) if line.startswith("| growth |")] == [
        "sqlite | small | 4.00 | 1.00 | 2.00 | 1.00 | 20,000.0 | 2.00 | 1.00 | 2 |  | 0 | 0.0 |",
        "sqlite | large | 60.00 | 1.50 | 30.00 | 1.50 | 30,000.0 | 30.00 | 15.00 | 30 |  | 0 | 0.0 |",
        "sqlite | CPU of large against small | 1.4 | 1.50, missed |",
        "sqlite | wall time of large against small | 20 | 15.00 |",
        "sqlite | peak memory of large | 20 MB | 30 MB, missed |",
    ]
