"""Caches of ``diskcache`` and ``joblib.Memory``, read call by call. Their files are only read.

Their values are pickles, and so are the keys of diskcache: the user has allowed reading them before this is called.
"""

from __future__ import annotations

import ast
import json
import os
import re
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from beautyspot.errors import ConfigurationError

_ROWS = "SELECT rowid, key, raw, expire_time, mode, filename, value FROM Cache WHERE rowid > ? ORDER BY rowid LIMIT 100"
_FILE = re.compile(r"[0-9a-f]{2}/[0-9a-f]{2}/[0-9a-f]{28}\.val")
_BINARY, _TEXT, _PICKLE = 2, 3, 4  # modes of diskcache
_NO_CALL = "(no call of a function)"
_CALL = re.compile(r"[0-9a-f]{32}")  # a directory of joblib for one call

Reading = tuple[tuple[Any, ...], dict[str, Any]]


class Skipped(Exception):
    """Says why an entry cannot be imported."""


class CachedCall(NamedTuple):
    """An entry of another cache.

    Attributes:
        readings: Reads the call's arguments, positional and named; several where the key is ambiguous.
        value: Reads the result.
        expired: Whether it has expired.
    """

    readings: Callable[[], list[Reading]]
    value: Callable[[], Any]
    expired: bool = False


@dataclass(slots=True)
class OtherCache:
    """A directory of another library.

    Attributes:
        root: The directory of its functions or files.
        entries: Yields the entries of a function, by its name.
        seen: The number of entries of each function that `entries` has passed.
    """

    root: Path
    entries: Callable[[OtherCache, str], Iterator[CachedCall]]
    seen: Counter[str]

    def code_of(self, name: str) -> str | None:
        """The code that a function had when joblib cached its results; ``None`` if it is unknown."""
        path = self.root.joinpath(*name.split("."), "func_code.py")
        return path.read_text(errors="replace") if self.entries is _of_joblib and path.is_file() else None


def other_cache(directory: Path) -> OtherCache:
    """The cache in a directory.

    Raises:
        ConfigurationError: If there is none.
    """
    if _files(directory):
        return OtherCache(directory, _of_diskcache, Counter())
    root = directory / "joblib" if (directory / "joblib").is_dir() else directory
    if next(root.glob("**/func_code.py"), None) is not None:
        return OtherCache(root, _of_joblib, Counter())
    raise ConfigurationError(
        f"{directory} is not a directory of diskcache (it has no cache.db) nor of joblib.Memory (it has no "
        "func_code.py)"
    )


def _files(directory: Path) -> list[Path]:
    """The file of a ``Cache``, or those of a ``FanoutCache``."""
    return [*directory.glob("cache.db"), *sorted(directory.glob("[0-9][0-9][0-9]/cache.db"))]


def _of_diskcache(cache: OtherCache, name: str) -> Iterator[CachedCall]:
    now = time.time()
    for path in _files(cache.root):
        for packed, raw, expires, *columns in _rows(path):
            of, key = _name_and_key(packed, raw)
            cache.seen[of] += 1
            if of == name:
                is_over = expires is not None and expires <= now
                yield CachedCall(partial(_readings, key), partial(_value, path.parent, *columns), is_over)


def _rows(path: Path) -> Iterator[tuple[Any, ...]]:
    last = 0
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as file:
            while rows := file.execute(_ROWS, (last,)).fetchall():
                last = rows[-1][0]
                yield from (row[1:] for row in rows)
    except sqlite3.Error as error:
        raise ConfigurationError(f"{path} cannot be read as a cache of diskcache: {error}") from error


def _name_and_key(packed: Any, raw: bool) -> tuple[str, tuple[Any, ...]]:
    """The function of an entry, and its key; or a text that says what else it is."""
    from beautyspot.maintenance.unpickling import unpickled

    if raw:
        return _NO_CALL, ()
    try:
        key: Any = unpickled(packed)
    except Exception as error:  # a pickle may raise anything
        return f"(a key that cannot be unpickled: {type(error).__name__}: {error})", ()
    if isinstance(key, tuple) and len(key) > 1:
        name, *_ = key
        return (name, key) if isinstance(name, str) else (_NO_CALL, ())
    return _NO_CALL, ()


def _readings(key: tuple[Any, ...]) -> list[Reading]:
    """The calls for which ``memoize`` makes a key: ``(name, *args, None, name, value, …, type, …)``.

    The ``None`` that ends the positional arguments cannot be told from one that is an argument.
    """
    found: list[Reading] = []
    for end in (i for i in range(1, len(key)) if key[i] is None):
        args, rest = key[1:end], key[end + 1 :]
        named, typed = divmod(len(rest), 2), divmod(len(rest) - len(args), 3)
        if not named[1]:
            found += _reading(args, rest, ())
        if not typed[1] and typed[0] >= 0 and len(rest) > 2 * typed[0]:
            found += _reading(args, rest[: 2 * typed[0]], rest[2 * typed[0] :])
    return found


def _reading(args: tuple[Any, ...], items: tuple[Any, ...], types: tuple[Any, ...]) -> list[Reading]:
    names, values = items[::2], items[1::2]
    if not all(type(name) is str for name in names) or list(names) != sorted(set(names)):
        return []
    if types and types != tuple(map(type, (*args, *values))):
        return []
    return [(args, dict(zip(names, values, strict=True)))]


def _value(directory: Path, mode: int, filename: str | None, value: Any) -> Any:
    from beautyspot.maintenance.unpickling import unpickled, unpickled_file

    if filename is None:
        return unpickled(value) if mode == _PICKLE else value
    if not _FILE.fullmatch(filename):
        raise Skipped("its row names a file outside of the cache")
    path = directory / filename
    if not path.is_file():
        raise Skipped("its file is gone")
    if mode == _TEXT:
        return path.read_text(encoding="UTF-8")
    return path.read_bytes() if mode == _BINARY else unpickled_file(path)


def _of_joblib(cache: OtherCache, name: str) -> Iterator[CachedCall]:
    from beautyspot.maintenance.unpickling import unpickled_output

    try:
        from joblib import hash as joblib_hash
    except ImportError as error:
        raise ConfigurationError(
            'a directory of joblib.Memory is read by joblib: pip install "beautyspot[joblib]"'
        ) from error
    for place, folders, _ in os.walk(cache.root):
        calls = [folder for folder in folders if _CALL.fullmatch(folder)]
        folders[:] = sorted(set(folders) - set(calls))
        function = ".".join(Path(place).relative_to(cache.root).parts)
        cache.seen[function] += len(calls)
        for call in calls if function == name else ():
            path = Path(place, call)
            yield CachedCall(
                partial(_joblib_readings, joblib_hash, path), partial(unpickled_output, path / "output.pkl")
            )


def _joblib_readings(joblib_hash: Callable[[Any], str | None], directory: Path) -> list[Reading]:
    """The arguments of one call, named as joblib names them: ``*`` and ``**`` for those that have no name."""
    if not (directory / "output.pkl").is_file():
        raise Skipped("it has no output.pkl: joblib was stopped while it wrote it")
    try:
        texts = json.loads((directory / "metadata.json").read_bytes())["input_args"]
    except (OSError, ValueError, KeyError, TypeError):
        raise Skipped("it has no metadata.json that says its arguments") from None
    arguments = {name: _literal(name, text) for name, text in texts.items()}
    # A text may look like another value: joblib writes 3.0 for np.float64(3.0) too.
    if joblib_hash(arguments) != directory.name:
        raise Skipped(
            "its arguments are not what their texts in metadata.json say: joblib's own hash of these is another"
        )
    return [((), arguments)]


def _literal(name: str, text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        raise Skipped(f"joblib stored its argument {name!r} only as a text, which is not a literal of Python") from None
