"""Are roots and proofs those of RFC 6962? By the known vectors, and by its definitions word for word."""

from __future__ import annotations

import random

import pytest
from second_tree import SecondTree

from maia_sync.archive.merkle import (
    EMPTY_ROOT,
    TreeHead,
    edge_root,
    leaf_hash,
    leaf_hashes,
    node_hash,
    root_of,
    verify_inclusion,
)

# The entries and roots that certificate-transparency's own tests made known.
VECTORS = [
    ("", "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
    ("00", "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"),
    ("10", "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"),
    ("2021", "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"),
    ("3031", "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4"),
    ("40414243", "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef"),
    ("5051525354555657", "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c"),
    ("606162636465666768696a6b6c6d6e6f", "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"),
]
ENTRIES = [bytes.fromhex(entry) for entry, _ in VECTORS]


def test_the_known_roots_come_out() -> None:
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    for size, (_, root) in enumerate(VECTORS, 1):
        assert root_of(leaf_hashes(ENTRIES[:size])).hex() == root


def test_roots_of_every_size_up_to_1000_are_those_of_the_definition() -> None:
    entries = [b"%d" % number for number in range(1000)]
    tree, leaves = SecondTree(entries), leaf_hashes(entries)
    assert leaves == [leaf_hash(entry) for entry in entries]
    for size in range(1001):
        assert root_of(leaves[:size]) == tree.root(0, size)


def test_a_root_is_made_from_the_last_tiles_of_all_levels() -> None:
    entries = [b"%d" % number for number in range(70_000)]
    tree = SecondTree(entries)
    for size in (1, 255, 256, 257, 511, 512, 65_535, 65_536, 65_537, 65_536 + 256, 70_000):
        levels = [
            [
                tree.root(at * 256**level, (at + 1) * 256**level)
                for at in range(size // 256 ** (level + 1) * 256, size // 256**level)
            ]
            for level in range(3)
        ]
        assert edge_root(levels) == tree.root(0, size)
    assert edge_root([]) == edge_root([[], []]) == EMPTY_ROOT


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 8, 33, 64, 100])
def test_a_path_proves_its_entry_and_nothing_else(size: int) -> None:
    entries = [b"%d" % number for number in range(size)]
    tree = SecondTree(entries)
    head = TreeHead(size, tree.root(0, size))
    chance = random.Random(size)
    for index in range(size):
        leaf, path = leaf_hash(entries[index]), tree.path(index, 0, size)
        assert verify_inclusion(leaf, index, head, path)
        others = {*range(-1, size + 2)} - {index}
        assert not any(verify_inclusion(leaf, other, head, path) for other in others)
        assert not verify_inclusion(leaf_hash(b"another"), index, head, path)
        assert not verify_inclusion(leaf, index, TreeHead(size, leaf_hash(b"another")), path)
        assert not verify_inclusion(leaf, index, head, [*path, leaf])
        assert not verify_inclusion(leaf, index, head, [leaf, *path])
        for place in range(len(path)):
            flipped = bytearray(path[place])
            flipped[chance.randrange(32)] ^= 1 << chance.randrange(8)
            assert not verify_inclusion(
                leaf, index, head, [*path[:place], bytes(flipped), *path[place + 1 :]]
            )
            assert not verify_inclusion(leaf, index, head, [*path[:place], *path[place + 1 :]])
            assert not verify_inclusion(
                leaf, index, head, [*path[:place], path[place][:-1], *path[place + 1 :]]
            )


def test_a_path_that_is_longer_than_the_tree_is_high_proves_nothing() -> None:
    leaf, other = leaf_hash(b"a"), leaf_hash(b"b")
    assert not verify_inclusion(leaf, 0, TreeHead(1, node_hash(other, leaf)), [other])
    assert not verify_inclusion(leaf, 0, TreeHead(1, node_hash(leaf, other)), [other])


def test_an_empty_tree_proves_nothing() -> None:
    assert not verify_inclusion(EMPTY_ROOT, 0, TreeHead(0, EMPTY_ROOT), [])


def test_a_node_is_not_taken_for_an_entry() -> None:
    left, right = leaf_hash(b"a"), leaf_hash(b"b")
    assert node_hash(left, right) != leaf_hash(left + right)
    assert not verify_inclusion(leaf_hash(left + right), 0, TreeHead(1, node_hash(left, right)), [])
