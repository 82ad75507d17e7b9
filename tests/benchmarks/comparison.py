"""The table of the README: the time of a call with each cache, and how often calls run that should run once."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks.caches import CACHES
from tests.benchmarks.tables import table

NEW, SLOW_CALLS, ROUNDS = 1000, 400, 5
PATIENCE = 20  # seconds; the calls take less than one
SLOW_CALLER = {"joblib.Memory": 0.1, "cachier": 0.05}  # slow caches are timed on a share of the calls


def quick(text: str, number: int) -> str:
    """Do nothing, so that only the overhead of the cache is timed."""
    return text


def slow(log: str, number: int) -> int:
    """Take 10 ms, like a paid request; each run appends a byte to *log*."""
    with open(log, "ab", buffering=0) as file:
        file.write(b".")
    time.sleep(0.01)
    return number


class Job:
    """A separate process that is ready to run the slow calls."""

    def __init__(self, name: str, directory: Path) -> None:
        words = [sys.executable, "-m", "tests.benchmarks.comparison", name, str(directory)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n"

    def start(self) -> None:
        """Let the process begin its calls."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def kill(self) -> None:
        """End the process with ``kill -9``."""
        self.process.kill()
        self.process.wait()

    def ended(self) -> bool:
        """Wait until the process ends, or kill it; return whether it ended by itself."""
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            return False
        assert code == 0
        return True


def runs(directory: Path) -> int:
    """Return how often the function has run."""
    log = directory / "runs"
    return log.stat().st_size if log.exists() else 0


def killed(name: str, directory: Path) -> str:
    """Kill a job at 40 % and start it again; return how many calls the second process runs."""
    first, second = Job(name, directory), Job(name, directory)
    first.start()
    while runs(directory) < SLOW_CALLS * 0.4:
        assert first.process.poll() is None
        time.sleep(0.001)
    first.kill()
    before = runs(directory)
    second.start()
    finished = second.ended()
    return f"{runs(directory) - before} run" if finished else "hangs"


def twice(name: str, directory: Path) -> str:
    """Start the same job in two processes at once; return how many calls run."""
    both = [Job(name, directory), Job(name, directory)]
    for job in both:
        job.start()
    finished = [job.ended() for job in both]
    return f"{runs(directory)} run" if all(finished) else "hangs"


def timed(directory: Path) -> dict[str, list[str]]:
    """Return median times for each cache: misses, hits, and maps over new and over cached inputs."""
    took: dict[str, dict[str, list[float]]] = {name: {} for name in CACHES}
    texts = ["some text"] * NEW
    wrapped = {name: cache(directory / name, quick) for name, (cache, _) in CACHES.items()}
    for turn in range(ROUNDS):
        for name, (_, map_) in CACHES.items():
            call, base = wrapped[name], 10 * NEW * turn
            count = int(NEW * SLOW_CALLER.get(name, 1))
            numbers, others = range(base, base + count), range(base + NEW, base + 2 * NEW)

            def each(call: Callable[[str, int], object] = call, numbers: range = numbers) -> None:
                for number in numbers:
                    call("some text", number)

            def many(
                call: Callable[[str, int], object] = call, numbers: range = others, map_: Callable[..., object] = map_
            ) -> None:
                map_(call, texts, numbers)

            work = {"miss": (each, count), "hit": (each, count), "new": (many, NEW), "cached": (many, NEW)}
            for kind, (run, calls) in work.items():
                started = time.perf_counter()
                run()
                took[name].setdefault(kind, []).append((time.perf_counter() - started) / calls * 1e6)
    return {
        kind: [readable(statistics.median(took[name][kind])) for name in CACHES]
        for kind in ("hit", "miss", "new", "cached")
    }


def readable(microseconds: float) -> str:
    """Format a time with two significant digits."""
    return f"{microseconds / 1000:.1f} ms" if microseconds >= 1000 else f"{float(f'{microseconds:.2g}'):.0f} µs"


def comparison(directory: Path) -> str:
    """The whole table."""
    for name in CACHES:
        (directory / name).mkdir()
    rows: list[tuple[str, ...]] = []
    for title, measure in (
        (f"{SLOW_CALLS} calls, started in two terminals at once", twice),
        (f"{SLOW_CALLS} calls, killed at 40 %, started again", killed),
    ):
        cells = []
        for name in CACHES:
            with tempfile.TemporaryDirectory(dir=directory) as place:
                cells.append(measure(name, Path(place)))
        rows.append((title, *cells))
    times = timed(directory)
    rows += [
        ("A hit", *times["hit"]),
        ("A miss, of an empty function", *times["miss"]),
        (f"{NEW:,} cached inputs in a map, each", *times["cached"]),
        (f"{NEW:,} new inputs in a map, each", *times["new"]),
    ]
    return table("Against other caches", ("", *CACHES), rows)


def main() -> None:
    """Run the slow calls with one cache: the main function of a `Job` process."""
    name, directory = sys.argv[1], Path(sys.argv[2])
    cache, map_ = CACHES[name]
    log = os.fspath(directory / "runs")
    call = cache(directory, slow)
    print("ready", flush=True)
    sys.stdin.read()
    results = map_(call, [log] * SLOW_CALLS, range(SLOW_CALLS))
    assert results == list(range(SLOW_CALLS))


if __name__ == "__main__":
    main()
