"""The cost of a network: round trips of a hit, a miss, a map and a blob, and the speed of maps at several delays."""

import functools
import heapq
import itertools
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg

import beautyspot as bs
from beautyspot.db import PostgresTaskDB
from tests.benchmarks.scaling_stores import SETTINGS
from tests.benchmarks.tables import in_turns, median, table
from tests.support.servers import PostgresServer, Proxy, S3Server

DELAYS = (0.0, 0.5, 2.0)  # milliseconds that are added to a round trip
ROUNDS = 5
NEW = 1000  # new inputs of a map
CACHED = 20_000
SIZE = 100_000  # bytes of a blob
_LABELS = {delay: f"+{delay:g} ms" for delay in DELAYS}


class SlowProxy(Proxy):
    """A proxy that delays every message, and counts how often its clients wait for a reply.

    Args:
        port: The port of the server.
        delay: Seconds that are added to a round trip, half of it in each direction.
    """

    def __init__(self, port: int, delay: float = 0.0) -> None:
        self._half = delay / 2
        self.trips = 0
        self._due: list[tuple[float, int, socket.socket, bytes]] = []
        self._number = itertools.count()
        self._spoke: dict[socket.socket, bool] = {}
        self._changed = threading.Condition()
        if delay:
            threading.Thread(target=self._deliver, daemon=True).start()
        super().__init__(port)

    def _pump(self, one: socket.socket, other: socket.socket) -> None:
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        is_client = one.getsockname()[1] == self.port
        client = one if is_client else other
        try:
            while data := one.recv(1 << 18):
                if is_client and not self._spoke.get(client):
                    self.trips += 1
                self._spoke[client] = is_client
                if self._half:
                    with self._changed:
                        heapq.heappush(self._due, (time.perf_counter() + self._half, next(self._number), other, data))
                        self._changed.notify()
                else:
                    other.sendall(data)
        except OSError:
            pass
        finally:
            time.sleep(2 * self._half)  # delayed messages arrive first
            self._end(one)
            self._end(other)

    def _deliver(self) -> None:
        while True:
            with self._changed:
                while not self._due:
                    self._changed.wait()
                at = self._due[0][0]
                if (wait := at - time.perf_counter()) <= 0:
                    _, _, end, data = heapq.heappop(self._due)
            if wait > 0:
                time.sleep(max(0.0, wait - 60e-6))  # a sleep takes 60 µs longer than asked
                continue
            try:
                end.sendall(data)
            except OSError:
                self._end(end)


@contextmanager
def slow(port: int, delay: float) -> Iterator[int]:
    """Start a `SlowProxy` in a separate process, so that it takes no time from what is measured; yield its port."""
    command = [sys.executable, "-m", "tests.benchmarks.scaling_network", str(port), str(delay)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        yield int(process.stdout.readline())
        process.stdin.close()


class Site:
    """A project whose index and blobs are reached through proxies."""

    def __init__(self, name: str, postgres: str, s3: dict[str, str]) -> None:
        self.db = PostgresTaskDB(postgres)
        self.project = bs.Project(name, db=self.db, storage_path="s3://blobs/here", s3_opts=s3)
        self.small = self.project.task(_small)
        self.blob = self.project.task(save_blob=True)(_blob)
        self._next = 0

    def fresh(self, count: int) -> range:
        """Return numbers that no call has had as its argument."""
        self._next += count
        return range(self._next - count, self._next)


def _small(site: str, number: int) -> str:
    return f"{number:0150}"


def _blob(site: str, number: int) -> bytes:
    return os.urandom(SIZE)


def _of(server: PostgresServer, port: int) -> str:
    return server.url_of("postgres", port)


def _s3(server: S3Server, port: int) -> dict[str, str]:
    return {**server.options, "endpoint_url": f"http://127.0.0.1:{port}"}


def network(directory: Path) -> str:
    """The round trips of calls, and the time of calls at several delays."""
    with ExitStack() as stack:
        postgres, s3 = PostgresServer(**SETTINGS), S3Server()
        stack.callback(postgres.stop)
        stack.callback(s3.stop)
        s3.client().create_bucket(Bucket="blobs")
        return "\n".join([_trips(postgres, s3), _costs(stack, postgres, s3), _open(postgres)])


def _trips(postgres: PostgresServer, s3: S3Server) -> str:
    """The number of times that each operation waits for a reply, once its connections are open."""
    to_index, to_blobs = SlowProxy(postgres.port), SlowProxy(s3.port)
    site = Site("trips", _of(postgres, to_index.port), _s3(s3, to_blobs.port))
    rows = []
    with site.project:
        for number in site.fresh(8):
            site.small("trips", number)
            site.blob("trips", number)
        bs.map(site.small, ["trips"] * 2000, [*site.fresh(2000)], workers=8)

        def counted(name: str, calls: int, run: Callable[[], Any]) -> None:
            index, blobs = to_index.trips, to_blobs.trips
            run()
            asked = [(proxy.trips - before) / calls for proxy, before in ((to_index, index), (to_blobs, blobs))]
            rows.append((name, *(f"{each:.3g}" for each in asked)))

        counted("a hit", 20, lambda: [site.small("trips", number) for number in [0] * 20])
        counted("a miss", 20, lambda: [site.small("trips", number) for number in site.fresh(20)])
        counted("a hit with its blob", 20, lambda: [site.blob("trips", number) for number in [0] * 20])
        counted("a miss with its blob", 20, lambda: [site.blob("trips", number) for number in site.fresh(20)])
        fresh = site.fresh(2000)
        new = functools.partial(bs.map, site.small, ["trips"] * 2000, fresh, workers=8)
        counted("`bs.map` over 2,000 new inputs, 8 threads, each", 2000, new)
        counted("`bs.map` over 2,000 cached inputs, each", 2000, new)
    to_index.close()
    to_blobs.close()
    return table("Round trips", ("", "to PostgreSQL", "to S3"), rows)


def _costs(stack: ExitStack, postgres: PostgresServer, s3: S3Server) -> str:
    """The microseconds of each operation at each delay; the delays are measured in turn."""
    sites: dict[str, Site] = {}
    ports: dict[str, int] = {}
    for delay, label in _LABELS.items():
        port = stack.enter_context(slow(postgres.port, delay / 1000))
        options = _s3(s3, stack.enter_context(slow(s3.port, delay / 1000)))
        sites[label] = Site(label, _of(postgres, port), options)
        ports[label] = port
        stack.enter_context(sites[label].project)
        bs.map(sites[label].small, [label] * CACHED, [*range(CACHED)], workers=8)
        sites[label].fresh(CACHED)
        sites[label].blob(label, 0)
    rows: list[tuple[object, ...]] = []
    for name, calls, run in _works():
        took = in_turns({label: functools.partial(run, site, label) for label, site in sites.items()}, calls, ROUNDS)
        rows.append((name, *(f"{median(took[label]):,.{0 if median(took[label]) >= 100 else 1}f}" for label in sites)))
    plain = {label: stack.enter_context(psycopg.connect(_of(postgres, port))) for label, port in ports.items()}
    took = in_turns({label: functools.partial(_ask, connection) for label, connection in plain.items()}, 100, ROUNDS)
    rows.insert(0, ("a round trip, as measured", *(f"{median(took[label]):,.0f}" for label in sites)))
    return table("A round trip takes longer (µs each)", ("", *sites), rows)


def _ask(connection: Any, turn: int) -> None:
    for _ in range(100):
        connection.execute("SELECT 1").fetchone()


def _works() -> list[tuple[str, int, Callable[[Site, str, int], Any]]]:
    def new(count: int, site: Site, label: str, turn: int) -> None:
        bs.map(site.small, [label] * count, [*site.fresh(count)], workers=8)

    return [
        ("a hit", 50, lambda site, label, turn: [site.small(label, number) for number in range(50)]),
        ("a miss", 50, lambda site, label, turn: [site.small(label, number) for number in site.fresh(50)]),
        ("a hit with its blob of 100 kB", 20, lambda site, label, turn: [site.blob(label, 0) for _ in range(20)]),
        ("a miss with its blob", 20, lambda site, label, turn: [site.blob(label, number) for number in site.fresh(20)]),
        (f"`bs.map` over {NEW:,} new inputs, 8 threads", NEW, functools.partial(new, NEW)),
        (
            f"`bs.map` over {CACHED:,} cached inputs",
            CACHED,
            lambda s, x, turn: bs.map(s.small, [x] * CACHED, range(CACHED)),
        ),
    ]


def _open(postgres: PostgresServer) -> str:
    """The most connections and locks that a process has during a map of slow calls and of quick ones."""
    rows = []
    sql = """
        SELECT (SELECT count(*) FROM pg_stat_activity WHERE application_name = 'open'),
            (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory')
    """
    for name, seconds, count, workers in (
        ("calls of 20 ms, 8 threads", 0.02, 800, 8),
        ("calls of 20 ms, 32 threads", 0.02, 3200, 32),
        ("quick calls, 8 threads", 0.0, 20_000, 8),
    ):
        with bs.Project("open", db=PostgresTaskDB(f"{postgres.url}?application_name=open")) as project:

            @project.task
            def call(name: str, number: int, seconds: float = seconds) -> int:
                time.sleep(seconds) if seconds else None
                return number

            most = [0, 0]
            ended = threading.Event()
            watching = threading.Thread(target=_watch, args=(postgres, sql, most, ended))
            watching.start()
            bs.map(call, [name] * count, range(count), workers=workers)
            ended.set()
            watching.join()
            rows.append((name, *most))
    return table("What a process has open during a map, at the most", ("", "connections", "locks"), rows)


def _watch(postgres: PostgresServer, sql: str, most: list[int], ended: threading.Event) -> None:
    with psycopg.connect(postgres.url, autocommit=True) as plain:
        while not ended.is_set():
            row = plain.execute(sql).fetchone() or (0, 0)
            most[:] = map(max, most, row)
            time.sleep(0.001)


def main() -> None:
    """Run the proxy of `slow` until standard input is closed."""
    proxy = SlowProxy(int(sys.argv[1]), float(sys.argv[2]))
    print(proxy.port, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
