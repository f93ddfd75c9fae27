"""What does a page come to against the rows that are stored? Reads what `identity` has to know.

Most pages need one read: an idle poll finds its window repeated, a backfill finds it empty. Only a
page that meets stored keys in another place looks rows up by key.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec

from maia_sync.model import PagePlan, StoredRow, Window
from maia_sync.store import events as event_store
from maia_sync.sync.canonical import canonical_of_event, canonical_of_payload
from maia_sync.sync.direction import Drift
from maia_sync.sync.identity import (
    Question,
    RowName,
    decide,
    is_repetition,
    name_of,
    plan_all_new,
    unmatched_events,
)
from maia_sync.sync.order import START

if TYPE_CHECKING:
    from collections.abc import Sequence

    from maia_sync.model import Event, EventKey, TaskLog
    from maia_sync.store.database import Transaction

MARGIN = 100
"""Rows read beyond as many as the page has events: room for a few that upstream no longer serves."""


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """A page's plan, and the rows behind the cursor that it was decided against."""

    plan: PagePlan
    window: Window


def compare_page(
    tx: Transaction,
    log: TaskLog,
    events: Sequence[Event],
    cursor_seq: int,
    *,
    last_page: bool,
    following: Sequence[Event] | None = None,
    look_first: bool = False,
) -> Compared:
    """Decide what a page comes to.

    Keys that are not in the window are taken to be new, as they are in nearly every page; the insert
    finds out if they are not, and then the page is compared again with `look_first`. `following` are
    the events of the page behind, where they are known (see `identity`).
    """
    window = event_store.read_window(tx, log, cursor_seq, len(events) + MARGIN)
    if is_repetition(events, window):
        return Compared(plan=_repetition(events, window, cursor_seq), window=window)
    question = Question(
        events=events,
        newest_first=log.newest_first,
        cursor_seq=cursor_seq,
        window=window,
        last_page=last_page,
        following=following,
    )
    unmatched = unmatched_events(events, window)
    window_keys = {(row.group_id, row.timestamp) for row in window.rows}
    met_keys = bool(window_keys) and any(
        (event.group_id, event.timestamp) in window_keys for event in unmatched
    )
    if not met_keys and not look_first:
        plan = None if window.rows else plan_all_new(question)
        return Compared(plan=plan or decide(question, canonical_of_event), window=window)
    plan = decide(look_up(tx, log, question, unmatched), canonical_of_event)
    return Compared(plan=plan, window=window)


def _repetition(events: Sequence[Event], window: Window, cursor_seq: int) -> PagePlan:
    matched = window.rows[: len(events)]
    return PagePlan(
        new=[],
        changed=[],
        returned=[],
        canonicals=[],
        matched=matched,
        ending=matched,
        unchanged=len(events),
        top_seq=matched[-1].seq if matched else cursor_seq,
    )


def is_stored_from_start(tx: Transaction, log: TaskLog, events: Sequence[Event]) -> bool:
    """Tell whether a log's first page brings just what is stored of its beginning."""
    return is_repetition(events, event_store.read_window(tx, log, START, len(events)))


def is_upside_down(tx: Transaction, log: TaskLog, events: Sequence[Event]) -> bool:
    """Tell whether rows have to be turned round, now that their log proves to be served the other way.

    They have if the page, which is served the other way, meets them in the order of their places; and
    if it meets none, if their own timestamps run against the order under which they were stored.
    """
    keys = list({(event.group_id, event.timestamp) for event in events})
    found = event_store.read_rows_of_keys(tx, log, keys, lambda _: [])
    places = {(row.group_id, row.timestamp, row.digest): row.seq for row in found.rows}
    names = ((event.group_id, event.timestamp, event.digest) for event in events)
    met = [places[name] for name in names if name in places]
    if len(met) > 1:
        return sum(1 if behind > before else -1 for before, behind in pairwise(met)) > 0
    drift = Drift()
    drift.add([row.timestamp for row in event_store.read_window(tx, log, START, MARGIN).rows])
    direction = drift.direction()
    return direction is not None and (direction.order == "newest-first") != log.newest_first


def look_up(tx: Transaction, log: TaskLog, question: Question, unmatched: Sequence[Event]) -> Question:
    """Add to the question the rows outside its window that have the unmatched events' keys."""
    by_key: dict[EventKey, list[Event]] = {}
    for event in unmatched:
        by_key.setdefault((event.group_id, event.timestamp), []).append(event)

    def canonicals_of(key: EventKey) -> list[bytes]:
        return [canonical_of_event(event) for event in by_key[key]]

    found = event_store.read_rows_of_keys(tx, log, list(by_key), canonicals_of)
    rows = {name_of(row): row for row in found.rows}
    if question.window.next_seq is not None:
        behind = question.window.rows[-1].seq if question.window.rows else question.cursor_seq
        most = 2 * len(question.events)
        for key, stored in found.next_ordinals.items():
            if stored > 1:  # else it is among those found
                more = event_store.read_rows_of_key_behind(tx, log, key, behind, most, stored=stored)
                rows.update((name_of(row), row) for row in more)
    for row in question.window.rows:
        rows.pop(name_of(row), None)
    looked_up = list(rows.values())
    suspects = [row for row in (*looked_up, *question.window.rows) if (row.group_id, row.timestamp) in by_key]
    return msgspec.structs.replace(
        question,
        looked_up=looked_up,
        next_ordinals=found.next_ordinals,
        canonicals=_canonicals(tx, log.task_id, suspects),
    )


def _canonicals(tx: Transaction, task_id: str, rows: Sequence[StoredRow]) -> dict[RowName, bytes]:
    """Make the canonical digests of rows that carry none, from their stored payloads."""
    bare = [row for row in rows if row.canonical is None]
    payloads = event_store.read_payloads(tx, task_id, bare)
    return {
        name: canonical_of_payload(payload.data, payload.extra, payload.timestamp_text)
        for name, payload in payloads.items()
    }
