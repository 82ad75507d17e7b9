"""BLAKE3 on all cores, where that is safe: a forked child has none of its parent's threads to wait for."""

from __future__ import annotations

import os
from typing import Any

from blake3 import blake3

_GAINS = 1 << 20  # bytes from which on several cores are faster than one
_threads = blake3.AUTO


def hasher(size: int) -> Any:
    """A BLAKE3 hasher for *size* bytes; it has ``update``, ``update_mmap`` and ``digest``."""
    return blake3(max_threads=_threads if size > _GAINS else 1)


def digest_of(buffer: Any) -> bytes:
    """The 128-bit digest of a buffer."""
    digest: bytes = hasher(memoryview(buffer).nbytes).update(buffer).digest(16)
    return digest


def _alone() -> None:
    global _threads
    _threads = 1


os.register_at_fork(after_in_child=_alone)
