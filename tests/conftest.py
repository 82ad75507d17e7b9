"""Fixtures for all tests. Each test runs in a directory of its own, and fails if it leaves a thread or file behind."""

import gc
import multiprocessing
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from xdist.scheduler import LoadScopeScheduling

import beautyspot as bs
from beautyspot._internal import warn
from beautyspot.testing import Count
from tests.support.clusters import DaskCluster, RayCluster
from tests.support.servers import PostgresServer, RedisServer, S3Server


def pytest_configure() -> None:
    """Stop ignoring Ctrl-C: a shell's background job ignores it, and so would every program that the tests start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Exempt modules and tests, which live until the end, from garbage collection: a full one takes 0.4 s longer."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _in_a_directory_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def _warnings_are_given_anew() -> Iterator[None]:
    yield
    warn._given.clear()


@pytest.fixture(autouse=True)
def _nothing_is_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail if a file, thread or process of the library outlives a test."""
    threads, children, files = set(threading.enumerate()), _children(), _open_files()
    yield
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and (_left(threads) or _children() - children):
        time.sleep(0.01)
    assert not _left(threads)
    assert not _children() - children
    assert not _open_files() - files


def _left(before: set[threading.Thread]) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread not in before and thread.name.startswith("beauty")]


def _children() -> set[object]:
    """The child processes, except the workers that loky reuses."""
    return {child for child in multiprocessing.active_children() if type(child).__name__ != "LokyProcess"}


def _open_files() -> set[str]:
    files = set()
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{descriptor}")
        except FileNotFoundError:
            continue
        if target.endswith((".db", "-wal", "-shm", "-lock", "-limits")):
            files.add(target)
    return files


class ModuleScheduling(LoadScopeScheduling):
    """Schedule all tests of a module or page on one test process, and all tests of Ray on one.

    Two Ray clusters on one machine may take each other's ports.
    """

    def _split_scope(self, nodeid: str) -> str:
        return "ray" if re.search(r"(?<!ar)ray", nodeid, re.IGNORECASE) else nodeid.partition("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ModuleScheduling:
    config.option.loadscopereorder = (
        False  # it orders by the number of tests, but those in the browser are few and long
    )
    return ModuleScheduling(config, log)


# Modules that take a minute begin first, and pages of the documentation are last: no process waits long for another.
FIRST = ["test_dashboard.py", "test_remote.py", "test_postgres.py", "test_adapters.py", "test_engines.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: FIRST.index(item.path.name) if item.path.name in FIRST else len(FIRST))


@pytest.fixture(params=["sqlite", "postgres"])
def project_index(request: pytest.FixtureRequest) -> str:
    """The index of `project`: each in turn, unless a test or a module selects one (tests/support/marks.py)."""
    return str(request.param)


@pytest.fixture
def project(project_index: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[bs.Project]:
    """A project with local files, or with PostgreSQL and S3."""
    options: dict[str, Any] = {"db": tmp_path / "test.db", "storage_path": tmp_path / "blobs"}
    if project_index == "postgres":
        server = request.getfixturevalue("s3_server")
        options = {"db": request.getfixturevalue("postgres_url"), "storage_path": request.getfixturevalue("s3_url")}
        options["s3_opts"] = server.options
    with bs.Project("test", **options) as project:
        yield project


@pytest.fixture
def count(tmp_path: Path) -> Count:
    return Count(tmp_path / "count.txt")


@pytest.fixture(scope="session")
def dask_cluster() -> Iterator[DaskCluster]:
    cluster = DaskCluster()
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[RayCluster]:
    cluster = RayCluster()
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
def ray_here(ray_cluster: RayCluster) -> Iterator[None]:
    """Connect this process to the Ray cluster."""
    import ray

    os.environ["RAY_AUTH_MODE"] = "disabled"
    ray.init(ray_cluster.address, logging_level=30, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    server = RedisServer()
    yield server
    server.stop()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The URL of a Redis server without any key."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    return redis_server.url


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    server = PostgresServer()
    yield server
    server.stop()


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of an empty schema for one test.

    A project creates its tables in 0.11 s; a database cloned from a template took 0.13 s until it could be used.
    """
    schema = f"test_{os.urandom(6).hex()}"
    yield f"{postgres_server.url}?schema={schema}"
    postgres_server.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    server = S3Server()
    server.client().create_bucket(Bucket="tests")
    yield server
    server.stop()


@pytest.fixture
def s3_url(s3_server: S3Server) -> str:
    """The URL of an empty prefix for one test."""
    return f"s3://tests/{os.urandom(6).hex()}"
