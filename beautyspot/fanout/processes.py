"""Worker processes on this machine: when their caller is gone, they finish the running call and exit.

The process pools of the standard library and of other libraries leave orphans when their parent is killed.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import TypeVar

from beautyspot._internal.fork_safety import SurvivesFork
from beautyspot.errors import ConfigurationError
from beautyspot.fanout.worker import run_chunk, stopping

__all__ = ["UNGUARDED", "become_worker", "check_guarded", "run_for", "run_watched"]

T = TypeVar("T")

UNGUARDED = (
    'Worker processes import the script that started them: put the code that runs below `if __name__ == "__main__":`, '
    "so that importing it starts nothing"
)

_GRACE = 1.0  # seconds that a worker has to finish its call after Ctrl-C
_GIVE_UP = 0.4  # of these seconds, those in which a call that waits for a budget leaves the wait queue
_POLL = 0.25  # seconds between two checks whether the caller lives


def check_guarded() -> None:
    """Refuse to start workers in a worker that is importing the script which started it.

    Raises:
        ConfigurationError: If this is such a worker; the error says what the script lacks.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise ConfigurationError(UNGUARDED)


class _RunningChunks(SurvivesFork):
    """The chunks that are running in this process, and the callers with which it exits."""

    def __init__(self) -> None:
        self.after_fork_in_child()
        self.survive_forks()

    def after_fork_in_child(self) -> None:
        self._chunks = 0
        self._watched: set[int] = set()
        self._changed = threading.Condition()

    def __enter__(self) -> None:
        with self._changed:
            self._chunks += 1

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._chunks -= 1
            self._changed.notify_all()

    def wait(self, timeout: float | None = None) -> None:
        """Wait until no chunk runs."""
        with self._changed:
            self._changed.wait_for(lambda: not self._chunks, timeout)

    def watch(self, caller: int) -> None:
        """Exit when *caller* has exited, if that process made this one."""
        with self._changed:
            new = caller not in self._watched
            self._watched.add(caller)
        parent = multiprocessing.parent_process()
        if new and (os.getppid() == caller or (parent is not None and parent.pid == caller)):
            threading.Thread(target=_exit_with, args=(caller,), daemon=True).start()


_running = _RunningChunks()


def run_for(caller: int, payload: bytes, chunk: bytes) -> bytes:
    """Run a chunk in a worker of any process pool.

    Args:
        caller: The ID of the process that waits for the chunk. If that process made the worker, the worker exits with
            it.
        payload: As for `run_chunk`.
        chunk: As for `run_chunk`.
    """
    _running.watch(caller)
    with _running:
        return run_chunk(payload, chunk)


def run_watched(caller: int, function: Callable[[], T]) -> T:
    """Call *function* in a worker that exits at once with its caller, since only the caller needs the result.

    Args:
        caller: The ID of the process that waits for the result.
        function: The function.
    """
    _running.watch(caller)
    return function()


def become_worker(stop: Connection, greeting: Connection, caller: int) -> None:
    """Make this process a worker of beautyspot's own process pool: it leaves Ctrl-C to its caller.

    Args:
        stop: A pipe that becomes readable when the worker is to exit, within a second.
        greeting: A pipe to which the worker writes that it has started.
        caller: The ID of the process that owns the pool.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    greeting.send_bytes(b"up")
    _running.watch(caller)
    threading.Thread(target=_exit_on_stop, args=(stop,), daemon=True).start()


def _exit_with(caller: int) -> None:
    # Under forkserver the parent is the server, which exits with the caller. A pipe would not show that, since forked
    # siblings hold its other end.
    first = os.getppid()
    while os.getppid() == first and _is_alive(caller):
        time.sleep(_POLL)
    stopping.set()
    _running.wait()  # the running call is finished and its result stored
    os._exit(1)


def _exit_on_stop(stop: Connection) -> None:
    with contextlib.suppress(OSError):  # the pipe may be gone
        stop.poll(None)
    stopping.set()
    # The pool kills all its workers once one has exited: so none exits before calls that wait for a budget gave up.
    time.sleep(_GIVE_UP)
    _running.wait(_GRACE - _GIVE_UP)
    os._exit(1)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
