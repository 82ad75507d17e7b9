"""FsspecStorage: blobs wherever fsspec reaches: Google Cloud, Azure, SFTP, and whatever else has a file system for it.

An object store shows an object when it is whole, so a blob is one request there. Anywhere else it is written under a
temporary name and renamed: a file that is closed because of an error looks as whole as any other.
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

_STEP = 16 << 20  # bytes that are read or written at once: a copy of these is all that is needed beside a blob
_SECRETS = re.compile(r"(?<=//)(?P<user>[^/@:]*):.*@|\?.*", re.DOTALL)  # a password, and what a query may hold
# What file systems call the time at which a file was written last. The first that is there counts.
_TIMES = ("mtime", "LastModified", "last_modified", "updated", "created")
_IN_DIRECTORY = "LocalStorage, or a path as storage_path="
_OURS = {"file": _IN_DIRECTORY, "local": _IN_DIRECTORY, "memory": "MemoryStorage, or storage_path='memory://'"}


class FsspecStorage(SurvivesFork):
    """Blobs below a URL of fsspec, such as ``gs://bucket/prefix``, ``az://container/prefix``, ``sftp://host/path``.

    Args:
        url: Where. Directories are made when they are needed; a bucket must exist.
        options: Of the file system, as ``fsspec.filesystem`` takes them. Those that are not given are found as the
            file system finds them: in the environment, or in the configuration files of fsspec.

    Raises:
        ConfigurationError: If fsspec, or the package that it needs for the URL, is missing; or if the URL is of this
            machine, for which fsspec is not needed.
    """

    def __init__(self, url: str, **options: Any) -> None:
        scheme = _scheme(url)
        if scheme in _OURS:
            raise ConfigurationError(f"FsspecStorage is not for {scheme}://: use {_OURS[scheme]}")
        _file_system_class(scheme)
        self.url = url.rstrip("/")
        self._options = options
        self._forget()
        self.survive_forks()

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial(type(self), **self._options), (self.url,)

    def __repr__(self) -> str:
        return f"FsspecStorage({self._shown()!r})"

    def save(self, name: str, parts: Sequence[Buffer]) -> str:
        """Write *parts* as one blob; returns its location below the URL.

        Raises:
            StorageError: If it cannot be written; nothing of it can be read then.
        """
        location = new_location(name)
        with self._asking("write the blob", location) as (files, path):
            if _publishes_whole(files):
                files.pipe_file(path, b"".join(parts))
            else:
                self._write(files, path, parts)
        return location

    def load(self, location: str, size: int) -> bytearray:
        """The blob at *location*.

        Raises:
            StorageError: If it is gone, cannot be read, or is not *size* bytes long.
        """
        with self._asking("read the blob", location) as (files, path):
            check_size(self._shown(location), int(files.info(path)["size"]), size)
            content = bytearray(size)
            for start in range(0, size, _STEP):
                stop = min(start + _STEP, size)
                piece = files.cat_file(path, start=start, end=stop)
                check_size(self._shown(location), start + len(piece), stop)
                content[start:stop] = piece
            return content

    def delete(self, location: str) -> None:
        """Remove the blob at *location*, if it is there."""
        with self._asking("remove the blob", location) as (files, path), contextlib.suppress(FileNotFoundError):
            files.rm_file(path)

    def blobs(self) -> Iterator[BlobInfo]:
        """All blobs below the URL, those included that a killed writer left unfinished."""
        with self._asking("list the blobs") as (files, root):
            for folder in _listed(files, root):
                if folder["type"] == "directory" and len(_name(folder)) == 2:
                    for file in _listed(files, folder["name"]):
                        location = f"{_name(folder)}/{_name(file)}"
                        if is_location(location) and file["type"] == "file":
                            yield BlobInfo(location, int(file["size"]), _modified(files, file))

    def close(self) -> None:
        """Let go of the file system. A later call makes another one."""
        self._forget()

    def after_fork_in_child(self) -> None:
        """Leave the parent its connections, and the thread that waits for them."""
        self._forget()
        if "fsspec.asyn" in sys.modules:  # it forgets the thread by itself, and not the lock under which it is started
            sys.modules["fsspec.asyn"].reset_lock()

    def _shown(self, location: str = "") -> str:
        """The URL for people to read, without what may be secret."""
        shown = _SECRETS.sub(lambda found: f"{found['user']}:***@" if found["user"] else "", self.url)
        return f"{shown}/{location}".rstrip("/")

    def _forget(self) -> None:
        self._opening = threading.Lock()
        self._shared: tuple[Any, str] | None = None
        self._of_thread = threading.local()

    def _open(self) -> tuple[Any, str]:
        """The file system, and what the URL is to it.

        One on an event loop is shared by all threads. Of the others, some have one connection and take no care: each
        thread has its own.
        """
        opened: tuple[Any, str] | None = self._shared or getattr(self._of_thread, "opened", None)
        return opened or self._make()

    def _make(self) -> tuple[Any, str]:
        core: Any = importlib.import_module("fsspec.core")
        with self._opening:
            if self._shared is not None:  # another thread was faster
                return self._shared
            # An instance that others have too may remember listings, and may be of the parent of a fork.
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
                while piece := source.read(_STEP):  # bytes, which every file takes, and never all of them
                    file.write(piece)
            files.mv(temporary, path)
        except BaseException:
            with contextlib.suppress(Exception):  # it may not have been made, and what counts is the first error
                files.rm_file(temporary)
            raise

    @contextlib.contextmanager
    def _asking(self, what: str, location: str | None = None) -> Iterator[tuple[Any, str]]:
        """The file system, to be asked for *what*, and the path there: here, and only here, its errors become ours."""
        if location is not None:
            check_location(location, self._shown())
        try:
            files, root = self._open()
            path = root if location is None else f"{root.rstrip('/')}/{location}"
            yield files, path
        except BeautyspotError:
            raise
        except Exception as error:  # each file system has errors of its own
            where = f"below {self._shown()}" if location is None else self._shown(location)
            if isinstance(error, FileNotFoundError):
                raise MissingBlobError(f"cannot {what} {where}: it is gone") from error
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
    except (ImportError, ValueError) as error:  # its text says what to install
        raise ConfigurationError(f"fsspec has no file system for {scheme}://: {error}") from error


def _publishes_whole(files: Any) -> bool:
    asyn: Any = importlib.import_module("fsspec.asyn")
    return isinstance(files, asyn.AsyncFileSystem)


def _listed(files: Any, path: str) -> list[dict[str, Any]]:
    """What is in a directory now. A storage may have millions of blobs: what was listed is not remembered."""
    files.invalidate_cache()
    try:
        found: list[dict[str, Any]] = files.ls(path, detail=True)
    except FileNotFoundError:  # nothing was written there yet
        return []
    files.invalidate_cache()
    return found


def _name(entry: Mapping[str, Any]) -> str:
    return str(entry["name"]).rstrip("/").rpartition("/")[2]


def _modified(files: Any, entry: Mapping[str, Any]) -> float:
    """Seconds since the epoch; now, where the file system does not know: what is new is not taken for garbage."""
    found = next((entry[key] for key in _TIMES if entry.get(key) is not None), None)
    try:
        found = files.modified(entry["name"]) if found is None else found
        found = datetime.fromisoformat(found) if isinstance(found, str) else found
    except (NotImplementedError, FileNotFoundError, ValueError):
        return time.time()
    if isinstance(found, datetime):
        # Some tell the time here without saying so, and some that of Greenwich: the later one harms no blob.
        return found.timestamp() if found.tzinfo else max(found.timestamp(), found.replace(tzinfo=UTC).timestamp())
    return float(found)
