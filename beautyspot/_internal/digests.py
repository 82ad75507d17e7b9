"""BLAKE3 digests, on all cores except in a forked child, which lacks the threads of its parent's pool."""

from __future__ import annotations

from typing import Any

from blake3 import blake3

from beautyspot._internal.fork_safety import after_fork_in_child

_GAINS = 1 << 20  # bytes from which on several cores are faster than one
_threads = blake3.AUTO


def hasher(size: int, key: bytes | None = None) -> Any:
    """A BLAKE3 hasher for *size* bytes, with a *key* or without; it has ``update``, ``update_mmap`` and ``digest``."""
    threads = _threads if size > _GAINS else 1
    return blake3(max_threads=threads) if key is None else blake3(key=key, max_threads=threads)


def digest_of(buffer: Any) -> bytes:
    """The 128-bit digest of a buffer."""
    digest: bytes = hasher(memoryview(buffer).nbytes).update(buffer).digest(16)
    return digest


def _use_one_thread() -> None:
    global _threads
    _threads = 1


after_fork_in_child(_use_one_thread)
