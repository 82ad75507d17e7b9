"""How the payload of a map reaches its workers: with each chunk if it is small, through shared memory if it is large.

A large payload is written once, and each worker maps it into its memory: arrays that the task captured or that are
fixed in all calls are neither copied nor sent with each chunk. A worker's changes stay its own. A worker on another
machine cannot open the memory and says so; it gets the payload whole then.
"""

from __future__ import annotations

import mmap
import os
import pickle
import tempfile
import uuid
from collections.abc import Callable
from typing import IO, Any

_LARGE = 1 << 20  # bytes from which a payload is shared
_ALIGNED = 64
_INLINE, _SHARED = b"i", b"s"


class PayloadUnreachable(Exception):
    """The worker cannot open the memory of a payload: it runs on another machine, or as another user."""


class SharedPayload:
    """A payload as it is sent to workers.

    Args:
        dump: Pickles the payload; its argument takes the contents of arrays, or is ``None`` to pickle them too.
        inline: Whether it is sent whole.

    Attributes:
        message: What is sent with each chunk.
    """

    def __init__(self, dump: Callable[[Callable[[pickle.PickleBuffer], object] | None], bytes], inline: bool) -> None:
        self._file: IO[bytes] | None = None
        buffers: list[pickle.PickleBuffer] = []
        data = dump(buffers.append)
        if inline or len(data) + sum(buffer.raw().nbytes for buffer in buffers) < _LARGE:
            self.message = _INLINE + (dump(None) if buffers else data)
        else:
            self.message = _SHARED + self._write(data, buffers)

    def _write(self, data: bytes, buffers: list[pickle.PickleBuffer]) -> bytes:
        self._file, path = _shared_file()
        spans: list[tuple[int, int]] = []
        for part in (memoryview(data), *(buffer.raw() for buffer in buffers)):
            start = -(-self._file.tell() // _ALIGNED) * _ALIGNED
            self._file.seek(start)
            self._file.write(part)
            spans.append((start, part.nbytes))
        self._file.flush()
        # The number of a file may come back with another one.
        return pickle.dumps((path, spans, uuid.uuid4().hex))

    def close(self) -> None:
        """Give the memory back: workers that have mapped it keep it."""
        if self._file is not None:
            self._file.close()


def _shared_file() -> tuple[IO[bytes], str]:
    """A new file in memory where the system has such, and the path by which other processes open it."""
    if hasattr(os, "memfd_create"):  # it ends with this process, however that ends
        file = os.fdopen(os.memfd_create("beautyspot"), "wb")
        return file, f"/proc/{os.getpid()}/fd/{file.fileno()}"
    named = tempfile.NamedTemporaryFile(prefix="beautyspot-")  # noqa: SIM115 - `close` closes and removes it
    return named, named.name


def opened(message: bytes) -> Any:
    """The payload of a message.

    Raises:
        PayloadUnreachable: If it is in the memory of another machine.
        Exception: What unpickling raises.
    """
    if message[:1] == _INLINE:
        return pickle.loads(message[1:])  # noqa: S301 - from our own caller, never from an index
    path, spans, _ = pickle.loads(message[1:])  # noqa: S301 - as above
    try:
        with open(path, "rb") as file:
            memory = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
    except OSError as cause:
        raise PayloadUnreachable(str(cause)) from None
    data, *buffers = [memory[start : start + size] for start, size in spans]
    return pickle.loads(data, buffers=buffers)  # noqa: S301 - as above
