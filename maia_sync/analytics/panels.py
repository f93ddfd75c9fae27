"""Which questions do page and report ask, and how are their answers shown? The shipped file of panels."""

from __future__ import annotations

import re
from importlib import resources
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

import msgspec

from maia_sync.errors import Bug
from maia_sync.settings import ScheduleSettings
from maia_sync.store.statement import Statement, read_statement

if TYPE_CHECKING:
    from collections.abc import Mapping

ChartKind: TypeAlias = Literal["days", "hours", "ranked"]
"""Stacked bars over the window's days or hours, or one bar for each row, the longest first as they come."""
Role: TypeAlias = Literal["plain", "good", "bad", "user", "agent", "tool", "other", "input", "output"]
"""What a series means; its colour, in charts and legends alike."""

_PANEL: Final = re.compile(
    r"^-- panel: (?P<name>\S+)\n(?P<comment>(?:--[^\n]*\n)+)(?P<sql>(?!\s*--)[^;]+;)?", re.MULTILINE
)
_FIELD: Final = re.compile(r"^-- (?P<key>title|chart|limit|empty|asks): (?P<value>.+)\n", re.MULTILINE)
_SERIES: Final = re.compile(r"(?P<column>\w+)(?: as (?P<role>\w+))?")


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """One column of an answer that is drawn."""

    column: str
    role: Role

    @property
    def label(self) -> str:
        """How the legend names it."""
        return self.column.replace("_", " ")


class Chart(msgspec.Struct, frozen=True, kw_only=True):
    """How an answer is drawn: `along` is the column of days, of hours, or of names."""

    kind: ChartKind
    along: str
    series: tuple[Series, ...]


class Panel(msgspec.Struct, frozen=True, kw_only=True):
    """A question of page and report."""

    name: str
    title: str
    description: str
    """One sentence: what it answers."""
    empty: str
    """What to do next where there are no rows."""
    chart: Chart | None
    limit: int | None
    """What `limit` stands for unless somebody says otherwise."""
    statement: Statement


def read_panels(max_lag: float = ScheduleSettings().max_lag) -> Mapping[str, Panel]:
    """Return the shipped panels by name, in the order of their file.

    `max_lag`: the seconds that the copy of an active task may be behind (schedule.max_lag).
    """
    text = resources.files(__package__).joinpath("panels.sql").read_text(encoding="utf-8")
    text = text.replace("[max_lag]", repr(max_lag))
    panels: dict[str, Panel] = {}
    for match in _PANEL.finditer(text):
        panels[match["name"]] = _from(match["name"], match["comment"], match["sql"], panels)
    return panels


def _from(name: str, comment: str, sql: str | None, earlier: Mapping[str, Panel]) -> Panel:
    """Return a panel; one that `asks` what an earlier one asks only draws its answer otherwise."""
    fields = {match["key"]: match["value"].strip() for match in _FIELD.finditer(comment)}
    if (sql is None) == ("asks" not in fields):
        raise Bug(f"panels.sql: {name} has no SQL, or has it twice")
    lines = (line.removeprefix("--").strip() for line in _FIELD.sub("", comment).splitlines())
    chart = fields.get("chart")
    return Panel(
        name=name,
        title=fields["title"],
        description=" ".join(lines),
        empty=fields["empty"],
        chart=None if chart is None else _chart(chart),
        limit=int(fields["limit"]) if "limit" in fields else None,
        statement=read_statement(sql) if sql else earlier[fields["asks"]].statement,
    )


def _chart(text: str) -> Chart:
    """Read `days day: tool_calls as tool, failed as bad`: the kind, the column along which, the series."""
    kind, _, rest = text.partition(" ")
    along, _, told = rest.partition(":")
    if kind not in get_args(ChartKind):
        raise Bug(f"panels.sql: no kind of chart: {kind}")
    series = [_SERIES.fullmatch(part.strip()) for part in told.split(",")]
    return msgspec.convert(
        {
            "kind": kind,
            "along": along.strip(),
            "series": [
                {"column": each["column"], "role": each["role"] or "plain"} for each in series if each
            ],
        },
        Chart,
    )
