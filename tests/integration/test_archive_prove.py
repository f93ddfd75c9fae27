"""Does a proof prove what it says, to somebody who has the key's public half and nothing else?"""

from __future__ import annotations

import hashlib
import json
import random
import secrets
from typing import TYPE_CHECKING, Any

import pytest
from logs import BEARER, TASK
from memory_place import MemoryPlace
from small_archive import OTHER, SmallArchive, in_folder, make_small_archive

from maia_sync.archive import prove as proving
from maia_sync.archive.entry import decode_entry
from maia_sync.archive.keys import load_signer, make_key
from maia_sync.archive.log_reader import LogReader
from maia_sync.archive.note import open_checkpoint
from maia_sync.archive.proof import check_proof, decode_proof, encode_proof
from maia_sync.archive.prove import EventAddress, prove
from maia_sync.archive.segment import encode_segment, read_segment
from maia_sync.cli.main import run
from maia_sync.errors import ArchiveDiffers, ArchiveError, UsageError
from maia_sync.model import NO_TIMESTAMP

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SECOND = 10**9
DAY = 1_767_571_200 * SECOND
"""2026-01-05 in nanoseconds since the epoch."""


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


@pytest.fixture
def archive(stage_for: Callable[..., Any], tmp_path: Path) -> SmallArchive:
    return make_small_archive(stage_for, tmp_path)


def address(number: int, *, task_id: str = TASK, revision: int | None = None) -> EventAddress:
    at = DAY + (8 * 3600 + number) * SECOND + SECOND // 4
    return EventAddress(
        task_id=task_id, group_id=f"g{number // 50}", timestamp=at, ordinal=0, revision=revision
    )


def payload_of(archive: SmallArchive, event: EventAddress | int) -> bytes:
    """Return what a proof of an event proves, by its file alone."""
    text = encode_proof(prove(archive.place, archive.signer.verifier, event))
    payload = check_proof(decode_proof(text), archive.signer.verifier).payload
    assert payload is not None
    return payload


def test_each_entry_can_be_proven(archive: SmallArchive) -> None:
    key = archive.signer.verifier
    log = LogReader(archive.place, open_checkpoint(archive.place.files["checkpoint"], key))
    entries = [decode_entry(entry) for _, some in log.entries() for entry in some]
    for number in range(0, len(entries), 7):
        proven = check_proof(decode_proof(encode_proof(prove(archive.place, key, number))), key)
        assert (proven.number, proven.entry) == (number, entries[number])
        assert (proven.payload is None) == (entries[number].payload is None)
    with pytest.raises(UsageError, match="has no entry 608"):
        prove(archive.place, key, len(entries))


def test_an_event_is_found_by_its_key_and_revision(archive: SmallArchive) -> None:
    assert b'"n":7,"text":"an event of' in payload_of(archive, address(7))
    assert b'"n":7,"text":"another event' in payload_of(archive, address(7, task_id=OTHER))
    assert b"an event changed again" in payload_of(archive, address(27))
    for revision, text in enumerate((b'"an event of', b'"a changed event', b'"an event changed again')):
        assert text in payload_of(archive, address(27, revision=revision))
    odd = {"task_id": TASK, "ordinal": 0}
    assert payload_of(archive, EventAddress(group_id="odd", timestamp=NO_TIMESTAMP, **odd)) == b"\0\0"
    unread = payload_of(archive, EventAddress(group_id="", timestamp=NO_TIMESTAMP, **odd))
    assert unread == b"null\0\0no time at all"
    beside = EventAddress(group_id="odd", timestamp=DAY + (86_400 + 8 * 3600) * SECOND + SECOND // 2, **odd)
    assert payload_of(archive, beside) == b'{"a":1}\0{"more":[1,2],"and":"more"}\0'
    for wrong in (address(700), address(27, revision=3), address(45, task_id=OTHER)):
        with pytest.raises(UsageError, match="may still wait"):
            prove(archive.place, archive.signer.verifier, wrong)


def test_no_altered_proof_proves_anything(archive: SmallArchive, tmp_path: Path) -> None:
    key = archive.signer.verifier
    text = encode_proof(prove(archive.place, key, address(27))).encode()
    check_proof(decode_proof(text), key)
    seed = secrets.randbelow(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    for at in (*range(0, len(text), 3), *(rng.randrange(len(text)) for _ in range(100))):
        altered = bytearray(text)
        altered[at] ^= rng.choice((1 << rng.randrange(8), rng.randrange(1, 256)))
        with pytest.raises(ArchiveDiffers):
            check_proof(decode_proof(bytes(altered)), key)
        with pytest.raises(ArchiveDiffers):
            check_proof(decode_proof(text[:at]), key)
    make_key(tmp_path / "other.key", key.name)
    with pytest.raises(ArchiveDiffers, match="not signed by the key"):
        check_proof(decode_proof(text), load_signer(tmp_path / "other.key").verifier)


def test_an_altered_archive_proves_nothing(archive: SmallArchive) -> None:
    key = archive.signer.verifier
    for path in list(archive.place.files):
        if not path.startswith(
            ("data/date=2026-01-05/000000000000", "tile/0/000", "tile/entries/000", "checkp")
        ):
            continue
        for content in (None, archive.place.files[path][:-20], bytes(len(archive.place.files[path]))):
            files = {name: held for name, held in archive.place.files.items() if name != path}
            if content is not None:
                files[path] = content
            if path.startswith("checkpoints/"):
                check_proof(prove(MemoryPlace(files), key, 3), key)
                continue
            with pytest.raises(ArchiveError):
                prove(MemoryPlace(files), key, 3)


def test_verify_prove_and_check_proof_on_the_command_line(
    archive: SmallArchive,
    database_url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    in_folder(archive.place, tmp_path / "archive")
    settings = {
        "DATABASE__URL": database_url,
        "AUTH__TOKEN": BEARER,
        "ARCHIVE__URL": str(tmp_path / "archive"),
        "ARCHIVE__KEY_FILE": str(tmp_path / "archive.key"),
    }
    for name, value in settings.items():
        monkeypatch.setenv(f"MAIA_SYNC_{name}", value)
    monkeypatch.chdir(tmp_path)
    proof = str(tmp_path / "event.tlog-proof")

    def ran(*arguments: str, code: int = 0) -> str:
        assert run(["archive", *arguments]) == code
        told = capsys.readouterr()
        assert "of some length" not in told.out + told.err
        assert BEARER not in told.out + told.err
        return told.out + told.err

    assert "No difference" in ran("verify")
    assert "Not compared with a database" in ran("verify", "--no-database")
    assert json.loads(ran("verify", "--json"))["finding_count"] == 0
    by_key = ("--group", "g0", "--timestamp", "2026-01-05T08:00:27.25Z")
    ran("prove", TASK, *by_key, "-o", proof)
    assert "Revision: 2" in ran("check-proof", proof)
    seq = json.loads(_event_of(archive, 27))["seq"]
    ran("prove", f"{TASK}/{seq}", "--revision", "1", "--without-payload", "-o", proof)
    told = ran("check-proof", proof)
    assert "Revision: 1" in told
    assert "Payload: not in this proof" in told
    ran("prove", "3", "-o", proof)
    assert json.loads(ran("check-proof", proof, "--json"))["number"] == 3
    ran("check-proof", proof, "--payload", str(tmp_path / "payload"))
    assert json.loads((tmp_path / "payload").read_bytes())["n"] == 3
    for wrong in (f"{TASK}/17", f"{TASK}/x", "no-uuid", "608"):
        assert "Error: " in ran("prove", wrong, "-o", proof, code=2)
    (tmp_path / "archive" / "tile" / "0" / "000").unlink()
    told = ran("verify", code=7)
    assert "tile/0/000  is missing" in told
    for name in settings:
        monkeypatch.delenv(f"MAIA_SYNC_{name}")
    ran("check-proof", proof, "--key", str(archive.signer.verifier))
    folder, key = str(tmp_path / "archive"), str(tmp_path / "archive.key.pub")
    assert "1 difference\n" in ran("verify", folder, "--key", key, "--no-database", code=7)
    (tmp_path / "event.tlog-proof").write_bytes(b"c2sp.org/tlog-proof@v1\n")
    assert "no proof" in ran("check-proof", proof, "--key", key, code=7)


def _event_of(archive: SmallArchive, number: int) -> str:
    rows = archive.stage.app.events(TASK)
    row = next(row for row in rows if row.data and f'"n":{number},' in row.data)
    return json.dumps({"seq": row.seq})


def test_no_other_event_is_proven(archive: SmallArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    files, key = archive.place.files, archive.signer.verifier
    path = min(path for path in files if path.startswith("data/"))
    [rows] = read_segment(files[path])
    names: list[list[Any]] = [rows.task_id, rows.group_id, rows.timestamp, rows.ordinal, rows.revision]
    for column in names:
        column[10], column[20] = column[20], column[10]
    files[path] = encode_segment(rows)
    old = f"{path}\n".encode()
    lines = files["SHA256SUMS"].splitlines(keepends=True)
    mended = f"{hashlib.sha256(files[path]).hexdigest()}  {path}\n".encode()
    files["SHA256SUMS"] = b"".join(mended if line.endswith(old) else line for line in lines)
    for event in (address(10), 10):
        with pytest.raises(ArchiveDiffers, match="its SHA-256 is not the one in the log"):
            prove(archive.place, key, event)
    monkeypatch.setattr(proving, "_sum_in_log", lambda _, path: hashlib.sha256(files[path]).hexdigest())
    with pytest.raises(ArchiveDiffers, match="the log tells something else of it"):
        prove(archive.place, key, address(10))
