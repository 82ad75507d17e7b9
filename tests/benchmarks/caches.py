"""Other caches, used as their users do: each wraps a function and runs many calls in eight threads."""

import functools
import hashlib
import json
import sqlite3
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cachier
import diskcache
import joblib

import beautyspot as bs

WORKERS = 8
Function = Callable[[str, int], Any]
Map = Callable[[Function, list[str], Iterable[int]], list[Any]]


class TwentyLines:
    """A cache as users write it: one table, a digest of the arguments as JSON, one lock for the connection."""

    def __init__(self, path: Path) -> None:
        self.db = sqlite3.connect(path, check_same_thread=False, timeout=60)
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("CREATE TABLE IF NOT EXISTS results (key TEXT PRIMARY KEY, value TEXT)")
        self.lock = threading.Lock()

    def __call__(self, function: Function) -> Function:
        @functools.wraps(function)
        def call(*args: Any) -> Any:
            key = hashlib.sha256(json.dumps([function.__name__, args]).encode()).hexdigest()
            with self.lock:
                row = self.db.execute("SELECT value FROM results WHERE key = ?", (key,)).fetchone()
            if row is not None:
                return json.loads(row[0])
            value = function(*args)
            with self.lock, self.db:
                self.db.execute("INSERT OR REPLACE INTO results VALUES (?, ?)", (key, json.dumps(value)))
            return value

        return call


def in_threads(call: Function, texts: list[str], numbers: Iterable[int]) -> list[Any]:
    with ThreadPoolExecutor(WORKERS) as pool:
        return list(pool.map(call, texts, numbers))


def with_joblib(call: Function, texts: list[str], numbers: Iterable[int]) -> list[Any]:
    parallel = joblib.Parallel(n_jobs=WORKERS, backend="threading")
    return list(parallel(joblib.delayed(call)(text, number) for text, number in zip(texts, numbers, strict=True)))


def with_beautyspot(call: Function, texts: list[str], numbers: Iterable[int]) -> list[Any]:
    return bs.map(call, texts, numbers, workers=WORKERS, progress=False)  # type: ignore[call-overload, no-any-return]


def beautyspot_task(directory: Path, function: Function) -> Function:
    return bs.Project("bench", db=directory / "bench.db", storage_path=directory / "blobs").task(function)


CACHES: dict[str, tuple[Callable[[Path, Function], Function], Map]] = {
    "beautyspot": (beautyspot_task, with_beautyspot),
    "joblib.Memory": (
        lambda directory, function: joblib.Memory(directory / "joblib", verbose=0).cache(function),
        with_joblib,
    ),
    "diskcache": (lambda directory, function: diskcache.Cache(directory / "diskcache").memoize()(function), in_threads),
    "cachier": (
        lambda directory, function: cachier.cachier(cache_dir=directory / "cachier", separate_files=True)(function),
        in_threads,
    ),
    "20 lines of sqlite3": (lambda directory, function: TwentyLines(directory / "lines.db")(function), in_threads),
}
