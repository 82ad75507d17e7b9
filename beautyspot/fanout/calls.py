"""What a map and the places where its calls run say to each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from beautyspot.keys.keyer import KeyedCall
from beautyspot.results.store import MISSING


@dataclass(slots=True)
class Call:
    """One call of a map that has to run.

    Attributes:
        waits: Whether someone else who runs it just now is waited for; other calls come first.
    """

    number: int
    args: tuple[Any, ...]
    key: bytes
    parts: list[bytes]
    waits: bool = False

    def keyed(self) -> KeyedCall:
        """As tasks take it."""
        return KeyedCall(self.key, self.parts, self.args, {})


@dataclass(slots=True)
class Outcome:
    """What became of a call: its result, its exception, or neither.

    Attributes:
        again: Whether it is to be submitted again.
        key_busy: Whether someone else runs it just now, for whom it did not wait.
    """

    call: Call
    value: Any = MISSING
    error: BaseException | None = None
    again: bool = False
    key_busy: bool = False


class Pool(Protocol):
    """Where calls run."""

    def has_capacity(self) -> bool:
        """Whether another call may be submitted now."""
        ...

    def submit(self, call: Call) -> None:
        """Begin *call*, or have it wait for its turn."""
        ...

    def has_pending(self) -> bool:
        """Whether anything that was submitted has not come back."""
        ...

    def wait(self) -> list[Outcome]:
        """What finished; waits for at least one while the pool is busy."""
        ...

    def stop(self) -> None:
        """Take back what has not begun; what runs comes back still."""
        ...

    def close(self, now: bool = False) -> None:
        """End the pool; *now*: what runs is given a second."""
        ...
