"""Is a checkpoint believed if, and only if, the log's key has signed just this text?"""

from __future__ import annotations

import base64
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maia_sync.archive import note
from maia_sync.archive.ed25519 import is_signed, make_private_key
from maia_sync.archive.merkle import TreeHead, leaf_hash
from maia_sync.archive.note import Signer, VerifierKey, open_checkpoint, sign_checkpoint
from maia_sync.errors import ArchiveDiffers

SPECIFIED_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
SPECIFIED_NOTE = (
    "This is an example message.\n"
    "\n"
    "— example.com/foo "
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
HEAD = TreeHead(1234, leaf_hash(b"root"))


@pytest.fixture(scope="module")
def signer() -> Signer:
    return new_signer("log.example/archive")


def new_signer(name: str) -> Signer:
    return Signer(name, make_private_key()[0])


def test_the_example_of_the_specification() -> None:
    key = VerifierKey.parse(SPECIFIED_KEY)
    assert key.name == "example.com/foo"
    assert str(key) == SPECIFIED_KEY
    text, [(name, signature)] = note._open_note(SPECIFIED_NOTE)
    assert (name, signature[:4]) == (key.name, key.key_id)
    assert is_signed(key.public, signature[4:], text.encode())
    with pytest.raises(ArchiveDiffers, match="of another log"):
        open_checkpoint(SPECIFIED_NOTE, key)


def test_a_checkpoint_is_as_the_specification_has_it(signer: Signer) -> None:
    checkpoint = sign_checkpoint(HEAD, signer)
    root = base64.b64encode(HEAD.root).decode()
    assert checkpoint.startswith(f"log.example/archive\n1234\n{root}\n\n— log.example/archive ")
    assert checkpoint.count("\n") == 5
    assert checkpoint.endswith("\n")
    assert open_checkpoint(checkpoint, signer.verifier) == HEAD
    assert open_checkpoint(checkpoint.encode(), signer.verifier) == HEAD


@given(size=st.integers(0, 10**15), root=st.binary(min_size=32, max_size=32))
def test_any_head_is_read_as_it_was_signed(size: int, root: bytes) -> None:
    signer = new_signer("any")
    assert open_checkpoint(sign_checkpoint(TreeHead(size, root), signer), signer.verifier) == (size, root)


def test_every_flipped_bit_is_seen(signer: Signer) -> None:
    whole = sign_checkpoint(HEAD, signer).encode()
    for place in range(len(whole)):
        for bit in range(8):
            flipped = bytearray(whole)
            flipped[place] ^= 1 << bit
            with pytest.raises(ArchiveDiffers):
                open_checkpoint(bytes(flipped), signer.verifier)


def test_what_is_cut_off_or_put_in_is_seen(signer: Signer) -> None:
    whole = sign_checkpoint(HEAD, signer).encode()
    chance = random.Random(7)
    for place in range(len(whole)):
        with pytest.raises(ArchiveDiffers):
            open_checkpoint(whole[:place], signer.verifier)
        with pytest.raises(ArchiveDiffers):
            open_checkpoint(whole[:place] + bytes([chance.randrange(256)]) + whole[place:], signer.verifier)


@pytest.mark.parametrize(
    "junk", ["", "\n", "\n\n", "a\n\n", "\n\n— a aaaaaaaa\n", b"\xff\xfe", "x" * 200_000, "\ud800"]
)
def test_junk_is_no_checkpoint(signer: Signer, junk: str | bytes) -> None:
    with pytest.raises(ArchiveDiffers, match=r"malformed|not signed"):
        open_checkpoint(junk, signer.verifier)


@pytest.mark.parametrize("size", ["", "01", "-1", "+1", "1 ", "1e3", "\u0663", "1" * 19])
def test_an_odd_size_is_refused_although_it_is_signed(signer: Signer, size: str) -> None:
    text = f"{signer.name}\n{size}\n{base64.b64encode(HEAD.root).decode()}\n"
    with pytest.raises(ArchiveDiffers, match="tells no size and root"):
        open_checkpoint(f"{text}\n{signer.sign(text)}", signer.verifier)


@pytest.mark.parametrize(
    "root", ["", "AAAA", base64.b64encode(bytes(33)).decode(), base64.b64encode(bytes(32)).decode()[:-1]]
)
def test_an_odd_root_is_refused_although_it_is_signed(signer: Signer, root: str) -> None:
    text = f"{signer.name}\n1\n{root}\n"
    with pytest.raises(ArchiveDiffers, match="tells no size and root"):
        open_checkpoint(f"{text}\n{signer.sign(text)}", signer.verifier)


def test_another_key_of_the_same_name_is_refused(signer: Signer) -> None:
    other = new_signer(signer.name)
    with pytest.raises(ArchiveDiffers, match=f"not signed by the key of {signer.name}"):
        open_checkpoint(sign_checkpoint(HEAD, other), signer.verifier)
    claimed = sign_checkpoint(HEAD, other).splitlines()
    raw = base64.b64decode(claimed[-1].rpartition(" ")[2])
    forged = base64.b64encode(signer.verifier.key_id + raw[4:]).decode()
    with pytest.raises(ArchiveDiffers, match=r"signature by log\.example/archive is wrong"):
        open_checkpoint("\n".join([*claimed[:-1], f"— {signer.name} {forged}", ""]), signer.verifier)


def test_our_key_under_another_name_is_another_key(signer: Signer) -> None:
    renamed = VerifierKey("other", signer.verifier.public)
    with pytest.raises(ArchiveDiffers, match="not signed by the key of other"):
        open_checkpoint(sign_checkpoint(HEAD, signer), renamed)


def test_signatures_of_witnesses_do_not_matter(signer: Signer) -> None:
    checkpoint = sign_checkpoint(HEAD, signer)
    text, _, line = checkpoint.rpartition("\n\n")
    witness = new_signer("witness.example")
    signed = [witness.sign(text + "\n"), "— other.example AAAAAAAAAAAA\n", line]
    assert open_checkpoint(f"{text}\n\n{''.join(signed)}", signer.verifier) == HEAD
    wrong = signer.sign("something else\n")
    with pytest.raises(ArchiveDiffers, match="is wrong"):
        open_checkpoint(f"{checkpoint}{wrong}", signer.verifier)


def test_lines_that_extend_a_checkpoint_are_allowed_if_they_are_signed(signer: Signer) -> None:
    text = sign_checkpoint(HEAD, signer).rpartition("\n\n")[0] + "\nmore\n"
    assert open_checkpoint(f"{text}\n{signer.sign(text)}", signer.verifier) == HEAD


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "a+b",
        "example.com/foo+530d903a",
        SPECIFIED_KEY[:-1],
        SPECIFIED_KEY + "A",
        SPECIFIED_KEY.replace("530d903a", "530d903b"),
        SPECIFIED_KEY.replace("530d903a", "530D903A"),
        SPECIFIED_KEY.replace("/foo", "/bar"),
        SPECIFIED_KEY.replace("/foo", " foo"),
        SPECIFIED_KEY.replace("+Aek", "+Bek"),
        SPECIFIED_KEY + "\n",
        "+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "é" + SPECIFIED_KEY,
    ],
)
def test_what_is_no_verifier_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="verifier key"):
        VerifierKey.parse(text)
