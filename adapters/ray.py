"""The engine of Ray: chunks run as remote functions; to Ray they are plain functions."""

from __future__ import annotations

import logging
import os
from typing import Any

from beautyspot.errors import ConfigurationError, EngineLost
from beautyspot.fanout import run_chunk

try:
    import ray
except ImportError as error:
    raise ConfigurationError('engine="ray" needs ray: pip install "beautyspot[ray]"') from error

__all__ = ["RayEngine"]

_GRACE = 0.5  # seconds that chunks have after Ctrl-C; Ray itself takes more than one to end
_STORE = 256 << 20  # bytes of the object store of our own cluster: only chunks are in it


class RayEngine:
    """Chunks run on the Ray cluster to which this process is connected.

    Args:
        ours: Whether the map connected to the cluster, and disconnects at its end.
        options: Options for ``ray.remote``, such as ``num_gpus=1`` or ``scheduling_strategy="SPREAD"``.

    Raises:
        ConfigurationError: If this process is not connected to Ray.
    """

    ahead = 0  # a chunk that waits cannot be told from one that runs, so none can be taken back

    def __init__(self, ours: bool = False, **options: Any) -> None:
        if not ray.is_initialized():
            raise ConfigurationError('this process is not connected to Ray: call ray.init(), or pass engine="ray"')
        self._ours = ours
        self._remote = ray.remote(run_chunk).options(max_retries=0, **options)
        self._numbers: dict[ray.ObjectRef[bytes], int] = {}
        self._payload: tuple[bytes, Any] = (b"", None)
        self.width = max(1, int(ray.cluster_resources().get("CPU", 1)))

    def submit(self, number: int, payload: bytes, chunk: bytes) -> None:
        """Hand a chunk to Ray.

        Raises:
            EngineLost: If the cluster is gone.
        """
        try:
            if self._payload[0] is not payload:
                self._payload = payload, ray.put(payload)
            reference = self._remote.remote(self._payload[1], chunk)
        except Exception as error:
            raise EngineLost(f"the Ray cluster is gone: {error}") from error
        self._numbers[reference] = number

    def finished(self) -> list[tuple[int, bytes | EngineLost]]:
        """Wait for a chunk, and return all that have come back."""
        waiting = list(self._numbers)
        ray.wait(waiting, num_returns=1)
        done, _ = ray.wait(waiting, num_returns=len(waiting), timeout=0)
        return [(self._numbers.pop(reference), _result(reference)) for reference in done]

    def cancel(self) -> list[int]:
        """No chunk waits in Ray without a worker."""
        return []

    def close(self, now: bool = False) -> None:
        """Disconnect, if the map connected; on another cluster, running chunks run to their end."""
        # Nothing is cancelled: Ray 2.60 aborts this process if a task ends at the moment it is cancelled.
        if self._ours:
            if now and self._numbers:
                ray.wait(list(self._numbers), num_returns=len(self._numbers), timeout=_GRACE)
            ray.shutdown()


def engine(workers: int | None, given: str | None = None) -> RayEngine:
    """The engine of the cluster to which this process is connected, or which this call connects to.

    Args:
        workers: The number of CPUs of a local cluster that the map makes; ``None``: all.
        given: The ``ray://host:port`` of a cluster; ``None``: the one in ``RAY_ADDRESS``, or a local one that ends with
            the map.

    Raises:
        ConfigurationError: If no cluster answers at the address, or an address was given and this process is
            connected to Ray already.
    """
    if ray.is_initialized():
        if given is not None:
            raise ConfigurationError(
                f'this process is connected to Ray already, so it cannot connect to {given}: engine="ray" runs '
                "where it is connected to"
            )
        return RayEngine()
    place: dict[str, Any] = {"address": given}
    if given is None and "RAY_ADDRESS" not in os.environ:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        place = {"num_cpus": workers or os.cpu_count(), "include_dashboard": False, "object_store_memory": _STORE}
    try:
        ray.init(**place, logging_level=logging.WARNING)
    except (OSError, RuntimeError) as error:
        address = given or os.environ.get("RAY_ADDRESS")
        raise ConfigurationError(f"no Ray cluster answers at {address}: {error}") from error
    return RayEngine(ours=True)


def _result(reference: ray.ObjectRef[bytes]) -> bytes | EngineLost:
    try:
        data: bytes = ray.get(reference)
    except Exception as error:
        return EngineLost(f"{type(error).__name__}: {error}")
    return data
