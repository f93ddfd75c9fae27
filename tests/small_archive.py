"""What is a small archive that has something of everything? Made of a real copy, in three creates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from logs import TASK, task_id
from memory_place import MemoryPlace
from sqlalchemy import delete, select, update

from maia_sync.archive.against_database import AgainstDatabase
from maia_sync.archive.create import create
from maia_sync.archive.keys import load_signer, make_key
from maia_sync.archive.note import open_checkpoint
from maia_sync.archive.verify import verify_archive
from maia_sync.sandbox.world import Log, World
from maia_sync.store import schema

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from maia_sync.archive.creating import CreateReport
    from maia_sync.archive.note import Signer
    from maia_sync.archive.place import Place
    from maia_sync.archive.verifying import ArchiveReport
    from maia_sync.store.database import Database

OTHER = task_id(2)


def element(number: int, text: str, day: int = 5) -> bytes:
    """Return an event of one of the days on which the archive's events happened."""
    stamp = f"2026-01-{day:02d}T{8 + number // 3600:02d}:{number // 60 % 60:02d}:{number % 60:02d}.25Z"
    data = f'{{"n":{number},"text":"{text} of some length, as payloads are"}}'
    return f'{{"data":{data},"groupId":"g{number // 50}","timestamp":"{stamp}"}}'.encode()


def odd_elements() -> list[bytes]:
    """Return events with little in them, with much beside it, and two elements that are none."""
    return [
        b'{"groupId":"odd"}',
        b'{"data":null,"timestamp":"no time at all"}',
        b'{"data":{"a":1},"groupId":"odd","timestamp":"2026-01-06T08:00:00.5Z","more":[1,2],"and":"more"}',
        b'{"data":"\xc3\xbc\xf0\x9f\x98\x80","groupId":"\xc3\xa4","timestamp":"2026-01-06T23:59:59.9999999Z"}',
        b'"no event"',
        b'{"data":"\xff\xfe"}',
    ]


def small_world() -> World:
    """Return two tasks, of which one has everything that an archive can tell."""
    world = World()
    world.add(Log(TASK, [element(number, "an event") for number in range(250)]))
    world.add(Log(OTHER, [element(number, "another event") for number in range(40)]))
    return world


@dataclass
class SmallArchive:
    """An archive, its key, and the copy that it was made of."""

    stage: Any
    place: MemoryPlace
    signer: Signer

    @property
    def database(self) -> Database:
        database: Database = self.stage.app.database
        return database

    @property
    def size(self) -> int:
        """Entries of its log."""
        return open_checkpoint(self.place.files["checkpoint"], self.signer.verifier).size

    def create(self, place: Place | None = None) -> CreateReport:
        return create(
            self.database,
            place or self.place,
            self.signer,
            worker="test",
            clock=self.stage.app.clock,
        )

    def forget_pending(self) -> None:
        """Put the database back to before a create that was cut off noted its checkpoint."""
        columns = schema.archive_checkpoint.c
        pending = select(columns.id).where(columns.status == "pending")
        with self.database.transaction() as tx:
            for table in (schema.archive_journal, schema.quarantine, schema.sent_message, schema.sync_run):
                marked = update(table).where(table.c.checkpoint_id.in_(pending))
                tx.connection.execute(marked.values(checkpoint_id=None))
            tx.connection.execute(update(schema.task).values(archived_as=None))
            tx.connection.execute(delete(schema.archive_checkpoint).where(columns.status == "pending"))

    def verify(
        self, place: Place | None = None, *, database: bool = True, since: bytes | None = None
    ) -> ArchiveReport:
        return verify_archive(
            place or self.place,
            self.signer.verifier,
            since=since,
            comparison=AgainstDatabase(self.database, self.signer.verifier) if database else None,
        )


def make_small_archive(stage_for: Callable[..., Any], folder: Path) -> SmallArchive:
    """Make it: new events, revisions, vanished and returned ones, quarantine, a message, runs."""
    stage = stage_for(small_world())
    make_key(folder / "archive.key", "tests.example/maia-sync")
    archive = SmallArchive(stage, MemoryPlace(), load_signer(folder / "archive.key"))
    log = stage.world.logs[TASK]
    stage.sync_well()
    archive.create()
    log.extend([element(number, "an event", 6) for number in range(250, 400)])
    log.extend(odd_elements())
    for number in range(20, 30):
        log.replace(number, element(number, "a changed event"))
    taken = log.remove(100, 3)
    stage.sync(full=True)
    stage.app.send(TASK, "do something")
    stage.sync(full=True)
    archive.create()
    log.insert(100, *taken[:2])
    for number in range(25, 35):
        log.replace(number, element(number, "an event changed again"))
    log.extend([element(number, "an event", 6) for number in range(400, 520)])
    stage.sync(full=True)
    archive.create()
    return archive


def in_folder(place: MemoryPlace, folder: Path) -> None:
    """Put an archive's files into a folder."""
    for path, content in place.files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
