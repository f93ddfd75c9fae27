"""A command loads what it needs, and nothing else: most of a short run's time is the loading."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer

import maia_sync
from maia_sync.cli.coercion import coerce_at_need
from maia_sync.cli.main import cli, run

if TYPE_CHECKING:
    from collections.abc import Callable

PACKAGE = Path(maia_sync.__file__).resolve().parent.parent
TASK = "00000000-0000-4000-8000-000000000001"
HEAVY = {
    "alembic",
    "asyncio",
    "httpx",
    "pydantic",
    "rich",
    "sqlalchemy",
    "sqlalchemy.dialects.postgresql",
    "structlog",
    "uvicorn",
}
NEEDED = {"asyncio", "sqlalchemy"}
"""Of the heavy ones, by whatever reaches the database."""
CHILD = """
import json, sys
from maia_sync.cli.main import run
code = run(sys.argv[1:])
print("\\n" + json.dumps([code, sorted(sys.modules)]))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a configuration of an API that nobody serves, and an empty database."""
    monkeypatch.chdir(tmp_path)
    content = (
        '[api]\nbase_url = "http://127.0.0.1:9"\nretries = 0\n[auth]\ntoken = "t"\n'
        '[database]\nurl = "sqlite:///copy.sqlite3"\n'
    )
    (tmp_path / "config.toml").write_text(content, encoding="utf-8")
    assert run(["db", "upgrade"]) == 0
    return tmp_path


@pytest.fixture
def loaded_by(tmp_path: Path) -> Callable[..., set[str]]:
    """Return what tells the modules that a process has loaded when a command has succeeded."""

    def run_child(*arguments: str) -> set[str]:
        done = subprocess.run(
            [sys.executable, "-c", CHILD, *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(PACKAGE)},
            capture_output=True,
            text=True,
            check=True,
        )
        code, modules = json.loads(done.stdout.splitlines()[-1])
        assert code == 0, done.stderr
        return set(modules)

    return run_child


def verbs_in(modules: set[str]) -> set[str]:
    return {
        name for name in modules if name.startswith("maia_sync.cli.") and name.endswith(("_verb", "_verbs"))
    }


def test_the_version_is_told_without_any_verb_and_anything_heavy(loaded_by: Callable[..., set[str]]) -> None:
    modules = loaded_by("--version")
    assert verbs_in(modules) == set()
    assert not modules & (HEAVY | {"msgspec", "maia_sync.model"})


def test_the_help_of_a_verb_loads_that_verb_alone(loaded_by: Callable[..., set[str]]) -> None:
    modules = loaded_by("report", "--help")
    assert verbs_in(modules) == {"maia_sync.cli.report_verb"}
    assert not modules & HEAVY
    modules = loaded_by("archive", "prune", "--help")
    assert "maia_sync.cli.archive_prune" in modules
    assert not modules & (HEAVY | {"maia_sync.cli.archive_checks", "maia_sync.cli.archive_restore"})


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    "arguments", [("sync",), ("--config", "config.toml", "sync", "--json")], ids=["plain", "with options"]
)
def test_a_sync_with_nothing_to_do_loads_nothing_to_ask_with(
    arguments: tuple[str, ...], loaded_by: Callable[..., set[str]]
) -> None:
    assert loaded_by(*arguments) & HEAVY <= NEEDED
    assert run(["track", TASK]) == run(["pause", TASK]) == 0
    assert loaded_by(*arguments) & HEAVY <= NEEDED


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("arguments", [("status",), ("tasks",), ("track", TASK), ("events", TASK)])
def test_what_only_reads_the_database_loads_the_database_alone(
    arguments: tuple[str, ...], loaded_by: Callable[..., set[str]]
) -> None:
    assert run(["track", TASK]) == 0
    assert loaded_by(*arguments) & HEAVY <= NEEDED


def test_a_sync_that_has_something_to_ask_asks(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["track", TASK]) == 0
    assert run(["sync"]) == 6
    assert "cannot be reached" in capsys.readouterr().err
    assert folder


def parameters() -> list[Any]:
    """Return every parameter of every verb, as Typer has made it."""
    found: list[Any] = []

    def add(command: Any) -> None:
        found.extend(command.params)
        for verb in getattr(command, "commands", {}).values():
            add(verb)

    add(typer.main.get_command(cli))
    return found


@pytest.mark.parametrize("given", [None, "", "a text", "7", " true ", "ä\udcff"], ids=ascii)
def test_a_value_becomes_what_typer_makes_of_it(given: str | None) -> None:
    """The parameters are those of all verbs; whatever a Typer to come makes of values, so do we."""
    context: Any = typer.Context(typer.main.get_command(cli))
    seen = 0
    for parameter in parameters():
        is_many = parameter.multiple or parameter.nargs == -1
        value = (given, given) if is_many and given is not None else given
        results = []
        for prepared in (False, True):
            parameter._runtime_param = None
            if prepared:
                coerce_at_need([parameter])
            results.append(outcome(parameter.get_runtime_param(), value, parameter, context))
        assert results[0] == results[1], parameter.name
        seen += 1
    assert seen > 100


def outcome(coercion: Any, value: object, parameter: Any, context: Any) -> object:
    try:
        return coercion.coerce(value, param=parameter, ctx=context)
    except typer.BadParameter as error:
        return error.format_message()


def test_a_typer_that_keeps_its_conversion_elsewhere_is_left_alone() -> None:
    class Other:
        pass

    other = Other()
    assert coerce_at_need([other]) == [other]
    assert vars(other) == {}


def test_a_configuration_that_cannot_be_read_is_a_usage_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert run(["--config", "config.toml", "sync"]) == 2
    assert "Invalid value for '--config': path 'config.toml' is not readable. Try" in capsys.readouterr().err
    assert run(["--config", str(folder / "none.toml"), "sync"]) == 3
    assert "none.toml: cannot be read: No such file or directory" in capsys.readouterr().err


def test_what_is_loaded_is_left_out_of_the_searches_for_garbage() -> None:
    code = (
        "import gc, sys\nfrom maia_sync.cli.main import main\n"
        "sys.argv = ['maia-sync', '--version']\n"
        "try:\n    main()\nexcept SystemExit:\n"
        "    print(gc.get_freeze_count() > 10_000, gc.get_threshold())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(PACKAGE)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "True (5000, 10, 10)"
