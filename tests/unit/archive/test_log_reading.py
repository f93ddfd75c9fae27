"""Is what the log holds read to the letter, and nothing that the checkpoint does not sign?"""

from __future__ import annotations

import random
import re
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_place import MemoryPlace
from second_tree import SecondTree

from maia_sync.archive.log_reader import LogReader
from maia_sync.archive.log_writer import LogWriter, delete_old_partials
from maia_sync.archive.merkle import EMPTY_ROOT, TreeHead, leaf_hash, verify_inclusion
from maia_sync.errors import ArchiveDiffers

ENTRIES = [b"entry %d" % number for number in range(66_000)]
TREE = SecondTree(ENTRIES)
SIZES = [1, 2, 255, 256, 257, 511, 512, 513, 1000, 65_535, 65_536, 65_537, 65_792, 66_000]
FILES = {size: TREE.files(size) for size in SIZES}


def reader_of(size: int) -> LogReader:
    return LogReader(MemoryPlace(FILES[size]), TreeHead(size, TREE.root(0, size)))


@pytest.mark.parametrize("size", SIZES)
def test_all_entries_are_read_in_order_from_anywhere(size: int) -> None:
    reader = reader_of(size)
    for start in sorted({0, 1, 255, 256, 300, size - 1, size, size + 1, size + 300}):
        read: list[bytes] = []
        for index, entries in reader.entries(start):
            assert index == start + len(read)
            assert entries
            read += entries
        assert read == ENTRIES[start:size]


@pytest.mark.parametrize("size", SIZES)
def test_entries_and_their_proofs_are_those_of_the_definition(size: int) -> None:
    chance = random.Random(size)
    picked = {0, size - 1, size // 2, *(chance.randrange(size) for _ in range(60))}
    for index in picked | {each for each in (255, 256, 511, 512, 65_535, 65_536) if each < size}:
        reader = reader_of(size)
        assert reader.entry(index) == ENTRIES[index]
        path = reader.inclusion_path(index)
        assert path == TREE.path(index, 0, size)
        assert verify_inclusion(leaf_hash(ENTRIES[index]), index, reader.head, path)


def test_every_proof_of_every_small_log() -> None:
    reader = reader_of(1000)
    assert [reader.inclusion_path(index) for index in range(1000)] == [
        TREE.path(index, 0, 1000) for index in range(1000)
    ]


def test_the_root_at_every_earlier_size() -> None:
    reader = reader_of(1000)
    assert [reader.root_at(size) for size in range(1001)] == [TREE.root(0, size) for size in range(1001)]
    reader = reader_of(66_000)
    chance = random.Random(5)
    for size in {0, *SIZES, *(chance.randrange(66_001) for _ in range(200))}:
        assert reader.root_at(size) == TREE.root(0, size)


def test_there_is_nothing_outside_the_log() -> None:
    reader = reader_of(257)
    for index in (-1, 257, 10**9):
        with pytest.raises(IndexError, match="257 entries"):
            reader.entry(index)
        with pytest.raises(IndexError, match="257 entries"):
            reader.inclusion_path(index)
    for size in (-1, 258):
        with pytest.raises(IndexError, match="257 entries"):
            reader.root_at(size)


def test_an_empty_log_is_empty() -> None:
    reader = LogReader(MemoryPlace(), TreeHead(0, EMPTY_ROOT))
    assert [*reader.entries()] == [*reader.check_tiles()] == []
    assert reader.root_at(0) == EMPTY_ROOT
    with pytest.raises(IndexError):
        reader.entry(0)
    forged = LogReader(MemoryPlace(), TreeHead(0, bytes(32)))
    with pytest.raises(ArchiveDiffers):
        [*forged.entries()]
    assert [*forged.check_tiles()]


def test_an_earlier_head_can_be_read_when_its_partial_files_are_gone() -> None:
    place = MemoryPlace()
    writer = LogWriter.open(place, None)
    heads = [TreeHead(0, EMPTY_ROOT)]
    for size in (100, 300, 700, 65_500, 66_000):
        writer.append(ENTRIES[writer.size : size])
        heads.append(writer.finish())
        delete_old_partials(place, size, since=heads[-2].size)
    assert "tile/0/000.p/100" not in place.files
    for head in heads:
        reader = LogReader(place, head)
        assert [entry for _, entries in reader.entries() for entry in entries] == ENTRIES[: head.size]
        assert [*reader.check_tiles()] == []
        if head.size:
            assert reader.entry(head.size - 1) == ENTRIES[head.size - 1]
            assert reader.inclusion_path(0) == TREE.path(0, 0, head.size)


SMALL = 256 * 3 + 17


@settings(max_examples=150)
@given(st.data())
def test_no_altered_byte_is_ever_read(data: st.DataObject) -> None:
    files = TREE.files(SMALL)
    path = data.draw(st.sampled_from(sorted(files)))
    at = data.draw(st.integers(0, len(files[path]) - 1))
    content = bytearray(files[path])
    content[at] ^= data.draw(st.integers(1, 255))
    files[path] = data.draw(st.sampled_from([bytes(content), files[path][:at], files[path] + b"\0", b""]))
    head = TreeHead(SMALL, TREE.root(0, SMALL))
    read: list[bytes] = []
    with suppress(ArchiveDiffers):
        for _, entries in LogReader(MemoryPlace(files), head).entries():
            read += entries
    assert read == ENTRIES[: len(read)]
    if path.startswith("tile/entries"):
        assert len(read) < SMALL
    for index in range(0, SMALL, 50):
        reader = LogReader(MemoryPlace(files), head)
        with suppress(ArchiveDiffers):
            assert reader.entry(index) == ENTRIES[index]
            assert reader.inclusion_path(index) == TREE.path(index, 0, SMALL)
            assert reader.root_at(index) == TREE.root(0, index)


@pytest.mark.parametrize(
    "path", ["tile/entries/001", "tile/entries/003.p/17", "tile/0/001", "tile/0/003.p/17", "tile/1/000.p/3"]
)
def test_a_missing_file_is_named(path: str) -> None:
    files = TREE.files(SMALL)
    del files[path]
    reader = LogReader(MemoryPlace(files), TreeHead(SMALL, TREE.root(0, SMALL)))
    with pytest.raises(ArchiveDiffers, match=re.escape(f"memory: {path} is missing")):
        [*reader.entries(), reader.entry(300)]
