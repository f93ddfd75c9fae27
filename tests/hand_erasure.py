"""What does an archive look like after an erasure? Made by hand, in steps, without the code that erases."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select, update

from maia_sync.archive.chunk import Rows
from maia_sync.archive.entry import (
    Entry,
    RedactedFacts,
    decode_entry,
    encode_entry,
    entry_of,
    redacted_entry,
    text_of_moment,
)
from maia_sync.archive.log_reader import LogReader
from maia_sync.archive.log_writer import LogWriter, delete_old_partials
from maia_sync.archive.note import open_checkpoint, sign_checkpoint
from maia_sync.archive.segment import encode_segment, parse_segment_path, read_segment, segment_path
from maia_sync.facet_settings import FACETS
from maia_sync.model import NO_TIMESTAMP
from maia_sync.store import archive_log, schema
from maia_sync.store.archived import ErasureFacts, Record
from maia_sync.store.digest_key import DigestKeyFile, make_digest_key
from maia_sync.sync.canonical import canonical_of_payload
from maia_sync.sync.payload_digest import digest_of_payload

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from small_archive import SmallArchive

    from maia_sync.store.database import Transaction
    from maia_sync.store.digest_key import DigestKey

WHEN = datetime(2026, 11, 26, 12, tzinfo=UTC)
WORKER = "by hand"


def use_digest_key(archive: SmallArchive, folder: Path) -> DigestKey:
    """Give a database a digest key of its own."""
    path = folder / "digest.key"
    key = make_digest_key(path)
    archive.database.digest_key = DigestKeyFile(path)
    return key


def entries_of(archive: SmallArchive) -> list[Entry]:
    head = open_checkpoint(archive.place.files["checkpoint"], archive.signer.verifier)
    return [decode_entry(each) for _, some in LogReader(archive.place, head).entries() for each in some]


@dataclass
class HandErasure:
    """An erasure in the making; `publish` is the last step for the archive, `settle` for the database."""

    archive: SmallArchive
    key: DigestKey
    task_id: str
    meant: Callable[[Entry], bool]
    before: datetime | None = None
    more: int = 0
    """So many more payloads than there are it tells of."""

    def __post_init__(self) -> None:
        self.old: list[str] = []
        """Files whose places are taken."""
        self.files: dict[str, bytes] = {}
        """What is written anew."""
        self.rows: list[dict[str, Any]] = []
        """What was erased, as it was."""
        self.prepare()

    def prepare(self) -> None:
        """Make the files and the entries."""
        archive, place = self.archive, self.archive.place
        with archive.database.transaction() as tx:
            assert archive_log.acquire_writer(tx, archive.signer.name, WORKER, 900)
        head = open_checkpoint(place.files["checkpoint"], archive.signer.verifier)
        entries = entries_of(archive)
        place.files["unfinished"] = b'{"since":%d,"origin":"%s"}' % (head.size, archive.signer.name.encode())
        new: list[tuple[str, bytes, RedactedFacts]] = []
        lines = [line.split("  ") for line in place.files["SHA256SUMS"].decode().splitlines()]
        for _, path in sorted(lines, key=lambda line: line[1]):
            told = self._emptied(path, entries, head.size, head.size + 1 + len(new))
            if told is not None:
                new.append((path, *told))
        facts = ErasureFacts(
            before=None if self.before is None else text_of_moment(self.before),
            reason="she asked for it",
            basis="GDPR, article 17",
            erased_by="tests@here",
            payloads=len(self.rows) + self.more,
        )
        with archive.database.transaction(write=False) as tx:
            self.number = len(tx.connection.execute(select(schema.archive_erasure.c.id)).all()) + 1
        record = Record(
            type="erasure", received_at=WHEN, task_id=self.task_id, number=self.number, facts=facts
        )
        log = LogWriter.open(place, head)
        log.append([encode_entry(entry_of(record, None))])
        log.append([encode_entry(redacted_entry(facts)) for _, _, facts in new])
        self.old_size, self.head = head.size, log.finish()
        self.note = sign_checkpoint(self.head, archive.signer).encode()
        sums = {path: (facts.sha256, facts.path) for path, _, facts in new}
        self.manifest = "".join(
            f"{sha256}  {path}\n" for sha256, path in (sums.get(line[1], line) for line in lines)
        ).encode()
        self.old = [path for path, _, _ in new]
        self.files = {facts.path: content for _, content, facts in new}
        place.files.update(self.files)

    def _emptied(
        self, path: str, entries: list[Entry], at: int, number: int
    ) -> tuple[bytes, RedactedFacts] | None:
        """Return a file without the payloads that are meant; None if it has none of them."""
        content = self.archive.place.files[path]
        rows = [
            dict(zip(Rows._fields, values, strict=True))
            for some in read_segment(content)
            for values in zip(*some, strict=True)
        ]
        parsed = parse_segment_path(path)
        assert parsed is not None
        found = [row for row in rows if row["salt"] is not None and self.meant(entries[row["entry"]])]
        if not found:
            return None
        for row in found:
            self.rows.append(dict(row))
            row.update(raw=digests_of(row, self.key), salt=None, data=None, extra=None)
            row["timestamp_text"] = entries[row["entry"]].timestamp_text
        content = encode_segment(Rows(*([row[name] for row in rows] for name in Rows._fields)))
        facts = RedactedFacts(
            path=segment_path(parsed.day, parsed.first, parsed.end, number),
            sha256=hashlib.sha256(content).hexdigest(),
            rows=len(rows),
            first=parsed.first,
            end=parsed.end,
            replaces=path,
            erasure=at,
        )
        return content, facts

    def sign(self) -> None:
        """Empty the database, and note the checkpoint there: from now on it is done, come what may."""
        with self.archive.database.transaction() as tx:
            for row in self.rows:
                empty(tx, row, digests_of(row, self.key), erased=True)
            self.id = archive_log.open_checkpoint(
                tx,
                origin=self.archive.signer.name,
                head=self.head,
                note=self.note.decode(),
                marks=archive_log.Marks(),
            )
            values = {
                "task_id": self.task_id, "before_at": self.before, "reason": "she asked for it",
                "basis": "GDPR, article 17", "erased_by": "tests@here", "erased_at": WHEN,
                "payloads": len(self.rows) + self.more, "checkpoint_id": self.id, "id": self.number,
            }  # fmt: skip
            tx.connection.execute(insert(schema.archive_erasure).values(values))

    def name_files(self) -> None:
        self.archive.place.files["SHA256SUMS"] = self.manifest

    def publish(self) -> None:
        self.archive.place.files[f"checkpoints/{self.head.size:012}"] = self.note
        self.archive.place.files["checkpoint"] = self.note

    def complete(self) -> None:
        with self.archive.database.transaction() as tx:
            archive_log.complete_checkpoint(tx, self.id)

    def delete_old(self) -> None:
        self.archive.place.delete(self.old)

    def clear(self) -> None:
        delete_old_partials(self.archive.place, self.head.size, since=self.old_size)
        self.archive.place.delete(["unfinished"])
        with self.archive.database.transaction() as tx:
            tx.connection.execute(update(schema.archive_erasure).values(scrubbed_at=WHEN))
            archive_log.release_writer(tx, self.archive.signer.name, WORKER)

    STEPS = (sign, name_files, publish, complete, delete_old, clear)

    def finish(self) -> HandErasure:
        """Do all of it."""
        for step in self.STEPS:
            step(self)
        return self


def digests_of(row: dict[str, Any], key: DigestKey) -> bytes | None:
    """Return what stands in `raw` of a segment's row in place of its payload."""
    if row["type"] == "sent":
        return None
    if row["type"] == "quarantine":
        return key.of(hashlib.sha256(row["raw"]).digest())
    data = None if row["data"] is None else row["data"].decode()
    payload = (data, row["extra"], row["timestamp_text"])
    return key.of(digest_of_payload(*payload)) + key.of(canonical_of_payload(*payload))


def erase(archive: SmallArchive, key: DigestKey, task_id: str, before: datetime | None = None) -> HandErasure:
    """Erase what an archive and its database hold of a task, older than a moment."""
    return HandErasure(archive, key, task_id, _older(task_id, before), before).finish()


def _older(task_id: str, before: datetime | None) -> Callable[[Entry], bool]:
    def is_meant(entry: Entry) -> bool:
        if entry.task != task_id or entry.payload is None:
            return False
        if before is None:
            return True
        if entry.timestamp is not None and entry.timestamp != NO_TIMESTAMP:
            return entry.timestamp < int(before.timestamp()) * 10**9
        return datetime.fromisoformat(str(entry.received)) < before

    return is_meant


def prune(archive: SmallArchive, key: DigestKey, meant: Callable[[Entry], bool]) -> int:
    """Take payloads out of the database that are archived; return how many."""
    entries, count = entries_of(archive), 0
    with archive.database.transaction() as tx:
        for path, content in archive.place.files.items():
            if not path.startswith("data/"):
                continue
            for some in read_segment(content):
                for values in zip(*some, strict=True):
                    row = dict(zip(Rows._fields, values, strict=True))
                    if row["salt"] is None or not meant(entries[row["entry"]]):
                        continue
                    count += empty(tx, row, digests_of(row, key), erased=False)
    return count


def empty(tx: Transaction, row: dict[str, Any], digests: bytes | None, *, erased: bool) -> int:
    """Take the payload of a segment's row out of the database."""
    marks: dict[str, Any] = {"pruned_at": WHEN} | ({"erased_at": WHEN} if erased else {})
    if row["type"] in ("quarantine", "sent"):
        table = schema.quarantine if row["type"] == "quarantine" else schema.sent_message
        emptied = {"raw": b"", "digest": digests} if row["type"] == "quarantine" else {"request": "null"}
        changed = update(table).where(table.c.id == row["number"]).values(**emptied, **marks)
        return int(tx.connection.execute(changed).rowcount)
    assert digests is not None
    is_timed = row["timestamp"] != NO_TIMESTAMP and len(row["timestamp_text"] or "") <= 64
    kept = {"timestamp_text": row["timestamp_text"] if is_timed else None, "data": None, "extra": None}
    undated = {"occurred_at": None} if row["timestamp"] == NO_TIMESTAMP else {}
    newest: dict[str, Any] = {"canonical": digests[36:], **undated, **dict.fromkeys(FACETS)}
    names = ("task_id", "group_id", "timestamp", "ordinal", "revision")
    done = 0
    for of_events, more in ((schema.task_event, newest), (schema.task_event_revision, {})):
        of_row = [of_events.c[name] == row[name] for name in names]
        values = {**kept, **more, "digest": digests[:36], **marks}
        done += tx.connection.execute(update(of_events).where(*of_row).values(values)).rowcount
    return done
