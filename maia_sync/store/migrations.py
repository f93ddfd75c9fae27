"""How does a database come to this version's schema? Alembic, from the installed package."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
from sqlalchemy import text

from maia_sync.store.schema import HEAD, KNOWN_REVISIONS

if TYPE_CHECKING:
    from maia_sync.store.database import Database

_PACKAGE = Path(__file__).resolve().parent.parent
_UPGRADE_LOCK = 0x6D616961  # "maia"; held by the transaction, so PgBouncer does not mind


def migrations_folder() -> Path:
    """Return where the migrations lie: inside the wheel, or beside the package in a checkout."""
    installed = _PACKAGE / "migrations"
    return installed if installed.is_dir() else _PACKAGE.parent / "migrations"


def upgrade(database: Database) -> str:
    """Bring the database to HEAD in one transaction; return the revision it came from, or "".

    Creates a SQLite file that is not there. Two upgrades at once: the second finds nothing to do.
    """
    with database.transaction() as tx:
        if tx.is_postgresql:
            tx.connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _UPGRADE_LOCK})
        has_version = database.engine.dialect.has_table(tx.connection, "alembic_version")
        found = (
            tx.connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
            if has_version
            else None
        )
        if found is not None and found not in KNOWN_REVISIONS:
            raise database.too_new(str(found))
        if found != HEAD:
            config = Config()
            config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
            config.attributes["connection"] = tx.connection
            command.upgrade(config, "head")
        return found or ""
