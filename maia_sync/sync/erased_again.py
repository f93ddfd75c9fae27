"""Does a page bring back what was erased? An earlier payload of a row that was, and is served once more.

Another payload may stand in its row by now, or none. The event counts as that row all the same, and is not
stored again: known to the letter, as an earlier payload has one keyed digest. Payloads that were pruned are
no such: the archive holds them, and what upstream goes back to is what it serves, one more revision.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from maia_sync.store import events as event_store
from maia_sync.store.erased_revisions import read_erased_digest, read_erased_ordinals, was_anything_erased
from maia_sync.sync.canonical import canonical_of_event
from maia_sync.sync.identity import RowName, decide, name_of
from maia_sync.sync.known_again import known_again

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from maia_sync.model import Event, EventKey, PagePlan, TaskLog
    from maia_sync.store.database import Transaction
    from maia_sync.sync.identity import Question

    Payloads = dict[tuple[str, int, bytes], RowName]
    """Which row each payload was one of, by its key and digest."""


def decide_knowing(tx: Transaction, log: TaskLog, question: Question) -> PagePlan:
    """Decide what a page comes to whose keys were looked up; what was erased of their rows stays erased.

    Raises DigestKeyMissing if that cannot be told for want of the key.
    """
    plan = decide(question, canonical_of_event)
    while plan.new or plan.changed:
        news = [*(new.event for new in plan.new), *(change.event for change in plan.changed)]
        told = told_as_rows(tx, log, question, news)
        if told is None:
            break
        question, plan = told, decide(told, canonical_of_event)
    return plan


def told_as_rows(tx: Transaction, log: TaskLog, question: Question, news: Sequence[Event]) -> Question | None:
    """Return the question with events that were erased told as their rows; None if no news is one of them."""
    if not was_anything_erased(tx, log.task_id):
        return None
    found = _erased_of(tx, log.task_id, news)
    if not found:
        return None
    rows = {name_of(row): row for row in (*question.looked_up, *question.window.rows)}
    served = [*question.events, *(question.following or ())]
    others = [name for name in dict.fromkeys(found.values()) if name not in rows]
    more = known_again(tx.digest_key, event_store.read_rows_of_names(tx, log, others), served)
    rows.update((name_of(row), row) for row in more)
    told = {payload: rows[name].digest for payload, name in found.items() if name in rows}
    if not told:
        return None
    keys = {(group_id, timestamp) for group_id, timestamp, _ in rows}
    digests = {(row.group_id, row.timestamp, row.digest) for row in rows.values()}
    behind = (
        event
        for event in question.following or ()
        if (event.group_id, event.timestamp) in keys
        and (event.group_id, event.timestamp, event.digest) not in digests
    )
    found = _erased_of(tx, log.task_id, behind)
    told |= {payload: rows[name].digest for payload, name in found.items() if name in rows}
    return msgspec.structs.replace(
        question,
        events=_told(question.events, told),
        following=None if question.following is None else _told(question.following, told),
        looked_up=[*question.looked_up, *more],
    )


def _erased_of(tx: Transaction, task_id: str, events: Iterable[Event]) -> Payloads:
    """Return which of the events equal an earlier payload of a row that was erased."""
    by_key: dict[EventKey, set[bytes]] = {}
    for event in events:
        by_key.setdefault((event.group_id, event.timestamp), set()).add(event.digest)
    found: Payloads = {}
    for of_key, digests in by_key.items():
        erased = read_erased_digest(tx, task_id, of_key)
        if erased is None:
            continue
        key = tx.digest_key.require(erased)
        by_another = read_erased_digest(tx, task_id, of_key, not_by=key.id)
        if by_another is not None:
            tx.digest_key.require(by_another)
        keyed = {key.of(digest): digest for digest in digests}
        ordinals = read_erased_ordinals(tx, task_id, of_key, list(keyed))
        found.update(((*of_key, keyed[digest]), (*of_key, ordinal)) for digest, ordinal in ordinals.items())
    return found


def _told(events: Sequence[Event], digests: dict[tuple[str, int, bytes], bytes]) -> list[Event]:
    return [
        event
        if (digest := digests.get((event.group_id, event.timestamp, event.digest))) is None
        else msgspec.structs.replace(event, digest=digest)
        for event in events
    ]
