"""Which file may the demo replace? Only what an earlier demo has made."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

from maia_sync.demo import is_from_demo, make_room
from maia_sync.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


def made_with(path: Path, application_id: int) -> Path:
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA application_id = {application_id}")
    connection.execute("CREATE TABLE precious (x)")
    connection.close()
    return path


def test_a_file_of_an_earlier_demo_makes_room_with_what_belongs_to_it(tmp_path: Path) -> None:
    path = made_with(tmp_path / "d.db", 0x6D616964)
    (tmp_path / "d.db-wal").touch()
    (tmp_path / "d.db-shm").touch()
    assert is_from_demo(path)
    assert make_room(path)
    assert list(tmp_path.iterdir()) == []
    assert not make_room(path)


@pytest.mark.parametrize("application_id", [0, 0x6D616961])
def test_another_database_stays(tmp_path: Path, application_id: int) -> None:
    path = made_with(tmp_path / "d.db", application_id)
    with pytest.raises(UsageError, match="was not made by the demo"):
        make_room(path)
    assert path.exists()


@pytest.mark.parametrize("content", [b"", b"notes", b"SQLite format 3\0"])
def test_any_other_file_stays(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "d.db"
    path.write_bytes(content)
    with pytest.raises(UsageError):
        make_room(path)


def test_a_folder_of_that_name_stays(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        make_room(tmp_path)
