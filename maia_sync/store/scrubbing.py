"""Is what was deleted gone from the database's own files? They are written anew, without free pages.

SQLite: VACUUM writes every page again, and a truncating checkpoint empties the write-ahead log. PostgreSQL:
VACUUM FULL writes the tables to other files. Neither can reach the server's write-ahead log, its replicas,
backups, or what a file system keeps of deleted files.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from maia_sync.errors import DatabaseLost

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from maia_sync.clock import Clock
    from maia_sync.store.database import Database, Transaction

_TRIES: Final = 4
_PAUSE: Final = 2.0
"""Seconds between two tries, in which nobody is kept waiting."""
_MOMENT: Final = 0.2
"""Seconds after which is looked again whether the end was asked for."""
_LOCKED_OUT: Final = 1_000
"""Milliseconds for which SQLite's writers are kept waiting while a reader is waited for."""
_LOCK_TIMEOUT: Final = 3_000
"""Milliseconds for which PostgreSQL waits for a table's lock: all others queue up behind it meanwhile."""
_TABLES: Final = (
    "task_event",
    "task_event_revision",
    "quarantine",
    "sent_message",
    "task_turn",
    "task_activity",
)
"""In which payloads stand, or what was read from them; the largest first."""
_LARGE: Final = _TABLES[:2]
_MOST_REWRITES: Final = 2
"""How often a large one is written anew because somebody may still see its deleted rows."""
_STATISTICS: Final = ("pg_catalog.pg_statistic", "pg_catalog.pg_statistic_ext_data")
"""They quote values of columns; who owns the database alone may have them written anew."""
_SAMPLES: Final = "SELECT count(*) FROM sqlite_master WHERE name IN ('sqlite_stat1', 'sqlite_stat4')"
_NUMBER: Final = re.compile(r"[0-9]+")
_AGAIN: Final = "The next `maia-sync archive` verb that writes tries again"
_READING: Final = (
    "what was erased still stands in the database's file and its write-ahead log, which another process "
    f"keeps from being emptied: it is reading. {_AGAIN}"
)
_INTERRUPTED: Final = (
    f"interrupted: what was erased still stands in free pages of the database's files. {_AGAIN}"
)


def _never() -> None:
    return None


def overwrite_deleted(tx: Transaction) -> None:
    """Have whatever the transaction takes out of SQLite's pages overwritten there, not only forgotten."""
    if not tx.is_postgresql:
        tx.connection.exec_driver_sql("PRAGMA secure_delete = ON")


def scrub(
    database: Database, stopped: Callable[[], object] = _never, *, mark: int | None = None
) -> str | None:
    """Rid the database's files of what was deleted; return why that could not be done, or None.

    Others wait meanwhile, as long as all that is stored takes to be written once. What the database notes as
    done for this `mark` is not done again. Raises DatabaseError.
    """
    if stopped() is not None:
        return _INTERRUPTED
    if database.is_postgresql:
        return _scrub_postgresql(database, stopped, mark)
    return _scrub_sqlite(database, stopped, mark)


def note_rewritten(database: Database, mark: int) -> None:
    """Note in the database that it was written anew for this mark, where `scrub` has not done so itself."""
    if database.is_postgresql:
        with database.statements() as cursor:
            cursor.execute(f"COMMENT ON COLUMN archive_erasure.scrubbed_at IS '{_noted(mark)}'")


def _noted(mark: int) -> str:
    return f"the tables were written anew for {mark}"


def _scrub_sqlite(database: Database, stopped: Callable[[], object], mark: int | None) -> str | None:
    with database.statements() as cursor:
        cursor.execute("PRAGMA secure_delete = ON")
        if mark is None or cursor.execute("PRAGMA user_version").fetchone()[0] != mark:
            # In vain, and as much to be written each time, while a reader is there.
            if not _empty_log(cursor, database.clock, stopped):
                return _READING
            if cursor.execute(_SAMPLES).fetchone()[0]:  # they quote values of indexed columns
                cursor.execute("ANALYZE")
            cursor.execute("VACUUM")
            if mark is not None:
                cursor.execute(f"PRAGMA user_version = {mark}")
        return None if _empty_log(cursor, database.clock, stopped) else _READING


def _empty_log(cursor: Any, clock: Clock, stopped: Callable[[], object]) -> bool:
    """Bring the write-ahead log into the database's file, and empty it; tell whether no reader forbids that.

    Whoever empties it keeps writers out while it waits for readers: so it waits for a moment, and often.
    """
    patience = int(cursor.execute("PRAGMA busy_timeout").fetchone()[0])
    cursor.execute(f"PRAGMA busy_timeout = {min(patience, _LOCKED_OUT)}")
    for attempt in range(_TRIES):
        if attempt and not _waited(clock, stopped):
            break
        cursor.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()  # the most of it, without a lock
        is_busy, *_ = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if not is_busy:
            cursor.execute(f"PRAGMA busy_timeout = {patience}")
            return True
    return False


def _waited(clock: Clock, stopped: Callable[[], object]) -> bool:
    """Wait before the next try; False once the end is asked for."""
    for _ in range(round(_PAUSE / _MOMENT)):
        if stopped() is not None:
            return False
        clock.pause(_MOMENT)
    return stopped() is None


def _scrub_postgresql(database: Database, stopped: Callable[[], object], mark: int | None) -> str | None:
    with database.statements() as cursor:
        files = _files_of(cursor, _TABLES)
        statistics = [name for name, file in _files_of(cursor, _STATISTICS).items() if file is not None]
        if mark is not None and _note_in(cursor) == _noted(mark):
            return None
    # The small ones first: who keeps the deleted rows of one from going keeps those of the largest, too. And
    # statistics last: new ones stand there then, and the old ones are dead.
    for table in (*reversed(_TABLES), *statistics):
        trouble = _write_anew(database, table, stopped)
        if trouble is not None:
            return trouble
    with database.statements() as cursor:
        same = [table for table, file in _files_of(cursor, _TABLES).items() if files[table] == file]
    if not same:
        return None
    return (
        f"what was erased may still stand in unused space of {', '.join(same)}: this database user may not "
        "write them anew. Let their owner run VACUUM (FULL, ANALYZE) on them; the next `maia-sync archive` "
        "verb that writes tries again"
    )


def _write_anew(database: Database, table: str, stopped: Callable[[], object]) -> str | None:
    """Write a table to another file; return why what was deleted may still stand there, or None.

    None as well if this user may not do it.
    """
    trouble, rewrites = _INTERRUPTED, 0
    for attempt in range(_TRIES):
        if stopped() is not None or (attempt and not _waited(database.clock, stopped)):
            break
        try:
            left = _vacuum(database, table)
        except DatabaseLost as error:
            trouble = (
                f"what was erased still stands in unused space of {table}, which cannot be written anew just "
                f"now: {error}. {_AGAIN}"
            )
            continue
        if not left:
            return None
        trouble = (
            "what was erased may still stand in tables of the database: an older transaction of another "
            f"session, a prepared one or a replication slot keeps {left:,} deleted rows of {table} from "
            f"going (see pg_stat_activity, pg_prepared_xacts, pg_replication_slots). {_AGAIN}"
        )
        rewrites += 1
        if table in _LARGE and rewrites == _MOST_REWRITES:
            break
    return trouble


def _vacuum(database: Database, table: str) -> int:
    """Write a table anew; return how many of its rows are deleted and had to be taken along.

    The server tells it in its own language, as the first number of the one notice that has a detail.
    """
    details: list[str] = []
    what = "FULL, VERBOSE" if table in _STATISTICS else "FULL, ANALYZE, VERBOSE"
    with database.statements() as cursor:
        cursor.connection.add_notice_handler(lambda told: details.append(told.message_detail or ""))
        cursor.execute(f"SET lock_timeout = {_LOCK_TIMEOUT}")
        try:
            cursor.execute(f"VACUUM ({what}) {table}")
        finally:
            with suppress(Exception):  # what went wrong before is what counts
                cursor.execute("RESET lock_timeout")  # a pooler may lend the session to others
    numbers = (_NUMBER.search(detail) for detail in details)
    return sum(int(found[0]) for found in numbers if found is not None)


def _note_in(cursor: Any) -> str | None:
    cursor.execute(
        "SELECT col_description(attrelid, attnum) FROM pg_attribute "
        "WHERE attrelid = to_regclass('archive_erasure') AND attname = 'scrubbed_at'"
    )
    found: str | None = cursor.fetchone()[0]
    return found


def _files_of(cursor: Any, tables: Sequence[str]) -> dict[str, int | None]:
    found = {}
    for table in tables:
        cursor.execute("SELECT pg_relation_filenode(to_regclass(%s))", (table,))
        found[table] = cursor.fetchone()[0]
    return found
