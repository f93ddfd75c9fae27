"""What do tests of the archive's verbs share? A folder with a small database and its archive, made once."""

from __future__ import annotations

import shutil
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from cli_folder import archiving
from told_story import open_writing, store_story

if TYPE_CHECKING:
    from pathlib import Path

    from cli_folder import CliFolder


@pytest.fixture(scope="session")
def archived(tmp_path_factory: pytest.TempPathFactory, migrated_sqlite: Path) -> Path:
    """A database of two tasks of 50 events, and its archive."""
    path = tmp_path_factory.mktemp("archived")
    shutil.copyfile(migrated_sqlite, path / "maia_sync.db")
    with closing(open_writing(f"sqlite:///{path / 'maia_sync.db'}")) as database:
        store_story(database, tasks=2, events=50)
    folder = archiving(path)
    folder.ok("archive", "keygen", "--name", "test.example/log")
    folder.ok("archive", "create")
    return path


@pytest.fixture
def folder(tmp_path: Path, archived: Path) -> CliFolder:
    """A copy of that; modules that need another folder have their own fixture."""
    return archiving(shutil.copytree(archived, tmp_path / "copy"))
