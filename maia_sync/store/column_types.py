"""Of which kinds are the columns of the tables, and which of them do several tables have?

What differs by dialect differs here: see schema.py.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    UUID,
    BigInteger,
    Column,
    DateTime,
    Dialect,
    Double,
    Identity,
    Integer,
    MetaData,
    String,
    Text,
    event,
)
from sqlalchemy.types import TypeDecorator, UserDefinedType

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, TextClause

_ONLY = "only"


class UtcTimestamp(TypeDecorator[datetime]):
    """An aware datetime in UTC; SQLite keeps it as text without the offset."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Hand SQLite naive UTC, PostgreSQL an aware value."""
        if value is None or dialect.name != "sqlite":
            return value
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Return aware UTC whatever the driver made of it."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class PostgresqlJson(UserDefinedType[str]):
    """PostgreSQL's `json`, handled as the exact text that it keeps."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """Return the type's name in DDL."""
        return "JSON"


def task_id_column() -> Any:
    """Return the type of a task's id."""
    return String(36).with_variant(UUID(as_uuid=False), "postgresql")


def raw_json() -> Any:
    """Return the type of JSON that is kept to the letter."""
    return Text().with_variant(PostgresqlJson(), "postgresql")


def row_id() -> Column[int]:
    """Return the column of a number that the database gives."""
    return Column("id", BigInteger().with_variant(Integer(), "sqlite"), Identity(), primary_key=True)


def facets() -> list[Column[Any]]:
    """Return the facet columns: what analytics has read from a payload (see store/facets.py)."""
    texts = (
        "event_type",
        "event_kind",
        "actor",
        "user_id",
        "agent_name",
        "model",
        "tool_name",
        "tool_call_id",
    )
    return [
        *(Column(name, Text) for name in (*texts, "status", "outcome", "error_type")),
        Column("duration_ms", Double),
        Column("input_tokens", BigInteger),
        Column("output_tokens", BigInteger),
        Column("cost", Double),
        Column("facets_version", Integer),
    ]


def removal() -> list[Column[Any]]:
    """Return the columns that tell when a payload was taken out: of this database, and of the archive too."""
    return [Column("pruned_at", UtcTimestamp), Column("erased_at", UtcTimestamp)]


def counts() -> list[Column[Any]]:
    """Return the columns that a summary's rows sum up; vanished events count as nothing else."""
    numbers = ("events", "user_messages", "agent_messages", "tool_calls", "tool_errors", "errors")
    return [
        *(Column(name, BigInteger, nullable=False) for name in (*numbers, "input_tokens", "output_tokens")),
        Column("cost", Double, nullable=False),
        Column("vanished_events", BigInteger, nullable=False),
    ]


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def only(condition: ColumnElement[bool] | TextClause) -> dict[str, Any]:
    """Return the `info` of an index that has only the rows which meet a condition.

    As `sqlite_where` and `postgresql_where` it would load both dialects, whichever is used, at every start.
    """
    return {_ONLY: condition}


@event.listens_for(metadata, "before_create")
def _tell_dialect(_metadata: MetaData, connection: Connection, **_: Any) -> None:
    for table in metadata.tables.values():
        for index in table.indexes:
            if _ONLY in index.info:
                index.dialect_options[connection.dialect.name]["where"] = index.info[_ONLY]
