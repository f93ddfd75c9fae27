"""What do stored payloads look like? A sample of them, from every task and from every part of its log.

No events are scanned. Of at most MOST_TASKS tasks, each gets its share of the sample, read in short runs of
rows that an index leads to: where a log is longer than its share, the runs begin at even distances, and the
last one ends with the newest row. The runs of all tasks take turns, so that a sample which ends early, for
having become too many bytes, is spread as well.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import Text, case, cast, func, select

from maia_sync.store.schema import task, task_event

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import ColumnElement

    from maia_sync.store.database import Transaction

MOST_TASKS = 1_000
LONGEST_PAYLOAD = 1024 * 1024
"""A longer payload is counted, but not read."""
MOST_BYTES = 64 * 1024 * 1024
RUN_ROWS = 20
"""So many payloads are in memory at the same time."""
_LEAST_RUNS = 3
_LEAST_TASKS = 100  # however few payloads are wanted: some tasks may have none
_columns = task_event.c
_KEY = (_columns.group_id, _columns.timestamp, _columns.ordinal)


class SampledPayload(msgspec.Struct, frozen=True, kw_only=True):
    """One stored payload, exactly as it came."""

    task_id: str
    data: str | None
    """None for an event without data, and for a payload that is too long."""
    is_too_long: bool


class _Log(msgspec.Struct, frozen=True, kw_only=True):
    """One task's log: from where to where, and how many rows it has, counted no further than needed."""

    task_id: str
    first: int
    last: int
    rows: int
    is_longer: bool


class _Run(msgspec.Struct, frozen=True, kw_only=True):
    """Some neighbouring rows of a log."""

    task_id: str
    rows: int
    start: int | None
    """The seq of the first row; None for the newest rows."""
    skipped: int = 0


def read_sample(tx: Transaction, wanted: int, *, task_ids: Sequence[str] = ()) -> Iterator[SampledPayload]:
    """Yield at most `wanted` payloads, of all tasks or of these; fewer where they come to MOST_BYTES.

    The same rows of an unchanged database, in the same order. Vanished events are stored ones.
    """
    if wanted < 1:
        return
    chosen = list(task_ids) or _choose_tasks(tx, min(MOST_TASKS, max(_LEAST_TASKS, wanted // _LEAST_RUNS)))
    logs = _read_logs(tx, chosen, wanted)
    shares = _shares([log.rows for log in logs], wanted)
    runs = [_runs_of(log, share, turn) for turn, (log, share) in enumerate(zip(logs, shares, strict=True))]
    met: set[tuple[Any, ...]] = set()
    left = MOST_BYTES
    for turn_of_all in zip_longest(*runs):
        for run in turn_of_all:
            for payload, key in [] if run is None else _read_run(tx, run):
                if key not in met:
                    met.add(key)
                    left -= len(payload.data or "")
                    yield payload
            if left <= 0:
                return


def _choose_tasks(tx: Transaction, most: int) -> list[str]:
    """Return tasks at even distances; those that have had news first, as the others may have no events."""
    chosen: list[str] = []
    for condition in (task.c.last_news_at.is_not(None), task.c.last_news_at.is_(None)):
        room = most - len(chosen)
        if room:
            number = tx.connection.execute(
                select(func.count()).select_from(task).where(condition)
            ).scalar_one()
            chosen += _every_nth(tx, condition, max(1, -(-int(number) // room)))
    return chosen


def _every_nth(tx: Transaction, condition: ColumnElement[bool], distance: int) -> list[str]:
    place = (func.row_number().over(order_by=task.c.task_id) - 1).label("place")
    placed = select(task.c.task_id, place).where(condition).subquery()
    statement = select(placed.c.task_id).where(placed.c.place % distance == 0).order_by(placed.c.task_id)
    return [str(task_id) for task_id in tx.connection.execute(statement).scalars()]


def _read_logs(tx: Transaction, task_ids: Sequence[str], wanted: int) -> list[_Log]:
    """Return the logs that are not empty."""
    # Shorter logs leave their share to longer ones, whose rows need not be counted to the end for that.
    enough = wanted if len(task_ids) <= RUN_ROWS else min(wanted, 8 * -(-wanted // len(task_ids)))
    logs = []
    for task_id in task_ids:
        seqs = select(_columns.seq).where(_columns.task_id == task_id)
        row = tx.connection.execute(
            select(
                seqs.order_by(_columns.seq).limit(1).scalar_subquery(),
                seqs.order_by(_columns.seq.desc()).limit(1).scalar_subquery(),
                select(func.count()).select_from(seqs.limit(enough + 1).subquery()).scalar_subquery(),
            )
        ).one()
        if row[2]:
            rows = min(row[2], enough)
            logs.append(
                _Log(task_id=task_id, first=row[0], last=row[1], rows=rows, is_longer=row[2] > enough)
            )
    return logs


def _shares(available: Sequence[int], wanted: int) -> list[int]:
    """Share out rows: as evenly as the logs' lengths allow."""
    shares = [0] * len(available)
    for done, at in enumerate(sorted(range(len(available)), key=lambda at: available[at])):
        shares[at] = min(available[at], wanted // (len(available) - done))
        wanted -= shares[at]
    return shares


def _runs_of(log: _Log, share: int, turn: int) -> list[_Run]:
    """Return which rows of a log are read: all of them, or runs at even distances."""
    if share == log.rows and not log.is_longer:
        starts = range(0, share, RUN_ROWS)
        return [
            _Run(task_id=log.task_id, rows=min(RUN_ROWS, share - at), start=log.first, skipped=at)
            for at in starts
        ]
    number = max(min(_LEAST_RUNS, share), -(-share // RUN_ROWS))
    runs = []
    for at in range(number):
        # One run alone is early, late or in the middle: the tasks take turns.
        part, of = (turn % 3, 2) if number == 1 else (at, number - 1)
        rows = share * (at + 1) // number - share * at // number
        start = None if part == of else log.first + (log.last - log.first) * part // of
        runs.append(_Run(task_id=log.task_id, rows=rows, start=start))
    return [*runs[:1], *runs[-1:], *runs[1:-1]] if number > 1 else runs


def _read_run(tx: Transaction, run: _Run) -> list[tuple[SampledPayload, tuple[Any, ...]]]:
    if tx.is_postgresql:
        size: ColumnElement[int] = func.octet_length(cast(_columns.data, Text))
    else:
        size = func.length(_columns.data)  # in characters: that of text costs no copy of it
    is_short = size <= LONGEST_PAYLOAD
    statement = (
        select(*_KEY, case((is_short, _columns.data)), size > LONGEST_PAYLOAD)
        .where(_columns.task_id == run.task_id)
        .limit(run.rows)
        .offset(run.skipped)
    )
    if run.start is None:
        statement = statement.order_by(_columns.seq.desc())
    else:
        statement = statement.where(_columns.seq >= run.start).order_by(_columns.seq)
    return [
        (
            SampledPayload(task_id=run.task_id, data=row[3], is_too_long=bool(row[4])),
            (run.task_id, row[0], row[1], row[2]),
        )
        for row in tx.connection.execute(statement)
    ]
