"""ThreadPool: calls of a map run in threads of this process."""

from __future__ import annotations

import contextvars
import ctypes
import queue
import threading
from collections import deque
from concurrent.futures import Executor
from time import monotonic

from beautyspot._internal.context import CallCancelled, CurrentMap, KeyBusy, current_map
from beautyspot.fanout.calls import Call, Outcome, Runner
from beautyspot.fanout.group_commit import CommitGroup
from beautyspot.tasks.core import TaskCore

_GRACE = 1.0  # seconds that running calls are given after Ctrl-C
_REPORT = 0.002  # seconds between two reports of a thread about finished calls
_POLL = 0.05  # seconds after which the caller checks without a report, at the latest
_QUICK = 0.0005  # seconds; quicker calls run in commit groups
_GROUP = 63  # further calls that a thread takes at a time if calls are quick
_MAX_QUEUED = 512  # calls that are queued if calls are quick

# The ids of the executors in which maps have started the running code.
_outer_executors: contextvars.ContextVar[frozenset[int]] = contextvars.ContextVar(
    "beautyspot_inside", default=frozenset()
)


class ThreadPool:
    """Runs calls in threads: daemons of its own, which do not keep the program alive, or those of an executor.

    Waking another thread costs more than a quick call. So threads take calls from one queue, report what they finished
    every few milliseconds, and are started only while calls wait for longer than that.

    Args:
        runner: Runs one call.
        width: How many calls run at a time.
        stop: Whether no call starts after the first failure.
        executor: The user's executor; ``None``: the pool starts threads of its own.
    """

    def __init__(self, runner: Runner, width: int, stop: bool, executor: Executor | None = None) -> None:
        self._runner = runner
        self._core = runner if isinstance(runner, TaskCore) else None  # lists of a batch task commit by themselves
        self._width = width
        # A map inside a map on one executor would wait for threads that wait for it.
        self._executor = None if id(executor) in _outer_executors.get() else executor
        self._queue: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._done: deque[Outcome] = deque()
        self._reports: queue.SimpleQueue[None] = queue.SimpleQueue()  # an item says: check ``_done``
        self._groups: set[CommitGroup] = set()
        self._threads: list[threading.Thread] = []
        self._workers = 0
        self._stops = stop
        self._stopped = False
        self._pending = 0
        self._cancelled: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._seconds = 1.0  # duration of a call, as measured last

    def has_capacity(self) -> bool:
        """Whether a thread is free, or will be soon."""
        return self._pending < self._width + (_MAX_QUEUED if self._seconds < _QUICK else 0)

    def has_pending(self) -> bool:
        """Whether a call has not come back."""
        return self._pending > 0

    def submit(self, call: Call) -> None:
        """Hand *call* to a thread."""
        self._pending += 1
        self._queue.put(call)
        if not self._workers:
            self._start_worker()

    def _start_worker(self) -> None:
        self._workers += 1
        context = contextvars.copy_context()
        this_map = CurrentMap(self._runner.limiters, lambda: self._stopped)
        context.run(current_map.set, this_map)
        if self._executor is not None:
            context.run(_outer_executors.set, _outer_executors.get() | {id(self._executor)})
            self._executor.submit(context.run, self._work)
            return
        name = f"beautyspot-map-{len(self._threads)}"
        thread = threading.Thread(target=context.run, args=(self._work,), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self) -> None:
        reported = monotonic()
        try:
            while (call := self._queue.get()) is not None:
                self._run(call)
                now = monotonic()
                if now - reported > _REPORT or self._queue.empty():
                    self._reports.put(None)
                    reported = now
        except KeyboardInterrupt:  # from `close`, when the call had just come back
            return

    def _run(self, call: Call) -> None:
        """Run *call*, and queued ones along with it if calls are quick."""
        calls = [call, *self._take_queued()] if self._core is not None and self._seconds < _QUICK else [call]
        if self._core is not None and len(calls) > 1:
            calls = self._run_group(self._core, calls)
        for each in calls:
            if self._stopped:
                self._cancelled.put(each)
                continue
            outcome = self._outcome(each)
            if isinstance(outcome.error, CallCancelled):
                self._cancelled.put(each)
                continue
            self._done.append(outcome)
            if outcome.error is not None:
                self._halt()

    def _run_group(self, core: TaskCore, calls: list[Call]) -> list[Call]:
        """Run *calls* as a commit group; returns those that must run alone, and wait for their keys."""
        group = CommitGroup(core, self._done, lambda: self._stopped)
        self._groups.add(group)
        try:
            single, not_started = group.run(calls)
        finally:
            self._groups.discard(group)
        if group.failed:
            self._halt()
        self._seconds = group.seconds
        for call in not_started:
            (self._cancelled if self._stopped else self._queue).put(call)
        return single

    def _halt(self) -> None:
        """A call failed: if that ends the map, no further call starts."""
        if self._stops:
            self._stopped = True
            self._cancel_queued()

    def _take_queued(self) -> list[Call]:
        """Queued calls, as many as a commit group takes."""
        more: list[Call] = []
        while len(more) < _GROUP:
            try:
                call = self._queue.get_nowait()
            except queue.Empty:
                break
            if call is None:  # the end: the loop of a thread must see it
                self._queue.put(None)
                break
            more.append(call)
        return more

    def _outcome(self, call: Call) -> Outcome:
        began = monotonic()
        try:
            computed = self._runner.run(call.keyed(), wait=call.waits)
        except KeyBusy:
            return Outcome(call, key_busy=True)
        except BaseException as error:
            self._seconds = monotonic() - began
            return Outcome(call, error=error)
        if computed.encoded is not None:
            # A slow index is a reason to commit in groups; a blob, which is written by itself, is not.
            is_blob = computed.encoded.value is None
            self._seconds = monotonic() - began if is_blob or computed.seconds is None else computed.seconds
        return Outcome(call, computed.value)

    def wait(self) -> list[Outcome]:
        """The outcomes of finished calls, at least one while calls are pending."""
        pause = _REPORT
        while not self._done and self._pending > self._cancelled.qsize():
            try:
                self._reports.get(timeout=pause)
            except queue.Empty:
                if self._seconds >= _QUICK or pause > _REPORT:  # more threads do not make quick calls quicker
                    self._grow()
                # A thread that finished calls and then started a long one has not reported them.
                for group in list(self._groups) if pause > _REPORT else ():
                    group.flush()
                pause = min(4 * pause, _POLL)
        outcomes = []
        for outcome in [self._done.popleft() for _ in range(len(self._done))]:
            if outcome.again:
                (self._cancelled if self._stopped else self._queue).put(outcome.call)
            else:
                outcomes.append(outcome)
        self._pending -= len(outcomes) + self._count_cancelled()
        return outcomes

    def _grow(self) -> None:
        """Start as many threads as there are already, if calls are queued."""
        for _ in range(min(self._workers, self._width - self._workers, self._queue.qsize())):
            self._start_worker()

    def stop(self) -> None:
        """Cancel queued calls."""
        self._stopped = True
        self._cancel_queued()
        self._pending -= self._count_cancelled()

    def _cancel_queued(self) -> None:
        """Empty the queue, from any thread; the pool's own thread counts the calls that were in it."""
        while True:
            try:
                call = self._queue.get_nowait()
            except queue.Empty:
                return
            if call is None:  # the end, with nothing behind it: the threads must see it
                self._queue.put(None)
                return
            self._cancelled.put(call)

    def _count_cancelled(self) -> int:
        count = 0
        while not self._cancelled.empty():
            self._cancelled.get()
            count += 1
        return count

    def close(self, now: bool = False) -> None:
        """End the threads after their running calls; with *now*, after a second."""
        self.stop()
        for _ in range(self._workers):
            self._queue.put(None)
        if now:
            deadline = monotonic() + _GRACE
            for thread in self._threads:
                thread.join(max(0.0, deadline - monotonic()))
            for thread in self._threads:
                # A thread in Python code ends here. One in a system call ends when that returns, and does not keep the
                # program alive, being a daemon.
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(thread.ident or 0), ctypes.py_object(KeyboardInterrupt)
                )
            return
        for thread in self._threads:
            thread.join()
