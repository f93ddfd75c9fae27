"""Is a timestamp without a place in the key read as it was when it came?"""

from __future__ import annotations

import random
import secrets

from maia_sync.archive.undated import moment_told_by
from maia_sync.maia.timestamp import read_instant

STAMPS = (
    "0001-01-01T00:00:00Z",
    "0001-01-01T00:00:00+00:01",
    "9999-12-31T23:59:60Z",
    "9999-12-31T23:59:59.999999999-00:00",
    "1500-02-29t23:59:60.5z",
    "1600-02-29 23:59:60.1234567891-23:59",
    "2262-04-11T23:47:16.854775808Z",
    "1677-09-21T00:12:43.145224191Z",
    "no time at all",
    "",
)


def test_it_is_read_as_by_who_stored_it() -> None:
    seed = secrets.randbelow(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    stamps = list(STAMPS)
    for _ in range(3_000):
        stamp = list(rng.choice(STAMPS[:8]))
        for _ in range(rng.randrange(3)):
            stamp[rng.randrange(len(stamp))] = rng.choice("0123456789:.+-TZz \u0663")
        stamps.append("".join(stamp))
    for stamp in stamps:
        assert moment_told_by(stamp) == read_instant(stamp).occurred_at, stamp
    assert moment_told_by(None) is None
