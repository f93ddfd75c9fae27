"""What has happened to a task since it was last archived? A journal, written in the page's own transaction.

A task is enrolled by the first `archive create` that finds it: one row says that the `whole` of it is to be
archived. From then on each page's transaction notes what it did, in the order in which it did it: which rows
are new, which were revised and to what revision, which were found again or have vanished, and that the
log was turned round (see `events.turn_seqs`). Pages and enrolment hold the same lock, on the task's row, and
a row's id is taken under it: so the ids of a task's rows tell their order, and no change falls between.

What was archived is marked with its checkpoint (see `archive_log.py`) and deleted some time later.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec
from sqlalchemy import insert

from maia_sync.store.schema import archive_journal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from maia_sync.model import PagePlan
    from maia_sync.store.database import Transaction

MOST_NAMES: Final = 10_000
"""Rows that one row of the journal names at most, so that none of it grows with a log."""

RowName: TypeAlias = tuple[str, int, int]
"""(group_id, timestamp, ordinal): a row within its task."""
Names: TypeAlias = dict[str, list[int | tuple[int, int]]]
"""By group: timestamps, each with its ordinal unless that is 0, as it mostly is."""


class Changes(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which rows of a task one row of the journal names, in this order."""

    new: Names = {}
    revised: dict[str, list[tuple[int, int, int]]] = {}
    """By group: timestamp, ordinal and the revision that it has become."""
    returned: Names = {}
    """Marked vanished before, and served again."""
    vanished: Names = {}


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Changes)
# Made once: building a statement anew for every page costs more than executing it.
_NOTE = insert(archive_journal).inline()


def encode_changes(changes: Changes) -> str:
    """Return what the journal's column `changes` holds."""
    return _encoder.encode(changes).decode()


def decode_changes(text: str | None) -> Changes:
    """Return what a row of the journal names. Raises msgspec.DecodeError (a ValueError) for what is none."""
    return Changes() if text is None else _decoder.decode(text)


def names_in(names: Names) -> Iterator[RowName]:
    """Yield the rows that a part of the changes names."""
    for group_id, places in names.items():
        for place in places:
            if isinstance(place, tuple):
                yield group_id, *place
            else:
                yield group_id, place, 0


@dataclass(frozen=True, kw_only=True)
class Journal:
    """What a page's transaction notes of its task: nothing, unless the task is enrolled."""

    tx: Transaction
    task_id: str
    run_id: int | None
    enrolled: bool

    def note_turn(self) -> None:
        """Note that the seq of all of the task's rows so far has changed its sign."""
        if self.enrolled:
            self._note(turned=True, records=1)

    def note_page(self, plan: PagePlan, revisions: Sequence[int]) -> None:
        """Note what a page came to; `revisions`: what each of the changed rows has become."""
        if not self.enrolled or not (plan.new or plan.changed or plan.returned):
            return
        new = [(row.event.group_id, row.event.timestamp, row.ordinal) for row in plan.new]
        revised: dict[str, list[tuple[int, int, int]]] = {}
        for change, revision in zip(plan.changed, revisions, strict=True):
            row = change.row
            revised.setdefault(row.group_id, []).append((row.timestamp, row.ordinal, revision))
        marked = (*plan.returned, *(change.row for change in plan.changed if change.row.vanished))
        returned = [(row.group_id, row.timestamp, row.ordinal) for row in marked]
        changes = Changes(new=_by_group(new), revised=revised, returned=_by_group(returned))
        self._note(records=len(new) + len(plan.changed) + len(returned), changes=encode_changes(changes))

    def note_vanished(self, rows: Sequence[RowName]) -> None:
        """Note rows that have been marked vanished."""
        if not self.enrolled:
            return
        for at in range(0, len(rows), MOST_NAMES):
            some = rows[at : at + MOST_NAMES]
            self._note(records=len(some), changes=encode_changes(Changes(vanished=_by_group(some))))

    def _note(self, **values: Any) -> None:
        of_page = {"task_id": self.task_id, "run_id": self.run_id, "noted_at": self.tx.now}
        self.tx.connection.execute(_NOTE, {**of_page, **values})


def _by_group(rows: Iterable[RowName]) -> Names:
    names: Names = {}
    for group_id, timestamp, ordinal in rows:
        names.setdefault(group_id, []).append((timestamp, ordinal) if ordinal else timestamp)
    return names
