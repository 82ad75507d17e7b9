"""What the parts of an encoding are to each other: protocols of the traversal of a value and of what watches it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, Protocol

Kind = Literal["variable", "attribute", "item", "collection", "constant", "state"]


class Watched(Protocol):
    """What is remembered of an object with places: see `captured`."""

    def names(self) -> Iterable[str]:
        """The names of its places that are remembered."""
        ...

    def counts(
        self, name: str, now: bytes | None, path: Callable[[], str], identity: int = 0, refers_upwards: bool = False
    ) -> bytes | None:
        """The bytes as which a place counts, whose value has the bytes *now*; ``None``: it is absent."""
        ...


class Watcher(Protocol):
    """Remembers how the places of what was captured count."""

    def of(self, holder: Any, kind: Kind) -> Watched | None:
        """What is remembered of *holder*; ``None`` if nothing is."""
        ...


class Traversal(Protocol):
    """One traversal of a value: what encoders of functions and classes need of `encoding.Encoder`."""

    def any(self, value: Any) -> bytes:
        """The canonical bytes of *value*."""
        ...

    def tagged(self, tag: bytes, *parts: Any) -> bytes:
        """The encoding of *parts* under a one-byte *tag*."""
        ...

    def node(self, value: Any, encode_parts: Callable[[Any], bytes]) -> bytes:
        """The encoding of an object that may be met again."""
        ...

    def named(self, holder: Any, kind: Kind, items: Mapping[str, Any]) -> bytes:
        """The encodings of attributes, items or variables by name."""
        ...

    def variables(self, cells: Mapping[str, Any]) -> bytes:
        """The encodings of captured variables, by name."""
        ...

    def as_captured(self, value: Any) -> bytes:
        """The encoding of a part that was captured."""
        ...
