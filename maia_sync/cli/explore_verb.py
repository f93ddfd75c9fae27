"""What is in the payloads? facets explore: the paths that occur, and the [facets] section they suggest."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from maia_sync.cli.invocation import invocation_of
from maia_sync.cli.screen import note, print_json, say, write_text
from maia_sync.cli.tables import make_table, print_table
from maia_sync.cli.task_ids import parse_task_ids
from maia_sync.cli.wording import counted
from maia_sync.errors import EXIT_OK, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from maia_sync.analytics.explore import ListedPath, Report
    from maia_sync.app import App

_SAMPLE = 2_000
_MOST_SAMPLED = 100_000
_MOST_LISTED = 60


def register(group: typer.Typer) -> None:
    """Add the verb of this module."""
    group.command()(explore)


def explore(
    context: typer.Context,
    *,
    sample: Annotated[
        int,
        typer.Option(metavar="N", min=1, max=_MOST_SAMPLED, help="How many stored payloads are looked at."),
    ] = _SAMPLE,
    task: Annotated[
        list[str] | None, typer.Option("--task", metavar="ID", help="Only this task; can be repeated.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    suggest: Annotated[
        bool, typer.Option("--suggest", help="Print a [facets] section for the configuration instead.")
    ] = False,
) -> int:
    """List the paths that occur in stored payloads, by event type and frequency, without their values."""
    if suggest and as_json:
        raise UsageError("--suggest prints TOML for the configuration, so it does not take --json")
    task_ids = parse_task_ids(task or [])
    with invocation_of(context).app() as app:
        exploration = _Exploration(app, sample, task_ids)
        report = exploration.report(to_suggest=suggest)
        if not report.payloads:
            note(exploration.nothing_found(report))
        if suggest:
            from maia_sync.analytics.suggest import suggest as suggested

            write_text(suggested(report, app.settings.facets))
        elif as_json:
            print_json(_as_json(report, exploration))
        elif report.payloads:
            _print_report(report, exploration)
    return EXIT_OK


class _Exploration:
    """Looks at a sample of the payloads in the database."""

    def __init__(self, app: "App", sample: int, task_ids: "Sequence[str]") -> None:
        self._app = app
        self._sample = sample
        self._task_ids = task_ids
        self.tasks: set[str] = set()
        self.too_long = 0
        self.event_type_paths: list[str] = list(app.settings.facets.event_type)
        self.event_types_are_guessed = False

    def report(self, *, to_suggest: bool) -> "Report":
        """Return what the sample looks like, its event types told apart as the configuration says.

        Where that finds none, or a configuration is to be suggested, they are read where they likely stand.
        """
        from maia_sync.analytics.suggest import likely_event_types

        with self._app.database.transaction(write=False) as tx:
            if self._task_ids:
                self._require_known(tx)
            report = self._look(tx)
            found = any(each.word is not None for each in report.event_types)
            likely = likely_event_types(report, self._app.settings.facets)
            if likely and likely != self.event_type_paths and (to_suggest or not found):
                self.event_type_paths = likely
                self.event_types_are_guessed = True
                report = self._look(tx)
        return report

    def _require_known(self, tx: Any) -> None:
        from maia_sync.cli.task_ids import not_tracked
        from maia_sync.store.tasks import read_tasks

        known = {found.task_id for found in read_tasks(tx, task_ids=self._task_ids)}
        unknown = [task_id for task_id in self._task_ids if task_id not in known]
        if unknown:
            raise not_tracked(unknown)

    def _look(self, tx: Any) -> "Report":
        from maia_sync.analytics.explore import explore as explored

        return explored(self._payloads(tx), self.event_type_paths)

    def _payloads(self, tx: Any) -> "Iterator[str | None]":
        from maia_sync.store.sampling import read_sample

        self.tasks.clear()
        self.too_long = 0
        for payload in read_sample(tx, self._sample, task_ids=self._task_ids):
            self.tasks.add(payload.task_id)
            if payload.is_too_long:
                self.too_long += 1
            else:
                yield payload.data

    def nothing_found(self, report: "Report") -> str:
        """Return the sentence for a sample without a payload."""
        where = "of these tasks" if self._task_ids else "in the database"
        if not self.tasks:
            return f"No events {where} yet: there is nothing to explore."
        events = counted(report.absent + report.unreadable + self.too_long, "event")
        return f"None of the {events} looked at has a payload that can be explored."


def _print_report(report: "Report", exploration: _Exploration) -> None:
    say(f"{counted(report.payloads, 'payload')} of {counted(len(exploration.tasks), 'task')} looked at.")
    for sentence in _remarks(report, exploration):
        say(sentence)
    for each in report.event_types:
        say()
        name = "Event type not known" if each.word is None else f"Event type {each.word}"
        say(f"{name}: {counted(each.payloads, 'payload')}")
        paths = [path for path in each.paths if path.steps or set(path.types) != {"object"}]
        print_table(_table(paths[:_MOST_LISTED], each.payloads), indent=2)
        if len(paths) > _MOST_LISTED:
            say(f"  and {counted(len(paths) - _MOST_LISTED, 'rarer path')}: --json lists them")
    _print_words(report)


def _print_words(report: "Report") -> None:
    from maia_sync.json_path import render_path

    if report.words:
        say()
        say("Words found where an event's type, role or status may be told:")
        rows = [(render_path(each.steps), ", ".join(each.words)) for each in report.words[:_MOST_LISTED]]
        print_table(make_table(("PATH", "WORDS"), rows, yielding="WORDS"), indent=2)


def _remarks(report: "Report", exploration: _Exploration) -> "Iterator[str]":
    paths = ", ".join(exploration.event_type_paths)
    if [each.word for each in report.event_types] == [None]:
        yield f"No event types were found at {paths}."
    elif exploration.event_types_are_guessed:
        yield f"No event types were found where the configuration says, so they are read at {paths}."
    if report.absent:
        yield f"{counted(report.absent, 'event')} without data left out."
    if exploration.too_long:
        yield f"{counted(exploration.too_long, 'payload')} left out for being too long."
    if report.unreadable:
        yield f"{counted(report.unreadable, 'payload')} left out for being no JSON."
    if report.cut:
        yield f"{counted(report.cut, 'payload')} looked at in part, for having too many places."
    if report.paths_left_out:
        yield (
            f"About {counted(report.paths_left_out, 'rarer path')} left out, as names that are ids make; "
            "of the rare ones listed, the counts may be low."
        )


def _table(paths: "Sequence[ListedPath]", payloads: int) -> Any:
    from maia_sync.json_path import render_path

    rows = [
        (render_path(path.steps), f"{path.payloads:,}", _percentage(path.payloads, payloads), _types(path))
        for path in paths
    ]
    columns = ("PATH", "PAYLOADS", "SHARE", "TYPES")
    return make_table(columns, rows, numbers=("PAYLOADS", "SHARE"), yielding="PATH")


def _percentage(part: int, whole: int) -> str:
    if part == whole:
        return "100%"
    return f"{max(1, part * 100 // whole)}%" if part * 100 >= whole else "<1%"


def _types(path: "ListedPath") -> str:
    """Return the types found, with their numbers where there are several."""
    if len(path.types) == 1:
        return next(iter(path.types))
    return ", ".join(f"{kind} {number:,}" for kind, number in path.types.items())


def _as_json(report: "Report", exploration: _Exploration) -> dict[str, Any]:
    from maia_sync.json_path import render_path

    return {
        "payloads": report.payloads,
        "tasks": len(exploration.tasks),
        "without_data": report.absent,
        "too_long": exploration.too_long,
        "unreadable": report.unreadable,
        "looked_at_in_part": report.cut,
        "paths_left_out": report.paths_left_out,
        "event_type_paths": exploration.event_type_paths,
        "event_types": [
            {"event_type": each.word, "payloads": each.payloads, "paths": _paths_as_json(each.paths)}
            for each in report.event_types
        ],
        "paths": _paths_as_json(report.paths),
        "words": [{"path": render_path(each.steps), "words": each.words} for each in report.words],
    }


def _paths_as_json(paths: "Sequence[ListedPath]") -> list[dict[str, Any]]:
    from maia_sync.json_path import render_path

    return [
        {"path": render_path(path.steps), "payloads": path.payloads, "types": path.types} for path in paths
    ]
