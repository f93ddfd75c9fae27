"""Does a real process that is really killed while it archives lose nothing and break nothing?"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from contextlib import closing
from random import SystemRandom
from typing import TYPE_CHECKING, Any

from archived_entries import assert_sound, read_entries
from killable import Forge
from logs import event, task_id
from oracle import Copy
from told_story import open_writing, store_elements, store_story

from maia_sync.archive.keys import load_verifier, make_key
from maia_sync.archive.layout import CHECKPOINT, UNFINISHED
from maia_sync.archive.manifest import MANIFEST
from maia_sync.archive.places import open_place
from maia_sync.store.sent import insert_sent_message

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from killable import Life

    from maia_sync.store.database import Database

ROUNDS = 25


def add_news(database: Database, number: int) -> None:
    """Let another task have a short log, and a message be sent to it."""
    store_elements(
        database, task_id(number), [event(at) for at in range(random.Random(number).randrange(1, 90))]
    )
    with database.transaction() as tx:
        insert_sent_message(tx, task_id=task_id(number), sent_by="me", request=f'{{"message":"{number}"}}')


def archived(life: Life) -> bool:
    return any("archived" in line for line in life.told)


def wait_until_archiving(life: Life) -> None:
    assert any("archiving" in line for line in life.lines()), life.told


def wait_for_change(path: Path) -> None:
    """Return as soon as a file is another one, or after a moment."""

    def identity() -> object:
        try:
            return path.stat().st_ino
        except FileNotFoundError:
            return None

    before, until = identity(), time.monotonic() + 0.3
    while identity() == before and time.monotonic() < until:
        time.sleep(0.0002)


def test_kills_inside_a_create_lose_nothing_double_nothing_and_break_nothing(
    environ_for: Callable[..., dict[str, str]], database_url: str, tmp_path: Path
) -> None:
    seed = int(os.environ.get("MAIA_SYNC_TEST_SEED") or SystemRandom().randrange(10**9))
    print(f"seed {seed}")
    rng = random.Random(seed)
    key_file, folder = tmp_path / "archive.key", tmp_path / "archive"
    key = make_key(key_file, "test.example/killed")
    environ = environ_for("http://127.0.0.1:9", database_url, archive__url=folder, archive__key_file=key_file)
    place = open_place(str(folder))
    kills = whole = number = moved = 0
    with closing(open_writing(database_url)) as database, Forge() as forge:
        store_story(database, tasks=3, events=150)
        lasts = 0.2
        while kills < ROUNDS:
            number += 1
            if rng.random() < 0.5:
                add_news(database, number)
            before = place.read(CHECKPOINT)
            life = forge.start(environ, archive=True)
            wait_until_archiving(life)
            begun = time.monotonic()
            watched = rng.choice([None, None, UNFINISHED, MANIFEST, CHECKPOINT])
            if watched is None:
                time.sleep(lasts * rng.random())
            else:
                wait_for_change(folder / watched)
            if number % 8:
                life.send(signal.SIGKILL)
            life.end()
            if archived(life):
                whole += 1
                lasts = min(lasts, max(0.02, time.monotonic() - begun))
                continue
            assert life.status == -signal.SIGKILL, life.told
            kills += 1
            moved += place.read(CHECKPOINT) != before
            if kills % 5 == 0 and place.read(CHECKPOINT) is not None:
                assert_sound(place, key, database)
        last = forge.start(environ, archive=True)
        last.end()
        assert last.status == 0, last.told
        assert_sound(place, load_verifier(key_file.with_name("archive.key.pub")), database)
    print(
        f"{kills} kills inside a create, {moved} of them behind its checkpoint; {whole} creates were not hit"
    )
    assert_once(Counter(told[:7] for told in read_entries(place, key).elements()), Copy(database_url))


def assert_once(told: Counter[tuple[Any, ...]], copy: Copy) -> None:
    """Each event and each message is in the archive, once."""
    stored = Counter(
        ("event", str(task), group, timestamp, ordinal, 0, None)
        for task, group, timestamp, ordinal in copy.ask(
            'SELECT task_id, group_id, "timestamp", ordinal FROM task_event'
        )
    )
    assert Counter({each: times for each, times in told.items() if each[0] == "event"}) == stored
    messages = Counter({each[6]: times for each, times in told.items() if each[0] == "sent"})
    assert messages == Counter(number for (number,) in copy.ask("SELECT id FROM sent_message"))
