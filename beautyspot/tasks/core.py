"""TaskCore: the inside of a task, typed and frozen. A call is a lookup; after a miss it is a lock, a run and a write.

`bs.map`, batches, streams and worker processes take a core, call `run` on it, and know nothing else of a task.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from beautyspot.keys.keyer import KeyedCall, Keyer
from beautyspot.protocols import BlobStorage, Entry, Serializer, TaskDB
from beautyspot.results.codec import EncodedResult
from beautyspot.results.events import Events
from beautyspot.results.singleflight import SingleFlight
from beautyspot.results.store import MISSING, Results, is_expired
from beautyspot.results.task_cache import OnSaveError, TaskCache

if TYPE_CHECKING:
    import asyncio

_SMALL = 1 << 16  # bytes of a value that an event loop decodes itself


class Services(Protocol):
    """What a task needs of its project."""

    name: str
    on_save_error: OnSaveError

    @property
    def db(self) -> TaskDB:
        """The index."""
        ...

    @property
    def storage(self) -> BlobStorage:
        """The blobs."""
        ...

    @property
    def serializer(self) -> Serializer:
        """Serializes the results of tasks without a serializer of their own."""
        ...

    @property
    def results(self) -> Results:
        """The cached results."""
        ...

    @property
    def single_flight(self) -> SingleFlight:
        """Lets one call of a key run at a time."""
        ...

    @property
    def events(self) -> Events:
        """The listeners."""
        ...

    @property
    def budgets_are_local(self) -> bool:
        """Whether rate limits are shared through a file, which other machines do not see."""
        ...

    def run_io(self, function: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """Run blocking I/O of an async task in a thread, in the context of the call."""
        ...

    def fan_out(self, task: Any, iterables: Sequence[Any], options: Mapping[str, Any]) -> list[Any]:
        """``bs.map``, for tasks, whose modules cannot import it."""
        ...

    def fan_out_async(
        self, task: Any, iterables: Sequence[Any], options: Mapping[str, Any]
    ) -> Coroutine[Any, Any, list[Any]]:
        """As `fan_out`, ``bs.amap``."""
        ...


class ComputedResult(NamedTuple):
    """The outcome of a call that acquired the lock of its key.

    Attributes:
        value: The result.
        entry: Its entry; ``None`` if the result could not be written.
        encoded: The serialized result; ``None`` if another caller had computed it meanwhile.
        seconds: How long the function ran; ``None`` likewise.
    """

    value: Any
    entry: Entry | None = None
    encoded: EncodedResult | None = None
    seconds: float | None = None


class CoreParts(NamedTuple):
    """The parts of a core.

    Attributes:
        keyer: Computes the keys of calls.
        cache: Reads and writes the task's results.
        locks: Lets one call of a key run at a time.
        function: Called after a miss; it returns what is cached (for a stream, the list of its items).
        limiters: The wrappers that ``@project.limiter`` put around the user's function; they run before its own code.
        project: What the task needs of its project.
    """

    keyer: Keyer
    cache: TaskCache
    locks: SingleFlight
    function: Callable[..., Any]
    limiters: tuple[Any, ...]
    project: Services


@dataclass(frozen=True, slots=True)
class BaseCore:
    """What the cores of all tasks have in common; the attributes are those of `CoreParts`."""

    keyer: Keyer
    cache: TaskCache
    locks: SingleFlight
    function: Callable[..., Any]
    limiters: tuple[Any, ...]
    project: Services

    @property
    def name(self) -> str:
        """``module.qualname`` of the function."""
        return self.keyer.function_name

    @property
    def short_name(self) -> str:
        """The function's own name."""
        return self.keyer.function_name.rpartition(".")[2]

    def call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> KeyedCall:
        """A call with its key.

        Raises:
            UnkeyableError: If an argument cannot be part of a key; the error names the argument.
            TypeError: If the arguments do not fit the function.
        """
        return KeyedCall(*self.keyer(args, kwargs), args, kwargs)

    def find(self, key: bytes, fresh: bool = False) -> tuple[Entry | None, Any]:
        """The entry of *key*, expired or not, and its value; ``MISSING`` if that is not usable, or *fresh*."""
        entry = self.cache.results.entry(key)
        if entry is None or fresh or is_expired(entry):
            return entry, MISSING
        return entry, self.cache.read(entry, key)

    def put(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], value: Any) -> None:
        """Store a value that was computed elsewhere, under the key's lock.

        Raises:
            SerializationError: If *value* cannot be serialized.
            StorageError, IndexUnavailableError: If the result cannot be written.
        """
        call = self.call(args, kwargs)
        summary = self.cache.describe(call)
        self.locks.acquire(call.key)
        try:
            self.cache.put(summary, value)
        finally:
            self.locks.release_current(call.key)


class TaskCore(BaseCore):
    """The core of a task that is called."""

    __slots__ = ()

    def run(self, call: KeyedCall, wait: bool = True, fresh: bool = False) -> ComputedResult:
        """Compute and store the result under the key's lock, unless another caller already did.

        Args:
            call: The call.
            wait: Whether to wait for the lock.
            fresh: Whether to compute anew and replace a cached result.

        Raises:
            KeyBusy: With ``wait=False``, if the key is locked.
            RecursionError: If the calling code holds the key itself.
            Exception: What the function raised.
        """
        key, cache = call.key, self.cache
        summary = cache.describe(call)  # before the function can change its arguments
        if waited := self.locks.acquire(key, wait):
            cache.on_wait(summary, waited)
        try:
            entry, value = self.find(key, fresh)  # another caller may have stored it meanwhile
            if value is not MISSING:
                return ComputedResult(value, entry)
            with self.keyer.run(call.args, call.kwargs):
                started = cache.on_miss(summary)
                try:
                    value = self.function(*call.args, **call.kwargs)
                except Exception as error:
                    cache.on_failure(summary, error, perf_counter() - started)
                    raise
                seconds = perf_counter() - started
            entry, encoded = cache.store(summary, value, seconds, entry and entry.location)
            return ComputedResult(cache.returned(value, entry), entry, encoded, seconds)
        finally:
            self.locks.release_current(key)


class AsyncTaskCore(BaseCore):
    """The core of a task that is awaited.

    The event loop reads an index that answers in microseconds itself; blobs and other indexes are read, and results
    are written, in threads of the project.
    """

    __slots__ = ()

    async def find_async(self, key: bytes, fresh: bool = False) -> tuple[Entry | None, Any]:
        """As `find`, without blocking the event loop."""
        results = self.cache.results
        entry = results.entry(key) if results.is_quick else await self.project.run_io(results.entry, key)
        if entry is None or fresh or is_expired(entry):
            return entry, MISSING
        if entry.value is not None and entry.size < _SMALL:
            return entry, self.cache.read(entry, key)
        return entry, await self.project.run_io(self.cache.read, entry, key)

    async def run(self, call: KeyedCall, wait: bool = True, fresh: bool = False) -> ComputedResult:
        """As `TaskCore.run`. A result that is being written when the call is cancelled is stored all the same."""
        import asyncio  # takes half of the time that importing beautyspot may take

        key, cache, run_io = call.key, self.cache, self.project.run_io
        summary = cache.describe(call)
        if waited := await self.locks.acquire_async(key, wait):
            cache.on_wait(summary, waited)
        writing = None
        try:
            entry, value = await self.find_async(key, fresh)
            if value is not MISSING:
                return ComputedResult(value, entry)
            with self.keyer.run(call.args, call.kwargs, is_async=True):
                started = cache.on_miss(summary)
                try:
                    value = await self.function(*call.args, **call.kwargs)
                except Exception as error:
                    await run_io(cache.on_failure, summary, error, perf_counter() - started)
                    raise
                seconds = perf_counter() - started
            writing = run_io(cache.store, summary, value, seconds, entry and entry.location)
            entry, encoded = await asyncio.shield(writing)
            if cache.codec.mmap:
                value = await run_io(cache.returned, value, entry)
            return ComputedResult(value, entry, encoded, seconds)
        finally:
            self.locks.unmark_held(key)
            if writing is None or writing.done():
                self.locks.release_async(key)
            else:  # cancelled while the result is written: the key is released after that
                writing.add_done_callback(lambda _: self.locks.release_async(key))
