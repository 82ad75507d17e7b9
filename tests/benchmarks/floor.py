"""The floor: the least that caching a result costs, with plain ``sqlite3``, one digest and MessagePack."""

import sqlite3
from pathlib import Path

import msgpack
from blake3 import blake3


class Floor:
    """A minimal cache: a 128-bit digest of the packed arguments, an indexed SELECT or INSERT, a MessagePack decode."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.db = sqlite3.connect(directory / "floor.db", isolation_level=None, check_same_thread=False)
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = NORMAL")
        self.db.execute("CREATE TABLE IF NOT EXISTS results (key BLOB PRIMARY KEY, value BLOB)")

    def key(self, *args: object) -> bytes:
        return blake3(msgpack.packb(args)).digest(16)

    def get(self, *args: object) -> object:
        row = self.db.execute("SELECT value FROM results WHERE key = ?", (self.key(*args),)).fetchone()
        return msgpack.unpackb(row[0])

    def put(self, value: object, *args: object) -> None:
        self.db.execute("INSERT INTO results VALUES (?, ?)", (self.key(*args), msgpack.packb(value)))

    def put_many(self, values: list[object], calls: list[tuple[object, ...]]) -> None:
        self.db.execute("BEGIN IMMEDIATE")
        rows = ((self.key(*args), msgpack.packb(value)) for value, args in zip(values, calls, strict=True))
        self.db.executemany("INSERT INTO results VALUES (?, ?)", rows)
        self.db.execute("COMMIT")
