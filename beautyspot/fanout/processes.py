"""Worker processes of this machine: they end themselves, after the task in hand, when their caller is gone.

The pools of the standard library and of others leave orphans behind a killed parent.
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
    'Worker processes import the script that started them: put what runs below `if __name__ == "__main__":`, so '
    "that importing it starts nothing"
)

_GRACE = 1.0  # seconds that a worker is given to finish its task after Ctrl-C
_GIVE_UP = 0.4  # seconds of it in which a call that waits for a budget gives its place back
_POLL = 0.25  # seconds between two looks at the caller


def check_guarded() -> None:
    """Refuse to start workers in one that is just now importing the script that started it.

    Raises:
        ConfigurationError: If it is; its text says what the script lacks.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise ConfigurationError(UNGUARDED)


class _RunningChunks(SurvivesFork):
    """The chunks that run in this process just now, and the callers on whose end it waits."""

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
        """End this process with the one that made it, if that is the caller."""
        with self._changed:
            new = caller not in self._watched
            self._watched.add(caller)
        parent = multiprocessing.parent_process()
        if new and (os.getppid() == caller or (parent is not None and parent.pid == caller)):
            threading.Thread(target=_exit_with, args=(caller,), daemon=True).start()


_running = _RunningChunks()


def run_for(caller: int, payload: bytes, chunk: bytes) -> bytes:
    """Run a chunk in a worker of anyone's pool.

    Args:
        caller: The process id of who waits for it. The worker ends with him if he made it.
        payload: As for `run_chunk`.
        chunk: As for `run_chunk`.
    """
    _running.watch(caller)
    with _running:
        return run_chunk(payload, chunk)


def run_watched(caller: int, function: Callable[[], T]) -> T:
    """Call *function* in a worker that ends at once with its caller, for whom alone the result is.

    Args:
        caller: The process id of who waits for it.
        function: What to call.
    """
    _running.watch(caller)
    return function()


def become_worker(stop: Connection, greeting: Connection, caller: int) -> None:
    """Make this process a worker of a pool of ours: Ctrl-C is its caller's to handle.

    Args:
        stop: Readable when the worker is to end, within a second.
        greeting: Told once that a worker came up.
        caller: The process id of the pool's owner.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    greeting.send_bytes(b"up")
    _running.watch(caller)
    threading.Thread(target=_exit_on_stop, args=(stop,), daemon=True).start()


def _exit_with(caller: int) -> None:
    # Under forkserver the parent is the server, which ends with the caller; a pipe would not show it, since
    # forked siblings hold its other end.
    first = os.getppid()
    while os.getppid() == first and _is_alive(caller):
        time.sleep(_POLL)
    stopping.set()
    _running.wait()  # the task in hand is finished and kept
    os._exit(1)


def _exit_on_stop(stop: Connection) -> None:
    with contextlib.suppress(OSError):  # the pipe may be gone
        stop.poll(None)
    stopping.set()
    # The pool ends all its workers as soon as one is gone: none is until those who wait for a budget gave up.
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
