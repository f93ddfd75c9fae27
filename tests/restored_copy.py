"""Is a restored database what the original was? All tables, row by row, read by the plain drivers.

What an archive does not hold is named here, and nowhere else.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from maia_sync.store import schema

if TYPE_CHECKING:
    from oracle import Copy

_SCHEDULE = (
    *("last_polled_at", "last_news_at", "next_poll_at", "failures", "last_error", "last_error_at"),
    *("lease_owner", "lease_expires_at", "lease_epoch", "lease_acquired_at", "poll_interval"),
    *("times_missing", "next_reconcile_at"),
)
LEFT_OUT: dict[str, tuple[str, ...]] = {
    "task": _SCHEDULE,
    "archive_log": ("started_at", "lease_owner", "lease_expires_at"),
    "archive_checkpoint": ("id", "created_at", "completed_at", "anchored_at", "anchor_error"),
    "archive_erasure": ("scrubbed_at",),
}
"""Columns of which an archive tells nothing: how tasks are polled, who writes, when checkpoints were made."""
ONLY = {"checkpoint": ("task_id", "log_order")}
"""Of these tables only these columns come back: never a page token."""
NOT_RESTORED = frozenset(("archive_journal", "archive_prune", "archive_restore", "reporting_zone"))
_JSON = frozenset(("data", "extra", "request"))


def rows_of(copy: Copy) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of all tables, as far as an archive holds them; what differs by dialect made equal."""
    sizes = dict(copy.ask("SELECT id, tree_size FROM archive_checkpoint"))
    found: dict[str, list[tuple[Any, ...]]] = {}
    for table in schema.task.metadata.sorted_tables:
        if table.name in NOT_RESTORED:
            continue
        left_out = LEFT_OUT.get(table.name, ())
        names = [name for name in table.c.keys() if name not in left_out]  # noqa: SIM118 - a collection of columns
        names = list(ONLY.get(table.name, names))
        casts = [f'"{name}"' + ("::text" if copy.is_postgresql and name in _JSON else "") for name in names]
        told = []
        for row in copy.ask(f"SELECT {', '.join(casts)} FROM {table.name}"):
            values = {name: plain(value) for name, value in zip(names, row, strict=True)}
            if values.get("checkpoint_id") is not None:
                values["checkpoint_id"] = sizes[values["checkpoint_id"]]
            told.append(tuple(f"{name}={value!r}" for name, value in values.items()))
        found[table.name] = sorted(told)
    found["sync_run"] = [row for row in found["sync_run"] if "ended_at=None" not in row]
    found["checkpoint"] = [row for row in found["checkpoint"] if "log_order=None" not in row]
    return found


def plain(value: Any) -> Any:
    """Return what a driver gives as it is told of both dialects."""
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, memoryview | bytearray):
        return bytes(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
    if value is None or isinstance(value, int | bytes | str):
        return value
    return str(value)


def assert_same(original: Copy, restored: Copy, story: str = "") -> None:
    """All that an archive holds is in the restored database as it was in the original one."""
    was, now = rows_of(original), rows_of(restored)
    assert was.keys() == now.keys()
    for table, rows in was.items():
        lost = [row for row in rows if row not in set(now[table])][:3]
        added = [row for row in now[table] if row not in set(rows)][:3]
        assert (lost, added) == ([], []), f"{story} {table}: {lost} {added}"
        assert len(rows) == len(now[table]), f"{story} {table}"
