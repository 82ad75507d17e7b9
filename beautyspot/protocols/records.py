"""The records that an index and a storage hold, and selections of them, as frozen values."""

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
    """The part of a record that a hit reads.

    Attributes:
        value: The serialized result, or ``None`` if it is a blob.
        location: The blob's location in its storage, or ``None``.
        checksum: Checksum of ``value`` (CRC-32, 4 bytes) or of the blob (BLAKE3, 16 bytes).
        size: Size of the serialized result in bytes.
        expires: Time of expiry in seconds since the epoch, or ``None``.
        code: Fingerprint of the function's code when the result was stored; empty if there was none.
    """

    value: bytes | None
    location: str | None
    checksum: bytes
    size: int
    expires: float | None
    code: bytes

    def is_intact(self) -> bool:
        """Whether there is a ``value`` and it matches its checksum. A blob is checked when it is read."""
        return self.value is not None and crc32(self.value).to_bytes(4, "big") == self.checksum


class Summary(NamedTuple):
    """The part of a record that viewers list.

    Attributes:
        key: The call's key, 16 bytes.
        function: The function's name, as ``module.qualname``.
        version: The task's version as text; empty if it has none.
        input: The call's arguments as readable text, truncated.
        arguments: A CRC-32 checksum, 4 bytes, for each argument.
        content_type: A MIME type, or ``None``.
        size: Size of the serialized result in bytes.
        created: Time at which it was stored, in seconds since the epoch.
        expires: Time of expiry in seconds since the epoch, or ``None``.
        seconds: Run time of the function in seconds; ``None`` for a value that was put.
        worker: The process that stored it, as ``host:pid``.
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
    """A cached result: the entry that a hit reads, and the summary that viewers list."""

    entry: Entry
    summary: Summary


class Failure(NamedTuple):
    """The latest failure of a call.

    Attributes:
        key: The call's key, 16 bytes.
        function: The function's name, as ``module.qualname``.
        version: The task's version as text; empty if it has none.
        input: The call's arguments as readable text, truncated.
        error: The exception's type, as ``module.Name``.
        message: The exception's text, truncated.
        traceback: The formatted traceback, truncated.
        created: Time of the failure in seconds since the epoch.
        seconds: Run time of the function, in seconds, until it failed.
        worker: The process that ran it, as ``host:pid``.
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
    """The progress of a map.

    ``total`` is ``None`` if the number of inputs is unknown, and ``ended`` is ``None`` while the map runs. ``id`` is a
    unique text. Times are in seconds since the epoch.
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


SILENT = 60.0  # seconds without progress after which a map counts as killed


def is_over(progress: MapProgress) -> bool:
    """Whether a map has ended, or counts as killed since it has recorded no progress for a minute."""
    return progress.ended is not None or progress.updated < time.time() - SILENT


class Selection(NamedTuple):
    """A selection of records or failures: those that meet every condition. ``None`` is no condition.

    Attributes:
        status: ``"kept"`` for results, including expired ones; ``"expired"`` for expired results; ``"failed"`` for
            failures.
        function: The function's name, as ``module.qualname``.
        version: The task's version; ``""`` selects tasks without one.
        text: A text that the input contains, ignoring the case of ASCII letters.
        since: Earliest time of storing or failing, in seconds since the epoch.
        before: Time, in seconds since the epoch, before which it was stored or failed.
        smallest: Least size of the serialized result in bytes.
        largest: Greatest size of the serialized result in bytes.
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
    """Totals for one version of a function.

    Attributes:
        function: The function's name, as ``module.qualname``.
        version: The version as text; empty if there is none.
        results: Number of cached results.
        size: Total size of the serialized results in bytes.
        seconds: Total run time of these calls in seconds.
        failures: Number of calls whose latest run failed.
        latest: Time of the newest result or failure, in seconds since the epoch.
    """

    function: str
    version: str
    results: int
    size: int
    seconds: float
    failures: int
    latest: float


class BlobInfo(NamedTuple):
    """A blob in a storage: its location, its size in bytes, and when it was written, in seconds since the epoch."""

    location: str
    size: int
    modified: float
