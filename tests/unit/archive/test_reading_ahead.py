"""Are files from far away read several at a time, and just as they would be one by one?"""

from __future__ import annotations

import threading

import pytest
from memory_place import MemoryPlace

from maia_sync.archive.log_reader import LogReader
from maia_sync.archive.log_writer import LogWriter
from maia_sync.archive.objects import ObjectPlace
from maia_sync.archive.reading_ahead import ReadingAhead
from maia_sync.archive.tiles import tiles_of
from maia_sync.errors import ArchiveDiffers, ArchiveError

SIZE = 256 * 40 + 5
ENTRIES = [b"%d" % number for number in range(SIZE)]


class FarPlace(MemoryPlace, ObjectPlace):
    """An object store in memory, as far as readers can tell."""

    name = "far"

    def __init__(self, files: dict[str, bytes]) -> None:
        MemoryPlace.__init__(self, files)
        self.read_by: dict[str, list[str]] = {}
        self.broken: str | None = None

    def read(self, path: str) -> bytes | None:
        if path == self.broken:
            raise ArchiveError(f"cannot read {path}")
        self.read_by.setdefault(path, []).append(threading.current_thread().name)
        return super().read(path)


def test_a_log_far_away_is_read_in_threads_and_no_file_twice() -> None:
    near = MemoryPlace()
    writer = LogWriter.open(near, None)
    writer.append(ENTRIES)
    head = writer.finish()
    place = FarPlace(near.files)
    reader = LogReader(place, head)
    assert [entry for _, entries in reader.entries(300) for entry in entries] == ENTRIES[300:]
    bundles = [str(path) for path in tiles_of(SIZE) if path.level is None][1:]
    assert all(len(place.read_by[path]) == 1 for path in bundles)
    main = threading.current_thread().name
    assert sum(place.read_by[path] != [main] for path in bundles) == len(bundles)
    place.read_by.clear()
    assert [*reader.check_tiles()] == []
    assert {path: len(by) for path, by in place.read_by.items()} == dict.fromkeys(near.files, 1)
    del place.files["tile/entries/007"]
    assert [*reader.check_tiles()] == [("tile/entries/007", "is missing")]
    entries = reader.entries()
    assert [next(entries)[0] for _ in range(7)] == [*range(0, 7 * 256, 256)]
    with pytest.raises(ArchiveDiffers, match="tile/entries/007 is missing"):
        next(entries)
    place.broken = "tile/entries/005"
    with pytest.raises(ArchiveError, match="cannot read tile/entries/005"):
        [*reader.entries()]
    with pytest.raises(ArchiveError, match="cannot read tile/entries/005"):
        [*reader.check_tiles()]


def test_files_are_asked_for_while_others_are_awaited() -> None:
    place = FarPlace({f"{number}": b"%d" % number for number in range(100)})
    together = threading.Barrier(8, timeout=60)
    first = {f"{number}" for number in range(8)}

    class Slow(FarPlace):
        def read(self, path: str) -> bytes | None:
            if path in first:
                together.wait()  # goes on only if eight are being read at the same time
            return super().read(path)

    ahead = ReadingAhead(Slow(place.files), place.files)
    assert [ahead.read(path) for path in place.files] == [*place.files.values()]
    assert ahead.read("none") is None
    ahead.close()


def test_what_is_not_asked_for_is_given_up() -> None:
    place = FarPlace({f"{number}": b"" for number in range(10_000)})
    ahead = ReadingAhead(place, place.files)
    assert ahead.read("0") == b""
    assert ahead.read("9999") == b""
    ahead.close()
    assert len(place.read_by) < 100
    assert ahead.read("500") == b""
