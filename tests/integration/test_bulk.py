"""P1, P4: do values get into their own columns, whatever is the same in all rows, or NULL?"""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select

from maia_sync.store.bulk import EventColumns, insert_columns
from maia_sync.store.schema import task_event

if TYPE_CHECKING:
    from maia_sync.store.database import Database

MOMENT = "2026-01-05 08:00:00.000000"
SAME = {"task_id": "00000000-0000-0000-0000-000000000001", "run_id": "", "revision": 0, "facets_version": 7}


@pytest.mark.parametrize("rows", [1, 24, 25, 26, 60])
def test_what_all_rows_share_may_be_null_in_any_place(database: Database, rows: int) -> None:
    numbers = list(range(rows))
    for at, names in enumerate(permutations(SAME)):
        varying = {
            "group_id": [f"{at} {number}" for number in numbers],
            "timestamp": numbers,
            "ordinal": [0] * rows,
            "data": [str(number) if number % 2 else "" for number in numbers],
            "seq": numbers,
            "digest": [bytes([number]) * 32 for number in numbers],
            "first_seen_at": [MOMENT] * rows,
            "last_changed_at": [MOMENT] * rows,
            "duration_ms": ["" if number % 3 else number for number in numbers],
        }
        with database.transaction() as tx:
            insert_columns(tx, EventColumns(constant={name: SAME[name] for name in names}, varying=varying))
    columns = task_event.c
    asked = select(
        columns.group_id, columns.timestamp, columns.data, columns.run_id, columns.facets_version,
        columns.duration_ms, columns.occurred_at,
    ).order_by(columns.timestamp)  # fmt: skip
    with database.transaction(write=False) as tx:
        found = tx.connection.execute(asked).all()
    assert len(found) == 24 * rows
    for group_id, timestamp, data, run_id, version, duration, occurred_at in found:
        assert group_id.split()[1] == str(timestamp)
        assert data == (str(timestamp) if timestamp % 2 else None)
        assert (run_id, version, occurred_at) == (None, 7, None)
        assert duration == (None if timestamp % 3 else timestamp)
