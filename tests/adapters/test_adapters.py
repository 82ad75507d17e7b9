"""What each engine does of its own: its ordinary code with tasks, other machines, lost clusters, and CachedExecutor."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dask
import distributed
import joblib
import pytest
import ray
from joblib.externals.loky import get_reusable_executor

import beautyspot as bs
from beautyspot.adapters.dask import DaskEngine
from beautyspot.adapters.futures import CachedExecutor
from beautyspot.adapters.ray import RayEngine
from beautyspot.errors import ConfigurationError, EngineLost, WorkerDied
from beautyspot.results.events import KINDS
from beautyspot.testing import Count
from tests.support.clusters import DaskCluster, RayCluster
from tests.support.marks import POSTGRES_SLOWLY

# What is tested here is elsewhere than in the index.
project_index = pytest.fixture(lambda request: request.param, params=POSTGRES_SLOWLY)


@pytest.fixture(scope="module", autouse=True)
def _ends() -> Iterator[None]:
    yield
    get_reusable_executor().shutdown(wait=True, kill_workers=True)


@pytest.fixture
def client(dask_cluster: DaskCluster) -> Iterator[distributed.Client]:
    with distributed.Client(dask_cluster.address) as client:
        yield client


def counted(project: bs.Project, count: Count, by: int = 0) -> Any:
    @project.task
    def square(x: int) -> int:
        return x * x + by + count(x)

    return square


class TestOrdinaryCode:
    """Tasks where an engine's own functions take functions."""

    @pytest.mark.slow
    def test_dask_maps_and_delays_tasks(self, project: bs.Project, count: Count, client: Any) -> None:
        square = counted(project, count)
        assert client.gather(client.map(square, range(4))) == [0, 1, 4, 9]
        assert client.submit(square, 4).result() == 16
        assert dask.compute(*[dask.delayed(square)(x) for x in range(6)]) == (0, 1, 4, 9, 16, 25)
        assert dask.delayed(sum)([dask.delayed(square)(x) for x in range(6)]).compute() == 55
        assert sorted(map(int, count.lines)) == list(range(6))
        assert all(square.cached(x) for x in range(6))

    @pytest.mark.slow
    def test_ray_makes_tasks_remote(self, project: bs.Project, count: Count, ray_here: None) -> None:
        square, shifted = counted(project, count), counted(project, count, by=100)
        for _ in range(2):
            remote = ray.remote(square)
            assert ray.get([remote.remote(x) for x in range(4)]) == [0, 1, 4, 9]
            assert ray.get([remote.remote(x=x) for x in range(4)]) == [0, 1, 4, 9]
            assert ray.get([ray.remote(num_cpus=1)(shifted).remote(x) for x in range(4)]) == [100, 101, 104, 109]
        assert len(count) == 8
        assert all(square.cached(x) for x in range(4))

    @pytest.mark.slow
    def test_joblib_delays_tasks_on_every_backend(self, project: bs.Project, count: Count, client: Any) -> None:
        for version, backend in enumerate(["loky", "threading", "multiprocessing", "dask"]):
            square = counted(project, count, by=version)
            with joblib.parallel_config(backend):
                for _ in range(2):
                    results = joblib.Parallel(n_jobs=2)(joblib.delayed(square)(x) for x in range(6))
                    assert results == [x * x + version for x in range(6)]
            assert len(count) == 6 * (version + 1)
            assert all(square.cached(x) for x in range(6))

    @pytest.mark.parametrize("home", ["script", "module", "notebook"])
    @pytest.mark.slow
    def test_joblib_delays_tasks_wherever_they_are_defined(self, home: str, tmp_path: Path) -> None:
        task = (
            "import beautyspot as bs, joblib, os\nproject = bs.Project('p')\nRAN = os.path.abspath('ran.txt')\n"
            "@project.task\ndef double(x):\n    with open(RAN, 'a') as file: file.write(f'{x}\\n')\n    return 2 * x\n"
        )
        use = (
            "if __name__ == '__main__':\n    results = joblib.Parallel(n_jobs=2)(joblib.delayed(double)(x) for x in range(6))\n"
            "    assert results == [0, 2, 4, 6, 8, 10] and all(double.cached(x) for x in range(6))\n"
        )
        (tmp_path / "tasks.py").write_text(task)
        (tmp_path / "job.py").write_text(
            {
                "script": task + use,
                "module": "from tasks import *\n" + use,
                "notebook": "from IPython.core.interactiveshell import InteractiveShell\n"
                f"for cell in {[task, use]!r}: InteractiveShell.instance().run_cell(cell).raise_error()\n",
            }[home]
        )
        for _ in range(2):
            done = subprocess.run([sys.executable, "job.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, done.stderr
        assert sorted(map(int, Count(tmp_path / "ran.txt").lines)) == list(range(6))

    @pytest.mark.slow
    def test_joblib_on_ray_delays_tasks_and_is_an_engine(self, ray_cluster: RayCluster, tmp_path: Path) -> None:
        """In a program of its own, since Ray's backend changes joblib's pools of processes for good."""
        (tmp_path / "job.py").write_text(
            "import os, sys, joblib, ray, beautyspot as bs\nfrom ray.util.joblib import register_ray\n"
            "project = bs.Project('p')\n@project.task\ndef pid(x): return os.getpid()\n"
            "if __name__ == '__main__':\n    ray.init(sys.argv[1], logging_level=40, log_to_driver=False)\n"
            "    register_ray()\n    with joblib.parallel_config('ray', n_jobs=2):\n"
            "        first = joblib.Parallel()(joblib.delayed(pid)(x) for x in range(6))\n"
            "        again = joblib.Parallel()(joblib.delayed(pid)(x) for x in range(6))\n"
            "        mapped = bs.map(pid, range(12), engine='joblib')\n"
            "    assert first == again == mapped[:6]\n    assert os.getpid() not in mapped\n"
        )
        done = subprocess.run(
            [sys.executable, "job.py", ray_cluster.address], cwd=tmp_path, capture_output=True, text=True, timeout=100,
            env={**os.environ, "RAY_AUTH_MODE": "disabled"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def test_an_executor_submits_tasks(self, project: bs.Project, count: Count) -> None:
        square = counted(project, count)
        with ProcessPoolExecutor(2) as pool:
            for _ in range(2):
                assert list(pool.map(square, range(4))) == [0, 1, 4, 9]
        assert len(count) == 4


class TestWhereMapsRun:
    def test_joblib_is_asked_for_its_configuration(self, project: bs.Project, client: Any) -> None:
        here, workers = os.getpid(), set(client.run(os.getpid).values())

        def pids(backend: str, n_jobs: int | None = None) -> set[int]:
            task = project.task(version=backend)(lambda x: (time.sleep(0.01), os.getpid())[1])
            with joblib.parallel_config(backend, n_jobs=n_jobs):
                return set(bs.map(task, range(12), engine="joblib"))

        assert pids("threading") == {here}
        assert here not in pids("loky", n_jobs=2)
        assert here not in pids("multiprocessing", n_jobs=2)
        assert pids("dask") <= workers
        sequential = project.task(version="sequential")(lambda x: (os.getpid(), threading.active_count()))
        with joblib.parallel_config(n_jobs=1):
            assert {pid for pid, _ in bs.map(sequential, range(4), engine="joblib")} == {here}

    @pytest.mark.slow
    def test_options_of_an_engine_reach_it(self, project: bs.Project, client: Any, ray_here: None) -> None:
        address = next(iter(client.nthreads()))
        name = project.task(lambda x: distributed.get_worker().address)
        assert set(bs.map(name, range(5), engine=DaskEngine(client, workers=[address]))) == {address}
        resources = project.task(lambda x: ray.get_runtime_context().get_assigned_resources())
        assert bs.map(resources, [1], engine=RayEngine(num_cpus=2)) == [{"CPU": 2.0}]

    @pytest.mark.slow
    def test_clusters_of_ours_begin_and_end_with_a_map(self, tmp_path: Path) -> None:
        (tmp_path / "job.py").write_text(
            "import beautyspot as bs, os\nproject = bs.Project('p')\n@project.task\ndef f(x): return os.getpid(), x\n"
            "if __name__ == '__main__':\n    import distributed, ray\n"
            "    for i, engine in enumerate(['dask', 'ray']):\n"
            "        got = bs.map(f, range(9 * i, 9 * i + 9), engine=engine, workers=2)\n"
            "        assert [x for _, x in got] == list(range(9 * i, 9 * i + 9))\n"
            "        assert os.getpid() not in dict(got)\n"
            "    assert not ray.is_initialized()\n"
            "    import multiprocessing; assert not multiprocessing.active_children()\n"
        )
        done = subprocess.run([sys.executable, "job.py"], cwd=tmp_path, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, done.stderr

    @pytest.mark.slow
    def test_a_script_without_a_guard_is_an_error_that_says_so(self, tmp_path: Path) -> None:
        (tmp_path / "job.py").write_text(
            "import beautyspot as bs\nproject = bs.Project('p')\ntask = project.task(lambda x: x)\n"
            "print(bs.map(task, range(3), engine='dask', workers=2))\n"
        )
        done = subprocess.run([sys.executable, "job.py"], cwd=tmp_path, capture_output=True, text=True, timeout=100)
        assert done.returncode != 0
        assert done.stderr.splitlines()[-1].startswith("beautyspot.errors.ConfigurationError"), done.stderr
        assert 'if __name__ == "__main__":' in done.stderr.splitlines()[-1]

    @pytest.mark.slow
    def test_a_ray_client_address_is_an_engine(self, tmp_path: Path) -> None:
        (tmp_path / "job.py").write_text(
            "import sys, beautyspot as bs\nproject = bs.Project('p')\ntask = project.task(lambda x: 2 * x)\n"
            "assert bs.map(task, range(9), engine=sys.argv[1]) == list(range(0, 18, 2))\nassert task.cached(8)\n"
        )
        cluster = RayCluster()
        try:
            done = subprocess.run(
                [sys.executable, "job.py", cluster.client_address], cwd=tmp_path, capture_output=True, text=True,
                timeout=100, env={**os.environ, "RAY_AUTH_MODE": "disabled"},
            )  # fmt: skip
        finally:
            cluster.stop()
        assert done.returncode == 0, done.stderr

    @pytest.mark.slow
    def test_an_address_where_nothing_answers_is_an_error(self, project: bs.Project, ray_here: None) -> None:
        task = project.task(lambda x: x)
        with dask.config.set({"distributed.comm.timeouts.connect": "1s"}):
            with pytest.raises(ConfigurationError, match="no Dask scheduler answers at tcp:"):
                bs.map(task, [1], engine="tcp://127.0.0.1:1")
        with pytest.raises(ConfigurationError, match="connected to Ray already"):
            bs.map(task, [1], engine="ray://127.0.0.1:1")
        with pytest.raises(ConfigurationError, match="no engine is known as '127"):
            bs.map(task, [1], engine="127.0.0.1:8786")

    @pytest.mark.slow
    def test_a_closed_client_is_an_error(self, project: bs.Project) -> None:
        cluster = DaskCluster(1)
        try:
            client = distributed.Client(cluster.address, set_as_default=False)
            client.close()
            with pytest.raises(ConfigurationError, match="is closed"):
                bs.map(project.task(lambda x: x), [1], engine=client)
        finally:
            cluster.stop()

    def test_maps_inside_the_workers_of_a_cluster_run_there(self, project: bs.Project, client: Any) -> None:
        inner = project.task(lambda x: x + 1)

        @project.task
        def outer(x: int) -> int:
            return sum(bs.map(inner, range(x, x + 3), engine="dask"))

        assert bs.map(outer, range(5), engine=client) == [3 * x + 6 for x in range(5)]


@pytest.fixture(params=["dask", pytest.param("ray", marks=pytest.mark.slow)])
def index_unreachable(request: pytest.FixtureRequest) -> Any:
    """An engine whose workers have another working directory than the caller."""
    if request.param == "ray":
        request.getfixturevalue("ray_here")
        return "ray"
    return request.getfixturevalue("client")


class TestWorkersThatDoNotReachTheIndex:
    """A path that leads each process to a directory of its own stands for a disk of another machine."""

    @pytest.fixture
    def project(self) -> Iterator[bs.Project]:
        here = "/proc/self/cwd"
        with bs.Project("away", db=f"{here}/away.db", storage_path=f"{here}/blobs", blob_threshold=1000) as project:
            yield project

    def test_the_caller_stores(self, project: bs.Project, count: Count, index_unreachable: Any, tmp_path: Path) -> None:
        make = project.task(lambda n: b"x" * n + b"y" * count(n))
        sizes = [1, 500, 5000, 200_000]
        for _ in range(2):
            assert bs.map(make, sizes, engine=index_unreachable) == [b"x" * n for n in sizes]
        assert len(count) == 4
        assert (tmp_path / "away.db").exists()
        assert len(list(project.storage.blobs())) == 2
        assert {summary.input for summary in project.db.summaries()} == {f"n={n}" for n in sizes}
        assert all(summary.seconds is not None for summary in project.db.summaries())
        assert make(5000) == b"x" * 5000

    def test_nothing_is_made_where_they_are(self, project: bs.Project, index_unreachable: Any) -> None:
        look = project.task(lambda x: os.path.exists("away.db") or os.path.exists("blobs"))
        assert bs.map(look, range(3), engine=index_unreachable) == [False] * 3

    def test_failures_are_noted_by_the_caller(self, project: bs.Project, index_unreachable: Any) -> None:
        task = project.task(lambda x: 1 / x)
        results = bs.map(task, [1, 0], engine=index_unreachable, on_error="return")
        assert isinstance(results[1], ZeroDivisionError)
        assert bs.plan(task, [1, 0]).failed == ((0,),)

    def test_events_of_workers_are_told_once_by_the_caller(self, project: bs.Project, index_unreachable: Any) -> None:
        told: list[bs.Event] = []
        for kind in KINDS:
            project.on(kind, told.append)
        task = project.task(lambda x: 1 / x)
        bs.map(task, [1, 2, 0], engine=index_unreachable, on_error="return")
        assert Counter(event.kind for event in told) == {"miss": 3, "run": 2, "keep": 2, "error": 1}
        assert [str(event.error) for event in told if event.error] == ["division by zero"]
        told.clear()
        bs.map(task, [1, 2], engine=index_unreachable)
        assert [event.kind for event in told] == ["hit", "hit"]

    def test_a_budget_that_they_do_not_reach_is_an_error(self, project: bs.Project, index_unreachable: Any) -> None:
        task = project.task(project.limiter(lambda x: x))
        with pytest.raises(ConfigurationError, match=r"does not reach the file of their budget.*redis://"):
            bs.map(task, [1], engine=index_unreachable)

    def test_a_budget_of_a_server_is_kept(self, index_unreachable: Any, redis_url: str) -> None:
        with bs.Project("away", db="/proc/self/cwd/away.db", tpm=None, rpm=1200, limiter_uri=redis_url) as project:
            task = project.task(project.limiter(lambda x: time.time()))
            times = sorted(bs.map(task, range(12), engine=index_unreachable))
        assert times[-1] - times[0] > 10 * 0.05


class TestWorkersWithOtherCode:
    @pytest.mark.slow
    def test_what_they_imported_before_it_changed_is_not_run(self, client: Any, tmp_path: Path) -> None:
        """The caller's code is sent; it is the caller's key under which the result is kept."""
        module = tmp_path / "changing.py"
        job = tmp_path / "job.py"
        job.write_text(
            "import sys, distributed, beautyspot as bs\nimport changing\nif __name__ == '__main__':\n"
            f"    client = distributed.Client({client.scheduler.address!r})\n"
            "    client.run(lambda path: (path in sys.path) or sys.path.insert(0, path), sys.path[0])\n"
            "    print(bs.map(changing.f, range(int(sys.argv[1])), engine=client))\n"
        )
        for body, n, expected in (("x", 2, "[0, 1]"), ("x + 10", 4, "[0, 1, 12, 13]")):
            module.write_text(
                f"import beautyspot as bs\nproject = bs.Project('p')\n@project.task\ndef f(x): return {body}\n"
            )
            done = subprocess.run(
                [sys.executable, "-W", "ignore", "job.py", str(n)], cwd=tmp_path, capture_output=True, text=True,
                timeout=60,
            )  # fmt: skip
            assert done.stdout.strip() == expected, done.stderr


class TestLostWorkersAndClusters:
    @pytest.mark.slow
    def test_a_worker_is_given_a_poisonous_input_as_often_as_dask_allows(
        self, project: bs.Project, count: Count
    ) -> None:
        """The failures that Dask allows are the user's to set; the others finish, and the input is named."""
        cluster = DaskCluster(2, allowed_failures=1)
        try:

            def function(x: int) -> int:
                if x == 3:
                    count(x)
                    os._exit(1)
                return x

            with distributed.Client(cluster.address, set_as_default=False) as client:
                results = bs.map(project.task(function), range(6), engine=client, on_error="return")
        finally:
            cluster.stop()
        assert [x for x in results if not isinstance(x, Exception)] == [0, 1, 2, 4, 5]
        assert isinstance(results[3], WorkerDied)
        assert len(count) == 4  # twice with its neighbours, twice alone

    @pytest.mark.slow
    def test_a_lost_scheduler_ends_the_map_and_what_finished_is_kept(self, project: bs.Project, count: Count) -> None:
        cluster = DaskCluster(2)
        client = distributed.Client(cluster.address, set_as_default=False, timeout=2)
        try:
            task = project.task(lambda x: (count(x), time.sleep(0.05), x)[2])

            def kill_when_some_ran() -> None:
                while len(count) < 20:
                    time.sleep(0.01)
                os.killpg(cluster.scheduler.pid, signal.SIGKILL)

            killer = threading.Thread(target=kill_when_some_ran)
            killer.start()
            with pytest.raises(EngineLost):
                bs.map(task, range(1000), engine=client)
            killer.join()
        finally:
            client.close()
            cluster.stop()
        ran = {int(x) for x in count.lines}
        assert len(ran) < 200
        assert sum(not task.cached(x) for x in ran) <= 4


class TestCachedExecutor:
    @pytest.fixture(params=["threads", "processes"])
    def executor(self, request: pytest.FixtureRequest, project: bs.Project) -> Iterator[CachedExecutor]:
        pool = ThreadPoolExecutor(2) if request.param == "threads" else ProcessPoolExecutor(2)
        with CachedExecutor(project, pool) as executor:
            yield executor

    def test_a_cached_result_comes_back_without_a_worker(self, executor: CachedExecutor, count: Count) -> None:
        assert [executor.submit(slow_square, count.path, x).result() for x in range(4)] == [0, 1, 4, 9]
        future = executor.submit(slow_square, count.path, x=3)
        assert future.done()
        assert future.result() == 9
        assert list(executor.map(slow_square, [count.path] * 6, range(6))) == [0, 1, 4, 9, 16, 25]
        assert sorted(map(int, count.lines)) == list(range(6))

    def test_equal_calls_at_a_time_run_once(self, executor: CachedExecutor, count: Count) -> None:
        futures = [executor.submit(slow_square, count.path, 5) for _ in range(4)]
        assert [future.result() for future in futures] == [25] * 4
        assert len(count) == 1

    def test_code_that_knows_nothing_of_us_uses_it(self, executor: CachedExecutor, count: Count) -> None:
        async def main() -> list[int]:
            loop = asyncio.get_running_loop()
            return await asyncio.gather(*[loop.run_in_executor(executor, slow_square, count.path, x) for x in (2, 3)])

        for _ in range(2):
            assert asyncio.run(main()) == [4, 9]
        assert len(count) == 2

    def test_failures_are_raised_from_the_future_and_not_kept(self, executor: CachedExecutor, count: Count) -> None:
        for _ in range(2):
            with pytest.raises(ValueError, match="negative"):
                executor.submit(slow_square, count.path, -1).result()
        assert len(count) == 2
        with pytest.raises(TypeError, match="argument"):
            executor.submit(slow_square).result()

    def test_tasks_are_kept_where_they_belong(self, executor: CachedExecutor, count: Count, tmp_path: Path) -> None:
        with bs.Project("other", db=tmp_path / "other.db") as other:
            square = counted(other, count)
            assert executor.submit(square, 3).result() == 9
            assert square.cached(3)

    @pytest.mark.filterwarnings("ignore:calls of:beautyspot.NotKeptWarning")
    def test_what_cannot_be_cached_runs(self, executor: CachedExecutor, count: Count) -> None:
        assert isinstance(executor.submit(unkeepable, 1).result(), Unkeepable)
        assert isinstance(executor.submit(unkeepable, 1).result(), Unkeepable)
        assert executor.submit(len, memoryview(b"abc").tolist()).result() == 3

    def test_an_uncached_function_is_one_warning(self, project: bs.Project) -> None:
        with CachedExecutor(project, ThreadPoolExecutor(1)) as executor:
            with pytest.warns(bs.NotKeptWarning, match="calls of unkeepable are not kept and simply run") as given:
                assert len([executor.submit(unkeepable, x).result() for x in range(3)]) == 3
            assert len(given) == 1
            with pytest.warns(
                bs.NotKeptWarning, match=r"calls of anything .* 'x' \(builtins\.generator\) cannot identify a call"
            ):
                assert executor.submit(anything, (i for i in range(2))).result() == 1

    def test_a_failure_of_another_task_is_the_calls_failure(self, project: bs.Project) -> None:
        inner = project.task(unkeepable)
        with CachedExecutor(project, ThreadPoolExecutor(1)) as executor:
            with pytest.raises(bs.SerializationError):
                executor.submit(lambda x: inner(x), 1).result()

    def test_it_shuts_its_executor_down(self, project: bs.Project) -> None:
        pool = ThreadPoolExecutor(1)
        executor = CachedExecutor(project, pool)
        executor.submit(abs, -1).result()
        executor.shutdown()
        for each in (executor, pool):
            with pytest.raises(RuntimeError, match="after shutdown"):
                each.submit(abs, -1)


class Unkeepable:
    pass


def unkeepable(x: Any) -> Unkeepable:
    return Unkeepable()


def anything(x: Any) -> int:
    return 1


def slow_square(path: str, x: int) -> int:
    Count(path)(x)
    time.sleep(0.1)
    if x < 0:
        raise ValueError("negative")
    return x * x
