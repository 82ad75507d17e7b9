"""What an index of any size takes and does, computed: each function says what it assumes.

Rows are those of `scaling_stores`: a value of 149 bytes, a name of 22, a preview of 62. What was measured stands in
`MEASURED`, and `sizing` says how far the model is from it.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks.tables import table

PAGE, SQLITE_PAGE = 8192, 4096

# What a page is full of, for entries that come in no order: pages are split in half, and grow full again.
RANDOM_FILL = math.log(2)
# SQLite deals the rows of a full page among its neighbours first; how full that leaves them was measured.
SQLITE_RANDOM_FILL = 0.84
# PostgreSQL leaves a tenth free where entries come in order.
ORDERED_FILL = 0.9
# Names in turns: each grows in the middle of the index, whose pages stay as they were split; measured, too.
BY_TURNS_FILL = 0.5

VALUE, NAME, PREVIEW, WORKER = 149, 22, 62, 14


class Parts(NamedTuple):
    """Bytes a row."""

    table: float
    by_key: float
    by_function: float
    by_id: float

    @property
    def total(self) -> float:
        return sum(self)


def _aligned(at: int, to: int) -> int:
    return -(-at // to) * to


def _text(at: int, length: int) -> int:
    """Where a text or bytes of that length end: up to 126 bytes have one byte before them, others four, aligned."""
    return at + 1 + length if length <= 126 else _aligned(at, 4) + 4 + length


def postgres_row(value: int = VALUE, name: int = NAME, preview: int = PREVIEW) -> int:
    """Bytes of a row in PostgreSQL's table, its pointer included.

    Assumes 24 bytes of header and 2 of the map of what is null, aligned to 8; no value so long that it is put aside
    (2 kB); two arguments.
    """
    at = 32 + 16 + 8  # header, key, id
    for length in (value, 4):  # value, checksum
        at = _text(at, length)
    at = _aligned(at, 8) + 8  # size
    for length in (8, name, 0, preview, 8):  # code, function, version, input, arguments
        at = _text(at, length)
    at = _aligned(at, 8) + 16  # created, seconds
    return _aligned(_text(at, WORKER), 8) + 4


def postgres_parts(value: int = VALUE, name: int = NAME, preview: int = PREVIEW) -> Parts:
    """Bytes a row of PostgreSQL's table and indexes.

    Assumes that nothing was deleted; keys in no order; functions that take turns. An entry of an index has 8 bytes
    of header and a pointer of 4; a page has 24 bytes of header, one of an index 16 more.
    """
    a_page = (PAGE - 24) // postgres_row(value, name, preview)
    room = PAGE - 40
    by_function = _aligned(_text(0, name), 8) + 8 + 12
    return Parts(
        PAGE / a_page,
        PAGE / (room / (16 + 12) * RANDOM_FILL),
        PAGE / (room / by_function * BY_TURNS_FILL),
        PAGE / (room / (8 + 12) * ORDERED_FILL),
    )


def sqlite_parts(value: int = VALUE, name: int = NAME, preview: int = PREVIEW) -> Parts:
    """Bytes a row of SQLite's file: results (found by their keys), records (by their ids), and names.

    Assumes rows of some hundred bytes, so that lengths take one or two; keys in no order; a pointer of 2 bytes.
    """
    result = 2 + 9 + 11 + 16 + value + 4 + 2 + 8 + 4 + 2
    record = 2 + 4 + 14 + 16 + name + preview + 8 + 2 + 8 + 8 + WORKER + 2
    named = 1 + 3 + name + 4 + 2
    room = SQLITE_PAGE - 8
    return Parts(
        SQLITE_PAGE / (room // record),
        SQLITE_PAGE / (room / result * SQLITE_RANDOM_FILL),
        SQLITE_PAGE / (room / named * ORDERED_FILL),
        0.0,
    )


def upper_pages(parts: float, page: int, entry: int, fill: float) -> float:
    """Bytes a row of the pages above a tree's leaves, which take *parts*.

    Assumes entries above of *entry* bytes, and pages as full as the leaves.
    """
    return parts / ((page - 40) / entry * fill - 1)


def _postgres_upper() -> float:
    return upper_pages(postgres_parts().by_key, PAGE, 16 + 12, RANDOM_FILL)


def _sqlite_upper() -> float:
    return upper_pages(sqlite_parts().by_key, SQLITE_PAGE, 4 + 9 + 2, SQLITE_RANDOM_FILL)


def in_memory(rows: float, reads: int) -> dict[str, float]:
    """Bytes that must be in memory for a hit to read at most so many pages from disk, where all keys are asked for.

    A hit in PostgreSQL goes down the index of keys, and then to the table: with one read, all of that index is in
    memory; with two, all but its leaves. SQLite's rows are the leaves of the tree of keys: with one, all above them.
    """
    index, result = postgres_parts().by_key, sqlite_parts().by_key
    postgres = {0: postgres_parts().table + index, 1: index, 2: _postgres_upper()}
    sqlite = {0: result, 1: _sqlite_upper(), 2: 0.0}
    return {"PostgreSQL": postgres[reads] * rows, "SQLite": sqlite[reads] * rows}


def reads_of_a_hit(rows: float, before: float) -> dict[str, float]:
    """Pages that a hit reads from disk after so many others, with enough memory that was empty before them.

    Each hit of a key in no order reads one page of each level, and has not met it yet with a chance that falls with
    every hit before.
    """
    parts, result = postgres_parts(), sqlite_parts().by_key
    postgres = [each * rows / PAGE for each in (parts.table, parts.by_key, _postgres_upper())]
    sqlite = [each * rows / SQLITE_PAGE for each in (result, _sqlite_upper())]
    found = (sum(math.exp(-before / pages) for pages in levels) for levels in (postgres, sqlite))
    return dict(zip(("PostgreSQL", "SQLite"), found, strict=True))


def log_of_a_row(rows: float, inserts: float, plain: float = 750.0) -> float:
    """Bytes of PostgreSQL's log for a row, inserted by itself, among so many since the last checkpoint.

    The first change of a page after a checkpoint writes the whole page to the log, without what is free in it. Keys
    in no order meet another page nearly every time, until most have been met. Assumes full_page_writes, no
    compression, and *plain* bytes of a row else (the row, three entries, a commit; measured in a small index).
    """
    leaves = max(1.0, rows * postgres_parts().by_key / PAGE)
    met = leaves * -math.expm1(-inserts / leaves)
    return plain + PAGE * RANDOM_FILL * met / inserts


def statements(calls: float, hits: float, batched: bool = False) -> float:
    """Statements a second of so many calls a second, of which a share is kept.

    A hit is one and a miss five: look, lock, look again, insert, unlock. In a map of quick calls that are new,
    64 calls share five or six, and a map finds what is kept 2,000 to a statement.
    """
    if batched:
        return calls * (hits / 2000 + (1 - hits) * 0.07)
    return calls * (hits + 5 * (1 - hits))


def calls_a_second(workers: int, seconds: float, hits: float, trip: float) -> float:
    """Calls a second of so many workers, each with one at a time, where the server is not what holds them up.

    *seconds* is what a call runs, or what happens between two hits; a round trip is *trip*, the server's part
    included.
    """
    return workers / (seconds + trip * (hits + 5 * (1 - hits)))


def connections(processes: int, pool_size: int = 4, threads: int = 8) -> int:
    """Connections at the most: those of the pool, no more than there are threads, and one for locks."""
    return processes * (min(pool_size, threads) + 1)


def locks(processes: int, threads: int = 8, quick: bool = False) -> int:
    """Locks held at the most: one for each call under way; where calls are quick, a thread holds up to 64."""
    return processes * threads * (64 if quick else 1)


def lock_slots(max_connections: int, max_locks_per_transaction: int = 64) -> int:
    """Locks for which PostgreSQL certainly has room, those of its own work included; prepared transactions: none."""
    return max_connections * max_locks_per_transaction


def requests_to_s3(hits: float, misses: float, blobs: float = 1.0) -> tuple[float, float]:
    """PUT and GET requests of calls whose results are blobs up to 8 MiB; *blobs* is the share that is."""
    return misses * blobs, hits * blobs


def price_of_s3(puts: float, gets: float, stored: float, put: float, get: float, month: float) -> float:
    """What S3 asks for: requests, at your provider's price for a thousand; bytes, at its price for a GB and month."""
    return puts / 1000 * put + gets / 1000 * get + stored / 1e9 * month


class Measured(NamedTuple):
    """What ``python -m tests.benchmarks scaling`` gave at one size."""

    rows: int
    postgres: Parts
    sqlite: Parts
    log_at_first: float  # bytes of a row, 2,000 after a checkpoint
    reads: dict[str, float]  # pages of a hit, after some 3,750 others


MEASURED = (
    Measured(1_005_000, Parts(373, 40, 90, 22), Parts(158, 245, 34, 0), 5861, {"PostgreSQL": 1.36, "SQLite": 0.95}),
    Measured(10_005_000, Parts(372, 40, 90, 22), Parts(158, 245, 35, 0), 6956, {"PostgreSQL": 1.93, "SQLite": 1.21}),
)


def sizing(directory: Path) -> str:
    """The model beside what was measured, and what it says of a billion results."""
    return "\n".join([_errors(), _large(), _logs(), _held()])


def _errors() -> str:
    rows: list[Sequence[object]] = []

    def compared(name: str, model: Callable[[Measured], float], seen: Callable[[Measured], float]) -> None:
        cells = [f"{_shown(seen(m))}, {_shown(model(m))} ({model(m) / seen(m) - 1:+.0%})" for m in MEASURED]
        rows.append((name, *cells))

    for name, model, of in (
        ("PostgreSQL", postgres_parts(), lambda m: m.postgres),
        ("SQLite", sqlite_parts(), lambda m: m.sqlite),
    ):
        for part in Parts._fields:
            if getattr(model, part):
                compared(
                    f"{name}, {part.replace('_', ' ')}: bytes a row",
                    lambda m, model=model, part=part: getattr(model, part),  # type: ignore[misc]
                    lambda m, of=of, part=part: getattr(of(m), part),  # type: ignore[misc]
                )
        compared(f"{name}, all", lambda m, model=model: model.total, lambda m, of=of: of(m).total)  # type: ignore[misc]
    compared("log of a row, 2,000 after a checkpoint", lambda m: log_of_a_row(m.rows, 2000), lambda m: m.log_at_first)
    for name in ("PostgreSQL", "SQLite"):
        compared(
            f"{name}: pages that a hit reads",
            lambda m, name=name: reads_of_a_hit(m.rows, 3750)[name],  # type: ignore[misc]
            lambda m, name=name: m.reads[name],  # type: ignore[misc]
        )
    head = ("measured, model (error)", *(f"{measured.rows:,} rows" for measured in MEASURED))
    return table("The model, and what was measured", head, rows)


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2f}"


def _gb(count: float) -> str:
    return f"{count / 1e9:,.3g}"


def _large() -> str:
    rows = []
    for count in (1e6, 1e7, 1e8, 1e9):
        postgres, sqlite = postgres_parts(), sqlite_parts()
        sizes = (sqlite.total, postgres.total, postgres.table, postgres.total - postgres.table)
        memory = [
            in_memory(count, reads)[name] for name, reads in (("SQLite", 1), ("PostgreSQL", 1), ("PostgreSQL", 2))
        ]
        rows.append((f"{count:,.0f}", *(_gb(count * each) for each in sizes), *map(_gb, memory)))
    head = ("results", "SQLite", "PostgreSQL", "its table", "its indexes")
    memory_head = ("SQLite, 1 read", "PostgreSQL, 1 read", "2 reads")
    return table("GB on disk, and in memory for a hit with so many reads", (*head, *memory_head), rows)


def _logs() -> str:
    rows = []
    for count in (1e7, 1e8, 1e9):
        cells = []
        for a_second in (100, 1000, 5000):
            a_row = log_of_a_row(count, a_second * 900)
            cells.append(f"{a_row:,.0f}, {a_row * a_second / 1e6:,.1f}")
        rows.append((f"{count:,.0f}", *cells))
    head = ("results", *(f"{rate:,} inserts a second" for rate in (100, 1000, 5000)))
    return table("Log: bytes of a row, MB a second, with a checkpoint every 15 minutes", head, rows)


def _held() -> str:
    rows = []
    for name, processes, threads, pool, quick in (
        ("1,000 processes, one call each", 1000, 1, 4, False),
        ("1,000 processes of 8 threads", 1000, 8, 4, False),
        ("the same, `pool_size=1`", 1000, 8, 1, False),
        ("the same, quick calls", 1000, 8, 1, True),
        ("125 processes of 8 threads", 125, 8, 4, False),
        ("the same, quick calls", 125, 8, 4, True),
    ):
        held, opened = locks(processes, threads, quick), connections(processes, pool, threads)
        rows.append((name, f"{opened:,}", f"{held:,}", f"{lock_slots(opened):,}", math.ceil(held / opened) + 16))
    head = ("", "connections", "locks", "slots at 64 a connection", "`max_locks_per_transaction`")
    return table("Connections and locks, at the most", head, rows)
