"""How does one fetched page get into the database? One transaction: events, revisions, checkpoint.

The order never changes: prove the lease, compare, write rows, move the checkpoint. On the walk's
last page the same transaction notes the success and gives the lease back.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import msgspec

from maia_sync.errors import LogLoops
from maia_sync.model import Checkpoint, Cursor, Lease, Page, Reconcile, WalkKind
from maia_sync.store import events as event_store
from maia_sync.store.bulk import insert_new_rows
from maia_sync.store.checkpoints import advance_checkpoint
from maia_sync.store.leases import renew_lease
from maia_sync.store.quarantined import insert_quarantined
from maia_sync.store.tasks import finish_walk
from maia_sync.sync.compare import Compared, compare_page
from maia_sync.sync.order import add_seen, seen_by_either

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from maia_sync.model import SeenRows, StoredRow
    from maia_sync.store.database import Transaction

_DOUBTFUL_SHARE = 10
"""A reconcile that would mark more than a tenth of a task's rows must be borne out by a second."""


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """Where a walk stands: the page to be compared next, and the checkpoint as it is stored."""

    kind: WalkKind
    cursor: Cursor
    checkpoint: Checkpoint
    reconcile: Reconcile | None
    """Of a walk that reconciles: what it has seen. May be newer than the stored checkpoint's."""
    news: bool = False
    """The walk has found something new or changed on an earlier page."""


class PageWritten(msgspec.Struct, frozen=True, kw_only=True):
    """What one page came to, and where the walk goes on (None: it has reached the end)."""

    new: int
    changed: int
    unchanged: int
    quarantined: int
    vanished: int
    doubted: int
    advanced: bool
    """The page brought something, or led further into the log."""
    position: Position | None


def write_page(
    tx: Transaction,
    lease: Lease,
    position: Position,
    page: Page,
    following: Page | None,
    *,
    lease_seconds: float,
    limit: int,
    run_id: int,
    look_first: bool = False,
) -> PageWritten | None:
    """Write one page in the open transaction. Raises LeaseLost or LogLoops; then nothing is kept.

    Raises KeysTaken, and has the transaction undone, if a key that was taken to be new is stored;
    then it has to be called again in a new one, with `look_first`.

    Returns None, with nothing written, if it takes the page behind (`following`) to tell changes at
    the page's end from events that come there.
    """
    renew_lease(tx, lease, lease_seconds)
    compare = partial(
        compare_page, tx, lease.task_id, page.events, position.cursor.compare_seq, look_first=look_first
    )
    compared, last = _compare(compare, position, page, following, limit=limit)
    plan = compared.plan
    if plan.undecided:
        return None
    insert_new_rows(tx, lease.task_id, plan.new, run_id)
    event_store.revise_events(tx, lease.task_id, plan.changed, run_id)
    event_store.unmark_vanished(tx, lease.task_id, plan.returned)
    event_store.store_canonicals(tx, lease.task_id, plan.canonicals)
    quarantined = insert_quarantined(tx, lease.task_id, page.quarantined, run_id)
    news = bool(plan.new or plan.changed or plan.returned or quarantined)
    seen_before = position.reconcile.seen if position.reconcile else None
    moved = _moved(position, page, compared, run_id, last=last, news=news)
    vanished = doubted = 0
    if last:
        vanished, doubted, moved = _settle_reconcile(tx, lease.task_id, position, moved)
        moved = _end_reached(tx, lease.task_id, position, moved, [] if plan.new else plan.matched, news=news)
        finish_walk(tx, lease, news=moved.news or bool(vanished))
    if moved.checkpoint != position.checkpoint:
        advance_checkpoint(tx, lease, moved.checkpoint)
    return PageWritten(
        new=len(plan.new),
        changed=len(plan.changed),
        unchanged=plan.unchanged,
        quarantined=quarantined,
        vanished=vanished,
        doubted=doubted,
        advanced=news
        or plan.top_seq > position.cursor.compare_seq
        or (moved.reconcile is not None and moved.reconcile.seen != seen_before),
        position=None if last else moved,
    )


def _compare(
    compare: Callable[..., Compared], position: Position, page: Page, following: Page | None, *, limit: int
) -> tuple[Compared, bool]:
    """Compare the page; tell whether it is the log's last (DESIGN section 3, own token repeated)."""
    if page.next_token is None:
        return compare(last_page=True), True
    compared = compare(last_page=False, following=following.events if following else None)
    plan = compared.plan
    if page.next_token != position.cursor.page_token or plan.new or plan.changed or plan.undecided:
        return compared, False
    if page.element_count >= limit:
        raise LogLoops("the API serves a full page again and again under one page token")
    return compare(last_page=True), True


def _moved(
    position: Position, page: Page, compared: Compared, run_id: int, *, last: bool, news: bool
) -> Position:
    """Return the position behind the page; the checkpoint of a last page stays on that page."""
    cursor = position.cursor
    if not last and page.next_token != cursor.page_token:
        cursor = Cursor(page_token=page.next_token, compare_seq=compared.plan.top_seq)
    reconcile, checkpoint = position.reconcile, position.checkpoint
    if reconcile is not None:
        plan = compared.plan
        seen = reconcile.seen
        if seen.run_id is None:
            seen = msgspec.structs.replace(seen, run_id=run_id)
        seen = add_seen(seen, position.cursor.compare_seq, compared.window, plan.matched, plan.new)
        reconcile = msgspec.structs.replace(reconcile, cursor=cursor, seen=seen)
        checkpoint = msgspec.structs.replace(checkpoint, reconcile=reconcile)
    if position.kind != "reconcile":
        checkpoint = msgspec.structs.replace(checkpoint, cursor=cursor)
        if not last:
            checkpoint = msgspec.structs.replace(checkpoint, end_reached_at=None)
    return msgspec.structs.replace(
        position, cursor=cursor, checkpoint=checkpoint, reconcile=reconcile, news=position.news or news
    )


def _end_reached(
    tx: Transaction,
    task_id: str,
    position: Position,
    moved: Position,
    matched: Sequence[StoredRow],
    *,
    news: bool,
) -> Position:
    """Note that the end was reached; an idle poll leaves the checkpoint as it is."""
    cursor = position.cursor
    if matched and max(row.seq for row in matched) <= cursor.compare_seq:
        first = min(row.seq for row in matched)
        if event_store.count_unmarked_from(tx, task_id, first) == len(matched):
            # The log's last rows, met before under another token: compared from the first of them.
            cursor = msgspec.structs.replace(cursor, compare_seq=first - 1)
    checkpoint = msgspec.structs.replace(moved.checkpoint, cursor=cursor)
    if news or checkpoint.end_reached_at is None or position.reconcile is not None:
        checkpoint = msgspec.structs.replace(checkpoint, end_reached_at=tx.now)
    return msgspec.structs.replace(moved, checkpoint=checkpoint)


def _settle_reconcile(
    tx: Transaction, task_id: str, position: Position, moved: Position
) -> tuple[int, int, Position]:
    """Mark what a reconcile that reached the end was not served; returns (marked, in doubt, moved)."""
    if moved.reconcile is None:
        return 0, 0, moved
    seen = moved.reconcile.seen
    vanished, doubt = _mark_vanished(tx, task_id, seen, position.checkpoint)
    doubted = event_store.count_unseen(tx, task_id, seen) if doubt is not None else 0
    settled = msgspec.structs.replace(moved.checkpoint, reconcile=None, doubt=doubt, reconciled_at=tx.now)
    return vanished, doubted, msgspec.structs.replace(moved, checkpoint=settled)


def _mark_vanished(
    tx: Transaction, task_id: str, seen: SeenRows, before: Checkpoint
) -> tuple[int, SeenRows | None]:
    """Mark unseen rows; more than a tenth at once only where the last reconcile missed them too.

    Rows that a later run has stored were not missed by it.
    """
    unseen = event_store.count_unseen(tx, task_id, seen)
    if not unseen:
        return 0, None
    agreed = 0
    if before.doubt is not None:
        either = seen_by_either(seen, before.doubt)
        agreed = event_store.count_unseen(tx, task_id, either, by_run=before.doubt.run_id)
    rows = event_store.count_events(tx, task_id)
    if (unseen - agreed) * _DOUBTFUL_SHARE <= rows:
        return event_store.mark_vanished(tx, task_id, seen), None
    if before.doubt is not None and agreed:
        return event_store.mark_vanished(tx, task_id, either, by_run=before.doubt.run_id), seen
    return 0, seen
