"""What does a process do that is to be killed while it erases? See killable.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from maia_sync.archive.configured import configured_place, configured_signer
from maia_sync.archive.erase import erase
from maia_sync.archive.erasing import EraseRequest

if TYPE_CHECKING:
    from maia_sync.app import App
    from maia_sync.archive.erasing import EraseReport
    from maia_sync.archive.note import Signer
    from maia_sync.archive.place import Place
    from maia_sync.store.database import Database


def erase_task(database: Database, place: Place, signer: Signer, task_id: str, worker: str) -> EraseReport:
    """Erase a task."""
    request = EraseRequest(task_id=task_id, before=None, reason="asked to", basis="Art. 17", erased_by="me")
    return erase(database, place, signer, request, worker=worker, clock=database.clock)


def erase_named(app: App, order: dict[str, Any]) -> int:
    """Erase the task that the order names; return how many payloads there were."""
    settings = app.settings.archive
    place, signer = configured_place(settings), configured_signer(settings)
    return erase_task(app.database, place, signer, order["erased"], app.worker).erased
