"""What do the hashes of a log come to, and what do they prove? Merkle trees of RFC 6962, without I/O.

A tree over n entries is cut at the largest power of two below n, and so on down to the leaves. The same
tree arises if neighbours are joined row by row and an odd last one goes up as it is: so it is made here.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = hashlib.sha256().digest()
_LEAF: Final = b"\x00"
_NODE: Final = b"\x01"


class TreeHead(NamedTuple):
    """A tree of so many entries, with its root's hash."""

    size: int
    root: bytes


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of an entry (RFC 6962, section 2.1)."""
    return hashlib.sha256(_LEAF + entry).digest()


def leaf_hashes(entries: Sequence[bytes]) -> list[bytes]:
    """Return the hashes of many entries."""
    sha256 = hashlib.sha256
    return [sha256(_LEAF + entry).digest() for entry in entries]


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of two subtrees together."""
    return hashlib.sha256(_NODE + left + right).digest()


def root_of(hashes: Sequence[bytes]) -> bytes:
    """Return the root over leaf hashes, or over the hashes of perfect subtrees of one size.

    The last one may be of a smaller subtree: it is what is left at the right edge.
    """
    sha256 = hashlib.sha256
    row = list(hashes)
    if not row:
        return EMPTY_ROOT
    while len(row) > 1:
        odd = row[-1:] if len(row) % 2 else []
        pairs = zip(row[::2], row[1::2], strict=False)
        row = [sha256(_NODE + left + right).digest() for left, right in pairs] + odd
    return row[0]


def edge_root(levels: Iterable[list[bytes]]) -> bytes:
    """Return a tree's root from the hashes in the last tile of each level, from level 0 up."""
    below: list[bytes] = []
    for hashes in levels:
        if hashes:
            below = [root_of([*hashes, *below])]
    return below[0] if below else EMPTY_ROOT


def verify_inclusion(leaf: bytes, index: int, head: TreeHead, path: Sequence[bytes]) -> bool:
    """Tell whether a path proves that an entry's hash stands at an index (RFC 9162, section 2.1.3.2)."""
    if not 0 <= index < head.size or any(len(each) != HASH_BYTES for each in (leaf, *path)):
        return False
    node, last, found = index, head.size - 1, leaf
    for each in path:
        if last == 0:
            return False
        if node & 1 or node == last:
            found = node_hash(each, found)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            found = node_hash(found, each)
        node, last = node >> 1, last >> 1
    return last == 0 and found == head.root
