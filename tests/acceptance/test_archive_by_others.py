"""Does an archive convince who has none of our code? aics-tlog, sha256sum, openssl, and RFC 8032 by hand."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
import second_ed25519
from cli_folder import CliFolder, for_sandbox

from maia_sync.sandbox.server import SandboxServer
from maia_sync.sandbox.story import make_world, more_events

OTHER_PYTHON = "MAIA_SYNC_TEST_AICS_PYTHON"
"""Names a Python that has aics-tlog; `.ci/run` looks for one."""
READING = Path(__file__).with_name("aics_reading.py")
ORIGIN = "test.example/maia-sync"
# RFC 8410: what stands before the 32 bytes of an Ed25519 key in DER.
DER_HEADING = bytes.fromhex("302a300506032b6570032100")


class Made(NamedTuple):
    """An archive that the real command has made, in two steps; an erasure was the second."""

    cli: CliFolder
    folder: Path
    key: str
    earlier: Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, migrated_sqlite: Path, one_authority: Path) -> Made:
    path = tmp_path_factory.mktemp("archived")
    shutil.copyfile(migrated_sqlite, path / "maia_sync.db")
    world = make_world(seed=8, tasks=2, events_per_task=260)
    with SandboxServer(world) as server:
        cli = for_sandbox(path, server.url, one_authority)
        cli.variables |= {"MAIA_SYNC_ARCHIVE__URL": "archive", "MAIA_SYNC_ARCHIVE__KEY_FILE": "archive.key"}
        cli.ok("archive", "keygen", "--name", ORIGIN)
        cli.ok("track", *world.logs)
        cli.ok("sync")
        cli.ok("archive", "create")
        earlier = path / "earlier.checkpoint"
        shutil.copyfile(path / "archive" / "checkpoint", earlier)
        for log in world.logs.values():
            more_events(log, 70)
        cli.ok("sync")
        cli.ok("archive", "erase", min(world.logs), "--reason", "asked to", "--basis", "Art. 17")
    return Made(cli, path / "archive", (path / "archive.key.pub").read_text().strip(), earlier)


@pytest.fixture(scope="module")
def proof(made: Made) -> Path:
    path = made.cli.path / "event.tlog-proof"
    made.cli.ok("archive", "prove", "300", "-o", str(path))
    return path


@pytest.fixture(scope="module")
def other_python() -> str:
    python = os.environ.get(OTHER_PYTHON)
    if not python:
        pytest.skip(f"{OTHER_PYTHON} names no Python that has aics-tlog")
    return python


def read_by_others(
    python: str, made: Made, proof: Path, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    command = [python, READING, folder or made.folder, made.key, made.earlier, proof]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_aics_tlog_verifies_checkpoint_tiles_consistency_and_proof(
    made: Made, proof: Path, other_python: str
) -> None:
    done = read_by_others(other_python, made, proof)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    size, earlier = size_of(made.folder / "checkpoint"), size_of(made.earlier)
    assert (told["size"], told["earlier"], told["proven"]) == (size, earlier, 300)
    assert size > earlier + 140 > 660
    assert told["bundles"] == -(-size // 256)
    assert told["tiles"] == told["bundles"] + 1


def test_aics_tlog_would_see_what_has_been_altered(
    made: Made, proof: Path, other_python: str, tmp_path: Path
) -> None:
    """So that the test above says something."""
    copy = tmp_path / "copy"
    shutil.copytree(made.folder, copy)
    bundle = copy / "tile" / "entries" / "001"
    bundle.write_bytes(bundle.read_bytes().replace(b'"ordinal":0', b'"ordinal":1', 1))
    done = read_by_others(other_python, made, proof, copy)
    assert done.returncode != 0
    assert "tile/entries/001 does not match" in done.stderr
    altered = tmp_path / "altered.tlog-proof"
    altered.write_text(proof.read_text().replace("index 300", "index 301"))
    done = read_by_others(other_python, made, altered)
    assert done.returncode != 0
    assert "the proof proves nothing" in done.stderr


def size_of(checkpoint: Path) -> int:
    return int(checkpoint.read_text().split("\n")[1])


def test_sha256sum_checks_every_segment(made: Made, tmp_path: Path) -> None:
    sha256sum = shutil.which("sha256sum")
    if sha256sum is None:
        pytest.skip("there is no sha256sum here")
    command = [sha256sum, "--strict", "-c", "SHA256SUMS"]
    done = subprocess.run(command, cwd=made.folder, capture_output=True, text=True, check=True)
    checked = [line.removesuffix(": OK") for line in done.stdout.splitlines()]
    segments = [str(path.relative_to(made.folder)) for path in made.folder.glob("data/**/*.parquet")]
    assert sorted(checked) == sorted(segments)
    assert len(segments) >= 2
    assert any(path.count("-") == 4 for path in segments), "some were written anew"
    copy = tmp_path / "copy"
    shutil.copytree(made.folder, copy)
    with (copy / segments[0]).open("r+b") as file:
        file.seek(100)
        file.write(b"?")
    assert subprocess.run(command, cwd=copy, capture_output=True, check=False).returncode != 0


def signed_by(checkpoint: Path, key: str) -> tuple[bytes, bytes, bytes]:
    """Take a checkpoint and a verifier key apart: public key, signed text, signature."""
    text, _, signature = checkpoint.read_text("utf-8").rpartition("\n\n")
    dash, name, encoded = signature.split()
    raw = base64.b64decode(encoded)
    assert (dash, name, raw[:4].hex()) == ("—", ORIGIN, key.split("+")[1])
    return base64.b64decode(key.split("+", 2)[2])[1:], f"{text}\n".encode(), raw[4:]


def test_openssl_verifies_the_signature(made: Made, tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl here")
    public, text, signature = signed_by(made.folder / "checkpoint", made.key)
    pem = base64.b64encode(DER_HEADING + public).decode()
    (tmp_path / "key.pem").write_text(f"-----BEGIN PUBLIC KEY-----\n{pem}\n-----END PUBLIC KEY-----\n")
    (tmp_path / "signature").write_bytes(signature)
    files = ["-inkey", "key.pem", "-in", "text", "-sigfile", "signature"]
    command = [openssl, "pkeyutl", "-verify", "-pubin", "-rawin", *files]
    for content, verified in ((text, True), (text.replace(b"\n", b" ", 1), False)):
        (tmp_path / "text").write_bytes(content)
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.returncode == 0) == verified, done.stderr
        assert ("Signature Verified Successfully" in done.stdout) == verified


def test_the_signature_is_one_by_rfc_8032_as_it_is_written(made: Made) -> None:
    # Test 2 of its section 7.1 shows that the hand-made reader can read.
    public = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
    signature = bytes.fromhex(
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    assert second_ed25519.is_signed(public, signature, b"\x72")
    assert not second_ed25519.is_signed(public, signature, b"\x73")
    for checkpoint in (made.folder / "checkpoint", made.earlier):
        public, text, signature = signed_by(checkpoint, made.key)
        assert second_ed25519.is_signed(public, signature, text)
        assert not second_ed25519.is_signed(public, signature, text.replace(b"\n", b" ", 1))


def test_each_checkpoint_was_kept(made: Made) -> None:
    kept = {path.name: path.read_bytes() for path in made.folder.glob("checkpoints/*")}
    for checkpoint in (made.earlier, made.folder / "checkpoint"):
        assert kept[f"{size_of(checkpoint):012}"] == checkpoint.read_bytes()
