"""Every engine through the suites that anyone's run through, and what each does of its own."""

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import distributed
import joblib
import loky
import pytest
from joblib.externals.loky import get_reusable_executor

import beautyspot as bs
from beautyspot.adapters.dask import DaskEngine
from beautyspot.adapters.joblib import JoblibEngine
from beautyspot.adapters.ray import RayEngine
from beautyspot.fanout.engines import Engine
from beautyspot.testing import EngineContract, FanOutContract
from tests.support.clusters import DaskCluster, RayCluster
from tests.support.servers import S3Server


class TestThreads(FanOutContract):
    engine_source = pytest.fixture(lambda self: '"threads"')
    engine = pytest.fixture(lambda self: "threads")
    test_a_dead_worker_is_an_error_that_names_the_input = None  # a thread does not die


class TestProcesses(FanOutContract):
    engine_source = pytest.fixture(lambda self: '"processes"')
    engine = pytest.fixture(lambda self: "processes")


class OverServers(FanOutContract):
    """On an index and a storage that workers reach over a network."""

    @pytest.fixture
    def project(self, postgres_url: str, s3_server: S3Server, s3_url: str) -> Iterator[bs.Project]:
        with bs.Project("contract", db=postgres_url, storage_path=s3_url, s3_opts=s3_server.options) as project:
            yield project


@pytest.mark.slow
class TestProcessesOverServers(OverServers):
    engine_source = pytest.fixture(lambda self: '"processes"')
    engine = pytest.fixture(lambda self: "processes")


@pytest.mark.slow
class TestDaskOverServers(OverServers):
    engine_source = pytest.fixture(lambda self, dask_cluster: repr(dask_cluster.address))
    engine = pytest.fixture(lambda self, dask_cluster: dask_cluster.address)


class TestThreadPool(FanOutContract):
    test_a_dead_worker_is_an_error_that_names_the_input = None
    engine_source = pytest.fixture(lambda self: '__import__("concurrent.futures").futures.ThreadPoolExecutor(2)')

    @pytest.fixture
    def engine(self) -> Iterator[Any]:
        with ThreadPoolExecutor(2) as pool:
            yield pool


class ProgramsSlowly(FanOutContract):
    """Each of these starts several programs, and each of those many workers: they are left to `make slow`."""

    @pytest.mark.slow
    def test_tasks_of_a_script_are_the_same_everywhere(self, engine_source: str, tmp_path: Path) -> None:
        super().test_tasks_of_a_script_are_the_same_everywhere(engine_source, tmp_path)

    @pytest.mark.slow
    def test_tasks_of_a_module_are_the_same_everywhere(self, engine_source: str, tmp_path: Path) -> None:
        super().test_tasks_of_a_module_are_the_same_everywhere(engine_source, tmp_path)

    @pytest.mark.slow
    def test_tasks_of_a_notebook_are_the_same_everywhere(self, engine_source: str, tmp_path: Path) -> None:
        super().test_tasks_of_a_notebook_are_the_same_everywhere(engine_source, tmp_path)


class TestForkedPool(ProgramsSlowly):
    test_a_dead_worker_is_an_error_that_names_the_input = None  # the owner of a broken pool makes it anew
    method = "fork"

    @pytest.fixture
    def engine_source(self) -> str:
        context = f'__import__("multiprocessing").get_context("{self.method}")'
        return f'__import__("concurrent.futures").futures.ProcessPoolExecutor(2, {context})'

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls) -> Iterator[Any]:
        with ProcessPoolExecutor(2, get_context(cls.method)) as pool:
            list(pool.map(time.sleep, [0.1] * 2))  # they are there before a test looks at what it leaves behind
            yield pool


class TestSpawnedPool(TestForkedPool):
    method = "spawn"


@pytest.mark.slow
class TestForkserverPool(TestForkedPool):
    method = "forkserver"


@pytest.mark.slow
class TestLoky(FanOutContract):
    test_a_dead_worker_is_an_error_that_names_the_input = None
    engine_source = pytest.fixture(lambda self: '__import__("loky").ProcessPoolExecutor(2)')

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls) -> Iterator[Any]:
        with loky.ProcessPoolExecutor(2) as pool:
            yield pool


class TestJoblib(ProgramsSlowly):
    engine_source = pytest.fixture(lambda self: '"joblib"')

    @pytest.fixture
    def engine(self) -> Any:
        return "joblib"

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _ends(cls) -> Iterator[None]:
        yield
        get_reusable_executor().shutdown(wait=True, kill_workers=True)


@pytest.mark.slow
class TestJoblibParallel(TestJoblib):
    test_two_maps_at_a_time_run_each_input_once = None  # a Parallel serves one at a time
    engine_source = pytest.fixture(lambda self: '__import__("joblib").Parallel(n_jobs=2)')

    @pytest.fixture
    def engine(self) -> Iterator[Any]:
        with joblib.Parallel(n_jobs=2) as parallel:
            yield parallel


class TestJoblibThreads(ProgramsSlowly):
    test_a_dead_worker_is_an_error_that_names_the_input = None
    engine_source = pytest.fixture(lambda self: '__import__("joblib").Parallel(2, "threading")')
    engine = pytest.fixture(lambda self: joblib.Parallel(2, "threading"))


@pytest.mark.slow
class TestDask(FanOutContract):
    @pytest.fixture
    def engine_source(self, dask_cluster: DaskCluster) -> str:
        return repr(dask_cluster.address)

    @pytest.fixture
    def engine(self, dask_cluster: DaskCluster) -> Any:
        return dask_cluster.address


@pytest.mark.slow
class TestDaskClient(ProgramsSlowly):
    @pytest.fixture
    def engine_source(self, dask_cluster: DaskCluster) -> str:
        return f'__import__("distributed").Client({dask_cluster.address!r})'

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls, dask_cluster: DaskCluster) -> Iterator[Any]:
        with distributed.Client(dask_cluster.address, set_as_default=False) as client:
            yield client


@pytest.mark.slow
class TestDaskExecutor(TestDaskClient):
    @pytest.fixture
    def engine_source(self, dask_cluster: DaskCluster) -> str:
        return f'__import__("distributed").Client({dask_cluster.address!r}).get_executor()'

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls, dask_cluster: DaskCluster) -> Iterator[Any]:
        with distributed.Client(dask_cluster.address, set_as_default=False) as client:
            yield client.get_executor()


@pytest.mark.slow
class TestJoblibDask(TestDaskClient):
    @pytest.fixture
    def engine_source(self, dask_cluster: DaskCluster) -> str:
        client = f'__import__("distributed").Client({dask_cluster.address!r})'
        return f'{client} and __import__("joblib").parallel_config("dask") and "joblib"'

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls, dask_cluster: DaskCluster) -> Iterator[Any]:
        with distributed.Client(dask_cluster.address):
            with joblib.parallel_config("dask"):
                yield "joblib"


@pytest.mark.slow
class TestRay(FanOutContract):
    @pytest.fixture
    def engine_source(self, ray_cluster: RayCluster) -> str:
        return f'__import__("ray").init({ray_cluster.address!r}, logging_level=30, log_to_driver=False) and "ray"'

    @pytest.fixture
    def engine(self, ray_here: None) -> str:
        return "ray"


class TestJoblibEngine(EngineContract):
    @pytest.fixture
    def engine(self) -> Iterator[Engine]:
        engine = JoblibEngine(joblib.Parallel(n_jobs=2))
        yield engine
        engine.close()


class TestDaskEngine(EngineContract):
    @pytest.fixture
    def engine(self, dask_cluster: DaskCluster) -> Iterator[Engine]:
        with distributed.Client(dask_cluster.address, set_as_default=False) as client:
            engine = DaskEngine(client)
            yield engine
            engine.close()


@pytest.mark.slow
class TestRayEngine(EngineContract):
    @pytest.fixture
    def engine(self, ray_here: None) -> Iterator[Engine]:
        engine = RayEngine()
        yield engine
        engine.close()


@pytest.mark.slow
def test_mpi_does_what_every_engine_does(tmp_path: Path) -> None:
    tests_here = Path(__file__).parent.parent
    mpiexec = [str(Path(sys.executable).with_name("mpiexec")), "-n", "3", sys.executable, "-m", "mpi4py.futures"]
    tests = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--basetemp", str(tmp_path / "mpi")]
    done = subprocess.run(
        [*mpiexec, *tests, str(tests_here / "support" / "engines_under_mpi.py")], cwd=tests_here.parent, capture_output=True, text=True,
        timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "22 passed" in done.stdout
