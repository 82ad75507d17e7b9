"""One execution per key at a time: over threads and async tasks here, over processes by the index's locks.

Who comes first takes the key and runs; the others wait for him, look again, and the first of them runs if
he failed. Nothing on disk says that someone runs: the right ends with its owner, however he ends.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

from beautyspot._internal.context import KeyBusy, Reader, flush_current_group, held_keys, readers_under_way
from beautyspot._internal.fork_safety import SurvivesFork
from beautyspot._internal.wakeups import Asked, wake
from beautyspot.errors import IndexUnavailableError, RejectedIndexError
from beautyspot.protocols.locks import BulkLocks, KeyLocks

if TYPE_CHECKING:
    import asyncio

_TURNS = 3  # of an event loop, after which the end of an async stream that was dropped has begun
_READ_HERE = (
    "a stream of the same call is being read here and has not come to its end: to wait for it would be to wait for "
    "oneself. Read it to its end first, or close it"
)


class _InFlight:
    """One key under way. Its lock is held until it has released; those who cannot block leave a callback."""

    __slots__ = ("callbacks", "is_releasing", "lock", "reader", "released")

    def __init__(self) -> None:
        self.reader: Reader | None = None  # of a stream that is between two items
        self.lock = threading.Lock()
        self.lock.acquire()
        self.released = self.is_releasing = False  # is_releasing: its run is over, and its lock is being given back
        self.callbacks: list[Callable[[], None]] = []

    def is_read_here(self) -> bool:
        """Whether it is a stream that goes on only when the code that runs just now reads on."""
        # A mark in the context, and not the thread: a thread of a pool draws items for many, and what a reader has
        # started, as the threads of a map, may be what it waits for.
        return self.reader is not None and self.reader in readers_under_way.get()

    def is_read_by(self, reader: Reader | None) -> None:
        """Note who is to ask the stream for its next item, if anyone."""
        if self.reader is not None:
            self.reader.is_gone = True
        self.reader = reader


class SingleFlight(SurvivesFork):
    """The keys under way in this process.

    Args:
        locks: Of the index, if it has any: they keep other processes out.
        run_io: Runs a function in a thread, for those who await, where the locks are asked over a network;
            ``None``: they answer in microseconds.
    """

    def __init__(self, locks: KeyLocks | None, run_io: Callable[..., asyncio.Future[Any]] | None = None) -> None:
        self._locks = locks
        self._bulk = locks if isinstance(locks, BulkLocks) else None
        self._run_io = run_io
        self._in_flight: dict[bytes, _InFlight] = {}
        self._releasing = (
            threading.RLock()
        )  # a stream that is collected as garbage is released in whatever thread runs then
        self.survive_forks()

    def after_fork_in_child(self) -> None:
        """Forget the keys of the parent process, whose threads are not here."""
        self._in_flight = {}
        self._releasing = threading.RLock()

    def acquire(self, key: bytes, wait: bool = True) -> float:
        """Take *key*, waiting for whoever has it; how many seconds that was, 0 where nobody ran it.

        Raises:
            RecursionError: If the code that asks has it itself, or reads the stream that has it.
            KeyBusy: If someone has it who is not to be waited for.
        """
        flush_current_group()
        began = 0.0
        while (other := self._take(key)) is not None:
            self._refuse_to_block(other)
            if not wait:
                raise KeyBusy
            if not other.is_releasing:
                began = began or perf_counter()
            other.lock.acquire()
            other.lock.release()
        try:
            if not self._try_locks(key):
                if not wait:
                    raise KeyBusy
                began = began or perf_counter()
                self._wait_for_locks(key)
        except BaseException as error:
            self._fail(key, error)
            raise
        self.mark_held(key)
        return began and perf_counter() - began

    def try_acquire(self, key: bytes, surely: bool = False) -> bool:
        """Take *key* if nobody has it; the code that runs from here on does not have it yet.

        Raises:
            IndexUnavailableError: If nobody can tell, and it must be had *surely*.
        """
        if self._take(key) is not None:
            return False
        try:
            taken = self._try_locks(key, surely)
        except BaseException as error:
            self._fail(key, error)
            raise
        if not taken:
            self._release(key)
        return taken

    def _fail(self, key: bytes, error: BaseException) -> None:
        """Release a *key* that could not be had; an interrupt may have come just after its lock was taken."""
        if isinstance(error, Exception):
            self._release(key)
        else:
            self.release(key)

    def try_acquire_many(self, keys: Sequence[bytes], surely: bool = False, anyway: bool = False) -> set[bytes]:
        """As `try_acquire`, for many keys in few questions; those that were taken.

        Args:
            keys: Which.
            surely: Where nobody can tell, raise.
            anyway: Where nobody can tell, take what is free in this process, as `try_acquire` does.
        """
        if self._bulk is None:
            return self._try_acquire_each(keys, surely)
        mine: list[bytes] = []
        taken: set[bytes] = set()
        try:
            for key in keys:
                if self._take(key) is None:
                    mine.append(key)
            taken = self._bulk.try_lock_many(mine)
        except RejectedIndexError:
            raise
        except IndexUnavailableError:  # each is asked for by itself then, as in `_try_locks`
            if surely:
                raise
            taken = set(mine) if anyway else set()
        finally:
            for key in mine:
                if key not in taken:
                    self._release(key)
        return taken

    def _try_acquire_each(self, keys: Sequence[bytes], surely: bool) -> set[bytes]:
        taken: set[bytes] = set()
        try:
            for key in keys:
                if self.try_acquire(key, surely):
                    taken.add(key)
        except BaseException:
            self.release_many(list(taken))
            raise
        return taken

    async def acquire_async(self, key: bytes, wait: bool = True) -> float:
        """As `acquire`, without blocking the event loop; cancelling it harms no other waiter."""
        flush_current_group()
        import asyncio  # half of the time that importing beautyspot may take

        began = 0.0
        while (other := self._take(key)) is not None:
            await self._refuse_to_await(other)
            if not wait:
                raise KeyBusy
            if not other.is_releasing:
                began = began or perf_counter()
            loop = asyncio.get_running_loop()
            released = loop.create_future()
            self._when_released(other, partial(wake, loop, released))
            await released
        try:
            pause = 0.001
            while not await self._try_locks_async(key):
                if not wait:
                    raise KeyBusy
                # Another process runs it. A thread that blocks in the kernel could not be cancelled.
                began = began or perf_counter()
                await asyncio.sleep(pause)
                pause = min(pause * 1.5, 0.05)
        except BaseException:
            self._release(key)
            raise
        self.mark_held(key)
        return began and perf_counter() - began

    async def _try_locks_async(self, key: bytes) -> bool:
        if self._locks is None or self._run_io is None:
            return self._try_locks(key)
        import asyncio

        asked = Asked()
        try:
            return bool(await asyncio.shield(self._run_io(self._ask, key, asked)))
        except asyncio.CancelledError:
            if asked.comes_second():  # it was taken, for nobody
                self._run_io(self._unlock, key)
            raise

    def _ask(self, key: bytes, asked: Asked) -> bool:
        taken = self._try_locks(key)
        if taken and asked.comes_second():  # who asked has left
            self._unlock(key)
        return taken

    def release_current(self, key: bytes) -> None:
        """Give *key* back and wake those who wait for it."""
        self.unmark_held(key)
        self.release(key)

    def mark_held(self, key: bytes) -> None:
        """Say that the code which runs from here on has *key*."""
        held_keys.set((*held_keys.get(), key))

    def unmark_held(self, key: bytes) -> None:
        """Say that the code which runs from here on does not have *key*; someone will `release` it."""
        held_keys.set(tuple([mine for mine in held_keys.get() if mine != key]))

    def lend(self, key: bytes) -> None:
        """Say that the stream which has *key* goes on when the code that runs from here on asks for the next item."""
        self.unmark_held(key)
        flight = self._in_flight.get(key)
        if flight is not None:  # else a fork copied the stream, and the key is the parent's
            reader = Reader()
            flight.is_read_by(reader)
            readers_under_way.set((*[other for other in readers_under_way.get() if not other.is_gone], reader))

    def take_back(self, key: bytes) -> None:
        """Say that the stream which has *key* goes on now, to its next item or to its end."""
        flight = self._in_flight.get(key)
        if flight is not None:  # as above
            flight.is_read_by(None)
        self.mark_held(key)

    def refuse_reader(self, key: bytes) -> None:
        """Refuse to have anybody wait for a stream that goes on only when the code that runs just now reads on.

        Raises:
            RecursionError: If *key* is held by such a stream.
        """
        flight = self._in_flight.get(key)
        if flight is not None and flight.is_read_here():
            raise RecursionError(_READ_HERE)

    def _refuse_to_block(self, flight: _InFlight) -> None:
        reader = flight.reader
        if flight.is_read_here() or (reader and reader.thread == threading.get_ident() and _runs_event_loop()):
            gc.collect()  # nobody can read on what is garbage
            if not flight.released:
                raise RecursionError(_READ_HERE)

    async def _refuse_to_await(self, flight: _InFlight) -> None:
        if flight.is_read_here():
            import asyncio

            gc.collect()
            for _ in range(_TURNS):
                await asyncio.sleep(0)
            if flight.is_read_here():
                raise RecursionError(_READ_HERE)

    def check_not_held(self, key: bytes) -> None:
        """Refuse to wait for what the code that runs just now is to bring.

        Raises:
            RecursionError: If it has *key* itself.
        """
        if key in held_keys.get():
            raise RecursionError("a task calls itself with the arguments that it is running with")

    def mark_held_many(self, keys: Sequence[bytes]) -> None:
        """As `own`, for many keys."""
        held_keys.set((*held_keys.get(), *keys))

    def unmark_held_many(self, keys: Sequence[bytes]) -> None:
        """As `unmark_held`, for many keys."""
        gone = frozenset(keys)
        held_keys.set(tuple([mine for mine in held_keys.get() if mine not in gone]))

    def release(self, key: bytes) -> None:
        """Wake those who wait for *key*; from any thread."""
        if self._locks is not None:
            try:  # noqa: SIM105 - a context would cost every miss a microsecond
                self._locks.unlock(key)
            except IndexUnavailableError:  # then it has no lock of ours either
                pass
        self._release(key)

    def release_many(self, keys: Sequence[bytes]) -> None:
        """As `release`, for many keys in one question to the index."""
        if self._bulk is None:
            for key in keys:
                self.release(key)
            return
        with suppress(IndexUnavailableError):  # as in `release`
            self._bulk.unlock_many(keys)
        for key in keys:
            self._release(key)

    def release_async(self, key: bytes) -> None:
        """As `release`, without holding up the event loop: where that takes a network, it is done in a thread."""
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

    def _take(self, key: bytes) -> _InFlight | None:
        """Take *key* in this process; if someone has it, the flight to wait for."""
        self.check_not_held(key)
        mine = _InFlight()
        other = self._in_flight.setdefault(key, mine)
        return None if other is mine else other

    def _try_locks(self, key: bytes, surely: bool = False) -> bool:
        try:
            return self._locks is None or self._locks.try_lock(key)
        except RejectedIndexError:
            raise
        except IndexUnavailableError:
            if surely:
                raise
            # Where no lock can be taken nothing can be kept either, which is said when it is tried.
            return True

    def _wait_for_locks(self, key: bytes) -> None:
        try:
            if self._locks is not None:
                self._locks.lock(key)
        except RejectedIndexError:
            raise
        except IndexUnavailableError:  # as in `_try_locks`
            return

    def _when_released(self, flight: _InFlight, callback: Callable[[], None]) -> None:
        with self._releasing:
            if not flight.released:
                flight.callbacks.append(callback)
                return
        callback()

    def _release(self, key: bytes) -> None:
        with self._releasing:
            flight = self._in_flight.pop(key)
            flight.released = True
            flight.is_read_by(None)
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
