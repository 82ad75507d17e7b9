"""Hits, bulk lookups, inserts, lists and sizes of indexes with ten thousand, one million and ten million results."""

import functools
import itertools
import random
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import beautyspot as bs
from beautyspot.protocols.index import Record, TaskDB
from tests.benchmarks.scaling_stores import (
    LOTS,
    SETTINGS,
    TEXT,
    PostgresStore,
    SQLiteStore,
    Store,
    calls_of,
    key_of,
    row_of,
)
from tests.benchmarks.tables import in_turns, median, ratio, table
from tests.support.servers import PostgresServer

SIZES = (10_000, 1_000_000, 10_000_000)
ROUNDS = 11
CALLS = 5000  # cached calls of the task, spread over each index
BULK = 20_000
INSERTS = (  # name, number of rows, and rows to a transaction
    ("insert, one by one", 200, 1),
    ("insert, in groups of 64", 16 * 64, 64),
    ("insert, in groups of 1,000", 4000, 1000),
)
FRESH = 1 << 40  # numbers from here on are in no index


def function(text: str, number: int) -> str:
    """Return a result of some 150 bytes."""
    return TEXT


def scaling(directory: Path, sizes: Sequence[int] = SIZES) -> str:
    """Measure each store at each size, the sizes in turn, so that changes in the machine's speed affect all alike."""
    times: list[str] = []
    space: list[tuple[object, ...]] = []
    with ExitStack() as stack:
        server = PostgresServer(**SETTINGS)
        stack.callback(server.stop)
        for store in (SQLiteStore(directory), PostgresStore(server)):
            tasks = {size: bs.Project("scaling", db=store.index(size)).task(function) for size in sizes}
            space += [_filled(store, size, tasks[size]) for size in sizes]
            times.append(_timed(store, sizes, tasks))
            store.close(sizes)
            print(times[-1], flush=True)
    head = ("", "results", "MB", "bytes a row", "of which", "`count(*)`, s", "filling, µs each")
    return table("On disk", head, space)


def _filled(store: Store, size: int, task: Any) -> tuple[object, ...]:
    """Fill an index; return the row of its disk space and times."""
    step = CALLS // LOTS
    started = time.perf_counter()
    store.fill(size, lambda turn: calls_of(task, range(turn * step, (turn + 1) * step)))
    filling = (time.perf_counter() - started) / size * 1e6
    store.settle(size)
    started = time.perf_counter()
    kept = store.count(size)
    counting = time.perf_counter() - started
    parts = store.parts(size)
    split = ", ".join(f"{name} {taken / kept:.0f}" for name, taken in parts.items())
    total = sum(parts.values())
    row = (store.name, f"{kept:,}", f"{total / 1e6:,.0f}", f"{total / kept:.0f}", split)
    _say((*row, f"{counting:.2f}", f"{filling:.0f}"))
    return (*row, f"{counting:.2f}", f"{filling:.0f}")


def _timed(store: Store, sizes: Sequence[int], tasks: dict[int, Any]) -> str:
    rows: list[tuple[object, ...]] = []
    for name, calls, work in _works(store, sizes, tasks):
        took = in_turns(work, calls, ROUNDS)
        rows.append((name, *(_shown(took, size, sizes[0]) for size in sizes)))
        _say(rows[-1])
    if isinstance(store, PostgresStore):
        logged = [_logged(store, size) for size in sizes]
        rows.append(("log of a row just after a checkpoint, bytes", *(f"{at_first:,.0f}" for at_first, _ in logged)))
        rows.append(("log of a row 2,000 rows later, bytes", *(f"{later:,.0f}" for _, later in logged)))
    cold = {size: _cold(store, size) for size in sizes}
    rows.append(("a hit from disk: µs", *(f"{cold[size][0]:,.0f}" for size in sizes)))
    rows.append(("pages that it reads", *(f"{cold[size][1]:.2f}" for size in sizes)))
    _say(rows[-4:])
    return table(store.name, ("µs each", *(f"{size:,}" for size in sizes)), rows)


def _shown(took: dict[str, list[float]], size: int, base: int) -> str:
    one = median(took[str(size)])
    against = "" if size == base else f" ({ratio(took, str(size), str(base)):.2f} ×)"
    return (f"{one:,.0f}" if one >= 100 else f"{one:.1f}") + against


Work = dict[str, Callable[[int], None]]


def _works(store: Store, sizes: Sequence[int], tasks: dict[int, Any]) -> list[tuple[str, int, Work]]:
    for turn, size in itertools.product(range(ROUNDS), sizes):  # made before anything is timed
        _wanted(size, 500, turn)
        _wanted(size, min(size, BULK), turn)
    for turn, (_, count, group) in itertools.product(range(ROUNDS), INSERTS):
        _fresh(group, count, turn)

    def each(run: Callable[..., None], *args: Any) -> Work:
        return {str(size): functools.partial(run, store.index(size), size, *args) for size in sizes}

    hits: Work = {str(size): functools.partial(_task_hits, tasks[size]) for size in sizes}
    return [
        ("a task's hit", 500, hits),
        ("`lookup` of one key", 500, each(_lookups)),
        ("`lookup` of 20,000 keys, each", BULK, each(_bulk_lookup)),
        *((name, count, each(_insert, count, group)) for name, count, group in INSERTS),
        ("the newest 500 of one function, each", 500, each(_listed, "pipeline.model.score_3")),
        ("the newest 500 of all, each", 500, each(_listed, None)),
    ]


@functools.cache
def _wanted(size: int, count: int, turn: int) -> list[bytes]:
    """Return keys of random rows."""
    return [key_of(number) for number in random.Random(turn).sample(range(size), count)]


@functools.cache
def _fresh(group: int, count: int, turn: int) -> list[Record]:
    """Return rows that no index has."""
    start = FRESH + 100_000_000 * turn + 10_000 * group
    return [row_of(number) for number in range(start, start + count)]


def _task_hits(task: Any, turn: int) -> None:
    for number in random.Random(turn).sample(range(CALLS), 500):
        task("some text", number)


def _lookups(db: TaskDB, size: int, turn: int) -> None:
    get = getattr(db, "get", None) or (lambda key: db.lookup([key])[key])
    for key in _wanted(size, 500, turn):
        assert get(key) is not None


def _bulk_lookup(db: TaskDB, size: int, turn: int) -> None:
    """Look up 20,000 keys at once; a smaller index is asked for all of its keys repeatedly."""
    keys = _wanted(size, min(size, BULK), turn)
    for _ in range(BULK // len(keys)):
        assert len(db.lookup(keys)) == len(keys)


def _insert(db: TaskDB, size: int, count: int, group: int, turn: int) -> None:
    records = _fresh(group, count, turn)
    for at in range(0, count, group):
        db.upsert(records[at : at + group])


def _listed(db: TaskDB, size: int, name: str | None, turn: int) -> None:
    assert sum(1 for _ in islice(db.summaries(name), 500)) == 500


def _logged(store: PostgresStore, size: int) -> list[float]:
    """Return the bytes of write-ahead log for a row inserted alone: just after a checkpoint, and later."""
    seen = []
    store.server.execute("CHECKPOINT")
    for turn in range(2):
        records = _fresh(0, 2000, turn)
        before = store.server.execute("SELECT pg_current_wal_insert_lsn()::text")[0][0]
        for record in records:
            store.index(size).upsert([record])
        sql = f"SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '{before}')::bigint"
        seen.append(store.server.execute(sql)[0][0] / len(records))
    return seen


def _cold(store: Store, size: int) -> tuple[float, float]:
    """Return the microseconds and pages of a hit whose row is not in memory, while the upper pages of its tree are."""
    store.forget()
    keys = [key_of(number) for number in random.Random(size).sample(range(size), min(4000, size))]
    db = store.index(size)
    for key in keys[:-1000]:
        db.lookup([key])
    started = time.perf_counter()
    for key in keys[-1000:-500]:
        db.lookup([key])
    took = (time.perf_counter() - started) / 500 * 1e6
    return took, store.pages_read(size, keys[-500:])


def _say(found: object) -> None:
    """Print progress to standard error."""
    print(f"[{time.strftime('%H:%M:%S')}] {found}", file=sys.stderr, flush=True)
