"""How is something signed, and a signature checked? Ed25519 (RFC 8032), by the library `cryptography`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast

from maia_sync.errors import ArchiveError

if TYPE_CHECKING:
    from types import ModuleType

MISSING = "the archive needs more packages: pip install 'maia-sync[archive]'"


class PrivateKey(Protocol):
    """A key that signs; never shown."""

    def sign(self, data: bytes) -> bytes:
        """Return the signature of these bytes: 64 bytes."""
        ...


def require_cryptography() -> None:
    """Raise ArchiveError, with the command that helps, unless signatures can be made and checked."""
    _curve()


def make_private_key() -> tuple[PrivateKey, bytes]:
    """Return a new key, and as PEM (PKCS #8)."""
    key = _curve().Ed25519PrivateKey.generate()
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - an extra, and slow to load

    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return key, pem


def decode_private_key(pem: bytes) -> PrivateKey:
    """Return the key of a PEM file. Raises ValueError if there is no Ed25519 key in it."""
    curve = _curve()
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    try:
        key = load_pem_private_key(pem, password=None)
    except (TypeError, UnsupportedAlgorithm) as error:
        raise ValueError("the key is encrypted, or of a kind that is not known") from error
    if not isinstance(key, curve.Ed25519PrivateKey):
        raise ValueError("the key is not an Ed25519 key")  # noqa: TRY004 - what is wrong is in the file
    return cast("PrivateKey", key)


def public_bytes(key: PrivateKey) -> bytes:
    """Return the 32 bytes of the public key."""
    return cast("bytes", key.public_key().public_bytes_raw())  # type: ignore[attr-defined]


def is_signed(public: bytes, signature: bytes, text: bytes) -> bool:
    """Tell whether this is the signature of these bytes by the key with this public half."""
    curve = _curve()
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415

    try:
        curve.Ed25519PublicKey.from_public_bytes(public).verify(signature, text)
    except (InvalidSignature, ValueError):
        return False
    return True


def _curve() -> ModuleType:
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ArchiveError(MISSING) from error
    return ed25519
