"""The parts of a blob as one file, for clients that read what they send."""

from __future__ import annotations

from collections.abc import Sequence

from beautyspot.protocols import Buffer


class PartsFile:
    """A read-only file over buffers that lie one after the other."""

    def __init__(self, parts: Sequence[Buffer]) -> None:
        views = [memoryview(part) for part in parts]
        self._parts = [view.cast("B") for view in views if view.nbytes]
        self.size = sum(part.nbytes for part in self._parts)
        self._at = 0

    def read(self, amount: int | None = None) -> bytes:
        """The next *amount* bytes, or all that are left."""
        stop = self.size if amount is None or amount < 0 else min(self._at + amount, self.size)
        pieces, begin = [], 0
        for part in self._parts:
            end = begin + part.nbytes
            if begin < stop and end > self._at:
                pieces.append(part[max(self._at - begin, 0) : stop - begin])
            begin = end
        self._at = max(self._at, stop)
        return b"".join(pieces)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to *offset*, counted from the beginning, from here or from the end."""
        self._at = (0, self._at, self.size)[whence] + offset
        return self._at

    def tell(self) -> int:
        """Where the next byte is read."""
        return self._at

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True
