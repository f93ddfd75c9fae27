"""Which facets does a stored event have? The columns that analytics reads from payloads."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import msgspec
from sqlalchemy import and_, bindparam, or_, select, tuple_, update

from maia_sync.facet_settings import FACETS
from maia_sync.store.named_rows import RowName, name_values, select_named
from maia_sync.store.reporting import text_of
from maia_sync.store.schema import task, task_event

if TYPE_CHECKING:
    from maia_sync.model import StoredRow
    from maia_sync.store.database import Transaction

FacetRow: TypeAlias = tuple[Any, ...]
"""A payload's facets in the order of FACETS: texts, numbers, and "" for what it does not tell.

No facet is an empty text, and None would have to be made "" for every event of a backfill: see `bulk`.
"""
FacetColumns: TypeAlias = tuple[Sequence[Any], ...]
"""The facets of some payloads: for each facet, in the order of FACETS, its value in each payload."""

_columns = task_event.c
_NAME = (_columns.group_id, _columns.timestamp, _columns.ordinal)
_VALUES = tuple(_columns[name] for name in FACETS)
_SUMMED = select_named("occurred_at", *FACETS)
_CHUNK = 400
_MOST_CHARACTERS = 32 << 20
_TASKS_LOOKED_AT = 100


class FacetReader(Protocol):
    """Reads facets from payloads; handed to whoever writes events, so that `sync` need not know the rules."""

    @property
    def version(self) -> int:
        """Which rules and configuration it follows: kept with each row, in 31 bits."""
        ...

    @property
    def told(self) -> Collection[str]:
        """Facets that any of many payloads has told so far: no others' columns need be stored."""
        ...

    def read(self, data: str | None) -> FacetRow:
        """Return a payload's facets; never raises for what it holds."""
        ...

    def read_all(self, payloads: Sequence[str | None]) -> FacetColumns:
        """Return the facets of many payloads, column by column; never raises for what they hold."""
        ...


def as_read(stored: Sequence[Any]) -> FacetRow:
    """Return facets as a reader tells them, from how they are stored."""
    return tuple("" if each is None else each for each in stored)


def as_stored(facets: FacetRow) -> list[Any]:
    """Return facets as they are stored, from how a reader tells them."""
    return [None if each == "" else each for each in facets]


def read_summed(
    tx: Transaction, task_id: str, rows: Sequence[StoredRow]
) -> dict[RowName, tuple[str | None, FacetRow]]:
    """Return when the rows' events occurred, as text, and their facets as they are stored."""
    found: dict[RowName, tuple[str | None, FacetRow]] = {}
    for at in range(0, len(rows), _CHUNK):
        names = [(row.group_id, row.timestamp, row.ordinal) for row in rows[at : at + _CHUNK]]
        query, values = _SUMMED[tx.is_postgresql], name_values(tx, task_id, names)
        for group_id, timestamp, ordinal, occurred_at, *facets in tx.connection.execute(query, values):
            moment = None if occurred_at is None else text_of(occurred_at)
            found[group_id, timestamp, ordinal] = (moment, as_read(facets))
    return found


def lock_task(tx: Transaction, task_id: str) -> None:
    """Keep walks of a task from writing to it until the transaction ends."""
    statement = select(task.c.task_id).where(task.c.task_id == task_id).with_for_update()
    tx.connection.execute(statement).all()


class StaleRow(msgspec.Struct, frozen=True, kw_only=True):
    """A stored event whose facets other rules or another configuration made, or none."""

    name: RowName
    occurred_at: str | None
    data: str | None
    facets: FacetRow | None
    """None: it has none yet, and no summary may count on it."""


def read_stale(
    tx: Transaction, task_id: str, version: int, after: RowName | None, limit: int
) -> list[StaleRow]:
    """Return the next rows, by name, whose facets are of another version.

    Up to `limit`, fewer where their payloads are large.
    """
    stale = or_(_columns.facets_version.is_(None), _columns.facets_version != version)
    statement = select(*_NAME, _columns.occurred_at, _columns.data, _columns.facets_version, *_VALUES).where(
        _columns.task_id == task_id, stale
    )
    if after is not None:
        statement = statement.where(tuple_(*_NAME) > after)
    found: list[StaleRow] = []
    size = 0
    options = {"stream_results": True, "yield_per": 100}
    with tx.connection.execute(statement.order_by(*_NAME).limit(limit), execution_options=options) as rows:
        for group_id, timestamp, ordinal, occurred_at, data, made_by, *facets in rows:
            found.append(
                StaleRow(
                    name=(group_id, timestamp, ordinal),
                    occurred_at=None if occurred_at is None else text_of(occurred_at),
                    data=data,
                    facets=None if made_by is None else as_read(facets),
                )
            )
            size += len(data or "")
            if size > _MOST_CHARACTERS:
                break
    return found


def has_stale_facets(tx: Transaction, version: int) -> bool:
    """Tell whether the events that were stored first have facets of another version, or none.

    Of each of some tasks only the first event is looked at: a rebuild begins with it.
    """
    some = select(task.c.task_id).order_by(task.c.task_id).limit(_TASKS_LOOKED_AT).subquery()
    for task_id in tx.connection.execute(select(some)).scalars():
        first = select(_columns.facets_version).where(_columns.task_id == task_id).order_by(*_NAME).limit(1)
        found = tx.connection.execute(first).all()
        if found and found[0][0] != version:
            return True
    return False


def replace_facets(
    tx: Transaction, task_id: str, facets: Sequence[tuple[RowName, FacetRow]], version: int
) -> None:
    """Put facets in place of what the rows have."""
    if not facets:
        return
    of_row = and_(
        _columns.task_id == bindparam("of_task"),
        _columns.group_id == bindparam("of_group"),
        _columns.timestamp == bindparam("of_timestamp"),
        _columns.ordinal == bindparam("of_ordinal"),
    )
    new: dict[str, Any] = {name: bindparam(f"new_{name}") for name in FACETS}
    statement = update(task_event).where(of_row).values(**new, facets_version=version)
    tx.connection.execute(
        statement,
        [
            {
                "of_task": task_id,
                "of_group": name[0],
                "of_timestamp": name[1],
                "of_ordinal": name[2],
                **{f"new_{column}": value for column, value in zip(FACETS, as_stored(row), strict=True)},
            }
            for name, row in facets
        ],
    )
