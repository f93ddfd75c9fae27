from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest
from logs import events, world_of

from maia_sync.archive.keys import make_key
from maia_sync.cli.archive_checkup import check_archive
from maia_sync.cli.checkup import Finding, worst_exit_code

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SECRET = "c4nary"


@pytest.fixture
def opened(stage_for: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """Return a function that opens an App with an archive; settings as anchor_url="..."."""
    make_key(tmp_path / "archive.key", "example.com/log")

    def opened(**settings: object) -> Any:
        chosen: dict[str, object] = {
            "url": tmp_path / "archive",
            "key_file": tmp_path / "archive.key",
            "anchor_command": "true",
            **settings,
        }
        named = {f"archive__{name}": value for name, value in chosen.items()}
        stage = stage_for(world_of(events(3)), **named)
        stage.sync_well()
        return stage.app

    return opened


def found(app: Any) -> dict[str, Finding]:
    return {finding.check: finding for finding in check_archive(app)}


def test_without_an_archive_nothing_is_found(opened: Callable[..., Any]) -> None:
    assert found(opened(url="", key_file="", anchor_command="")) == {}


def test_an_archive_in_order_is_told_before_and_after_it_begins(
    opened: Callable[..., Any], tmp_path: Path
) -> None:
    app = opened()
    before = found(app)
    assert [finding.level for finding in before.values()] == ["ok", "ok", "ok"]
    assert before["archive"].found.startswith(f"{tmp_path}/archive holds no archive yet")
    app.create_archive()
    after = found(app)
    assert [finding.level for finding in after.values()] == ["ok", "ok", "ok"]
    assert after["archive"].found == f"{tmp_path}/archive ends at 5 entries, signed by example.com/log"


def test_what_is_wrong_with_the_keys_is_told(opened: Callable[..., Any], tmp_path: Path) -> None:
    missing = opened(key_file=tmp_path / "none")
    assert worst_exit_code([*check_archive(missing)]) == 3
    assert found(opened(key_file=""))["archive key"].mend == (
        "set archive.key_file; `maia-sync archive keygen` makes a key"
    )
    make_key(tmp_path / "other.key", "example.com/other")
    of_another = found(opened(verifier_key_file=tmp_path / "other.key.pub"))["archive key"]
    assert (of_another.level, of_another.exit_code) == ("problem", 3)
    (tmp_path / "archive.key").chmod(0o644)
    assert found(opened())["archive key"].mend == f"chmod 600 {tmp_path / 'archive.key'}"


def test_an_archive_that_is_gone_or_altered_is_a_difference(
    opened: Callable[..., Any], tmp_path: Path
) -> None:
    app = opened()
    app.create_archive()
    checkpoint = tmp_path / "archive" / "checkpoint"
    checkpoint.write_bytes(checkpoint.read_bytes().replace(b"5\n", b"6\n", 1))
    altered = found(app)["archive"]
    assert (altered.level, altered.exit_code) == ("problem", 7)
    checkpoint.unlink()
    gone = found(app)["archive"]
    assert (gone.level, gone.exit_code) == ("problem", 7)
    assert gone.found.endswith("holds no archive, though this database has written 5 entries")


def test_what_becomes_of_checkpoints_is_told_without_secrets(opened: Callable[..., Any]) -> None:
    assert found(opened(anchor_command=""))["anchor"].level == "warning"
    app = opened(
        anchor_command=f'["{sys.executable}", "-c", "raise SystemExit(3)", "{SECRET}"]',
        anchor_url=f"http://127.0.0.1:1/{SECRET}",
    )
    app.create_archive()
    told = found(app)["anchor"]
    assert told.level == "warning"
    assert "archive.anchor_command ended with exit code 3" in told.found
    assert "the server of archive.anchor_url cannot be reached" in told.found
    assert SECRET not in str([*check_archive(app)])
