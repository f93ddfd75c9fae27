"""What was asked for, and with which exit code does it end? The entry point of `maia-sync`."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from maia_sync.cli import (
    archive_checks,
    archive_entries,
    archive_erase,
    archive_hold,
    archive_proofs,
    archive_prune,
    archive_restore,
    archive_verbs,
    demo_verb,
    doctor_verb,
    events_verb,
    facets_verbs,
    query_verb,
    report_verb,
    run_verb,
    sandbox_verb,
    send_verb,
    serve_verb,
    setup_verbs,
    status_verb,
    sync_verbs,
    task_verbs,
)
from maia_sync.cli.failure import EXIT_READER_GONE, exit_code_of, sentences_of
from maia_sync.cli.invocation import Invocation, require_verb
from maia_sync.cli.screen import complain
from maia_sync.errors import EXIT_FAILED, EXIT_OK, EXIT_SIGINT
from maia_sync.version import __version__

_NAME = "maia-sync"
_HELP = "Keeps a faithful, queryable copy of Maia agent task logs in your own database."

cli = typer.Typer(
    name=_NAME,
    help=_HELP,
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help: Rich's would cost a third of a second at each --help
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"{_NAME} {__version__}\n")
        raise typer.Exit


@cli.callback()
def global_options(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", metavar="PATH", help="The configuration; else $MAIA_SYNC_CONFIG, else ./config.toml."
        ),
    ] = None,
    traceback: Annotated[bool, typer.Option("--traceback", hidden=True)] = False,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Keep a faithful, queryable copy of Maia agent task logs in your own database."""
    context.obj = Invocation(config=config, traceback=traceback)
    require_verb(context)


_VERBS = (
    setup_verbs,
    task_verbs,
    sync_verbs,
    run_verb,
    status_verb,
    events_verb,
    query_verb,
    report_verb,
    serve_verb,
    facets_verbs,
    archive_verbs,
    archive_checks,
    archive_proofs,
    archive_entries,
    archive_prune,
    archive_hold,
    archive_erase,
    archive_restore,
    send_verb,
    doctor_verb,
    sandbox_verb,
    demo_verb,
)
for _verbs in _VERBS:
    _verbs.register(cli)


def main() -> None:
    """Run the command line and exit."""
    sys.exit(run(sys.argv[1:]))


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
