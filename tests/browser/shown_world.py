"""What do the pages of these tests show? Databases with everything that a page can meet.

`HostileWorld` has an attack in every field. `OrdinaryWorld` is made of the sandbox's stories, and of what
befalls logs: changes, vanishings, quarantine, failures, payloads of megabytes, a turn of thousands of events.
"""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import count
from typing import TYPE_CHECKING, Any
from uuid import UUID

from attacks import ATTACKS
from sqlalchemy import insert, select, update

from maia_sync.analytics.facet_reader import FacetReader
from maia_sync.clock import SystemClock
from maia_sync.facet_settings import FacetsSettings
from maia_sync.maia.wire import decode_page
from maia_sync.model import NewRow, TaskLog
from maia_sync.sandbox.story import Storyteller
from maia_sync.store.bulk import insert_new_rows
from maia_sync.store.database import Database
from maia_sync.store.events import read_marked_just_now
from maia_sync.store.schema import (
    quarantine,
    sent_message,
    sync_run,
    task,
    task_event,
    task_event_revision,
    task_source,
)
from maia_sync.store.summaries import add_events, sum_again
from maia_sync.store.tasks import upsert_tasks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from maia_sync.store.database import Transaction

STEP = 1 << 20
PER_TASK = 10
"""Attacks in the log of one task, which is all of one day."""


def task_id(number: int) -> str:
    return str(UUID(int=(number << 96) | (4 << 76) | (8 << 60)))


def open_database(url: str) -> Database:
    return Database(url=url.replace("postgresql://", "postgresql+psycopg://", 1), clock=SystemClock())


def store(tx: Transaction, task: str, elements: Sequence[bytes], *, after: int = 0) -> None:
    """Append elements to a task's log, as a walk would."""
    reader = FacetReader(FacetsSettings())
    page = decode_page(b'{"results":[%b]}' % b",".join(elements))
    assert len(page.events) == len(elements), page.quarantined
    seqs = count(after + STEP, STEP)
    rows = [NewRow(event=event, ordinal=0, seq=next(seqs)) for event in page.events]
    facets = insert_new_rows(tx, TaskLog(task_id=task), rows, None, reader)
    groups, moments = [row.event.group_id for row in rows], [row.event.occurred_at for row in rows]
    add_events(tx, task, groups, moments, facets)


def revise(tx: Transaction, task: str, earlier: str, *, like: str) -> list[dict[str, Any]]:
    """Give the events whose payload contains `like` an earlier payload; return their keys."""
    columns = task_event.c
    chosen = select(task_event).where(columns.task_id == task)
    rows = [row for row in tx.connection.execute(chosen) if like in (row.data or "")]
    keys = []
    for row in rows:
        before = row.data.replace('"text":"', f'"text":"{earlier} ', 1)
        key = {"task_id": task, "group_id": row.group_id, "timestamp": row.timestamp, "ordinal": row.ordinal}
        history = {
            "revision": 0,
            "data": before,
            "extra": row.extra,
            "timestamp_text": f"{earlier} {row.timestamp_text}",
            "digest": sha256(before.encode()).digest(),
            "seen_at": row.first_seen_at,
            "superseded_at": tx.now,
        }
        tx.connection.execute(insert(task_event_revision).values({**key, **history}))
        of_row = [columns[name] == value for name, value in key.items()]
        changed = update(task_event).where(*of_row).values(revision=1, last_changed_at=tx.now)
        tx.connection.execute(changed)
        keys.append(key)
    return keys


def vanish(tx: Transaction, task: str, *, like: str) -> None:
    """Mark the events whose payload contains `like` as vanished."""
    columns = task_event.c
    chosen = select(columns.group_id, columns.timestamp, columns.data).where(columns.task_id == task)
    for row in tx.connection.execute(chosen).all():
        if like in (row.data or ""):
            of_row = (
                columns.task_id == task,
                columns.group_id == row.group_id,
                columns.timestamp == row.timestamp,
            )
            tx.connection.execute(update(task_event).where(*of_row).values(vanished_at=tx.now))
    sum_again(tx, task, list(read_marked_just_now(tx, task)))


def set_aside(tx: Transaction, task: str, raw: bytes, reason: str) -> None:
    """Put bytes into quarantine."""
    row = {"task_id": task, "digest": sha256(raw).digest(), "raw": raw, "reason": reason}
    tx.connection.execute(insert(quarantine).values({**row, "quarantined_at": tx.now}))


def note_run(tx: Transaction, **values: Any) -> None:
    """Write a run down."""
    ended = {"started_at": tx.now - timedelta(minutes=1), "ended_at": tx.now}
    row = {"kind": "poll", "worker": "worker-1:17:ab", "status": "succeeded", **ended, **values}
    tx.connection.execute(insert(sync_run).values(row))


@dataclass(frozen=True)
class HostileWorld:
    """Attacks in every field; the attacks of a chunk are in the log of one task, and happened on one day."""

    tasks: tuple[str, ...]
    days: tuple[str, ...]
    changed: tuple[dict[str, Any], ...]
    """Keys of the events that have a revision, one for each attack."""


def make_hostile_world(database_url: str) -> HostileWorld:
    """Fill a database with attacks."""
    chunks = [ATTACKS[at : at + PER_TASK] for at in range(0, len(ATTACKS), PER_TASK)]
    today = datetime.now(UTC).date()
    days = [str(today - timedelta(days=len(chunks) - number)) for number in range(len(chunks))]
    tasks = [task_id(number) for number in range(len(ATTACKS))]
    changed: list[dict[str, Any]] = []
    with closing(open_database(database_url)) as database, database.transaction() as tx:
        for name, attack in zip(tasks, ATTACKS, strict=True):
            _hostile_task(tx, name, attack)
        for name, chunk, day in zip(tasks, chunks, days, strict=False):
            store(tx, name, [element for attack in chunk for element in hostile_turn(attack, day)])
            changed += revise(tx, name, "before", like='"revised"')
            vanish(tx, name, like='"vanishing"')
            for attack in chunk:
                set_aside(tx, name, attack.encode("utf-8", "surrogatepass") + b"\xff", _storable(attack))
    assert len(changed) == len(ATTACKS)
    return HostileWorld(tuple(tasks[: len(chunks)]), tuple(days), tuple(changed))


def hostile_turn(attack: str, day: str) -> list[bytes]:
    """Return a turn of a log whose every field is an attack."""
    error = {"code": attack, "message": attack, "type": attack}
    call = {"toolName": attack, "toolCallId": attack}
    payloads: tuple[Any, ...] = (
        {"type": "message", "role": "user", "text": attack, "userId": attack, "userName": attack},
        {"type": "message", "role": "user", "text": attack, "attachments": [{"url": attack, "name": attack}]},
        {"type": "message", "role": "assistant", "text": attack, "agentName": attack, "model": attack},
        {"type": "message", "role": "assistant", "text": f"a\n{attack}\nb"},
        {"type": "plan", "role": "assistant", "text": attack, "steps": [attack, {attack: attack}]},
        {"type": "plan", "role": "assistant", "text": attack, "vanishing": attack},
        {"type": "tool_call", **call, "arguments": {attack: attack, "list": [attack], "text": attack}},
        {
            "type": "tool_result",
            **call,
            "status": "failed",
            "durationMs": 7,
            "result": attack,
            "error": error,
        },
        {"type": "tool_call", "toolName": attack, "arguments": attack, "role": attack},
        {
            "type": "tool_result",
            "toolName": attack,
            "output": {attack: [attack]},
            "content": [{"text": attack}],
        },
        {"type": "error", "error": error, "errorType": attack, "status": attack, "message": attack},
        {"type": "usage", "model": attack, "inputTokens": 5, "outputTokens": 7, "cost": 0.5, "note": attack},
        {"type": "status", "status": attack, "agentName": attack},
        {"type": attack, "role": attack, "text": attack, attack: attack},
        {"content": [{"type": "text", "text": attack}], "role": "assistant"},
        attack,
        [attack, {attack: attack}],
    )
    elements = [
        {"data": payload, "groupId": attack, "timestamp": f"{day}T08:00:{number:02d}Z"}
        for number, payload in enumerate(payloads)
    ]
    everything = {
        "type": "tool_result",
        "text": attack,
        "userId": attack,
        "agentName": attack,
        "model": attack,
    }
    everything |= {**call, "status": attack, "isError": True, "errorType": attack, "revised": attack}
    odd = {"data": everything, "groupId": attack, "timestamp": attack, attack: attack, "field": attack}
    return [_json(each) for each in (*elements, odd)]


def _json(element: dict[str, Any]) -> bytes:
    """Return an element as it may come: in UTF-8 as far as it can be said in it."""
    try:
        return json.dumps(element, separators=(",", ":"), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(element, separators=(",", ":")).encode()


def _hostile_task(tx: Transaction, name: str, attack: str) -> None:
    """Track a task about which everything that can be an attack is one."""
    text = _storable(attack)
    upsert_tasks(tx, [name], label=text)
    trouble = {"last_error": text, "last_error_at": tx.now, "failures": 3, "paused_by": text[:16]}
    tx.connection.execute(update(task).where(task.c.task_id == name).values({**_leased(tx, text), **trouble}))
    tx.connection.execute(insert(task_source).values(task_id=name, source=text[:32]))
    note_run(tx, worker=text, status="failed", error=text, tasks=1, tasks_failed=1)
    sent = {"task_id": name, "sent_by": text, "sent_at": tx.now, "request": json.dumps({"message": attack})}
    tx.connection.execute(insert(sent_message).values(**sent, outcome="refused", error=text))


def _leased(tx: Transaction, worker: str) -> dict[str, Any]:
    until = tx.now + timedelta(hours=1)
    return {"lease_owner": worker, "lease_acquired_at": tx.now, "lease_expires_at": until}


def _storable(text: str) -> str:
    """Return what both databases take as text."""
    return text.replace("\0", "").encode("utf-8", "ignore").decode()


@dataclass(frozen=True)
class OrdinaryWorld:
    """Tasks with the stories of agents, and some to which something has happened."""

    told: str
    """A task with some turns, changes, vanished events and quarantine."""
    long: str
    """A task whose one turn has thousands of events, in a full world."""
    large: str
    """A task with messages of megabytes, in a full world."""
    empty: str


def make_ordinary_world(database_url: str, *, full: bool) -> OrdinaryWorld:
    """Fill a database with what agents did in the last days: with much, or with a little of everything."""
    start = datetime.now(UTC) - timedelta(days=3)
    told, other, long, large, empty = (task_id(number) for number in range(1, 6))
    labels = {told: "Orders, every morning", long: "A long night", large: "A large one", empty: None}
    with closing(open_database(database_url)) as database, database.transaction() as tx:
        for name, label in labels.items():
            upsert_tasks(tx, [name], label=label)
        for number, name in enumerate((told, other)):
            upsert_tasks(tx, [name])
            store(tx, name, Storyteller(f"browser/{number}", start).tell(400 if full else 60))
        assert revise(tx, told, "Earlier:", like='"type":"userMessage"')
        vanish(tx, told, like='"type":"taskStatus"')
        set_aside(tx, told, b'"no object"', "not an object")
        set_aside(tx, told, b'{"data": "\xff\xfe"}', "not UTF-8")
        _befall(tx, other, long, runs=30 if full else 2)
        if full:
            upsert_tasks(tx, [task_id(number) for number in range(20, 90)])
            store(tx, long, [_line(start, number) for number in range(10_000)])
            store(tx, large, [_message(start, number, "word " * 600_000) for number in range(3)])
    return OrdinaryWorld(told=told, long=long, large=large, empty=empty)


def _line(start: datetime, number: int) -> bytes:
    when = (start + timedelta(seconds=number)).isoformat()
    data = {"type": "message", "role": "assistant", "text": f"Row {number} is **loaded**.\n\n- a\n- b"}
    return json.dumps({"data": data, "groupId": "one-turn", "timestamp": when}).encode()


def _message(start: datetime, number: int, text: str) -> bytes:
    when = (start + timedelta(hours=number)).isoformat()
    data = {"type": "message", "role": "user", "text": text, "n": number}
    return json.dumps({"data": data, "groupId": f"turn-{number}", "timestamp": when}).encode()


def _befall(tx: Transaction, failing: str, held: str, *, runs: int) -> None:
    """Let one task fail, one be held, and some runs have been."""
    columns = task.c
    failed = {"last_error": "403: the credentials may not read this task", "last_error_at": tx.now}
    tx.connection.execute(update(task).where(columns.task_id == failing).values(**failed, failures=2))
    leased = _leased(tx, "worker-1:17:ab")
    tx.connection.execute(update(task).where(columns.task_id == held).values(leased))
    for number in range(runs):
        note_run(tx, requests=number, tasks=5, events_new=number * 10, status="succeeded")
    note_run(tx, kind="reconcile", status="failed", error="upstream is down", tasks_failed=1)
