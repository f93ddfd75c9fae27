"""Does an object store hold an archive? A server that speaks S3, as a process on loopback."""

from __future__ import annotations

import socket
import time
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from logs import TASK, events, world_of
from s3_server import ACCESS_KEY, SECRET_KEY

from maia_sync.archive.keys import make_key
from maia_sync.archive.note import open_checkpoint
from maia_sync.archive.objects import ObjectPlace
from maia_sync.archive.place import FileThere
from maia_sync.archive.places import open_place
from maia_sync.archive.rehearsal import rehearse
from maia_sync.archive.verify import verify_archive
from maia_sync.errors import ArchiveBusy, ArchiveDiffers, ArchiveError
from maia_sync.store.archive_log import acquire_writer, release_writer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_an_object_store_is_a_place(s3_url: str) -> None:
    place = open_place(f"{s3_url}/")
    assert place.name == s3_url
    assert place.read("checkpoint") is None
    assert [*place.list()] == []
    with place.lock() as enough:
        assert not enough
    for number in range(300):
        place.write_new(f"tile/0/{number:03}", f"{number}".encode())
    assert place.read("tile/0/299") == b"299"
    place.write_new("data/date=2026-01-01/a.parquet", b"x" * 6_000_000)
    place.settle()
    place.replace("checkpoint", b"old")
    place.replace("checkpoint", b"new")
    assert open_place(s3_url).read("checkpoint") == b"new"
    assert [*place.list("data/")] == [FileThere("data/date=2026-01-01/a.parquet", 6_000_000)]
    assert len([*place.list()]) == 302
    place.delete([*(f"tile/0/{number:03}" for number in range(1, 1300)), "nothing"])
    assert {each.path for each in place.list("tile/")} == {"tile/0/000"}


def test_an_object_is_written_once_though_an_answer_may_be_lost(s3_url: str) -> None:
    place = open_place(s3_url)
    place.write_new("a", b"1")
    place.settle()
    place.write_new("a", b"1")
    place.settle()
    place.write_new("a", b"2")
    with pytest.raises(ArchiveBusy, match="a is there already"):
        place.settle()
    place.settle()
    assert place.read("a") == b"1"
    with pytest.raises(ArchiveDiffers):
        place.read("../a")


def test_an_object_is_swapped_only_for_what_was_read(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place = ObjectPlace(s3_url)
    place.swap("checkpoint", None, b"1")
    place.swap("checkpoint", b"1", b"2")
    for old in (None, b"1"):
        with pytest.raises(ArchiveBusy, match="checkpoint is no longer what it was"):
            place.swap("checkpoint", old, b"3")
    other = ObjectPlace(s3_url)
    put = place._put
    for change in (lambda: other.replace("checkpoint", b"4"), lambda: other.delete(["checkpoint"])):
        other.replace("checkpoint", b"2")

        def late(*asked: Any, meanwhile: Callable[[], None] = change) -> None:
            meanwhile()
            put(*asked)

        monkeypatch.setattr(place, "_put", late)
        with pytest.raises(ArchiveBusy, match="checkpoint is no longer what it was"):
            place.swap("checkpoint", b"2", b"3")
    other.delete(["checkpoint"])
    meanwhile = partial(other.replace, "checkpoint", b"5")
    monkeypatch.setattr(place, "_put", partial(late, meanwhile=meanwhile))
    with pytest.raises(ArchiveBusy):
        place.swap("checkpoint", None, b"3")
    place.swap("checkpoint", b"5", b"5")  # as if the answer to a first attempt had been lost
    assert other.read("checkpoint") == b"5"
    monkeypatch.setenv("AWS_CONDITIONAL_PUT", "disabled")
    without = ObjectPlace(s3_url)
    without.swap("checkpoint", b"5", b"6")
    without.swap("other", None, b"1")
    assert (other.read("checkpoint"), other.read("other")) == (b"6", b"1")
    other.replace("unfinished", bytes(4097))
    with pytest.raises(ArchiveDiffers, match="unfinished has 4,097 bytes"):
        place.read("unfinished")


def test_what_goes_wrong_is_told_without_credentials(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    for url in ("s3://no-such-bucket/x", s3_url):
        if url == s3_url:
            monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        place = ObjectPlace(url, patience=timedelta(seconds=1))
        for use in (
            place.read,
            lambda it, to=place: to.replace(it, b"1"),
            lambda it, to=place: [*to.list(it)],
        ):
            with pytest.raises(ArchiveError) as caught:
                use("x")
            told.append(str(caught.value))
    assert all("there is no such bucket" in sentence for sentence in told[:3])
    assert all("cannot be reached" in sentence for sentence in told[3:])
    assert all(len(sentence) < 200 for sentence in told)
    assert not any(word in sentence for sentence in told for word in ("AKIA", "c4nary", "\n"))


def test_a_store_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch, s3_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        place = ObjectPlace(s3_url, patience=timedelta(seconds=0.5))
        begun = time.monotonic()
        with pytest.raises(ArchiveError, match="does not answer in time"):
            place.read("x")
        assert time.monotonic() - begun < 60


def test_a_whole_archive_is_made_and_verified_there(
    s3_url: str, stage_for: Callable[..., Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    key = make_key(tmp_path / "archive.key", "example.com/log")
    stage = stage_for(world_of(events(300)), archive__url=s3_url, archive__key_file=tmp_path / "archive.key")
    stage.sync_well()
    assert stage.app.create_archive().entries == {"event": 300, "run": 1, "task": 1}
    stage.world.logs[TASK].extend(events(10, 300))
    stage.sync_well()
    with stage.app.database.transaction() as tx:
        assert acquire_writer(tx, key.name, "another", seconds=60.0)
    with pytest.raises(ArchiveBusy, match="another process"):
        stage.app.create_archive()
    assert rehearse(stage.app.database, open_place(s3_url), key).writer == "another"
    with stage.app.database.transaction() as tx:
        release_writer(tx, key.name, "another")
    report = stage.app.create_archive()
    assert report.entries == {"event": 10, "run": 1}
    assert open_checkpoint(open_place(s3_url).read("checkpoint") or b"", key).size == report.size_after
    rehearsed = rehearse(stage.app.database, open_place(s3_url), key)
    assert rehearsed.head is not None
    assert rehearsed.head.size == report.size_after
    assert {each.path.partition("/")[0] for each in open_place(s3_url).list()} == {
        "checkpoint",
        "checkpoints",
        "tile",
        "data",
        "SHA256SUMS",
    }
    assert verify_archive(open_place(s3_url), key).findings == ()
    said = "".join(capfd.readouterr())
    assert ACCESS_KEY not in said
    assert SECRET_KEY not in said
