"""Engine: runs chunks of calls in other processes or on other machines. Only bytes cross.

A call that fails in a worker never ends the worker: its exception comes back in the reply. See `wire` and `worker`.
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
    """Runs chunks of calls somewhere else. Only bytes cross, and one thread calls the engine.

    Every submitted chunk comes back once: as bytes, or as the `EngineLost` that says that its outcome is unknown.
    `run_chunk` is the only function that ever runs there.
    """

    @property
    def width(self) -> int:
        """How many chunks run at a time."""
        ...

    @property
    def ahead(self) -> int:
        """How many further chunks may wait there for a worker: no more than can be cancelled."""
        ...

    def submit(self, number: int, payload: bytes, chunk: bytes) -> None:
        """Start ``run_chunk(payload, chunk)`` in a worker.

        Args:
            number: The number of the chunk, with which it comes back.
            payload: The task, pickled; the same for every chunk of a map, unless its code has to be sent too.
            chunk: The calls, pickled.

        Raises:
            EngineLost: If the engine is gone for good; chunks that were submitted before still come back.
            ConfigurationError: If its owner has closed it.
        """
        ...

    def finished(self) -> list[tuple[int, bytes | EngineLost]]:
        """The chunks that finished since the last call, at least one: waits for it. Some chunk has not come back."""
        ...

    def cancel(self) -> list[int]:
        """Cancel chunks that have not started; returns their numbers, which will not come back."""
        ...

    def close(self, now: bool = False) -> None:
        """Release what the engine made itself; with *now*, workers are killed after a second."""
        ...


class Threads(NamedTuple):
    """What the factory of an engine returns if calls are to run in threads of this process.

    Attributes:
        width: The number of threads.
    """

    width: int
