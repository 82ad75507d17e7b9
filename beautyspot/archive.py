"""Archive: kept results in one file, to be carried to where no machine reaches both places.

The file is a tar of members that any tool can list. Each page of rows stands behind its blobs; the last member says
that all is there. Nothing in it is unpacked to a path, or executed.
"""

from __future__ import annotations

import contextlib
import os
import tarfile
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, BinaryIO

import msgpack

from beautyspot.errors import ConfigurationError, StorageError
from beautyspot.hashing import digest_of
from beautyspot.moving import Item
from beautyspot.protocols import Buffer, Entry, Record, Summary
from beautyspot.storage.parts import PartsFile

__all__ = ["Archive", "is_archive"]

_FIRST = "beautyspot-results-1"  # names the format
_LAST = "end"
_BLOCK = 512  # bytes, of which a tar is made
_LARGEST = 1 << 30  # bytes of a page of rows: more is no page of ours


class Archive:
    """A file of results, as a source or a sink.

    Args:
        path: The file. As a sink it is made, or gone on with where it was begun and not completed.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self._file: BinaryIO | None = None
        self._tar: tarfile.TarFile | None = None

    # --- as a sink

    def begin(self) -> int:
        """Open the file for writing, behind the last whole page of it.

        Returns:
            The place of that page in the source: behind it to go on.

        Raises:
            ConfigurationError: If it is complete already, or no archive of ours.
        """
        place, end = self._last_page() if os.path.exists(self.path) else (0, 0)
        self._file = open(self.path, "r+b" if end else "wb")  # noqa: SIM115 - until `close`
        self._file.truncate(end)
        self._file.seek(end)
        self._tar = tarfile.open(fileobj=self._file, mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115
        if not end:
            self._add(_FIRST, b"")
        return place

    def _last_page(self) -> tuple[int, int]:
        """The place of the last whole page in its source, and where it ends in the file."""
        place = end = 0
        size = os.path.getsize(self.path)
        for member in self._members():
            if member.name == _LAST:
                raise ConfigurationError(f"{self.path} is a complete archive already: name another file, or remove it")
            kind, _, name = member.name.partition("/")
            ends = member.offset_data + -(-member.size // _BLOCK) * _BLOCK
            if ends <= size and kind in (_FIRST, "rows"):
                place, end = int(name or 0), ends
        return place, end

    def has(self, keys: list[bytes]) -> set[bytes]:
        """None of them: what the file holds stands before the place where it was gone on with."""
        return set()

    def prepare(self, record: Record, blob: Buffer | None) -> tuple[Record, Buffer | None]:
        """Nothing can be written yet: a tar is written from front to back."""
        return record, blob

    def put(self, page: Iterable[tuple[Record, Buffer | None]], place: int) -> None:
        """Write the blobs of a page, and then its rows."""
        rows = []
        for record, blob in page:
            if blob is not None:
                self._add(f"blobs/{record.summary.key.hex()}", blob)
            digest = None if blob is None else digest_of(blob)
            rows.append((record.entry._replace(location=None), record.summary, digest))
        if rows:
            packed: bytes = msgpack.Packer(unicode_errors="surrogatepass").pack(rows) or b""
            self._add(f"rows/{place}", packed)

    def end(self) -> None:
        """Say that all is there, and close the file."""
        self._add(_LAST, b"")
        self.close()

    def close(self) -> None:
        """Close the file, which is complete or to be gone on with."""
        tar, self._tar = self._tar, None
        file, self._file = self._file, None
        if tar is not None:
            tar.close()
        if file is not None:
            file.close()

    def _add(self, name: str, content: Buffer) -> None:
        if self._tar is None:
            raise RuntimeError("an archive is written to between `begin` and `end`")
        info = tarfile.TarInfo(name)
        info.size = memoryview(content).nbytes
        info.mode = 0o600
        file: Any = PartsFile([content])
        self._tar.addfile(info, file)

    # --- as a source

    def items(self, after: int = 0) -> Iterator[Item]:
        """All results in the file, in the order in which they stand there.

        Raises:
            ConfigurationError: If it is no archive of ours, or not complete.
            StorageError: If it is damaged.
        """
        if not any(member.name == _LAST for member in self._members()):
            raise ConfigurationError(f"{self.path} is not complete: export once more, which goes on where it was")
        blobs: dict[str, tuple[int, int]] = {}
        place = 0
        for member in self._members():
            kind, _, name = member.name.partition("/")
            if kind == "blobs":
                blobs[name] = (member.offset_data, member.size)
            elif kind == "rows":
                for record, digest in self._rows(member):
                    place += 1
                    found = blobs.get(record.summary.key.hex())
                    blob = None if record.entry.value is not None else partial(self._blob, found, digest)
                    yield Item(place, record, blob)
                blobs.clear()

    def _members(self) -> Iterator[tarfile.TarInfo]:
        """What the file is made of, up to where its writer was killed."""
        with open(self.path, "rb") as file:
            if not _FIRST.encode().startswith(file.read(len(_FIRST))):
                raise ConfigurationError(f"{self.path} is no archive of beautyspot's results; it was left as it is")
        with contextlib.suppress(tarfile.ReadError), tarfile.open(self.path, "r:") as tar:
            while (member := tar.next()) is not None:
                yield member
                vars(tar)["members"].clear()  # a list that would grow with the file

    def _rows(self, member: tarfile.TarInfo) -> Iterator[tuple[Record, bytes | None]]:
        try:
            if member.size > _LARGEST:
                raise ValueError(f"{member.size} bytes of rows at once")
            content = self._read(member.offset_data, member.size)
            for entry, summary, digest in msgpack.unpackb(content, unicode_errors="surrogatepass"):
                yield _record(entry, summary), digest
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            raise StorageError(f"{self.path} is damaged at {member.name}: {error}") from error

    def _blob(self, found: tuple[int, int] | None, digest: bytes | None) -> Buffer:
        if found is None:
            raise StorageError(f"its blob is not in {self.path}")
        blob = self._read(*found)
        if digest_of(blob) != digest:
            raise StorageError(f"its blob in {self.path} is damaged: its checksum does not fit")
        return blob

    def _read(self, start: int, size: int) -> bytearray:
        """*size* bytes from *start* on, in any thread; never more than the file has."""
        with open(self.path, "rb", buffering=0) as file:
            if start + size > os.fstat(file.fileno()).st_size:
                raise StorageError(f"{self.path} ends before its members do")
            content, filled = bytearray(size), 0
            file.seek(start)
            while filled < size and (count := file.readinto(memoryview(content)[filled:])):
                filled += count
        return content


_TYPES: dict[type, dict[str, type | tuple[type, ...]]] = {
    Entry: {"checksum": bytes, "size": int, "code": bytes, "value": (bytes, type(None))},
    Summary: {"key": bytes, "function": str, "version": str, "input": str, "arguments": bytes, "worker": str},
}


def _record(entry: Any, summary: Any) -> Record:
    """A record of what was read, whose fields are of the right kinds.

    Raises:
        ValueError, TypeError: If they are not.
    """
    record = Record(Entry(*entry), Summary(*summary))
    numbers = (record.entry.expires, record.summary.created, record.summary.expires, record.summary.seconds)
    for part in record:
        for name, kind in _TYPES[type(part)].items():
            if not isinstance(getattr(part, name), kind):
                raise ValueError(f"{name} is {type(getattr(part, name)).__name__}")
    if len(record.summary.key) != 16 or record.entry.size < 0 or record.entry.location is not None:
        raise ValueError("a key, a size or a location that cannot be")
    if not all(number is None or isinstance(number, float | int) for number in numbers):
        raise ValueError("a time that is no number")
    if not isinstance(record.summary.content_type, str | None):
        raise ValueError("a content type that is no text")
    return record


def is_archive(path: str | os.PathLike[str]) -> bool:
    """Whether *path* is a file of the form of an archive."""
    return os.path.isfile(path) and tarfile.is_tarfile(path)
