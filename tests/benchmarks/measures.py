"""The measurements. Each takes a directory of its own and returns a table."""

import functools
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cachier
import diskcache
import joblib
import numpy as np

import beautyspot as bs
from beautyspot.keys.keyer import KeyedCall
from tests.benchmarks import budgets, comparison, engines, scaling, scaling_network, viewing
from tests.benchmarks.caches import TwentyLines
from tests.benchmarks.floor import Floor
from tests.benchmarks.tables import compared, in_turns, ratio, table


def function(text: str, number: int) -> str:
    """Do nothing, so that only the overhead of the cache is timed."""
    return text


def _repeat(call: Callable[[str, int], object], numbers: range) -> None:
    for number in numbers:
        call("some text", number)


def calls(directory: Path) -> str:
    """Hits and misses of a small function, one after the other."""
    count, rounds = 400, 15
    floor = Floor(directory)
    project = bs.Project("bench", db=directory / "bench.db", storage_path=directory / "blobs")
    with diskcache.Cache(directory / "diskcache") as cache, project:
        ours = project.task(function)
        memory = joblib.Memory(directory / "joblib", verbose=0).cache(function)
        disk = cache.memoize()(function)
        pickled = cachier.cachier(cache_dir=directory / "cachier", separate_files=True)(function)
        by_hand = TwentyLines(directory / "lines.db")(function)

        def misses(call: Callable[[str, int], object], many: int = count) -> Callable[[int], None]:
            return lambda turn: _repeat(call, range(turn * count, turn * count + many))

        def few(call: Callable[[str, int], object], many: int) -> Callable[[int], None]:
            # A slow cache is called less often, and its time is scaled.
            def run(turn: int) -> None:
                started = time.perf_counter()
                _repeat(call, range(turn * many, (turn + 1) * many))
                scaled.setdefault(call, []).append((time.perf_counter() - started) / many * 1e6)

            return run

        scaled: dict[Callable[[str, int], object], list[float]] = {}
        miss = in_turns(
            {
                "beautyspot": misses(ours),
                "floor": misses(lambda text, number: floor.put(function(text, number), text, number)),
                "diskcache.memoize": misses(disk),
                "twenty lines of sqlite3": misses(by_hand),
                "joblib.Memory": few(memory, 40),
                "cachier": few(pickled, 10),
            },
            count,
            rounds,
        )
        miss["joblib.Memory"], miss["cachier"] = scaled[memory], scaled[pickled]
        scaled.clear()
        hit = in_turns(
            {
                "beautyspot": misses(ours),
                "floor": misses(floor.get),
                "diskcache.memoize": misses(disk),
                "twenty lines of sqlite3": misses(by_hand),
                "joblib.Memory": few(memory, 40),
                "cachier": few(pickled, 10),
            },
            count,
            rounds,
        )
        hit["joblib.Memory"], hit["cachier"] = scaled[memory], scaled[pickled]
    return "\n".join(
        [
            compared("A hit", hit, "beautyspot", {"floor": 1.6, "diskcache.memoize": 0.5, "joblib.Memory": 0.1}),
            compared("A miss", miss, "beautyspot", {"floor": 2, "diskcache.memoize": 0.4, "joblib.Memory": 0.18}),
        ]
    )


def maps(directory: Path) -> str:
    """Maps over 20,000 cached inputs, and over new ones in 8 threads."""
    count, rounds = 20_000, 7
    floor = Floor(directory)
    project = bs.Project("bench", db=directory / "bench.db", storage_path=directory / "blobs")
    text = ["some text"] * count
    with project:
        ours = project.task(function)
        bs.map(ours, text, range(count), workers=8, progress=False)
        floor.put_many(text, list(zip(text, range(count), strict=True)))
        cached = in_turns(
            {
                "beautyspot": lambda _: bs.map(ours, text, range(count), progress=False),
                "floor": lambda _: _repeat(floor.get, range(count)),
            },
            count,
            rounds,
        )
        new = 2000

        def threads(turn: int) -> None:
            numbers = range(count * (turn + 1), count * (turn + 1) + new)
            with ThreadPoolExecutor(8) as pool:
                values = list(pool.map(function, text[:new], numbers))
            floor.put_many(values, list(zip(text[:new], numbers, strict=True)))

        fresh = in_turns(
            {
                "beautyspot": lambda turn: bs.map(
                    ours, text[:new], range(count * (turn + 1), count * (turn + 1) + new), workers=8, progress=False
                ),
                "ThreadPoolExecutor.map + one group INSERT": threads,
            },
            new,
            rounds,
        )
    return "\n".join(
        [
            compared("`bs.map` over 20,000 cached inputs", cached, "beautyspot", {"floor": 0.9}),
            compared(
                "`bs.map` over new inputs, 8 threads",
                fresh,
                "beautyspot",
                {"ThreadPoolExecutor.map + one group INSERT": 3},
            ),
        ]
    )


def keys(directory: Path) -> str:
    """The key of a large array."""
    project = bs.Project("bench", db=directory / "bench.db")
    array = np.random.default_rng(0).random(25_000_000)  # 200 MB

    @project.task
    def total(values: np.ndarray) -> float:
        return float(values.sum())

    took = in_turns(
        {"beautyspot": lambda _: total.key(array) and None, "joblib.hash": lambda _: joblib.hash(array) and None}, 1, 7
    )
    speed = array.nbytes / min(took["beautyspot"]) / 1e3
    faster = 1 / ratio(took, "beautyspot", "joblib.hash")
    rows = [
        ("beautyspot", f"{speed:.1f} GB/s"),
        ("joblib.hash", f"{array.nbytes / min(took['joblib.hash']) / 1e3:.1f} GB/s"),
    ]
    return table(f"Key of a 200 MB array: {faster:.1f} × as fast as joblib.hash (goal ≥ 8)", ("", "speed"), rows)


def imports(directory: Path) -> str:
    """The time that ``import beautyspot`` adds to the start of Python."""

    def run(code: str) -> Callable[[int], None]:
        return lambda _: subprocess.run([sys.executable, "-c", code], check=True) and None

    took = in_turns({"import": run("import beautyspot"), "pass": run("pass")}, 1, 15)
    added = sorted(a - b for a, b in zip(took["import"], took["pass"], strict=True))
    return table(
        "Import", ("", "ms"), [("`import beautyspot` over `pass`, median (goal ≤ 60)", f"{added[7] / 1e3:.0f}")]
    )


_BLOB = """
import os, resource, sys, numpy as np, beautyspot as bs
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
def now():
    with open("/proc/self/statm") as f: return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
project = bs.Project("blob", db=sys.argv[1] + "/b.db", storage_path=sys.argv[1] + "/blobs")
@project.task(mmap=sys.argv[2] == "mmap")
def array(n): return np.ones(n)
before = now()
value = array(2**27)
if sys.argv[2] == "save": print(f"{(peak() - before) / 1024:.2f}")
else: print(f"{now() - before:.0f} {float(value[2**26])}")
"""


def blobs(directory: Path) -> str:
    """The memory that a result of 1 GB takes."""

    def run(mode: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", _BLOB, str(directory), mode], check=True, capture_output=True, text=True
        )
        return done.stdout.split()[0]

    return table(
        "An array of 1 GB",
        ("", "", "goal"),
        [
            ("computing and saving it peaks at", f"{run('save')} × its size", "< 1.3 ×"),
            ("reading it with `mmap=True` adds", f"{run('mmap')} MB of resident memory", "< 50 MB"),
            ("reading it without adds", f"{run('read')} MB", ""),
        ],
    )


def threshold(directory: Path) -> str:
    """Results of each size, in the index and as blobs."""
    rows = []
    for size in (1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20):
        count = max(20, min(200, (1 << 24) // size))
        tasks = {}
        for place, blob in (("index", False), ("blob", True)):
            home = directory / f"{place}{size}"
            project = bs.Project("t", db=home / "t.db", storage_path=home / "blobs")

            @project.task(save_blob=blob)
            def payload(number: int, size: int = size) -> bytes:
                return os.urandom(size)

            tasks[place] = payload

        def run(task: bs.Task[[int], bytes], turn: int, fresh: bool, count: int = count) -> None:
            for number in range(count):
                task(turn * count + number if fresh else number)

        miss = in_turns({p: functools.partial(run, t, fresh=True) for p, t in tasks.items()}, count, 5)  # type: ignore[arg-type,misc]
        hit = in_turns({p: functools.partial(run, t, fresh=False) for p, t in tasks.items()}, count, 5)  # type: ignore[arg-type,misc]
        kib = f"{size >> 10} KiB"
        rows.append((kib, *(f"{min(took[p]):.0f}" for took in (hit, miss) for p in ("index", "blob"))))
    head = ("size", "hit, index (µs)", "hit, blob (µs)", "miss, index (µs)", "miss, blob (µs)")
    return table("Where a result should be stored", head, rows)


def growth(directory: Path) -> str:
    """The time of a hit among ten thousand to ten million results."""
    rows, base = [], 0.0
    db_path = directory / "large.db"
    filled = 0
    for size in (10_000, 100_000, 1_000_000, 10_000_000):
        with bs.Project("large", db=db_path) as project:
            ours = project.task(function)
            started = time.perf_counter()
            for start in range(filled, size, 250_000):
                _fill(project, ours, range(start, min(size, start + 250_000)))
            took_filling = time.perf_counter() - started
            step = size // 5000
            numbers = [((i * 7919) % 5000) * step for i in range(5000)]
            times = []
            for _ in range(7):
                started = time.perf_counter()
                for number in numbers:
                    ours("some text", number)
                times.append((time.perf_counter() - started) / 5000 * 1e6)
            hit = min(times)
        base = base or hit
        size_mb = sum(f.stat().st_size for f in directory.glob("large.db*")) / 1e6
        fill = f"{took_filling / max(1, size - filled) * 1e6:.0f}"
        rows.append((f"{size:,}", f"{hit:.1f}", f"{hit / base:.2f} ×", fill, f"{size_mb:,.0f}"))
        filled = size
    return table(
        "Growth (goal at 10,000,000: ≤ 1.5 ×)",
        ("results", "hit (µs)", "against 10,000", "filling (µs each)", "MB"),
        rows,
    )


def _fill(project: bs.Project, task: bs.Task[[str, int], str], numbers: range) -> None:
    """Store results as a map would, but in one transaction and in the order of their rows."""
    cache, keyer = task.core.cache, task.core.keyer
    encoded = cache.encode("some text")
    call = cache.describe(KeyedCall(b"", [], ("some text", 0), {}))
    records = []
    for number in numbers:
        key, parts = keyer(("some text", number), {})
        text = f"text='some text', number={number}"
        summary = call._replace(key=key, input=text, arguments=keyer.fingerprints(parts))
        records.append(cache.record(summary, encoded, 0.0))
    records.sort(key=lambda record: int.from_bytes(record.summary.key[:8], "big", signed=True))
    project.db.upsert(records)


ALL: dict[str, Callable[[Path], str]] = {
    "calls": calls,
    "comparison": comparison.comparison,
    "maps": maps,
    "keys": keys,
    "imports": imports,
    "blobs": blobs,
    "threshold": threshold,
    "growth": growth,
    "acquire": budgets.acquire,
    "pace": budgets.pace,
    "fairness": budgets.fairness,
    "waiting": budgets.waiting,
    "engines": engines.engines,
    "scaling": scaling.scaling,
    "network": scaling_network.network,
    "viewing": viewing.viewing,
}
SLOW = {
    "growth",
    "pace",
    "fairness",
    "waiting",
    "engines",
    "scaling",
    "network",
    "viewing",
}  # minutes long
