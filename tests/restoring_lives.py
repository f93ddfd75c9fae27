"""How does a forked child restore a database, to be killed? Called by killable.py, with App and order."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from maia_sync.archive import restoring
from maia_sync.archive.folder import FolderPlace
from maia_sync.archive.note import VerifierKey
from maia_sync.archive.restore import restore_archive

if TYPE_CHECKING:
    from maia_sync.app import App


def restore(app: App, order: dict[str, Any]) -> bool:
    """Restore the order's archive to the App's database; tell whether it is whole then."""
    restoring._ENOUGH = 1  # type: ignore[misc]  # so that many transactions restore it
    place, key = FolderPlace(Path(order["place"])), VerifierKey.parse(order["key"])
    return restore_archive(place, key, app.database, facets=app.facets).completed
