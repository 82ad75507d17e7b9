"""Keys and records for tests of an index."""

from __future__ import annotations

import hashlib
from typing import Any

from beautyspot.protocols import Entry, Record, Summary


def make_key(number: int) -> bytes:
    """A key, as calls have them: 16 bytes without order."""
    return hashlib.blake2b(number.to_bytes(8, "big"), digest_size=16).digest()


def make_record(
    number: int, value: bytes | None = b"\x01", function: str = "module.function", **changes: Any
) -> Record:
    """A record of the key of *number*; *changes* replace fields of its entry or its summary."""
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
