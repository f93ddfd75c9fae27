"""How much of an answer's body is read, and how is it unpacked? Never more than is allowed, at any step.

httpx would unpack by itself, some codings without any bound: one frame of zstd of 32 KiB can become
1 GiB. So the bytes are taken as they came, nothing but gzip is unpacked, and zlib is told at each
step how much it may give.
"""

from __future__ import annotations

import asyncio
import zlib
from contextlib import suppress
from io import BytesIO
from typing import TYPE_CHECKING

from maia_sync.errors import BrokenPage, PageTooLarge

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Iterator, Sequence

GZIP = 31
"""zlib's wbits for the gzip format (RFC 1952)."""
_STEP = 1 << 20
_WORDS = 64 * 1024
"""The most that is read of a body that is only looked at for what it says."""


async def read_whole(
    raw: AsyncIterable[bytes], codings: Sequence[str], announced: str, *, most: int
) -> bytes:
    """Read a body that must be whole, of at most `most` bytes once unpacked.

    `codings` are the values of Content-Encoding, `announced` is Content-Length or "". Raises
    PageTooLarge, or BrokenPage for another coding than one gzip, or gzip that is damaged or cut short.
    """
    packed = _is_packed(codings)
    if not packed and announced.isdigit() and len(announced) < 19 and int(announced) > most:
        raise _too_large(most)
    body = BytesIO()  # not a list: a body that comes in chunks of two bytes would cost twenty times its size
    async for chunk in _unpacked(raw) if packed else raw:
        if body.tell() + len(chunk) > most:
            raise _too_large(most)
        body.write(chunk)
    return body.getvalue()


async def read_words(raw: AsyncIterable[bytes], codings: Sequence[str]) -> bytes:
    """Read the beginning of a body that only says something about an answer: 64 KiB at most."""
    words = BytesIO()
    with suppress(BrokenPage):
        async for chunk in _unpacked(raw) if _is_packed(codings) else raw:
            words.write(chunk[: _WORDS - words.tell()])
            if words.tell() >= _WORDS:
                break
    return words.getvalue()


def _too_large(most: int) -> PageTooLarge:
    return PageTooLarge(f"the API's answer is larger than api.max_page_bytes ({most:,})")


def _is_packed(codings: Sequence[str]) -> bool:
    named = [coding.strip().lower() for coding in codings if coding.strip()]
    if named in ([], ["identity"]):
        return False
    if named == ["gzip"]:
        return True
    raise BrokenPage("the API's answer is packed in another way than gzip, which alone was asked for")


async def _unpacked(raw: AsyncIterable[bytes]) -> AsyncIterable[bytes]:
    """Unpack gzip, in pieces of at most 1 MiB; between two of a chunk, others get a turn."""
    gunzip = _Gunzip()
    async for chunk in raw:
        for piece in gunzip.unpack(chunk):
            yield piece
            if len(piece) == _STEP:
                await asyncio.sleep(0)
    gunzip.end()


class _Gunzip:
    """Unpacks a body that is one gzip member or several (RFC 1952 section 2.2)."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(wbits=GZIP)
        self._begun = False

    def unpack(self, packed: bytes) -> Iterator[bytes]:
        """Yield what these bytes unpack to, at most 1 MiB at a time. Raises BrokenPage."""
        try:
            while packed:
                if self._member.eof:
                    # Some writers fill up the end with zeros, which are no further member.
                    packed = packed.lstrip(b"\0")
                    if not packed:
                        return
                    self._member = zlib.decompressobj(wbits=GZIP)
                self._begun = True
                piece = self._member.decompress(packed, _STEP)
                packed = self._member.unconsumed_tail or self._member.unused_data
                if piece:
                    yield piece
        except zlib.error as error:
            raise BrokenPage("the API's answer could not be unpacked") from error

    def end(self) -> None:
        """Raise BrokenPage if the body ends within a member."""
        if self._begun and not self._member.eof:
            raise BrokenPage("the API's answer ends before its gzip does")
