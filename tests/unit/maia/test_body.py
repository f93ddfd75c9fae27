"""Is a body unpacked right, and never beyond its bound?"""

from __future__ import annotations

import asyncio
import gzip
import random
import tracemalloc
import zlib
from typing import TYPE_CHECKING

import pytest

from maia_sync.errors import BrokenPage, PageTooLarge
from maia_sync.maia.body import read_whole, read_words

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

MOST = 1 << 22
TEXT = random.Random(1).randbytes(700_000) + b"a" * 2_000_000


async def chunks(body: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


def whole(body: bytes, codings: Sequence[str] = ("gzip",), *, most: int = MOST, size: int = 65_536) -> bytes:
    return asyncio.run(read_whole(chunks(body, size), codings, "", most=most))


@pytest.mark.parametrize("size", [1 << 30, 65_536, 4_999])
def test_gzip_is_unpacked_in_one_member_or_several_with_zeros_behind(size: int) -> None:
    packed = gzip.compress(TEXT)
    assert whole(packed, size=size) == TEXT
    members = gzip.compress(TEXT[:1000]) + gzip.compress(b"") + gzip.compress(TEXT[1000:])
    assert whole(members, size=size) == TEXT
    assert whole(packed + b"\0" * 100_000, size=size) == TEXT


def test_a_byte_at_a_time_is_right_too() -> None:
    packed = gzip.compress(b"one") + gzip.compress(b"two") + b"\0\0"
    assert whole(packed, size=1) == b"onetwo"


@pytest.mark.parametrize("cut", [1, 9, 10, 500, 5])
def test_a_gzip_that_is_cut_short_is_broken(cut: int) -> None:
    packed = gzip.compress(TEXT)
    with pytest.raises(BrokenPage):
        whole(packed[:-cut])
    with pytest.raises(BrokenPage):
        whole(gzip.compress(b"x") + packed[:cut])


def test_what_is_no_gzip_or_damaged_is_broken() -> None:
    packed = bytearray(gzip.compress(TEXT))
    packed[-6] ^= 1  # the checksum
    for body in (b"no gzip", bytes(packed), gzip.compress(b"x") + b"rest", zlib.compress(TEXT)):
        with pytest.raises(BrokenPage):
            whole(body)


@pytest.mark.parametrize("codings", [(), ("",), ("identity",), ("Identity",)])
def test_what_is_not_packed_comes_as_it_is(codings: Sequence[str]) -> None:
    assert whole(TEXT, codings) == TEXT


@pytest.mark.parametrize("codings", [(), ("gzip",)])
def test_p8_a_body_of_exactly_the_most_is_taken_and_one_byte_more_is_not(codings: Sequence[str]) -> None:
    for length in (MOST, MOST + 1):
        body = gzip.compress(b"a" * length) if codings else b"a" * length
        if length == MOST:
            assert len(whole(body, codings)) == MOST
        else:
            with pytest.raises(PageTooLarge, match="max_page_bytes"):
                whole(body, codings)


def test_p8_a_bomb_costs_no_more_memory_than_the_bound() -> None:
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(512)) + packer.flush()
    tracemalloc.start()
    with pytest.raises(PageTooLarge):
        whole(bomb, size=len(bomb))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * MOST


def test_an_announced_length_beyond_the_most_is_refused_before_a_byte_is_read() -> None:
    async def untouched() -> AsyncIterator[bytes]:
        raise AssertionError
        yield b""

    with pytest.raises(PageTooLarge):
        asyncio.run(read_whole(untouched(), (), str(MOST + 1), most=MOST))


def test_words_are_cut_and_never_a_failure() -> None:
    def words(body: bytes, *codings: str) -> bytes:
        return asyncio.run(read_words(chunks(body, 50_000), codings))

    assert words(TEXT) == TEXT[: 64 * 1024]
    assert words(gzip.compress(TEXT), "gzip") == TEXT[: 64 * 1024]
    assert words(b"x", "zstd") == b""
    assert words(b"no gzip", "gzip") == b""
    assert words(gzip.compress(b"words" * 100)[:-3], "gzip") == b"words" * 100
