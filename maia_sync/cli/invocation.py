"""What does every verb start from? The global options, and the objects made from them at first need."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from maia_sync.cli.screen import note
from maia_sync.errors import EXIT_USAGE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import typer

    from maia_sync.app import App
    from maia_sync.settings import Settings


class Invocation:
    """One start of the command: which configuration it was given, and how to say what went wrong."""

    def __init__(self, *, config: Path | None = None, traceback: bool = False) -> None:
        self.config = config
        self.traceback = traceback

    def load_settings(self) -> Settings:
        """Return the configuration. Raises ConfigError."""
        from maia_sync.config import load_settings

        return load_settings(self.config)

    @contextmanager
    def app(self, *, migrated: bool = True) -> Iterator[App]:
        """Open the configured objects; `migrated` refuses a database of another version at once."""
        settings = self.load_settings()
        from maia_sync.app import open_app

        with open_app(settings) as app:
            if migrated:
                app.database.require_migrated()
            yield app


def invocation_of(context: typer.Context) -> Invocation:
    """Return the invocation that the global options made."""
    found = context.find_object(Invocation)
    if found is None:
        raise LookupError("the global options have not been read")
    return found


def require_verb(context: typer.Context) -> None:
    """Print the help and leave as a usage error where a verb was expected and none was given."""
    if context.invoked_subcommand is None:
        note(context.get_help())
        context.exit(EXIT_USAGE)
