"""Does a writer that is held up for so long that another goes on break nothing when it wakes?

On an object store nobody can lock it out: what it still sends arrives among its successor's files.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from archived_entries import MortalPlace, assert_sound, read_entries
from sqlalchemy import update
from test_archive_cut_off import Setting, UnlockablePlace

from maia_sync.archive.create import create
from maia_sync.archive.note import open_checkpoint
from maia_sync.archive.objects import ObjectPlace
from maia_sync.errors import ArchiveBusy
from maia_sync.store import archive_log, schema

if TYPE_CHECKING:
    from collections.abc import Callable

    from maia_sync.archive.creating import CreateReport, Stopped
    from maia_sync.archive.place import Place


def archive_by(worker: str, setting: Setting, place: Place, stopped: Stopped = lambda: None) -> CreateReport:
    database = setting.database
    return create(database, place, setting.signer, worker=worker, clock=database.clock, stopped=stopped)


class Stalled(UnlockablePlace):
    """A store whose writer is held up just before it does something to a file, once."""

    def __init__(self, files: dict[str, bytes], before: str, meanwhile: Callable[[], None]) -> None:
        super().__init__(files)
        self._before = before
        self._meanwhile = meanwhile

    def _hold_up(self, verb: str, path: str) -> None:
        if f"{verb} {path}".startswith(self._before):
            self._before = "nothing any more"
            self._meanwhile()

    def write_new(self, path: str, content: bytes) -> None:
        self._hold_up("write", path)
        super().write_new(path, content)

    def replace(self, path: str, content: bytes) -> None:
        self._hold_up("replace", path)
        super().replace(path, content)

    def swap(self, path: str, old: bytes | None, new: bytes) -> None:
        self._hold_up("swap", path)
        super().swap(path, old, new)

    def delete(self, paths: Any) -> None:
        for path in list(paths):
            self._hold_up("delete", path)
            super().delete([path])


def let_lease_run_out(setting: Setting) -> None:
    with setting.database.transaction() as tx:
        ran_out = {"lease_expires_at": datetime(2020, 1, 1, tzinfo=UTC)}
        tx.connection.execute(update(schema.archive_log).values(ran_out))


@pytest.mark.parametrize(
    ("before", "successor"),
    [
        ("replace unfinished", "finishes"),
        ("write tile/", "finishes"),
        ("write data/", "finishes"),
        ("write data/", "is stopped"),
        ("write tile/0/002.p/", "finishes"),
        ("swap SHA256SUMS", "finishes"),
        ("write checkpoints/", "finishes"),
        ("swap checkpoint", "finishes"),
        ("swap checkpoint", "is stopped"),
    ],
)
def test_a_writer_that_was_held_up_adds_nothing_when_it_wakes(
    before: str, successor: str, sqlite_url: str
) -> None:
    setting = Setting(sqlite_url, MortalPlace())
    database, key, files = setting.database, setting.signer.verifier, setting.place.files
    reports: list[CreateReport] = []

    def meanwhile() -> None:
        let_lease_run_out(setting)
        setting.news()
        stopped = (lambda: 15) if successor == "is stopped" else (lambda: None)
        reports.append(archive_by("two:2:b", setting, UnlockablePlace(files), stopped))

    stalled = Stalled(files, before, meanwhile)
    with pytest.raises(ArchiveBusy):
        archive_by("one:1:a", setting, stalled)
    assert reports[0].was_cut_off == (before != "replace unfinished")
    last = archive_by("three:3:c", setting, UnlockablePlace(files))
    assert bool(last.new) == (successor == "is stopped")
    assert_sound(setting.place, key, database)
    assert read_entries(setting.place, key).total() > setting.size
    setting.news()
    assert archive_by("three:3:c", setting, UnlockablePlace(files)).new > 0
    assert_sound(setting.place, key, database)
    assert "unfinished" not in files
    database.close()


def test_a_writer_that_was_held_up_behind_its_checkpoint_has_done_its_work(database_url: str) -> None:
    setting = Setting(database_url, MortalPlace())
    files, key = setting.place.files, setting.signer.verifier

    def meanwhile() -> None:
        let_lease_run_out(setting)
        setting.news()
        archive_by("two:2:b", setting, UnlockablePlace(files))

    archive_by("one:1:a", setting, Stalled(files, "delete unfinished", meanwhile))
    assert_sound(setting.place, key, setting.database)
    assert archive_by("three:3:c", setting, UnlockablePlace(files)).new == 0
    assert_sound(setting.place, key, setting.database)
    setting.database.close()


def test_a_request_that_was_held_up_on_its_way_to_an_object_store_changes_nothing(
    sqlite_url: str, s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = Setting(sqlite_url, MortalPlace())
    database, key = setting.database, setting.signer.verifier
    store, stalled = ObjectPlace(s3_url), ObjectPlace(s3_url)
    for path, content in setting.place.files.items():
        store.write_new(path, content)
    store.settle()
    put = stalled._put

    def late(path: str, *asked: Any) -> None:
        if path == "checkpoint":
            let_lease_run_out(setting)
            archive_by("two:2:b", setting, ObjectPlace(s3_url))
            setting.news()
            archive_by("two:2:b", setting, ObjectPlace(s3_url))
        put(path, *asked)

    monkeypatch.setattr(stalled, "_put", late)
    with pytest.raises(ArchiveBusy, match="checkpoint is no longer what it was"):
        archive_by("one:1:a", setting, stalled)
    assert_sound(store, key, database)
    assert archive_by("three:3:c", setting, ObjectPlace(s3_url)).new == 0
    with database.transaction(write=False) as tx:
        newest = archive_log.last_checkpoint(tx, key.name, "done")
    assert newest is not None
    assert open_checkpoint(store.read("checkpoint") or b"", key).size == newest.head.size
    database.close()
