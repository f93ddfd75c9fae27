from __future__ import annotations

from typing import TYPE_CHECKING

from maia_sync.cli.tables import fitted, make_table, print_table, table_lines, without_empty_columns

if TYPE_CHECKING:
    import pytest


def test_a_table_has_one_line_to_a_row_and_cuts_nothing_by_itself() -> None:
    table = make_table(("task", "n"), [["short", 5], ["x" * 300, "12,345"]], numbers=("n",), yielding="task")
    assert list(table_lines(table)) == [
        "task" + " " * 298 + "     n",
        "─" * 308,
        "short" + " " * 297 + "     5",
        "x" * 300 + "  12,345",
    ]


def test_a_table_may_be_empty() -> None:
    table = make_table(("a", "b"), [])
    assert list(table_lines(fitted(without_empty_columns(table), 80))) == ["a  b", "────"]


def test_wide_characters_are_aligned_by_their_width() -> None:
    lines = list(table_lines(make_table(("name", "n"), [["山田", 1], ["ab", 2]])))
    assert lines[2:] == ["山田  1", "ab    2"]


def test_the_column_that_gives_way_is_cut_to_fit() -> None:
    table = make_table(
        ("id", "label"), [["1" * 36, "a very long label indeed"], ["2" * 36, "山" * 30]], yielding="label"
    )
    lines = list(table_lines(fitted(table, 50)))
    assert lines[2] == "1" * 36 + "  a very long…"
    assert lines[3] == "2" * 36 + "  " + "山" * 5 + "…"
    assert fitted(table, 200) == table


def test_a_column_in_which_nothing_stands_is_left_out() -> None:
    table = without_empty_columns(make_table(("a", "b", "c"), [[1, None, ""], [2, None, "x"]]))
    assert table.columns == ("a", "c")
    assert table.rows == [("1", ""), ("2", "x")]


def test_cells_are_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(make_table(("label",), [["\x1b[31m\nred [bold]"], [None]]), indent=2)
    assert "  \\u001b[31m\\nred [bold]\n" in capsys.readouterr().out
