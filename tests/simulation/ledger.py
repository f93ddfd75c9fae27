"""Does the copy hold what was served, and nothing else? Judged at every commit, and whenever a walk is over.

The ledger keeps the raw elements of each page whose transaction was really committed. Of the code under
test it knows nothing: it reads the tables with a plain driver, and tells events apart as DESIGN does, by
tests/oracle.py.
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from tests.oracle import Told, tell

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.simulation.upstream import Log, Served, Upstream

Identity = tuple[Any, ...]


class BrokenPromiseError(AssertionError):
    """A promise is broken."""


class Meaning:
    """What elements and rows mean, each worked out once."""

    def __init__(self) -> None:
        self._told: dict[bytes, Told | None] = {}
        self._identities: dict[Told, Identity] = {}

    def of_element(self, raw: bytes) -> Told | None:
        """Return what a row should hold for an element; None for one that is no event."""
        if raw not in self._told:
            self._told[raw] = tell(raw)
        return self._told[raw]

    def identity(self, told: Told) -> Identity:
        """Return what makes it the event that it is."""
        found = self._identities.get(told)
        if found is None:
            found = self._identities[told] = told.identity
        return found


class StoredRow(msgspec.Struct, frozen=True):
    """One row of task_event."""

    key: tuple[Any, ...]
    told: Told
    revision: int
    vanished: bool


class Stored:
    """What the database holds of one task."""

    def __init__(self, connection: sqlite3.Connection, task_id: str, meaning: Meaning) -> None:
        self._connection = connection
        self._task_id = task_id
        self._meaning = meaning
        found = self._ask(
            "SELECT group_id, timestamp, ordinal, timestamp_text, data, extra, revision, vanished_at, seq"
            " FROM task_event WHERE task_id = ? ORDER BY seq, first_seen_at, ordinal"
        )
        self.rows = [
            StoredRow(
                (group, stamp, ordinal), Told(group, stamp, text, data, extra), revision, vanished is not None
            )
            for group, stamp, ordinal, text, data, extra, revision, vanished, _ in found
        ]
        self.share_places = len({row[-1] for row in found}) < len(found)
        """Rows that came between two others without room for more have their neighbour's place."""

    def _ask(self, sql: str) -> list[Any]:
        return self._connection.execute(sql, (self._task_id,)).fetchall()

    @cached_property
    def identities(self) -> list[Identity]:
        """Return what is stored, in reading order."""
        return [self._meaning.identity(row.told) for row in self.rows]

    @cached_property
    def current(self) -> list[Identity]:
        """Return what is stored and not marked vanished, in reading order."""
        return [
            identity for identity, row in zip(self.identities, self.rows, strict=True) if not row.vanished
        ]

    @cached_property
    def revisions(self) -> list[tuple[tuple[Any, ...], int, Told]]:
        """Return (key, revision, what it was) of each superseded payload."""
        return [
            ((group, stamp, ordinal), revision, Told(group, stamp, text, data, extra))
            for group, stamp, ordinal, revision, text, data, extra in self._ask(
                "SELECT group_id, timestamp, ordinal, revision, timestamp_text, data, extra"
                " FROM task_event_revision WHERE task_id = ? ORDER BY revision"
            )
        ]

    @cached_property
    def quarantined(self) -> list[bytes]:
        """Return the raw elements in quarantine."""
        return [raw for (raw,) in self._ask("SELECT raw FROM quarantine WHERE task_id = ?")]

    def require_sums(self) -> None:
        """Check that the summaries say what the rows come to."""
        for what, kept, counted in (("groups", _KEPT_TURNS, _TURNS), ("quarters", _KEPT_SLOTS, _SLOTS)):
            said, true = self._ask(kept), self._ask(counted)
            if said != true:
                raise BrokenPromiseError(
                    f"the sums of {what} are not those of the rows: {said} instead of {true}"
                )

    @cached_property
    def tokens(self) -> set[str]:
        """Return every page token that a later walk may start from."""
        found = self._ask("SELECT page_token, reconcile_token, gaps FROM checkpoint WHERE task_id = ?")
        tokens: set[str] = set()
        for poll, reconcile, gaps in found:
            tokens |= {token for token in (poll, reconcile) if token is not None}
            tokens |= set(_tokens_in(json.loads(gaps or "[]")))
        return tokens


_COUNTED = (
    " count(*) FILTER (WHERE vanished_at IS NULL), count(*) FILTER (WHERE vanished_at IS NOT NULL),"
    " count(*) FILTER (WHERE vanished_at IS NULL AND outcome = 'error'),"
    " total(input_tokens) FILTER (WHERE vanished_at IS NULL)"
)
_TURNS = (
    f"SELECT group_id, min(occurred_at) FILTER (WHERE vanished_at IS NULL),"
    f" max(occurred_at) FILTER (WHERE vanished_at IS NULL),{_COUNTED}"
    " FROM task_event WHERE task_id = ? GROUP BY group_id ORDER BY group_id"
)
_KEPT_TURNS = (
    "SELECT group_id, first_at, last_at, events, vanished_events, errors, total(input_tokens)"
    " FROM task_turn WHERE task_id = ? GROUP BY group_id ORDER BY group_id"
)
_SLOTS = (
    f"SELECT strftime('%s', substr(occurred_at, 1, 19)) / 900,{_COUNTED} FROM task_event"
    " WHERE task_id = ? AND occurred_at IS NOT NULL GROUP BY 1 ORDER BY 1"
)
_KEPT_SLOTS = (
    "SELECT strftime('%s', slot_at) / 900, events, vanished_events, errors, total(input_tokens)"
    " FROM task_activity WHERE task_id = ? GROUP BY slot_at ORDER BY 1"
)


def _tokens_in(gaps: Any) -> Iterable[str]:
    for gap in gaps:
        token = gap["cursor"]["page_token"]
        if token is not None:
            yield token


class OfTask:
    """What the ledger knows of one task."""

    def __init__(self) -> None:
        self.told: set[Told] = set()
        """Of every committed page."""
        self.no_events: set[bytes] = set()
        self.leads_to: dict[str, frozenset[Identity]] = {}
        """What was served on the committed pages by which a walk came to this token."""
        self.reconcile_version: int | None = None
        """The log's version when the reconcile under way was served its first page."""
        self.reconcile_served: set[Identity] = set()
        self.vanished: set[tuple[Any, ...]] = set()


class WalkSeen:
    """What one walk of one process was served on committed pages."""

    def __init__(self, version: int) -> None:
        self.version = version
        """The log's, when the walk began."""
        self.told: list[Told] = []
        self.fenced = False
        """The process was stopped while its lease ran out, and another has walked the task meanwhile."""


class Ledger:
    """Keeps what was committed, and checks the database against it."""

    def __init__(self, path: Path, upstream: Upstream) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._upstream = upstream
        self._meaning = Meaning()
        self._tasks: dict[str, OfTask] = defaultdict(OfTask)
        self._walks: dict[tuple[str, str], WalkSeen] = {}
        self.compared = 0
        """Events that were compared, one by one."""

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def begin_walk(self, process: str, task_id: str) -> None:
        """Note that a process asks for pages of a task, if it is not known to."""
        if (process, task_id) not in self._walks:
            self._walks[process, task_id] = WalkSeen(self._upstream.logs[task_id].version)

    def end_walk(self, process: str, task_id: str) -> None:
        """Note that a walk is over, however."""
        self._walks.pop((process, task_id), None)

    def end_process(self, process: str) -> None:
        """Forget the walks of a process that is no more."""
        for walk in [walk for walk in self._walks if walk[0] == process]:
            del self._walks[walk]

    def fence(self, process: str) -> None:
        """Note that a process has slept longer than its leases last: what others walk now is theirs."""
        for (other, _), walk in self._walks.items():
            walk.fenced = walk.fenced or other == process

    def unfence_unless_taken(self, process: str, taken: set[str]) -> None:
        """Let a process go on with what no other has walked while it slept."""
        for (other, task_id), walk in self._walks.items():
            if other == process and task_id not in taken:
                walk.fenced = False

    def commit(self, process: str, served: Served, *, reconciles: bool) -> None:
        """Take in a page whose transaction has been committed, and check the task."""
        of_task = self._tasks[served.task_id]
        walk = self._walks.setdefault((process, served.task_id), WalkSeen(served.version))
        if walk.fenced:
            raise BrokenPromiseError("a process that had slept longer than its lease wrote a page")
        told = [self._meaning.of_element(raw) for raw in served.elements]
        events = [each for each in told if each is not None]
        identities = frozenset(self._meaning.identity(each) for each in events)
        of_task.told.update(events)
        of_task.no_events.update(raw for raw, each in zip(served.elements, told, strict=True) if each is None)
        walk.told += events
        if reconciles:
            if served.token is None or of_task.reconcile_version is None:
                of_task.reconcile_version = served.version
                of_task.reconcile_served = set()
            of_task.reconcile_served |= identities
        before = frozenset() if served.token is None else of_task.leads_to.get(served.token, frozenset())
        if served.next_token is not None and served.next_token != served.token:
            of_task.leads_to[served.next_token] = before | identities
        elif served.next_token is not None:
            of_task.leads_to[served.next_token] = (
                of_task.leads_to.get(served.next_token, frozenset()) | identities
            )
        self.check(served.task_id)

    def check(self, task_id: str) -> Stored:
        """Check what must hold after every commit."""
        of_task = self._tasks[task_id]
        stored = Stored(self._connection, task_id, self._meaning)
        self.compared += len(stored.rows)
        _require_nothing_else(stored, of_task)
        _require_once(stored)
        held = set(stored.identities) | {self._meaning.identity(told) for _, _, told in stored.revisions}
        for told in of_task.told:
            if self._meaning.identity(told) not in held:
                raise BrokenPromiseError(f"an event of a committed page is nowhere: {told}")
        _require_history(stored)
        if set(stored.quarantined) != of_task.no_events or len(stored.quarantined) != len(of_task.no_events):
            raise BrokenPromiseError("the quarantine is not what was served that is no event")
        for token in stored.tokens:
            if token not in of_task.leads_to:
                raise BrokenPromiseError("a token is stored which no committed page gave")
            if not of_task.leads_to[token] <= held:
                raise BrokenPromiseError("the checkpoint is ahead of the rows")
        self._check_vanished(stored, of_task)
        return stored

    def _check_vanished(self, stored: Stored, of_task: OfTask) -> None:
        marked = {row.key for row in stored.rows if row.vanished}
        for row in stored.rows:
            newly = row.vanished and row.key not in of_task.vanished
            if newly and self._meaning.identity(row.told) in of_task.reconcile_served:
                raise BrokenPromiseError(
                    f"an event is marked vanished that the reconcile was served: {row.told}"
                )
        of_task.vanished = marked

    def complete(self, process: str, task_id: str, *, reconciled: bool, doubted: bool) -> None:
        """Check what must hold when a walk has come to its end."""
        log, of_task = self._upstream.logs[task_id], self._tasks[task_id]
        walk = self._walks.get((process, task_id))
        stored = self.check(task_id)
        stored.require_sums()
        held = set(stored.identities)
        touched = log.touched_since(walk.version) if walk else set()
        for told in walk.told if walk else ():
            if self._meaning.identity(told) not in held and (told.group_id, told.timestamp) not in touched:
                raise BrokenPromiseError(f"an event that the walk was served is no row: {told}")
        quiet = walk is not None and walk.version == log.version
        is_clear = not self._upstream.setting.odd or _has_each_key_once(log)
        if log.only_grew and quiet and is_clear and set(stored.current) != self.wanted(log):
            raise BrokenPromiseError("a log that only grew is not complete after a walk to its end")
        if reconciled:
            whole = of_task.reconcile_version == log.version
            if whole and not doubted and set(stored.current) != self.wanted(log):
                raise BrokenPromiseError(
                    "after a reconcile the rows that are not marked are not what was served"
                )
            of_task.reconcile_version = None

    def wanted(self, log: Log) -> set[Identity]:
        """Return what the log holds."""
        return {self._meaning.identity(item.told) for item in log.items if item.told is not None}

    def order_of(self, task_id: str) -> str | None:
        """Return the order in which the log was found to be served; None, or with a ?, if that is open."""
        found = self._connection.execute("SELECT log_order FROM checkpoint WHERE task_id = ?", (task_id,))
        order: str | None = found.fetchone()[0]
        return order

    def is_equal(self, task_id: str) -> bool:
        """Tell whether the rows that are not marked are the log, whatever their order."""
        stored = Stored(self._connection, task_id, self._meaning)
        return set(stored.current) == self.wanted(self._upstream.logs[task_id])

    def require_equal(self, task_id: str) -> None:
        """Check that the copy is the log: nothing missing, nothing more, and in its order."""
        log = self._upstream.logs[task_id]
        stored = self.check(task_id)
        stored.require_sums()
        if set(stored.current) != self.wanted(log):
            missing, more = self.wanted(log) - set(stored.current), set(stored.current) - self.wanted(log)
            raise BrokenPromiseError(
                f"at the end the copy is not the log: {len(missing)} missing, {len(more)} too many"
            )
        setting = self._upstream.setting
        is_told = setting.order == "told" or (log.only_grew and self.order_of(task_id) == setting.served)
        is_clear = setting.served == "oldest-first" or not (stored.share_places or setting.overlap)
        if setting.served == "newest-first" and setting.order == "auto" and setting.tokens != "anchor":
            is_clear = False  # until the order is found out, a token is gone on from whose place has moved
        if setting.odd and not _has_each_key_once(log):
            is_clear = False
        if log.orderly and is_told and is_clear:
            wanted = [self._meaning.identity(item.told) for item in log.items if item.told is not None]
            if stored.current != wanted:
                raise BrokenPromiseError("the reading order is not the log's order")


def _has_each_key_once(log: Log) -> bool:
    """Tell whether no two events share a key: a new one can be taken for a change of an old one far away."""
    keys = [(item.told.group_id, item.told.timestamp) for item in log.items if item.told is not None]
    return len(set(keys)) == len(keys)


def _require_nothing_else(stored: Stored, of_task: OfTask) -> None:
    for row in stored.rows:
        if row.told not in of_task.told:
            raise BrokenPromiseError(f"a row holds what no committed page did: {row.told}")
    for _, _, told in stored.revisions:
        if told not in of_task.told:
            raise BrokenPromiseError(f"a revision holds what no committed page did: {told}")


def _require_once(stored: Stored) -> None:
    if len(set(stored.identities)) != len(stored.identities):
        twice = [identity for identity in stored.identities if stored.identities.count(identity) > 1]
        raise BrokenPromiseError(f"an event has two rows: {twice[0]}")


def _require_history(stored: Stored) -> None:
    """Every row's earlier revisions are there, numbered from 0."""
    kept: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for key, revision, _ in stored.revisions:
        kept[key].append(revision)
    for row in stored.rows:
        if kept.pop(row.key, []) != list(range(row.revision)):
            raise BrokenPromiseError(f"the history of a row is not whole: {row.told}")
    if kept:
        raise BrokenPromiseError("there are revisions of no row")
