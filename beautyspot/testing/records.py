"""Test data: keys and records for an index, and a counter of executions."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from beautyspot.protocols.index import Entry, Failure, Record, Summary


def make_key(number: int) -> bytes:
    """A key like that of a call: 16 bytes without order."""
    return hashlib.blake2b(number.to_bytes(8, "big"), digest_size=16).digest()


def make_record(
    number: int, value: bytes | None = b"\x01", function: str = "module.function", **changes: Any
) -> Record:
    """A record with the key of *number*; *changes* replace fields of its entry or its summary."""
    location = None if value is not None else f"{number:032x}"
    entry = Entry(value, location, b"1234", len(value or b""), None, b"code")
    now = 1_700_000_000.0 + number
    summary = Summary(
        make_key(number), function, "", f"x={number}", b"abcd", None, entry.size, now, None, 0.5, "host:1"
    )
    return Record(
        entry._replace(**{k: v for k, v in changes.items() if k in Entry._fields}),
        summary._replace(**{k: v for k, v in changes.items() if k in Summary._fields}),
    )


def make_failure(number: int, function: str = "module.function", message: str = "broken") -> Failure:
    """A failure of the call of *number*."""
    key, text = make_key(number), "Traceback …"
    return Failure(key, function, "", f"x={number}", "builtins.ValueError", message, text, 1e9 + number, 0.5, "host:1")


class Count:
    """Counts executions over processes: each is a line in a file.

    Args:
        path: The path of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __call__(self, text: object = "") -> int:
        """Count one, with a note; 0, to be used within an expression."""
        with Path(self.path).open("a") as file:
            file.write(f"{text}\n")
        return 0

    def __beautyspot_key__(self) -> str:
        return "count"

    @property
    def lines(self) -> list[str]:
        """The notes, in the order in which they were made."""
        return Path(self.path).read_text().splitlines() if Path(self.path).exists() else []

    def __len__(self) -> int:
        return len(self.lines)
