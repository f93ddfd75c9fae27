"""How is a small archive made whose payloads can be removed, and an empty database to restore it to?"""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from oracle import Copy
from small_archive import SmallArchive, make_small_archive

from maia_sync.archive.against_database import AgainstDatabase
from maia_sync.archive.erase import erase
from maia_sync.archive.erasing import EraseReport, EraseRequest
from maia_sync.archive.prune import prune
from maia_sync.archive.restore import restore_archive
from maia_sync.archive.verify import verify_archive
from maia_sync.clock import SystemClock
from maia_sync.store.database import Database

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack
    from datetime import datetime
    from pathlib import Path

    import pytest

    from maia_sync.archive.note import VerifierKey
    from maia_sync.archive.place import Place
from maia_sync.archive.restore import RestoreReport

KEY = "archive.key.digests"


def make_small(stage_for: Callable[..., Any], folder: Path) -> SmallArchive:
    """Make a small archive, of a copy that has a digest key once it needs one."""

    def keyed(world: Any) -> Any:
        return stage_for(world, archive__digest_key_file=folder / KEY)

    return make_small_archive(keyed, folder)


def opener(
    request: pytest.FixtureRequest, folder: Path, cleanup: ExitStack
) -> Callable[[str], tuple[Database, Copy]]:
    """Return a function that opens an empty database of a dialect, and what looks into it."""

    def new(dialect: str) -> tuple[Database, Copy]:
        if dialect == "sqlite":
            url = f"sqlite:///{folder}/restored-{secrets.token_hex(3)}.db"
        else:
            url = request.getfixturevalue("new_postgresql_database")()
        database = Database(
            url=url.replace("postgresql://", "postgresql+psycopg://", 1),
            clock=SystemClock(),
            digest_key_file=folder / KEY,
        )
        cleanup.callback(database.close)
        return database, Copy(url)

    return new


def restore(
    small: SmallArchive, database: Database, place: Place | None = None, **options: Any
) -> RestoreReport:
    options = {"facets": small.stage.app.facets, **options}
    return restore_archive(place or small.place, small.signer.verifier, database, **options)


def erase_from(
    small: SmallArchive, task_id: str, before: datetime | None = None, place: Place | None = None
) -> EraseReport:
    return erase(
        small.database,
        place or small.place,
        small.signer,
        EraseRequest(task_id=task_id, before=before, reason="asked for", basis="Art. 17", erased_by="me"),
        worker="one",
        clock=small.database.clock,
    )


def assert_clean(place: Place, key: VerifierKey, database: Database) -> None:
    report = verify_archive(place, key, comparison=AgainstDatabase(database, key))
    assert list(report.findings) == []
    assert report.interrupted_by is None


def prune_all(small: SmallArchive) -> Any:
    """Prune every payload that may be."""
    return prune(
        small.database,
        small.place,
        small.signer,
        timedelta(0),
        worker="one",
        by="me",
        clock=small.database.clock,
    )
