"""Does a process that is really killed while it prunes leave each payload whole or gone, and others whole?"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import SystemRandom
from typing import TYPE_CHECKING, Any

from archived_entries import assert_sound, make_signer
from killable import Forge
from pruned_rows import EPOCH, SUMS, Dump, assert_emptied_or_whole, dump, key_in, selected
from sqlalchemy import insert
from told_story import open_writing, store_elements, task_ids

from maia_sync.archive.create import create
from maia_sync.archive.keys import digests_path, load_signer, make_key
from maia_sync.archive.places import open_place
from maia_sync.sandbox.story import FIRST_DAY, Storyteller
from maia_sync.store.digest_key import DigestKeyFile, make_digest_key
from maia_sync.store.emptying import sum_task_again
from maia_sync.store.holds import insert_holds, lock_holds
from maia_sync.store.schema import quarantine, sent_message

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from maia_sync.store.database import Database

ROUNDS = 25
AT_ONCE = 3
HELD, *OTHERS = task_ids(4)


def store(database: Database) -> None:
    """Store tasks, of which one is on hold, with elements in quarantine and messages, old ones and new."""
    for number, task in enumerate((HELD, *OTHERS)):
        store_elements(database, task, Storyteller(f"old/{number}", FIRST_DAY).tell(60))
    with database.transaction() as tx:
        lock_holds(tx)
        insert_holds(tx, [HELD], reason="a case", held_by="me@here")
        for number, task in enumerate((HELD, *OTHERS) * 2):
            moment, raw = (FIRST_DAY if number < 4 else tx.now), b"[%d]" % number
            received = {"quarantined_at": moment, "digest": hashlib.sha256(raw).digest(), "raw": raw}
            tx.connection.execute(insert(quarantine).values(task_id=task, reason="no object", **received))
            sent = {"sent_at": moment, "completed_at": moment, "request": f'{{"message":"{number}"}}'}
            tx.connection.execute(
                insert(sent_message).values(task_id=task, sent_by="me", outcome="accepted", **sent)
            )


def moment_between(held: Dump) -> datetime:
    """Return a moment about which nothing happened for a while: two thirds of the events are older."""
    stamps = sorted(row["timestamp"] for row in held["task_event"].values())
    some = stamps[len(stamps) * 3 // 5 : len(stamps) * 3 // 4]
    gap, first = max((after - before, before) for before, after in pairwise(some))
    return EPOCH + timedelta(microseconds=(first + gap // 2) // 1000)


def death(rng: random.Random) -> dict[str, Any]:
    """Return when a process is to die: in the verification, or in the transactions that take payloads out."""
    way = rng.randrange(6)
    if way == 0:
        return {"die_at": rng.randrange(1, 60)}
    if way == 1:
        return {}  # it is killed from without
    beginning = ("UPDATE task_event SET", "UPDATE archive_prune", "UPDATE archive_log", "SELECT task.task_id")
    return {"die_before": [beginning[way - 2], rng.randrange(1, 5)]}


def test_kills_inside_a_prune_leave_each_payload_whole_or_gone_and_touch_no_other(
    environ_for: Callable[..., dict[str, str]], database_url: str, tmp_path: Path
) -> None:
    seed = int(os.environ.get("MAIA_SYNC_TEST_SEED") or SystemRandom().randrange(10**9))
    print(f"seed {seed}")
    rng = random.Random(seed)
    key_file, place = tmp_path / "archive.key", open_place(str(tmp_path / "archive"))
    key = make_key(key_file, make_signer().name)
    make_digest_key(digests_path(key_file))
    environ = environ_for(
        "http://127.0.0.1:9", database_url, archive__url=place.name, archive__key_file=key_file
    )
    kills = whole = inside = 0
    with closing(open_writing(database_url)) as database, Forge() as forge:
        database.digest_key = DigestKeyFile(digests_path(key_file))
        store(database)
        create(database, place, load_signer(key_file), worker="test", clock=database.clock)
        before = dump(database)
        limit = moment_between(before)
        chosen = selected(before, limit, but={HELD})

        def start(**order: Any) -> Any:
            seconds = (datetime.now(UTC) - limit).total_seconds()
            return forge.start(
                environ, call="pruning_child:prune", older_than=seconds, at_once=AT_ONCE, **order
            )

        gone = 0
        while kills < ROUNDS:
            order = death(rng)
            life = start(**order)
            assert any("calling" in line for line in life.lines()), life.told
            if not order:
                time.sleep(0.3 * rng.random())
                life.send(signal.SIGKILL)
            life.end()
            found = assert_emptied_or_whole(before, dump(database), chosen, key_in(digests_path(key_file)))
            inside += gone < found < len(chosen)
            gone = found
            if life.status == 0:
                assert life.told[-2]["called"]["findings"] == [], life.told
                whole += 1
                assert whole < 3 * ROUNDS
                continue
            assert life.status == -signal.SIGKILL, life.told
            kills += 1
        last = start()
        last.end()
        assert last.status == 0, last.told
        assert [line["called"]["findings"] for line in last.told if "called" in line] == [[]], last.told
        after = dump(database)
        assert assert_emptied_or_whole(before, after, chosen, key_in(digests_path(key_file))) == len(chosen)
        assert_sound(place, key, database)
        with database.transaction() as tx:
            for task in (HELD, *OTHERS):
                sum_task_again(tx, task)
        again = dump(database)
        assert {name: again[name] for name in SUMS} == {name: after[name] for name in SUMS}
    print(f"{kills} kills inside a prune, {inside} rounds took out some; {whole} prunes were not hit")
