"""Which verbs does `archive` have? The group, and where each of its verbs is."""

import typer

from maia_sync.cli.invocation import require_verb
from maia_sync.cli.loading import Verbs

_VERBS = {
    "keygen": "archive_verbs",
    "create": "archive_verbs",
    "list": "archive_verbs",
    "verify": "archive_checks",
    "prove": "archive_proofs",
    "check-proof": "archive_proofs",
    "entries": "archive_entries",
    "prune": "archive_prune",
    "hold": "archive_hold",
    "release": "archive_hold",
    "holds": "archive_hold",
    "erase": "archive_erase",
    "restore": "archive_restore",
}

archive = Verbs(_VERBS)


def register(cli: typer.Typer) -> None:
    """Add the group."""
    cli.add_typer(archive, name="archive", help="Keep an audit archive that others can verify.")


@archive.callback()
def archive_verbs(context: typer.Context) -> None:
    """Keep an audit archive: complete, unaltered, and provable to someone who trusts nobody here."""
    require_verb(context)
