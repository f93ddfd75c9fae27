"""Would a create succeed just now? Decided as it decides, with nothing changed that stays."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, NamedTuple

from maia_sync.archive.folder import NEW
from maia_sync.archive.log_writer import LogWriter
from maia_sync.archive.publishing import read_covered
from maia_sync.archive.recovery import examine, require_begun, require_none_signed
from maia_sync.archive.segment import require_pyarrow
from maia_sync.errors import ArchiveBusy
from maia_sync.store import archive_log

if TYPE_CHECKING:
    from maia_sync.archive.merkle import TreeHead
    from maia_sync.archive.note import VerifierKey
    from maia_sync.archive.place import Place
    from maia_sync.store.database import Database

_TRIAL: Final = f"{NEW}/trial"
"""Where a folder's writer puts what is about to get its name: nobody takes it for a file of the archive."""


class Rehearsal(NamedTuple):
    """How a create would begin."""

    head: TreeHead | None
    """From which it would go on; None if it would begin the archive."""
    is_cut_off: bool
    """Whether it would first put in order what another has left."""
    writer: str | None
    """Who is writing just now, so that nothing was looked at."""


def rehearse(database: Database, place: Place, key: VerifierKey) -> Rehearsal:
    """Look at whatever a create looks at before it writes, then write an empty file and delete it.

    Raises what the create would: ConfigError, ArchiveError, DatabaseError.
    """
    require_pyarrow()
    require_begun(database, place, key)
    with ExitStack() as stack:
        try:
            stack.enter_context(place.lock())
        except ArchiveBusy:
            return Rehearsal(None, is_cut_off=False, writer="another process")
        with database.transaction(write=False) as tx:
            writer = archive_log.read_writer_at_work(tx)
        if writer is not None:
            return Rehearsal(None, is_cut_off=False, writer=writer)
        found = examine(database, place, key)
        LogWriter.open(place, found.head)
        if found.pending is not None and not found.is_published:
            read_covered(place, found.head, found.pending, key)
        newest = found.head if found.pending is None else found.pending.head
        require_none_signed(place, key, 0 if newest is None else newest.size)
        place.replace(_TRIAL, b"")
        place.delete([_TRIAL])
    return Rehearsal(found.head, is_cut_off=found.is_cut_off, writer=None)
