"""Is a file there whole or not at all, whatever happens while it is written?"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from maia_sync.errors import MaiaSyncError, UsageError
from maia_sync.report.whole_file import whole_file

if TYPE_CHECKING:
    from pathlib import Path


def test_a_file_takes_the_place_of_the_one_before_and_keeps_its_mode(tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    target.write_text("before")
    target.chmod(0o640)
    with whole_file(str(target), told_by="--output") as file:
        file.write(b"after")
        assert target.read_text() == "before"
    assert target.read_text() == "after"
    assert target.stat().st_mode & 0o777 == 0o640
    assert [each.name for each in tmp_path.iterdir()] == ["report.html"]


def test_what_fails_leaves_nothing_behind_and_what_was_there_alone(tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    target.write_text("before")
    with suppress(KeyboardInterrupt), whole_file(str(target), told_by="--output") as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert target.read_text() == "before"
    assert [each.name for each in tmp_path.iterdir()] == ["report.html"]


def test_a_place_that_cannot_be_written_is_told_by_the_one_who_named_it(tmp_path: Path) -> None:
    with (
        pytest.raises(UsageError, match=r'^report\.file: cannot write "'),
        whole_file(str(tmp_path / "none" / "r.html"), told_by="report.file"),
    ):
        pass
    with (
        pytest.raises(MaiaSyncError, match="--output: cannot write"),
        whole_file(str(tmp_path / "r.html"), told_by="--output"),
    ):
        raise OSError(28, "No space left on device")
    assert not any(tmp_path.iterdir())


def test_a_name_may_be_as_long_as_a_name_can_be(tmp_path: Path) -> None:
    target = tmp_path / f"{'n' * 250}.html"
    with whole_file(str(target), told_by="--output") as file:
        file.write(b"whole")
    assert target.read_bytes() == b"whole"
