"""Bad input: one clear sentence, the right exit code, no traceback, no secret."""

from __future__ import annotations

import shutil
import sqlite3
from typing import TYPE_CHECKING

import pytest
from cli_folder import SECRET, CliFolder, for_sandbox, tracked_copy

from maia_sync.sandbox.server import SandboxServer
from maia_sync.sandbox.story import make_world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

UNKNOWN = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(scope="module")
def server() -> Iterator[SandboxServer]:
    world = make_world(seed=3, tasks=2, events_per_task=20)
    world.bearers.fixed = {SECRET}
    with SandboxServer(world) as served:
        yield served


@pytest.fixture
def folder(tmp_path: Path, server: SandboxServer, one_authority: Path) -> CliFolder:
    return for_sandbox(tmp_path, server.url, one_authority)


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory, migrated_sqlite: Path, server: SandboxServer) -> Path:
    """A database in which the world's tasks are tracked, made once: each test has a copy."""
    return tracked_copy(migrated_sqlite, tmp_path_factory.mktemp("tracked"), server.world.logs)


@pytest.fixture
def set_up(folder: CliFolder, tracked: Path) -> CliFolder:
    shutil.copy(tracked, folder.path)
    return folder


@pytest.mark.parametrize(
    "arguments", [("track", "not-a-uuid"), ("sync", "--frobnicate"), ("sandbox", "--order", "sideways")]
)
def test_a_command_line_that_cannot_be_is_refused_with_exit_code_2(
    folder: CliFolder, arguments: tuple[str, ...]
) -> None:
    done = folder.run_apart(*arguments)
    assert done.code == 2
    assert done.is_one_clear_sentence(), done


@pytest.mark.parametrize("arguments", [("untrack",), ("sync", "--task"), ("events",)])
def test_a_task_that_is_not_tracked_is_named(set_up: CliFolder, arguments: tuple[str, ...]) -> None:
    done = set_up.run(*arguments, UNKNOWN)
    assert done.code == 2
    assert done.is_one_clear_sentence(), done
    assert f"task {UNKNOWN} is not tracked" in done.err


def test_one_unknown_task_among_known_ones_changes_nothing(set_up: CliFolder, server: SandboxServer) -> None:
    assert set_up.run("pause", next(iter(server.world.logs)), UNKNOWN).code == 2
    assert {task["status"] for task in set_up.ok("tasks", "--json").json()} == {"active"}


def test_a_bad_line_of_a_file_is_named_and_nothing_is_tracked(set_up: CliFolder) -> None:
    content = f"# ours\n\n{UNKNOWN} fine\nbroken line\n"
    done = set_up.run("track", "--from-file", "-", stdin=content)
    assert done.code == 2
    assert done.is_one_clear_sentence(), done
    assert "line 4" in done.err
    assert UNKNOWN not in {task["task_id"] for task in set_up.ok("tasks", "--json").json()}


def test_every_problem_of_the_configuration_has_its_line(folder: CliFolder) -> None:
    (folder.path / "config.toml").write_text('[api]\npage_size = 0\nregoin = "eu1"\n[auth]\ntoken_file = 5\n')
    done = folder.run("tasks")
    assert done.code == 3
    assert done.out == ""
    assert all(line.startswith("Error: ") for line in done.err.splitlines())
    assert all(name in done.err for name in ("page_size", "regoin", "token_file"))
    assert "Traceback" not in done.err


def test_a_configuration_that_was_named_must_be_there(folder: CliFolder) -> None:
    done = folder.run("--config", "nowhere.toml", "tasks")
    assert done.code == 3
    assert done.is_one_clear_sentence(), done


def test_no_credential_is_a_configuration_problem(set_up: CliFolder) -> None:
    done = set_up.run("sync", MAIA_SYNC_AUTH__TOKEN="")
    assert done.code == 3
    assert done.is_one_clear_sentence(), done


@pytest.mark.parametrize("verb", ["sync", "verify"])
def test_a_refused_token_is_exit_code_4(set_up: CliFolder, verb: str) -> None:
    done = set_up.run_apart(
        verb, MAIA_SYNC_AUTH__TOKEN=f"{SECRET}-of-yesterday", MAIA_SYNC_LOG__LEVEL="error"
    )
    assert done.code == 4
    assert done.is_one_clear_sentence(), done


@pytest.mark.parametrize(
    "arguments", [("tasks",), ("status", "--json"), ("sync",), ("events", UNKNOWN), ("db", "check")]
)
def test_a_database_that_is_not_there_is_exit_code_5(folder: CliFolder, arguments: tuple[str, ...]) -> None:
    done = folder.run(*arguments)
    assert done.code == 5
    assert done.is_one_clear_sentence(), done
    assert "maia-sync db upgrade" in done.err
    assert not (folder.path / "maia_sync.db").exists()


def test_a_database_without_our_tables_is_exit_code_5(folder: CliFolder) -> None:
    sqlite3.connect(folder.path / "maia_sync.db").close()
    done = folder.run("sync")
    assert done.code == 5
    assert done.is_one_clear_sentence(), done


def test_a_newer_database_is_exit_code_5(set_up: CliFolder) -> None:
    connection = sqlite3.connect(set_up.path / "maia_sync.db")
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    for arguments in (("sync",), ("db", "upgrade"), ("db", "check")):
        done = set_up.run(*arguments)
        assert done.code == 5
        assert done.is_one_clear_sentence(), done
        assert "upgrade maia-sync" in done.err


def test_a_file_that_is_no_database_is_exit_code_5(folder: CliFolder) -> None:
    (folder.path / "maia_sync.db").write_bytes(b"these are not the pages you are looking for" * 100)
    done = folder.run("tasks")
    assert done.code == 5
    assert done.is_one_clear_sentence(), done


def test_an_unreachable_postgresql_is_exit_code_5_and_its_password_is_not_shown(folder: CliFolder) -> None:
    done = folder.run(
        "tasks", MAIA_SYNC_DATABASE__URL=f"postgresql+psycopg://me:{SECRET}@127.0.0.1:9/nothing"
    )
    assert done.code == 5
    assert done.is_one_clear_sentence(), done


def test_an_unreachable_api_is_exit_code_6(set_up: CliFolder) -> None:
    done = set_up.run_apart(
        "sync", MAIA_SYNC_API__BASE_URL="http://127.0.0.1:9", MAIA_SYNC_LOG__LEVEL="error"
    )
    assert done.code == 6
    assert done.is_one_clear_sentence(), done


def test_doctor_ends_with_the_first_problems_exit_code(set_up: CliFolder) -> None:
    assert set_up.run("doctor").code == 0
    assert set_up.run("doctor", MAIA_SYNC_AUTH__TOKEN="").code == 3
    assert set_up.run("doctor", MAIA_SYNC_AUTH__TOKEN="wrong").code == 4
    assert set_up.run("doctor", MAIA_SYNC_DATABASE__URL="sqlite:///elsewhere.db").code == 5
    assert set_up.run("doctor", MAIA_SYNC_API__BASE_URL="http://127.0.0.1:9").code == 6
    assert set_up.run("doctor", MAIA_SYNC_API__PAGE_SIZE="many").code == 3


def test_doctor_finds_what_is_wrong_and_shows_no_secret(set_up: CliFolder) -> None:
    done = set_up.run("doctor", "--json", MAIA_SYNC_AUTH__TOKEN=f"{SECRET}x")
    assert done.code == 4
    levels = {finding["check"]: finding["level"] for finding in done.json()}
    assert levels["API"] == "problem"
    assert levels["database"] == "ok"
    assert SECRET not in done.out + done.err
