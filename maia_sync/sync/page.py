"""How does one fetched page get into the database? One transaction: events, revisions, checkpoint.

The order never changes: prove the lease, compare, write rows, move the checkpoint. On the walk's
last page the same transaction notes the success and gives the lease back. The first and the last of
these steps are made for several pages at once (see page_group.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from maia_sync.errors import LogLoops
from maia_sync.model import Cursor, Gap, Lease, LogOrder, Page, TaskLog
from maia_sync.page_events import events_of
from maia_sync.store import events as event_store
from maia_sync.store.archive_journal import Journal
from maia_sync.store.bulk import insert_new_rows
from maia_sync.store.checkpoints import advance_checkpoint
from maia_sync.store.facets import read_summed
from maia_sync.store.polls import Finish, give_way
from maia_sync.store.quarantined import insert_quarantined
from maia_sync.store.summaries import add_events, sum_again
from maia_sync.store.sums import count_alike
from maia_sync.store.windows import Stretch
from maia_sync.sync.compare import MARGIN, Compared, compare_page
from maia_sync.sync.gaps import left_behind, left_open, met_place
from maia_sync.sync.identity import name_of
from maia_sync.sync.order import add_seen, seen_by_either
from maia_sync.sync.position import Position, is_further, with_order
from maia_sync.sync.tail import with_quiet_counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from maia_sync.model import Checkpoint, PagePlan, PollPlanner, SeenRows, StoredRow
    from maia_sync.store.database import Transaction
    from maia_sync.store.facets import FacetReader, FacetRow
    from maia_sync.sync.identity import RowName

_DOUBTFUL_SHARE = 10
"""A reconcile that would mark more than a tenth of a task's rows must be borne out by a second."""


class PageWritten(msgspec.Struct, frozen=True, kw_only=True):
    """What one page came to, and where the walk goes on (None: it is over)."""

    new: int
    changed: int
    unchanged: int
    quarantined: int
    vanished: int
    doubted: int
    advanced: bool
    """The page brought something, or led further into the log."""
    position: Position | None
    gave_way: bool = False
    """There is more to read, but not now."""
    finish: Finish | None = None
    """What is to be noted of the walk in the same transaction, as it is over."""


@dataclass(frozen=True, kw_only=True)
class PageTerms:
    """On which terms a page is written."""

    run_id: int
    lease_seconds: float
    planner: PollPlanner
    full: bool
    """The walk is to reconcile."""
    gives_way_since: Checkpoint | None
    """It stops behind this page, if it has come further than from here. None: it goes on."""
    look_first: bool
    """The keys of rows that look new are looked up before they are inserted."""
    facets: FacetReader
    behind_asked: bool
    """The page behind has been asked for, so it will be walked too: what was served is stored."""


def stretch_of(lease: Lease, position: Position, page: Page) -> Stretch:
    """Return which stored rows `write_page` is going to read first."""
    return Stretch(_unturned(lease, position), position.cursor.compare_seq, len(page.events) + MARGIN)


def _unturned(lease: Lease, position: Position) -> TaskLog:
    """Return the log as it is stored now."""
    newest_first = position.checkpoint.newest_first != position.turn
    return TaskLog(task_id=lease.task_id, newest_first=newest_first)


def write_page(
    tx: Transaction,
    lease: Lease,
    position: Position,
    pages: tuple[Page, Page | None],
    terms: PageTerms,
    *,
    enrolled: bool,
) -> PageWritten | None:
    """Write the first of two pages in the open transaction; the second, if known, stands behind it.

    The lease has been proven there; `enrolled`: what happens to the task is noted for its archive.
    Raises LeaseLost or LogLoops; then nothing is kept.

    Raises KeysTaken, and has the transaction undone, if a key that was taken to be new is stored;
    then it has to be called again in a new one, with `look_first`.

    Returns None, with nothing written, if it takes the page behind (`following`) to tell changes at
    the page's end from events that come there.
    """
    journal = Journal(tx=tx, task_id=lease.task_id, run_id=terms.run_id, enrolled=enrolled)
    page, _ = pages
    log = TaskLog(task_id=lease.task_id, newest_first=position.checkpoint.newest_first)
    compared, at_end = _compare(tx, _unturned(lease, position), position, pages, terms)
    plan = compared.plan
    if plan.undecided:
        return None
    if position.turn:
        event_store.turn_seqs(tx, lease.task_id, journal)
    quarantined = 0
    if plan.new or plan.changed or plan.returned or plan.canonicals or page.quarantined:
        quarantined = _write_plan(tx, log, plan, page, terms=terms, journal=journal)
    news = bool(plan.new or plan.changed or plan.returned or quarantined)
    moved, over = _moved(
        position,
        page,
        compared,
        terms.run_id,
        at_end=at_end,
        news=news,
        behind_asked=terms.behind_asked,
    )
    vanished = doubted = 0
    finish: Finish | None = None
    reconciled = at_end and moved.reconcile is not None
    if at_end:
        vanished, doubted, moved = _settle_reconcile(tx, log, position, moved, journal)
    if over:
        moved = _ended(tx, log, position, moved, page, plan=plan, news=news, journal=journal)
        finish = _finish(lease, terms.planner, news=moved.news or bool(vanished), reconciled=reconciled)
    if moved.checkpoint != position.stored:
        advance_checkpoint(tx, lease, moved.checkpoint)
    seen_before = position.reconcile.seen if position.reconcile else None
    began = terms.gives_way_since
    stops = not over and began is not None and not terms.behind_asked and is_further(moved, began)
    if stops:
        give_way(tx, lease, polling=not terms.full)
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
        position=None if over or stops else msgspec.structs.replace(moved, stored=moved.checkpoint),
        gave_way=stops,
        finish=finish,
    )


def _finish(lease: Lease, planner: PollPlanner, *, news: bool, reconciled: bool) -> Finish:
    """Plan the next poll of a task whose walk has reached its end."""
    return Finish(
        lease=lease,
        next_poll=planner.after_walk(lease.state, "news" if news else "quiet"),
        news=news,
        reconciled=reconciled,
        until_reconcile=planner.until_reconcile(),
    )


def _write_plan(
    tx: Transaction, log: TaskLog, plan: PagePlan, page: Page, *, terms: PageTerms, journal: Journal
) -> int:
    """Write what was decided; returns how many elements went into quarantine."""
    task_id = log.task_id
    before = read_summed(tx, task_id, [*(change.row for change in plan.changed), *plan.returned])
    new_facets = insert_new_rows(tx, log, plan.new, terms.run_id, terms.facets)
    revised = event_store.revise_events(tx, task_id, plan.changed, terms.run_id, terms.facets)
    event_store.unmark_vanished(tx, task_id, plan.returned)
    journal.note_page(plan, revised.revisions)
    event_store.store_canonicals(tx, task_id, plan.canonicals)
    new = events_of(plan.new)
    add_events(tx, task_id, new.group_ids, new.occurred_ats, new_facets)
    sum_again(tx, task_id, _summed_otherwise(plan, before, revised.facets))
    return insert_quarantined(tx, task_id, page.quarantined, terms.run_id)


def _summed_otherwise(
    plan: PagePlan, before: dict[RowName, tuple[str | None, FacetRow]], changed_facets: list[FacetRow]
) -> Iterator[tuple[str, str | None]]:
    """Yield group and moment of each row that no longer comes to the same sums, before and after."""
    for row in plan.returned:
        yield row.group_id, before[name_of(row)][0]
    for change, facets in zip(plan.changed, changed_facets, strict=True):
        row, (occurred_at, earlier) = change.row, before[name_of(change.row)]
        # Unreadable timestamps, and those out of range, share a place in the key.
        if row.vanished or occurred_at != change.event.occurred_at or not count_alike(earlier, facets):
            yield row.group_id, occurred_at
            yield row.group_id, change.event.occurred_at


def _compare(
    tx: Transaction, log: TaskLog, position: Position, pages: tuple[Page, Page | None], terms: PageTerms
) -> tuple[Compared, bool]:
    """Compare the page; tell whether it is the log's last (DESIGN section 3, own token repeated)."""
    page, following = pages
    after = position.cursor.compare_seq
    compare = partial(compare_page, tx, log, page.events, after, look_first=terms.look_first)
    if page.next_token is None:
        return compare(last_page=True), True
    compared = compare(last_page=False, following=following.events if following else None)
    plan = compared.plan
    if page.next_token != position.cursor.page_token or plan.new or plan.changed or plan.undecided:
        return compared, False
    if page.element_count >= page.limit:
        raise LogLoops("the API serves a full page again and again under one page token")
    return compare(last_page=True), True


def _moved(
    position: Position,
    page: Page,
    compared: Compared,
    run_id: int,
    *,
    at_end: bool,
    news: bool,
    behind_asked: bool,
) -> tuple[Position, bool]:
    """Return the position behind the page, and whether the walk is over."""
    cursor, plan = position.cursor, compared.plan
    if not at_end and page.next_token != cursor.page_token:
        cursor = Cursor(page_token=page.next_token, compare_seq=plan.top_seq, limit=page.limit)
    reconcile, checkpoint = position.reconcile, position.checkpoint
    if reconcile is not None:
        seen = reconcile.seen
        if seen.run_id is None:
            seen = msgspec.structs.replace(seen, run_id=run_id)
        seen = add_seen(seen, position.cursor.compare_seq, compared.window, plan.matched, plan.new)
        reconcile = msgspec.structs.replace(reconcile, cursor=cursor, seen=seen)
        checkpoint = msgspec.structs.replace(checkpoint, reconcile=reconcile)
    ends = position.ends
    moved = msgspec.structs.replace(
        position,
        cursor=cursor,
        checkpoint=checkpoint,
        reconcile=reconcile,
        news=position.news or news,
        turn=False,
        grew_in_front=position.grew_in_front
        or (ends is not None and ends.whole and _any_new(plan, ends.first, -1)),
        grew_behind=position.grew_behind
        or (ends is not None and ends.whole and _any_new(plan, ends.last, 1)),
    )
    if position.kind == "reconcile":
        return moved, at_end
    if checkpoint.newest_first:
        met = None
        if not behind_asked:
            ending = compared.plan.ending
            met = met_place(ending, compared.window, position.floor, elements=page.element_count)
        return _moved_from_new_to_old(position, moved, met, at_end=at_end)
    checkpoint = msgspec.structs.replace(checkpoint, cursor=cursor)
    return _still_open(moved, checkpoint, over=at_end), at_end


def _any_new(plan: PagePlan, place: int, way: int) -> bool:
    return any((row.seq - place) * way > 0 for row in plan.new)


def _still_open(moved: Position, checkpoint: Checkpoint, *, over: bool) -> Position:
    """Put the checkpoint in place; while a poll is under way it says so."""
    if not over:
        checkpoint = msgspec.structs.replace(checkpoint, end_reached_at=None)
    return msgspec.structs.replace(moved, checkpoint=checkpoint)


def _moved_from_new_to_old(
    position: Position, moved: Position, met: int | None, *, at_end: bool
) -> tuple[Position, bool]:
    """Note what of a newest-first log is open behind the page, and where its walk goes on.

    `met` is the place of the stored row up to which nothing is missing any more, if the page has met one.
    """
    others = position.checkpoint.gaps[1:] if position.own_gap else position.checkpoint.gaps
    joined, own_gap, floor = position.joined or at_end or met is not None, False, position.floor
    if at_end:
        others = ()
    elif met is not None:
        others = left_behind(met, others)
    elif not joined:
        others = left_open(Gap(cursor=moved.cursor, floor=floor), others)
        own_gap, floor = True, others[0].floor
    checkpoint = msgspec.structs.replace(moved.checkpoint, gaps=others)
    moved = msgspec.structs.replace(moved, joined=joined, own_gap=own_gap, floor=floor)
    if position.kind == "both" or not joined:
        return _still_open(moved, checkpoint, over=at_end), at_end
    if others:
        moved = msgspec.structs.replace(
            moved, cursor=others[0].cursor, floor=others[0].floor, joined=False, own_gap=True
        )
        return _still_open(moved, checkpoint, over=False), False
    reconcile = checkpoint.reconcile
    if position.then_reconcile and reconcile is not None:
        moved = msgspec.structs.replace(
            moved, kind="reconcile", cursor=reconcile.cursor, reconcile=reconcile, then_reconcile=False
        )
        return _still_open(moved, checkpoint, over=True), False
    return _still_open(moved, checkpoint, over=True), True


def _ended(
    tx: Transaction,
    log: TaskLog,
    position: Position,
    moved: Position,
    page: Page,
    *,
    plan: PagePlan,
    news: bool,
    journal: Journal,
) -> Position:
    """Note that the walk has reached its end, and what it has shown of the log's order and tail."""
    if not log.newest_first:
        moved = _end_reached(tx, log.task_id, position, moved, [] if plan.new else plan.matched)
    checkpoint = moved.checkpoint
    if news or checkpoint.end_reached_at is None or position.reconcile is not None:
        checkpoint = msgspec.structs.replace(checkpoint, end_reached_at=tx.now)
    moved = msgspec.structs.replace(
        moved, checkpoint=with_quiet_counted(position, checkpoint, page, news=moved.news)
    )
    return _ordered_by_growth(tx, log, moved, journal)


def _ordered_by_growth(tx: Transaction, log: TaskLog, moved: Position, journal: Journal) -> Position:
    """Settle an order that timestamps leave open: the log has grown at one end and not at the other."""
    if moved.checkpoint.order_is_sure or moved.grew_in_front == moved.grew_behind:
        return moved
    grown: LogOrder = "newest-first" if moved.grew_in_front else "oldest-first"
    if moved.hint not in (None, grown):
        return moved
    settled = with_order(moved, grown)
    if settled.turn:
        event_store.turn_seqs(tx, log.task_id, journal)
        settled = msgspec.structs.replace(settled, turn=False)
    checkpoint = settled.checkpoint
    if checkpoint.newest_first:  # the walk has reached the log's end: nothing is open
        checkpoint = msgspec.structs.replace(checkpoint, gaps=())
    return msgspec.structs.replace(settled, checkpoint=checkpoint)


def _end_reached(
    tx: Transaction, task_id: str, position: Position, moved: Position, matched: Sequence[StoredRow]
) -> Position:
    """Compare the last page from its first row next time, if it was met before under another token."""
    cursor = position.cursor
    if matched and max(row.seq for row in matched) <= cursor.compare_seq:
        first = min(row.seq for row in matched)
        if event_store.count_unmarked_from(tx, task_id, first) == len(matched):
            cursor = msgspec.structs.replace(cursor, compare_seq=first - 1)
    checkpoint = msgspec.structs.replace(moved.checkpoint, cursor=cursor)
    return msgspec.structs.replace(moved, checkpoint=checkpoint)


def _settle_reconcile(
    tx: Transaction, log: TaskLog, position: Position, moved: Position, journal: Journal
) -> tuple[int, int, Position]:
    """Mark what a reconcile that reached the end was not served; returns (marked, in doubt, moved)."""
    if moved.reconcile is None:
        return 0, 0, moved
    seen = moved.reconcile.seen
    vanished, doubt = _mark_vanished(tx, log, seen, position.checkpoint, journal)
    if vanished:
        sum_again(tx, log.task_id, event_store.read_marked_just_now(tx, log.task_id))
    doubted = event_store.count_unseen(tx, log, seen) if doubt is not None else 0
    settled = msgspec.structs.replace(moved.checkpoint, reconcile=None, doubt=doubt, reconciled_at=tx.now)
    return vanished, doubted, msgspec.structs.replace(moved, checkpoint=settled)


def _mark_vanished(
    tx: Transaction, log: TaskLog, seen: SeenRows, before: Checkpoint, journal: Journal
) -> tuple[int, SeenRows | None]:
    """Mark unseen rows; more than a tenth at once only where the last reconcile missed them too.

    Rows that a later run has stored were not missed by it.
    """
    unseen = event_store.count_unseen(tx, log, seen)
    if not unseen:
        return 0, None
    agreed = 0
    if before.doubt is not None:
        either = seen_by_either(seen, before.doubt)
        agreed = event_store.count_unseen(tx, log, either, by_run=before.doubt.run_id)
    rows = event_store.count_events(tx, log.task_id)
    if (unseen - agreed) * _DOUBTFUL_SHARE <= rows:
        return event_store.mark_vanished(tx, log, seen, journal), None
    if before.doubt is not None and agreed:
        return event_store.mark_vanished(tx, log, either, journal, by_run=before.doubt.run_id), seen
    return 0, seen
