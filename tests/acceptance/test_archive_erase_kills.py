"""Does a real process that is really killed while it erases leave all of it or nothing, and nothing else?"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from contextlib import closing
from random import SystemRandom
from typing import TYPE_CHECKING

from archived_entries import assert_sound
from killable import Forge
from logs import task_id
from oracle import Copy
from secret_pieces import Secrets, files_below, pieces_in
from told_story import driver_url, store_elements

from maia_sync.archive.keys import load_signer, make_key
from maia_sync.archive.layout import CHECKPOINT, UNFINISHED
from maia_sync.archive.manifest import MANIFEST
from maia_sync.archive.places import open_place
from maia_sync.clock import SystemClock
from maia_sync.store.database import Database

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from killable import Life

KILLS = 25
"""On each database."""
EVENTS = 15


def element(secrets: Secrets, number: int) -> bytes:
    stamp = f"2026-01-{5 + number % 3:02d}T08:00:{number:02d}Z"
    data = f'{{"agentName":"{secrets.make()}","text":"{secrets.make()}"}}'
    return f'{{"data":{data},"groupId":"g","timestamp":"{stamp}"}}'.encode()


def wait_until_erasing(life: Life) -> None:
    assert any("calling" in line for line in life.lines()), life.told


def wait_for_change(path: Path, most: float) -> None:
    """Return as soon as a file is another one, or after so many seconds."""

    def identity() -> object:
        try:
            return path.stat().st_ino
        except FileNotFoundError:
            return None

    before, until = identity(), time.monotonic() + most
    while identity() == before and time.monotonic() < until:
        time.sleep(0.0005)


def test_kills_inside_an_erasure_leave_all_of_it_or_nothing(
    environ_for: Callable[..., dict[str, str]], database_url: str, tmp_path: Path
) -> None:
    seed = int(os.environ.get("MAIA_SYNC_TEST_SEED") or SystemRandom().randrange(10**9))
    print(f"seed {seed}")
    rng = random.Random(seed)
    key_file, folder = tmp_path / "archive.key", tmp_path / "archive"
    make_key(key_file, "test.example/killed")
    digest_key = tmp_path / "archive.digests"
    environ = environ_for(
        "http://127.0.0.1:9",
        database_url,
        archive__url=folder,
        archive__key_file=key_file,
        archive__digest_key_file=digest_key,
    )
    place, signer = open_place(str(folder)), load_signer(key_file)
    secrets = [Secrets(number) for number in range(KILLS + 15)]
    erased: set[int] = set()
    outcomes: Counter[str] = Counter()
    copy = Copy(database_url)
    database = Database(url=driver_url(database_url), clock=SystemClock(), digest_key_file=digest_key)
    with closing(database), Forge() as forge:
        for number, of_task in enumerate(secrets):
            store_elements(database, task_id(number), [element(of_task, at) for at in range(EVENTS)])
        lasts = 0.0
        for number in range(len(secrets)):
            life = forge.start(environ, call="erasing_child:erase_named", erased=task_id(number))
            wait_until_erasing(life)
            begun = time.monotonic()
            if number == 0:  # the first one is not hit, and tells how long it takes
                life.end()
            elif watched := rng.choice([None, None, UNFINISHED, MANIFEST, CHECKPOINT, CHECKPOINT]):
                wait_for_change(folder / watched, lasts)
                time.sleep(0.1 * lasts * rng.random())
            else:
                time.sleep(lasts * rng.random())
            if life.status is None:
                life.send(signal.SIGKILL)
                life.end()
            left = payloads_by_task(copy)
            assert left[task_id(number)] in (0, EVENTS)
            if left[task_id(number)] == 0:
                erased.add(number)
            assert all(
                left[task_id(each)] == (0 if each in erased else EVENTS) for each in range(len(secrets))
            )
            if any("called" in line for line in life.told):
                outcomes["not hit"] += 1
                lasts = time.monotonic() - begun
                continue
            assert life.status == -signal.SIGKILL, life.told
            outcomes["behind" if number in erased else "before"] += 1
            if outcomes["behind"] + outcomes["before"] == KILLS:
                break
        print(dict(outcomes))
        assert outcomes["behind"] + outcomes["before"] == KILLS
        assert min(outcomes["behind"], outcomes["before"]) > 0
        last = forge.start(environ, archive=True)
        last.end()
        assert last.status == 0, last.told
        assert_sound(place, signer.verifier, database)
        assert copy.ask("SELECT id FROM archive_erasure WHERE scrubbed_at IS NULL") == []
    files = files_below(folder)
    if not database_url.startswith("postgresql"):
        files += files_below(tmp_path)
    pieces = pieces_in((str(path), path.read_bytes()) for path in files)
    assert {number for number in range(len(secrets)) if not secrets[number].are_among(pieces)} == erased


def payloads_by_task(copy: Copy) -> Counter[str]:
    """Return how many payloads the database holds of each task."""
    left = copy.ask("SELECT task_id, count(data) FROM task_event GROUP BY task_id")
    return Counter({str(task): number for task, number in left})
