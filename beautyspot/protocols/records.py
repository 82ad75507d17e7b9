"""What an index and a storage hold, as frozen values: rows, and which of them are asked for."""

from __future__ import annotations

import time
from typing import Literal, NamedTuple
from zlib import crc32

__all__ = [
    "BlobInfo",
    "Entry",
    "Failure",
    "FunctionSummary",
    "MapProgress",
    "Order",
    "Record",
    "Selection",
    "Summary",
    "is_over",
]

Order = Literal["created", "size", "seconds"]


class Entry(NamedTuple):
    """What a hit reads of a kept result.

    Attributes:
        value: The serialized result, or ``None`` when it lies in blob storage.
        location: Where blob storage put it, or ``None``.
        checksum: Of ``value`` (CRC-32, 4 bytes) or of the blob (BLAKE3, 16 bytes).
        size: Bytes of the serialized result.
        expires: Seconds since the epoch, or ``None``.
        code: Fingerprint of the function's code when the result was kept; empty where there is none.
    """

    value: bytes | None
    location: str | None
    checksum: bytes
    size: int
    expires: float | None
    code: bytes

    def is_intact(self) -> bool:
        """Whether there is a ``value`` and its checksum fits; that of a blob is compared where the blob lies."""
        return self.value is not None and crc32(self.value).to_bytes(4, "big") == self.checksum


class Summary(NamedTuple):
    """What viewers list of a kept result.

    Attributes:
        key: The call's key, 16 bytes.
        function: ``module.qualname``.
        version: The task's version as text; empty where there is none.
        input: The call's arguments, readable and cut short.
        arguments: Four bytes for each argument, equal where the arguments are equal (CRC-32).
        content_type: A MIME type, or ``None``.
        size: Bytes of the serialized result.
        created: Seconds since the epoch.
        expires: Seconds since the epoch, or ``None``.
        seconds: How long the function ran; ``None`` for a value that was put.
        worker: ``host:pid`` of who kept it.
    """

    key: bytes
    function: str
    version: str
    input: str
    arguments: bytes
    content_type: str | None
    size: int
    created: float
    expires: float | None
    seconds: float | None
    worker: str


class Record(NamedTuple):
    """A kept result: what a hit reads, and what viewers list."""

    entry: Entry
    summary: Summary


class Failure(NamedTuple):
    """The latest failure of a call.

    Attributes:
        key: The call's key, 16 bytes.
        function: ``module.qualname``.
        version: The task's version as text.
        input: The call's arguments, readable and cut short.
        error: The exception's type, as ``module.Name``.
        message: Its text, cut short.
        traceback: The formatted traceback, cut short.
        created: Seconds since the epoch.
        seconds: How long the function ran before it failed.
        worker: ``host:pid`` of who ran it.
    """

    key: bytes
    function: str
    version: str
    input: str
    error: str
    message: str
    traceback: str
    created: float
    seconds: float
    worker: str


class MapProgress(NamedTuple):
    """How far a map has come; ``total`` is ``None`` for inputs of unknown length, ``ended`` while it runs.

    ``id`` is any text that is the map's own; times are seconds since the epoch.
    """

    id: str
    function: str
    total: int | None
    kept: int
    run: int
    failed: int
    started: float
    updated: float
    ended: float | None
    worker: str


SILENT = 60.0  # seconds without a note after which a map is taken to have been killed


def is_over(progress: MapProgress) -> bool:
    """Whether a map has ended, or was killed: it has said nothing for a minute."""
    return progress.ended is not None or progress.updated < time.time() - SILENT


class Selection(NamedTuple):
    """Which rows a viewer asks for: those of which all of this holds. ``None`` asks for nothing.

    Attributes:
        status: ``"kept"``: results, expired ones included; ``"expired"``: these alone; ``"failed"``: failures.
        function: ``module.qualname``.
        version: The task's version; ``""`` is that of tasks without one.
        text: Stands in the input, upper and lower case of ASCII letters being the same.
        since: Seconds since the epoch; kept or failed then or later.
        before: Seconds since the epoch; kept or failed earlier.
        smallest: Bytes of the serialized result, at least.
        largest: Bytes of the serialized result, at most.
    """

    status: Literal["kept", "expired", "failed"] = "kept"
    function: str | None = None
    version: str | None = None
    text: str = ""
    since: float | None = None
    before: float | None = None
    smallest: int | None = None
    largest: int | None = None


class FunctionSummary(NamedTuple):
    """What is kept of one version of a function.

    Attributes:
        function: ``module.qualname``.
        version: As text; empty where there is none.
        results: How many are kept.
        size: Bytes of their serialized results.
        seconds: That running them took, and would take again.
        failures: Calls that failed last time.
        latest: When the newest of all these came, in seconds since the epoch.
    """

    function: str
    version: str
    results: int
    size: int
    seconds: float
    failures: int
    latest: float


class BlobInfo(NamedTuple):
    """A blob in a storage: where, how many bytes, and when it was written (seconds since the epoch)."""

    location: str
    size: int
    modified: float
