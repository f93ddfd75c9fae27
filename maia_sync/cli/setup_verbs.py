"""How does a user begin, and how does the database keep up with the program? init and db."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from maia_sync.cli.invocation import Invocation, invocation_of, require_verb
from maia_sync.cli.loading import Verbs
from maia_sync.cli.screen import say
from maia_sync.errors import ConfigError, DatabaseNotMigrated

if TYPE_CHECKING:
    from maia_sync.app import App

_EXAMPLE = "config.example.toml"

db = Verbs()


def register(cli: typer.Typer) -> None:
    """Add the verbs of this module."""
    cli.command()(init)
    cli.add_typer(db, name="db", help="Create, upgrade and check the database's tables.")


def init(context: typer.Context) -> None:
    """Write config.toml, and create or upgrade the database."""
    invocation = invocation_of(context)
    path = write_config(invocation)
    _upgrade(invocation)
    given = "" if invocation.config is None else f" --config {path}"
    say(f"\nNext: put your credentials into {path} (section [auth]), then")
    say(f"  maia-sync{given} track TASK_ID")
    say(f"  maia-sync{given} sync")


def write_config(invocation: Invocation) -> Path:
    """Write the example configuration unless there is one; return where it stands."""
    from maia_sync.config import config_path

    path = config_path(invocation.config)
    try:
        with path.open("xb") as file:
            file.write(example_config().read_bytes())
    except FileExistsError:
        say(f"Kept the configuration that is there: {path}")
    except OSError as error:
        raise ConfigError([f"{path}: cannot be written: {error.strerror or type(error).__name__}"]) from error
    else:
        say(f"Wrote the configuration: {path}")
    return path


def example_config() -> Path:
    """Return where the example lies: inside the wheel, or beside the package in a checkout."""
    package = Path(__file__).resolve().parent.parent
    installed = package / _EXAMPLE
    return installed if installed.is_file() else package.parent / _EXAMPLE


@db.callback()
def database_verbs(context: typer.Context) -> None:
    """Create, upgrade and check the database's tables."""
    require_verb(context)


@db.command()
def upgrade(context: typer.Context) -> None:
    """Create the tables, or bring them to this version. Harmless to repeat."""
    _upgrade(invocation_of(context))


@db.command()
def current(context: typer.Context) -> None:
    """Print the migration that the database stands at."""
    with invocation_of(context).app(migrated=False) as app:
        app.database.require_file()
        revision = app.database.read_revision()
        if revision is None:
            raise DatabaseNotMigrated(
                f"{app.database.place} has no tables of maia-sync: run `maia-sync db upgrade`"
            )
        say(revision)


@db.command()
def check(context: typer.Context) -> None:
    """Tell whether the tables are this version's; exit code 5 if not."""
    with invocation_of(context).app(migrated=False) as app:
        app.database.require_migrated()
        say(f"{app.database.place} is up to date")


def _upgrade(invocation: Invocation) -> None:
    with invocation.app(migrated=False) as app:
        from maia_sync.store.migrations import upgrade as upgrade_database
        from maia_sync.store.schema import HEAD

        came_from = upgrade_database(app.database)
        if came_from == HEAD:
            say(f"The database is up to date: {app.database.place}, migration {HEAD}")
        elif came_from:
            say(f"Upgraded the database: {app.database.place}, migration {came_from} to {HEAD}")
            _tell_of_facets(app)
        else:
            say(f"Created the database: {app.database.place}, migration {HEAD}")


def _tell_of_facets(app: "App") -> None:
    """Say what an upgrade leaves to be done, as it can take long."""
    if app.has_stale_facets():
        say("Stored events have no facets yet, or older ones: run `maia-sync facets rebuild`")
