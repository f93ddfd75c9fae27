"""How does each of the two databases want to be connected to?

PostgreSQL may stand behind a pooler that lends a session for one transaction only (PgBouncer's transaction
mode). So nothing here or in `store/` rests on a session: no prepared statements, which psycopg would make of
what it is asked often, no startup parameters that a pooler refuses, no session locks, no temporary tables.
The time zone is the one setting that belongs to a session, and PgBouncer keeps it for each of its clients.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.pool import QueuePool

from maia_sync.errors import DatabaseUnreachable

if TYPE_CHECKING:
    import sqlite3

WRITE: Final = "maia_sync_write"
"""Execution option of a connection: whether its transaction is going to write."""
DURABLE: Final = "maia_sync_durable"
"""Execution option of a connection: whether what it commits must survive a power cut."""

_LIBPQ_DEFAULTS: Final = {
    "connect_timeout": 10,
    "fallback_application_name": "maia-sync",
    # A server that vanishes without a word (a machine that failed over) is given up after a minute, not after
    # the two hours or so of the kernel's own settings.
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
_TRIES: Final = 20
_UTC_NAMES: Final = ("UTC", "Etc/UTC")


def make_engine(url: str, *, synchronous: str, connections: int, busy_timeout: float) -> Engine:
    """Return an engine with a pool of so many connections; nothing is connected yet.

    Raises DatabaseUnreachable if the driver that the URL needs is not installed.
    """
    options: dict[str, Any] = {
        "hide_parameters": True,
        "poolclass": QueuePool,
        "pool_size": connections,
        "max_overflow": 2,
    }
    if make_url(url).get_backend_name() == "postgresql":
        return _postgresql(url, options)
    return _sqlite(url, options, synchronous=synchronous, busy_timeout=busy_timeout)


def _postgresql(url: str, options: dict[str, Any]) -> Engine:
    chosen = make_url(url).query
    defaults = {name: value for name, value in _LIBPQ_DEFAULTS.items() if name not in chosen}
    try:
        engine = create_engine(
            url, pool_pre_ping=True, connect_args={**defaults, "prepare_threshold": None}, **options
        )
    except ModuleNotFoundError as error:
        raise DatabaseUnreachable("PostgreSQL needs a driver: pip install 'maia-sync[postgresql]'") from error
    event.listen(engine, "connect", _prepare_postgresql)
    return engine


def _prepare_postgresql(connection: Any, _: object) -> None:
    from psycopg.types.json import set_json_loads  # noqa: PLC0415 - the driver is an extra

    # `json` columns are read as the exact text they keep, never parsed and spelt anew.
    set_json_loads(lambda raw: raw if isinstance(raw, str) else bytes(raw).decode(), connection)
    # Not by the startup parameter `options`: PgBouncer before 1.20 refuses connections that have it.
    if connection.info.parameter_status("TimeZone") not in _UTC_NAMES:
        connection.autocommit = True
        connection.execute("SET TIME ZONE 'UTC'")
        connection.autocommit = False


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Set the journal's mode, which stays with the file.

    Two that set it for a new file in the same moment are refused, not made to wait: so wait for a lock
    that one does wait for, and try again.
    """
    for _ in range(_TRIES):
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except connection.OperationalError:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        else:
            return
    connection.execute("PRAGMA journal_mode = WAL")


def _sqlite(url: str, options: dict[str, Any], *, synchronous: str, busy_timeout: float) -> Engine:
    engine = create_engine(url, connect_args={"timeout": busy_timeout, "check_same_thread": False}, **options)

    def prepare(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # the begin event below says BEGIN, not the driver
        connection.execute("PRAGMA page_size = 8192")  # a fifth less CPU per event of 400 bytes than 4096
        _use_write_ahead_log(connection)
        for pragma in (
            f"synchronous = {synchronous}",
            "wal_autocheckpoint = 4000",  # 32 MiB: pages that a backfill hits often are copied less often
            f"busy_timeout = {round(busy_timeout * 1000)}",
        ):
            connection.execute(f"PRAGMA {pragma}")

    def begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        durable = options.get(DURABLE, False)
        # The pragma has no effect once a transaction is open. It is put back when the connection's next
        # transaction begins: after a commit nothing is left to do that could fail.
        if durable != connection.info.get(DURABLE, False):
            connection.exec_driver_sql(f"PRAGMA synchronous = {'FULL' if durable else synchronous}")
            connection.info[DURABLE] = durable
        connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get(WRITE, True) else "BEGIN")

    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", begin)
    return engine
