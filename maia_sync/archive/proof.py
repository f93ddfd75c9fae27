"""What proves one entry to somebody who has nothing but a file and the log's key? A C2SP tlog-proof, as text.

It holds the way from the entry's hash up to the root, and the checkpoint that signs the root. The entry
itself stands in its extra data, which nothing signs but that way: JSON `{"entry": .., "salt": .., "payload":
..}`, the entry as text, the salt in hex, the payload in base64; the last two may be left out.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final, NamedTuple

import msgspec

from maia_sync.archive.entry import SALT_BYTES, Entry, decode_entry, payload_hash
from maia_sync.archive.finding import counted
from maia_sync.archive.merkle import HASH_BYTES, TreeHead, leaf_hash, verify_inclusion
from maia_sync.archive.note import VerifierKey, open_checkpoint
from maia_sync.errors import ArchiveDiffers

_HEADING: Final = "c2sp.org/tlog-proof@v1"
_BEFORE_EXTRA: Final = f"{_HEADING}\nextra "
_LONGEST_NUMBER: Final = 18
_LONGEST_WAY: Final = 8_192
_HIGHEST_TREE: Final = 64
_BROKEN: Final = "this is no proof that `archive prove` has made, or it has been altered"


class Proof(NamedTuple):
    """One proof, as it stands in its file; nothing of it is verified yet."""

    number: int
    """The entry's index in the log."""
    path: tuple[bytes, ...]
    checkpoint: str
    entry: bytes
    salt: bytes | None = None
    payload: bytes | None = None


class Proven(NamedTuple):
    """What a proof has proven."""

    head: TreeHead
    number: int
    entry: Entry
    payload: bytes | None
    """The payload that the entry binds; None if it has none, or the proof was made without."""


class _Extra(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    entry: str
    salt: str | None = None
    payload: bytes | None = None
    """In base64: it may be large, so there are as few copies of it in memory as can be."""


def encode_proof(proof: Proof) -> str:
    """Return the text of a proof's file."""
    extra = _Extra(proof.entry.decode(), None if proof.salt is None else proof.salt.hex(), proof.payload)
    told = msgspec.json.encode(extra)
    told = base64.b64encode(told)  # each step forgets the one before
    text = told.decode()
    del told
    return "".join((_BEFORE_EXTRA, text, "\n", _way(proof), "\n\n", proof.checkpoint))


def _way(proof: Proof) -> str:
    return "\n".join((f"index {proof.number}", *map(_base64, proof.path)))


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def decode_proof(text: str | bytes) -> Proof:
    """Return the proof that a file holds. Raises ArchiveDiffers if `encode_proof` has not written it."""
    try:
        return _decode(text.encode() if isinstance(text, str) else text)
    except (ValueError, RecursionError) as error:
        raise ArchiveDiffers(_BROKEN) from error


def is_proof(content: bytes) -> bool:
    """Tell whether `encode_proof` has written this."""
    try:
        decode_proof(content)
    except ArchiveDiffers:
        return False
    return True


def _decode(content: bytes) -> Proof:
    """Return the proof. Raises ValueError for what is not just as `encode_proof` would write it."""
    begin = len(_BEFORE_EXTRA)
    end, blank = content.find(b"\n", begin), content.find(b"\n\n", begin)
    if content[:begin] != _BEFORE_EXTRA.encode() or not begin < end < blank < end + _LONGEST_WAY:
        raise ValueError(_BROKEN)
    way = content[end + 1 : blank].decode()
    index, *path = way.split("\n")
    told = _decode_extra(memoryview(content)[begin:end])
    proof = Proof(
        int(index.removeprefix("index ")[:_LONGEST_NUMBER]),
        tuple(base64.b64decode(each) for each in path),
        content[blank + 2 :].decode(),
        told.entry.encode(),
        None if told.salt is None else bytes.fromhex(told.salt),
        told.payload,
    )
    salt = None if proof.salt is None else proof.salt.hex()
    if proof.number < 0 or len(path) > _HIGHEST_TREE or _way(proof) != way or salt != told.salt:
        raise ValueError(_BROKEN)
    return proof


def _decode_extra(text: memoryview) -> _Extra:
    decoded = binascii.a2b_base64(text, strict_mode=True)
    last = decoded[-(len(decoded) % 3 or 3) :]
    told = msgspec.json.decode(decoded, type=_Extra)
    if base64.b64encode(last) != text[-4:] or msgspec.json.encode(told) != decoded:
        raise ValueError(_BROKEN)
    return told


def check_proof(proof: Proof, key: VerifierKey) -> Proven:
    """Return what a proof proves. Raises ArchiveDiffers, with a sentence, if it proves nothing."""
    head = open_checkpoint(proof.checkpoint, key)
    if any(len(each) != HASH_BYTES for each in proof.path):
        raise ArchiveDiffers(_BROKEN)
    if not verify_inclusion(leaf_hash(proof.entry), proof.number, head, proof.path):
        raise ArchiveDiffers(
            f"the proof is wrong: this entry does not stand at {proof.number} in the log of "
            f"{counted(head.size, 'entry')} that the checkpoint signs"
        )
    try:
        entry = decode_entry(proof.entry)
    except ValueError as error:
        raise ArchiveDiffers(
            "the proof's entry is in the log, but it cannot be read by this version"
        ) from error
    return Proven(head, proof.number, entry, _bound_payload(proof, entry))


def _bound_payload(proof: Proof, entry: Entry) -> bytes | None:
    if proof.payload is None:
        return None
    salt = proof.salt or b""
    if len(salt) != SALT_BYTES or payload_hash(salt, proof.payload) != entry.payload:
        raise ArchiveDiffers(
            "the payload in the proof is not the one that its entry binds: it has been altered"
        )
    return proof.payload
