"""How is an answer written as CSV or JSON, one row after another? And where to: stdout, or a file."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from json.encoder import encode_basestring
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, Literal, TypeAlias

from maia_sync.cli.screen import write_text
from maia_sync.report.cells import csv_line, json_cell
from maia_sync.report.whole_file import whole_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from maia_sync.store.answer import Answer, Column

Format: TypeAlias = Literal["table", "csv", "json", "parquet"]
FORMATS: Final[tuple[Format, ...]] = ("table", "csv", "json", "parquet")

_PIECE: Final = 1 << 16

Write: TypeAlias = "Callable[[str], None]"


def unique_names(columns: Sequence[Column]) -> list[str]:
    """Return the columns' names; one that stood before gets a number: id, id_2."""
    taken = {column.name for column in columns}
    given: set[str] = set()
    names = []
    for column in columns:
        name, number = column.name, 1
        while name in given or (number > 1 and name in taken):
            number += 1
            name = f"{column.name}_{number}"
        given.add(name)
        names.append(name)
    return names


# ------------------------------------------------------------------ formats


def print_csv(answer: Answer, write: Write) -> None:
    """Print the format of RFC 4180 with plain newlines; NULL is nothing, an empty text is ""."""
    with _pieces(write) as put:
        put(csv_line([column.name for column in answer.columns]))
        for row in answer.rows:
            put(csv_line(row))


def print_json_rows(answer: Answer, write: Write) -> None:
    """Print one JSON array of an object to each row; what JSON has no number for is null."""
    names = [f"{encode_basestring(name)}: " for name in unique_names(answer.columns)]
    between = "[\n"
    with _pieces(write) as put:
        for row in answer.rows:
            members = (name + json_cell(cell) for name, cell in zip(names, row, strict=True))
            put(f"{between}{{{', '.join(members)}}}")
            between = ",\n"
        put("[]\n" if between == "[\n" else "\n]\n")


@contextmanager
def _pieces(write: Write) -> Iterator[Write]:
    """Yield what collects texts, so that they are written in larger pieces."""
    held: list[str] = []
    size = 0

    def put(text: str) -> None:
        nonlocal size
        held.append(text)
        size += len(text)
        if size >= _PIECE:
            write("".join(held))
            held.clear()
            size = 0

    yield put
    write("".join(held))


# ------------------------------------------------------------------ where to


@contextmanager
def destination(output: str | None) -> Iterator[IO[bytes]]:
    """Yield where bytes go: stdout, or a file that takes its name's place once everything is written.

    Raises UsageError if the file cannot be made, and MaiaSyncError if it cannot be written; nothing is left
    behind then, and what had the name before still has it.
    """
    if output is None or output == "-":
        sys.stdout.flush()
        yield sys.stdout.buffer
        return
    with whole_file(output, told_by="--output") as file:
        yield file


def writer(output: str | None, sink: IO[bytes]) -> Write:
    """Return what writes text to a destination; a terminal gets it harmless."""
    if output is None or output == "-":
        return write_text

    def write(text: str) -> None:
        sink.write(text.encode("utf-8", "backslashreplace"))

    return write


def folder_of(output: str | None) -> Path | None:
    """Return the folder that a file is written to, or None for stdout."""
    return None if output is None or output == "-" else Path(output).resolve().parent
