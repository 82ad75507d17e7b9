"""Real clients of a PostgreSQL server, each a process: what a simulation of them is compared with."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import beautyspot as bs
from beautyspot.db import PostgresTaskDB
from tests.benchmarks.scaling_stores import key_of, row_of
from tests.benchmarks.scaling_worker import answer
from tests.benchmarks.tables import median
from tests.servers import PostgresServer

ROUNDS = 3
COUNT = 500  # calls of each kind in a round


class Costs(NamedTuple):
    """Seconds of a processor, on the side of the client and of the server, and of the disk."""

    client_hit: float
    client_miss: float
    read: float  # of the server: one lookup of one key
    lock: float  # a lock taken, or given back
    insert: float
    flush: float  # of the disk: what a commit waits for


def costs(server: PostgresServer) -> Costs:
    """What each statement costs where eight processes make calls at a time.

    Their calls give the sums, on either side; statements that one client makes one after the other say how a sum
    falls into its parts.
    """
    misses, hits = rate(server, 8, "miss", 0.02), rate(server, 8, "hit", 0.0)
    found: dict[str, list[_Spent]] = {}
    with bs.Project("costs", db=PostgresTaskDB(f"{server.url}?application_name=costs", pool_size=1)) as project:
        db: Any = project.db
        task = project.task(answer)
        task("costs", -1, 0.0)  # which opens the connections
        ours = [pid for (pid,) in server.execute("SELECT pid FROM pg_stat_activity WHERE application_name = 'costs'")]
        work: dict[str, Callable[[int], object]] = {
            "take": lambda number: db.try_lock(key_of(number)),
            "give": lambda number: db.unlock(key_of(number)),
            "insert": lambda number: db.upsert([row_of(number)]),
        }
        for turn in range(ROUNDS):
            for name, run in work.items():
                found.setdefault(name, []).append(_spent(ours, run, range(turn * COUNT, (turn + 1) * COUNT)))
    middle = {name: _Spent(*(median(each) for each in zip(*spent, strict=True))) for name, spent in found.items()}
    lock, insert = (middle["take"].server + middle["give"].server) / 2, middle["insert"].server
    more = (misses.server - 2 * hits.server) / (2 * lock + insert)
    return Costs(hits.client, misses.client, hits.server, more * lock, more * insert, _flush(server))


class _Spent(NamedTuple):
    """Seconds of a core for each call, on either side."""

    client: float
    server: float


def _spent(ours: list[int], run: Callable[[int], object], numbers: range) -> _Spent:
    before = time.process_time(), _spent_by(ours)
    for number in numbers:
        run(number)
    after = time.process_time(), _spent_by(ours)
    return _Spent(*((b - a) / len(numbers) for a, b in zip(before, after, strict=True)))


def _spent_by(processes: list[int]) -> float:
    """Seconds of a core that these processes of a server had so far."""
    return sum(int(Path(f"/proc/{process}/schedstat").read_text().split()[0]) for process in processes) / 1e9


def _flush(server: PostgresServer) -> float:
    """Seconds that an insert waits for the disk."""
    took: dict[str, list[float]] = {}
    with bs.Project("flush", db=PostgresTaskDB(server.url, pool_size=1)) as project:
        for turn in range(ROUNDS):
            for name in ("on", "off"):
                server.execute(f"ALTER SYSTEM SET synchronous_commit = {name}", "SELECT pg_reload_conf()")
                time.sleep(0.1)
                records = [row_of(number) for number in range(turn * COUNT, (turn + 1) * COUNT)]
                started = time.perf_counter()
                for record in records:
                    project.db.upsert([record])
                took.setdefault(name, []).append((time.perf_counter() - started) / COUNT)
    server.execute("ALTER SYSTEM RESET synchronous_commit", "SELECT pg_reload_conf()")
    return max(0.0, median([a - b for a, b in zip(took["on"], took["off"], strict=True)]))


class Rate(NamedTuple):
    """Calls a second; cores in use for them, and for what else runs on the machine; seconds of a core for each call."""

    calls: float
    cores: float
    others: float
    client: float
    server: float


def rate(server: PostgresServer, clients: int, kind: str, seconds: float, lasting: float = 3.0) -> Rate:
    """What so many processes do; a call takes *seconds* on average, in no order."""
    command = [sys.executable, "-m", "tests.benchmarks.scaling_worker", server.url, kind, str(seconds), str(lasting)]
    with ExitStack() as stack:
        running = []
        for number in range(clients):
            process = subprocess.Popen(
                [*command, str(number)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            running.append(stack.enter_context(process))
        answers = [_answer_of(process) for process in running]
        before, began, busy = _spent_by(_processes(server)), time.perf_counter(), _busy()
        for process in running:
            _say(process)
        answers = [_answer_of(process) for process in running]
        wall = time.perf_counter() - began
        theirs = _spent_by(_processes(server)) - before
        client = sum(float(answer[1]) for answer in answers)
        ours = client + theirs
        others = _busy() - busy - ours
        for process in running:
            _say(process)
        calls = sum(int(answer[0]) for answer in answers)
        return Rate(calls / lasting, ours / wall, max(0.0, others / wall), client / calls, theirs / calls)


def _answer_of(process: "subprocess.Popen[str]") -> list[str]:
    assert process.stdout
    return process.stdout.readline().split()


def _say(process: "subprocess.Popen[str]") -> None:
    assert process.stdin
    process.stdin.write("go on\n")
    process.stdin.flush()


def _processes(server: PostgresServer) -> list[int]:
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    return [int(child) for child in children]


def _busy() -> float:
    """Seconds in which cores of this machine did anything."""
    user, nice, system, _idle, _waiting, *rest = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK")
