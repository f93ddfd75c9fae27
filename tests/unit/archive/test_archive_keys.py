"""Can a key be made once, kept to its owner, and read again?"""

from __future__ import annotations

import stat
import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from maia_sync.archive.keys import (
    load_signer,
    load_verifier,
    make_key,
    restore_verifier,
    verifier_path,
)
from maia_sync.archive.merkle import EMPTY_ROOT, TreeHead
from maia_sync.archive.note import open_checkpoint, sign_checkpoint
from maia_sync.errors import ConfigError, UsageError


def test_a_key_is_made_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "archive.key"
    made = make_key(path, "host.example/maia-sync")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text().startswith(
        "maia-sync archive key of host.example/maia-sync\n-----BEGIN PRIVATE KEY-----\n"
    )
    public = tmp_path / "archive.key.pub"
    assert verifier_path(path) == public
    assert public.read_text() == f"{made}\n"
    signer = load_signer(path)
    assert signer.verifier == made
    assert load_verifier(public) == load_verifier(str(public)) == load_verifier(f" {made}\n") == made
    head = TreeHead(0, EMPTY_ROOT)
    assert open_checkpoint(sign_checkpoint(head, signer), made) == head


@pytest.mark.parametrize("there", ["archive.key", "archive.key.pub"])
def test_no_key_is_overwritten_and_none_is_left_half_made(tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("mine")
    with pytest.raises(UsageError, match=f"{there}: is there already"):
        make_key(tmp_path / "archive.key", "name")
    assert [each.name for each in tmp_path.iterdir()] == [there]
    assert (tmp_path / there).read_text() == "mine"


@pytest.mark.parametrize("name", [".", "..", "folder", "/"])
def test_a_folder_is_no_name_for_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="is a folder: name the file"):
        make_key(Path(name), "name")
    assert [each.name for each in tmp_path.iterdir()] == ["folder"]


def test_a_lost_verifier_key_is_made_again_and_another_is_never_overwritten(tmp_path: Path) -> None:
    path, public = tmp_path / "archive.key", tmp_path / "archive.key.pub"
    made = make_key(path, "name")
    assert restore_verifier(path) == (made, False)
    before = public.read_bytes()
    public.unlink()
    assert restore_verifier(path) == (made, True)
    assert public.read_bytes() == before
    other = make_key(tmp_path / "other.key", "other")
    public.write_text(f"{other}\n")
    with pytest.raises(UsageError, match="is not the public half"):
        restore_verifier(path)
    with pytest.raises(UsageError, match="cannot be read"):
        restore_verifier(tmp_path / "none")
    assert public.read_text() == f"{other}\n"


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none/archive\.key: cannot be written: No such file"):
        make_key(tmp_path / "none" / "archive.key", "name")


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\n", "a\u2003b", "a\0", "\u200b", "x" * 201])
def test_odd_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="name"):
        make_key(tmp_path / "archive.key", name)
    assert not [*tmp_path.iterdir()]


def pem_of(key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey, password: bytes | None = None) -> str:
    hidden = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden).decode()


HEADING = "maia-sync archive key of name\n"


@pytest.mark.parametrize(
    "content",
    [
        "",
        "junk",
        HEADING,
        HEADING + "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        pem_of(ed25519.Ed25519PrivateKey.generate()),
        HEADING + pem_of(ed25519.Ed25519PrivateKey.generate(), b"secret"),
        HEADING + pem_of(ec.generate_private_key(ec.SECP256R1())),
        "maia-sync archive key of a+b\n" + pem_of(ed25519.Ed25519PrivateKey.generate()),
    ],
    ids=count(),
)
def test_what_is_no_key_of_ours_is_refused_without_showing_it(tmp_path: Path, content: str) -> None:
    path = tmp_path / "archive.key"
    path.write_text(content)
    with pytest.raises(ConfigError) as caught:
        load_signer(path)
    [problem] = caught.value.problems
    assert problem.startswith(f"{path}: ")
    secret = [line for line in content.splitlines() if len(line) > 30 and " " not in line]
    assert not any(line in problem for line in secret)


def test_a_missing_file_is_a_problem_of_the_configuration_or_of_the_command_line(tmp_path: Path) -> None:
    none = tmp_path / "none"
    with pytest.raises(ConfigError, match="none: cannot be read: No such file"):
        load_signer(none)
    with pytest.raises(ConfigError, match="none: cannot be read"):
        load_verifier(none)
    with pytest.raises(UsageError, match="none: cannot be read"):
        load_verifier(str(none))
    for empty in ("", " "):
        with pytest.raises(UsageError, match="expected a verifier key"):
            load_verifier(empty)
    with pytest.raises(UsageError, match=r"three parts|altered|cut short"):
        load_verifier("a+b+c")
    for odd in ("\0", "x" * 5000):
        with pytest.raises(UsageError, match="cannot be read"):
            load_verifier(odd)


@pytest.mark.parametrize("content", [b"", b"junk", b"\xff\xfe", b"a+b+c"])
def test_a_file_without_a_verifier_key_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key.pub"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"key\.pub: holds no verifier key: "):
        load_verifier(path)
    with pytest.raises(UsageError, match=r"key\.pub: holds no verifier key: "):
        load_verifier(str(path))


@pytest.mark.parametrize("asked", ["require_cryptography", "make_private_key"])
def test_without_the_library_the_command_that_helps_is_named(asked: str) -> None:
    script = f"""
import sys
sys.modules["cryptography"] = None
sys.modules["cryptography.hazmat.primitives.asymmetric"] = None
from maia_sync.archive import ed25519, keys, note, log_reader, log_writer, proof
from maia_sync.errors import ArchiveError
try:
    ed25519.{asked}()
except ArchiveError as error:
    print(error)
"""
    shown = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    assert shown == "the archive needs more packages: pip install 'maia-sync[archive]'\n"
