"""May an entry tell again of a row that was archived before? What may have become of it, and what may not.

An element in quarantine never changes, nor does an erasure. Of a sent message it may become known what
became of it, a run that was given up for lost may end after all, and a hold may be released. All else that a
row says has been so since it was written. A row whose payload was pruned before is told again as `missing`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

import msgspec

from maia_sync.archive.entry import facts_of
from maia_sync.archive.numbers import Figures
from maia_sync.store.archived import ErasureFacts, HoldFacts, QuarantineFacts, RunFacts, SentFacts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from maia_sync.archive.entry import Entry
    from maia_sync.archive.finding import Findings
    from maia_sync.archive.verify_segments import ArchivedRow
    from maia_sync.store.archive_rows import Kind

TABLES: Final[dict[Kind, str]] = {
    "quarantine": "quarantine",
    "sent": "sent_message",
    "run": "sync_run",
    "hold": "archive_hold",
    "erasure": "archive_erasure",
}
"""The tables whose rows are named by their ids, by the type of the entries that tell of them."""
_KINDS: Final[dict[str, Kind]] = {kind: kind for kind in TABLES}
_LASTING: Final = frozenset(
    ("kind", "worker", "started_at", "upstream_host", "credential", "version", "sent_by", "reason", "held_by")
)
"""Columns of facts that never change."""
_RECEIVED: Final = {
    "quarantine": "quarantined_at",
    "sent": "sent_at",
    "run": "ended_at",
    "hold": "held_at",
    "erasure": "erased_at",
}
_ONCE: Final = frozenset(("quarantine", "erasure"))
"""What is told once."""
_PAYLOAD: Final = {"quarantine": "raw", "sent": "request"}
_STAGES: Final = 2
_Facts = TypeVar("_Facts", SentFacts, QuarantineFacts)


class _Told(NamedTuple):
    """What an entry tells of its row."""

    facts: QuarantineFacts | SentFacts | RunFacts | HoldFacts | ErasureFacts
    stage: int
    """0: it may still change; 1: it will not."""


def kind_of(entry: Entry) -> Kind | None:
    """Return in which way an entry tells of a row with an id; None if it does not."""
    if entry.id is None:
        return None
    if entry.type in _KINDS:
        return _KINDS[entry.type]
    if entry.type != "missing" or not isinstance(entry.facts, msgspec.Raw):
        return None
    return "sent" if _facts_of_missing(entry.facts, SentFacts) else "quarantine"


def lasting_difference(archived: Entry, stored: Entry) -> str | None:
    """Return a column that cannot have become what it is since the row was archived; None if there is none.

    `stored` is the entry that the row would have now, its payload with the salt of the archived one.
    """
    before, now = _told_by(archived), _told_by(stored)
    if before is None or now is None:
        return None
    kind = kind_of(archived) or archived.type
    pairs = [
        ("task_id", archived.task, stored.task),
        ("run_id", archived.run, stored.run),
    ]
    if stored.payload is not None or stored.type != "missing":  # else it is gone
        pairs.append((_PAYLOAD.get(kind, ""), archived.payload, stored.payload))
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
        number, kind = entry.id, kind_of(entry)
        if kind is None or number is None:
            return
        told = _told_by(entry)
        if told is None:
            self._findings.add("entry", f"entry {index}", "tells of its row's columns what cannot be read")
            return
        lasting, whole = hash(_what_lasts(entry, told)), hash(_all_of(entry))
        rows = self._rows[kind]
        earlier = rows.get(number)
        if earlier is not None:
            before, stage = divmod(earlier[0], _STAGES)
            may_change = told.stage > stage
            is_same = earlier[1] == lasting if may_change else earlier[2] == whole
            if kind in _ONCE or not is_same:
                self._findings.add(
                    "entry",
                    f"entry {index}",
                    f"tells of row {number} of {TABLES[kind]} what cannot have become of it since "
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
    if entry.type == "missing" and isinstance(entry.facts, msgspec.Raw):
        sent = _facts_of_missing(entry.facts, SentFacts)
        facts = _facts_of_missing(entry.facts, QuarantineFacts) if sent is None else sent
    match facts:
        case RunFacts():
            return _Told(facts, int(facts.status != "lost"))
        case SentFacts():
            return _Told(facts, int(facts.outcome != "unknown" or facts.error is not None))
        case HoldFacts():
            return _Told(facts, int(facts.released_at is not None))
        case QuarantineFacts() | ErasureFacts():
            return _Told(facts, 1)
    return None


def _facts_of_missing(told: msgspec.Raw, kind: type[_Facts]) -> _Facts | None:
    """Return the facts of a row whose payload is gone, if they are of this kind."""
    try:
        return msgspec.json.decode(told, type=kind)
    except (ValueError, RecursionError):
        return None


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
