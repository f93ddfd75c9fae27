"""What does the copy say? query: SQL of one's own, or a query that has a name; the database is only read."""

import re
import sys
from collections.abc import Mapping
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast
from zoneinfo import ZoneInfo

import typer

from maia_sync.cli.durations import parse_duration
from maia_sync.cli.interruption import interruptible
from maia_sync.cli.invocation import invocation_of
from maia_sync.cli.query_output import FORMATS, Format
from maia_sync.cli.screen import print_json, say, write_text
from maia_sync.cli.task_ids import parse_task_id, shown
from maia_sync.errors import UsageError

if TYPE_CHECKING:
    from maia_sync.analytics.named import NamedQuery
    from maia_sync.app import App
    from maia_sync.store.answer import Answer, Value

_NAME = re.compile(r"[A-Za-z][\w-]*")
_LARGEST = 2**63 - 1


def register(cli: typer.Typer) -> None:
    """Add the verb of this module."""
    cli.command()(query)


def query(
    context: typer.Context,
    *,
    question: Annotated[
        str | None, typer.Argument(metavar="SQL|NAME", help="SQL, - for SQL from stdin, or a query's name.")
    ] = None,
    list_them: Annotated[bool, typer.Option("--list", help="List the queries that have a name.")] = False,
    show: Annotated[str | None, typer.Option(metavar="NAME", help="Print the SQL of a named query.")] = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="WHEN", help='From when: "7d" ago, 2026-01-05, 2026-01-05T08:00Z.'),
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="WHEN", help="Up to when, which is not included any more.")
    ] = None,
    task: Annotated[str | None, typer.Option(metavar="ID", help="Only of this task.")] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=1, max=_LARGEST, metavar="N", help="At most N rows.")
    ] = None,
    timeout: Annotated[
        str | None, typer.Option(metavar="DURATION", help='End a query that takes longer, such as "30s".')
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="F",
            help=f"{', '.join(FORMATS)}; default: what --output ends with, or table.",
        ),
    ] = None,
    output: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write to a file, once the query has succeeded.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Ask the database, by SQL or by name; it is only read."""
    told = {"since": since, "until": until, "task": task, "limit": limit}
    if list_them or show is not None:
        others = {"SQL": question, **told, "timeout": timeout, "format": form, "output": output}
        _require_alone("--list" if list_them else "--show", others, show if list_them else as_json or None)
        _print_list(as_json=as_json) if list_them else _print_sql(show or "")
        return
    asked = _Asked(question, told)
    chosen = _format(form, output, as_json=as_json)
    seconds = None if timeout is None else parse_duration(timeout, option="--timeout")
    with invocation_of(context).app(migrated=False) as app, interruptible():
        _run(app, asked, chosen, output, seconds)


def _require_alone(option: str, others: Mapping[str, object], forbidden: object) -> None:
    if forbidden is not None or any(value is not None for value in others.values()):
        raise UsageError(f"{option} takes nothing beside it" + (" but --json" if option == "--list" else ""))


# ------------------------------------------------------------------ what is asked


class _Asked:
    """A statement, and what it was told by options."""

    def __init__(self, question: str | None, told: Mapping[str, str | int | None]) -> None:
        from maia_sync.analytics.named import find_named_query, options_of
        from maia_sync.store.statement import read_statement

        self._told = {option: value for option, value in told.items() if value is not None}
        self.name: str | None = None
        self._default_limit: int | None = None
        if question is None:
            raise UsageError("give SQL or the name of a query; `maia-sync query --list` lists them")
        if question != "-" and _NAME.fullmatch(question):
            named = find_named_query(question)
            self.name, self._default_limit, self.statement = named.name, named.limit, named.statement
        else:
            self.statement = read_statement(_stdin() if question == "-" else question)
        self.options = options_of(self.statement)
        self._refuse_what_it_does_not_take()

    def _refuse_what_it_does_not_take(self) -> None:
        others = [f"--{option}" for option in self._told if option not in self.options]
        if self.name is None and "--limit" in others:
            others.remove("--limit")  # it is for us, who print the rows
        if others:
            whose = f"the query {self.name}" if self.name else "SQL that does not name such a parameter"
            takes = ", ".join(f"--{option}" for option in self.options)
            raise UsageError(f"{whose} takes no {others[0]}" + (f": it takes {takes}" if takes else ""))

    @property
    def printed(self) -> int | None:
        """How many rows are printed at most, as far as somebody has said it."""
        return cast("int | None", self._told.get("limit"))

    def values(self, app: "App") -> "Mapping[str, Value]":
        """Return a value for each parameter. Raises UsageError."""
        from maia_sync.cli.moments import parse_moment

        zone = ZoneInfo(app.settings.facets.time_zone)
        now = app.clock.now()
        values: dict[str, Value] = {"limit": self.printed or self._default_limit}
        if "task" in self._told:
            values["task"] = parse_task_id(str(self._told["task"]))
        for option, back in (("since", timedelta(0)), ("until", timedelta(microseconds=1))):
            if option in self._told:
                moment = parse_moment(str(self._told[option]), option=f"--{option}", now=now, zone=zone)
                values[option] = moment
                values[f"{option}_day"] = (moment - back).astimezone(zone).date()
        return values


def _stdin() -> str:
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError("the query is not UTF-8 text") from error


# ------------------------------------------------------------------ how it is answered


def _format(form: str | None, output: str | None, *, as_json: bool) -> Format:
    """Return the format that is asked for. Raises UsageError if it cannot be had."""
    ending = Path(output or "").suffix.removeprefix(".").lower()
    wanted = form or ("json" if as_json else ending if ending in FORMATS else "table")
    chosen = next((one for one in FORMATS if one == wanted), None)
    if chosen is None:
        raise UsageError(f"--format: expected one of {', '.join(FORMATS)}, got {shown(wanted)}")
    if as_json and chosen != "json":
        raise UsageError(f"--json and --format {chosen} contradict each other")
    if chosen == "parquet":
        from maia_sync.analytics.parquet import require_pyarrow

        require_pyarrow()
        if output in (None, "-") and sys.stdout.isatty():
            raise UsageError("Parquet is nothing for a terminal: use --output FILE, or a pipe")
    return chosen


def _run(app: "App", asked: _Asked, chosen: Format, output: str | None, timeout: float | None) -> None:
    from maia_sync.cli.query_output import destination
    from maia_sync.store.asking import ReadingDatabase

    values = asked.values(app)
    database = ReadingDatabase(url=app.settings.database.resolve_url(), clock=app.clock)
    try:
        database.require_migrated()
        with destination(output) as sink, database.ask(asked.statement, values, timeout=timeout) as answer:
            _print(answer, chosen, output, sink, asked.printed)
    finally:
        database.close()


def _print(answer: "Answer", chosen: Format, output: str | None, sink: Any, limit: int | None) -> None:
    from maia_sync.cli import query_output
    from maia_sync.store.answer import Answer

    write = query_output.writer(output, sink)
    if chosen == "table":
        from maia_sync.cli.query_table import print_rows

        on_terminal = output in (None, "-") and sys.stdout.isatty()
        print_rows(answer, write, limit=limit, on_terminal=on_terminal)
        return
    if limit is not None:
        answer = Answer(columns=answer.columns, rows=islice(answer.rows, limit))
    if chosen == "parquet":
        from maia_sync.analytics.parquet import write_parquet
        from maia_sync.report.cells import spelt

        names = query_output.unique_names(answer.columns)
        folder = query_output.folder_of(output)
        write_parquet(answer, names, sink, spell=spelt, folder=folder)
    elif chosen == "csv":
        query_output.print_csv(answer, write)
    else:
        query_output.print_json_rows(answer, write)


# ------------------------------------------------------------------ what has a name


def _print_list(*, as_json: bool) -> None:
    from maia_sync.analytics.named import read_named_queries

    queries = read_named_queries().values()
    if as_json:
        print_json([_as_json(one) for one in queries])
        return
    for one in queries:
        say(f"{one.name} {' '.join(f'[--{option}]' for option in one.options)}".rstrip())
        say(f"    {one.description}")


def _as_json(one: "NamedQuery") -> dict[str, object]:
    return {
        "name": one.name,
        "description": one.description,
        "parameters": list(one.options),
        "default_limit": one.limit,
    }


def _print_sql(name: str) -> None:
    from maia_sync.analytics.named import find_named_query

    one = find_named_query(name)
    write_text(f"-- {one.description}\n{one.statement.text};\n")
