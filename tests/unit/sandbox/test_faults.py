"""Does the fault script hit the requests that it names, and no others?"""

from __future__ import annotations

import pytest

from maia_sync.sandbox.faults import OAUTH, PASSING, Fault, FaultScript, fault_from_json

CUT, RESET = Fault(kind="cut"), Fault(kind="reset")


def kinds(script: FaultScript, task_id: str, number: int, method: str = "GET") -> list[str | None]:
    taken = [script.take(task_id, method) for _ in range(number)]
    return [fault.kind if fault else None for fault in taken]


def test_a_tasks_faults_come_before_those_of_all_and_each_only_once() -> None:
    script = FaultScript()
    script.add(CUT)
    script.add(RESET, task_id="A")
    assert kinds(script, "a", 3) == ["reset", "cut", None]


def test_a_fault_hits_as_often_as_it_says_after_those_it_lets_pass() -> None:
    script = FaultScript()
    script.add(Fault(kind="html", count=2, after=1), RESET)
    assert kinds(script, "a", 5) == [None, "html", "html", "reset", None]


def test_a_fault_without_count_lasts_until_it_is_cleared() -> None:
    script = FaultScript()
    script.add(Fault(kind="stall", count=None), task_id="a")
    assert kinds(script, "a", 3) == ["stall"] * 3
    assert kinds(script, "b", 1) == [None]
    script.clear()
    assert kinds(script, "a", 1) == [None]


def test_a_fault_of_one_method_waits_for_it() -> None:
    script = FaultScript()
    script.add(Fault(kind="cut", method="POST"), RESET)
    assert kinds(script, "a", 2) == ["reset", None]
    assert kinds(script, "a", 1, "POST") == ["cut"]


def test_the_token_endpoint_has_a_queue_of_its_own() -> None:
    script = FaultScript()
    script.add(CUT)
    script.add(RESET, task_id=OAUTH)
    assert kinds(script, OAUTH, 2, "POST") == ["reset", None]
    assert kinds(script, "a", 1) == ["cut"]


def test_random_faults_do_not_depend_on_how_tasks_interleave() -> None:
    one, two = FaultScript(), FaultScript()
    for script in (one, two):
        script.random_faults(seed=7, rate=0.3)
    apart = (kinds(one, "a", 200), kinds(one, "b", 200))
    mixed = [(kinds(two, "b", 1), kinds(two, "a", 1)) for _ in range(200)]
    assert apart == ([a for _, (a,) in mixed], [b for (b,), _ in mixed])
    assert 30 < sum(kind is not None for kind in apart[0]) < 90


def test_random_faults_stop_after_some_in_a_row() -> None:
    script = FaultScript()
    script.random_faults(seed=1, rate=1.0, menu=[CUT], in_a_row=2)
    assert kinds(script, "a", 6) == ["cut", "cut", None, "cut", "cut", None]


def test_faults_are_read_from_json_and_mistakes_named() -> None:
    fault = fault_from_json({"kind": "status", "status": 429, "retry_after": 2, "headers": [["X-A", "b"]]})
    assert fault == Fault(kind="status", status=429, retry_after=2, headers=(("X-A", "b"),))
    for wrong in ({}, {"kind": "rain"}, {"kind": "cut", "colour": 1}):
        with pytest.raises(ValueError, match="fault"):
            fault_from_json(wrong)
    assert {fault.kind for fault in PASSING} >= {"status", "cut", "reset", "garbage"}
