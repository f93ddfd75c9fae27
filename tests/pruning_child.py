"""What does a process do that is to be killed while it prunes? Called by killable's forge."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from maia_sync.archive import prune as pruning
from maia_sync.archive.configured import configured_place, configured_signer

if TYPE_CHECKING:
    from maia_sync.app import App


def prune(app: App, order: dict[str, Any]) -> dict[str, Any]:
    """Prune what is older than so many seconds, so many payloads at once."""
    pruning.MOST_AT_ONCE = order["at_once"]  # type: ignore[misc]
    archive = app.settings.archive
    report = pruning.prune(
        app.database,
        configured_place(archive),
        configured_signer(archive),
        timedelta(seconds=order["older_than"]),
        worker=app.worker,
        by="me@here",
        clock=app.clock,
    )
    findings = [f"{one.place} {one.sentence}" for one in report.findings]
    return {"payloads": report.payloads, "held": report.held, "findings": findings}
