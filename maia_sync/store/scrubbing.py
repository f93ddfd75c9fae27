"""Is what was deleted gone from the database's own files? They are written anew, without free pages.

SQLite: VACUUM writes every page again, and a truncating checkpoint empties the write-ahead log. PostgreSQL:
VACUUM FULL writes the tables to other files. Neither can reach the server's write-ahead log, its replicas,
backups, or what a file system keeps of deleted files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from maia_sync.store.database import Database, Transaction

_TRIES: Final = 3
_TABLES: Final = (
    "task_event",
    "task_event_revision",
    "quarantine",
    "sent_message",
    "task_turn",
    "task_activity",
)
"""In which payloads stand, or what was read from them."""
_STATISTICS: Final = "pg_catalog.pg_statistic"
_SAMPLES: Final = "SELECT count(*) FROM sqlite_master WHERE name IN ('sqlite_stat1', 'sqlite_stat4')"


def overwrite_deleted(tx: Transaction) -> None:
    """Have whatever the transaction takes out of SQLite's pages overwritten there, not only forgotten."""
    if not tx.is_postgresql:
        tx.connection.exec_driver_sql("PRAGMA secure_delete = ON")


def scrub(database: Database) -> str | None:
    """Rid the database's files of what was deleted; return why that could not be done, or None.

    Others wait meanwhile, as long as all that is stored takes to be written once. Raises DatabaseError.
    """
    with database.statements() as cursor:
        return _scrub_postgresql(cursor) if database.is_postgresql else _scrub_sqlite(cursor)


def _scrub_sqlite(cursor: Any) -> str | None:
    cursor.execute("PRAGMA secure_delete = ON")
    if cursor.execute(_SAMPLES).fetchone()[0]:  # they quote values of indexed columns
        cursor.execute("ANALYZE")
    cursor.execute("VACUUM")
    for _ in range(_TRIES):  # each waits for readers, as long as for a lock
        is_busy, *_ = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if not is_busy:
            return None
    return (
        "what was erased still stands in the database's write-ahead log, which another process keeps from "
        "being emptied: it is reading. The next `maia-sync archive` verb that writes tries again"
    )


def _scrub_postgresql(cursor: Any) -> str | None:
    files = _files_of(cursor, _TABLES)
    for table in _TABLES:
        cursor.execute(f"VACUUM (FULL, ANALYZE) {table}")
    # The statistics quote values of columns: new ones stand there now, and who owns the database alone can
    # have the old ones overwritten.
    cursor.execute(f"VACUUM (FULL) {_STATISTICS}")
    same = [table for table, file in _files_of(cursor, _TABLES).items() if files[table] == file]
    if not same:
        return None
    return (
        f"what was erased may still stand in unused space of {', '.join(same)}: this database user may not "
        "write them anew. Let their owner run VACUUM (FULL, ANALYZE) on them; the next `maia-sync archive` "
        "verb that writes tries again"
    )


def _files_of(cursor: Any, tables: Sequence[str]) -> dict[str, int]:
    found = {}
    for table in tables:
        cursor.execute("SELECT pg_relation_filenode(to_regclass(%s))", (table,))
        found[table] = cursor.fetchone()[0]
    return found
