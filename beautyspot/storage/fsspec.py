"""FsspecStorage: blobs in Google Cloud, Azure, SFTP and any other file system of fsspec.

An object store shows an object only when it is complete, so there a blob is one request. Anywhere else it is written
under a temporary name and renamed, since a file that is closed after an error looks complete.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import os
import re
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from beautyspot._internal.fork_safety import SurvivesFork
from beautyspot.errors import BeautyspotError, ConfigurationError, MissingBlobError, StorageError
from beautyspot.protocols.index import BlobInfo
from beautyspot.protocols.serializer import Buffer
from beautyspot.storage.locations import UNFINISHED, PartsFile, check_location, check_size, is_location, new_location

__all__ = ["FsspecStorage"]

_STEP = 16 << 20  # bytes that are read or written at once: the most that is copied
_SECRETS = re.compile(r"(?<=//)(?P<user>[^/@:]*):.*@|\?.*", re.DOTALL)  # passwords and queries
# The names that file systems give to a file's time of last modification. The first one present is used.
_TIMES = ("mtime", "LastModified", "last_modified", "updated", "created")
_IN_DIRECTORY = "LocalStorage, or a path as storage_path="
_OURS = {"file": _IN_DIRECTORY, "local": _IN_DIRECTORY, "memory": "MemoryStorage, or storage_path='memory://'"}


class FsspecStorage(SurvivesFork):
    """Blobs below a URL of fsspec, such as ``gs://bucket/prefix``, ``az://container/prefix``, ``sftp://host/path``.

    Args:
        url: URL of the storage. Directories are created when they are needed; a bucket must exist.
        options: Options of the file system, as ``fsspec.filesystem`` takes them. For the others, the file system
            looks in the environment and in the configuration files of fsspec.

    Raises:
        ConfigurationError: If fsspec, or the package that it needs for the URL, is missing; or if the URL is local
            and needs no fsspec.
    """

    def __init__(self, url: str, **options: Any) -> None:
        scheme = _scheme(url)
        if scheme in _OURS:
            raise ConfigurationError(f"FsspecStorage is not for {scheme}://: use {_OURS[scheme]}")
        _file_system_class(scheme)
        self.url = url.rstrip("/")
        self._options = options
        self._reset()
        self.survive_forks()

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial(type(self), **self._options), (self.url,)

    def __repr__(self) -> str:
        return f"FsspecStorage({self._shown()!r})"

    def save(self, name: str, parts: Sequence[Buffer]) -> str:
        """Write *parts* as one blob; returns its location below the URL.

        Raises:
            StorageError: If it cannot be written; then no part of it can be read.
        """
        location = new_location(name)
        with self._translating_errors("write the blob", location) as (files, path):
            if _is_object_store(files):
                files.pipe_file(path, b"".join(parts))
            else:
                self._write(files, path, parts)
        return location

    def load(self, location: str, size: int) -> bytearray:
        """The blob at *location*.

        Raises:
            StorageError: If it does not exist, cannot be read, or is not *size* bytes long.
        """
        with self._translating_errors("read the blob", location) as (files, path):
            check_size(self._shown(location), int(files.info(path)["size"]), size)
            content = bytearray(size)
            for start in range(0, size, _STEP):
                stop = min(start + _STEP, size)
                piece = files.cat_file(path, start=start, end=stop)
                check_size(self._shown(location), start + len(piece), stop)
                content[start:stop] = piece
            return content

    def delete(self, location: str) -> None:
        """Delete the blob at *location*, if it exists."""
        with (
            self._translating_errors("delete the blob", location) as (files, path),
            contextlib.suppress(FileNotFoundError),
        ):
            files.rm_file(path)

    def blobs(self) -> Iterator[BlobInfo]:
        """All blobs below the URL, including those that a killed writer left unfinished."""
        with self._translating_errors("list the blobs") as (files, root):
            for folder in _listed(files, root):
                if folder["type"] == "directory" and len(_name(folder)) == 2:
                    for file in _listed(files, folder["name"]):
                        location = f"{_name(folder)}/{_name(file)}"
                        if is_location(location) and file["type"] == "file":
                            yield BlobInfo(location, int(file["size"]), _modified(files, file))

    def close(self) -> None:
        """Drop the file system. The next call creates a new one."""
        self._reset()

    def after_fork_in_child(self) -> None:
        """Drop the parent's connections and the thread that waits for them, without closing them."""
        self._reset()
        if "fsspec.asyn" in sys.modules:  # it drops the thread by itself, but not the lock under which it starts one
            sys.modules["fsspec.asyn"].reset_lock()

    def _shown(self, location: str = "") -> str:
        """The URL for messages, without what may be secret."""
        shown = _SECRETS.sub(lambda found: f"{found['user']}:***@" if found["user"] else "", self.url)
        return f"{shown}/{location}".rstrip("/")

    def _reset(self) -> None:
        self._opening = threading.Lock()
        self._shared: tuple[Any, str] | None = None
        self._of_thread = threading.local()

    def _open(self) -> tuple[Any, str]:
        """The file system, and the URL as a path in it.

        All threads share a file system that runs on an event loop. Some of the others have one connection and are not
        safe for threads, so each thread has its own.
        """
        opened: tuple[Any, str] | None = self._shared or getattr(self._of_thread, "opened", None)
        return opened or self._make()

    def _make(self) -> tuple[Any, str]:
        core: Any = importlib.import_module("fsspec.core")
        with self._opening:
            if self._shared is not None:  # another thread was faster
                return self._shared
            # A cached instance may hold old listings, and may belong to the parent of a fork.
            files, root = core.url_to_fs(self.url, skip_instance_cache=True, **self._options)
            if files.async_impl:
                self._shared = files, root
            else:
                self._of_thread.opened = files, root
            return files, root

    def _write(self, files: Any, path: str, parts: Sequence[Buffer]) -> None:
        temporary = path + UNFINISHED
        try:
            files.makedirs(os.path.dirname(path), exist_ok=True)
            with files.open(temporary, "wb") as file:
                source = PartsFile(parts)
                while piece := source.read(_STEP):  # bytes, which every file accepts, in pieces
                    file.write(piece)
            files.mv(temporary, path)
        except BaseException:
            with contextlib.suppress(Exception):  # it may not have been created, and the first error matters
                files.rm_file(temporary)
            raise

    @contextlib.contextmanager
    def _translating_errors(self, what: str, location: str | None = None) -> Iterator[tuple[Any, str]]:
        """The file system and a path in it, to do *what*; errors of the file system become `StorageError` only here."""
        if location is not None:
            check_location(location, self._shown())
        try:
            files, root = self._open()
            path = root if location is None else f"{root.rstrip('/')}/{location}"
            yield files, path
        except BeautyspotError:
            raise
        except Exception as error:  # each file system has exceptions of its own
            where = f"below {self._shown()}" if location is None else self._shown(location)
            if isinstance(error, FileNotFoundError):
                raise MissingBlobError(f"cannot {what} {where}: it does not exist") from error
            raise StorageError(f"cannot {what} {where}: {type(error).__name__}: {error}") from error


def known_schemes() -> frozenset[str]:
    """The schemes that fsspec knows; none if it is not installed."""
    if importlib.util.find_spec("fsspec") is None:
        return frozenset()
    registry: Any = importlib.import_module("fsspec.registry")
    return frozenset(registry.known_implementations) | frozenset(registry.registry)


def _scheme(url: str) -> str:
    return url.partition("://")[0].partition("::")[0].lower()


def _file_system_class(scheme: str) -> Any:
    if importlib.util.find_spec("fsspec") is None:
        raise ConfigurationError(f'blobs at {scheme}:// need fsspec: pip install "beautyspot[fsspec]"')
    registry: Any = importlib.import_module("fsspec.registry")
    try:
        return registry.get_filesystem_class(scheme)
    except (ImportError, ValueError) as error:  # the text says what to install
        raise ConfigurationError(f"fsspec has no file system for {scheme}://: {error}") from error


def _is_object_store(files: Any) -> bool:
    asyn: Any = importlib.import_module("fsspec.asyn")
    return isinstance(files, asyn.AsyncFileSystem)


def _listed(files: Any, path: str) -> list[dict[str, Any]]:
    """The current entries of a directory. The listing is not cached: a storage may have millions of blobs."""
    files.invalidate_cache()
    try:
        found: list[dict[str, Any]] = files.ls(path, detail=True)
    except FileNotFoundError:  # nothing has been written there yet
        return []
    files.invalidate_cache()
    return found


def _name(entry: Mapping[str, Any]) -> str:
    return str(entry["name"]).rstrip("/").rpartition("/")[2]


def _modified(files: Any, entry: Mapping[str, Any]) -> float:
    """Time of last modification in seconds since the epoch; the present if unknown, so that gc spares the blob."""
    found = next((entry[key] for key in _TIMES if entry.get(key) is not None), None)
    try:
        found = files.modified(entry["name"]) if found is None else found
        found = datetime.fromisoformat(found) if isinstance(found, str) else found
    except (NotImplementedError, FileNotFoundError, ValueError):
        return time.time()
    if isinstance(found, datetime):
        # A time without a zone may be local time or UTC. The later of the two is safe, since gc spares new blobs.
        return found.timestamp() if found.tzinfo else max(found.timestamp(), found.replace(tzinfo=UTC).timestamp())
    return float(found)
