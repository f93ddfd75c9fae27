"""Is the copy what the log was? Judged without any of maia_sync: plain drivers, own scanner, own identity."""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

NO_TIMESTAMP = -(2**63)
TABLES = (
    "task",
    "task_event",
    "task_event_revision",
    "checkpoint",
    "sync_run",
    "quarantine",
    "sent_message",
)
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_STAMP = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
_SANDBOX_SHAPE = re.compile(
    rb'\{"data":(.*),"groupId":"([0-9a-f-]{36})","timestamp":"([0-9TZ:.-]+)"\}', re.DOTALL
)
_READING_ORDER = "ORDER BY seq, first_seen_at, ordinal"


# ------------------------------------------------------------------ what a raw element says


_KEPT = 20_000
"""So many answers are remembered: tests ask about the same events after every sync."""


class Told(NamedTuple):
    """What one storable element says, cut out of its bytes."""

    group_id: str
    timestamp: int
    timestamp_text: str | None
    data: str | None
    extra: str | None

    @property
    def identity(self) -> tuple[Any, ...]:
        """Return what tells events apart: key and payload, whatever the spelling."""
        leftover = _beyond_the_key(self.timestamp_text)
        return (self.group_id, self.timestamp, meaning(self.data), meaning(self.extra), leftover)


@lru_cache(_KEPT)
def tell(element: bytes) -> Told | None:
    """Cut an element into what a row should hold; None for one that belongs into quarantine."""
    element = element.strip(b" \t\r\n")
    shape = _SANDBOX_SHAPE.fullmatch(element)
    if (
        shape
        and element.isascii()
        and b'"data":' not in shape[1]
        and element.count(b"[") + element.count(b"{") < 1000
    ):
        data, group, stamp = (part.decode() for part in shape.groups())
        return Told(group, nanoseconds(stamp), stamp, data, None)
    if not _is_storable_element(element):
        return None
    members = _members(element)
    last = {name: at for at, (name, _, _) in enumerate(members)}
    raw = {
        name: members[last[name]][2] if name in last else None for name in ("data", "groupId", "timestamp")
    }
    group, group_told = _group(raw["groupId"])
    stamp, stamp_told = _stamp(raw["timestamp"])
    spoken_for = {last.get("data")}
    spoken_for |= {last.get("groupId")} if group_told else set()
    spoken_for |= {last.get("timestamp")} if stamp_told else set()
    rest = [name + b":" + value for at, (_, name, value) in enumerate(members) if at not in spoken_for]
    return Told(
        group_id=group,
        timestamp=nanoseconds(stamp),
        timestamp_text=stamp,
        data=None if raw["data"] is None else raw["data"].decode(),
        extra=("{" + b",".join(rest).decode() + "}") if rest else None,
    )


@lru_cache(_KEPT)
def nanoseconds(stamp: str | None) -> int:
    """Return a timestamp's place in the key."""
    found = _STAMP.fullmatch(stamp or "")
    if found is None:
        return NO_TIMESTAMP
    year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
    zone = found[8]
    offset = 0 if zone in "Zz" else (int(zone[1:3]) * 60 + int(zone[4:6])) * (-1 if zone[0] == "-" else 1)
    try:
        whole = datetime(year, month, day, hour, minute, tzinfo=UTC) - timedelta(minutes=offset)
        whole += timedelta(seconds=second)
    except (ValueError, OverflowError):
        return NO_TIMESTAMP
    since = whole - datetime(1970, 1, 1, tzinfo=UTC)
    number = (since.days * 86400 + since.seconds) * 10**9 + int(((found[7] or "") + "0" * 9)[:9])
    return number if -(2**63) < number < 2**63 else NO_TIMESTAMP


@lru_cache(_KEPT)
def meaning(text: str | None) -> Any:
    """Return a value that is equal for texts which differ in nothing but JSON spelling."""
    if text is None:
        return "absent"
    try:
        value = json.loads(
            text,
            parse_int=lambda digits: ("number", digits),
            parse_float=lambda digits: ("number", digits),
            object_pairs_hook=lambda pairs: ("object", sorted(pairs, key=lambda pair: pair[0])),
        )
    except RecursionError:
        return text
    return json.dumps(value)


def distinct(elements: Iterable[bytes]) -> dict[tuple[Any, ...], Told]:
    """Return the events of a log by identity, in order; of equal ones the first."""
    events: dict[tuple[Any, ...], Told] = {}
    for element in elements:
        told = tell(element)
        if told is not None:
            events.setdefault(told.identity, told)
    return events


def _is_storable_element(element: bytes) -> bool:
    try:
        element.decode()
    except UnicodeDecodeError:
        return False
    return element[:1] == b"{" and _depth(element) <= 1000


def _depth(element: bytes) -> int:
    depth = deepest = 0
    for byte in re.findall(rb"[\[\]{}]", _STRING.sub(b"", element)):
        depth += 1 if byte in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _members(element: bytes) -> list[tuple[str, bytes, bytes]]:
    """Return (name, raw name, raw value) of a JSON object's members."""
    members = []
    at = _skip(element, 1)
    while element[at : at + 1] != b"}":
        name_end = _STRING.match(element, at).end()  # type: ignore[union-attr]
        value_at = _skip(element, _skip(element, name_end) + 1)
        value_end = _value_end(element, value_at)
        raw_name = element[at:name_end]
        members.append((json.loads(raw_name), raw_name, element[value_at:value_end]))
        at = _skip(element, value_end)
        if element[at : at + 1] == b",":
            at = _skip(element, at + 1)
    return members


def _skip(element: bytes, at: int) -> int:
    while element[at : at + 1] in (b" ", b"\t", b"\r", b"\n"):
        at += 1
    return at


_STOP = re.compile(rb'["\[\]{},\s]')


def _value_end(element: bytes, at: int) -> int:
    depth = 0
    while True:
        found = _STOP.search(element, at)
        assert found is not None, element[:200]
        byte, at = found[0], found.end()
        if byte == b'"':
            at = _STRING.match(element, found.start()).end()  # type: ignore[union-attr]
            if depth == 0:
                return at
        elif byte in b"[{":
            depth += 1
        elif byte in b"]}":
            depth -= 1
            if depth <= 0:
                return at if depth == 0 else found.start()
        elif depth == 0:
            return found.start()


def _group(raw: bytes | None) -> tuple[str, bool]:
    if raw is None or raw == b"null":
        return "", True
    if raw[:1] == b'"':
        text = json.loads(raw)
        if "\0" not in text and not re.search("[\ud800-\udfff]", text) and len(text.encode()) <= 512:
            return text, True
    return "sha256:" + hashlib.sha256(raw).hexdigest(), False


def _stamp(raw: bytes | None) -> tuple[str | None, bool]:
    if raw is None or raw == b"null":
        return None, True
    if raw[:1] == b'"':
        text = json.loads(raw)
        if "\0" not in text and not re.search("[\ud800-\udfff]", text):
            return text, True
    return None, False


def _beyond_the_key(stamp: str | None) -> str:
    if stamp is None:
        return ""
    if nanoseconds(stamp) == NO_TIMESTAMP:
        return stamp
    fraction = _STAMP.fullmatch(stamp)[7] or ""  # type: ignore[index]
    return fraction[9:].rstrip("0")


# ------------------------------------------------------------------ what the database holds


class Row(NamedTuple):
    """One row of task_event as a plain driver reads it."""

    group_id: str
    timestamp: int
    ordinal: int
    data: str | None
    extra: str | None
    timestamp_text: str | None
    occurred_at: str | None
    seq: int
    revision: int
    first_seen_at: str
    last_changed_at: str
    vanished_at: str | None
    digest: bytes

    @property
    def told(self) -> Told:
        return Told(self.group_id, self.timestamp, self.timestamp_text, self.data, self.extra)


class Copy:
    """The database under test, reached by its plain driver."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.is_postgresql = not url.startswith("sqlite")

    @contextmanager
    def connection(self) -> Iterator[Any]:
        """Connect to it."""
        if self.is_postgresql:
            with psycopg.connect(self.url.replace("+psycopg", "", 1), autocommit=True) as connection:
                yield connection
        else:
            with closing(sqlite3.connect(self.url.removeprefix("sqlite:///"), timeout=30)) as connection:
                connection.isolation_level = None
                yield connection

    def ask(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows."""
        with self.connection() as connection:
            cursor = connection.execute(sql.replace("?", "%s") if self.is_postgresql else sql, values)
            return list(cursor.fetchall()) if cursor.description else []

    def one(self, sql: str, *values: Any) -> Any:
        """Return the only column of the only row."""
        ((value,),) = self.ask(sql, *values)
        return value

    def log(self, task_id: str, *, vanished: bool = True) -> list[Row]:
        """Return a task's rows in reading order."""
        text = "::text" if self.is_postgresql else ""
        moments = ", ".join(
            f"{name}{text}" for name in ("first_seen_at", "last_changed_at", "vanished_at", "digest")
        ).replace("digest::text", "digest")
        found = self.ask(
            f'SELECT group_id, "timestamp", ordinal, data{text}, extra{text}, timestamp_text, '
            f"occurred_at{text}, seq, revision, {moments} FROM task_event WHERE task_id = ? "
            + ("" if vanished else "AND vanished_at IS NULL ")
            + _READING_ORDER,
            task_id,
        )
        return [Row(*row) for row in found]

    def revisions(self, task_id: str) -> list[tuple[Any, ...]]:
        """Return (group, timestamp, ordinal, revision, data) of superseded payloads, oldest first."""
        text = "::text" if self.is_postgresql else ""
        return self.ask(
            f'SELECT group_id, "timestamp", ordinal, revision, data{text} FROM task_event_revision '
            'WHERE task_id = ? ORDER BY group_id, "timestamp", ordinal, revision',
            task_id,
        )

    def quarantined(self, task_id: str) -> list[bytes]:
        """Return the raw bytes in quarantine."""
        found = self.ask("SELECT raw FROM quarantine WHERE task_id = ? ORDER BY id", task_id)
        return [bytes(raw) for (raw,) in found]

    def task(self, task_id: str) -> dict[str, Any]:
        """Return the row of `task`."""
        return self._record("task", task_id)

    def checkpoint(self, task_id: str) -> dict[str, Any]:
        """Return the row of `checkpoint`."""
        return self._record("checkpoint", task_id)

    def _record(self, table: str, task_id: str) -> dict[str, Any]:
        names = self.columns(table)
        quoted = ", ".join(f'"{name}"' for name in names)
        (row,) = self.ask(f"SELECT {quoted} FROM {table} WHERE task_id = ?", task_id)
        return dict(zip(names, row, strict=True))

    def columns(self, table: str) -> list[str]:
        """Return a table's columns."""
        if self.is_postgresql:
            statement = "SELECT column_name FROM information_schema.columns WHERE table_name = ? ORDER BY 1"
        else:
            statement = "SELECT name FROM pragma_table_info(?) ORDER BY 1"
        return [name for (name,) in self.ask(statement, table)]

    def everything(self, *, but: Sequence[str] = ()) -> str:
        """Return every value of every table as one text, for searching."""
        kept = [table for table in TABLES if table not in but]
        return "\n".join(repr(row) for table in kept for row in self.ask(f"SELECT * FROM {table}"))

    # -------------------------------------------------------------- leases, from outside

    def free_leases(self) -> int:
        """Do what time does to leases of dead workers; returns how many there were."""
        held = self.ask("SELECT task_id FROM task WHERE lease_owner IS NOT NULL")
        self.ask("UPDATE task SET lease_owner = NULL, lease_expires_at = NULL")
        return len(held)

    def take_lease(self, task_id: str, owner: str, *, expires_in: float) -> None:
        """Let another worker acquire the task, whoever holds it."""
        moment = datetime.now(UTC) + timedelta(seconds=expires_in)
        self.ask(
            "UPDATE task SET lease_owner = ?, lease_epoch = lease_epoch + 1, lease_expires_at = ? "
            "WHERE task_id = ?",
            owner,
            moment if self.is_postgresql else f"{moment:%Y-%m-%d %H:%M:%S.%f}",
            task_id,
        )

    # -------------------------------------------------------------- which rows are written

    def watch_writes(self, *tables: str) -> None:
        """From now on note each row of these tables that is inserted, updated or deleted."""
        self.ask("CREATE TABLE written (what TEXT)")
        if self.is_postgresql:
            self.ask(
                "CREATE FUNCTION note_write() RETURNS trigger LANGUAGE plpgsql AS "
                "$$BEGIN INSERT INTO written VALUES (TG_OP || ' ' || TG_TABLE_NAME); RETURN NULL; END$$"
            )
        for table in tables:
            for deed in ("INSERT", "UPDATE", "DELETE"):
                self.ask(
                    f"CREATE TRIGGER note_{deed}_{table} AFTER {deed} ON {table} FOR EACH ROW "
                    + (
                        "EXECUTE FUNCTION note_write()"
                        if self.is_postgresql
                        else f"BEGIN INSERT INTO written VALUES ('{deed} {table}'); END"
                    )
                )

    def writes(self) -> dict[str, int]:
        """Return what was written since the last call, by kind."""
        counted = dict(self.ask("SELECT what, count(*) FROM written GROUP BY what"))
        self.ask("DELETE FROM written")
        return counted


# ------------------------------------------------------------------ verdicts


def assert_to_the_letter(copy: Copy, task_id: str, elements: Sequence[bytes]) -> None:
    """The copy equals a log without repetitions: every text, every key, in order, nothing else."""
    rows = copy.log(task_id)
    told = [tell(element) for element in elements]
    assert [row.told for row in rows] == [each for each in told if each is not None]
    assert all(row.vanished_at is None for row in rows)
    odd = [element for element, each in zip(elements, told, strict=True) if each is None]
    assert sorted(copy.quarantined(task_id)) == sorted(set(odd))
    _assert_sound(copy, task_id, rows)


def assert_served_is_current(copy: Copy, task_id: str, elements: Iterable[bytes]) -> None:
    """P1 after a poll: every event that was served is a current row."""
    current = {row.told.identity for row in copy.log(task_id, vanished=False)}
    missing = distinct(elements).keys() - current
    assert not missing, f"{len(missing)} served events are no current rows, such as {next(iter(missing))}"


def assert_equal_as_set(copy: Copy, task_id: str, elements: Iterable[bytes]) -> None:
    """P1 after a reconcile: the rows that are not marked vanished are the events of the log."""
    rows = copy.log(task_id)
    current = [row.told.identity for row in rows if row.vanished_at is None]
    wanted = distinct(elements)
    assert set(current) == wanted.keys()
    assert len(current) == len(wanted)
    _assert_sound(copy, task_id, rows)


def assert_sound(copy: Copy, task_id: str) -> None:
    """P2 and P3: no event twice; ordinals and revisions without gaps."""
    _assert_sound(copy, task_id, copy.log(task_id))


def _assert_sound(copy: Copy, task_id: str, rows: Sequence[Row]) -> None:
    identities = [row.told.identity for row in rows]
    assert len(set(identities)) == len(identities), "an event is stored twice"
    ordinals: dict[tuple[str, int], list[int]] = {}
    for row in rows:
        ordinals.setdefault((row.group_id, row.timestamp), []).append(row.ordinal)
    assert all(sorted(each) == list(range(len(each))) for each in ordinals.values()), ordinals
    chains: dict[tuple[str, int, int], list[int]] = {}
    for group, timestamp, ordinal, revision, _ in copy.revisions(task_id):
        chains.setdefault((group, timestamp, ordinal), []).append(revision)
    for row in rows:
        chain = chains.pop((row.group_id, row.timestamp, row.ordinal), [])
        assert chain == list(range(row.revision)), (row, chain)
    assert not chains, "revisions without a row"
