"""One place turns whatever happens into a sentence and an exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import maia_sync
from maia_sync import __version__
from maia_sync.cli import main as entry
from maia_sync.cli import task_verbs
from maia_sync.errors import UpstreamUnreachable

if TYPE_CHECKING:
    from collections.abc import Callable

PACKAGE = Path(maia_sync.__file__).resolve().parent.parent
UNKNOWN = "00000000-0000-4000-8000-000000000000"
VERBS = [
    "init",
    "track",
    "untrack",
    "pause",
    "resume",
    "tasks",
    "sync",
    "verify",
    "run",
    "status",
    "events",
    "query",
    "report",
    "serve",
    "send",
    "doctor",
    "sandbox",
    "demo",
    "db",
    "facets",
    "archive",
]


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Let each verb that opens the app fail in this way."""

    def arrange(error: BaseException) -> None:
        def app(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setattr("maia_sync.cli.invocation.Invocation.app", app)

    return arrange


@pytest.mark.parametrize(
    "arguments",
    [
        ("track", "not-a-uuid"),
        ("untrack", "123"),
        ("sync", "--task", "1e9"),
        ("verify", "--task", "zzz"),
        ("events", "nope"),
        ("events", UNKNOWN, "--limit", "-1"),
        ("events", UNKNOWN, "--json", "--follow"),
        ("events", UNKNOWN, "--json", "--raw"),
        ("events",),
        ("track",),
        ("track", "--from-file", "no-such-file"),
        ("sync", "--frobnicate"),
        ("frobnicate",),
        ("status", "--max-lag", "soon"),
        ("tasks", "--status", "gone"),
        ("demo", "--keep", "nowhere"),
        ("sandbox", "--port", "70000"),
        ("serve", "--bind", "8321"),
        ("serve", "--bind", "127.0.0.1:70000"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_asked_for_is_one_sentence_and_exit_code_2(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert entry.run(list(arguments)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert err.startswith("Error: ")


def test_an_error_of_ours_is_its_sentence_and_its_exit_code(
    failing: Callable[[BaseException], None], capsys: pytest.CaptureFixture[str]
) -> None:
    failing(UpstreamUnreachable("nobody answers"))
    assert entry.run(["sync"]) == 6
    assert capsys.readouterr() == ("", "Error: nobody answers\n")


def test_an_unexpected_exception_asks_to_be_reported(
    failing: Callable[[BaseException], None], capsys: pytest.CaptureFixture[str]
) -> None:
    failing(ZeroDivisionError("s3cret"))
    assert entry.run(["tasks"]) == 1
    _, err = capsys.readouterr()
    assert "ZeroDivisionError" in err
    assert "report" in err
    assert "s3cret" not in err
    assert entry.run(["--traceback", "tasks"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_an_interruption_is_quiet(
    failing: Callable[[BaseException], None], capsys: pytest.CaptureFixture[str]
) -> None:
    failing(KeyboardInterrupt())
    assert entry.run(["tasks"]) == 130
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("arguments", [[], ["db"]])
def test_without_a_verb_the_help_is_shown_as_a_usage_error(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert entry.run(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Usage:" in err


def test_help_names_every_verb_in_whole_sentences(capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.run(["--help"]) == 0
    out, _ = capsys.readouterr()
    listed = out.partition("Commands:")[2]
    assert [line.split()[0] for line in listed.splitlines() if line.strip()] == VERBS
    assert "..." not in listed
    for verb in VERBS:
        assert entry.run([verb, "--help"]) == 0


def test_the_version_is_printed_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.run(["--version"]) == 0
    assert capsys.readouterr().out == f"maia-sync {__version__}\n"


def test_the_help_is_quick_because_what_is_slow_is_not_imported() -> None:
    slow = ["alembic", "asyncio", "httpx", "rich", "sqlalchemy", "starlette", "uvicorn"]
    code = (
        "import sys; from maia_sync.cli.main import run; run(['--help']);"
        f"print(set({slow}) & sys.modules.keys())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(PACKAGE)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines()[-1:] == ["set()"], done.stderr


def test_every_status_can_be_listed() -> None:
    assert set(task_verbs.STATUSES) == {"active", "paused", "forbidden", "missing", "untracked"}
