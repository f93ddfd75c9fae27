"""What does RFC 6962 say of a log, word for word? Its recursive definitions, without any of maia_sync."""

from __future__ import annotations

import hashlib


class SecondTree:
    """MTH and PATH of section 2.1, over ranges of one list of entries."""

    def __init__(self, entries: list[bytes]) -> None:
        self.entries = entries
        self._known: dict[tuple[int, int], bytes] = {}

    def root(self, start: int, end: int) -> bytes:
        """MTH(D[start:end])."""
        if start == end:
            return hashlib.sha256(b"").digest()
        if (start, end) not in self._known:
            if end - start == 1:
                found = hashlib.sha256(b"\x00" + self.entries[start]).digest()
            else:
                cut = start + _largest_power_of_two_below(end - start)
                found = hashlib.sha256(b"\x01" + self.root(start, cut) + self.root(cut, end)).digest()
            self._known[start, end] = found
        return self._known[start, end]

    def path(self, index: int, start: int, end: int) -> list[bytes]:
        """PATH(index, D[start:end]); the index counts from the beginning of all."""
        if end - start == 1:
            return []
        cut = start + _largest_power_of_two_below(end - start)
        if index < cut:
            return [*self.path(index, start, cut), self.root(cut, end)]
        return [*self.path(index, cut, end), self.root(start, cut)]

    def files(self, size: int) -> dict[str, bytes]:
        """The tiles and bundles of a tree, as C2SP tlog-tiles defines them."""
        files: dict[str, bytes] = {}
        for level in range(64):
            span = 256**level
            count = size // span
            if not count:
                break
            for number in range(-(-count // 256)):
                first, last = number * 256, min(count, number * 256 + 256)
                name = _numbered(number) + ("" if last - first == 256 else f".p/{last - first}")
                hashes = [self.root(at * span, (at + 1) * span) for at in range(first, last)]
                files[f"tile/{level}/{name}"] = b"".join(hashes)
                if level == 0:
                    parts = [len(each).to_bytes(2, "big") + each for each in self.entries[first:last]]
                    files[f"tile/entries/{name}"] = b"".join(parts)
        return files


def _largest_power_of_two_below(count: int) -> int:
    power = 1
    while power * 2 < count:
        power *= 2
    return power


def _numbered(number: int) -> str:
    digits = str(number)
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    parts = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    return "/".join([f"x{part}" for part in parts[:-1]] + parts[-1:])
