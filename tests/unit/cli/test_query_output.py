from __future__ import annotations

import csv
import io
import json
import math
import os
from typing import TYPE_CHECKING

import pytest

from maia_sync.cli import query_table
from maia_sync.cli.query_output import destination, print_csv, print_json_rows, unique_names
from maia_sync.cli.query_table import Lines, fitted, print_rows
from maia_sync.errors import MaiaSyncError, UsageError
from maia_sync.store.answer import Answer, Column

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from maia_sync.store.answer import Row


def answer_of(names: Sequence[str], *rows: Row) -> Answer:
    return Answer(columns=tuple(Column(name, "any") for name in names), rows=iter(rows))


def printed(printer: Callable[..., None], answer: Answer, **options: object) -> str:
    parts: list[str] = []
    printer(answer, parts.append, **options)
    return "".join(parts)


def test_columns_with_one_name_are_told_apart() -> None:
    columns = [Column(name, "any") for name in ("id", "id", "id_2", "id", "", "")]
    assert unique_names(columns) == ["id", "id_3", "id_2", "id_4", "", "_2"]


def test_csv_is_read_back_by_others() -> None:
    rows: list[Row] = [
        ('say "hi", you', "two\nlines\r", 1, 2.5),
        ("", None, True, b"\xff"),
        (" blank ", "a\0b", math.inf, 10**30),
    ]
    text = printed(print_csv, answer_of(["a", "b,c", "a", "d"], *rows))
    assert list(csv.reader(io.StringIO(text, newline=""))) == [
        ["a", "b,c", "a", "d"],
        ['say "hi", you', "two\nlines\r", "1", "2.5"],
        ["", "", "true", "ff"],
        [" blank ", "a\0b", "Infinity", str(10**30)],
    ]
    assert '\n"",,true,ff\n' in text, "an empty text is not NULL"
    assert printed(print_csv, answer_of(["a"], (None,))) == 'a\n""\n'


def test_json_is_one_document_whatever_the_values() -> None:
    rows: list[Row] = [
        (1, "a\0\x1b\u202e", None, 2.5),
        (10**30, '"\\', math.nan, -math.inf),
        (b"\x00\xff", "", True, 0.1),
    ]
    text = printed(print_json_rows, answer_of(["id", "id", 'q"', "ü"], *rows))
    assert json.loads(text) == [
        {"id": 1, "id_2": "a\0\x1b\u202e", 'q"': None, "ü": 2.5},
        {"id": 10**30, "id_2": '"\\', 'q"': None, "ü": None},
        {"id": "00ff", "id_2": "", 'q"': True, "ü": 0.1},
    ]
    assert printed(print_json_rows, answer_of(["id"])) == "[]\n"
    half = printed(print_json_rows, answer_of(["id"], ("\ud83d",))).encode("utf-8", "backslashreplace")
    assert json.loads(half) == [{"id": "\ud83d"}]


def test_json_is_handed_on_while_rows_come() -> None:
    written: list[str] = []

    def rows() -> object:
        for number in range(20_000):
            yield (f"{number:050}",)
            if number == 19_000:
                assert sum(map(len, written)) > 900_000

    print_json_rows(Answer(columns=(Column("x", "any"),), rows=rows()), written.append)  # type: ignore[arg-type]
    assert len(json.loads("".join(written))) == 20_000


def test_a_table_aligns_numbers_and_shows_harmless_text() -> None:
    answer = answer_of(["n", "te\x1bxt", "z"], (5, "a\n\x1b[2J", None), (12_345, "山田", "x"))
    assert printed(print_rows, answer, limit=None, on_terminal=False).splitlines() == [
        "    n  te\\u001bxt    z",
        "─" * 22,
        "    5  a\\n\\u001b[2J",
        "12345  山田" + " " * 10 + "x",
    ]


def test_a_limit_is_told_where_there_is_more(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [(number,) for number in range(5)]
    assert len(printed(print_rows, answer_of(["n"], *rows), limit=3, on_terminal=False).splitlines()) == 5
    assert "more rows than these 3" in capsys.readouterr().err
    assert len(printed(print_rows, answer_of(["n"], *rows), limit=5, on_terminal=False).splitlines()) == 7
    assert capsys.readouterr().err == ""
    printed(print_rows, answer_of(["n"]), limit=5, on_terminal=False)
    assert capsys.readouterr().err == "No rows.\n"


def test_a_terminal_gets_a_thousand_rows_and_a_pipe_all(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [(number, "x" * number) for number in range(1500)]
    piped = printed(print_rows, answer_of(["n", "x"], *rows), limit=None, on_terminal=False).splitlines()
    assert [line.split() for line in piped[2:]] == [[str(n), x] if x else [str(n)] for n, x in rows]
    assert capsys.readouterr().err == ""
    shown = printed(print_rows, answer_of(["n", "x"], *rows), limit=None, on_terminal=True).splitlines()
    assert len(shown) == 1002
    assert max(map(len, shown)) <= 80
    assert shown[-1].endswith("x…")
    assert "--limit" in capsys.readouterr().err


def test_later_blocks_may_be_wider_but_hold_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query_table, "_BLOCK_CHARACTERS", 10)
    monkeypatch.setattr(query_table, "_BLOCK_ROWS", 2)
    rows = [("a", 1), ("b", 2), ("c" * 12, 3), ("d", 4)]
    text = printed(print_rows, answer_of(["t", "n"], *rows), limit=None, on_terminal=False)
    assert text.splitlines() == ["t  n", "────", "a  1", "b  2", "c" * 12 + "  3", "d" + " " * 13 + "4"]


@pytest.mark.parametrize(
    ("wanted", "room", "widths"),
    [
        ([5, 5], 80, [5, 5]),
        ([5, 100], 40, [5, 33]),
        ([50, 100, 3], 40, [16, 16, 3]),
        ([50] * 20, 40, [8] * 20),
        ([3], 1, [3]),
    ],
)
def test_the_widest_columns_give_way(wanted: list[int], room: int, widths: list[int]) -> None:
    assert fitted(wanted, room) == widths


def test_cells_are_cut_on_a_terminal_alone() -> None:
    lines = Lines([Column("data", "any"), Column("n", "any")], 30)
    assert list(lines.of([("山" * 50, 1)]))[2] == "山" * 13 + "…  1"
    assert next(lines.of([("x" * 500, 22_222)])).startswith("x" * 26 + "…")


def test_a_file_takes_its_name_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    target.write_text("old")
    target.chmod(0o640)
    with destination(str(target)) as sink:
        sink.write(b"new")
        assert target.read_text() == "old"
    assert (target.read_text(), target.stat().st_mode & 0o777) == ("new", 0o640)
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, UsageError, RuntimeError])
def test_nothing_is_left_of_a_file_that_failed(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "out.csv"
    target.write_text("old")

    def fail() -> None:
        with destination(str(target)) as sink:
            sink.write(b"new")
            raise error

    with pytest.raises(error):
        fail()
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


def test_a_link_stays_one_and_a_device_is_written_to(tmp_path: Path) -> None:
    target, link = tmp_path / "real.csv", tmp_path / "link.csv"
    link.symlink_to(target)
    with destination(str(link)) as sink:
        sink.write(b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    with destination(os.devnull) as sink:
        sink.write(b"new")
    assert os.path.exists(os.devnull)  # noqa: PTH110 - os.devnull is a name
    assert not os.path.isfile(os.devnull)  # noqa: PTH113


@pytest.mark.parametrize("name", ["", "no/such/folder/x.csv", "nul\0.csv", "x" * 400])
def test_a_file_that_cannot_be_made_is_told_before_anything_is_asked(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"^--output: cannot write "), destination(f"{tmp_path}/{name}"):
        pytest.fail("nothing may be asked")


def test_a_full_disk_is_no_usage_error() -> None:
    with pytest.raises(MaiaSyncError, match="No space") as caught, destination("/dev/full") as sink:
        sink.write(b"x" * 1_000_000)
    assert type(caught.value) is MaiaSyncError
