"""What proves one entry to somebody who has nothing but a file and the log's key? A C2SP tlog-proof, as text.

It holds the way from the entry's hash up to the root, and the checkpoint that signs the root. The entry
itself stands in its extra data, which nothing signs but that way: JSON `{"entry": .., "salt": .., "payload":
..}`, the entry as text, the salt in hex, the payload in base64; the last two may be left out.
"""

from __future__ import annotations

import base64
from typing import Final, NamedTuple

import msgspec

from maia_sync.archive.entry import SALT_BYTES, Entry, decode_entry, payload_hash
from maia_sync.archive.merkle import HASH_BYTES, TreeHead, leaf_hash, verify_inclusion
from maia_sync.archive.note import VerifierKey, open_checkpoint
from maia_sync.errors import ArchiveDiffers

_HEADING: Final = "c2sp.org/tlog-proof@v1"
_LONGEST_NUMBER: Final = 18
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
    payload: str | None = None


def encode_proof(proof: Proof) -> str:
    """Return the text of a proof's file."""
    extra = _Extra(
        proof.entry.decode(),
        None if proof.salt is None else proof.salt.hex(),
        None if proof.payload is None else base64.b64encode(proof.payload).decode(),
    )
    lines = [
        _HEADING,
        f"extra {base64.b64encode(msgspec.json.encode(extra)).decode()}",
        f"index {proof.number}",
        *(base64.b64encode(each).decode() for each in proof.path),
        "",
        proof.checkpoint,
    ]
    return "\n".join(lines)


def decode_proof(text: str | bytes) -> Proof:
    """Return the proof that a file holds. Raises ArchiveDiffers if `encode_proof` has not written it."""
    try:
        whole = text.decode() if isinstance(text, bytes) else text
        proof = _decode(whole)
    except ValueError as error:
        raise ArchiveDiffers(_BROKEN) from error
    if proof.number < 0 or len(proof.path) > _HIGHEST_TREE or encode_proof(proof) != whole:
        raise ArchiveDiffers(_BROKEN)
    return proof


def _decode(text: str) -> Proof:
    above, _, checkpoint = text.partition("\n\n")
    _, extra, index, *path = above.split("\n")
    number = index.removeprefix("index ")[:_LONGEST_NUMBER]
    told = msgspec.json.decode(base64.b64decode(extra.removeprefix("extra ")), type=_Extra)
    return Proof(
        int(number),
        tuple(base64.b64decode(each) for each in path),
        checkpoint,
        told.entry.encode(),
        None if told.salt is None else bytes.fromhex(told.salt),
        None if told.payload is None else base64.b64decode(told.payload),
    )


def check_proof(proof: Proof, key: VerifierKey) -> Proven:
    """Return what a proof proves. Raises ArchiveDiffers, with a sentence, if it proves nothing."""
    head = open_checkpoint(proof.checkpoint, key)
    if any(len(each) != HASH_BYTES for each in proof.path):
        raise ArchiveDiffers(_BROKEN)
    if not verify_inclusion(leaf_hash(proof.entry), proof.number, head, proof.path):
        raise ArchiveDiffers(
            f"the proof is wrong: this entry does not stand at {proof.number} in the log of {head.size} "
            "entries that the checkpoint signs"
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
