"""An index and a blob storage in a cache of diskcache, which evicts rows to stay within a size.

An evicted result is a miss: its call runs again, without a warning. No pickle is written or loaded.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, cast
from urllib.parse import parse_qsl

import msgpack

from beautyspot.db import FileLocks, warn_once
from beautyspot.errors import (
    ConfigurationError,
    DamagedBlobError,
    DeserializationError,
    IndexUnavailableError,
    MissingBlobError,
    StorageError,
    UnreadableWarning,
)
from beautyspot.protocols import BlobInfo, Buffer, Entry, Record, Summary
from beautyspot.storage import PartsFile, check_location, check_size, is_location, new_location

try:
    import diskcache  # noqa: F401 - the modules below need it
except ImportError as error:
    raise ConfigurationError('this needs diskcache: pip install "beautyspot[diskcache]"') from error

from beautyspot.adapters.diskcache_cache import InCache, Recipe, begin, keep_to_size, patiently, records_access
from beautyspot.adapters.diskcache_disk import PlainDisk

__all__ = ["DiskCacheStorage", "DiskCacheTaskDB", "PlainDisk"]

_RESULT = b"beautyspot result "
_BLOB = b"beautyspot blob "
_NUMBER, _MAYBE = (int, float), type(None)
_KINDS: dict[type[Entry | Summary], tuple[Any, ...]] = {
    Entry: ((bytes, _MAYBE), (str, _MAYBE), bytes, int, (*_NUMBER, _MAYBE), bytes),
    Summary: (
        *(bytes, str, str, str, bytes, (str, _MAYBE), int),
        *(_NUMBER, (*_NUMBER, _MAYBE), (*_NUMBER, _MAYBE), str),
    ),
}


class DiskCacheTaskDB(InCache):
    """An index in a cache of diskcache: one row for each result, with its summary in ``tag``.

    A key runs once over all processes of one machine. Records that are written together are written all or none; in a
    ``FanoutCache``, a process that is killed between two shards leaves those of the first.
    """

    def _setup(self, recipe: Recipe, cache: Any = None) -> None:
        # When diskcache repairs a directory, it deletes files whose names do not begin with that of its own file.
        self._locks = FileLocks(self._beside(recipe, "lock"))
        super()._setup(recipe, cache)

    @staticmethod
    def _beside(recipe: Recipe, suffix: str) -> str:
        return os.path.join(recipe.directory, f"cache.db-{suffix}")

    def beside(self, suffix: str) -> str:
        """The path of a further file in the directory."""
        return self._beside(self._recipe, suffix)

    def try_lock(self, key: bytes) -> bool:
        """Acquire the lock of *key* unless another process holds it."""
        self._opened()
        return self._locks.try_lock(key)

    def lock(self, key: bytes) -> None:
        """Acquire the lock of *key*, waiting for the process that holds it."""
        self._opened()
        self._locks.lock(key)

    def unlock(self, key: bytes) -> None:
        """Release the lock of *key*."""
        self._locks.unlock(key)

    def _opened(self) -> None:
        with self._asking("open", IndexUnavailableError):
            self._shards()

    def lookup(self, keys: Sequence[bytes]) -> dict[bytes, Entry]:
        """The entries of those *keys* that have one."""
        found: dict[bytes, Entry] = {}
        with self._asking("read", IndexUnavailableError):
            for shard, some in self._by_shard([_RESULT + key for key in keys]):
                with ExitStack() as stack:
                    if len(some) > 1 and records_access(shard):  # otherwise each read would be a transaction
                        begin(stack, shard)
                    for key in some:
                        entry = self._entry(shard, key)
                        if entry is not None:
                            found[key.removeprefix(_RESULT)] = entry
        return found

    def upsert(self, records: Sequence[Record]) -> None:
        """Write *records*, all or none.

        Raises:
            IndexUnavailableError: If they cannot be written; then none of them is.
        """
        rows = {_RESULT + summary.key: (_packed(entry), _packed(summary)) for entry, summary in records}
        with self._asking("write to", IndexUnavailableError), ExitStack() as stack:
            for shard, _ in self._by_shard(list(rows)):
                begin(stack, shard)
            for key, (value, tag) in rows.items():  # in their order, which is that of lists
                self._shard(key).set(key, value, tag=tag)
        with self._asking("write to", IndexUnavailableError):
            for shard, _ in self._by_shard(list(rows)):
                keep_to_size(shard)

    def delete(self, keys: Sequence[bytes]) -> int:
        """Delete the entries of *keys*; returns how many there were."""
        count = 0
        with self._asking("write to", IndexUnavailableError):
            for shard, some in self._by_shard([_RESULT + key for key in keys]):
                with ExitStack() as stack:
                    begin(stack, shard)
                    count += sum([shard.delete(key) for key in some])
        return count

    def summaries(self, function: str | None = None) -> Iterator[Summary]:
        """The summaries of results, newest first, of one function or of all; listing does not count as a use."""
        with self._asking("read", IndexUnavailableError):
            for (tag,) in self._rows("tag", _RESULT):
                summary = self._read(Summary, tag)
                if summary is not None and function in (None, summary.function):
                    yield summary

    def problems(self) -> list[str]:
        """The problems that SQLite finds in the file, or files, of the cache."""
        with self._asking("read", IndexUnavailableError):
            said = [row[0] for shard in self._shards() for row in shard._sql("PRAGMA quick_check(20)").fetchall()]
        return [f"the cache in {self.directory}: {text}" for text in said if text != "ok"]

    def close(self) -> None:
        """Close the cache, unless it was handed in open. A later call opens it again."""
        self._locks.close()
        super().close()

    def after_fork_in_child(self) -> None:
        """Close the lock file: its locks are the parent's."""
        super().after_fork_in_child()
        self._locks.close()

    def _entry(self, shard: Any, key: bytes) -> Entry | None:
        try:
            packed = patiently(shard, lambda: shard.get(key))
        except DeserializationError as error:
            self._unreadable(str(error))
            return None
        return None if packed is None else self._read(Entry, packed)

    def _read(self, kind: type[Any], packed: Any) -> Any:
        """A row's value or tag; ``None`` if beautyspot did not write it."""
        try:
            made = kind(*msgpack.unpackb(packed, unicode_errors="surrogatepass"))
            if all(map(isinstance, made, _KINDS[kind])):
                return made
        except (ValueError, TypeError, msgpack.UnpackException):
            pass  # bytes of another program are treated like a field of a wrong type
        self._unreadable(f"a row of the cache in {self.directory} is damaged: beautyspot did not write it")
        return None

    def _unreadable(self, cause: str) -> None:
        warn_once(
            ("unreadable", repr(self), cause),
            f"a cached result cannot be used and its call runs again: {cause} (more of this kind are not reported)",
            UnreadableWarning,
        )


class DiskCacheStorage(InCache):
    """Blobs in a cache of diskcache; those of 32 kB and more are files, and can be mapped.

    A missing blob may have been evicted by the cache: its call runs again, without a warning.
    """

    def save(self, name: str, parts: Sequence[Buffer]) -> str:
        """Write *parts* as one blob; returns its location.

        Raises:
            StorageError: If it cannot be written, or is larger than the size limit of the cache.
        """
        location = new_location(name)
        key, parts_file = _key_of(location), PartsFile(parts)
        with self._asking("write to", StorageError):
            shard = self._shard(key)
            is_large = parts_file.size >= shard.disk.min_file_size
            value: Any = None if is_large else parts_file.read()

            def write() -> None:
                parts_file.seek(0)
                shard.set(key, parts_file if is_large else value, read=is_large)

            patiently(shard, write)
            keep_to_size(shard)
            if key not in shard:
                raise StorageError(
                    f"a blob of {parts_file.size:,} bytes was evicted at once by the cache in {self.directory}, whose "
                    f"limit is {self.size_limit():,} bytes: give it a larger size_limit"
                )
        return location

    def load(self, location: str, size: int) -> bytearray:
        """The blob at *location*.

        Raises:
            StorageError: If the cache has evicted it, it cannot be read, or it is not *size* bytes long.
        """
        with self._opened(location, size) as found:
            if isinstance(found, bytes):
                return bytearray(found)
            content = bytearray(size)
            check_size(location, found.readinto(content), size)
            return content

    def map(self, location: str, size: int) -> memoryview:
        """The blob at *location* as a read-only mapping of its file, which stays valid when the cache evicts it."""
        with self._opened(location, size) as found:
            content = found if isinstance(found, bytes) else mmap.mmap(found.fileno(), size, access=mmap.ACCESS_READ)
            return memoryview(content)

    @contextmanager
    def _opened(self, location: str, size: int) -> Iterator[Any]:
        """The blob at *location*, of *size* bytes: the bytes of a small one, or an open file."""
        with self._asking("read", StorageError):
            found = self._found(location)
            if isinstance(found, bytes):
                check_size(location, len(found), size)
                yield found
                return
            with found:
                check_size(location, os.fstat(found.fileno()).st_size, size)
                yield found

    def delete(self, location: str) -> None:
        """Delete the blob at *location*, if it is there."""
        check_location(location, self.directory)
        with self._asking("write to", StorageError):
            shard = self._shard(_key_of(location))
            patiently(shard, lambda: shard.delete(_key_of(location)))

    def blobs(self) -> Iterator[BlobInfo]:
        """All blobs; listing does not count as a use."""
        columns = "key, CASE WHEN filename IS NULL THEN length(value) ELSE size END, store_time"
        with self._asking("read", StorageError):
            for key, size, stored in self._rows(columns, _BLOB):
                location = bytes(key).removeprefix(_BLOB).decode("ascii", "replace")
                if is_location(location):
                    yield BlobInfo(location, size, stored)

    def size_limit(self) -> int:
        """Bytes above which the cache evicts, rows of an index in the same cache included."""
        return int(sum(shard.size_limit for shard in self._shards()))

    def _found(self, location: str) -> Any:
        """The bytes of a small blob, or the open file of a large one."""
        check_location(location, self.directory)
        key = _key_of(location)
        shard = self._shard(key)
        try:
            found = patiently(shard, lambda: shard.get(key, read=True))
        except DeserializationError as error:
            raise DamagedBlobError(str(error)) from error
        if found is None:
            raise MissingBlobError(f"the blob {location} is no longer in the cache in {self.directory}")
        if isinstance(found, str | int | float):
            raise DamagedBlobError(f"what is at {location} in the cache in {self.directory} is not a blob")
        return found


def _key_of(location: str) -> bytes:
    return _BLOB + location.encode()


def _packed(row: Entry | Summary) -> bytes:
    return cast("bytes", msgpack.packb(tuple(row), unicode_errors="surrogatepass"))


def open_url(url: str) -> DiskCacheTaskDB:
    """The index of ``diskcache:///directory``, which may end with ``?size_limit=`` and a number of bytes."""
    return DiskCacheTaskDB(*_parts_of(url))


def open_storage_url(url: str) -> DiskCacheStorage:
    """The storage of such a URL."""
    return DiskCacheStorage(*_parts_of(url))


def _parts_of(url: str) -> tuple[str, int | None]:
    place, _, query = url.partition("://")[2].partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    size = options.pop("size_limit", None)
    if options or not place.removeprefix("/") or not (size is None or size.isdecimal()):
        raise ConfigurationError(
            f'a cache is "diskcache:///directory" or "diskcache:///directory?size_limit=1000000000", not {url!r}'
        )
    return place.removeprefix("/"), None if size is None else int(size)
