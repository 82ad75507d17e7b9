"""The engine of joblib: chunks run on the backend of `joblib.parallel_config` or of a `joblib.Parallel`."""

from __future__ import annotations

import functools
import os
from queue import SimpleQueue
from threading import TIMEOUT_MAX
from typing import Any

from beautyspot.errors import ConfigurationError, EngineLost
from beautyspot.fanout import ENGINES, Engine, Threads, run_for

try:
    import joblib
except ImportError as error:
    raise ConfigurationError('engine="joblib" needs joblib: pip install "beautyspot[joblib]"') from error

from beautyspot.adapters.joblib_backend import ResumableBackend, resumable

__all__ = ["JoblibEngine", "resumable"]


class JoblibEngine:
    """Chunks run on a backend of joblib.

    They are submitted to the backend itself: `joblib.Parallel` would read them in a thread of its own, which also
    handles the results.

    Args:
        parallel: The `joblib.Parallel` with the backend and its options. One that was entered (``with Parallel(...) as
            parallel``) keeps its workers.
    """

    ahead = 0  # backends do not return waiting chunks

    def __init__(self, parallel: Any) -> None:
        self._parallel = parallel
        self._entered = not parallel._managed_backend
        if self._entered:
            parallel.__enter__()
        self._backend: Any = parallel._backend  # entering may have chosen another one
        self.width: int = parallel._effective_n_jobs()
        self._jobs: dict[int, Any] = {}
        self._done: SimpleQueue[tuple[int, Any]] = SimpleQueue()

    def submit(self, number: int, payload: bytes, chunk: bytes) -> None:
        """Hand a chunk to the backend.

        Raises:
            EngineLost: If the backend takes no chunk any more, even with new workers.
        """
        work = functools.partial(run_for, os.getpid(), payload, chunk)
        try:
            self._jobs[number] = self._backend.submit(work, callback=lambda out: self._done.put((number, out)))
        except Exception:
            # Its workers are gone: new ones, as `Parallel` itself would make them for its next call.
            try:
                self._backend.abort_everything(ensure_ready=True)
                self._jobs[number] = self._backend.submit(work, callback=lambda out: self._done.put((number, out)))
            except Exception as error:
                raise EngineLost(f"{self._parallel!r} takes no work any more: {error}") from error

    def finished(self) -> list[tuple[int, bytes | EngineLost]]:
        """Wait for a chunk, and return all that have come back."""
        # A wait that has an end is broken off by Ctrl-C, even where a library has the system restart all others.
        came = [self._done.get(timeout=TIMEOUT_MAX)]
        while not self._done.empty():
            came.append(self._done.get())
        return [(number, self._result(self._jobs.pop(number), out)) for number, out in came]

    def _result(self, job: Any, out: Any) -> bytes | EngineLost:
        try:
            if self._backend.supports_retrieve_callback:
                data: bytes = self._backend.retrieve_result_callback(out)
            else:
                data = self._backend.retrieve_result(job)
        except Exception as error:
            return EngineLost(f"{type(error).__name__}: {error}")
        return data

    def cancel(self) -> list[int]:
        """No chunk waits in a backend without a worker."""
        return []

    def close(self, now: bool = False) -> None:
        """Return the workers to joblib; *now*: end them."""
        if now:
            self._backend.abort_everything(ensure_ready=not self._entered)
        if self._entered:
            self._parallel.__exit__(None, None, None)


def engine(workers: int | None, given: joblib.Parallel | None = None) -> Engine | Threads:
    """The engine of the backend that is active, or that a `joblib.Parallel` has.

    Args:
        workers: The number of workers; ``None``: as joblib is configured, or one for each core.
        given: The `joblib.Parallel` with the backend and its options; ``None``: the active backend.
    """
    parallel: Any = given
    if parallel is None:
        active, configured = joblib.parallel.get_active_backend()
        given_by = active.other if isinstance(active, ResumableBackend) else active  # a task caches by itself
        parallel = joblib.Parallel(n_jobs=workers or configured or -1, backend=given_by)
    backend: Any = parallel._backend
    name = type(backend).__name__
    width: int = backend.effective_n_jobs(parallel.n_jobs)
    made: Engine | Threads
    if name == "DaskDistributedBackend":  # joblib waits for ever for a task that Dask has failed
        made = ENGINES["dask"](workers, backend.client)
    elif name == "RayBackend":  # its pool of actors gives up as a whole when one dies
        made = ENGINES["ray"](workers)
    elif getattr(backend, "uses_threads", False) or width == 1:
        made = Threads(workers or width)
    elif name == "MultiprocessingBackend":  # a pool of `multiprocessing` does not report a worker that died
        made = ENGINES["processes"](workers or width)
    else:
        made = JoblibEngine(parallel)
    return made
