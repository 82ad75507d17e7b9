"""What an engine is, and what crosses to its workers and back: bytes, and no failure that could harm a worker.

What fails in a worker comes back as a value, each exception pickled for itself, so that one that cannot travel
does not take its chunk along.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from beautyspot._internal.registry import Registry
from beautyspot.errors import EngineLost

__all__ = [
    "ENGINES",
    "Engine",
    "EngineLost",
    "Threads",
]

ENGINES = Registry(
    "engine",
    "beautyspot.engines",
    {
        "processes": "beautyspot.adapters.futures:processes",
        "threads": "beautyspot.fanout.thread_pool:ThreadPool",
        "executor": "beautyspot.adapters.futures:of_executor",
        "joblib": "beautyspot.adapters.joblib:engine",
        "dask": "beautyspot.adapters.dask:engine",
        "tcp": "beautyspot.adapters.dask:engine",  # the schemes of a Dask scheduler's address
        "tls": "beautyspot.adapters.dask:engine",
        "ray": "beautyspot.adapters.ray:engine",
    },
    hidden=("executor", "tcp", "tls"),
)

# Types of other libraries, which need not be installed, and the engine that their objects stand for.
ENGINES_OF = {
    "concurrent.futures._base.Executor": "executor",
    "joblib.parallel.Parallel": "joblib",
    "distributed.client.Client": "dask",
    "distributed.deploy.cluster.Cluster": "dask",
    "distributed.cfexecutor.ClientExecutor": "dask",
}


class Engine(Protocol):
    """Runs chunks of inputs somewhere else. Only bytes cross, and one thread talks to it.

    Every chunk that was submitted comes back once: as bytes, or as the `EngineLost` that says that its
    outcome is unknown. `run_chunk` is the only function that is ever run there.
    """

    @property
    def width(self) -> int:
        """How many chunks are worked on at a time."""
        ...

    @property
    def ahead(self) -> int:
        """How many further chunks may wait there for a worker: no more than can be taken back."""
        ...

    def submit(self, number: int, payload: bytes, chunk: bytes) -> None:
        """Begin ``run_chunk(payload, chunk)``, somewhere.

        Args:
            number: Of the chunk, by which it comes back.
            payload: What to run; the same for every chunk of a map.
            chunk: What to run it on.

        Raises:
            EngineLost: If the engine is gone for good; what was submitted before still comes back.
            ConfigurationError: If its owner has closed it.
        """
        ...

    def finished(self) -> list[tuple[int, bytes | EngineLost]]:
        """Chunks that finished since the last call, at least one: waits for it. Some chunk is under way."""
        ...

    def cancel(self) -> list[int]:
        """Take back chunks that have not begun; their numbers, which will not come back."""
        ...

    def close(self, now: bool = False) -> None:
        """Release what the engine made itself; *now*: workers are given a second and then ended."""
        ...


class Threads(NamedTuple):
    """What an engine's factory returns where calls are to run in threads of this process.

    Attributes:
        width: How many.
    """

    width: int
