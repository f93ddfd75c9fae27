"""Is each file of the log that has been altered named, and no other one blamed for it?"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from memory_place import MemoryPlace
from second_tree import SecondTree

from maia_sync.archive.log_reader import LogReader
from maia_sync.archive.log_writer import LogWriter
from maia_sync.archive.merkle import TreeHead

if TYPE_CHECKING:
    from collections.abc import Callable

LARGE = 66_000
SMALL = 256 * 3 + 17
ENTRIES = [b"entry %d" % number for number in range(LARGE)]
TREE = SecondTree(ENTRIES)
LARGE_FILES = TREE.files(LARGE)


def small_files() -> dict[str, bytes]:
    """A log with partial files of earlier checkpoints, as they lie there before they are deleted."""
    place = MemoryPlace()
    writer = LogWriter.open(place, None)
    for size in (1, 200, 300, 600, 770, SMALL):
        writer.append(ENTRIES[writer.size : size])
        writer.finish()
    return place.files


def check(files: dict[str, bytes], size: int) -> list[tuple[str, str]]:
    return [*LogReader(MemoryPlace(files), TreeHead(size, TREE.root(0, size))).check_tiles()]


def test_a_log_in_order_has_no_problem() -> None:
    assert check(small_files(), SMALL) == []
    assert check(LARGE_FILES, LARGE) == []
    assert check(TREE.files(65_536), 65_536) == []
    assert check(TREE.files(256), 256) == []


def flip(content: bytes, chance: random.Random) -> bytes:
    flipped = bytearray(content)
    flipped[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    return bytes(flipped)


ALTERATIONS: list[Callable[[bytes, random.Random], bytes | None]] = [
    flip,
    flip,
    lambda content, chance: content[: chance.randrange(len(content))],
    lambda content, chance: content + chance.randbytes(chance.randrange(1, 40)),
    lambda content, _: content + content[:32],
    lambda content, chance: chance.randbytes(len(content)),
    lambda _, __: None,
    lambda content, _: content[32:] + content[:32] if len(content) > 64 else None,
]


def test_a_file_that_is_altered_is_the_one_that_is_named() -> None:
    original = small_files()
    in_force = TREE.files(SMALL).keys()
    chance = random.Random(11)
    for path, content in original.items():
        for alter in ALTERATIONS:
            altered = alter(content, chance)
            files = {**original, path: altered} if altered is not None else without(original, path)
            problems = check(files, SMALL)
            if altered is None and path not in in_force:
                assert problems == []
                continue
            assert [named for named, _ in problems] == [path], (path, alter)
            assert problems[0][1].startswith(("is missing", "is damaged: "))


def without(files: dict[str, bytes], path: str) -> dict[str, bytes]:
    return {each: files[each] for each in files if each != path}


@pytest.mark.parametrize(
    "path",
    [
        "tile/0/007",
        "tile/entries/200",
        "tile/0/257.p/208",
        "tile/entries/257.p/208",
        "tile/1/000",
        "tile/1/001.p/1",
        "tile/2/000.p/1",
    ],
)
def test_in_a_larger_log_too(path: str) -> None:
    assert path in LARGE_FILES
    chance = random.Random(path)
    for files in ({**LARGE_FILES, path: flip(LARGE_FILES[path], chance)}, without(LARGE_FILES, path)):
        assert [named for named, _ in check(files, LARGE)] == [path]


def test_files_that_have_changed_places_are_both_named() -> None:
    chance = random.Random(2)
    original = small_files()
    for kind in ("tile/0/", "tile/entries/"):
        full = [path for path in original if path.startswith(kind) and ".p/" not in path]
        one, other = chance.sample(full, 2)
        files = {**original, one: original[other], other: original[one]}
        assert sorted(named for named, _ in check(files, SMALL)) == sorted((one, other))


def test_several_altered_files_are_all_named() -> None:
    chance = random.Random(4)
    original = TREE.files(SMALL)
    for _ in range(40):
        bundles = [path for path in original if path.startswith("tile/entries")]
        picked = chance.sample(bundles, 2)
        files = {**original, **{path: flip(original[path], chance) for path in picked}}
        assert sorted(named for named, _ in check(files, SMALL)) == sorted(picked)
        picked = chance.sample(sorted(original), 3)
        files = {**original, **{path: flip(original[path], chance) for path in picked}}
        assert {named for named, _ in check(files, SMALL)} & set(picked)


@pytest.mark.parametrize("index", [0, 300, SMALL - 1])
def test_a_log_that_was_made_again_without_the_key_is_seen(index: int) -> None:
    forged = SecondTree([*ENTRIES[:index], b"forged", *ENTRIES[index + 1 : SMALL]])
    [(path, what)] = check(forged.files(SMALL), SMALL)
    assert path == "tile/1/000.p/3"
    assert "make another root than the checkpoint signs" in what
    # Where older partial files are left they give the place away.
    files = {**small_files(), **forged.files(SMALL)}
    assert len(check(files, SMALL)) > 1 or index == SMALL - 1


def test_a_log_that_cannot_be_is_given_up() -> None:
    reader = LogReader(MemoryPlace(small_files()), TreeHead(10**15, bytes(32)))
    found = [*reader.check_tiles()]
    assert 1_000 < len(found) < 1_020
    assert found[-1] == ("tile/", "lacks more than 1,000 files of this log: the others were not looked for")
    asked = iter([None] * 50)
    assert len([*reader.check_tiles(lambda: next(asked, 2))]) < 120


def test_files_beyond_the_size_and_of_other_names_are_left_alone() -> None:
    files = {**TREE.files(SMALL), **TREE.files(1000), "tile/junk": b"", "tile/0/x000/001": b"", "data/a": b""}
    assert check(files, SMALL) == []
