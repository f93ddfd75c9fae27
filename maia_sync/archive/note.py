"""Who has signed a tree head? Signed notes and checkpoints (C2SP signed-note, tlog-checkpoint), as text.

A checkpoint is three lines (origin, size, root), an empty line, and signature lines. The origin is the name
of the log's key. Signatures by others (witnesses) may stand beside the log's own: they are not looked at.
"""

from __future__ import annotations

import base64
import hashlib
import re
import unicodedata
from typing import TYPE_CHECKING, Final, NamedTuple

from maia_sync.archive.ed25519 import is_signed, public_bytes
from maia_sync.archive.merkle import HASH_BYTES, TreeHead
from maia_sync.errors import ArchiveDiffers

if TYPE_CHECKING:
    from maia_sync.archive.ed25519 import PrivateKey

_ED25519: Final = b"\x01"
_LONGEST_NOTE: Final = 100_000
_LONGEST_NAME: Final = 200
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,17}")
_SIGNATURE: Final = re.compile(r"— (?P<name>[^ +]+) (?P<signature>[A-Za-z0-9+/]+=*)")


class VerifierKey(NamedTuple):
    """A log's name and public key; its text is a C2SP verifier key."""

    name: str
    public: bytes

    @property
    def key_id(self) -> bytes:
        """The four bytes that say in a signature by which key it is."""
        return hashlib.sha256(self.name.encode() + b"\n" + _ED25519 + self.public).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{_base64(_ED25519 + self.public)}"

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """Return the key that a text names. Raises ValueError, with a sentence, if it names none."""
        name, *parts = text.split("+", 2)
        if len(parts) != 2:
            raise ValueError("a verifier key has three parts, joined by +: name, key id and key")
        if not is_name(name):
            raise ValueError("the name in the verifier key is empty, too long, or has spaces in it")
        material = _unbase64(parts[1])
        if material is None or material[:1] != _ED25519 or len(material) != 33:
            raise ValueError("the verifier key is cut short or altered, or is not an Ed25519 key")
        key = cls(name, material[1:])
        if key.key_id.hex() != parts[0]:
            raise ValueError("the verifier key is altered: its id does not belong to its name and key")
        return key


class Signer:
    """The private key of a log, with the log's name."""

    def __init__(self, name: str, key: PrivateKey) -> None:
        self._key = key
        self.verifier = VerifierKey(name, public_bytes(key))

    @property
    def name(self) -> str:
        """The log's origin."""
        return self.verifier.name

    def sign(self, text: str) -> str:
        """Return a signature line for a text; both end with a newline."""
        signature = self.verifier.key_id + self._key.sign(text.encode())
        return f"— {self.name} {_base64(signature)}\n"


def is_name(name: str) -> bool:
    """Tell whether a key may have this name."""
    fine = all(letter != "+" and unicodedata.category(letter)[0] not in "ZC" for letter in name)
    return fine and 0 < len(name) <= _LONGEST_NAME


def sign_checkpoint(head: TreeHead, signer: Signer) -> str:
    """Return a signed checkpoint."""
    text = f"{signer.name}\n{head.size}\n{_base64(head.root)}\n"
    return f"{text}\n{signer.sign(text)}"


def open_checkpoint(checkpoint: str | bytes, key: VerifierKey) -> TreeHead:
    """Return what a checkpoint says. Raises ArchiveDiffers unless this key has signed it."""
    text, signatures = _open_note(checkpoint)
    ours = [
        signature[4:] for name, signature in signatures if (name, signature[:4]) == (key.name, key.key_id)
    ]
    if not ours:
        raise ArchiveDiffers(f"the checkpoint is not signed by the key of {key.name} (id {key.key_id.hex()})")
    if not all(is_signed(key.public, signature, text.encode()) for signature in ours):
        raise ArchiveDiffers(
            f"the checkpoint's signature by {key.name} is wrong: the checkpoint has been altered"
        )
    origin, size, root, *_ = [*text.split("\n"), "", ""]
    decoded = _unbase64(root)
    if origin != key.name:
        raise ArchiveDiffers(f"the checkpoint is of another log: {origin}")
    if not _SIZE.fullmatch(size) or decoded is None or len(decoded) != HASH_BYTES:
        raise ArchiveDiffers("the checkpoint is malformed: it tells no size and root")
    return TreeHead(int(size), decoded)


def is_checkpoint(content: bytes) -> bool:
    """Tell whether this looks like a checkpoint, whoever has signed it and whether or not it was altered."""
    _, size, root, *_ = [*content.decode(errors="replace").split("\n"), "", ""]
    decoded = _unbase64(root)
    return bool(_SIZE.fullmatch(size)) and decoded is not None and len(decoded) == HASH_BYTES


def text_of_root(root: bytes) -> str:
    """Return a root as checkpoints tell it."""
    return _base64(root)


class SignedBy(NamedTuple):
    """By which key a checkpoint says that it is signed; nothing is verified."""

    name: str
    key_id: bytes

    def __str__(self) -> str:
        return f"{self.name} (id {self.key_id.hex()})"


def log_key_of(checkpoint: str | bytes) -> SignedBy | None:
    """Return which key of its own log a checkpoint names as its signer; None if it names none."""
    try:
        text, signatures = _open_note(checkpoint)
    except ArchiveDiffers:
        return None
    origin = text.partition("\n")[0]
    return next((SignedBy(name, signature[:4]) for name, signature in signatures if name == origin), None)


def _open_note(note: str | bytes) -> tuple[str, list[tuple[str, bytes]]]:
    """Return a note's text, and its signatures by name; nothing is verified yet."""
    try:
        whole = note.decode() if isinstance(note, bytes) else note
        whole.encode()
    except UnicodeError as error:
        raise ArchiveDiffers("the checkpoint is malformed: it is no text") from error
    text, cut, lines = whole.rpartition("\n\n")
    if len(whole) > _LONGEST_NOTE or not cut or not lines.endswith("\n"):
        raise ArchiveDiffers("the checkpoint is malformed: it is no signed note")
    if any(ord(letter) < 32 and letter != "\n" for letter in whole):
        raise ArchiveDiffers("the checkpoint is malformed: control characters stand in it")
    signatures = []
    for line in lines[:-1].split("\n"):
        match = _SIGNATURE.fullmatch(line)
        signature = match and _unbase64(match["signature"])
        if not match or not signature or len(signature) < 5 or not is_name(match["name"]):
            raise ArchiveDiffers("the checkpoint is malformed: one of its signature lines cannot be read")
        signatures.append((match["name"], signature))
    return text + "\n", signatures


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _unbase64(text: str) -> bytes | None:
    """Return the bytes, or None if the text is not just as `_base64` would write it."""
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        return None
    return raw if _base64(raw) == text else None
