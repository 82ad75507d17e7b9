"""A thousand workers before one PostgreSQL server, simulated with measured costs, and compared with real ones.

The simulation knows: a worker has one call at a time, whose own run time is exponential; a hit is one statement, a
miss five (look, take the lock, look again, insert, give the lock back); a statement takes the network there and back,
a connection of the pool while it runs, time of a core, and an insert the disk, which all commits that wait share.
Time of a core is exponential around what was measured. It does not know: other programs, checkpoints, vacuum, and
pages that are not in memory.
"""

import os
import random
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

from beautyspot.db import PostgresTaskDB
from tests.benchmarks.scaling_clients import Costs, costs, rate
from tests.benchmarks.scaling_events import Client, Clock, Journal, Line
from tests.benchmarks.scaling_network import SlowProxy
from tests.benchmarks.scaling_stores import SETTINGS, key_of
from tests.benchmarks.tables import table
from tests.servers import PostgresServer

TRIP_HERE = 30e-6  # seconds, of a round trip on one machine, where neither side is at work


@dataclass(frozen=True, slots=True)
class Site:
    """What is simulated.

    Attributes:
        costs: Of statements.
        workers: Calls at a time.
        seconds: That a call runs, on average; a hit has what happens between two hits.
        hits: The share of calls that are kept.
        trip: Seconds of a round trip.
        cores: Of the server.
        connections: Of a pool before the server; ``None``: each worker has its own.
        together: Whether the workers run on the server's cores too, as in a test on one machine.
    """

    costs: Costs
    workers: int
    seconds: float
    hits: float = 0.0
    trip: float = 0.0005
    cores: int = 8
    connections: int | None = None
    together: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it: calls and statements a second, seconds that a call waited, the share of cores in use."""

    calls: float
    statements: float
    waited: float
    busy: float


class Simulation:
    """One run of a `Site`."""

    def __init__(self, site: Site, seed: int = 1) -> None:
        self.site = site
        self.clock = Clock()
        self._chance = random.Random(seed)
        self._cores = Line(self.clock, site.cores)
        self._pool = Line(self.clock, site.connections or 1 << 30)
        self._disk = Journal(self.clock, site.costs.flush)
        self.calls = self.statements = 0
        self.waited = 0.0

    def outcome(self, seconds: float = 4.0, warming: float = 1.0) -> Outcome:
        """What comes of *seconds*, once all workers are under way."""
        for _ in range(self.site.workers):
            self.clock.at(self._chance.random() * warming / 2, lambda: self.clock.start(self._worker()))
        self.clock.run(warming)
        calls, statements, waited, busy = self.calls, self.statements, self.waited, self._cores.busy
        self.clock.run(seconds)
        calls, statements = self.calls - calls, self.statements - statements
        use = (self._cores.busy - busy) / self.site.cores / seconds
        return Outcome(calls / seconds, statements / seconds, (self.waited - waited) / max(1, calls), use)

    def _worker(self) -> Client:
        cost, site = self.site.costs, self.site
        while True:
            began = self.clock.now
            ran = self._chance.expovariate(1 / site.seconds) if site.seconds else 0.0
            if self._chance.random() < site.hits:
                yield from self._client(cost.client_hit)
                yield from self._statement(cost.read)
                yield self.clock.passing(ran)
            else:
                ours = cost.client_miss / 5
                for server in (cost.read, cost.lock, cost.read):
                    yield from self._client(ours)
                    yield from self._statement(server)
                yield self.clock.passing(ran)
                yield from self._client(ours)
                yield from self._statement(cost.insert, writes=True)
                yield from self._client(ours)
                yield from self._statement(cost.lock)
            self.calls += 1
            self.waited += self.clock.now - began - ran

    def _client(self, seconds: float) -> Client:
        if self.site.together:
            yield self._cores.serving(seconds)
        else:
            yield self.clock.passing(seconds)

    def _statement(self, seconds: float, writes: bool = False) -> Client:
        yield self.clock.passing(self.site.trip / 2)
        yield self._pool.take()
        yield self._cores.serving(self._chance.expovariate(1 / seconds))
        if writes:
            yield self._disk.written()
        self._pool.give()
        yield self.clock.passing(self.site.trip / 2)
        self.statements += 1


class Herd(Simulation):
    """Workers that all wait for the lock of one key, as `PostgresLocks.wait` does."""

    def _worker(self) -> Client:
        pause = 0.001
        while True:
            yield from self._statement(self.site.costs.lock)
            yield self.clock.passing(pause)
            pause = min(1.5 * pause, 0.1)


def simulation(directory: Path) -> str:
    """The costs, the simulation beside real clients, and what it says of a thousand workers."""
    server = PostgresServer(**SETTINGS)
    try:
        cost = costs(server)
        parts = [_cost_table(cost), _checked(server, cost), _thousand(cost), _herds(server, cost)]
    finally:
        server.stop()
    return "\n".join(parts)


def _cost_table(cost: Costs) -> str:
    names = {
        "client_hit": "a hit, on the client",
        "client_miss": "a miss, on the client",
        "read": "a lookup, on the server",
        "lock": "a lock taken or given back, on the server",
        "insert": "an insert, on the server",
        "flush": "the disk, for a commit",
    }
    rows = [(text, f"{getattr(cost, name) * 1e6:.0f}") for name, text in names.items()]
    return table("What statements cost", ("", "µs"), rows)


def _checked(server: PostgresServer, cost: Costs) -> str:
    """Real clients, which share the cores of this machine with the server and with others, and simulated ones."""
    rows = []
    for kind, seconds in (("miss", 0.1), ("miss", 0.02), ("miss", 0.002), ("hit", 0.0)):
        for clients in (8, 32):
            real = rate(server, clients, kind, seconds)
            slower = _cores() / max(0.2, _cores() - real.others)  # what others take
            given = Costs(*(each * slower for each in cost))._replace(flush=cost.flush)
            site = Site(given, clients, seconds, float(kind == "hit"), TRIP_HERE, _cores(), together=True)
            simulated = Simulation(site).outcome(warming=1 + 5 * seconds).calls
            row = (f"{kind}, calls of {seconds * 1e3:g} ms", clients, f"{real.calls:,.0f}", f"{simulated:,.0f}")
            used = f"{real.cores:.2f}, {real.others:.2f}"
            rows.append(
                (
                    *row,
                    f"{simulated / real.calls - 1:+.0%}",
                    used,
                    f"{real.client * 1e6:,.0f}, {real.server * 1e6:,.0f}",
                )
            )
    head = (
        "",
        "clients",
        "calls a second, real",
        "simulated",
        "error",
        "cores: ours, others'",
        "µs of a core: client, server",
    )
    return table("Real clients and simulated ones, on one machine with the server", head, rows)


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _thousand(cost: Costs) -> str:
    base = Site(cost, 1000, 10.0)
    sites = {
        "misses, calls of 10 s": base,
        "misses, calls of 1 s": replace(base, seconds=1.0),
        "misses, calls of 0.25 s": replace(base, seconds=0.25),
        "misses, calls of 0.1 s": replace(base, seconds=0.1),
        "the same, 4 cores": replace(base, seconds=0.1, cores=4),
        "the same, 16 cores": replace(base, seconds=0.1, cores=16),
        "the same, 2 ms of network": replace(base, seconds=0.1, trip=0.002),
        "the same, a pool of 32": replace(base, seconds=0.1, connections=32),
        "the same, a pool of 8": replace(base, seconds=0.1, connections=8),
        "misses, calls of 20 ms": replace(base, seconds=0.02),
        "half hits, calls of 0.1 s": replace(base, seconds=0.1, hits=0.5),
        "hits, one every 0.1 s": replace(base, seconds=0.1, hits=1.0),
        "hits, one every 10 ms": replace(base, seconds=0.01, hits=1.0),
    }
    rows = []
    for name, site in sites.items():
        found = Simulation(site).outcome(max(3.0, 2 * site.seconds), 1 + 4 * site.seconds)
        ms = f"{found.waited * 1e3:.1f}"
        rows.append((name, f"{found.calls:,.0f}", f"{found.statements:,.0f}", ms, f"{found.busy:.0%}"))
    head = ("", "calls a second", "statements a second", "ms that a call waits", "cores in use")
    title = "Simulated: 1,000 workers, a round trip of 0.5 ms, a server of 8 cores"
    return table(title, head, rows)


def _herds(server: PostgresServer, cost: Costs) -> str:
    rows: list[tuple[object, ...]] = []
    asks = {workers: _simulated_herd(cost, workers, together=workers < 100) for workers in (24, 1000)}
    for workers, found in asks.items():
        real = f"{_real_herd(server, workers):,.0f}" if workers < 100 else ""
        rows.append((workers, f"{found[0]:,.0f}", f"{found[1]:,.0f}", f"{found[2]:.1%}", real))
    head = ("processes", "in the first second", "each second after it", "cores in use then", "real, each second")
    return table("Everyone waits for one key: statements", head, rows)


def _simulated_herd(cost: Costs, workers: int, together: bool) -> tuple[float, float, float]:
    trip, cores = (TRIP_HERE, _cores()) if together else (0.0005, 8)
    herd = Herd(Site(cost, workers, 0.0, trip=trip, cores=cores))
    first = herd.outcome(seconds=1.0, warming=1e-6).statements
    before, busy = herd.statements, herd._cores.busy
    herd.clock.run(4.0)
    return first, (herd.statements - before) / 4, (herd._cores.busy - busy) / 4 / cores


def _real_herd(server: PostgresServer, workers: int) -> float:
    """Statements a second of so many sessions that wait for a lock, two seconds after they began."""
    key = key_of(0)
    network = SlowProxy(server.port)
    owner = PostgresTaskDB(server.url)
    owner.lock(key)
    waiting = [PostgresTaskDB(server.url_of("postgres", network.port)) for _ in range(workers)]
    threads = [threading.Thread(target=_wait, args=(index, key)) for index in waiting]
    for thread in threads:
        thread.start()
    time.sleep(2)
    before = network.trips
    time.sleep(5)
    asked = (network.trips - before) / 5
    owner.close()
    for thread in threads:
        thread.join()
    network.close()
    return asked


def _wait(index: PostgresTaskDB, key: bytes) -> None:
    index.lock(key)
    index.close()  # and the next one has it
