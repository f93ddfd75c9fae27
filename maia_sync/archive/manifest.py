"""Which SHA-256 has each data segment? The archive's SHA256SUMS, as `sha256sum -c` reads it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MANIFEST: Final = "SHA256SUMS"
_LINE: Final = re.compile(r"([0-9a-f]{64})  ([^\n\r\\]+)")


class Sum(NamedTuple):
    """One line: a file's SHA-256 in hex, and its path."""

    sha256: str
    path: str


def encode_manifest(sums: Iterable[Sum]) -> bytes:
    """Return the file: a line for each, in this order."""
    return "".join(f"{each.sha256}  {each.path}\n" for each in sums).encode()


def decode_manifest(content: bytes) -> Iterator[Sum]:
    """Yield its lines. Raises ValueError, with a sentence, at one that is none."""
    if content and not content.endswith(b"\n"):
        raise ValueError(f"{MANIFEST} ends in the middle of a line")
    for number, line in enumerate(content.split(b"\n")[:-1], 1):
        try:
            match = _LINE.fullmatch(line.decode())
        except UnicodeDecodeError:
            match = None
        if match is None:
            raise ValueError(f"{MANIFEST}, line {number}, is not a sum and a path")
        yield Sum(match[1], match[2])
