"""Does a proof prove its entry, offline, and nothing that has been altered?"""

from __future__ import annotations

import base64
import json
import random
from datetime import UTC, datetime
from itertools import count

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_place import MemoryPlace

from maia_sync.archive.ed25519 import make_private_key
from maia_sync.archive.entry import encode_entry, entry_of, payload_hash
from maia_sync.archive.log_reader import LogReader
from maia_sync.archive.log_writer import LogWriter
from maia_sync.archive.note import Signer, sign_checkpoint
from maia_sync.archive.proof import Proof, check_proof, decode_proof, encode_proof
from maia_sync.errors import ArchiveDiffers
from maia_sync.store.archived import Record

SIGNER = Signer("log.example", make_private_key()[0])
SALT = bytes(range(32))
PAYLOAD = '{"text": "Zoë"}'.encode()
RECORD = Record(
    type="event",
    received_at=datetime(2026, 11, 26, 11, 12, 13, tzinfo=UTC),
    task_id="0190a1b2-0000-7000-8000-000000000000",
    group_id="gruppe é",
    timestamp=1,
    ordinal=0,
    revision=0,
    data=PAYLOAD.decode(),
)
ENTRY = encode_entry(entry_of(RECORD, payload_hash(SALT, PAYLOAD)))


def make_proof(number: int = 700, size: int = 1000) -> Proof:
    place = MemoryPlace()
    writer = LogWriter.open(place, None)
    writer.append([b"%d" % each for each in range(number)])
    writer.append([ENTRY])
    writer.append([b"%d" % each for each in range(number + 1, size)])
    head = writer.finish()
    path = LogReader(place, head).inclusion_path(number)
    return Proof(number, tuple(path), sign_checkpoint(head, SIGNER), ENTRY, SALT, PAYLOAD)


PROOF = make_proof()


@pytest.mark.parametrize(("number", "size"), [(0, 1), (0, 2), (1, 2), (255, 257), (256, 257), (700, 1000)])
def test_a_proof_proves_its_entry_and_payload(number: int, size: int) -> None:
    proof = make_proof(number, size)
    text = encode_proof(proof)
    assert decode_proof(text) == decode_proof(text.encode()) == proof
    proven = check_proof(decode_proof(text), SIGNER.verifier)
    assert (proven.number, proven.head.size, proven.payload) == (number, size, PAYLOAD)
    assert proven.entry == entry_of(RECORD, payload_hash(SALT, PAYLOAD))


def test_it_is_written_as_the_specification_has_it() -> None:
    first, extra, index, *path = encode_proof(PROOF).split("\n\n")[0].split("\n")
    assert (first, index, len(path)) == ("c2sp.org/tlog-proof@v1", "index 700", 10)
    assert [base64.b64decode(each) for each in path] == [*PROOF.path]
    assert json.loads(base64.b64decode(extra.removeprefix("extra "))) == {
        "entry": ENTRY.decode(),
        "salt": SALT.hex(),
        "payload": base64.b64encode(PAYLOAD).decode(),
    }
    assert encode_proof(PROOF).endswith(f"\n\n{PROOF.checkpoint}")


def test_without_the_payload_the_entry_alone_is_proven() -> None:
    for proof in (PROOF._replace(payload=None, salt=None), PROOF._replace(payload=None)):
        text = encode_proof(proof)
        assert base64.b64encode(PAYLOAD)[:10].decode() not in base64.b64decode(text.split()[2]).decode()
        assert check_proof(decode_proof(text), SIGNER.verifier).payload is None


def test_every_flipped_byte_is_seen() -> None:
    whole = encode_proof(PROOF).encode()
    chance = random.Random(1)
    for place in range(len(whole)):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << chance.randrange(8)
        with pytest.raises(ArchiveDiffers):
            check_proof(decode_proof(bytes(flipped)), SIGNER.verifier)
        with pytest.raises(ArchiveDiffers):
            check_proof(decode_proof(whole[:place]), SIGNER.verifier)


ALTERED = [
    (PROOF._replace(entry=ENTRY.replace(b"gruppe", b"gruppf")), "does not stand at 700"),
    (PROOF._replace(number=701), "does not stand at 701"),
    (PROOF._replace(number=10**17), "does not stand at"),
    (PROOF._replace(path=PROOF.path[:-1]), "does not stand at 700"),
    (PROOF._replace(path=(*PROOF.path, bytes(32))), "does not stand at 700"),
    (PROOF._replace(path=(b"short", *PROOF.path[1:])), "no proof"),
    (PROOF._replace(payload=PAYLOAD + b" "), "the payload in the proof is not the one"),
    (PROOF._replace(salt=bytes(32)), "the payload in the proof is not the one"),
    (PROOF._replace(salt=None), "the payload in the proof is not the one"),
    (PROOF._replace(salt=SALT[:-1], payload=SALT[-1:] + PAYLOAD), "the payload in the proof is not the one"),
    (PROOF._replace(checkpoint=make_proof(1, 2).checkpoint), "does not stand at 700"),
]


@pytest.mark.parametrize(("proof", "sentence"), ALTERED, ids=count())
def test_an_altered_proof_proves_nothing(proof: Proof, sentence: str) -> None:
    with pytest.raises(ArchiveDiffers, match=sentence):
        check_proof(decode_proof(encode_proof(proof)), SIGNER.verifier)


def test_a_checkpoint_by_another_key_proves_nothing() -> None:
    with pytest.raises(ArchiveDiffers, match=r"not signed by the key of log\.example"):
        check_proof(PROOF, Signer("log.example", make_private_key()[0]).verifier)


def test_an_entry_that_this_version_cannot_read_is_not_taken_for_one() -> None:
    place = MemoryPlace()
    writer = LogWriter.open(place, None)
    writer.append([b"[]"])
    proof = Proof(0, (), sign_checkpoint(writer.finish(), SIGNER), b"[]")
    with pytest.raises(ArchiveDiffers, match="cannot be read by this version"):
        check_proof(decode_proof(encode_proof(proof)), SIGNER.verifier)


def encoded_extra(extra: object) -> str:
    return encode_proof(PROOF).replace(
        encode_proof(PROOF).split("\n")[1], "extra " + base64.b64encode(msgspec.json.encode(extra)).decode()
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        b"\xff",
        "c2sp.org/tlog-proof@v1\n",
        PROOF.checkpoint,
        encode_proof(PROOF).replace("@v1", "@v2"),
        encode_proof(PROOF).replace("index 700", "index 0700"),
        encode_proof(PROOF).replace("index 700", "index -1"),
        encode_proof(PROOF).replace("index 700", "index " + "7" * 5000),
        encode_proof(PROOF).replace("index 700", "index 7\u0660\u0660"),
        encode_proof(PROOF).replace("extra ", ""),
        encode_proof(PROOF).replace("\nextra ", "\nextra  "),
        encode_proof(PROOF).replace("\n", "\r\n"),
        encode_proof(PROOF._replace(path=PROOF.path * 7)),
        encoded_extra([]),
        encoded_extra({}),
        encoded_extra({"entry": 1}),
        encoded_extra({"entry": ENTRY.decode(), "more": 1}),
        encoded_extra({"entry": ENTRY.decode(), "salt": SALT.hex().upper()}),
        encoded_extra({"entry": ENTRY.decode(), "salt": "x"}),
        encoded_extra({"entry": ENTRY.decode(), "payload": "x"}),
    ],
    ids=count(),
)
def test_what_is_no_proof_is_refused(text: str | bytes) -> None:
    with pytest.raises(ArchiveDiffers, match="no proof"):
        decode_proof(text)


@settings(max_examples=100)
@given(st.binary() | st.text().map("c2sp.org/tlog-proof@v1\n{}".format))
def test_junk_is_refused_with_a_sentence(junk: str | bytes) -> None:
    with pytest.raises(ArchiveDiffers):
        decode_proof(junk)


@given(st.text(max_size=50), st.none() | st.binary(max_size=40), st.none() | st.binary(max_size=200))
def test_any_proof_is_read_as_it_was_written(entry: str, salt: bytes | None, payload: bytes | None) -> None:
    proof = Proof(3, (bytes(32),), "any\ntext", entry.encode(), salt, payload)
    assert decode_proof(encode_proof(proof)) == proof
