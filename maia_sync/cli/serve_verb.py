"""How does one look at the copy? serve: the pages, for a browser, over a database that is only read."""

from typing import TYPE_CHECKING, Annotated

import typer

from maia_sync.cli.invocation import invocation_of
from maia_sync.cli.screen import note
from maia_sync.cli.task_ids import shown
from maia_sync.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from maia_sync.settings import Settings


def register(cli: typer.Typer) -> None:
    """Add the verb of this module."""
    cli.command()(serve)


def serve(
    context: typer.Context,
    *,
    bind: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Where; else web.bind. Port 0 takes a free one.")
    ] = None,
) -> int:
    """Serve the pages that show the copy, until Ctrl-C.

    The database is only read, and no access to Maia is needed. `run` serves the same pages.
    """
    from maia_sync.serving import serve_pages

    settings = invocation_of(context).load_settings()
    if bind is not None:
        settings = _bound(settings, bind)
    return serve_pages(settings, announce=lambda sentence: note(f"{sentence} (Ctrl-C ends it)"))


def _bound(settings: "Settings", bind: str) -> "Settings":
    """Return the settings with another address. Raises UsageError and ConfigError, as for web.bind."""
    import msgspec

    from maia_sync.config_addresses import RefusedError, is_loopback
    from maia_sync.config_keys import KEYS

    kind = KEYS["web"]["bind"]
    try:
        web = msgspec.structs.replace(settings.web, bind=str(kind.check(bind)))
    except RefusedError:
        raise UsageError(f"--bind: expected {kind.expected}, got {shown(bind)}") from None
    if web.token_file is None and not is_loopback(web.host):
        raise ConfigError(
            [f"--bind {bind}: expected web.token_file, as this address can be reached from other machines"]
        )
    return msgspec.structs.replace(settings, web=web)
