"""One worker before a PostgreSQL server, in a process of its own: makes calls from the word on which it waits."""

import random
import sys
import time

import beautyspot as bs
from beautyspot.db import PostgresTaskDB


def answer(text: str, number: int, seconds: float) -> str:
    """A call that takes so long."""
    if seconds:
        time.sleep(seconds)
    return text * 30


def main() -> None:
    """Says when it is ready, and then how many calls it made, and in how many seconds of a core."""
    url, kind, seconds, lasting, name = sys.argv[1:]
    chance = random.Random(int(name))
    run = f"{kind} {seconds} {lasting} {name} {time.time()}"
    with bs.Project("rate", db=PostgresTaskDB(url, pool_size=1)) as project:
        task = project.task(ignore=("seconds",))(answer)
        for number in range(10):
            task(run, -number, 0.0)
        print("ready", flush=True)
        sys.stdin.readline()
        used, count, end = time.process_time(), 0, time.perf_counter() + float(lasting)
        while time.perf_counter() < end:
            pause = chance.expovariate(1 / float(seconds)) if float(seconds) else 0.0
            task(run, count if kind == "miss" else 0, pause)
            count += 1
        print(count, time.process_time() - used, flush=True)
        sys.stdin.readline()


if __name__ == "__main__":
    main()
