"""The engine of process pools, and of any other ``concurrent.futures.Executor``.

Workers of our own pools ignore Ctrl-C, which is the caller's to handle, and end themselves after the task in
hand when their caller is gone: the pools of the standard library leave orphans behind a killed parent.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import CancelledError, Executor, Future, ProcessPoolExecutor
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

from beautyspot.engines import EngineLost, run_chunk, stopping

_GRACE = 1.0  # seconds that a worker is given to finish its task after Ctrl-C
_GIVE_UP = 0.4  # seconds of it in which a call that waits for a budget gives its place back
_LOOK = 0.25  # seconds between two looks at the parent

_in_hand = threading.Lock()  # held by a worker while it runs a chunk


class ExecutorEngine:
    """Chunks run on an executor that someone else owns.

    Args:
        executor: Where.
        width: How many chunks run at a time; asked of the executor where it knows.
    """

    def __init__(self, executor: Executor, width: int | None = None) -> None:
        self.width: int = width or getattr(executor, "_max_workers", None) or os.cpu_count() or 1
        self._executor = executor
        self._under_way: dict[int, Future[bytes]] = {}
        self._done: SimpleQueue[int] = SimpleQueue()

    def submit(self, number: int, payload: bytes, chunk: bytes) -> None:
        """Hand a chunk to the executor.

        Raises:
            EngineLost: If the executor is broken or shut down.
        """
        try:
            future = self._executor.submit(work, payload, chunk)
        except RuntimeError as error:
            raise EngineLost(f"the executor takes no work any more: {error}") from error
        self._under_way[number] = future
        future.add_done_callback(lambda _: self._done.put(number))

    def finished(self) -> list[tuple[int, bytes | EngineLost]]:
        """Wait for a chunk, and take all that came back."""
        numbers = [self._done.get()]
        while not self._done.empty():
            numbers.append(self._done.get())
        return [(number, _result(self._under_way.pop(number))) for number in numbers if number in self._under_way]

    def cancel(self) -> list[int]:
        """Take back what has not begun."""
        taken = [number for number, future in self._under_way.items() if future.cancel()]
        for number in taken:
            del self._under_way[number]
        return taken

    def close(self, now: bool = False) -> None:
        """Leave the executor to its owner; what has not begun is taken back."""
        self.cancel()


class ProcessEngine(ExecutorEngine):
    """Chunks run in a process pool of our own, which is made anew when it breaks.

    Args:
        width: How many processes; ``None``: one for each core.
    """

    def __init__(self, width: int | None = None) -> None:
        if getattr(multiprocessing.current_process(), "_inheriting", False):
            raise EngineLost(_UNGUARDED)
        self._context = multiprocessing.get_context()
        self._stop, self._stopping = self._context.Pipe(duplex=False)
        self._hello, self._greeting = self._context.Pipe(duplex=False)
        self._size = width or os.cpu_count() or 1
        super().__init__(self._pool(), self._size)

    def _pool(self) -> ProcessPoolExecutor:
        start = (self._stop, self._greeting, os.getpid())
        return ProcessPoolExecutor(self._size, self._context, initializer=become_worker, initargs=start)

    def submit(self, number: int, payload: bytes, chunk: bytes) -> None:
        """Hand a chunk to the pool, or to a new one where the last was lost with a worker."""
        try:
            super().submit(number, payload, chunk)
        except EngineLost:
            if not self._hello.poll():
                raise EngineLost(f"no worker process could be started. {_UNGUARDED}") from None
            self._executor.shutdown(wait=False)
            self._executor = self._pool()
            super().submit(number, payload, chunk)

    def close(self, now: bool = False) -> None:
        """End the workers, after what they run, or a second later."""
        if now:
            self._stopping.send_bytes(b"stop")
        self._executor.shutdown(wait=True, cancel_futures=True)
        for end in (self._stop, self._stopping, self._hello, self._greeting):
            end.close()


def processes(workers: int | None) -> ProcessEngine:
    """The engine ``"processes"``, in the start method that `multiprocessing` is set to."""
    return ProcessEngine(workers)


def work(payload: bytes, chunk: bytes) -> bytes:
    """Run a chunk, and say while it runs that there is a task in hand."""
    with _in_hand:
        return run_chunk(payload, chunk)


def become_worker(stop: Connection, greeting: Connection, parent: int) -> None:
    """Make this process a worker that ends with its caller.

    Args:
        stop: Readable when the worker is to end.
        greeting: Told once that a worker came up.
        parent: The caller's process id.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    greeting.send_bytes(b"up")
    threading.Thread(target=_watch, args=(stop, os.getppid(), parent), daemon=True).start()


def _watch(stop: Connection, first: int, parent: int) -> None:
    # Under forkserver the parent is the server, which ends with the caller; a pipe would not show it, since
    # forked siblings hold its other end.
    while not _readable(stop):
        if os.getppid() != first or not _alive(parent):
            stopping.set()
            _in_hand.acquire()  # the task in hand is finished and kept
            os._exit(1)
    stopping.set()
    # The pool ends all its workers as soon as one is gone: none is until those who wait for a budget gave up.
    time.sleep(_GIVE_UP)
    _in_hand.acquire(timeout=_GRACE - _GIVE_UP)
    os._exit(1)


def _readable(stop: Connection) -> bool:
    try:
        return stop.poll(_LOOK)
    except OSError:
        return True


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _result(future: Future[Any]) -> bytes | EngineLost:
    try:
        data: bytes = future.result()
    except (Exception, CancelledError) as error:
        return EngineLost(f"{type(error).__name__}: {error}")
    return data


_UNGUARDED = (
    'Worker processes import the script that started them: put what runs below `if __name__ == "__main__":`, so '
    "that importing it starts nothing"
)
