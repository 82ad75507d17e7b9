"""ThreadPool: calls of a map run in threads of this process."""

from __future__ import annotations

import contextvars
import ctypes
import queue
import threading
from collections import deque
from concurrent.futures import Executor
from time import monotonic
from typing import Any

from beautyspot._internal.context import CallCancelled, CurrentMap, KeyBusy, current_map
from beautyspot._internal.pricing import pacing_layers
from beautyspot.fanout.calls import Call, Outcome
from beautyspot.fanout.group_commit import CommitGroup

_GRACE = 1.0  # seconds that running calls are given after Ctrl-C
_TELL = 0.002  # seconds after which a thread tells what it finished
_LOOK = 0.05  # seconds after which the caller looks by itself, at the latest
_QUICK = 0.0005  # seconds; below it, calls are run in batches
_BATCH = 63  # further calls that a thread takes at a time where calls are quick
_AHEAD = 512  # calls that wait for a thread where calls are quick

# The executors (their ids) on which the code that runs just now was started by a map.
_inside: contextvars.ContextVar[frozenset[int]] = contextvars.ContextVar("beautyspot_inside", default=frozenset())


class ThreadPool:
    """Calls run in threads: our own, which never hold up the end of the program, or those of an executor.

    Waking another thread costs more than many a call. So threads help themselves from one queue, tell of what
    they finished every few milliseconds, and are started only while calls wait for longer than that.

    Args:
        task: What is called.
        width: How many calls run at a time.
        stop: Whether nothing new begins after the first failure.
        executor: Of the user, or ``None`` for our own threads.
    """

    def __init__(self, task: Any, width: int, stop: bool, executor: Executor | None = None) -> None:
        self._task = task
        self._width = width
        # A map inside a map on one executor would wait for threads that wait for it.
        self._executor = None if id(executor) in _inside.get() else executor
        self._waiting: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._done: deque[Outcome] = deque()
        self._news: queue.SimpleQueue[None] = queue.SimpleQueue()  # says that there is something in ``_done``
        self._groups: set[CommitGroup] = set()
        self._threads: list[threading.Thread] = []
        self._workers = 0
        self._stops = stop
        self._halted = False
        self._under_way = 0
        self._taken_back: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._seconds = 1.0  # that a call takes, as far as known

    def has_capacity(self) -> bool:
        """Whether a thread is free, or will be in a moment."""
        return self._under_way < self._width + (_AHEAD if self._seconds < _QUICK else 0)

    def has_pending(self) -> bool:
        """Whether any call has not come back."""
        return self._under_way > 0

    def submit(self, call: Call) -> None:
        """Hand *call* to a thread."""
        self._under_way += 1
        self._waiting.put(call)
        if not self._workers:
            self._start_worker()

    def _start_worker(self) -> None:
        self._workers += 1
        context = contextvars.copy_context()
        ends = CurrentMap(pacing_layers(self._task.__wrapped__), lambda: self._halted)
        context.run(current_map.set, ends)
        if self._executor is not None:
            context.run(_inside.set, _inside.get() | {id(self._executor)})
            self._executor.submit(context.run, self._work)
            return
        name = f"beautyspot-map-{len(self._threads)}"
        thread = threading.Thread(target=context.run, args=(self._work,), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self) -> None:
        told = monotonic()
        try:
            while (call := self._waiting.get()) is not None:
                self._run(call)
                now = monotonic()
                if now - told > _TELL or self._waiting.empty():
                    self._news.put(None)
                    told = now
        except KeyboardInterrupt:  # sent by `close` when the call came back just then
            return

    def _run(self, call: Call) -> None:
        """Run *call*, together with others that wait where calls are quick."""
        calls = [call, *self._more()] if self._seconds < _QUICK else [call]
        if len(calls) > 1:
            calls = self._run_group(calls)
        for each in calls:
            if self._halted:
                self._taken_back.put(each)
                continue
            outcome = self._outcome(each)
            if isinstance(outcome.error, CallCancelled):
                self._taken_back.put(each)
                continue
            self._done.append(outcome)
            if outcome.error is not None:
                self._halt()

    def _run_group(self, calls: list[Call]) -> list[Call]:
        """Run *calls* as a batch; those whose keys someone else has come back, to be waited for."""
        group = CommitGroup(self._task, self._done, lambda: self._halted)
        self._groups.add(group)
        try:
            taken, not_begun = group.run(calls)
        finally:
            self._groups.discard(group)
        if group.failed:
            self._halt()
        self._seconds = group.seconds
        for call in not_begun:
            (self._taken_back if self._halted else self._waiting).put(call)
        return taken

    def _halt(self) -> None:
        """A call failed: where that is to end the map, nothing new begins."""
        if self._stops:
            self._halted = True
            self._take_back()

    def _more(self) -> list[Call]:
        """Calls that wait, as many as a batch takes."""
        more: list[Call] = []
        while len(more) < _BATCH:
            try:
                call = self._waiting.get_nowait()
            except queue.Empty:
                break
            if call is None:  # the end, which is for the loop to see
                self._waiting.put(None)
                break
            more.append(call)
        return more

    def _outcome(self, call: Call) -> Outcome:
        began = monotonic()
        try:
            computed = self._task._compute_locked(call.keyed(), wait=call.waits)
        except KeyBusy:
            return Outcome(call, key_busy=True)
        except BaseException as error:
            self._seconds = monotonic() - began
            return Outcome(call, error=error)
        if computed.encoded is not None:
            # An index that takes long to answer is a reason to ask it for many at once; a blob is not.
            self._seconds = computed.seconds if computed.encoded.value is not None else monotonic() - began
        return Outcome(call, computed.value)

    def wait(self) -> list[Outcome]:
        """Wait for a call to come back, and take all that did."""
        pause = _TELL
        while not self._done and self._under_way > self._taken_back.qsize():
            try:
                self._news.get(timeout=pause)
            except queue.Empty:
                if self._seconds >= _QUICK or pause > _TELL:  # quick calls are not quicker in more threads
                    self._grow()
                # A thread that finished something and then began a long call has not told of it.
                for group in list(self._groups) if pause > _TELL else ():
                    group.flush()
                pause = min(4 * pause, _LOOK)
        outcomes = []
        for outcome in [self._done.popleft() for _ in range(len(self._done))]:
            if outcome.again:
                (self._taken_back if self._halted else self._waiting).put(outcome.call)
            else:
                outcomes.append(outcome)
        self._under_way -= len(outcomes) + self._forgotten()
        return outcomes

    def _grow(self) -> None:
        """Start as many threads as there are already, where calls wait for one."""
        for _ in range(min(self._workers, self._width - self._workers, self._waiting.qsize())):
            self._start_worker()

    def stop(self) -> None:
        """Take back what no thread has taken."""
        self._halted = True
        self._take_back()
        self._under_way -= self._forgotten()

    def _take_back(self) -> None:
        """Empty the queue, from any thread; the pool's own counts what was in it."""
        while True:
            try:
                call = self._waiting.get_nowait()
            except queue.Empty:
                return
            if call is None:  # the end, which is for the threads to see, and behind which nothing stands
                self._waiting.put(None)
                return
            self._taken_back.put(call)

    def _forgotten(self) -> int:
        count = 0
        while not self._taken_back.empty():
            self._taken_back.get()
            count += 1
        return count

    def close(self, now: bool = False) -> None:
        """End the threads, after what they run, or a second later."""
        self.stop()
        for _ in range(self._workers):
            self._waiting.put(None)
        if now:
            deadline = monotonic() + _GRACE
            for thread in self._threads:
                thread.join(max(0.0, deadline - monotonic()))
            for thread in self._threads:
                # What is in Python code ends here; what is in a system call ends when that returns, and as
                # a daemon it does not keep the program.
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(thread.ident or 0), ctypes.py_object(KeyboardInterrupt)
                )
            return
        for thread in self._threads:
            thread.join()
