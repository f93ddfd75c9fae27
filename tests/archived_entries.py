"""What does an archive hold, told without what is random in it? And how does one die while it is written?"""

from __future__ import annotations

import hashlib
from collections import Counter
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any

import msgspec
from memory_place import MemoryPlace
from sqlalchemy import event

from maia_sync.archive.against_database import AgainstDatabase
from maia_sync.archive.ed25519 import make_private_key
from maia_sync.archive.entry import RedactedFacts, decode_entry, facts_of
from maia_sync.archive.layout import CHECKPOINT
from maia_sync.archive.log_reader import LogReader
from maia_sync.archive.note import Signer, VerifierKey, open_checkpoint
from maia_sync.archive.segment import read_segment
from maia_sync.archive.verify import verify_archive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from maia_sync.archive.place import FileThere, Place
    from maia_sync.store.database import Database

Told = Counter[tuple[Any, ...]]


def make_signer(name: str = "test.example/maia-sync") -> Signer:
    return Signer(name, make_private_key()[0])


def read_entries(place: Place, key: VerifierKey) -> Told:
    """Return every entry and its payload, without salts and hashes; each payload must have its hash."""
    content = place.read(CHECKPOINT)
    if content is None:
        return Counter()
    told: list[tuple[Any, ...]] = []
    payloads: dict[int, str | None] = {}
    log = LogReader(place, open_checkpoint(content, key))
    newer = dict(_redactions(log))
    for first, bundle in log.entries():
        for index, encoded in enumerate(bundle, first):
            entry = decode_entry(encoded)
            facts = facts_of(entry)
            if entry.type == "segment":
                path, named = facts.path, facts.sha256  # type: ignore[union-attr]
                while path in newer:
                    path, named = newer[path]
                segment = place.read(path)
                assert segment is not None
                assert hashlib.sha256(segment).hexdigest() == named
                told += _rows(segment, payloads)
                told.append(("segment", facts.path, facts.rows, facts.first, facts.end))  # type: ignore[union-attr]
                continue
            if isinstance(facts, RedactedFacts):  # its SHA-256 depends on salts
                told.append(("redacted", *msgspec.structs.astuple(msgspec.structs.replace(facts, sha256=""))))
                continue
            key_of = (entry.task, entry.group, entry.timestamp, entry.ordinal, entry.revision, entry.id)
            told.append((entry.type, *key_of, entry.received, entry.run, facts, index))
            payloads[index] = entry.payload
    return Counter(told)


def _redactions(log: LogReader) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield what has come in the place of which path: path and SHA-256."""
    for _, bundle in log.entries():
        for encoded in bundle:
            facts = facts_of(decode_entry(encoded)) if b'"type":"redacted"' in encoded else None
            if isinstance(facts, RedactedFacts):
                yield facts.replaces, (facts.path, facts.sha256)


def _rows(segment: bytes, payloads: dict[int, str | None]) -> Iterator[tuple[Any, ...]]:
    for rows in read_segment(segment):
        for index, *others, data, extra, raw, salt in zip(*rows, strict=True):
            if salt is None:
                assert (data, extra) == (None, None), (index, others, data, extra)
            elif extra is None and data is not None and (others[4] is None or others[5] is not None):
                assert hashlib.sha256(salt + data).hexdigest() == payloads[index]
            yield ("row", index, *others, data, extra, raw)


def assert_sound(place: Place, key: VerifierKey, database: Database) -> None:
    """Nothing is wrong with the archive; what a create that was cut off has left is no difference."""
    comparison = AgainstDatabase(database, key)
    findings = [
        f"{one.place} {one.sentence}" for one in verify_archive(place, key, comparison=comparison).findings
    ]
    assert not findings, findings


def checkpoint_size(place: Place, key: VerifierKey) -> int:
    content = place.read(CHECKPOINT)
    return 0 if content is None else open_checkpoint(content, key).size


class Killed(BaseException):
    """Not an Exception: nobody gets to put anything in order, as after a SIGKILL."""


class Fuse:
    """Counts steps, and burns through at one of them."""

    def __init__(self, steps: int | None, *, error: Callable[[], BaseException] = Killed) -> None:
        self.left = count() if steps is None else iter(range(steps))
        self.burnt = False
        self.steps: list[str] = []
        self._error = error

    def step(self, name: str) -> None:
        self.steps.append(name)
        if next(self.left, None) is None and not self.burnt:
            self.burnt = True
            raise self._error()


class MortalPlace(MemoryPlace):
    """A place whose every call may be the last one."""

    fuse = Fuse(None)

    def __init__(self, files: dict[str, bytes] | None = None, *, name: str = "memory") -> None:
        super().__init__(files, name=name)
        self._unsettled: set[str] = set()

    def cut_power(self) -> None:
        """Lose what was not durable yet."""
        for path in self._unsettled:
            self.files.pop(path, None)
        self._unsettled.clear()

    def copy(self) -> MortalPlace:
        return MortalPlace(dict(self.files), name=self.name)

    def read(self, path: str) -> bytes | None:
        self.fuse.step(f"read {path}")
        return super().read(path)

    def write_new(self, path: str, content: bytes) -> None:
        self.fuse.step(f"write {path}")
        super().write_new(path, content)
        self._unsettled.add(path)

    def replace(self, path: str, content: bytes) -> None:
        self.fuse.step(f"replace {path}")
        super().replace(path, content)

    def delete(self, paths: Iterable[str]) -> None:
        for path in list(paths):
            self.fuse.step(f"delete {path}")
            super().delete([path])

    def list(self, prefix: str = "") -> Iterator[FileThere]:
        self.fuse.step(f"list {prefix}")
        yield from list(super().list(prefix))

    def settle(self) -> None:
        self.fuse.step("settle")
        super().settle()
        self._unsettled.clear()


@contextmanager
def dying(place: MortalPlace, database: Database, fuse: Fuse) -> Iterator[None]:
    """Let the fuse burn with each call of the place and before each commit while the block lasts."""

    def step(_: object) -> None:
        fuse.step("commit")

    event.listen(database.engine, "commit", step)
    place.fuse = fuse
    try:
        yield
    finally:
        place.fuse = Fuse(None)
        event.remove(database.engine, "commit", step)
