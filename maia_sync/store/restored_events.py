"""How do events come back from an archive? Their payloads, marks and turns in the log's order, put into rows.

What belongs to one transaction is brought together here first: what becomes of a row that the same
transaction makes is settled before it is inserted, so that nearly all of it is one bulk insert.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec
from sqlalchemy import bindparam, func, insert, select, update

from maia_sync.facet_settings import FACETS
from maia_sync.store.bulk import EventColumns, insert_columns
from maia_sync.store.facets import as_stored
from maia_sync.store.schema import task_event, task_event_revision

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from maia_sync.store.database import Transaction
    from maia_sync.store.facets import FacetReader

TO_BE_TOLD: Final = "1970-01-01 00:00:00.000000"
"""When a payload was erased, until the entry of its erasure tells it."""
RowName: TypeAlias = tuple[str, str, int, int]
"""(task_id, group_id, timestamp, ordinal)"""
_columns = task_event.c
_OF_ROW: Final = (
    (_columns.task_id == bindparam("of_task"))
    & (_columns.group_id == bindparam("of_group"))
    & (_columns.timestamp == bindparam("of_timestamp"))
    & (_columns.ordinal == bindparam("of_ordinal"))
)
_KEPT: Final = (
    *("task_id", "group_id", "timestamp", "ordinal", "revision", "data", "extra", "timestamp_text"),
    *("digest", "pruned_at", "erased_at", "run_id"),
)
"""Columns that a payload takes with it into `task_event_revision`."""
_SUPERSEDED_AT: Any = bindparam("superseded", type_=task_event_revision.c.superseded_at.type)
_SUPERSEDE = insert(task_event_revision).from_select(
    [*_KEPT, "seen_at", "superseded_at"],
    select(*(_columns[name] for name in _KEPT), _columns.last_changed_at, _SUPERSEDED_AT).where(_OF_ROW),
)
_REPLACED: Final = (
    *("revision", "data", "extra", "timestamp_text", "digest", "pruned_at", "erased_at", "run_id"),
    *("occurred_at", "canonical", "last_changed_at", "facets_version", *FACETS),
)
_REPLACE = (
    update(task_event)
    .where(_OF_ROW)
    .values({name: bindparam(f"new_{name}") for name in _REPLACED})
    .values(seq=func.coalesce(bindparam("new_seq", type_=_columns.seq.type), _columns.seq))
)
_MARK = update(task_event).where(_OF_ROW).values(vanished_at=bindparam("new_vanished_at"))
_TURN = update(task_event).where(_columns.task_id == bindparam("of_task")).values(seq=-_columns.seq)
_FOUND = select(_columns.ordinal).where(_OF_ROW)


class RestoredPayload(msgspec.Struct, frozen=True, gc=False):
    """One payload of an event, as the archive tells it; moments as `YYYY-MM-DD HH:MM:SS.ffffff` in UTC."""

    task_id: str
    group_id: str
    timestamp: int
    ordinal: int
    revision: int
    data: str | None
    extra: str | None
    timestamp_text: str | None
    occurred_at: str | None
    seq: int | None
    """None: not known, as the payload was gone when it was archived; then it is put behind the one before."""
    received_at: str
    run_id: int | None
    digest: bytes
    canonical: bytes | None
    """None where the key's other rows, if there are any, do not tell that it is needed."""
    pruned_at: str
    """Also of what was erased; "" if the payload is there."""
    erased_at: str

    @property
    def name(self) -> RowName:
        """Which row it belongs to."""
        return self.task_id, self.group_id, self.timestamp, self.ordinal


class EventRows:
    """What is to be done to `task_event` and `task_event_revision` in one transaction."""

    def __init__(self, reader: FacetReader) -> None:
        self._reader = reader
        self._new: dict[RowName, RestoredPayload] = {}
        """What rows are that are to be inserted. These tell of some of them what their payload does not."""
        self._first_seen: dict[RowName, str] = {}
        self._vanished: dict[RowName, str] = {}
        self._revised: dict[RowName, RestoredPayload] = {}
        """What rows become that are stored already."""
        self._superseded_at: dict[RowName, str] = {}
        """When their stored payload was superseded."""
        self._superseded: list[tuple[RestoredPayload, str]] = []
        """Payloads of this transaction, each with when it was superseded."""
        self._marks: dict[RowName, str] = {}
        self._before = "", 0
        """The task and the seq of the row that was inserted last."""

    def add(self, payload: RestoredPayload) -> None:
        """Add an event, or a later payload of one."""
        name = payload.name
        new = self._new.get(name)
        if new is not None:
            self._superseded.append((new, payload.received_at))
            self._first_seen.setdefault(name, new.received_at)
            known = payload.seq is not None
            self._new[name] = payload if known else msgspec.structs.replace(payload, seq=new.seq)
        elif payload.revision == 0:
            self._new[name] = payload
        else:
            earlier = self._revised.get(name)
            if earlier is None:
                self._superseded_at[name] = payload.received_at
            else:
                self._superseded.append((earlier, payload.received_at))
            self._revised[name] = payload

    def mark(self, name: RowName, vanished_at: str) -> None:
        """Mark an event vanished, or with "" no longer."""
        marks = self._vanished if name in self._new else self._marks
        marks[name] = vanished_at

    def turn(self, tx: Transaction, task_id: str) -> None:
        """Turn the order of all of a task's rows, which are written."""
        tx.connection.execute(_TURN, {"of_task": task_id})
        if self._before[0] == task_id:
            self._before = task_id, -self._before[1]

    def write(self, tx: Transaction) -> None:
        """Write it all; then there is nothing to be done any more."""
        self._revise(tx)
        self._insert(tx)
        if self._superseded:
            tx.connection.execute(insert(task_event_revision), [_history(*each) for each in self._superseded])
        if self._marks:
            tx.connection.execute(
                _MARK, [{**_of(name), "new_vanished_at": moment_of(at)} for name, at in self._marks.items()]
            )
        for done in (self._new, self._first_seen, self._vanished, self._marks):
            done.clear()
        for also in (self._revised, self._superseded_at, self._superseded):
            also.clear()

    def _revise(self, tx: Transaction) -> None:
        if not self._revised:
            return
        tx.connection.execute(
            _SUPERSEDE,
            [{**_of(name), "superseded": moment_of(at)} for name, at in self._superseded_at.items()],
        )
        revised = list(self._revised.values())
        done = tx.connection.execute(_REPLACE, [self._replacing(payload) for payload in revised])
        if done.rowcount != len(revised):  # an earlier payload was never archived, nor was the row
            for payload in revised:
                if tx.connection.execute(_FOUND, _of(payload.name)).first() is None:
                    self._new[payload.name] = payload

    def _insert(self, tx: Transaction) -> None:
        if not self._new:
            return
        rows = len(self._new)
        varying = _columns_of(list(self._new.values()), self._reader)
        varying["seq"] = list(self._seqs_of_new())
        if self._first_seen:
            pairs = zip(self._new, varying["first_seen_at"], strict=True)
            varying["first_seen_at"] = [self._first_seen.get(name, value) for name, value in pairs]
        if self._vanished:
            varying["vanished_at"] = [self._vanished.get(name, "") for name in self._new]
        constant: dict[str, Any] = {"facets_version": self._reader.version}
        for name in ("task_id", "revision", "run_id"):
            values = varying[name]
            if values[-1] == values[0] and values.count(values[0]) == rows:
                constant[name] = varying.pop(name)[0]
        for name in ("extra", "canonical", "erased_at", "pruned_at", *FACETS):
            if varying[name][0] == "" and varying[name].count("") == rows:
                del varying[name]
        insert_columns(tx, EventColumns(constant=constant, varying=varying))

    def _seqs_of_new(self) -> Iterator[int]:
        for payload in self._new.values():
            seq = payload.seq
            if seq is None:
                task_id, before = self._before
                seq = before + 1 if task_id == payload.task_id else 0
            self._before = payload.task_id, seq
            yield seq

    def _replacing(self, payload: RestoredPayload) -> dict[str, Any]:
        facets = as_stored(self._reader.read(payload.data))
        values = {
            **{name: getattr(payload, name) for name in ("revision", "data", "extra", "timestamp_text")},
            **{name: getattr(payload, name) for name in ("digest", "canonical", "run_id")},
            "pruned_at": moment_of(payload.pruned_at),
            "erased_at": moment_of(payload.erased_at),
            "seq": payload.seq,
            "occurred_at": moment_of(payload.occurred_at or ""),
            "last_changed_at": moment_of(payload.received_at),
            "facets_version": self._reader.version,
            **dict(zip(FACETS, facets, strict=True)),
        }
        return {**_of(payload.name), **{f"new_{name}": value for name, value in values.items()}}


def _columns_of(payloads: Sequence[RestoredPayload], reader: FacetReader) -> dict[str, Sequence[Any]]:
    facets = reader.read_all([payload.data for payload in payloads])
    varying: dict[str, Sequence[Any]] = {
        "task_id": [payload.task_id for payload in payloads],
        "group_id": [payload.group_id for payload in payloads],
        "timestamp": [payload.timestamp for payload in payloads],
        "ordinal": [payload.ordinal for payload in payloads],
        "revision": [payload.revision for payload in payloads],
        "data": [payload.data or "" for payload in payloads],
        "extra": [payload.extra or "" for payload in payloads],
        "timestamp_text": [payload.timestamp_text for payload in payloads],
        "occurred_at": [payload.occurred_at or "" for payload in payloads],
        "digest": [payload.digest for payload in payloads],
        "canonical": [payload.canonical or "" for payload in payloads],
        "run_id": ["" if payload.run_id is None else payload.run_id for payload in payloads],
        "first_seen_at": [payload.received_at for payload in payloads],
        "last_changed_at": [payload.received_at for payload in payloads],
        "pruned_at": [payload.pruned_at for payload in payloads],
        "erased_at": [payload.erased_at for payload in payloads],
        **dict(zip(FACETS, facets, strict=True)),
    }
    return varying


def _history(payload: RestoredPayload, superseded_at: str) -> dict[str, Any]:
    return {
        "task_id": payload.task_id,
        "group_id": payload.group_id,
        "timestamp": payload.timestamp,
        "ordinal": payload.ordinal,
        "revision": payload.revision,
        "data": payload.data,
        "extra": payload.extra,
        "timestamp_text": payload.timestamp_text,
        "digest": payload.digest,
        "pruned_at": moment_of(payload.pruned_at),
        "erased_at": moment_of(payload.erased_at),
        "run_id": payload.run_id,
        "seen_at": moment_of(payload.received_at),
        "superseded_at": moment_of(superseded_at),
    }


def _of(name: RowName) -> dict[str, Any]:
    return dict(zip(("of_task", "of_group", "of_timestamp", "of_ordinal"), name, strict=True))


def moment_of(text: str) -> datetime | None:
    """Return the moment that is written so; None for ""."""
    return datetime.fromisoformat(f"{text}+00:00") if text else None
