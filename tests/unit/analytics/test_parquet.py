from __future__ import annotations

import io
import math
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from maia_sync.analytics import parquet
from maia_sync.analytics.parquet import require_pyarrow, write_parquet
from maia_sync.errors import UsageError
from maia_sync.report.cells import spelt
from maia_sync.store.answer import Answer, Column

if TYPE_CHECKING:
    from pathlib import Path

    from maia_sync.store.answer import Cell, Kind

MOMENT = pa.timestamp("us", tz="UTC")


def written(name: str, kind: str, cells: list[Cell]) -> Any:
    sink = io.BytesIO()
    answer = Answer(columns=(Column(name, cast("Kind", kind)),), rows=iter([(cell,) for cell in cells]))
    write_parquet(answer, [name], sink, spell=spelt, folder=None)
    return pq.read_table(io.BytesIO(sink.getvalue())).column(0)


@pytest.mark.parametrize(
    ("name", "kind", "cells", "form", "values"),
    [
        ("n", "any", [1, None, -(2**63) + 1], pa.int64(), None),
        ("n", "any", [1, 2.5, None], pa.float64(), [1.0, 2.5, None]),
        ("n", "any", [math.inf, None], pa.float64(), None),
        ("n", "any", [2**63], pa.string(), ["9223372036854775808"]),
        ("n", "any", [2**53 + 1, 0.5], pa.string(), ["9007199254740993", "0.5"]),
        ("n", "number", [10**40, 1], pa.string(), [str(10**40), "1"]),
        ("n", "number", [1, 2], pa.int64(), None),
        ("n", "bool", [True, None], pa.bool_(), None),
        ("b", "any", [b"\x00\xff", None], pa.binary(), None),
        ("b", "any", [b"\x00\xff", "text", 1, 1.5, None], pa.string(), ["00ff", "text", "1", "1.5", None]),
        ("t", "any", ["a\0b", "\ud83d", None], pa.string(), ["a\0b", "\\ud83d", None]),
        ("t", "any", [None, None], pa.string(), None),
        ("n", "integer", [None], pa.int64(), None),
        ("n", "number", [None], pa.float64(), None),
        ("seen_at", "any", [None], MOMENT, None),
        (
            "seen_at",
            "any",
            ["2026-01-05 08:00:00.000001", None],
            MOMENT,
            [datetime(2026, 1, 5, 8, 0, 0, 1, tzinfo=UTC), None],
        ),
        ("x", "moment", ["0033-01-05 08:00:00.000000"], MOMENT, [datetime(33, 1, 5, 8, tzinfo=UTC)]),
        ("x", "moment", ["infinity"], pa.string(), None),
        ("seen_at", "any", ["2026-01-05 08:00:00.000000", "soon"], pa.string(), None),
        (
            "seen_at",
            "any",
            ["2026-01-05 08:00:00.000000", 7],
            pa.string(),
            ["2026-01-05 08:00:00.000000", "7"],
        ),
        ("seen_at", "text", ["2026-01-05 08:00:00.000000"], pa.string(), None),
        ("seen", "any", ["2026-01-05 08:00:00.000000"], pa.string(), None),
        ("day", "any", ["2026-01-05", None], pa.date32(), [date(2026, 1, 5), None]),
        ("x", "day", ["2026-01-05"], pa.date32(), [date(2026, 1, 5)]),
        ("day", "any", ["Monday"], pa.string(), None),
        ("day", "any", [1], pa.int64(), None),
    ],
)
def test_a_column_has_the_one_type_that_holds_all_it_has(
    name: str, kind: str, cells: list[Cell], form: Any, values: list[object] | None
) -> None:
    column = written(name, kind, cells)
    assert column.type == form
    assert column.to_pylist() == (cells if values is None else values)


def test_an_answer_without_rows_still_has_its_columns() -> None:
    assert written("started_at", "any", []).type == MOMENT
    assert written("text", "any", []).type == pa.string()


def test_rows_go_through_a_file_in_groups(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(parquet, "_CHUNK_ROWS", 10)
    monkeypatch.setattr(parquet, "_CHUNK_BYTES", 50)
    cells: list[Cell] = [*range(95), *("x" * 40 for _ in range(5)), None]
    sink = io.BytesIO()
    answer = Answer(columns=(Column("mixed", "any"),), rows=iter([(cell,) for cell in cells]))
    write_parquet(answer, ["mixed"], sink, spell=spelt, folder=tmp_path)
    file = pq.ParquetFile(io.BytesIO(sink.getvalue()))
    assert file.num_row_groups > 10
    assert file.read().column(0).to_pylist() == [None if one is None else str(one) for one in cells]
    assert list(tmp_path.iterdir()) == []


def test_without_pyarrow_the_command_that_helps_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    require_pyarrow()
    monkeypatch.setattr(parquet, "pa", None)
    with pytest.raises(UsageError, match=r"pip install 'maia-sync\[parquet\]'"):
        require_pyarrow()
