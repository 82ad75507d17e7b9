"""SingleFlight: one execution per key at a time, over threads and async tasks, and over processes by the index's locks.

The first caller acquires the key and runs the function. The others wait, then look the result up again; if the function
failed, the first of them runs it. No row says that a key is in flight: a lock ends with the process that holds it,
however that ends.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

from beautyspot._internal.context import KeyBusy, Reader, current_readers, flush_current_group, held_keys
from beautyspot._internal.fork_safety import SurvivesFork
from beautyspot._internal.wakeups import CancelRace, wake
from beautyspot.errors import IndexUnavailableError, RejectedIndexError
from beautyspot.protocols.locks import BulkLocks, KeyLocks

if TYPE_CHECKING:
    import asyncio

_LOOP_ITERATIONS = 3  # of an event loop, in which it starts to close an async stream that is garbage
_READ_BY_CALLER = (
    "a stream of the same call is being read here and has not ended: waiting for it would never end. Read it to its "
    "end first, or close it"
)


class _InFlight:
    """One key in flight. *lock* is held until the key is released; a caller that must not block leaves a callback."""

    __slots__ = ("callbacks", "is_releasing", "lock", "reader", "released")

    def __init__(self) -> None:
        self.reader: Reader | None = None  # of a stream that is paused between two items
        self.lock = threading.Lock()
        self.lock.acquire()
        self.released = self.is_releasing = False  # is_releasing: the function has returned
        self.callbacks: list[Callable[[], None]] = []

    def is_read_by_caller(self) -> bool:
        """Whether the holder is a stream that goes on only when the running code reads on."""
        # Readers are marked in the context and not by their thread: a pool's thread reads items for many readers, and a
        # reader may wait for what it has started, such as the threads of a map.
        return self.reader is not None and self.reader in current_readers.get()

    def set_reader(self, reader: Reader | None) -> None:
        """Set the reader that will ask the stream for its next item; ``None``: the stream is running."""
        if self.reader is not None:
            self.reader.is_gone = True
        self.reader = reader


class SingleFlight(SurvivesFork):
    """The keys in flight in this process.

    Args:
        locks: The locks of the index, which exclude other processes; ``None`` if it has none.
        run_io: Runs a function in a thread, so that locks on a server do not block an event loop; ``None``: the locks
            answer in microseconds.
    """

    def __init__(self, locks: KeyLocks | None, run_io: Callable[..., asyncio.Future[Any]] | None = None) -> None:
        self._locks = locks
        self._bulk = locks if isinstance(locks, BulkLocks) else None
        self._run_io = run_io
        self._in_flight: dict[bytes, _InFlight] = {}
        # Reentrant: a stream that is garbage is released in whatever thread runs when it is collected.
        self._releasing = threading.RLock()
        self.survive_forks()

    def after_fork_in_child(self) -> None:
        """Forget the keys of the parent process, whose threads do not exist here."""
        self._in_flight = {}
        self._releasing = threading.RLock()

    def acquire(self, key: bytes, wait: bool = True) -> float:
        """Acquire *key*; returns the seconds that the running code waited for another execution, 0 if there was none.

        Args:
            key: The key.
            wait: Whether to wait while another caller holds the key.

        Raises:
            RecursionError: If the running code holds the key itself, or reads the stream that holds it.
            KeyBusy: With ``wait=False``, if another caller holds the key.
        """
        flush_current_group()
        began = 0.0
        while (holder := self._acquire_local(key)) is not None:
            self._check_may_block(holder)
            if not wait:
                raise KeyBusy
            if not holder.is_releasing:
                began = began or perf_counter()
            holder.lock.acquire()
            holder.lock.release()
        try:
            if not self._try_locks(key):
                if not wait:
                    raise KeyBusy
                began = began or perf_counter()
                self._wait_for_locks(key)
        except BaseException as error:
            self._release_failed(key, error)
            raise
        self.mark_held(key)
        return began and perf_counter() - began

    def try_acquire(self, key: bytes, require_index: bool = False) -> bool:
        """Acquire *key* if it is free, without marking it as held by the running code; returns whether it was.

        Args:
            key: The key.
            require_index: Whether to raise if the index cannot be reached; else the key is acquired in this process
                only.

        Raises:
            IndexUnavailableError: With *require_index*, if the index cannot be reached.
        """
        if self._acquire_local(key) is not None:
            return False
        try:
            locked = self._try_locks(key, require_index)
        except BaseException as error:
            self._release_failed(key, error)
            raise
        if not locked:
            self._release_local(key)
        return locked

    def _release_failed(self, key: bytes, error: BaseException) -> None:
        """Release a *key* whose acquisition failed; after an interrupt, the lock of the index may be held as well."""
        if isinstance(error, Exception):
            self._release_local(key)
        else:
            self.release(key)

    def try_acquire_many(
        self, keys: Sequence[bytes], require_index: bool = False, allow_local: bool = False
    ) -> set[bytes]:
        """As `try_acquire`, for many keys in few queries; returns the keys that were acquired.

        Args:
            keys: The keys.
            require_index: Whether to raise if the index cannot be reached.
            allow_local: Whether keys are then acquired in this process only, as by `try_acquire`; else none is.

        Raises:
            IndexUnavailableError: With *require_index*, if the index cannot be reached.
        """
        if self._bulk is None:
            return self._try_acquire_each(keys, require_index)
        acquired: list[bytes] = []
        locked: set[bytes] = set()
        try:
            for key in keys:
                if self._acquire_local(key) is None:
                    acquired.append(key)
            locked = self._bulk.try_lock_many(acquired)
        except RejectedIndexError:
            raise
        except IndexUnavailableError:  # each call then acquires its key by itself, as in `_try_locks`
            if require_index:
                raise
            locked = set(acquired) if allow_local else set()
        finally:
            for key in acquired:
                if key not in locked:
                    self._release_local(key)
        return locked

    def _try_acquire_each(self, keys: Sequence[bytes], require_index: bool) -> set[bytes]:
        locked: set[bytes] = set()
        try:
            for key in keys:
                if self.try_acquire(key, require_index):
                    locked.add(key)
        except BaseException:
            self.release_many(list(locked))
            raise
        return locked

    async def acquire_async(self, key: bytes, wait: bool = True) -> float:
        """As `acquire`, without blocking the event loop; cancelling it does not affect other waiters."""
        flush_current_group()
        import asyncio  # takes half of the time that importing beautyspot may take

        began = 0.0
        while (holder := self._acquire_local(key)) is not None:
            await self._check_may_await(holder)
            if not wait:
                raise KeyBusy
            if not holder.is_releasing:
                began = began or perf_counter()
            loop = asyncio.get_running_loop()
            released = loop.create_future()
            self._add_release_callback(holder, partial(wake, loop, released))
            await released
        try:
            pause = 0.001
            while not await self._try_locks_async(key):
                if not wait:
                    raise KeyBusy
                # Another process holds it. Poll: a thread that blocks in the kernel could not be cancelled.
                began = began or perf_counter()
                await asyncio.sleep(pause)
                pause = min(pause * 1.5, 0.05)
        except BaseException:
            self._release_local(key)
            raise
        self.mark_held(key)
        return began and perf_counter() - began

    async def _try_locks_async(self, key: bytes) -> bool:
        if self._locks is None or self._run_io is None:
            return self._try_locks(key)
        import asyncio

        race = CancelRace()
        try:
            return bool(await asyncio.shield(self._run_io(self._try_locks_in_thread, key, race)))
        except asyncio.CancelledError:
            if race.comes_second():  # the thread has acquired the lock and left it to this side
                self._run_io(self._unlock, key)
            raise

    def _try_locks_in_thread(self, key: bytes, race: CancelRace) -> bool:
        locked = self._try_locks(key)
        if locked and race.comes_second():  # the waiter was cancelled
            self._unlock(key)
        return locked

    def release_current(self, key: bytes) -> None:
        """Release *key*, which the running code holds, and wake its waiters."""
        self.unmark_held(key)
        self.release(key)

    def mark_held(self, key: bytes) -> None:
        """Mark *key* as held by the running code."""
        held_keys.set((*held_keys.get(), key))

    def unmark_held(self, key: bytes) -> None:
        """Mark *key* as not held by the running code any more; it still has to be released."""
        held_keys.set(tuple([held for held in held_keys.get() if held != key]))

    def pause_stream(self, key: bytes) -> None:
        """Mark the stream that holds *key* as paused until the running code asks for the next item."""
        self.unmark_held(key)
        flight = self._in_flight.get(key)
        if flight is not None:  # else this is a forked child with a copy of the stream, and the parent holds the key
            new = Reader()
            flight.set_reader(new)
            current_readers.set((*[reader for reader in current_readers.get() if not reader.is_gone], new))

    def resume_stream(self, key: bytes) -> None:
        """Mark the stream that holds *key* as running, to its next item or to its end."""
        flight = self._in_flight.get(key)
        if flight is not None:  # as in `pause_stream`
            flight.set_reader(None)
        self.mark_held(key)

    def check_not_reading(self, key: bytes) -> None:
        """Refuse to wait for a stream that goes on only when the running code reads on.

        Raises:
            RecursionError: If such a stream holds *key*.
        """
        flight = self._in_flight.get(key)
        if flight is not None and flight.is_read_by_caller():
            raise RecursionError(_READ_BY_CALLER)

    def _check_may_block(self, flight: _InFlight) -> None:
        reader = flight.reader
        if flight.is_read_by_caller() or (reader and reader.thread == threading.get_ident() and _runs_event_loop()):
            gc.collect()  # a stream that is garbage is never read on: collecting it releases the key
            if not flight.released:
                raise RecursionError(_READ_BY_CALLER)

    async def _check_may_await(self, flight: _InFlight) -> None:
        if flight.is_read_by_caller():
            import asyncio

            gc.collect()
            for _ in range(_LOOP_ITERATIONS):
                await asyncio.sleep(0)
            if flight.is_read_by_caller():
                raise RecursionError(_READ_BY_CALLER)

    def check_not_held(self, key: bytes) -> None:
        """Refuse to wait for a key that the running code holds itself.

        Raises:
            RecursionError: If it holds *key*.
        """
        if key in held_keys.get():
            raise RecursionError("a task calls itself with the arguments that it is running with")

    def mark_held_many(self, keys: Sequence[bytes]) -> None:
        """As `mark_held`, for many keys."""
        held_keys.set((*held_keys.get(), *keys))

    def unmark_held_many(self, keys: Sequence[bytes]) -> None:
        """As `unmark_held`, for many keys."""
        released = frozenset(keys)
        held_keys.set(tuple([held for held in held_keys.get() if held not in released]))

    def release(self, key: bytes) -> None:
        """Release *key* and wake its waiters; from any thread."""
        if self._locks is not None:
            try:  # noqa: SIM105 - a context manager would cost every miss a microsecond
                self._locks.unlock(key)
            except IndexUnavailableError:  # then it holds no lock for this process either
                pass
        self._release_local(key)

    def release_many(self, keys: Sequence[bytes]) -> None:
        """As `release`, for many keys in one query."""
        if self._bulk is None:
            for key in keys:
                self.release(key)
            return
        with suppress(IndexUnavailableError):  # as in `release`
            self._bulk.unlock_many(keys)
        for key in keys:
            self._release_local(key)

    def release_async(self, key: bytes) -> None:
        """As `release`, without blocking the event loop: locks on a server are released in a thread."""
        self.release_many_async([key])

    def release_many_async(self, keys: Sequence[bytes]) -> None:
        """As `release_async`, for many keys."""
        if self._run_io is None:
            self.release_many(keys)
            return
        for key in keys:
            self._in_flight[key].is_releasing = True
        self._run_io(self.release_many, keys)

    def _unlock(self, key: bytes) -> None:
        if self._locks is not None:
            with suppress(IndexUnavailableError):
                self._locks.unlock(key)

    def _acquire_local(self, key: bytes) -> _InFlight | None:
        """Acquire *key* in this process; if it is held, returns its holder, to wait for."""
        self.check_not_held(key)
        new = _InFlight()
        holder = self._in_flight.setdefault(key, new)
        return None if holder is new else holder

    def _try_locks(self, key: bytes, require_index: bool = False) -> bool:
        try:
            return self._locks is None or self._locks.try_lock(key)
        except RejectedIndexError:
            raise
        except IndexUnavailableError:
            if require_index:
                raise
            # Without its locks the index cannot store anything either: a warning says so when that is tried.
            return True

    def _wait_for_locks(self, key: bytes) -> None:
        try:
            if self._locks is not None:
                self._locks.lock(key)
        except RejectedIndexError:
            raise
        except IndexUnavailableError:  # as in `_try_locks`
            return

    def _add_release_callback(self, flight: _InFlight, callback: Callable[[], None]) -> None:
        with self._releasing:
            if not flight.released:
                flight.callbacks.append(callback)
                return
        callback()

    def _release_local(self, key: bytes) -> None:
        with self._releasing:
            flight = self._in_flight.pop(key)
            flight.released = True
            flight.set_reader(None)
        flight.lock.release()
        for callback in flight.callbacks:
            callback()


def _runs_event_loop() -> bool:
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
