from __future__ import annotations

import pytest

from maia_sync.archive.manifest import Sum, decode_manifest, encode_manifest

SUMS = [Sum("0" * 64, "data/date=2026-01-01/000000000000-000000000007.parquet"), Sum("a" * 64, "data/x y")]


def test_a_manifest_is_read_as_it_was_written() -> None:
    content = encode_manifest(SUMS)
    assert content.splitlines()[0] == b"0" * 64 + b"  " + SUMS[0].path.encode()
    assert [*decode_manifest(content)] == SUMS
    assert [*decode_manifest(b"")] == []


@pytest.mark.parametrize(
    "content",
    [
        b"\n",
        b"0" * 63 + b"  a\n",
        b"0" * 64 + b" *a\n",
        b"A" * 64 + b"  a\n",
        b"0" * 64 + b"  \n",
        b"0" * 64 + b"  a\\b\n",
        b"0" * 64 + b"  a\r\n",
        b"0" * 64 + b"  \xff\n",
        b"0" * 64 + b"  a",
    ],
)
def test_what_is_no_manifest_is_told(content: bytes) -> None:
    with pytest.raises(ValueError, match="SHA256SUMS"):
        [*decode_manifest(content)]
