"""How is a value written for COPY? PostgreSQL's text format: documentation, COPY, "Text Format"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from maia_sync.store.database import Transaction

NULL = r"\N"


def field(text: str | None) -> str:
    """Write one text field."""
    if text is None:
        return NULL
    if "\\" in text:
        text = text.replace("\\", "\\\\")
    if "\n" in text or "\t" in text or "\r" in text:
        text = text.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
    return text


def copy_lines(tx: Transaction, into: str, lines: Iterable[str]) -> None:
    """Send lines to a table and its columns."""
    driver: Any = tx.connection.connection.driver_connection
    with driver.cursor() as cursor, cursor.copy(f"COPY {into} FROM STDIN") as copy:
        copy.write("\n".join(lines).encode())
