"""What was asked for, and with which exit code does it end? The entry point of `maia-sync`."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from maia_sync.cli.collector import collect_seldom
from maia_sync.cli.failure import EXIT_READER_GONE, exit_code_of, sentences_of
from maia_sync.cli.invocation import Invocation, require_verb
from maia_sync.cli.loading import Verbs
from maia_sync.cli.screen import complain
from maia_sync.errors import EXIT_FAILED, EXIT_OK, EXIT_SIGINT
from maia_sync.version import __version__

_NAME = "maia-sync"
_HELP = "Keeps a faithful, queryable copy of Maia agent task logs in your own database."
_VERBS = {
    "init": "setup_verbs",
    "track": "task_verbs",
    "untrack": "task_verbs",
    "pause": "task_verbs",
    "resume": "task_verbs",
    "tasks": "task_verbs",
    "sync": "sync_verbs",
    "verify": "sync_verbs",
    "run": "run_verb",
    "status": "status_verb",
    "events": "events_verb",
    "query": "query_verb",
    "report": "report_verb",
    "serve": "serve_verb",
    "send": "send_verb",
    "doctor": "doctor_verb",
    "sandbox": "sandbox_verb",
    "demo": "demo_verb",
    "db": "setup_verbs",
    "facets": "facets_verbs",
    "archive": "archive_group",
}
"""Each with the module of this folder that registers it."""

cli = Verbs(
    _VERBS,
    name=_NAME,
    help=_HELP,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"{_NAME} {__version__}\n")
        raise typer.Exit


def _require_readable(config: str | None) -> str | None:
    """Refuse a file that is there and cannot be read; what is not there is told with all else about it."""
    if config is None:
        return None
    try:
        Path(config).stat()
    except OSError:
        return config
    if not os.access(config, os.R_OK):
        raise typer.BadParameter(f"path {config!r} is not readable.")
    return config


@cli.callback()
def global_options(
    context: typer.Context,
    config: Annotated[
        str | None,  # as a Path, Typer would load pydantic for it
        typer.Option(
            "--config",
            callback=_require_readable,
            metavar="PATH",
            help="The configuration; else $MAIA_SYNC_CONFIG, else ./config.toml.",
        ),
    ] = None,
    traceback: Annotated[bool, typer.Option("--traceback", hidden=True)] = False,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Keep a faithful, queryable copy of Maia agent task logs in your own database."""
    context.obj = Invocation(config=None if config is None else Path(config), traceback=traceback)
    require_verb(context)


def main() -> None:
    """Run the command line and exit."""
    collect_seldom()
    code = run(sys.argv[1:])
    collect_seldom()  # or Python would look for garbage among all that is loaded, only to end
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run one command line; return its exit code, with every error told on stderr."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # some supervisors start jobs with these closed
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - for the whole process
        # A terminal whose encoding lacks a character gets an escape for it, not a traceback.
        getattr(sys, name).reconfigure(errors="backslashreplace")
    try:
        code = _invoke(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        _let_go_of_stdout()
        return EXIT_READER_GONE
    return code


def _invoke(arguments: list[str]) -> int:
    command: Any = typer.main.get_command(cli)
    try:
        with command.make_context(_NAME, list(arguments)) as context:
            result = command.invoke(context)
    except typer.Exit as leave:
        return leave.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return EXIT_SIGINT
    except typer.TyperException as error:
        return _usage_problem(error)
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - the one place where every error ends
        return _problem(error, with_traceback="--traceback" in arguments)
    return result if isinstance(result, int) else EXIT_OK


def _usage_problem(error: typer.TyperException) -> int:
    message = error.format_message()
    context = getattr(error, "ctx", None)
    hint = f" Try `{context.command_path} --help`." if context is not None else ""
    complain([f"{message.rstrip('.')}.{hint}"])
    return error.exit_code or EXIT_FAILED


def _problem(error: Exception, *, with_traceback: bool) -> int:
    if with_traceback:
        import traceback

        traceback.print_exception(error)
    complain(sentences_of(error))
    return exit_code_of(error)


def _let_go_of_stdout() -> None:
    """Point stdout nowhere, so that the interpreter's own last flush finds nobody to complain to."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
