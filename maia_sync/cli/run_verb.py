"""How is the copy kept up to date without anybody's care? run."""

import typer

from maia_sync.cli.collector import collect_seldom
from maia_sync.cli.invocation import invocation_of


def register(cli: typer.Typer) -> None:
    """Add the verb of this module."""
    cli.command()(run)


def run(context: typer.Context) -> int:
    """Keep the copy up to date as a service, until told to stop.

    Polls each task when it is due, reconciles, finds tasks; serves pages, metrics and health on web.bind.
    SIGTERM and Ctrl-C end it within ten seconds, SIGHUP reads the configuration again.
    """
    from maia_sync.serving import Service

    collect_seldom()
    return Service(invocation_of(context).load_settings).run()
