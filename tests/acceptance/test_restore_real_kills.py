"""Does a restore that is really killed, again and again, come to the same database? On both databases."""

from __future__ import annotations

import shutil
import signal
import time
from random import Random, SystemRandom
from typing import TYPE_CHECKING, Any

import pytest
from killable import Forge
from oracle import Copy
from restored_copy import assert_same
from small_archive import SmallArchive, in_folder, make_small_archive

from maia_sync.archive import chunk as chunks
from maia_sync.archive.entry import decode_entry
from maia_sync.archive.log_reader import LogReader
from maia_sync.archive.note import open_checkpoint
from maia_sync.errors import DatabaseNotMigrated, DatabaseUnfinished
from maia_sync.store.database import Database

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DEATHS = 25
"""In each database; it is emptied whenever it has become whole."""


@pytest.fixture
def small(stage_for: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallArchive:
    """An archive of many chunks, so that many transactions restore it."""
    monkeypatch.setattr(chunks, "MOST_ENTRIES", 50)
    small = make_small_archive(stage_for, tmp_path)
    in_folder(small.place, tmp_path / "archive")
    return small


def types_of(small: SmallArchive) -> list[str]:
    """Return the type of each entry of the log."""
    head = open_checkpoint(small.place.files["checkpoint"], small.signer.verifier)
    read = LogReader(small.place, head).entries()
    return [decode_entry(encoded).type for _, bundle in read for encoded in bundle]


def assert_before_or_after(copy: Copy, database: Database, types: list[str]) -> None:
    """What is there is just what the entries up to a certain one tell; and nobody takes it for whole."""
    has_tables = database.read_revision() is not None
    begun = copy.ask("SELECT entries, completed_at FROM archive_restore") if has_tables else []
    if not begun:
        if not has_tables:
            with pytest.raises(DatabaseNotMigrated):
                database.require_migrated()
        return
    (entries, completed_at) = begun[0]
    if completed_at is None:
        with pytest.raises(DatabaseUnfinished, match=f"{entries:,} of its {len(types):,}"):
            database.require_migrated()
    told = types[:entries]
    counts = {
        "task_event": told.count("event"),
        "task_event_revision": told.count("revision"),
        "sent_message": min(told.count("sent"), 1),
        "quarantine": told.count("quarantine"),
    }
    assert {table: copy.one(f"SELECT count(*) FROM {table}") for table in counts} == counts


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("to", ["sqlite", "postgresql"])
def test_p5_a_restore_that_is_killed_goes_on_and_ends_with_the_same_rows(
    small: SmallArchive, to: str, request: pytest.FixtureRequest, tmp_path: Path, environ_for: Any
) -> None:
    seed = SystemRandom().getrandbits(32)
    rng = Random(seed)
    types = types_of(small)
    migrated = request.getfixturevalue("migrated_sqlite")
    get = request.getfixturevalue("emptied_postgresql_database") if to == "postgresql" else None

    def empty() -> str:
        """Return the URL of an empty database; sometimes of one that has no tables yet."""
        if get is not None:
            return str(get())
        path = tmp_path / "restored.db"
        for each in tmp_path.glob("restored.db*"):
            each.unlink()
        if rng.random() < 0.7:
            shutil.copyfile(migrated, path)
        return f"sqlite:///{path}"

    order = {
        "call": "restoring_lives:restore",
        "place": str(tmp_path / "archive"),
        "key": str(small.signer.verifier),
    }
    deaths = wholes = 0
    url = empty()
    with Forge() as forge:
        while deaths < DEATHS:
            environ = environ_for("http://127.0.0.1:9", url)
            died = live_and_die(forge, environ, order, rng)
            deaths += died
            copy, database = looked_into(url)
            assert_before_or_after(copy, database, types)
            if not died:
                assert_same(small.stage.copy, copy, f"seed {seed}")
                wholes += 1
            database.close()
            if not died:
                url = empty()
        if wholes == 0:
            life = forge.start(environ_for("http://127.0.0.1:9", url), **order)
            life.end()
            assert life.status == 0, life.told
            copy, database = looked_into(url)
            assert_same(small.stage.copy, copy, f"seed {seed}")
            database.close()


def live_and_die(forge: Forge, environ: dict[str, str], order: dict[str, Any], rng: Random) -> bool:
    """Let a child restore, and kill it: before a statement, or at any moment; tell whether it died."""
    if rng.random() < 0.7:
        life = forge.start(environ, **order, die_at=rng.randrange(1, 120))
    else:
        life = forge.start(environ, **order)
        assert any("calling" in line for line in life.lines()), life.told
        time.sleep(rng.random() * 0.2)
        life.send(signal.SIGKILL)
    life.end()
    assert life.status in (0, -signal.SIGKILL), life.told
    assert life.status != 0 or life.told[-1].get("called", True) is True
    return life.status == -signal.SIGKILL


def looked_into(url: str) -> tuple[Copy, Database]:
    from maia_sync.clock import SystemClock

    driven = url.replace("postgresql://", "postgresql+psycopg://", 1)
    return Copy(url), Database(url=driven, clock=SystemClock())
