from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from maia_sync.archive.folder import FolderPlace
from maia_sync.archive.place import FileThere
from maia_sync.archive.places import open_place
from maia_sync.errors import ArchiveBusy, ArchiveDiffers, ArchiveError, UsageError

AS_ROOT = os.geteuid() == 0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "to" / "archive"


@pytest.fixture
def place(folder: Path) -> FolderPlace:
    return FolderPlace(folder)


def paths(place: FolderPlace, prefix: str = "") -> set[str]:
    return {each.path for each in place.list(prefix)}


def test_an_archive_that_is_not_there_is_empty(place: FolderPlace, folder: Path) -> None:
    assert place.read("checkpoint") is None
    assert [*place.list()] == [*place.list("data/")] == []
    place.delete(["checkpoint"])
    assert not folder.parent.exists()


def test_what_is_written_is_read_and_listed(place: FolderPlace, folder: Path) -> None:
    place.write_new("tile/0/000", b"hashes")
    place.write_new("tile/0/001.p/5", b"five")
    place.replace("checkpoint", b"old")
    place.replace("checkpoint", b"new")
    place.settle()
    assert place.read("tile/0/000") == (folder / "tile/0/000").read_bytes() == b"hashes"
    assert place.read("checkpoint") == b"new"
    assert place.read("tile/0/000/x") is None
    assert set(place.list()) == {
        FileThere("tile/0/000", 6),
        FileThere("tile/0/001.p/5", 4),
        FileThere("checkpoint", 3),
    }
    assert paths(place, "tile/0/001.p/") == {"tile/0/001.p/5"}
    assert paths(place, "til") == set()
    assert [*(folder / ".new").iterdir()] == []


def test_a_file_is_written_once(place: FolderPlace) -> None:
    place.write_new("a", b"1")
    with pytest.raises(ArchiveBusy, match="a is there already"):
        place.write_new("a", b"1")
    assert place.read("a") == b"1"


def test_a_file_is_written_once_where_there_are_no_links(
    place: FolderPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    place.write_new("a", b"1")
    with pytest.raises(ArchiveBusy):
        place.write_new("a", b"2")
    assert place.read("a") == b"1"


def test_what_is_deleted_is_gone_with_its_empty_folders(place: FolderPlace, folder: Path) -> None:
    place.write_new("tile/0/001.p/5", b"five")
    place.write_new("tile/0/000", b"hashes")
    place.delete(["tile/0/001.p/5", "tile/0/001.p/6", "tile/9/9"])
    assert paths(place) == {"tile/0/000"}
    assert not (folder / "tile/0/001.p").exists()
    place.write_new("tile/0/001.p/7", b"seven")
    place.settle()
    place.delete([*paths(place)])
    assert {each.name for each in folder.iterdir()} == {".new"}


def test_one_writer_at_a_time_and_readers_in_any_case(place: FolderPlace, folder: Path) -> None:
    with place.lock() as enough:
        assert enough
        with pytest.raises(ArchiveBusy, match="another process is writing"), FolderPlace(folder).lock():
            pass
        assert [*FolderPlace(folder).list()] == []
    with FolderPlace(folder).lock() as enough:
        assert enough


def test_a_writer_that_writes_nothing_leaves_no_folder_behind(tmp_path: Path) -> None:
    place = FolderPlace(tmp_path / "a" / "b")
    with place.lock():
        assert (tmp_path / "a" / "b").is_dir()
    assert not (tmp_path / "a").exists()
    with pytest.raises(ArchiveError, match="no more"), place.lock():
        raise ArchiveError("no more")
    assert not (tmp_path / "a").exists()
    with place.lock():
        place.write_new("one", b"1")
        place.settle()
    assert place.read("one") == b"1"
    place.delete(["one"])
    with place.lock():
        pass
    assert (tmp_path / "a" / "b").is_dir(), "it was there before"


def test_a_folder_that_goes_while_it_is_being_locked_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "archive"
    flock = fcntl.flock

    def late(descriptor: int, operation: int) -> None:
        folder.rmdir()
        folder.mkdir()
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(ArchiveBusy, match="has just removed"), FolderPlace(folder).lock():
        pass


def test_a_lock_ends_with_its_process(place: FolderPlace, folder: Path) -> None:
    program = f"""
        import os, pathlib
        from maia_sync.archive.folder import FolderPlace
        with FolderPlace(pathlib.Path({str(folder)!r})).lock():
            (pathlib.Path({str(folder)!r}) / ".new").mkdir()
            (pathlib.Path({str(folder)!r}) / ".new" / "half").write_bytes(b"ha")
            os.kill(os.getpid(), 9)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=False, timeout=60)
    assert (folder / ".new" / "half").exists()
    with place.lock():
        assert not (folder / ".new" / "half").exists()


def test_where_nothing_can_be_locked_the_lock_says_so(
    place: FolderPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EBADF, "a network disk")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with place.lock() as enough:
        assert not enough


def test_everything_is_on_the_disk_after_settle(place: FolderPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: set[str] = set()
    real = os.fsync

    def note(descriptor: int) -> None:
        flushed.add(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    place.write_new("data/date=2026-01-01/one.parquet", b"1")
    place.write_new("tile/0/000", b"2")
    place.settle()
    assert flushed == {"one.parquet", "date=2026-01-01", "data", "000", "0", "tile", "archive", "to"} | (
        flushed & {place.name.split("/")[-3]}
    )
    flushed.clear()
    place.replace("checkpoint", b"3")
    assert "archive" in flushed
    assert len(flushed) == 2  # and the file, which had another name then
    flushed.clear()
    place.settle()
    assert flushed == set()
    place.write_new("tile/0/001", b"4")
    place.settle()
    for deleted, left in (("tile/0/000", "0"), ("data/date=2026-01-01/one.parquet", "archive")):
        flushed.clear()
        place.delete([deleted])
        place.settle()
        assert flushed == {left}, "where it was, or where the folders that are gone with it were"


def test_a_disk_that_fails_late_is_told_by_settle(
    place: FolderPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(ArchiveError, match="Input/output error"):  # noqa: PT012 - one of the two raises it
        place.write_new("a", b"1")
        place.settle()
    with pytest.raises(ArchiveError, match=r"cannot write .*/b: Input/output error"):
        place.replace("b", b"1")
    assert place.read("b") is None


@pytest.mark.parametrize(
    "path", ["", "/etc/passwd", "a/../b", "..", "a//b", "./a", "a/", "a\0b", "a\nb", "\ud800"]
)
def test_no_path_leads_out_of_the_archive(place: FolderPlace, path: str) -> None:
    for use in (place.read, lambda it: place.write_new(it, b""), lambda it: place.delete([it])):
        with pytest.raises(ArchiveDiffers, match="a path that cannot be"):
            use(path)


@pytest.mark.skipif(AS_ROOT, reason="root may write everywhere")
def test_a_folder_that_is_only_read_can_be_read(place: FolderPlace, folder: Path) -> None:
    place.write_new("a", b"1")
    for each in (folder / ".new", folder):
        each.chmod(0o500)
    try:
        again = FolderPlace(folder)
        assert again.read("a") == b"1"
        assert paths(again) == {"a"}
        with pytest.raises(ArchiveError, match="Permission denied"):
            again.write_new("b", b"1")
    finally:
        folder.chmod(0o700)


def test_a_file_in_the_folders_place_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    place = FolderPlace(tmp_path / "file")
    with pytest.raises(ArchiveError, match=r"cannot write .*file.*: Not a directory"):
        place.write_new("a", b"1")
    with pytest.raises(ArchiveError, match=r"cannot write"), place.lock():
        pass


@pytest.mark.parametrize("url", ["here", "~/here", "file:///srv/an%20archive", "file://localhost/srv/a"])
def test_a_url_can_name_a_folder(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.chdir(tmp_path)
    names = {
        "here": f"{tmp_path}/here",
        "~/here": "/home/somebody/here",
        "file:///srv/an%20archive": "/srv/an archive",
        "file://localhost/srv/a": "/srv/a",
    }
    assert open_place(url).name == names[url]


@pytest.mark.parametrize(
    "url",
    ["", "https://x.example/a", "s3://", "s3://key:c4nary@b/x", "s3://b/x?c4nary", "file://host/x", "a\0b"],
)
def test_what_names_no_place_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="expected") as caught:
        open_place(url)
    assert "c4nary" not in str(caught.value)


def test_a_file_is_swapped_only_for_what_was_read(place: FolderPlace) -> None:
    place.swap("checkpoint", None, b"1")
    place.swap("checkpoint", b"1", b"2")
    for old in (None, b"1"):
        with pytest.raises(ArchiveBusy, match="checkpoint is no longer what it was"):
            place.swap("checkpoint", old, b"3")
    assert place.read("checkpoint") == b"2"


def test_no_link_leads_out_of_the_archive(place: FolderPlace, folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "x").mkdir(parents=True)
    (outside / "checkpoint").write_bytes(b"theirs")
    place.write_new("tile/0/000", b"ours")
    place.settle()
    for name in ("data", "tile/1"):
        (folder / name).symlink_to(outside)
    (folder / "checkpoint").symlink_to(outside / "checkpoint")
    (folder / ".new").rmdir()
    (folder / ".new").symlink_to(outside)
    again = FolderPlace(folder)
    for path in ("data/x/y", "data/checkpoint", "tile/1/checkpoint"):
        for use in (again.read, lambda it: again.delete([it]), lambda it: again.write_new(it, b"")):
            with pytest.raises(ArchiveDiffers, match="is a link to another place"):
                use(path)
    for act in (
        lambda: again.read("checkpoint"),
        lambda: [*again.list("data/")],
        lambda: again.replace("checkpoint", b"ours"),
        lambda: again.lock().__enter__(),
    ):
        with pytest.raises(ArchiveDiffers, match="is a link to another place"):
            act()
    assert {each.path: each.size for each in again.list()}["tile/0/000"] == 4
    assert paths(again) == {".new", "checkpoint", "data", "tile/0/000", "tile/1"}
    (folder / ".new").unlink()
    again.replace("checkpoint", b"ours")
    assert again.read("checkpoint") == b"ours"
    assert (outside / "checkpoint").read_bytes() == b"theirs"
    assert {each.name for each in outside.iterdir()} == {"x", "checkpoint"}
    link = tmp_path / "link"
    link.symlink_to(folder)
    assert FolderPlace(link).read("tile/0/000") == b"ours"


def test_what_is_no_plain_file_of_its_size_is_not_read(place: FolderPlace, folder: Path) -> None:
    (folder / "tile" / "0").mkdir(parents=True)
    os.mkfifo(folder / "checkpoint")
    with pytest.raises(ArchiveDiffers, match="checkpoint is no file"):
        place.read("checkpoint")
    with pytest.raises(ArchiveDiffers, match="tile/0 is no file"):
        place.read("tile/0")
    for path, most in (("unfinished", 4096), ("tile/0/000", 8192), ("data/a", 2 << 30)):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
        os.truncate(folder / path, most + 1)
        with pytest.raises(ArchiveDiffers, match=rf"has {most + 1:,} bytes, and can have {most:,} at most"):
            place.read(path)
    os.truncate(folder / "unfinished", 4096)
    assert place.read("unfinished") == bytes(4096)


def test_folders_in_one_another_are_listed_up_to_a_depth(place: FolderPlace, folder: Path) -> None:
    folder.mkdir(parents=True)
    at = os.open(folder, os.O_RDONLY)
    for _ in range(300):
        os.mkdir("d" * 40, dir_fd=at)
        below = os.open("d" * 40, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)
    [only] = place.list()
    assert only.path.count("/") == 16
    subprocess.run(["rm", "-rf", str(folder)], check=True)
