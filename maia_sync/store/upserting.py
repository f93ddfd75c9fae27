"""How does an INSERT say ON CONFLICT? In the words of the database's dialect, the only one that is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Table
    from sqlalchemy.dialects.postgresql import Insert as PostgresqlInsert
    from sqlalchemy.dialects.sqlite import Insert as SqliteInsert

    from maia_sync.store.database import Transaction


def upserting(tx: Transaction) -> Callable[[Table], PostgresqlInsert | SqliteInsert]:
    """Return the function that makes an INSERT into a table which may meet rows that are there."""
    if tx.is_postgresql:
        from sqlalchemy.dialects import postgresql  # noqa: PLC0415 - SQLite does without it

        return postgresql.insert
    from sqlalchemy.dialects import sqlite  # noqa: PLC0415 - PostgreSQL does without it

    return sqlite.insert
