"""What do a task's events come to once some of their payloads are gone? Without reading a group each time.

What a few rows no longer count is subtracted, and their group is read as far as the next question, answer or
name. It is read whole where it is small, where that cannot tell, or where subtracting would leave rounding
errors: a group that is emptied batch by batch is read about twice, not once for each batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import and_, bindparam, delete, select

from maia_sync.facet_settings import FACETS
from maia_sync.model import NO_TIMESTAMP
from maia_sync.store.facets import as_read
from maia_sync.store.named_rows import name_values, select_named
from maia_sync.store.reporting import read_zone, slot_of, text_of
from maia_sync.store.schema import task_activity, task_event, task_turn
from maia_sync.store.summaries import (
    ACTIVITY,
    TURN,
    add_stored,
    read_stored,
    sum_rows_again,
    write_activity,
    write_turns,
)
from maia_sync.store.sums import COUNTED, LATE, Sums, by_group, by_slot, counted_of, earlier, sum_up

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from maia_sync.store.database import Transaction
    from maia_sync.store.facets import FacetRow
    from maia_sync.store.named_rows import RowName
    from maia_sync.store.sums import Cells

_CHUNK: Final = 400
_SMALL: Final = 50
"""A group of so many events is read whole; it is quicker than to ask for each that is first in it."""
_SMALL_SHARE: Final = 4
"""... and so is one of no more than so many times as many as have lost their payloads."""
_MOST_CELLS: Final = 4_000
_ROWS: Final = 500
_STREAMED: Final = {"stream_results": True, "yield_per": _ROWS}
_KIND, _ACTOR, _USER, _AGENT = (
    FACETS.index(each) for each in ("event_kind", "actor", "user_id", "agent_name")
)
_columns = task_event.c
_OF_GROUP: Final = and_(
    _columns.task_id == bindparam("of_task"),
    _columns.group_id == bindparam("of_group"),
    _columns.vanished_at.is_(None),
)
_TOLD = select_named("revision", "pruned_at", "vanished_at", "occurred_at", *FACETS)
_SAID = select(
    _columns.occurred_at, _columns.event_kind, _columns.actor, _columns.user_id, _columns.agent_name
)
_BEHIND = _SAID.where(_OF_GROUP, _columns.timestamp >= bindparam("of_timestamp")).order_by(
    _columns.timestamp, _columns.ordinal
)
_BEFORE = (
    _SAID.where(
        _OF_GROUP,
        _columns.timestamp.between(NO_TIMESTAMP + 1, bindparam("of_timestamp")),
        _columns.event_kind == "message",
        _columns.actor == "agent",
    )
    .order_by(_columns.timestamp.desc())
    .limit(1)
)
_ALL = select(
    _columns.group_id, _columns.occurred_at, _columns.vanished_at, *(_columns[name] for name in COUNTED)
).where(_columns.task_id == bindparam("of_task"))


_SAME_NAME = {
    name: select(_columns.ordinal)
    .where(
        _OF_GROUP,
        _columns.timestamp == NO_TIMESTAMP,
        _columns.ordinal > bindparam("of_ordinal"),
        _columns.occurred_at.is_(None),
        _columns[name] == bindparam("of_name"),
    )
    .order_by(_columns.ordinal)
    .limit(1)
    for name in ("user_id", "agent_name")
}
"""In the order in which they are emptied as a rule, so that what is emptied is not read again."""


class Lost(NamedTuple):
    """A row that is about to lose its payload, and what it counts with it."""

    group_id: str
    timestamp: int
    ordinal: int
    occurred_at: str | None
    vanished: bool
    facets: FacetRow


def read_lost(tx: Transaction, task_id: str, revisions: Mapping[RowName, int]) -> list[Lost]:
    """Return those of some rows that hold a payload, and hold it in this revision."""
    names = list(revisions)
    found: list[Lost] = []
    for at in range(0, len(names), _CHUNK):
        values = name_values(tx, task_id, names[at : at + _CHUNK])
        for (
            group_id,
            timestamp,
            ordinal,
            revision,
            pruned_at,
            vanished_at,
            occurred_at,
            *facets,
        ) in tx.connection.execute(_TOLD[tx.is_postgresql], values):
            if pruned_at is None and revisions[group_id, timestamp, ordinal] == revision:
                moment, vanished = _text(occurred_at), vanished_at is not None
                found.append(Lost(group_id, timestamp, ordinal, moment, vanished, as_read(facets)))
    return found


def sum_without(tx: Transaction, task_id: str, lost: Sequence[Lost]) -> None:
    """Make a task's sums what they are without the payloads that some rows have just lost."""
    # An unreadable moment that is gone moves its row to another place in the sums.
    moved = [row for row in lost if row.timestamp == NO_TIMESTAMP and row.occurred_at is not None]
    groups = {row.group_id for row in moved}
    slots = {slot_of(row.occurred_at) for row in moved if row.occurred_at is not None}
    counted = [row for row in lost if not row.vanished]
    cells = sum_up(
        [row.group_id for row in counted],
        [row.occurred_at for row in counted],
        tuple(zip(*(counted_of(row.facets) for row in counted), strict=True)),
    )
    zone = read_zone(tx, for_writing=True)
    less_slots = _slots_without(
        tx, task_id, {k: v for k, v in by_slot(cells).items() if k not in slots}, slots
    )
    less_groups = _groups_without(
        tx, task_id, {k: v for k, v in by_group(cells).items() if k not in groups}, groups, counted
    )
    write_activity(tx, task_id, less_slots, zone, known=list(less_slots))
    write_turns(tx, task_id, less_groups, zone, known=list(less_groups))
    sum_rows_again(tx, task_id, groups, slots)


def sum_task_again(tx: Transaction, task_id: str) -> None:
    """Sum up all that is stored of a task; memory holds a part of it at a time."""
    for table in (task_turn, task_activity):
        tx.connection.execute(delete(table).where(table.c.task_id == task_id))
    zone = read_zone(tx, for_writing=True)
    cells: Cells = {}
    with tx.connection.execute(_ALL, {"of_task": task_id}, execution_options=_STREAMED) as rows:
        for some in rows.partitions(_ROWS):
            add_stored(some, cells)
            if len(cells) > _MOST_CELLS:
                _add(tx, task_id, cells, zone)
                cells = {}
    _add(tx, task_id, cells, zone)


def _add(tx: Transaction, task_id: str, cells: Cells, zone: str) -> None:
    write_activity(tx, task_id, by_slot(cells), zone, known=None)
    write_turns(tx, task_id, by_group(cells), zone, known=None)


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else text_of(moment)


def _slots_without(
    tx: Transaction, task_id: str, gone: Mapping[str, Sums], again: set[str]
) -> dict[str, Sums]:
    """Return what quarters come to now; those that have to be read are added to `again`."""
    left: dict[str, Sums] = {}
    stored = read_stored(tx, ACTIVITY, task_id, sorted(gone))
    for slot_at, less in gone.items():
        sums = Sums.of_stored_counts(stored[slot_at]) if slot_at in stored else None
        if sums is not None and _subtract(sums, less):
            left[slot_at] = sums
        else:
            again.add(slot_at)
    return left


def _groups_without(
    tx: Transaction, task_id: str, gone: Mapping[str, Sums], again: set[str], lost: Iterable[Lost]
) -> dict[str, Sums]:
    """Return what groups come to now; those that have to be read whole are added to `again`."""
    rows: dict[str, list[Lost]] = {}
    for row in lost:
        rows.setdefault(row.group_id, []).append(row)
    left: dict[str, Sums] = {}
    stored = read_stored(tx, TURN, task_id, sorted(gone))
    for group_id, less in gone.items():
        sums = Sums.of_stored_turn(stored[group_id]) if group_id in stored else None
        if sums is not None and _without(tx, task_id, sums, less, rows[group_id]):
            left[group_id] = sums
        else:
            again.add(group_id)
    return left


def _without(tx: Transaction, task_id: str, sums: Sums, less: Sums, lost: Sequence[Lost]) -> bool:
    """Make a group's sums what they are now; tell whether that could be done."""
    if less.events == sums.events:  # nothing is left that tells anything
        sums.forget_payloads()
        return True
    size = sums.events + sums.vanished_events
    is_large = size > _SMALL + _SMALL_SHARE * len(lost)
    return is_large and _subtract(sums, less) and _Extremes(tx, task_id, sums, lost).settle()


def _subtract(sums: Sums, less: Sums) -> bool:
    """Subtract what is counted; tell whether the rest is right.

    A small difference of large costs is not.
    """
    if less.events == sums.events:
        sums.forget_payloads()
        return True
    cost = sums.cost
    sums.subtract(less)
    counts = sums.counts()
    return min(counts) >= 0 and (less.cost == 0.0 or 0.0 < cost < 2 * sums.cost)


class _Extremes:
    """Who and what is first and last in a group, once some of its rows are gone."""

    def __init__(self, tx: Transaction, task_id: str, sums: Sums, lost: Sequence[Lost]) -> None:
        self._tx = tx
        self._group = {"of_task": task_id, "of_group": lost[0].group_id}
        self._sums = sums
        self._lost = lost

    def settle(self) -> bool:
        """Find what takes the place of what is gone; False if the group has to be read whole for it."""
        return self._settle_undated() and self._settle_answer() and self._settle_first()

    def _settle_undated(self) -> bool:
        """Where only events without a moment have a name: see whether another has the same."""
        for at, column, stands in (
            (_USER, "user_id", self._sums.user),
            (_AGENT, "agent_name", self._sums.agent),
        ):
            if stands is None or stands[0] != LATE:
                continue
            gone = [row for row in self._lost if row.occurred_at is None and row.facets[at] == stands[1]]
            if gone:
                values = {**self._group, "of_ordinal": min(row.ordinal for row in gone), "of_name": stands[1]}
                if self._tx.connection.execute(_SAME_NAME[column], values).first() is None:
                    return False
        return True

    def _settle_answer(self) -> bool:
        gone = [
            row.timestamp
            for row in self._lost
            if row.occurred_at == self._sums.answered_at
            and (row.facets[_KIND], row.facets[_ACTOR]) == ("message", "agent")
        ]
        if not gone:
            return True
        values = {**self._group, "of_timestamp": _microsecond(max(gone)) + 999}
        found = self._tx.connection.execute(_BEFORE, values).first()
        if found is None:
            return False
        self._sums.answered_at = text_of(found[0])
        return True

    def _settle_first(self) -> bool:
        """Read on from the earliest that is gone, until there is another in the place of each."""
        sums, asked, user, agent = self._sums, [], [], []
        for row in self._lost:
            at, said = row.occurred_at, row.facets
            if at == sums.asked_at and (said[_KIND], said[_ACTOR]) == ("message", "user"):
                asked.append(row.timestamp)
            if (at, said[_USER]) == sums.user:
                user.append(row.timestamp)
            if (at, said[_AGENT]) == sums.agent:
                agent.append(row.timestamp)
        gone = [*asked, *user, *agent]
        if not gone:
            return True
        found = self._read_on(_microsecond(min(gone)), asked=bool(asked), user=bool(user), agent=bool(agent))
        sums.asked_at = found.asked_at if asked else sums.asked_at
        sums.user = found.user if user else sums.user
        sums.agent = found.agent if agent else sums.agent
        return not (
            (asked and found.asked_at == LATE)
            or (user and found.user is None)
            or (agent and found.agent is None)
        )

    def _read_on(self, timestamp: int, *, asked: bool, user: bool, agent: bool) -> Sums:
        found = Sums()
        values = {**self._group, "of_timestamp": timestamp}
        with self._tx.connection.execute(_BEHIND, values, execution_options=_STREAMED) as rows:
            for occurred_at, kind, actor, user_id, agent_name in rows:
                at = text_of(occurred_at)
                places = (
                    *([found.asked_at] if asked else []),
                    *([found.user[0] if found.user else LATE] if user else []),
                    *([found.agent[0] if found.agent else LATE] if agent else []),
                )
                if at > max(places):  # several of one microsecond may name somebody
                    break
                if (kind, actor) == ("message", "user"):
                    found.asked_at = min(found.asked_at, at)
                if user_id is not None:
                    found.user = earlier(found.user, (at, user_id))
                if agent_name is not None:
                    found.agent = earlier(found.agent, (at, agent_name))
        return found


def _microsecond(timestamp: int) -> int:
    """Return when the microsecond of a timestamp begins: moments in sums tell no more."""
    return timestamp - timestamp % 1_000
