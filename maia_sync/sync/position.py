"""Where does a walk stand, and where does it begin?

A log whose order is sure is read at the end where news comes: oldest-first behind the checkpoint's
cursor, newest-first from the head. While the order is not sure, a poll reads all that may hold news.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from maia_sync.model import NO_TIMESTAMP, Checkpoint, Cursor, Gap, LogOrder, Reconcile, TaskLog, WalkKind
from maia_sync.store import events as event_store
from maia_sync.store.windows import read_window
from maia_sync.sync.order import START

if TYPE_CHECKING:
    from maia_sync.store.database import Transaction

LOG_START = Cursor(page_token=None, compare_seq=START)


class Ends(msgspec.Struct, frozen=True, kw_only=True):
    """Between which places a task's rows stood when the walk began."""

    first: int
    last: int
    first_timestamp: int | None
    """Of the first row; None if it has none in its key."""
    whole: bool
    """The log had been read to its end: what is new in front of these rows or behind them is growth."""


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """Where a walk stands: the page to be compared next, and what the checkpoint will say."""

    kind: WalkKind
    cursor: Cursor
    checkpoint: Checkpoint
    stored: Checkpoint
    """The checkpoint as it is stored."""
    reconcile: Reconcile | None
    """Of a walk that reconciles: what it has seen. May be newer than the stored checkpoint's."""
    news: bool = False
    """The walk has found something new or changed on an earlier page."""
    then_reconcile: bool = False
    """The poll is followed by the reconcile that the checkpoint holds."""
    ends: Ends | None = None
    """Known where the order is not sure, and of newest-first logs; None if nothing is stored."""
    grew_in_front: bool = False
    """News has come in front of all that was stored,"""
    grew_behind: bool = False
    """or behind it."""
    hint: Literal["oldest-first", "newest-first"] | None = None
    """What timestamps say of an order that is not sure."""
    turn: bool = False
    """The rows have to be turned round with the next page: the checkpoint's order is new."""
    floor: int | None = None
    """Newest-first: the place of the first stored row that this stretch leads to; None: the log's end."""
    own_gap: bool = False
    """Newest-first: the checkpoint's first gap is the stretch that is being read."""
    joined: bool = False
    """Newest-first: this stretch has met its floor; the walk goes on to reconcile."""
    tail_refused: bool = False
    """The last page could not be made shorter."""


def first_position(
    tx: Transaction,
    task_id: str,
    checkpoint: Checkpoint,
    *,
    full: bool,
    order: Literal["auto", "oldest-first", "newest-first"],
) -> Position:
    """Decide where a walk begins.

    An open reconcile goes on where it stood. One that stands exactly where the poll stands (both
    began at the log's start, or a refused token sent both back there) is walked together with it.
    A configured order that is not the one remembered has the log read from its start.
    """
    ends = None
    if checkpoint.log_order != "oldest-first" or order == "newest-first":
        ends = _read_ends(tx, task_id, checkpoint)
    if order not in ("auto", checkpoint.log_order) and checkpoint.cursor != LOG_START:
        return _together(checkpoint, Reconcile(cursor=LOG_START, started_at=tx.now), ends)
    reconcile = checkpoint.reconcile
    if full and reconcile is None:
        reconcile = Reconcile(cursor=LOG_START, started_at=tx.now)
    if reconcile is not None and reconcile.cursor == checkpoint.cursor:
        return _together(checkpoint, reconcile, ends)
    if full and reconcile is not None and not checkpoint.newest_first:
        return Position(
            kind="reconcile",
            cursor=reconcile.cursor,
            checkpoint=checkpoint,
            stored=checkpoint,
            reconcile=reconcile,
            ends=ends,
        )
    return Position(
        kind="poll",
        cursor=checkpoint.cursor,
        checkpoint=checkpoint,
        stored=checkpoint,
        reconcile=None,
        then_reconcile=full,
        ends=ends,
        floor=_floor(checkpoint, ends),
    )


def plain_poll(
    checkpoint: Checkpoint, *, full: bool, order: Literal["auto", "oldest-first", "newest-first"]
) -> Position | None:
    """Return where the poll of a log begins that is known to be served oldest-first.

    None for any other walk: `first_position` has to look at what is stored.
    """
    reconcile = checkpoint.reconcile
    is_plain = checkpoint.log_order == "oldest-first" and order != "newest-first" and not full
    if not is_plain or (reconcile is not None and reconcile.cursor == checkpoint.cursor):
        return None
    return Position(
        kind="poll", cursor=checkpoint.cursor, checkpoint=checkpoint, stored=checkpoint, reconcile=None
    )


def _read_ends(tx: Transaction, task_id: str, checkpoint: Checkpoint) -> Ends | None:
    log = TaskLog(task_id=task_id, newest_first=checkpoint.newest_first)
    places = event_store.read_ends(tx, log)
    if places is None:
        return None
    first = read_window(tx, log, START, 1).rows[0]
    timestamp = None if first.timestamp == NO_TIMESTAMP else first.timestamp
    whole = checkpoint.end_reached_at is not None and not checkpoint.gaps
    return Ends(first=places[0], last=places[1], first_timestamp=timestamp, whole=whole)


def newest_known(position: Position) -> int | None:
    """Return the timestamp of a newest-first log's first row when the walk began, if there is one."""
    return position.ends.first_timestamp if position.ends is not None else None


def _floor(checkpoint: Checkpoint, ends: Ends | None) -> int | None:
    return ends.first if checkpoint.log_order == "newest-first" and ends is not None else None


def _together(checkpoint: Checkpoint, reconcile: Reconcile, ends: Ends | None) -> Position:
    """Begin a walk that polls and reconciles at once, where the reconcile stands."""
    return Position(
        kind="both",
        cursor=reconcile.cursor,
        checkpoint=checkpoint,
        stored=checkpoint,
        reconcile=reconcile,
        ends=ends,
        floor=_floor(checkpoint, ends),
    )


def from_the_start(position: Position, reconcile: Reconcile) -> Position:
    """Begin again at the log's start, as a reconcile, which a poll joins.

    What the walk had found open of a newest-first log stays so until this walk has passed it.
    """
    kind: WalkKind = "reconcile" if position.kind == "reconcile" else "both"
    again = msgspec.structs.replace(
        position,
        kind=kind,
        cursor=LOG_START,
        reconcile=reconcile,
        then_reconcile=False,
        own_gap=False,
        joined=False,
    )
    return msgspec.structs.replace(again, floor=_floor(position.checkpoint, position.ends))


def with_order(position: Position, order: LogOrder | None) -> Position:
    """Settle a log's order that was not sure before, where the walk stands.

    Rows that were stored the other way about are turned round with the next page; places do not
    change by that, so what the walk knows stays right.
    """
    old = position.checkpoint
    checkpoint = msgspec.structs.replace(old, log_order=order)
    turn = position.turn != (checkpoint.newest_first != old.newest_first)
    settled = msgspec.structs.replace(position, checkpoint=checkpoint, turn=turn)
    if checkpoint.newest_first == old.newest_first:
        return settled
    if not checkpoint.newest_first:
        back = msgspec.structs.replace(checkpoint, gaps=())
        return msgspec.structs.replace(settled, checkpoint=back, own_gap=False, floor=None)
    return _as_newest_first(settled)


def _as_newest_first(position: Position) -> Position:
    """Turn what is known of a log's polls into what is open of a newest-first one.

    A reconcile becomes a poll as well: what it finds in front of all that is stored would else be
    taken by the next poll for something behind which nothing is missing.
    """
    checkpoint = position.checkpoint
    at_head = position.cursor == LOG_START
    unread = checkpoint.cursor if at_head else position.cursor
    is_open = unread != LOG_START and (not at_head or checkpoint.end_reached_at is None)
    opened = (Gap(cursor=unread, floor=None),) if is_open else ()
    checkpoint = msgspec.structs.replace(checkpoint, cursor=LOG_START, gaps=opened)
    return msgspec.structs.replace(
        position,
        kind="both" if position.kind == "reconcile" else position.kind,
        checkpoint=checkpoint,
        own_gap=not at_head,
        floor=_floor(checkpoint, position.ends) if at_head else None,
    )


def with_other_order(position: Position, order: LogOrder, *, turn: bool, reconcile: Reconcile) -> Position:
    """Begin again at the log's start under an order that contradicts the one remembered.

    What was known about places and pages is worth nothing then.
    """
    old = position.checkpoint
    checkpoint = Checkpoint(cursor=LOG_START, log_order=order, reconciled_at=old.reconciled_at)
    return Position(
        kind="both",
        cursor=LOG_START,
        checkpoint=checkpoint,
        stored=position.stored,
        reconcile=reconcile,
        turn=turn,
    )


def is_further(position: Position, began: Checkpoint) -> bool:
    """Tell whether a walk that goes on later from what is stored goes on further than this one did.

    Only where the order is sure: else each walk may have to begin at the log's start again.
    """
    if not position.checkpoint.order_is_sure:
        return False
    place = _resumed_at(position.checkpoint, position.kind)
    before = _resumed_at(began, position.kind) if began.order_is_sure else None
    return place is not None and (before is None or place > before)


def _resumed_at(checkpoint: Checkpoint, kind: WalkKind) -> int | None:
    """Return the place from which such a walk goes on; None if it would have to begin at the start."""
    if kind != "poll":
        return checkpoint.reconcile.cursor.compare_seq if checkpoint.reconcile is not None else None
    if checkpoint.newest_first:
        return checkpoint.gaps[0].cursor.compare_seq if checkpoint.gaps else None
    return checkpoint.cursor.compare_seq
