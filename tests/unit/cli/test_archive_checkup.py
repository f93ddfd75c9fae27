from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, Any

import pytest
from logs import events, world_of
from sqlalchemy import update

from maia_sync.archive.folder import FolderPlace
from maia_sync.archive.keys import load_signer, make_key, restore_verifier
from maia_sync.archive.merkle import TreeHead
from maia_sync.archive.note import sign_checkpoint
from maia_sync.cli.archive_checkup import check_archive
from maia_sync.cli.checkup import Finding, worst_exit_code
from maia_sync.errors import MaiaSyncError
from maia_sync.store import archive_log
from maia_sync.store.digest_key import make_digest_key
from maia_sync.store.schema import task_event

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
    assert before["archive"].found.startswith(f"{tmp_path}/archive holds no archive yet, and can be written")
    assert not (tmp_path / "archive").exists()
    app.create_archive()
    after = found(app)
    assert [finding.level for finding in after.values()] == ["ok", "ok", "ok"]
    ends = f"{tmp_path}/archive ends at 6 entries, signed by example.com/log"
    assert after["archive"].found == f"{ends}, as this database has it, and can be written"
    assert not (tmp_path / "archive" / ".new").exists()
    alone = found(opened(key_file="", verifier_key_file=tmp_path / "archive.key.pub"))
    assert alone["archive"].found == f"{ends}; it was not compared with the database"


def test_what_is_wrong_with_the_keys_is_told(opened: Callable[..., Any], tmp_path: Path) -> None:
    missing = opened(key_file=tmp_path / "none")
    assert worst_exit_code([*check_archive(missing)]) == 3
    assert found(opened(key_file=""))["archive key"].mend == (
        "set archive.key_file; `maia-sync archive keygen` makes a key"
    )
    make_key(tmp_path / "other.key", "example.com/other")
    of_another = found(opened(verifier_key_file=tmp_path / "other.key.pub"))["archive key"]
    assert (of_another.level, of_another.exit_code) == ("problem", 3)
    (tmp_path / "archive.key.pub").unlink()
    again = f"`maia-sync archive keygen --from-key {tmp_path / 'archive.key'}` makes it again"
    assert found(opened())["archive key"].mend == again
    restore_verifier(tmp_path / "archive.key")
    (tmp_path / "archive.key").chmod(0o644)
    assert found(opened())["archive key"].mend == f"chmod 600 {tmp_path / 'archive.key'}"


def test_an_archive_that_is_gone_or_altered_is_a_difference(
    opened: Callable[..., Any], tmp_path: Path
) -> None:
    app = opened()
    app.create_archive()
    checkpoint = tmp_path / "archive" / "checkpoint"
    checkpoint.write_bytes(checkpoint.read_bytes().replace(b"6\n", b"7\n", 1))
    altered = found(app)["archive"]
    assert (altered.level, altered.exit_code) == ("problem", 7)
    checkpoint.unlink()
    gone = found(app)["archive"]
    assert (gone.level, gone.exit_code) == ("problem", 7)
    assert "archive holds no archive, but this database has written one of 6 entries" in gone.found
    make_key(tmp_path / "other.key", "example.com/other")
    others = {"key_file": tmp_path / "other.key", "verifier_key_file": tmp_path / "other.key.pub"}
    another = found(opened(**others, url=tmp_path / "elsewhere"))["archive"]
    assert (another.level, another.exit_code) == ("problem", 3)
    assert "example.com/other (id " in another.found
    assert "is not the key this log was begun with: name that of example.com/log (id " in another.found
    assert "--new-log" in another.found
    assert not (tmp_path / "elsewhere").exists()


def test_what_a_create_would_refuse_is_told_before_it_is_tried(
    opened: Callable[..., Any], tmp_path: Path
) -> None:
    app, place = opened(), tmp_path / "archive"

    def told(of: Any) -> tuple[str, int]:
        finding = found(of)["archive"]
        assert finding.level == "problem", finding
        with pytest.raises(MaiaSyncError) as refused:
            of.create_archive()
        assert (str(refused.value), refused.value.exit_code) == (finding.found, finding.exit_code)
        return finding.found, finding.exit_code

    place.mkdir()
    (place / "notes.txt").touch()
    foreign = f"{place} holds no archive, but other files, such as 'notes.txt': name a place of its own"
    assert told(app) == (f"{foreign} as archive.url", 1)
    (place / "notes.txt").rename(place / ".DS_Store")
    app.create_archive()
    shutil.copytree(place, tmp_path / "older")
    with app.database.transaction() as tx:
        tx.connection.exec_driver_sql("UPDATE sync_run SET checkpoint_id = NULL")
    app.create_archive()
    behind = told(opened(url=tmp_path / "older"))
    assert "older ends at 6 entries, but this database has written one of 7" in behind[0]
    assert behind[1] == 7
    beyond = place / "checkpoints" / "000000000009"
    signer = load_signer(tmp_path / "archive.key")
    beyond.write_text(sign_checkpoint(TreeHead(9, bytes(32)), signer))
    assert "has signed a checkpoint of 9 entries" in found(app)["archive"].found
    beyond.unlink()
    (place / "SHA256SUMS").unlink()
    assert told(app) == (f"{place}: SHA256SUMS is missing: bring it back from a copy", 7)
    make_key(tmp_path / "same-name.key", "example.com/log")
    same_name = told(opened(key_file=tmp_path / "same-name.key"))
    assert same_name[0].startswith("archive.key_file: the key of example.com/log (id ")
    assert same_name[1] == 3
    (tmp_path / "file").touch()
    assert told(opened(url=tmp_path / "file" / "archive"))[1] == 7
    with app.database.transaction() as tx:
        for table in ("archive_log", "archive_checkpoint"):
            tx.connection.exec_driver_sql(f"DELETE FROM {table}")
    assert told(opened(url=tmp_path / "file" / "archive"))[0].endswith("file/archive: Not a directory")
    of_another_database = told(app)
    assert "ends at 7 entries, but this database has written none" in of_another_database[0]
    assert told(opened(key_file=tmp_path / "same-name.key"))[1] == 3


def test_a_key_that_everybody_gets_is_a_problem(opened: Callable[..., Any], tmp_path: Path) -> None:
    app = opened(url=tmp_path)
    inside = found(app)["archive key"]
    assert (inside.level, inside.exit_code) == ("problem", 3)
    assert "everyone who gets a copy gets the private key" in inside.found


def test_who_is_writing_just_now_is_left_alone(opened: Callable[..., Any], tmp_path: Path) -> None:
    app = opened()
    app.create_archive()
    with FolderPlace(tmp_path / "archive").lock():
        assert found(app)["archive"].found.startswith("another process is writing it just now")
    with app.database.transaction() as tx:
        assert archive_log.acquire_writer(tx, "example.com/log", "elsewhere:1:a", 60)
    assert found(app)["archive"].found.startswith("elsewhere:1:a is writing it just now")


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


def test_the_digests_key_is_looked_at(opened: Callable[..., Any], tmp_path: Path) -> None:
    app = opened()
    assert "digests' key" not in found(app)
    path = tmp_path / "archive.key.digests"
    make_digest_key(path)
    assert found(app)["digests' key"].level == "ok"
    path.chmod(0o644)
    assert found(app)["digests' key"].mend == f"chmod 600 {path}"
    inside = opened(digest_key_file=tmp_path / "archive" / "digests")
    (tmp_path / "archive").mkdir()
    make_digest_key(tmp_path / "archive" / "digests")
    exposed = found(inside)["digests' key"]
    assert (exposed.level, exposed.exit_code) == ("problem", 3)
    assert "can find out what was erased by trying" in exposed.found
    (tmp_path / "junk").write_text("no key")
    assert "holds no digest key" in found(opened(digest_key_file=tmp_path / "junk"))["digests' key"].found


def test_a_digests_key_that_was_used_and_is_not_there_is_a_problem(
    opened: Callable[..., Any], tmp_path: Path
) -> None:
    none: dict[str, object] = {"url": "", "key_file": "", "anchor_command": ""}
    without, with_key = opened(**none), opened(**none, digest_key_file=tmp_path / "other")
    assert found(with_key) == {}
    app = opened()
    keyed = make_digest_key(tmp_path / "other").of(b"x" * 32)
    with app.database.transaction() as tx:
        tx.connection.execute(update(task_event).values(digest=keyed, pruned_at=tx.now))
    missing = found(app)["digests' key"]
    assert (missing.level, missing.exit_code) == ("problem", 3)
    assert missing.found.endswith(f"the key to know them again is missing: {tmp_path}/archive.key.digests")
    make_digest_key(tmp_path / "archive.key.digests")
    assert "is another one" in found(app)["digests' key"].found
    assert found(opened(digest_key_file=tmp_path / "other"))["digests' key"].level == "ok"
    assert [*found(without)] == ["digests' key"]
    assert "is missing: not set" in found(without)["digests' key"].found
    assert worst_exit_code([*check_archive(without)]) == 3
    assert found(with_key)["digests' key"].level == "ok"
