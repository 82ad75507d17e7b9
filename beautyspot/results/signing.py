"""Seal: what a project with a secret puts on its results, and looks for before it takes one for its own.

A blob is known by its keyed BLAKE3 digest. A row has one over all that a hit gives: its key, its value or its blob's
digest, its size, expiry and code. So nobody without the secret can make a result, change one, or pass one call's for
another's. Not covered: what viewers list, where a blob lies, and that a result is gone or an older one is back.
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
_CONTEXT = "beautyspot 2026-11-25 kept results"  # tells our key apart from any other made of the same secret


class Signer:
    """Signs entries, and tells those that were signed.

    Args:
        secret: At least 16 bytes that nobody can guess, such as those of ``secrets.token_hex(32)``.

    Raises:
        ConfigurationError: If it is too short, or neither text nor bytes.
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
        """A hasher for a blob of *size* bytes, whose digest nobody else can make."""
        return hasher(size, self._key)

    def signed(self, key: bytes, entry: Entry) -> Entry:
        """*entry* with a signature after its checksum."""
        return entry._replace(checksum=entry.checksum + self._signature(key, entry))

    def verified(self, key: bytes, entry: Entry) -> Entry | None:
        """*entry* without its signature; ``None`` where that is not ours."""
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
    """The seal of a secret, where there is one."""
    return None if secret is None else Signer(secret)


def without_signature(entry: Entry) -> Entry:
    """*entry* with its bare checksum, whatever signed it."""
    return entry._replace(checksum=entry.checksum[:-_LENGTH]) if is_signed(entry) else entry


def is_signed(entry: Entry) -> bool:
    """Whether *entry* looks as if some secret had signed it."""
    return len(entry.checksum) == (4 if entry.value is not None else 16) + _LENGTH
