"""Workers in a closed loop on one limiter: the pace, fairness and order of their admissions."""

import asyncio
import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import beautyspot as bs


class Admission(NamedTuple):
    """An admitted call: the number of its worker, times in seconds since the epoch, and its cost in tokens."""

    worker: int
    asked: float
    admitted: float
    cost: int


def small(number: int) -> Callable[[], int]:
    """Calls of 10 to 190 tokens."""
    chance = random.Random(number)
    return lambda: chance.randint(10, 190)


def one_large(number: int) -> Callable[[], int]:
    """One worker asks for 500 each time, the others for 10."""
    return lambda: 500 if number % 8 == 0 else 10


def always(cost: int) -> Callable[[int], Callable[[], int]]:
    return lambda number: lambda: cost


Costs = Callable[[int], Callable[[], int]]


def in_threads(acquire: Callable[[int], Any], costs: Costs, seconds: float, numbers: Sequence[int]) -> list[Admission]:
    admissions: list[Admission] = []
    end = time.time() + seconds

    def work(number: int) -> None:
        cost_of = costs(number)
        while (asked := time.time()) < end:
            cost = cost_of()
            acquire(cost)
            admissions.append(Admission(number, asked, time.time(), cost))

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, end - time.time()) + 1.5)
    return list(admissions)


async def in_tasks(
    acquire: Callable[[int], Any], costs: Costs, seconds: float, numbers: Sequence[int]
) -> list[Admission]:
    admissions: list[Admission] = []
    end = time.time() + seconds

    async def work(number: int) -> None:
        cost_of = costs(number)
        while (asked := time.time()) < end:
            cost = cost_of()
            await acquire(cost)
            admissions.append(Admission(number, asked, time.time(), cost))

    await asyncio.wait([asyncio.ensure_future(work(number)) for number in numbers], timeout=seconds + 1.5)
    return admissions


def mixed(budget: Any, costs: Costs, seconds: float) -> list[Admission]:
    """Run four threads and four asyncio tasks on one limiter."""
    of_tasks: list[Admission] = []
    loop = threading.Thread(
        target=lambda: of_tasks.extend(asyncio.run(in_tasks(budget.acquire_async, costs, seconds, range(4, 8))))
    )
    loop.start()
    of_threads = in_threads(budget.acquire, costs, seconds, range(4))
    loop.join()
    return of_threads + of_tasks


def in_processes(uri: str, costs: str, seconds: float) -> list[Admission]:
    """Run two processes with four threads each."""
    command = [sys.executable, "-m", "tests.benchmarks.paces", uri, costs, str(seconds)]
    running = [subprocess.Popen([*command, str(n)], stdout=subprocess.PIPE, text=True) for n in (0, 4)]
    return [Admission(*each) for process in running for each in json.loads(process.communicate()[0])]


class Pace(NamedTuple):
    """The figures of one run; see `judged`."""

    achieved: float
    most_in_a_second: int
    jain: float
    overtaken: float
    large: int


def judged(admissions: list[Admission], rate: float, seconds: float) -> Pace:
    """Compute the figures of one run.

    *achieved* is the share of the tokens that may be admitted in that time. *jain* is Jain's index of the calls per
    worker, 1 if all workers got the same number. *overtaken* is the share of calls that were admitted after a call that
    asked more than 20 ms later.
    """
    admissions = sorted(admissions, key=lambda each: each.admitted)
    start = min(each.asked for each in admissions)
    within = [each for each in admissions if each.admitted <= start + seconds]
    achieved = sum(each.cost for each in within) / (rate * seconds)
    most, last, total = 0, 0, 0
    for each in admissions:
        total += each.cost
        while admissions[last].admitted <= each.admitted - 1:
            total -= admissions[last].cost
            last += 1
        most = max(most, total)
    counts: dict[int, int] = {}
    for each in within:
        counts[each.worker] = counts.get(each.worker, 0) + 1
    jain = sum(counts.values()) ** 2 / (max(8, len(counts)) * sum(count**2 for count in counts.values()))
    passed = 0
    if len(admissions) < 5000:
        for i, each in enumerate(admissions):
            passed += any(earlier.asked > each.asked + 0.02 for earlier in admissions[max(0, i - 400) : i])
    return Pace(achieved, most, jain, passed / len(admissions), sum(each.cost == 500 for each in within))


def main() -> None:
    """Run the threads of one process of `in_processes`."""
    uri, costs, seconds, first = sys.argv[1:]
    with bs.Project("bench", db="memory://", tpm=60_000, limiter_uri=uri) as project:
        budget = project.budgets.budget("tokens", "")
        kind = {"small": small, "one_large": one_large}[costs]
        print(json.dumps(in_threads(budget.acquire, kind, float(seconds), range(int(first), int(first) + 4))))


if __name__ == "__main__":
    main()
