"""How are figures told? As a JSON document, and as Markdown tables, which can be put together from several.

    python -m tests.benchmarks.results sqlite.json postgresql.json

prints the tables of several documents as those of one run.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tests.benchmarks.measuring import Measured, medians
from tests.benchmarks.workloads import Target  # noqa: TC001 - msgspec reads the annotation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HEAD = (
    "workload", "database", "who", "CPU s", "ratio", "of work", "ratio", "us each", "wall s", "ratio",
    "peak MB", "db CPU s", "requests", "MB",
)  # fmt: skip
TARGET_HEAD = ("workload", "database", "target", "at most", "measured")
_FIGURES = {
    "cpu": "CPU",
    "work_cpu": "CPU of the work",
    "wall": "wall time",
    "peak_memory": "peak memory",
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """What one case of a workload came to."""

    case: str
    units: int
    runs: list[Measured]

    @property
    def median(self) -> Measured:
        """The median of each figure."""
        return medians(self.runs)

    def figure(self, name: str) -> float | None:
        """Return a figure as it is compared: costs for each unit, all others as they are."""
        value: float | None = getattr(self.median, name)
        return value / self.units if value is not None and name.endswith("cpu") else value


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one workload on one database came to; the first row is what the others are compared with."""

    workload: str
    about: str
    database: str
    unit: str
    rows: list[Row]
    targets: list[Target]

    def row(self, case: str) -> Row | None:
        """Return a case's row, if it was measured."""
        return next((row for row in self.rows if row.case == case), None)


@dataclass(frozen=True, kw_only=True)
class Document:
    """What one run of the benchmark came to."""

    command: str
    began: str
    machine: str
    versions: dict[str, str]
    load: float
    """The load average of the last minute when it began."""
    results: list[Result]


def markdown(documents: Sequence[Document]) -> Iterator[str]:
    """Yield the lines of everything: how it was measured, the figures, the targets."""
    for document in documents:
        yield from heading(document)
    results = [result for document in documents for result in document.results]
    abouts = dict.fromkeys(f"- **{result.workload}**: {result.about}." for result in results)
    yield from ("", *abouts, "", *line_pair(HEAD))
    for result in results:
        yield from lines(result)
    told = [line for result in results for line in target_lines(result)]
    if told:
        yield from ("", *line_pair(TARGET_HEAD), *told)


def heading(document: Document) -> Iterator[str]:
    """Yield how a run was made."""
    versions = ", ".join(f"{name} {version}" for name, version in document.versions.items())
    yield f"`{document.command}`, {document.began}; load average {document.load:.1f} when it began."
    yield f"{document.machine}; {versions}."


def line_pair(head: Sequence[str]) -> Iterator[str]:
    """Yield a table's two first lines: text to the left, figures to the right."""
    yield _line(head)
    yield _line(["---" if name in (*HEAD[:3], "target") else "---:" for name in head])


def lines(result: Result) -> Iterator[str]:
    """Yield a workload's rows."""
    base = result.rows[0]
    for row in result.rows:
        each = row.median
        yield _line(
            (
                result.workload,
                result.database,
                row.case,
                f"{each.cpu:.2f}",
                _ratio(row, base, "cpu"),
                "" if each.work_cpu is None else f"{each.work_cpu:.2f}",
                _ratio(row, base, "work_cpu"),
                "" if each.work_cpu is None else f"{each.work_cpu / row.units * 1e6:,.1f}",
                f"{each.wall:.2f}",
                _ratio(row, base, "wall"),
                "" if each.peak_memory is None else f"{each.peak_memory / 1e6:.0f}",
                f"{each.database_cpu:.2f}" if each.database_cpu else "",
                f"{each.requests:,.0f}",
                f"{each.received / 1e6:,.1f}",
            )
        )


def target_lines(result: Result) -> Iterator[str]:
    """Yield what became of a workload's targets, of those that were measured."""
    for target in result.targets:
        row, against = result.row(target.case), result.row(target.against or target.case)
        if row is None or against is None:
            continue
        words = f"{_FIGURES[target.figure]} of {target.case}"
        if target.against is None:
            value = row.figure(target.figure)
            measured, most = _amount(target.figure, value), _amount(target.figure, target.most)
        else:
            words += f" against {target.against}"
            value = _quotient(row, against, target.figure)
            measured, most = _times(value), f"{target.most:g}"
        missed = "" if value is None or value <= target.most else ", missed"
        yield _line((result.workload, result.database, words, most, f"{measured}{missed}"))


def _quotient(row: Row, base: Row, name: str) -> float | None:
    value, whole = row.figure(name), base.figure(name)
    return value / whole if value is not None and whole else None


def _ratio(row: Row, base: Row, name: str) -> str:
    return _times(_quotient(row, base, name))


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _amount(figure: str, value: float | None) -> str:
    if value is None:
        return ""
    return f"{value / 1e6:.0f} MB" if figure == "peak_memory" else f"{value:.2f} s"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the tables of several documents."""
    read = msgspec.json.Decoder(Document).decode
    for line in markdown([read(Path(name).read_bytes()) for name in sys.argv[1:]]):
        print(line)


if __name__ == "__main__":
    main()
