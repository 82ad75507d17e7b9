"""The engine of Dask: chunks run on the workers of a cluster; to ``distributed`` they are plain functions."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import signal
import uuid
from contextlib import ExitStack
from time import monotonic
from typing import Any

from beautyspot.errors import ConfigurationError, EngineLost
from beautyspot.fanout import UNGUARDED, check_guarded, run_chunk

try:
    import distributed
    from dask import config
    from distributed.cfexecutor import ClientExecutor
    from distributed.worker import thread_state  # type: ignore[attr-defined]
except ImportError as error:
    raise ConfigurationError('engine="dask" needs distributed: pip install "beautyspot[dask]"') from error

__all__ = ["DaskEngine"]

_LARGE = 10_000  # bytes; a larger payload is sent once, and not with every chunk
_GRACE = 1.0  # seconds that workers of our own cluster have after Ctrl-C
_PATIENCE = 2.0  # seconds for an answer of the scheduler
_TICK = 0.1  # seconds between two checks for lost chunks
_WIDTH_AGE = 1.0  # seconds for which the number of workers is reused
_stopped: dict[str, None] = {}  # in a worker: maps of which no further call may begin


class DaskEngine:
    """Chunks run on the workers of a Dask cluster.

    Args:
        client: The client of the cluster.
        ours: What the map closes at its end: a client or a cluster that it made.
        cluster: The cluster that the map made, to end it at Ctrl-C; ``None``: it made none.
        options: Options for each ``client.submit``, such as ``resources={"GPU": 1}`` or ``workers=[...]``.

    Raises:
        ConfigurationError: If the client is closed.
    """

    def __init__(
        self, client: distributed.Client, ours: ExitStack | None = None, cluster: Any = None, **options: Any
    ) -> None:
        if client.status in ("closing", "closed"):
            raise ConfigurationError(f"{client!r} is closed: hand in one that is connected to its scheduler")
        self._client = client
        self._ours = ours or ExitStack()
        self._cluster = cluster
        self._options = {"pure": False, "retries": 0, **options}
        self._map = uuid.uuid4().hex
        self._numbers: dict[distributed.Future[bytes], int] = {}
        self._coming = distributed.as_completed([], loop=client.loop, with_results=True, raise_errors=False)
        self._width, self._known_until = 1, 0.0

    @property
    def width(self) -> int:
        """The number of threads of all workers, which come and go."""
        if monotonic() > self._known_until:
            threads = self._asked(lambda: self._client.scheduler.ncores(workers=None))  # type: ignore[union-attr]
            self._width = max(1, sum((threads or {}).values()))
            self._known_until = monotonic() + _WIDTH_AGE
        return self._width

    @property
    def ahead(self) -> int:
        """As many again: an adaptive cluster grows by its waiting chunks, and `cancel` reaches them."""
        return self._width

    def _asked(self, question: Any, *args: Any, **options: Any) -> Any:
        """The answer of the scheduler; ``None`` without one: chunks in flight then come back as lost."""
        if self._client.status != "running":
            return None
        try:
            return self._client.sync(question, *args, callback_timeout=_PATIENCE, **options)
        except OSError:  # a TimeoutError is one
            return None

    def submit(self, number: int, payload: bytes, chunk: bytes) -> None:
        """Hand a chunk to the scheduler.

        Raises:
            EngineLost: If the scheduler is gone.
        """
        if self._client.status != "running":
            raise EngineLost(f"the Dask scheduler is gone: the client's status is {self._client.status!r}")
        sent = payload if len(payload) < _LARGE else self._sent(payload)
        future = self._client.submit(
            _work, self._map, sent, chunk, key=f"beautyspot-{self._map}-{number}", **self._options
        )
        self._numbers[future] = number
        self._coming.add(future)

    @functools.cache  # noqa: B019 - an engine lives as long as its map
    def _sent(self, payload: bytes) -> distributed.Future[bytes]:
        # If the worker that holds a result is lost, Dask computes the result again; scattered data would be gone.
        return self._client.submit(bytes, payload, key=f"beautyspot-task-{uuid.uuid4().hex}", pure=False)

    def finished(self) -> list[tuple[int, bytes | EngineLost]]:
        """Wait for a chunk, and return all that have come back."""
        while True:
            finished: list[tuple[int, bytes | EngineLost]] = []
            for future, result in self._coming.next_batch(block=False):
                if future in self._numbers:
                    lost = None if future.status == "finished" else EngineLost(_reason(future, result))
                    finished.append((self._numbers.pop(future), result if lost is None else lost))
                future.release()  # here, and not in its finalizer, which would swallow Ctrl-C
            finished = finished or self._lost()
            if finished:
                return finished
            with self._coming.thread_condition:
                if self._coming.queue.empty():
                    self._coming.thread_condition.wait(_TICK)

    def _lost(self) -> list[tuple[int, bytes | EngineLost]]:
        """Lost chunks that `as_completed` hides, as when the scheduler dies while a result is read."""
        gone = self._client.status in ("closing", "closed")
        lost = [future for future in self._numbers if gone or future.status == "cancelled"]
        return [(self._numbers.pop(future), EngineLost("the Dask scheduler is gone")) for future in lost]

    def cancel(self) -> list[int]:
        """Tell the workers to begin no further call of this map; every chunk comes back with what it has done."""
        if self._numbers:
            self._asked(self._client._run, _stop, self._map, on_error="ignore")
        return []

    def close(self, now: bool = False) -> None:
        """Cancel what is left; close the client or cluster that the map made."""
        with self._ours:
            if self._numbers:
                self.cancel()
                if now and self._client.status == "running":
                    self._client.cancel(list(self._numbers), force=True)
            if now and self._cluster is not None:
                self._cluster.sync(_kill, self._cluster)


def engine(workers: int | None, given: Any = None) -> DaskEngine:
    """The engine that a client, a cluster or an address stands for.

    Args:
        workers: The number of workers of a local cluster that the map makes; ``None``: one for each core.
        given: A client, a cluster or an address; ``None``: the default client, or a local cluster that ends with the
            map.

    Raises:
        ConfigurationError: If the client is closed, no scheduler answers at the address, or a local cluster cannot
            start.
    """
    if isinstance(given, distributed.Client):
        return DaskEngine(given)
    if isinstance(given, ClientExecutor):
        return DaskEngine(given._client, **given._kwargs)
    if given is None:
        try:
            client = distributed.get_client()
        except ValueError:
            given = config.get("scheduler-address", None)
        else:
            return DaskEngine(client, _out_of_the_pool())
    if given is None:
        return _local(workers)
    try:
        client = distributed.Client(given, set_as_default=False)
    except OSError as error:
        raise ConfigurationError(f"no Dask scheduler answers at {given}: {error}") from error
    ours = ExitStack()
    ours.enter_context(client)
    return DaskEngine(client, ours)


def _out_of_the_pool() -> ExitStack:
    """Inside a task of Dask, let another task run while the map waits."""
    ours = ExitStack()
    if hasattr(thread_state, "execution_state"):
        distributed.secede()
        ours.callback(distributed.rejoin)
    return ours


def _local(workers: int | None) -> DaskEngine:
    check_guarded()
    # Otherwise Dask would retry an input that killed its worker three times, before its neighbours could go on.
    with config.set({"distributed.scheduler.allowed-failures": 0}):
        size: dict[str, Any] = {"n_workers": workers or os.cpu_count(), "threads_per_worker": 1}
        quiet: dict[str, Any] = {"dashboard_address": ":0", "silence_logs": logging.CRITICAL}
        try:
            cluster = distributed.LocalCluster(**size, **quiet, preload=[__name__])
        except Exception as error:
            raise ConfigurationError(f"no worker of a local Dask cluster came up. {UNGUARDED}") from error
    ours = ExitStack()
    ours.enter_context(cluster)
    client = ours.enter_context(distributed.Client(cluster, set_as_default=False))
    return DaskEngine(client, ours, cluster)


def dask_setup(worker: Any) -> None:
    """Called by Dask in each worker of our own cluster: its caller handles Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


async def _kill(cluster: Any) -> None:
    await asyncio.gather(*[nanny.close(timeout=_GRACE) for nanny in cluster.workers.values()])


def _work(map_: str, payload: bytes, chunk: bytes) -> bytes:
    return run_chunk(payload, chunk, lambda: map_ in _stopped)


def _stop(map_: str) -> None:
    _stopped[map_] = None
    if len(_stopped) > 1000:
        del _stopped[next(iter(_stopped))]


def _reason(future: distributed.Future[bytes], result: Any) -> str:
    error = result[1] if isinstance(result, tuple) else result
    if isinstance(error, BaseException):
        return f"{type(error).__name__}: {error}"
    return f"the chunk was {future.status}"
