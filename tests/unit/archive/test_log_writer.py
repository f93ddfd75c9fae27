"""Does the log grow into just the files that RFC 6962 and C2SP define, in whatever pieces it is appended?"""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_place import MemoryPlace
from second_tree import SecondTree

from maia_sync.archive.log_writer import LogWriter, delete_beyond, delete_old_partials
from maia_sync.archive.merkle import EMPTY_ROOT, TreeHead
from maia_sync.archive.tiles import partials_of
from maia_sync.errors import ArchiveBusy, ArchiveDiffers, Bug

ENTRIES = [b"entry %d" % number + b"!" * (number % 7) for number in range(66_100)]
TREE = SecondTree(ENTRIES)


def head_of(size: int) -> TreeHead:
    return TreeHead(size, TREE.root(0, size))


def make_log(size: int) -> MemoryPlace:
    place = MemoryPlace()
    writer = LogWriter.open(place, None)
    writer.append(ENTRIES[:size])
    assert writer.finish() == head_of(size)
    return place


@pytest.mark.parametrize(
    "size", [0, 1, 2, 255, 256, 257, 511, 512, 513, 1000, 65_535, 65_536, 65_537, 65_791, 65_792, 65_793]
)
def test_a_log_made_at_once_has_the_files_of_the_definition(size: int) -> None:
    assert make_log(size).files == TREE.files(size)


def test_a_log_that_grows_by_one_has_each_root_and_can_be_opened_at_each_size() -> None:
    place = MemoryPlace()
    writer = LogWriter.open(place, None)
    assert writer.finish() == TreeHead(0, EMPTY_ROOT)
    for size in range(1, 1001):
        writer.append(ENTRIES[size - 1 : size])
        assert writer.finish() == head_of(size)
        assert LogWriter.open(place, head_of(size)).size == writer.size == size
    written = dict(place.files)
    for size in (*range(1, 1001, 37), 256, 512, 768, 1000):
        of_then = TREE.files(size)
        assert of_then.items() <= written.items()
        place.files.clear()
        place.files.update(of_then)
        writer = LogWriter.open(place, head_of(size))
        writer.append(ENTRIES[size:1000])
        assert writer.finish() == head_of(1000)
        assert {**of_then, **TREE.files(1000)} == place.files


def test_finishing_twice_writes_nothing_twice() -> None:
    place = make_log(700)
    writer = LogWriter.open(place, head_of(700))
    assert writer.finish() == writer.finish() == head_of(700)
    writer.append([])
    assert writer.finish() == head_of(700)


@settings(max_examples=60)
@given(st.data())
def test_pieces_stops_and_starts_make_the_same_log_as_one_go(data: st.DataObject) -> None:
    start = data.draw(st.sampled_from([0, 200, 65_400]))
    place = MemoryPlace(TREE.files(start))
    head = head_of(start) if start else None
    writer, size, finished = LogWriter.open(place, head), start, start
    for _ in range(data.draw(st.integers(1, 6))):
        more = data.draw(st.integers(0, 200) | st.sampled_from([1, 55, 56, 57, 255, 256, 257]))
        size = min(size + more, len(ENTRIES))
        writer.append(iter(ENTRIES[writer.size : size]))
        step = data.draw(st.sampled_from(["go on", "finish", "clean up", "open again", "cut off"]))
        if step == "go on":
            continue
        if step == "cut off":
            # Whatever was written since the last checkpoint may lie there, or some of it.
            if data.draw(st.booleans()):
                writer.finish()
            size = finished
            delete_beyond(place, finished)
        else:
            assert writer.finish() == head_of(size)
            since, finished = finished, size
            if step == "clean up":
                delete_old_partials(place, size, since=since)
        if step in ("cut off", "open again"):
            writer = LogWriter.open(place, head_of(finished) if finished else None)
    assert writer.finish() == head_of(size)
    files = TREE.files(size)
    assert files.items() <= place.files.items()
    assert all(".p/" in path for path in place.files.keys() - files.keys())


def test_partial_files_go_once_the_full_one_is_there_and_nothing_else() -> None:
    chance = random.Random(3)
    sizes = sorted({*chance.sample(range(1, 66_000), 40), *range(65_500, 65_600, 9)})
    place = MemoryPlace()
    writer = LogWriter.open(place, None)
    for since, size in pairwise([0, *sizes]):
        writer.append(ENTRIES[since:size])
        writer.finish()
        delete_old_partials(place, size, since=since)
    files = TREE.files(sizes[-1])
    assert files.items() <= place.files.items()
    edge = {str(path).partition(".p/")[0] for path in partials_of(sizes[-1])}
    assert {path.partition(".p/")[0] for path in place.files.keys() - files.keys()} <= edge
    assert sum(".p/" in path for path in place.files) > len(edge)


def test_without_the_last_size_the_checkpoints_tell_where_partial_files_may_be() -> None:
    place = make_log(100)
    writer = LogWriter.open(place, head_of(100))
    for size in (200, 300, 600):
        writer.append(ENTRIES[writer.size : size])
        writer.finish()
    for size in (100, 200, 300, 600):
        place.files[f"checkpoints/{size:012}"] = b""
    place.files["checkpoints/junk"] = b""
    delete_old_partials(place, 600)
    tiles = {path for path in place.files if path.startswith("tile/")}
    assert tiles == TREE.files(600).keys() | {"tile/1/000.p/1"}


def test_what_lies_beyond_a_size_is_deleted_and_older_partial_files_stay() -> None:
    place = make_log(70)
    writer = LogWriter.open(place, head_of(70))
    writer.append(ENTRIES[70:100])
    writer.finish()
    before = dict(place.files)
    writer.append(ENTRIES[100:1000])
    writer.finish()
    place.files["tile/junk"] = b""
    place.files["data/000.parquet"] = b""
    # Beyond: 3 + 1 bundles, as many tiles below, and one above.
    assert delete_beyond(place, 100) == 9
    assert place.files.keys() - before.keys() == {"tile/junk", "data/000.parquet"}
    assert before.items() <= place.files.items()
    assert delete_beyond(place, 100) == 0


@pytest.mark.parametrize("size", [1, 255, 256, 300, 700, 65_536, 65_900])
def test_nothing_is_appended_unless_the_edge_makes_the_root(size: int) -> None:
    files = TREE.files(size)
    edge = [str(path) for path in partials_of(size)]
    chance = random.Random(size)
    for path in edge:
        for content in tampered(files[path], chance):
            place = MemoryPlace({**files, path: content})
            with pytest.raises(ArchiveDiffers, match="memory: "):
                LogWriter.open(place, head_of(size))
        with pytest.raises(ArchiveDiffers, match=f"memory: {path} is missing"):
            LogWriter.open(MemoryPlace({each: files[each] for each in files if each != path}), head_of(size))
    for wrong in (
        TreeHead(size, EMPTY_ROOT),
        TreeHead(size + 1, head_of(size).root),
        TreeHead(size - 1, head_of(size).root),
    ):
        with pytest.raises(ArchiveDiffers, match="memory: "):
            LogWriter.open(MemoryPlace(files), wrong)


def tampered(content: bytes, chance: random.Random) -> list[bytes]:
    at = chance.randrange(len(content))
    flipped = bytearray(content)
    flipped[at] ^= 1 << chance.randrange(8)
    return [b"", bytes(flipped), content[:at], content[:-32], content + b"\0", content + bytes(32)]


def test_a_file_that_is_there_already_is_not_overwritten() -> None:
    place = make_log(300)
    with pytest.raises(ArchiveBusy):
        LogWriter.open(place, None).append(ENTRIES[:256])
    assert place.files == TREE.files(300)


def test_an_entry_that_is_too_long_is_a_bug() -> None:
    writer = LogWriter.open(MemoryPlace(), None)
    writer.append([b"x" * 65_536])
    with pytest.raises(Bug):
        writer.finish()
