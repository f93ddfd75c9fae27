"""Is a message sent at most once, to the letter, and is it always known what became of it?"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from logs import TASK, events, task_id, world_of

from maia_sync.errors import DatabaseError, UsageError
from maia_sync.sandbox.faults import Fault
from maia_sync.sandbox.world import SentMessage

if TYPE_CHECKING:
    from collections.abc import Callable

    Staging = Callable[..., Any]

SENT = (
    "SELECT CAST(task_id AS TEXT), sent_by, outcome, CAST(request AS TEXT), error, completed_at IS NULL "
    "FROM sent_message ORDER BY id"
)


def outcomes(stage: Any) -> list[str]:
    return [row[2] for row in stage.copy.ask(SENT)]


def posts(stage: Any) -> int:
    """Return how many POSTs have reached the server."""
    return int(stage.world.tally.by_method["POST"])


@pytest.fixture
def quick(stage_for: Staging) -> Any:
    """Return a stage of one short log that gives up quickly."""
    return stage_for(world_of(events(5)), api__retries=2, api__timeout=1.0, api__page_deadline=1.0)


def test_every_field_arrives_as_given(quick: Any) -> None:
    text = 'Zeile 1\n\t"zwei" \\ \u2028 \x00 😀 ' + "x" * 100_000 + "\n"
    sent = quick.app.send(
        TASK,
        text,
        agent="Data Engineer",
        mode="ACT",
        branch="feature/ü",
        allowed_tools=["execute_sql", "a b"],
    )
    assert sent.outcome == "accepted"
    assert quick.world.sent == [
        SentMessage(
            task_id=TASK,
            message=text,
            agent_config={"name": "Data Engineer", "mode": "ACT", "targetBranchName": "feature/ü"},
            granted_permissions=[{"toolName": "execute_sql"}, {"toolName": "a b"}],
        )
    ]
    (row,) = quick.copy.ask(SENT)
    assert (row[0], row[2], row[4], bool(row[5])) == (TASK, "accepted", None, False)
    assert json.loads(row[3])["message"] == text
    assert "@" in row[1]


def test_what_is_not_given_is_not_sent(quick: Any) -> None:
    quick.app.send(TASK, "plain")
    quick.app.send(TASK, "with a name", agent="Ada")
    assert [row[3] for row in quick.copy.ask(SENT)] == [
        '{"message":"plain"}',
        '{"message":"with a name","agentConfig":{"name":"Ada"}}',
    ]
    assert quick.world.sent[0].agent_config is None
    assert quick.world.sent[0].granted_permissions is None


def test_a_sent_task_is_tracked_and_polled_at_once(quick: Any) -> None:
    quick.copy.ask("DELETE FROM task")
    sent = quick.app.send(TASK, "hello")
    assert (sent.newly_tracked, sent.poll.new) == (True, len(quick.world.logs[TASK]))
    assert quick.copy.task(TASK)["status"] == "active"
    quick.copy.ask("UPDATE task SET status = 'paused'")
    sent = quick.app.send(TASK, "again")
    assert (sent.newly_tracked, sent.poll.new) == (False, 2)
    assert quick.copy.task(TASK)["status"] == "paused"


def test_a_poll_that_fails_afterwards_leaves_the_message_accepted(quick: Any) -> None:
    quick.world.faults.add(Fault(kind="status", status=500, count=None, method="GET"), task_id=TASK)
    sent = quick.app.send(TASK, "hello")
    assert (sent.outcome, sent.poll.failed) == ("accepted", 1)
    quick.copy.take_lease(TASK, "another", expires_in=60)
    sent = quick.app.send(TASK, "hello")
    assert (sent.outcome, sent.poll.held) == ("accepted", (TASK,))


UNKNOWN = {
    "500": Fault(kind="status", status=500, count=None, method="POST"),
    "502": Fault(kind="status", status=502, count=None, method="POST", applied=True),
    "503": Fault(kind="status", status=503, count=None, method="POST"),
    "504": Fault(kind="status", status=504, count=None, method="POST"),
    "stall": Fault(kind="stall", count=None, method="POST", applied=True),
    "reset": Fault(kind="reset", count=None, method="POST"),
    "login page": Fault(kind="html", count=None, method="POST"),
    "another's JSON": Fault(kind="not_a_page", count=None, method="POST"),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_may_have_been_processed_reaches_the_server_exactly_once_and_is_unknown(
    quick: Any, name: str
) -> None:
    quick.world.faults.add(UNKNOWN[name], task_id=TASK)
    sent = quick.app.send(TASK, "hello")
    assert (sent.outcome, posts(quick)) == ("unknown", 1)
    assert sent.error
    (row,) = quick.copy.ask(SENT)
    assert (row[2], bool(row[5])) == ("unknown", True)
    assert "hello" not in row[4]


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, "RequestRefused"), (403, "TaskForbidden"), (409, "RequestRefused"), (302, "RequestRefused")],
)
def test_what_the_api_refuses_is_refused_and_not_repeated(quick: Any, status: int, kind: str) -> None:
    quick.world.faults.add(Fault(kind="status", status=status, method="POST"), task_id=TASK)
    sent = quick.app.send(TASK, "hello")
    assert (sent.outcome, sent.error_kind, posts(quick), sent.poll) == ("refused", kind, 1, None)
    assert outcomes(quick) == ["refused"]


def test_an_unknown_task_is_refused_and_not_tracked(quick: Any) -> None:
    sent = quick.app.send(task_id(99), "hello")
    assert (sent.outcome, sent.error_kind) == ("refused", "TaskMissing")
    assert quick.copy.one("SELECT count(*) FROM task WHERE status <> 'untracked'") == 1


def test_a_429_is_waited_out_and_the_message_sent_again(quick: Any) -> None:
    quick.world.faults.add(Fault(kind="status", status=429, retry_after=0, count=2, method="POST"))
    sent = quick.app.send(TASK, "hello")
    assert (sent.outcome, posts(quick), len(quick.world.sent)) == ("accepted", 3, 1)
    quick.world.faults.add(Fault(kind="status", status=429, retry_after=0, count=None, method="POST"))
    sent = quick.app.send(TASK, "hello")
    assert (sent.outcome, posts(quick), len(quick.world.sent)) == ("refused", 6, 1)
    assert outcomes(quick) == ["accepted", "refused"]


def test_without_a_connection_it_was_certainly_not_sent(quick: Any) -> None:
    quick.server.stop()
    sent = quick.app.send(TASK, "hello")
    assert (sent.outcome, sent.unreachable) == ("refused", True)
    quick.server.start()
    assert quick.app.send(TASK, "hello").outcome == "accepted"
    assert len(quick.world.sent) == 1


def test_a_401_is_answered_once_with_a_fresh_token(stage_for: Staging) -> None:
    stage = stage_for(world_of(events(5)), api__retries=2)
    world = stage.world
    world.bearers.fixed = set()
    app = stage.open_another(
        auth__token="",
        auth__client_id="me",
        auth__client_secret="hush",
        auth__token_url=f"{stage.server.url}/oauth/dpc/token",
    )
    world.faults.add(Fault(kind="status", status=401, method="POST"), task_id=TASK)
    assert app.send(TASK, "hello").outcome == "accepted"
    assert (posts(stage), len(world.sent), world.tally.oauth_requests) == (2, 1, 2)
    world.faults.add(Fault(kind="status", status=401, method="POST", count=2), task_id=TASK)
    sent = app.send(TASK, "hello")
    assert (sent.outcome, sent.error_kind, posts(stage)) == ("refused", "CredentialsRefused", 4)
    assert len(world.sent) == 1
    assert "hush" not in stage.copy.everything(but=("checkpoint",))


@pytest.mark.parametrize(
    "bad",
    [
        {"message": ""},
        {"message": " \n"},
        {"message": "x", "mode": "PLAN"},
        {"message": "x", "branch": "b"},
        {"message": "x", "agent": " "},
        {"message": "x", "agent": "a", "branch": ""},
        {"message": "x", "allowed_tools": ["ok", ""]},
        {"message": "half \ud83d"},
        {"message": "x", "task_id": "no-uuid"},
    ],
)
def test_what_cannot_be_sent_is_refused_before_anything_is_noted(quick: Any, bad: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        quick.app.send(**{"task_id": TASK, **bad})
    assert (posts(quick), outcomes(quick)) == (0, [])


def test_the_row_is_there_before_the_request_and_stays_unknown_if_the_process_is_killed(
    quick: Any, environ_for: Callable[..., dict[str, str]], database_url: str
) -> None:
    quick.world.faults.add(Fault(kind="stall", count=None, method="POST"), task_id=TASK)
    environ = {**os.environ, **environ_for(quick.server.url, database_url)}
    command = [sys.executable, "-m", "maia_sync", "send", TASK, "hello"]
    with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True) as process:
        try:
            _until(lambda: posts(quick) == 1)
            (row,) = quick.copy.ask(SENT)
            assert (row[2], row[3], bool(row[5])) == ("unknown", '{"message":"hello"}', True)
        finally:
            process.send_signal(signal.SIGKILL)
        process.wait(timeout=30)
    assert outcomes(quick) == ["unknown"]
    assert posts(quick) == 1


def test_an_interruption_while_the_request_is_out_leaves_it_unknown(
    quick: Any, environ_for: Callable[..., dict[str, str]], database_url: str
) -> None:
    quick.world.faults.add(Fault(kind="stall", count=None, method="POST"), task_id=TASK)
    environ = {**os.environ, **environ_for(quick.server.url, database_url)}
    command = [sys.executable, "-m", "maia_sync", "send", TASK, "hello"]
    with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True) as process:
        _until(lambda: posts(quick) == 1)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "not known" in told
    assert "hello" not in told
    assert outcomes(quick) == ["unknown"]


def _until(met: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_on_sqlite_the_row_is_synced_to_disk_before_the_request_leaves(quick: Any) -> None:
    seen: list[int] = []
    with quick.app.database.transaction(durable=True) as tx:
        seen.append(tx.connection.exec_driver_sql("PRAGMA synchronous").scalar_one())
    with quick.app.database.transaction() as tx:
        seen.append(tx.connection.exec_driver_sql("PRAGMA synchronous").scalar_one())
    assert seen == [2, 1]  # full, then normal again


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_on_postgresql_the_row_is_synced_to_disk_whatever_the_server_does_as_a_rule(quick: Any) -> None:
    """The server of these tests has synchronous_commit = off, or whatever the given one has."""
    with quick.app.database.transaction(durable=True) as tx:
        assert tx.connection.exec_driver_sql("SHOW synchronous_commit").scalar_one() == "on"
    usual = quick.copy.one("SHOW synchronous_commit")
    with quick.app.database.transaction() as tx:
        assert tx.connection.exec_driver_sql("SHOW synchronous_commit").scalar_one() == usual


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_an_outcome_that_cannot_be_noted_is_told_all_the_same(quick: Any) -> None:
    quick.copy.ask(
        "CREATE TRIGGER full BEFORE UPDATE ON sent_message BEGIN SELECT RAISE(ABORT, 'no space'); END"
    )
    with pytest.raises(DatabaseError, match="outcome of message 1 is accepted, but that could not be noted"):
        quick.app.send(TASK, "hello")
    assert outcomes(quick) == ["unknown"]


# ---------------------------------------------------------------------------- follow, and use from Python


def test_follow_polls_until_the_task_has_been_quiet_in_one_run_of_its_own(quick: Any) -> None:
    quick.app.sync()
    told: list[Any] = []
    sent = quick.app.send(TASK, "hello", follow_until_quiet=2.5, observers=[told.append])
    assert (sent.outcome, sent.poll.new) == ("accepted", 2)
    assert sent.poll.tasks >= 2
    assert quick.copy.one("SELECT count(*) FROM sync_run") == 2


def test_from_python_where_an_event_loop_is_running_and_in_a_thread(quick: Any) -> None:
    async def notebook() -> tuple[str, int]:
        return quick.app.send(TASK, "hello").outcome, quick.app.sync().failed

    assert asyncio.run(notebook()) == ("accepted", 0)
    reports: list[str] = []
    thread = threading.Thread(target=lambda: reports.append(quick.app.sync().status))
    thread.start()
    thread.join()
    assert reports == ["succeeded"]
    rows = list(quick.app.events(TASK))
    assert [row.data for row in rows[-2:]] == [
        '{"type": "userMessage", "text": "hello"}',
        '{"type": "agentMessage", "text": "Understood."}',
    ]
    assert [row.seq for row in quick.app.events(TASK, newest=3)] == [row.seq for row in rows[-3:]]
    with pytest.raises(UsageError):
        quick.app.events(task_id(77))
