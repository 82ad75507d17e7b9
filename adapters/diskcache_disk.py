"""PlainDisk: storage of diskcache without pickle.

The `Disk` of diskcache pickles every key and value that is not text, bytes or a number, and unpickles whatever a row
of its file says is a pickle: who can write to the directory runs code in every process that reads it
(CVE-2025-69872). This one writes no pickle and loads none, and touches no file outside of its directory.
"""

from __future__ import annotations

import logging
import os
import re
from contextlib import closing
from pathlib import Path
from sqlite3 import OperationalError, connect
from typing import Any

from diskcache import UNKNOWN, Disk
from diskcache.core import (
    DBNAME,
    DEFAULT_SETTINGS,
    EVICTION_POLICY,
    METADATA,
    MODE_BINARY,
    MODE_RAW,
    MODE_TEXT,
)

from beautyspot.errors import DeserializationError, ForeignIndexError, SerializationError, UnkeyableError

_FILE = re.compile(r"[0-9a-f]{2}/[0-9a-f]{2}/[0-9a-f]{28}\.val")  # as `Disk.filename` makes them
_WORDS = {"eviction_policy": set(EVICTION_POLICY), "sqlite_journal_mode": {"wal", "delete", "truncate", "persist"}}


class PlainDisk(Disk):  # type: ignore[misc]
    """Keys and values of diskcache as text, bytes and numbers; ``diskcache.Cache(directory, disk=PlainDisk)``."""

    def put(self, key: Any) -> Any:
        """The columns of a key.

        Raises:
            UnkeyableError: If only pickle could write it.
        """
        if not _is_plain(key):
            raise UnkeyableError(
                f"a key in a cache without pickle is text, bytes, a float or an int of 64 bits, not {_kind(key)}"
            )
        return super().put(key)

    def get(self, key: Any, raw: bool) -> Any:
        """The key of its columns.

        Raises:
            DeserializationError: If it is a pickle, which is not loaded.
        """
        if not raw:
            raise DeserializationError(f"a key of the cache in {self._directory} is a pickle and was not loaded")
        return super().get(key, raw)

    def store(self, value: Any, read: bool, key: Any = UNKNOWN) -> Any:
        """The columns of a value, which is written to a file if it is large.

        Raises:
            SerializationError: If only pickle could write it; it carries the value.
        """
        if not (read or _is_plain(value)):
            raise SerializationError(
                f"a value in a cache without pickle is text, bytes, a float or an int of 64 bits, not {_kind(value)}",
                value=value,
            )
        return super().store(value, read, key)

    def fetch(self, mode: int, filename: str | None, value: Any, read: bool) -> Any:
        """The value of its columns.

        Raises:
            DeserializationError: If it is a pickle, or in a file that is none of this cache: it is not loaded then.
        """
        if mode not in (MODE_RAW, MODE_BINARY, MODE_TEXT):
            raise DeserializationError(f"a value of the cache in {self._directory} is a pickle and was not loaded")
        if mode != MODE_RAW and not self._is_ours(filename):
            raise DeserializationError(
                f"a row of the cache in {self._directory} names the file {filename!r}, which is none of that cache and "
                "was not opened"
            )
        return super().fetch(mode, filename, value, read)

    def remove(self, file_path: str) -> None:
        """Delete a file of this cache; any other stays, whatever a row says."""
        if self._is_ours(file_path):
            super().remove(file_path)
        else:
            logging.getLogger("beautyspot").warning(
                "a row of the cache in %s named the file %r, which is none of that cache and was left alone",
                self._directory,
                file_path,
            )

    def _write(self, full_path: str, *rest: Any, **named: Any) -> Any:
        try:
            return super()._write(full_path, *rest, **named)
        except BaseException:  # a full disk: the part that was written would never be deleted
            Path(full_path).unlink(missing_ok=True)
            raise

    def _is_ours(self, filename: object) -> bool:
        if not isinstance(filename, str) or not _FILE.fullmatch(filename):
            return False
        path = Path(self._directory, filename)
        return not any(part.is_symlink() for part in (path, path.parent, path.parent.parent))


def _is_plain(thing: object) -> bool:
    kind = type(thing)
    return kind in (bytes, str, float) or (kind is int and -(1 << 63) <= thing < 1 << 63)  # type: ignore[operator]


def _kind(thing: object) -> str:
    return "an int that is larger" if type(thing) is int else f"a {type(thing).__qualname__}"


def check_settings(directory: str) -> None:
    """Refuse a cache with an unknown setting: diskcache makes an attribute of each setting, of any name.

    Raises:
        ForeignIndexError: If there is one.
    """
    path = os.path.join(directory, DBNAME)
    if not os.path.exists(path):
        return
    with closing(connect(f"{Path(path).absolute().as_uri()}?mode=ro", uri=True)) as file:
        try:
            settings = file.execute("SELECT key, value FROM Settings").fetchall()
        except OperationalError as error:
            if "no such table" in str(error):
                return  # it is being made just now
            raise
    for name, value in settings:
        fits = value in _WORDS[name] if name in _WORDS else isinstance(value, int | float)
        if name not in {*DEFAULT_SETTINGS, *METADATA} or not fits:
            raise ForeignIndexError(
                f"{path} is not a cache as diskcache writes it: it sets {name!r} to {value!r}. It was left "
                "untouched; give another directory"
            )
