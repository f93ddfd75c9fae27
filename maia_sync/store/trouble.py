"""What has gone wrong with the database, by the code that its driver gives?

Codes: PostgreSQL documentation, appendix A (SQLSTATE), and SQLite's result codes by their names. Pure; what
is to be done about it, `database.py` decides.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final


class Trouble(Enum):
    """What a driver's error comes down to."""

    BROKEN = auto()
    """The connection is gone: the server stops, starts, has failed over or has ended our session."""
    READ_ONLY = auto()
    """The server takes no changes: a standby, or a primary that has just become one."""
    GIVEN_UP = auto()
    """The server has undone this transaction for the sake of others, or of its own limits."""
    BUSY = auto()
    """SQLite: another process has held the lock for longer than we wait."""
    FULL = auto()
    """No room is left where the database lies."""
    NOT_READ_OR_WRITTEN = auto()
    """SQLite: the file cannot be opened, read or written."""
    NO_DATABASE = auto()
    """SQLite: the file is something else."""
    DAMAGED = auto()
    """What is stored cannot be made sense of."""
    DENIED = auto()
    """The database's user may not do this."""
    KEY_TAKEN = auto()
    """A unique key is stored already."""
    OTHER = auto()


_BY_SQLSTATE: Final = {
    "08": Trouble.BROKEN,  # a whole class: connection exceptions, PgBouncer's own refusals among them
    "57P01": Trouble.BROKEN,  # admin_shutdown: the server stops, or pg_terminate_backend
    "57P02": Trouble.BROKEN,  # crash_shutdown: another backend crashed
    "57P03": Trouble.BROKEN,  # cannot_connect_now: starting up, shutting down, recovering
    "57P05": Trouble.BROKEN,  # idle_session_timeout
    "25P03": Trouble.BROKEN,  # idle_in_transaction_session_timeout
    "25P04": Trouble.BROKEN,  # transaction_timeout
    "25006": Trouble.READ_ONLY,  # read_only_sql_transaction
    "40": Trouble.GIVEN_UP,  # a whole class: serialization failures, deadlocks
    "53200": Trouble.GIVEN_UP,  # out_of_memory
    "55P03": Trouble.GIVEN_UP,  # lock_not_available: lock_timeout
    "57014": Trouble.GIVEN_UP,  # query_canceled: statement_timeout, pg_cancel_backend
    "53100": Trouble.FULL,  # disk_full
    "XX001": Trouble.DAMAGED,  # data_corrupted
    "XX002": Trouble.DAMAGED,  # index_corrupted
    "42501": Trouble.DENIED,  # insufficient_privilege
    "23505": Trouble.KEY_TAKEN,  # unique_violation
}
_BY_SQLITE_NAME: Final = {
    "SQLITE_BUSY": Trouble.BUSY,
    "SQLITE_LOCKED": Trouble.BUSY,
    "SQLITE_PROTOCOL": Trouble.BUSY,  # the race for the WAL's locks was lost too often
    "SQLITE_FULL": Trouble.FULL,
    "SQLITE_IOERR": Trouble.NOT_READ_OR_WRITTEN,
    "SQLITE_CANTOPEN": Trouble.NOT_READ_OR_WRITTEN,
    "SQLITE_READONLY": Trouble.NOT_READ_OR_WRITTEN,
    "SQLITE_CORRUPT": Trouble.DAMAGED,
    "SQLITE_NOTADB": Trouble.NO_DATABASE,
    "SQLITE_CONSTRAINT_PRIMARYKEY": Trouble.KEY_TAKEN,
    "SQLITE_CONSTRAINT_UNIQUE": Trouble.KEY_TAKEN,
}


def trouble_of(original: BaseException) -> Trouble:
    """Return what a driver's own error comes down to; OTHER if its code says nothing of use here."""
    state = getattr(original, "sqlstate", None) or ""
    name = getattr(original, "sqlite_errorname", None) or ""
    primary = "_".join(name.split("_")[:2])  # SQLITE_BUSY_SNAPSHOT is a kind of SQLITE_BUSY
    return (
        _BY_SQLSTATE.get(state)
        or _BY_SQLSTATE.get(state[:2])
        or _BY_SQLITE_NAME.get(name)
        or _BY_SQLITE_NAME.get(primary)
        or Trouble.OTHER
    )


def ends_session(original: BaseException) -> bool:
    """Tell whether the server said with this error that it closes the connection."""
    severity = getattr(getattr(original, "diag", None), "severity_nonlocalized", None)
    return severity in ("FATAL", "PANIC") or trouble_of(original) is Trouble.BROKEN


def reason_of(original: BaseException) -> str:
    """Return the driver's reason in one line.

    Of a server's error only the message proper: its detail and context can hold a row (promise P9), as COPY's
    context does.
    """
    primary = getattr(getattr(original, "diag", None), "message_primary", None)
    lines = str(primary or original).strip().splitlines() or [type(original).__name__]
    listing = lines[0].endswith(":")  # one line for each address that was tried follows
    return " ".join(" ".join(lines if listing else lines[:1]).split())[:300]
