"""What is wrong, and how is it mended? doctor: prints what checkup.py and archive_checkup.py find."""

from typing import TYPE_CHECKING

import typer

from maia_sync.cli.invocation import Invocation, invocation_of
from maia_sync.cli.screen import print_json, say
from maia_sync.cli.task_verbs import AsJson

if TYPE_CHECKING:
    from maia_sync.cli.checkup import Finding

_MARKS = {"ok": "ok", "warning": "WARNING", "problem": "PROBLEM"}


def register(cli: typer.Typer) -> None:
    """Add the verb of this module."""
    cli.command()(doctor)


def doctor(context: typer.Context, as_json: AsJson = False) -> int:
    """Say what is wrong with the set-up, and how to mend it.

    Looks at the configuration, the credentials, the database, the API, the clock and the archive.
    """
    from maia_sync.cli.checkup import worst_exit_code

    findings = _findings(invocation_of(context))
    if as_json:
        print_json(findings)
    else:
        for finding in findings:
            say(f"{_MARKS[finding.level]:<8} {finding.check:<12} {finding.found}")
            if finding.mend is not None:
                say(f"{'':<8} {'':<12} -> {finding.mend}")
    return worst_exit_code(findings)


def _findings(invocation: Invocation) -> "list[Finding]":
    from maia_sync.cli.archive_checkup import check_archive
    from maia_sync.cli.checkup import check_all, check_config

    settings, findings = check_config(invocation.config)
    if settings is None:
        return findings
    from maia_sync.app import open_app

    with open_app(settings) as app:
        return [*findings, *check_all(app), *check_archive(app)]
