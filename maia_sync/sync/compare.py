"""What does a page come to against the rows that are stored? Reads what `identity` has to know.

Most pages need one read: an idle poll finds its window repeated, a backfill finds it empty. Only a
page that meets stored keys in another place looks rows up by key.

Rows whose payloads were removed are made comparable here (see `known_again`, and `erased_again` for earlier
payloads): `identity` knows nothing of it.
"""

from __future__ import annotations

from functools import cache, partial
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec

from maia_sync.model import PagePlan, StoredRow, Window
from maia_sync.store import events as event_store
from maia_sync.store.digest_key import is_keyed
from maia_sync.store.windows import read_window as stored_window
from maia_sync.sync.canonical import canonical_of_event, canonical_of_payload
from maia_sync.sync.direction import Drift
from maia_sync.sync.erased_again import decide_knowing, told_as_rows
from maia_sync.sync.identity import (
    Question,
    RowName,
    decide,
    is_repetition,
    name_of,
    plan_all_new,
    unmatched_events,
)
from maia_sync.sync.known_again import known_again
from maia_sync.sync.order import START

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

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
    served = events if following is None else [*events, *following]
    window = read_window(tx, log, cursor_seq, len(events) + MARGIN, served)
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
    plan = decide_knowing(tx, log, look_up(tx, log, question, unmatched))
    return Compared(plan=plan, window=window)


def read_window(tx: Transaction, log: TaskLog, after: int, limit: int, events: Sequence[Event]) -> Window:
    """Return the stored rows behind a place as they compare with events. Raises DigestKeyMissing."""
    window = stored_window(tx, log, after, limit)
    rows = known_again(tx.digest_key, window.rows, events)
    return window if rows is window.rows else msgspec.structs.replace(window, rows=rows)


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
    window = read_window(tx, log, START, len(events), events)
    if is_repetition(events, window):
        return True
    question = Question(events=events, cursor_seq=START, window=window, last_page=False)
    told = told_as_rows(tx, log, question, unmatched_events(events, window))
    return told is not None and is_repetition(told.events, window)


def is_upside_down(tx: Transaction, log: TaskLog, events: Sequence[Event]) -> bool:
    """Tell whether rows have to be turned round, now that their log proves to be served the other way.

    They have if the page, which is served the other way, meets them in the order of their places; and
    if it meets none, if their own timestamps run against the order under which they were stored.
    """
    keys = list({(event.group_id, event.timestamp) for event in events})
    found = event_store.read_rows_of_keys(tx, log, keys, lambda _: [])
    rows = known_again(tx.digest_key, found.rows, events)
    places = {(row.group_id, row.timestamp, row.digest): row.seq for row in rows}
    names = ((event.group_id, event.timestamp, event.digest) for event in events)
    met = [places[name] for name in names if name in places]
    if len(met) > 1:
        return sum(1 if behind > before else -1 for before, behind in pairwise(met)) > 0
    drift = Drift()
    drift.add([row.timestamp for row in stored_window(tx, log, START, MARGIN).rows])
    direction = drift.direction()
    return direction is not None and (direction.order == "newest-first") != log.newest_first


def look_up(tx: Transaction, log: TaskLog, question: Question, unmatched: Sequence[Event]) -> Question:
    """Add to the question the rows outside its window that have the unmatched events' keys."""
    by_key: dict[EventKey, list[Event]] = {}
    for event in unmatched:
        by_key.setdefault((event.group_id, event.timestamp), []).append(event)

    keyed = cache(partial(event_store.read_keyed_digest, tx, log.task_id))

    def canonicals_of(key: EventKey) -> list[bytes]:
        canonicals = [canonical_of_event(event) for event in by_key[key]]
        digest = keyed()
        if digest is not None:  # some rows of the task stand under keyed ones
            canonicals += map(tx.digest_key.require(digest).of, canonicals[:])
        return canonicals

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
    looked_up = known_again(tx.digest_key, list(rows.values()), unmatched)
    suspects = [row for row in (*looked_up, *question.window.rows) if (row.group_id, row.timestamp) in by_key]
    canonicals = _canonicals(tx, log.task_id, suspects)
    alone = {key for key, ordinals in found.next_ordinals.items() if ordinals == 1}
    return msgspec.structs.replace(
        question,
        window=msgspec.structs.replace(
            question.window, rows=_without_canonicals(question.window.rows, alone, canonicals)
        ),
        looked_up=_without_canonicals(looked_up, alone, canonicals),
        next_ordinals=found.next_ordinals,
        canonicals=canonicals,
    )


def _without_canonicals(
    rows: Sequence[StoredRow], alone: Container[EventKey], canonicals: dict[RowName, bytes]
) -> list[StoredRow]:
    """Hand on rows without a payload that are alone under their keys as if they carried no canonical digest.

    As other rows that are alone do not: once another payload takes such a row's place, it carries none.
    """
    found: list[StoredRow] = []
    for row in rows:
        if row.canonical is not None and is_keyed(row.canonical) and (row.group_id, row.timestamp) in alone:
            canonicals[name_of(row)] = row.canonical
            row = msgspec.structs.replace(row, canonical=None)  # noqa: PLW2901
        found.append(row)
    return found


def _canonicals(tx: Transaction, task_id: str, rows: Sequence[StoredRow]) -> dict[RowName, bytes]:
    """Make the canonical digests of rows that carry none, from their stored payloads."""
    bare = [row for row in rows if row.canonical is None]
    payloads = event_store.read_payloads(tx, task_id, bare)
    return {
        name: canonical_of_payload(payload.data, payload.extra, payload.timestamp_text)
        for name, payload in payloads.items()
    }
