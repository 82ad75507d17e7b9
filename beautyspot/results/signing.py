"""Signer: signs the results of a project that has a secret, and verifies them before they are used.

The checksum of a signed blob is a keyed BLAKE3 digest. The signature of an entry is one over all that a hit uses: the
key, the value or the blob's digest, the size, the expiry and the code. So nobody without the secret can make a result,
change one, or pass one call's result for another's. Not covered: what viewers list, where a blob is stored, and that a
result was deleted or replaced by an older one.
"""

from __future__ import annotations

import hmac
from typing import Any

import msgpack
from blake3 import blake3

from beautyspot._internal.digests import hasher
from beautyspot.errors import ConfigurationError
from beautyspot.protocols.index import Entry

_LENGTH = 16  # bytes of a signature
_MIN_SECRET = 16  # bytes of a secret
_CONTEXT = "beautyspot 2026-11-25 kept results"  # keeps the key apart from others derived from the same secret


class Signer:
    """Signs entries, and verifies signatures.

    Args:
        secret: At least 16 bytes that nobody can guess, such as those of ``secrets.token_hex(32)``.

    Raises:
        ConfigurationError: If the secret is too short, or neither text nor bytes.
    """

    def __init__(self, secret: str | bytes) -> None:
        if not isinstance(secret, str | bytes):
            raise ConfigurationError(f"secret is a text or bytes, not {type(secret).__name__}")
        self.secret = secret
        data = secret.encode() if isinstance(secret, str) else secret
        if len(data) < _MIN_SECRET:
            raise ConfigurationError(
                f"secret has {len(data)} bytes, and a short one can be guessed: at least {_MIN_SECRET}, such as those "
                "of secrets.token_hex(32)"
            )
        self._key = blake3(data, derive_key_context=_CONTEXT).digest()

    def __repr__(self) -> str:
        return "Signer(…)"

    def hasher(self, size: int) -> Any:
        """A hasher for a blob of *size* bytes; its digest cannot be made without the secret."""
        return hasher(size, self._key)

    def signed(self, key: bytes, entry: Entry) -> Entry:
        """*entry* with its signature appended to the checksum."""
        return entry._replace(checksum=entry.checksum + self._signature(key, entry))

    def verified(self, key: bytes, entry: Entry) -> Entry | None:
        """*entry* without its signature; ``None`` if that was not made with this secret."""
        bare = entry._replace(checksum=entry.checksum[:-_LENGTH])
        if hmac.compare_digest(self._signature(key, bare), entry.checksum[-_LENGTH:]):
            return bare
        return None

    def _signature(self, key: bytes, entry: Entry) -> bytes:
        packer = msgpack.Packer()
        packed: bytes = packer.pack((key, entry.value, entry.checksum, entry.size, entry.expires, entry.code)) or b""
        signature: bytes = blake3(packed, key=self._key).digest(_LENGTH)
        return signature


def signer_for(secret: str | bytes | None) -> Signer | None:
    """The signer for *secret*; ``None`` without a secret."""
    return None if secret is None else Signer(secret)


def without_signature(entry: Entry) -> Entry:
    """*entry* with its bare checksum, whatever signed it."""
    return entry._replace(checksum=entry.checksum[:-_LENGTH]) if is_signed(entry) else entry


def is_signed(entry: Entry) -> bool:
    """Whether *entry* has a signature, made with whatever secret."""
    return len(entry.checksum) == (4 if entry.value is not None else 16) + _LENGTH
