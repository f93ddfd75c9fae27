"""Can maia-sync be used from other people's Python: scripts, threads, notebooks, type checkers?"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from logs import BEARER, TASK, after_pages, events, task_id, world_of, world_of_many
from oracle import assert_to_the_letter

import maia_sync
from maia_sync.app import open_app
from maia_sync.errors import UsageError
from maia_sync.sandbox.faults import Fault
from maia_sync.sandbox.world import Log, World
from maia_sync.sync.walk import Walk

if TYPE_CHECKING:
    from collections.abc import Callable

    Staging = Callable[..., Any]

ROOT = Path(__file__).resolve().parent.parent.parent
README = ROOT / "README.md"

sqlite_only = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


# ------------------------------------------------------------------ what the README shows


@pytest.fixture(scope="module")
def snippet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The README's program, in a file."""
    blocks = re.findall(r"^```python\n(.*?)^```$", README.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    (text,) = [block for block in blocks if "open_app" in block]
    path = tmp_path_factory.mktemp("library") / "example.py"
    path.write_text(text, encoding="utf-8")
    return path


def run(*command: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("MAIA_SYNC_")}
    return subprocess.run(
        command,
        cwd=cwd,
        env={**inherited, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", **environ},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )


@pytest.fixture(scope="module")
def check_types(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[Path], subprocess.CompletedProcess[str]]:
    """Return a function that type-checks a program; what mypy has learnt of maia_sync it learns once."""
    cache = ("--cache-dir", str(tmp_path_factory.mktemp("mypy")))

    def check_types(path: Path) -> subprocess.CompletedProcess[str]:
        return run(
            sys.executable, "-m", "mypy", "--strict", *cache, path.name, cwd=path.parent, MYPYPATH=str(ROOT)
        )

    return check_types


def test_what_the_readme_shows_passes_a_strict_type_check(
    snippet: Path, check_types: Callable[[Path], subprocess.CompletedProcess[str]]
) -> None:
    done = check_types(snippet)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_type_checker_sees_wrong_names_and_wrong_values(
    tmp_path: Path, check_types: Callable[[Path], subprocess.CompletedProcess[str]]
) -> None:
    program = tmp_path / "wrong.py"
    program.write_text(
        "from maia_sync import Settings, nothing_of_the_kind, open_app\n"
        "with open_app(Settings()) as app:\n"
        '    app.send("x", "y", mode="DANCE")\n'
        "    reveal_type(app.sync().new)\n",
        encoding="utf-8",
    )
    told = check_types(program).stdout
    assert 'has no attribute "nothing_of_the_kind"' in told
    assert 'Argument "mode"' in told
    assert 'Revealed type is "int"' in told.replace("builtins.", "")
    assert "Found 2 errors" in told


def test_what_the_readme_shows_runs(
    snippet: Path,
    tmp_path: Path,
    serve: Any,
    environ_for: Callable[..., dict[str, str]],
) -> None:
    (task,) = set(re.findall(r"[0-9a-f-]{36}", snippet.read_text("utf-8")))
    world = World()
    world.add(Log(task, events(30)))
    environ = environ_for(serve(world).url, f"sqlite:///{tmp_path / 'new.db'}")
    done = run(sys.executable, str(snippet), cwd=tmp_path, **environ)
    assert (done.returncode, done.stderr) == (0, ""), done
    print(done.stdout)
    assert done.stdout.startswith("succeeded 30 []\n")
    assert '"agentMessage"' in done.stdout
    assert len(world.sent) == 1


# ------------------------------------------------------------------ names and settings


def test_every_name_that_is_offered_is_there_and_no_other() -> None:
    for name in maia_sync.__all__:
        assert getattr(maia_sync, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = maia_sync.nothing


def test_the_version_is_told_without_loading_what_it_does_not_need(tmp_path: Path) -> None:
    program = "import sys, maia_sync; print(maia_sync.__version__, 'httpx' in sys.modules)"
    assert run(sys.executable, "-c", program, cwd=tmp_path).stdout.split()[1] == "False"


def test_settings_can_be_made_without_a_file_and_tables_and_tasks_too(
    serve: Any, tmp_path: Path, one_authority: Path
) -> None:
    world = world_of(events(120))
    settings = maia_sync.Settings(
        api=maia_sync.ApiSettings(base_url=serve(world).url, page_size=50, ca_file=one_authority),
        auth=maia_sync.AuthSettings(token=maia_sync.Secret(BEARER)),
        database=maia_sync.DatabaseSettings(url=f"sqlite:///{tmp_path / 'new.db'}"),
    )
    with maia_sync.open_app(settings) as app:
        assert app.upgrade() == ""
        assert (app.track([TASK], label="ours"), app.track([TASK.upper()])) == (1, 0)
        assert app.sync().new == 120
        assert app.verify().difference_count == 0
        assert [row.data for row in app.events(TASK)][-1] == '{"n":119,"text":"as it was"}'
        assert len(list(app.events(TASK, newest=7))) == 7


@sqlite_only
def test_what_makes_no_sense_is_a_usage_error(stage_for: Staging) -> None:
    app = stage_for(world_of(events(1))).app
    for wrong in (
        lambda: app.track(["no-uuid"]),
        lambda: app.sync(task_ids=TASK),
        lambda: app.events("no-uuid"),
        lambda: app.send(TASK, "hello", agent="Ada", mode="plan"),
        lambda: app.send(TASK, "hello", allowed_tools="execute_sql"),
    ):
        with pytest.raises(UsageError):
            wrong()
    assert app.database.is_postgresql is False


@sqlite_only
def test_vanished_events_can_be_left_out(stage_for: Staging) -> None:
    stage = stage_for(world_of(events(40)))
    stage.sync_well()
    stage.world.logs[TASK].remove(7)
    stage.sync_well(full=True)
    counts = [len(list(stage.app.events(TASK, with_vanished=wanted))) for wanted in (True, False)]
    assert counts == [40, 39]


# ------------------------------------------------------------------ threads, loops, signals


def test_in_a_thread_of_the_users_own(stage_for: Staging) -> None:
    stage = stage_for(world_of(events(30)))
    reports: list[Any] = []

    def work() -> None:
        reports.append(stage.app.sync())
        reports.append(stage.app.send(TASK, "hello"))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(timeout=60)
    assert [report.error for report in reports] == [None, None]
    assert_to_the_letter(stage.copy, TASK, stage.world.logs[TASK].events)


def test_where_an_event_loop_is_running_already(stage_for: Staging) -> None:
    stage = stage_for(world_of(events(30)))

    async def cell() -> list[Any]:
        report, sent = stage.app.sync(), stage.app.send(TASK, "hello")
        return [report.new, sent.outcome, sent.poll.new, stage.app.verify().difference_count]

    assert asyncio.run(cell()) == [30, "accepted", 2, 0]
    assert_to_the_letter(stage.copy, TASK, stage.world.logs[TASK].events)


def in_a_running_loop(work: Callable[[], object]) -> None:
    """Do something within a loop that leaves Ctrl-C to Python, as a notebook's does."""

    async def cell() -> None:
        work()

    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(cell())
    finally:
        loop.close()


def test_ctrl_c_where_a_loop_is_running_ends_the_run_orderly_and_is_raised_again(stage_for: Staging) -> None:
    stage = stage_for(world_of(events(400), latency=0.01), api__page_size=10)
    after_pages(stage.world, 5, lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        in_a_running_loop(stage.app.sync)
    stored = stage.copy.one("SELECT count(*) FROM task_event")
    assert 30 <= stored < 400
    runs = stage.copy.ask("SELECT status, events_new FROM sync_run")
    assert runs == [("interrupted", stored)]
    assert stage.copy.free_leases() == 0
    stage.world.scripted_tokens.clear()
    stage.sync_well()
    assert_to_the_letter(stage.copy, TASK, events(400))


@sqlite_only
def test_ctrl_c_in_a_notebook_while_a_message_is_out_leaves_it_unknown(stage_for: Staging) -> None:
    stage = stage_for(world_of(events(5)), api__timeout=30)
    stage.world.faults.add(Fault(kind="stall", count=None, method="POST"))
    interrupting = threading.Thread(target=lambda: interrupt_after_a_post(stage.world))
    interrupting.start()
    with pytest.raises(KeyboardInterrupt):
        in_a_running_loop(lambda: stage.app.send(TASK, "hello"))
    interrupting.join()
    assert stage.copy.ask("SELECT outcome, error FROM sent_message") == [
        ("unknown", "whether the message was taken in is not known: interrupted before an answer came")
    ]


def interrupt_after_a_post(world: World) -> None:
    while not world.tally.by_method["POST"]:
        threading.Event().wait(0.01)
    os.kill(os.getpid(), signal.SIGINT)


@sqlite_only
def test_ctrl_c_in_a_script_ends_the_run_and_is_told_in_its_report(stage_for: Staging) -> None:
    stage = stage_for(world_of(events(400), latency=0.01), api__page_size=10)
    after_pages(stage.world, 5, lambda: os.kill(os.getpid(), signal.SIGINT))
    report = stage.app.sync()
    assert (report.status, report.interrupted_by) == ("interrupted", signal.SIGINT)


@sqlite_only
def test_the_users_own_signal_handlers_are_there_again_afterwards(stage_for: Staging) -> None:
    """Airflow ends a task by SIGTERM and its own handler."""
    stage = stage_for(world_of(events(5)))
    theirs = {signal.SIGTERM: lambda *_: None, signal.SIGINT: lambda *_: None}
    before = {number: signal.signal(number, handler) for number, handler in theirs.items()}
    try:
        stage.sync_well()
        assert {number: signal.getsignal(number) for number in theirs} == theirs
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    stage.sync_well()
    assert {number: signal.getsignal(number) for number in theirs} == before


@sqlite_only
def test_an_app_can_be_opened_again_and_again(stage_for: Staging) -> None:
    stage = stage_for(world_of(events(5)))
    for _ in range(3):
        with open_app(stage.app.settings) as app:
            assert app.sync().status == "succeeded"


def test_walks_that_a_signal_kept_from_beginning_are_not_told_as_left_to_others(
    stage_for: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = stage_for(world_of_many(4, 400, latency=0.01), api__page_size=10, api__concurrency=2)
    really = Walk._started

    async def started(walk: Any) -> Any:
        if walk.report.task_id != task_id(1):
            await asyncio.sleep(60)
        return await really(walk)

    monkeypatch.setattr(Walk, "_started", started)
    after_pages(stage.world, 5, lambda: os.kill(os.getpid(), signal.SIGINT))
    report = stage.app.sync()
    assert (report.status, report.tasks, report.held) == ("interrupted", 1, ())
    assert stage.copy.ask("SELECT tasks, tasks_held FROM sync_run") == [(1, 0)]
    assert stage.copy.one("SELECT count(*) FROM task WHERE lease_owner IS NOT NULL") == 0
