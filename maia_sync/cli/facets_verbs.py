"""Which columns come from payloads? facets rebuild, and facets explore (see explore_verb)."""

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from maia_sync.cli import explore_verb
from maia_sync.cli.invocation import invocation_of, require_verb
from maia_sync.cli.loading import Verbs
from maia_sync.cli.screen import console, note, print_json, say
from maia_sync.cli.task_ids import not_tracked, parse_task_ids
from maia_sync.cli.wording import counted
from maia_sync.errors import EXIT_OK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

facets = Verbs()


def register(cli: typer.Typer) -> None:
    """Add the verbs of this module."""
    explore_verb.register(facets)
    cli.add_typer(facets, name="facets", help="See what payloads hold, and read the facet columns again.")


@facets.callback()
def facet_verbs(context: typer.Context) -> None:
    """See which values payloads hold, and read the facet columns again."""
    require_verb(context)


@facets.command()
def rebuild(
    context: typer.Context,
    *,
    task: Annotated[
        list[str] | None, typer.Option("--task", metavar="ID", help="Only this task; can be repeated.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> int:
    """Read the facet columns again from the stored payloads, after [facets] was changed.

    What is done already is passed by, so it can be interrupted, and goes on when it is started again.
    """
    named = parse_task_ids(task or [])
    with invocation_of(context).app() as app:
        from maia_sync.analytics.rebuild import Rebuild

        work = Rebuild(app.database, app.facets, zone=app.settings.facets.time_zone)
        task_ids = work.task_ids(named)
        if missing := [task_id for task_id in named if task_id not in task_ids]:
            raise not_tracked(missing)
        events = changed = 0
        with _progress(len(task_ids)) as tell:
            for task_id in task_ids:
                for batch in work.rebuild(task_id):
                    events += batch.events
                    changed += batch.changed
                    tell(0, batch.events)
                tell(1, 0)
    if as_json:
        print_json(
            {"tasks": len(task_ids), "events": events, "changed": changed, "version": app.facets.version}
        )
    else:
        say(
            f"Read the facets of {counted(events, 'event')} of {counted(len(task_ids), 'task')} again: "
            f"{changed:,} have others now"
        )
    return EXIT_OK


@contextmanager
def _progress(tasks: int) -> "Iterator[Callable[[int, int], None]]":
    """Yield what takes in how many tasks and events more are done: a bar on a terminal, else a line."""
    if not sys.stderr.isatty():
        note(f"Reading facets of {counted(tasks, 'task')} again")
        yield lambda _tasks, _events: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("tasks"),
        TextColumn("{task.fields[events]:>11,} events", justify="right"),
        console=console(stderr=True),
        expand=True,
    ) as progress:
        bar = progress.add_task("Reading facets", total=tasks, events=0)

        def tell(done: int, events: int) -> None:
            progress.update(bar, advance=done, events=progress.tasks[bar].fields["events"] + events)

        yield tell
