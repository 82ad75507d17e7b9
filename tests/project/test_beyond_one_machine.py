"""PostgreSQL, S3 and Redis together: processes that share nothing else, servers that are killed, hostile content."""

import asyncio
import os
import random
import signal
import struct
import subprocess
import sys
import textwrap
import threading
import time
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
from blake3 import blake3

import beautyspot as bs
from beautyspot.errors import NotKeptWarning, UnreadableWarning
from beautyspot.serialization import blob_format
from beautyspot.testing import Count
from tests.support.servers import PostgresServer, Proxy, RedisServer, S3Server, until
from tests.support.tampering import change_blob, change_rows, rows

JOB = """
    import json, os, sys, time, warnings
    import beautyspot as bs
    from botocore.config import Config

    places = json.loads(os.environ["PLACES"])
    project = bs.Project("p", blob_threshold=2000, rpm=None, tpm=6_000_000, **places)

    @project.task
    @project.limiter(cost=lambda x: 500)
    def work(x):
        os.write(3, b"%d %.6f\\n" % (x, time.time()))
        time.sleep(0.005)
        return bytes([x % 251]) * (10 * x)

    if __name__ == "__main__":
        work.cached(0)  # everything is imported, and connected
        open("ready", "w").close()
        while sys.argv[1] and not os.path.exists(sys.argv[1]):
            time.sleep(0.001)
        results = bs.map(work, range(int(sys.argv[2])), workers=4)
        assert results == [bytes([x % 251]) * (10 * x) for x in range(int(sys.argv[2]))]
        project.close()
        print("done")
"""


class Job:
    """A map in a separate process, which shares only the servers with others.

    Args:
        directory: Its own.
        places: The options of its project.
        inputs: How many.
        gate: Begins when there is this file; at once without.
        options: Of Python.
    """

    def __init__(
        self, directory: Path, places: dict[str, Any], inputs: int, gate: Path | None = None, options: str = "-W error"
    ) -> None:
        import json

        self._directory = directory
        directory.mkdir(exist_ok=True)
        (directory / "job.py").write_text(textwrap.dedent(JOB))
        self._ran = directory / "ran.txt"
        with open(self._ran, "ab") as ran:
            self.process = subprocess.Popen(
                ["bash", "-c", f"exec {sys.executable} {options} job.py '{gate or ''}' {inputs} 3>&{ran.fileno()}"],
                cwd=directory,
                env={**os.environ, "PLACES": json.dumps(places)},
                pass_fds=[ran.fileno()],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )

    def wait_until_ready(self) -> None:
        while self.process.poll() is None and not (self._directory / "ready").exists():
            time.sleep(0.01)

    def end(self) -> tuple[str, str]:
        return self.process.communicate(timeout=100)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()

    @property
    def ran(self) -> list[tuple[int, float]]:
        """The calls that it ran, with their times."""
        lines = self._ran.read_text().splitlines()
        return [(int(line.split()[0]), float(line.split()[1])) for line in lines]


@pytest.fixture
def places(postgres_url: str, s3_server: S3Server, s3_url: str, redis_url: str) -> dict[str, Any]:
    """Options of a project on servers alone."""
    return {"db": postgres_url, "storage_path": s3_url, "s3_opts": s3_server.options, "limiter_uri": redis_url}


def everything_is_whole(places: dict[str, Any]) -> int:
    """Check that each row has its blob, as it was written; returns the number of results."""
    with bs.Project("p", **places) as project:
        found = rows(project, "location, checksum, size")
        for location, checksum, size in found:
            if location is not None:
                assert blake3(project.storage.load(location, size)).digest(16) == checksum
        return len(found)


def test_two_processes_that_share_only_servers_run_one_map_together(places: dict[str, Any], tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    jobs = [Job(tmp_path / name, places, 400, gate) for name in ("one", "two")]
    for job in jobs:
        job.wait_until_ready()
    gate.touch()
    assert [job.end() for job in jobs] == [("done\n", "")] * 2
    assert all(job.ran for job in jobs)
    ran = sorted(pair for job in jobs for pair in job.ran)
    assert [x for x, _ in ran] == list(range(400))  # each key once
    # 6,000,000 tokens a minute, 500 a call: one call in 5 ms over both, after what may be saved up
    times = sorted(t for _, t in ran)
    assert (times[-1] - times[0]) >= 0.9 * 399 * 0.005
    assert everything_is_whole(places) == 400


@pytest.mark.slow
def test_a_map_that_is_killed_again_and_again_finishes_when_it_is_repeated(
    places: dict[str, Any], tmp_path: Path
) -> None:
    chance = random.Random(5)
    ran = []
    for _ in range(6):
        job = Job(tmp_path / "job", places, 300)
        began, before = time.monotonic(), len(job.ran)
        while len(job.ran) < before + 5 and time.monotonic() < began + 20:
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.25))
        job.kill()
        everything_is_whole(places)
    job = Job(tmp_path / "job", places, 300)
    assert job.end() == ("done\n", "")
    ran = [x for x, _ in job.ran]
    assert set(ran) == set(range(300))
    assert len(ran) <= 300 + 6 * 4  # at most what four threads had in hand
    assert everything_is_whole(places) == 300


@pytest.fixture
def own_servers() -> Iterator[tuple[PostgresServer, S3Server, RedisServer]]:
    """Servers for one test, which kills them."""
    servers = PostgresServer(), S3Server(), RedisServer()
    servers[1].client().create_bucket(Bucket="tests")
    yield servers
    for server in servers:
        server.stop()


@pytest.mark.slow
@pytest.mark.parametrize("which", [0, 1, 2], ids=["postgresql", "s3", "redis"])
def test_a_server_that_is_killed_in_the_middle_of_a_map_costs_only_time(
    which: int, own_servers: tuple[PostgresServer, S3Server, RedisServer], tmp_path: Path
) -> None:
    index, storage, limiter = own_servers
    places = {
        "db": index.url,
        "storage_path": "s3://tests/prefix",
        "s3_opts": storage.options,
        "limiter_uri": limiter.url,
    }
    job = Job(tmp_path / "job", places, 400)
    for _ in range(2):
        seen, began = len(job.ran), time.monotonic()
        while len(job.ran) < seen + 40 and time.monotonic() < began + 30 and job.process.poll() is None:
            time.sleep(0.01)
        own_servers[which].kill()
        time.sleep(0.3)
        own_servers[which].start()
    out, err = job.end()
    if out != "done\n":  # an error reached the caller: running the job again finishes it
        assert "Error" in err or "Warning" in err
        # A storage that was killed may have lost a blob that it had accepted: its call runs again, with a warning.
        job = Job(tmp_path / "job", places, 400, options="")
        out, err = job.end()
        assert out == "done\n", err
    ran = [x for x, _ in job.ran]
    assert set(ran) == set(range(400))
    assert len(ran) <= 400 + 2 * 4
    try:
        assert everything_is_whole(places) == 400
    except bs.StorageError as error:
        # Now and then this server answers with an error of its own, for a while, for blobs that it had accepted before it was killed.
        assert which == 1
        assert "InternalError" in str(error)  # noqa: PT017
        assert Job(tmp_path / "job", places, 400, options="-W default").end()[0] == "done\n"
        assert everything_is_whole(places) == 400


@pytest.mark.slow
def test_an_unreachable_storage_costs_caching_and_not_the_job(postgres_url: str, count: Count, tmp_path: Path) -> None:
    from botocore.config import Config

    server = S3Server()
    server.client().create_bucket(Bucket="tests")
    once = {**server.options, "config": Config(retries={"total_max_attempts": 1}, connect_timeout=1)}
    with bs.Project("p", db=postgres_url, storage_path="s3://tests/p", s3_opts=once) as project:
        task = project.task(save_blob=True)(lambda x: count() or x)
        task(1)
        server.kill()
        with pytest.warns(NotKeptWarning, match=r"the server cannot be reached: check that it runs") as caught:
            assert [task(x) for x in (2, 3, 4)] == [2, 3, 4]
        assert len(caught) == 1
        with pytest.warns(UnreadableWarning, match="the server cannot be reached"):
            assert task(1) == 1
        assert not task.cached(2)
        server.start()
        ((location, size),) = rows(project, "location, size")
        until(lambda: project.storage.load(location, size), lambda: True)  # it reads later than it answers
        assert task.cached(1)
        assert task(2) == 2
        assert task.cached(2)
    server.stop()


def test_the_error_for_a_missing_bucket_names_the_cure(postgres_url: str, s3_server: S3Server) -> None:
    options = s3_server.options
    with bs.Project("p", db=postgres_url, storage_path="s3://nowhere/p", s3_opts=options) as project:
        task = project.task(save_blob=True)(lambda x: x)
        with pytest.warns(NotKeptWarning, match="there is no such bucket: create it"):
            assert task(1) == 1
        assert rows(project, "key") == []
    with bs.Project(
        "p", db=postgres_url, storage_path="s3://nowhere/p", s3_opts=options, on_save_error="raise"
    ) as project:
        with pytest.raises(bs.StorageError, match="there is no such bucket: create it"):
            project.task(save_blob=True)(lambda x: x)(1)


def test_several_uploads_are_in_flight(postgres_url: str, s3_server: S3Server, s3_url: str) -> None:
    proxy = Proxy(s3_server.port)
    options = {**s3_server.options, "endpoint_url": f"http://127.0.0.1:{proxy.port}"}
    with bs.Project("p", db=postgres_url, storage_path=s3_url, s3_opts=options) as project:
        quick = project.task(save_blob=True)(lambda n: bytes([n]) * 10)
        bs.map(quick, range(120), workers=8)  # as quick as they are
        assert proxy.connections >= 4

        @project.task(save_blob=True)
        async def fetch(n: int) -> bytes:
            return bytes([n]) * 20

        assert asyncio.run(bs.amap(fetch, range(40), workers=8)) == [bytes([n]) * 20 for n in range(40)]
        assert bs.plan(fetch, range(40)).kept == 40
    proxy.close()


def test_an_upload_does_not_block_the_event_loop(postgres_url: str, s3_server: S3Server, s3_url: str) -> None:
    proxy = Proxy(s3_server.port)
    options = {**s3_server.options, "endpoint_url": f"http://127.0.0.1:{proxy.port}"}

    async def main(project: bs.Project) -> int:
        @project.task(save_blob=True)
        async def fetch(n: int) -> bytes:
            return bytes(n)

        await fetch(10)
        proxy.hold()
        threading.Timer(1.5, proxy.let_go).start()
        turns = 0  # of the loop, in a second and a half in which nothing is answered
        call = asyncio.create_task(fetch(1_000_000))
        while not call.done():
            await asyncio.sleep(0.001)
            turns += proxy.holds
        assert len(await call) == 1_000_000
        return turns

    with bs.Project("p", db=postgres_url, storage_path=s3_url, s3_opts=options) as project:
        assert asyncio.run(main(project)) > 30
    proxy.close()


def test_a_budget_that_is_not_shared_is_a_warning(postgres_url: str) -> None:
    with bs.Project("p", db=postgres_url, tpm=60_000) as project:
        with pytest.warns(bs.RateLimitWarning, match='each process for itself.*limiter_uri="redis://'):
            project.task(project.limiter(lambda x: x))(1)


# --- hostile rows and blobs


def _ext(code: int, data: bytes) -> bytes:
    return struct.pack(">BIb", 0xC9, len(data), code) + data


def _nested(levels: int) -> bytes:
    data = b"\xc0"
    for _ in range(levels):
        data = _ext(-4, b"\x91" + data)  # a tuple of a tuple of ...
    return data


BOMBS = {
    "an array of four milliards": b"\xdd\xff\xff\xff\xff",
    "a map of four milliards": b"\xdf\xff\xff\xff\xff",
    "a text of four gigabytes": b"\xdb\xff\xff\xff\xff",
    "bytes of four gigabytes": b"\xc6\xff\xff\xff\xff",
    "an extension of four gigabytes": b"\xc9\xff\xff\xff\xff\x01",
    "arrays in arrays": b"\x91" * 100_000,
    "arrays of arrays of arrays": (b"\xdd\x00\x0f\xff\xff" * 500)[:2500],
    "tuples in tuples": _nested(3000),
    "an array of NumPy without an end": _ext(-21, msgpack.packb(["<f8", [1 << 40], "C", b""])),
    "a list of NumPy whose items are vast": _ext(-21, msgpack.packb(["V1000000000", [9], "L", [b""] * 9])),
    "a picture of a million pixels a side": _ext(
        -25, msgpack.packb([["PIL.Image", "Image"], [{}, "L", [1_000_000, 1_000_000], [], b""]])
    ),
    "a pickle": b"cos\nsystem\n(S'touch hacked'\ntR.",
}

READ = """
    import resource, sys, warnings, json, os
    import beautyspot as bs
    import numpy, PIL.Image
    places = json.loads(os.environ["PLACES"])
    project = bs.Project("p", **places)
    small = project.task(version="small")(lambda x: "fresh")
    large = project.task(version="large", save_blob=True)(lambda x: "fresh")
    used = int(open("/proc/self/statm").read().split()[0]) * 4096
    resource.setrlimit(resource.RLIMIT_AS, (used + (600 << 20),) * 2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        print(small(1), large(1), len(caught), {warning.category.__name__ for warning in caught})
    project.close()
"""


@pytest.mark.slow
@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("index", ["sqlite", "postgres"])
def test_a_decompression_bomb_costs_no_memory_and_the_call_runs_again(
    bomb: str, index: str, request: pytest.FixtureRequest, s3_server: S3Server, s3_url: str, tmp_path: Path
) -> None:
    import json

    db = str(tmp_path / "p.db") if index == "sqlite" else request.getfixturevalue("postgres_url")
    places = {"db": db, "storage_path": s3_url, "s3_opts": s3_server.options}
    content = BOMBS[bomb]
    (tmp_path / "job.py").write_text(textwrap.dedent(READ))
    command, environment = [sys.executable, "job.py"], {**os.environ, "PLACES": json.dumps(places)}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    with bs.Project("p", **places) as project:
        crc = zlib.crc32(content).to_bytes(4, "big")
        change_rows(project, "location IS NULL", value=content, checksum=crc, size=len(content))
        blob = b"".join(bytes(part) for part in blob_format.join(content, []))
        change_blob(project, lambda _: blob)
        change_rows(project, "location IS NOT NULL", checksum=blake3(blob).digest(16), size=len(blob))
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "fresh fresh 1 {'UnreadableWarning'}\n"
    assert not (tmp_path / "hacked").exists()


def test_a_blob_with_a_table_of_any_length_takes_no_memory(project: bs.Project, count: Count) -> None:
    blob = project.task(save_blob=True)(lambda x: count() or "blob")
    blob(1)
    for evil in (b"BSB1\xff\xff\xff\xff", b"BSB1" + struct.pack("<IQQ", 1, 1 << 62, 1 << 62), b"BSB1", b""):
        change_blob(project, lambda _, evil=evil: evil)
        change_rows(project, checksum=blake3(evil).digest(16), size=len(evil))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UnreadableWarning)
            assert blob(1) == "blob"
    assert len(count) == 5


@pytest.mark.parametrize(
    "location", ["s3://other/prefix/blob", "../other", "other/prefix", "file:///etc/passwd", "00/" + "0" * 41 + "/../x"]
)
def test_a_row_that_points_elsewhere_is_not_followed(
    location: str, postgres_url: str, s3_server: S3Server, s3_url: str, count: Count
) -> None:
    with bs.Project("p", db=postgres_url, storage_path=s3_url, s3_opts=s3_server.options) as project:
        blob = project.task(save_blob=True)(lambda x: count() or "blob")
        blob(1)
        change_rows(project, location=location)
        with pytest.warns(UnreadableWarning, match="not the location of a blob below") as caught:
            assert blob(1) == "blob"
        assert len(caught) == 1
        assert blob(1) == "blob"
    assert len(count) == 2


def test_a_row_of_a_monstrous_size_takes_no_memory(
    postgres_url: str, s3_server: S3Server, s3_url: str, count: Count
) -> None:
    with bs.Project("p", db=postgres_url, storage_path=s3_url, s3_opts=s3_server.options) as project:
        blob = project.task(save_blob=True)(lambda x: count() or "blob")
        blob(1)
        change_rows(project, size=1 << 60)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert blob(1) == "blob"
        assert [warning.category for warning in caught] == [UnreadableWarning]
    assert len(count) == 2
