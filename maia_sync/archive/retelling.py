"""May an entry tell again of a row that was archived before? What may have become of it, and what may not.

An element in quarantine never changes. Of a sent message it may become known what became of it, and a run
that was given up for lost may end after all. All else that a row says has been so since it was written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from maia_sync.archive.entry import facts_of
from maia_sync.archive.numbers import Figures
from maia_sync.store.archived import QuarantineFacts, RunFacts, SentFacts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from maia_sync.archive.entry import Entry
    from maia_sync.archive.finding import Findings
    from maia_sync.archive.verify_segments import ArchivedRow

TABLES: Final = {"quarantine": "quarantine", "sent": "sent_message", "run": "sync_run"}
"""The tables whose rows are named by their ids, by the type of the entries that tell of them."""
_LASTING: Final = frozenset(("kind", "worker", "started_at", "upstream_host", "version", "sent_by", "reason"))
"""Columns of facts that never change."""
_RECEIVED: Final = {"quarantine": "quarantined_at", "sent": "sent_at", "run": "ended_at"}
_PAYLOAD: Final = {"quarantine": "raw", "sent": "request"}
_STAGES: Final = 2


class _Told(NamedTuple):
    """What an entry tells of its row."""

    facts: QuarantineFacts | SentFacts | RunFacts
    stage: int
    """0: it may still change; 1: it will not."""


def lasting_difference(archived: Entry, stored: Entry) -> str | None:
    """Return a column that cannot have become what it is since the row was archived; None if there is none.

    `stored` is the entry that the row would have now, its payload with the salt of the archived one.
    """
    before, now = _told_by(archived), _told_by(stored)
    if before is None or now is None:
        return None
    kind = archived.type
    pairs = [
        ("task_id", archived.task, stored.task),
        ("run_id", archived.run, stored.run),
        (_PAYLOAD.get(kind, ""), archived.payload, stored.payload),
    ]
    if kind != "run":  # those are received when they end
        pairs.append((_RECEIVED[kind], archived.received, stored.received))
    may_change = now.stage > before.stage
    pairs += [
        (name, getattr(before.facts, name), getattr(now.facts, name))
        for name in before.facts.__struct_fields__
        if name in _LASTING or not may_change
    ]
    return next((name for name, one, other in pairs if one != other), None)


class Retelling:
    """Takes the entries of rows with an id in the log's order, and reports what cannot follow.

    Of each row it keeps hashes. Python's differ from process to process, so nobody can choose what has the
    same one.
    """

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._rows = {kind: Figures(3) for kind in TABLES}
        """By id: the entry's index from 1 on and the stage, what lasts, and all that was told."""
        self._requests = Figures(2)
        """By id: the entry's index from 1 on, and the message that was sent."""

    def take(self, index: int, entry: Entry) -> None:
        """Take an entry."""
        number = entry.id
        if entry.type not in TABLES or number is None:
            return
        told = _told_by(entry)
        if told is None:
            self._findings.add("entry", f"entry {index}", "tells of its row's columns what cannot be read")
            return
        lasting, whole = hash(_what_lasts(entry, told)), hash(_all_of(entry))
        rows = self._rows[entry.type]
        earlier = rows.get(number)
        if earlier is not None:
            before, stage = divmod(earlier[0], _STAGES)
            may_change = told.stage > stage
            is_same = earlier[1] == lasting if may_change else earlier[2] == whole
            if entry.type == "quarantine" or not is_same:
                self._findings.add(
                    "entry",
                    f"entry {index}",
                    f"tells of row {number} of {TABLES[entry.type]} what cannot have become of it since "
                    f"entry {before - 1}: that row was altered in the database between two creates",
                )
        rows.put(number, (index + 1) * _STAGES + told.stage, lasting, whole)

    def take_rows(self, rows: Sequence[ArchivedRow]) -> None:
        """Take the payloads of entries that were taken: requests never change."""
        for row in rows:
            number = row.entry.id
            if row.entry.type != "sent" or number is None:
                continue
            hashed = hash(row.data)
            earlier = self._requests.get(number)
            if earlier is not None and earlier[1] != hashed:
                self._findings.add(
                    "entry",
                    f"entry {row.number}",
                    f"tells of another request in row {number} of sent_message than entry {earlier[0] - 1}: "
                    "that row was altered in the database between two creates",
                )
            self._requests.put(number, row.number + 1, hashed)


def _told_by(entry: Entry) -> _Told | None:
    """Return what an entry tells; None if that cannot be read."""
    try:
        facts = facts_of(entry)
    except ValueError:
        return None
    if isinstance(facts, RunFacts):
        return _Told(facts, int(facts.status != "lost"))
    if isinstance(facts, SentFacts):
        return _Told(facts, int(facts.outcome != "unknown" or facts.error is not None))
    return _Told(facts, 1) if isinstance(facts, QuarantineFacts) else None


def _what_lasts(entry: Entry, told: _Told) -> tuple[object, ...]:
    received = None if entry.type == "run" else entry.received
    facts = (getattr(told.facts, name) for name in told.facts.__struct_fields__ if name in _LASTING)
    return (entry.task, entry.run, received, *facts)


def _all_of(entry: Entry) -> tuple[object, ...]:
    """Return all but the payload, whose hash is another each time it is archived."""
    return (
        entry.task,
        entry.run,
        entry.received,
        bytes(entry.facts) if isinstance(entry.facts, msgspec.Raw) else None,
    )
