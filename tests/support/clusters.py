"""Real Dask and Ray clusters for the tests, in processes of their own, as users run them."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.support.servers import free_port

ROOT = Path(__file__).parent.parent.parent
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(ROOT),  # workers import functions from test modules
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",
    "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0",
}


class _Cluster:
    """The processes of one cluster, which are killed together."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="bs-"))
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, *command: str, **environment: str) -> subprocess.Popen[bytes]:
        with open(self.directory / "log", "ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=self.directory,
                env={**ENVIRONMENT, **environment},
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def log(self) -> str:
        return (self.directory / "log").read_text()

    def until(self, text: str) -> None:
        deadline = time.monotonic() + 60
        while text not in self.log():
            assert time.monotonic() < deadline, self.log()[-3000:]
            assert all(process.poll() is None for process in self.processes), self.log()[-3000:]
            time.sleep(0.05)

    def stop(self) -> None:
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


class DaskCluster(_Cluster):
    """A Dask scheduler, and workers of one thread each.

    Attributes:
        address: The address for ``engine=``.
    """

    def __init__(self, workers: int = 2, allowed_failures: int = 0) -> None:
        super().__init__()
        self.address = f"tcp://127.0.0.1:{free_port()}"
        failures = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": str(allowed_failures)}
        self.scheduler = self.start(
            "distributed.cli.dask_scheduler", "--host", self.address, "--no-dashboard", **failures
        )
        self.until("Scheduler at")
        options = ["--nworkers", str(workers), "--nthreads", "1", "--no-dashboard", "--death-timeout", "20"]
        self.start("distributed.cli.dask_worker", self.address, *options)
        while self.log().count("Registered to:") < workers:
            time.sleep(0.05)


class RayCluster(_Cluster):
    """A Ray head node with four CPUs.

    Attributes:
        address: The address for ``ray.init``.
        client_address: The address for ``engine=``.
    """

    def __init__(self) -> None:
        super().__init__()
        port, client_port = free_port(), free_port()
        self.address, self.client_address = f"127.0.0.1:{port}", f"ray://127.0.0.1:{client_port}"
        options = [f"--port={port}", f"--ray-client-server-port={client_port}", "--num-cpus=4", "--block"]
        memory = [f"--object-store-memory={256 << 20}", f"--temp-dir={self.directory}"]
        self.start("ray.scripts.scripts", "start", "--head", *options, *memory, "--include-dashboard=false")
        self.until("Ray runtime started")
