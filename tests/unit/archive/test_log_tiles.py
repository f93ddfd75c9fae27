"""Do the log's files have the names and the form that C2SP tlog-tiles gives them?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from second_tree import SecondTree

from maia_sync.archive.tiles import (
    TilePath,
    bundle_path,
    decode_bundle,
    encode_bundle,
    height,
    parse_path,
    partials_of,
    split_tile,
    tile_path,
    tiles_of,
)

levels = st.none() | st.integers(0, 63)
widths = st.none() | st.integers(1, 255)
numbers = st.integers(0, 10**10) | st.sampled_from([0, 999, 1000, 999_999, 1_000_000])


def test_the_examples_of_the_specification() -> None:
    assert tile_path(0, 1234067) == "tile/0/x001/x234/067"
    assert bundle_path(1234067, 3) == "tile/entries/x001/x234/067.p/3"
    of_70_000 = {str(path) for path in tiles_of(70_000)}
    assert {"tile/0/272", "tile/0/273.p/112", "tile/1/000", "tile/1/001.p/17", "tile/2/000.p/1"} <= of_70_000
    assert len(of_70_000) == 2 * 274 + 3
    assert [str(path) for path in tiles_of(256)] == ["tile/entries/000", "tile/0/000", "tile/1/000.p/1"]
    assert [*tiles_of(0)] == [*partials_of(0)] == []


@given(levels, numbers, widths)
def test_a_path_is_read_as_it_was_written(level: int | None, number: int, width: int | None) -> None:
    path = TilePath(level, number, width)
    assert parse_path(str(path)) == path


NO_PATHS = [
    "tile",
    "tile/0",
    "tile/0/",
    "tile/0/00",
    "tile/0/0000",
    "tile/0/1000",
    "tile/0/x000/001",
    "tile/0/x1/001",
    "tile/0/x001/x002",
    "tile/0/001/002",
    "tile/64/000",
    "tile/00/000",
    "tile/01/000",
    "tile/-1/000",
    "tile/x/000",
    "tile/entries/000.p",
    "tile/0/000.p/",
    "tile/0/000.p/0",
    "tile/0/000.p/256",
    "tile/0/000.p/01",
    "tile/0/000.p/1/2",
    "tile/0/000.p/a",
    "/tile/0/000",
    "tile/0/000/",
    "tile//000",
    "tile/entries/x000/000",
    "tile/0/\u0660\u0660\u0660",
    "tile/0/000.P/1",
    "data/000",
    "tile/100/000",
    "tile/0/000.p/999",
]


@pytest.mark.parametrize("path", NO_PATHS)
def test_no_other_path_is_one(path: str) -> None:
    assert parse_path(path) is None
    assert parse_path(path + "\n") is None


@pytest.mark.parametrize("size", [1, 255, 256, 257, 300, 511, 512, 513, 1000, 65_535, 65_536, 65_537])
def test_a_tree_has_the_files_that_it_has_by_definition(size: int) -> None:
    files = SecondTree([b""] * size).files(size)
    listed = [*tiles_of(size)]
    assert sorted(map(str, listed)) == sorted(files)
    assert {*partials_of(size)} == {path for path in listed if path.width}
    assert height(size) == len({path.level for path in listed if path.level is not None})
    assert all(0 < path.end <= size for path in listed)


@given(st.integers(0, 10**9), st.integers(0, 300))
def test_what_a_path_needs_tells_whether_a_tree_can_have_it(size: int, more: int) -> None:
    now = {*partials_of(size)}
    assert all(path.end <= size for path in now)
    assert all(path.end > size for path in {*partials_of(size + more)} - now)


@given(st.lists(st.binary(max_size=300), max_size=256))
def test_a_bundle_is_read_as_it_was_written(entries: list[bytes]) -> None:
    assert decode_bundle(encode_bundle(entries)) == entries


def test_the_longest_entry_fits_and_no_longer_one() -> None:
    assert decode_bundle(encode_bundle([b"x" * 65_535])) == [b"x" * 65_535]
    with pytest.raises(ValueError, match="65,535"):
        encode_bundle([b"x" * 65_536])


def test_what_is_no_bundle_is_refused() -> None:
    whole = encode_bundle([b"one", b"two"])
    for end in {*range(1, len(whole))} - {len(b"\0\3one")}:
        with pytest.raises(ValueError, match="no bundle"):
            decode_bundle(whole[:end])
    with pytest.raises(ValueError, match="no bundle"):
        decode_bundle(whole + b"\0")
    with pytest.raises(ValueError, match="no bundle"):
        decode_bundle(encode_bundle([b""] * 257))


def test_what_is_no_tile_is_refused() -> None:
    assert split_tile(bytes(64)) == [bytes(32)] * 2
    for length in (0, 1, 31, 33, 257 * 32):
        with pytest.raises(ValueError, match="no tile"):
            split_tile(bytes(length))
