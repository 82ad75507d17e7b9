"""The README's table: what a call costs with each cache, and how often calls run that should run once."""

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
PATIENCE = 20  # seconds; the batch takes less than one
SLOW_CALLER = {"joblib.Memory": 0.1, "cachier": 0.05}  # the share of calls that the slow ones are timed on


def quick(text: str, number: int) -> str:
    """An empty function: what is timed is what is around it."""
    return text


def slow(log: str, number: int) -> int:
    """Ten milliseconds of a provider that somebody pays for; each run leaves a byte in *log*."""
    with open(log, "ab", buffering=0) as file:
        file.write(b".")
    time.sleep(0.01)
    return number


class Batch:
    """A process of its own that is ready to run the batch of slow calls."""

    def __init__(self, name: str, place: Path) -> None:
        words = [sys.executable, "-m", "tests.benchmarks.comparison", name, str(place)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n"

    def start(self) -> None:
        """Begin."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def kill(self) -> None:
        """``kill -9``."""
        self.process.kill()
        self.process.wait()

    def ended(self) -> bool:
        """Whether it ends by itself; it has ended in any case."""
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            return False
        assert code == 0
        return True


def runs(place: Path) -> int:
    """How often the function ran so far."""
    log = place / "runs"
    return log.stat().st_size if log.exists() else 0


def killed(name: str, place: Path) -> str:
    """A batch that is killed at 40 %, and started again."""
    first, second = Batch(name, place), Batch(name, place)
    first.start()
    while runs(place) < SLOW_CALLS * 0.4:
        assert first.process.poll() is None
        time.sleep(0.001)
    first.kill()
    before = runs(place)
    second.start()
    finished = second.ended()
    return f"{runs(place) - before} run" if finished else "hangs"


def twice(name: str, place: Path) -> str:
    """The same batch, started in two terminals at once."""
    both = [Batch(name, place), Batch(name, place)]
    for batch in both:
        batch.start()
    finished = [batch.ended() for batch in both]
    return f"{runs(place)} run" if all(finished) else "hangs"


def timed(directory: Path) -> dict[str, list[str]]:
    """Medians for each cache: a miss and a hit, one after the other, and maps of new and of cached inputs."""
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
    """Two digits that count."""
    return f"{microseconds / 1000:.1f} ms" if microseconds >= 1000 else f"{float(f'{microseconds:.2g}'):.0f} µs"


def comparison(directory: Path) -> str:
    """All of it."""
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
    """Run the batch of slow calls with one cache; in a process of its own."""
    name, place = sys.argv[1], Path(sys.argv[2])
    cache, map_ = CACHES[name]
    log = os.fspath(place / "runs")
    call = cache(place, slow)
    print("ready", flush=True)
    sys.stdin.read()
    results = map_(call, [log] * SLOW_CALLS, range(SLOW_CALLS))
    assert results == list(range(SLOW_CALLS))


if __name__ == "__main__":
    main()
