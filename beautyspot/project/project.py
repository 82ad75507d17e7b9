"""Project: builds the parts and owns their lifetime."""

from __future__ import annotations

import contextvars
import os
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, Unpack, overload

from beautyspot.db import open_db
from beautyspot.errors import ConfigurationError
from beautyspot.maintenance.background import retention_worker
from beautyspot.project.decorators import Decorators, serializer_of
from beautyspot.project.rate_limits import RateLimits
from beautyspot.protocols.index import QuickLookup, TaskDB
from beautyspot.protocols.locks import KeyLocks
from beautyspot.protocols.serializer import Serializer
from beautyspot.protocols.storage import BlobStorage
from beautyspot.results.events import Events, Kind, Listener
from beautyspot.results.signing import signer_for
from beautyspot.results.singleflight import SingleFlight
from beautyspot.results.store import Results
from beautyspot.results.task_cache import OnSaveError
from beautyspot.serialization.msgpack_serializer import MsgpackSerializer
from beautyspot.storage import open_storage
from beautyspot.tasks.batch import AsyncBatchTask, BatchTask
from beautyspot.tasks.bound import BoundAsyncTask, BoundTask
from beautyspot.tasks.options import TaskOptions
from beautyspot.tasks.pickling import ByValue
from beautyspot.tasks.task import AsyncTask, Task

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import Executor
    from types import TracebackType
    from typing import Self

    from beautyspot.limiter.budgets import Budgets
    from beautyspot.limiter.permit import Permit
    from beautyspot.maintenance.maintenance import Maintenance
    from beautyspot.maintenance.retention import Retention
    from beautyspot.project.decorators import AsyncBatchMethod, BatchDecorator, BatchMethod, TaskDecorator
    from beautyspot.tasks.async_stream import AsyncStreamTask
    from beautyspot.tasks.stream import StreamTask

__all__ = ["Project"]

A = TypeVar("A")
F = TypeVar("F", bound=Callable[..., Any])
P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
S = TypeVar("S")
T = TypeVar("T")

# As `register_type` takes it.
RegisteredType = tuple[type, int | None, Callable[[Any], bytes] | None, Callable[[bytes], Any] | None]

BLOB_THRESHOLD = 1 << 16  # chosen by measurement: docs/benchmarks.md


class Project:
    """A cache of results, and the decorators that use it.

    Args:
        name: The name of the project; its index is ``./name.db`` unless *db* names another.
        db: The index: a path, a URL (``postgresql://…``, ``sqlite:///…``, ``memory://``), or any `TaskDB`.
        storage_path: The place of large results: a directory, or a URL (``s3://bucket/prefix``, or any that fsspec
            knows).
        s3_opts: Options of a storage in S3, as boto3 takes them: ``endpoint_url``, ``region_name``, ``profile_name``,
            ``aws_access_key_id`` …. By default boto3 looks for them in the environment, files and roles.
        storage: Any `BlobStorage`, in place of *storage_path*.
        serializer: Any `Serializer`, or the name of an installed one, in place of MessagePack.
        tpm: Tokens a minute that limited calls may cost, or ``None`` for no such limit.
        rpm: Limited calls a minute, or ``None`` for no such limit.
        burst: Tokens that an idle budget may save; 0 paces strictly.
        limiter_uri: The store of these budgets: ``"memory://"`` for this process alone, ``"sqlite:///path"`` for all
            processes that name the file, ``"redis://host:port/0"`` for all machines that reach the server. By default
            a file beside an SQLite index, for all processes that open it.
        io_workers: Threads for the I/O of async tasks.
        executor: An executor for that I/O, in place of *io_workers*.
        blob_threshold: Bytes above which a result goes to blob storage.
        on_save_error: ``"warn"``: a result that cannot be written is returned, with one warning;
            ``"raise"``: its call raises.
        secret: The secret that signs results, of at least 16 bytes that cannot be guessed: a result that is not
            signed with it does not count. ``None``: results are not signed.
        retention: How long results are kept, and how many bytes of them; ``None``: nothing is ever deleted.

    Raises:
        ConfigurationError: If an option is invalid.
    """

    def __init__(
        self,
        name: str,
        *,
        db: str | os.PathLike[str] | TaskDB | None = None,
        storage_path: str | os.PathLike[str] = "./blobs",
        s3_opts: Mapping[str, Any] | None = None,
        storage: BlobStorage | None = None,
        serializer: Serializer | str | None = None,
        tpm: int | None = 10_000,
        rpm: int | None = None,
        burst: float = 0,
        limiter_uri: str | None = None,
        io_workers: int = 4,
        executor: Executor | None = None,
        blob_threshold: int = BLOB_THRESHOLD,
        on_save_error: OnSaveError = "warn",
        secret: str | bytes | None = None,
        retention: Retention | None = None,
    ) -> None:
        if not isinstance(name, str) or not name:
            raise ConfigurationError(f"a project's name is a text that is not empty, not {name!r}")
        if on_save_error not in ("warn", "raise"):
            raise ConfigurationError(f'on_save_error is "warn" or "raise", not {on_save_error!r}')
        if io_workers < 1 or blob_threshold < 0:
            raise ConfigurationError("io_workers must be at least 1 and blob_threshold at least 0")
        if storage is not None and s3_opts is not None:
            raise ConfigurationError("s3_opts are for a storage_path in S3; a storage object has its own options")
        self.name = name
        self.on_save_error: OnSaveError = on_save_error
        self.io_workers = io_workers
        self.retention = retention

        self._owns_db = db is None or isinstance(db, str | os.PathLike)
        self._owns_storage = storage is None
        place = f"./{name}.db" if db is None else db
        self.db: TaskDB = open_db(place) if isinstance(place, str | os.PathLike) else place
        self.storage: BlobStorage = open_storage(storage_path, s3_opts) if storage is None else storage
        self.serializer: Serializer = serializer_of(serializer) or MsgpackSerializer()
        self._registered: list[RegisteredType] = []

        self._executor = executor
        self._own_executor: Executor | None = None
        self._lock = threading.Lock()

        self.events = Events(name)
        self._retention_worker = retention_worker(retention, self.db, self._evict, self.run_io)
        self.results = self._open_results(blob_threshold, secret)
        self.single_flight = SingleFlight(
            self.db if isinstance(self.db, KeyLocks) else None,
            None if isinstance(self.db, QuickLookup) else self.run_io,
        )
        self._decorators = Decorators(self.storage, self.serializer, retention)
        self._rate_limits = RateLimits(name, self.db, self.events, tpm, rpm, burst, limiter_uri)

    def _open_results(self, blob_threshold: int, secret: str | bytes | None) -> Results:
        worker = self._retention_worker
        accesses = None if worker is None else worker.accesses
        return Results(
            self.db,
            self.storage,
            blob_threshold,
            signer_for(secret),
            on_read=None if accesses is None else accesses.note,
            on_write=None if worker is None else worker.wrote,
        )

    def __repr__(self) -> str:
        return f"Project({self.name!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        own = isinstance(self.serializer, MsgpackSerializer)
        options = {
            "db": self.db,
            "storage": self.storage,
            "serializer": None if own else self.serializer,
            "tpm": self.tpm,
            "rpm": self.rpm,
            "burst": self.burst,
            "limiter_uri": self.limiter_uri,
            "io_workers": self.io_workers,
            "blob_threshold": self.results.blob_threshold,
            "on_save_error": self.on_save_error,
            "secret": None if self.results.signer is None else self.results.signer.secret,
            "retention": self.retention,
        }
        return _unpickle, (self.name, options, ByValue(self._registered))

    def __beautyspot_key__(self) -> str:
        """What identifies this project in the key of a function that captured it."""
        return self.name

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Release everything that this project opened itself, and nothing that was passed to it.

        Every result that was returned is stored already. A later call opens index and storage again.
        """
        with self._lock:
            executor, self._own_executor = self._own_executor, None
        if executor is not None:
            executor.shutdown()
        if self._retention_worker is not None:
            self._retention_worker.write_accesses()
        self._rate_limits.close()
        if self._owns_db:
            self.db.close()
        if self._owns_storage:
            self.storage.close()

    shutdown = close

    @overload
    def task(self, function: Callable[P, Coroutine[Any, Any, T]], /) -> AsyncTask[P, T]: ...  # type: ignore[overload-overlap]
    @overload
    def task(self, function: Callable[P, AsyncIterator[T]], /) -> AsyncStreamTask[P, T]: ...  # type: ignore[overload-overlap]
    @overload
    def task(self, function: Callable[P, Iterator[T]], /) -> StreamTask[P, T]: ...
    @overload
    def task(self, function: Callable[P, T], /) -> Task[P, T]: ...
    @overload
    def task(self, /, **options: Unpack[TaskOptions]) -> TaskDecorator: ...
    def task(self, function: Any = None, /, **options: Any) -> Any:
        """Cache the results of a function; with or without options, as a decorator or called on a function.

        Args:
            function: The function; sync or async, a method, a lambda, a partial.
            name: What identifies the function in its index, in place of its module and name: renaming or moving the
                function then changes nothing. Unique in an index.
            save_blob: Whether results go to blob storage: always, never, or (``None``) by size.
            version: A part of the key, ``"1"`` by default; given, it alone says when results are stale. ``"auto"``
                follows the function's own code, and that of *deps*.
            key: A callable of the call's arguments that returns what identifies them, or a `KeyGen` policy.
            ignore: Names of arguments, captured variables (``"client"``, ``"client.calls"``) or constants that do not
                identify the call.
            content_type: The type by which viewers show the result: a `ContentType` or any MIME type.
            ttl: The time for which a result is valid: ``"90s"``, ``"12h"``, ``"30d"``, seconds or a timedelta.
            serializer: The serializer of this task alone: an object, or the name of an installed one.
            mmap: Whether arrays in blobs are mapped into memory, read-only, instead of read.
            deps: Functions, classes, modules and tasks whose code ``version="auto"`` follows too.

        Raises:
            ConfigurationError: If an option is invalid.
            UnkeyableError: If the function captured something that cannot be part of a key.
        """
        checked = self._decorators.checked("task", options)

        def decorate(function: Any) -> Any:
            return self._decorators.task(self, function, checked)

        return decorate if function is None else decorate(function)

    @overload
    def batch_task(  # type: ignore[overload-overlap]
        self, function: Callable[Concatenate[list[A], Q], Coroutine[Any, Any, Sequence[R]]], /
    ) -> AsyncBatchTask[A, Q, R]: ...
    @overload
    def batch_task(
        self, function: Callable[Concatenate[S, list[A], Q], Coroutine[Any, Any, Sequence[R]]], /
    ) -> AsyncBatchMethod[S, A, Q, R]: ...
    @overload
    def batch_task(self, function: Callable[Concatenate[list[A], Q], Sequence[R]], /) -> BatchTask[A, Q, R]: ...  # type: ignore[overload-overlap]
    @overload
    def batch_task(self, function: Callable[Concatenate[S, list[A], Q], Sequence[R]], /) -> BatchMethod[S, A, Q, R]: ...
    @overload
    def batch_task(
        self, /, *, size: int = 64, batch: str | None = None, **options: Unpack[TaskOptions]
    ) -> BatchDecorator: ...
    def batch_task(self, function: Any = None, /, *, size: int = 64, batch: str | None = None, **options: Any) -> Any:
        """Cache the results of a function that takes a list and returns a list of the same length, item by item.

        It is called with the items that are not in the cache, at most *size* at a time, and each result is stored under
        the key of its item. With or without options, as a decorator or called on a function.

        Args:
            function: The function; sync or async, or a method.
            size: The maximal number of items in a call of the function.
            batch: The parameter that takes the list; by default the first one that is annotated as a list, or the
                first (after ``self``).
            options: Options of `Project.task`. ``key`` gets one item in place of the list; ``ignore`` cannot name
                the list.

        Raises:
            ConfigurationError: If an option is invalid.
            UnkeyableError: If the function captured something that cannot be part of a key.
        """
        checked = self._decorators.checked("batch_task", options)

        def decorate(function: Any) -> Any:
            return self._decorators.batch_task(self, function, checked, size, batch)

        return decorate if function is None else decorate(function)

    @overload
    def limiter(self, function: F, /) -> F: ...
    @overload
    def limiter(
        self,
        limit: str | None = None,
        /,
        *,
        cost: float | Callable[..., float] = 1,
        key: str | int | Callable[..., str | int | None] | None = None,
        settle: Callable[[Any], float] | None = None,
        max_wait: float | None = None,
        tpm: int | None = None,
        rpm: int | None = None,
        burst: float | None = None,
    ) -> Callable[[F], F]: ...
    def limiter(
        self,
        limit: Any = None,
        /,
        *,
        cost: Any = 1,
        key: Any = None,
        settle: Callable[[Any], float] | None = None,
        max_wait: float | None = None,
        tpm: int | None = None,
        rpm: int | None = None,
        burst: float | None = None,
    ) -> Any:
        """Limit the rate of a function's calls; below ``@project.task``, so that hits use no quota.

        Calls begin in the order in which they were made. A call begins when its budget owes nothing, and adds its cost
        to the debt, for which the next call waits. Threads block, coroutine functions await.

        Args:
            limit: A separate limit in the notation of `limits`: ``"100/minute"``; of several, all hold. Without
                one, the project's ``tpm`` and ``rpm`` hold.
            cost: Tokens that a call costs, or a callable of the call's arguments that returns them; it gets the
                arguments that it names, or the first if its parameters have no names (``len``).
            key: The name of the budget, or a callable of the call's arguments that returns it; calls with the same
                key share one budget in the whole project. Without a key, the budget is the project's, or the
                function's own if the function has its own limit.
            settle: A callable of the result, or of the list of what a generator yielded, that returns the tokens
                actually used; the difference is charged or given back.
            max_wait: Seconds that a call waits at most; 0: it begins at once or not at all.
            tpm: Tokens a minute in place of the project's.
            rpm: Calls a minute in place of the project's.
            burst: Tokens that an idle budget may save, in place of the project's; with *limit*, 0 by default.

        Returns:
            A decorator; or the limited function, if a function was given in place of *limit*.

        Raises:
            ConfigurationError: If an option is invalid, or another limit holds for that key.
        """
        return self._rate_limits.limiter(
            self, limit, cost=cost, key=key, settle=settle, max_wait=max_wait, tpm=tpm, rpm=rpm, burst=burst
        )

    def limit(self, cost: float = 1, key: str | int | None = None, max_wait: float | None = None) -> Permit:
        """Limit a ``with`` or ``async with`` block, for calls that no decorator can wrap.

        Args:
            cost: The estimate in tokens; ``permit.settle(actual)`` corrects it.
            key: The name of the budget; without one, the project's.
            max_wait: Seconds that the block waits at most; 0: it begins at once or not at all.

        Raises:
            ConfigurationError: If there is no limit for that key.
            RateLimitExceeded: On entering, if the wait would exceed *max_wait*.
            LimiterUnavailableError: On entering, if the store of the budget cannot be reached.
            ValueError, TypeError: On entering, if the cost is invalid.
        """
        return self._rate_limits.limit(cost, key, max_wait)

    def defer(self, seconds: float, key: str | int | None = None) -> None:
        """Let no limited call begin before *seconds* have passed, in any process: for a 429 or a ``Retry-After``.

        An exception that carries such a header does this by itself.

        Args:
            seconds: Seconds from now.
            key: The key of the budget; without one, all budgets without a key.

        Raises:
            ValueError, TypeError: If *seconds* is not a finite number of at least 0.
            LimiterUnavailableError: If the store of the budget cannot be reached.
        """
        self._rate_limits.defer(seconds, key)

    @property
    def tpm(self) -> int | None:
        """Tokens a minute that limited calls may cost, or ``None``."""
        return self._rate_limits.tpm

    @property
    def rpm(self) -> int | None:
        """Limited calls a minute, or ``None``."""
        return self._rate_limits.rpm

    @property
    def burst(self) -> float:
        """Tokens that an idle budget may save."""
        return self._rate_limits.burst

    @property
    def limiter_uri(self) -> str | None:
        """The store of the budgets as given, with an absolute path."""
        return self._rate_limits.limiter_uri

    @property
    def budgets(self) -> Budgets:
        """The budgets of this project."""
        return self._rate_limits.budgets

    @property
    def budgets_are_local(self) -> bool:
        """Whether the budgets lie in a file, which other machines do not share."""
        return self._rate_limits.budgets_are_local

    def on(self, kind: Kind, listener: Listener) -> Callable[[], None]:
        """Call *listener* with an `Event` whenever a call of a task of this project is a hit, a miss, and so on.

        The listener runs in the thread of the call, which waits for it. Its exceptions are logged and affect nothing;
        calls that it makes itself send no events. A pickled project does not carry its listeners.

        Args:
            kind: ``"hit"``, ``"miss"``, ``"run"``, ``"keep"``, ``"error"`` or ``"wait"``: see `Event`.
            listener: A plain function of the event.

        Returns:
            A function that removes the listener.

        Raises:
            ConfigurationError: If there is no such kind, or the listener is not a plain function.
        """
        return self.events.on(kind, listener)

    @overload
    def register_type(self, type_: type[T]) -> type[T]: ...
    @overload
    def register_type(
        self, type_: type[T], code: int, encoder: Callable[[T], bytes], decoder: Callable[[bytes], T]
    ) -> type[T]: ...
    def register_type(
        self,
        type_: type[T],
        code: int | None = None,
        encoder: Callable[[T], bytes] | None = None,
        decoder: Callable[[bytes], T] | None = None,
    ) -> type[T]:
        """Register how values of a type are serialized. Of a class alone, this is also a decorator.

        Args:
            type_: The type; its subclasses are serialized the same way.
            code: The MessagePack extension code on disk, 0 to 127; each code has one type. Without code, encoder and
                decoder, a value is stored under the name of its class, by what is in its ``__dict__`` and its slots,
                and made again without ``__init__``.
            encoder: A function that turns a value into bytes.
            decoder: A function that turns these bytes into a value again.

        Returns:
            The type.

        Raises:
            ConfigurationError: If the code or the type is taken or out of range, only some of code, encoder and decoder
                are given, none is given and the state of the type's values is not in their attributes, or the project
                has a serializer of its own.
        """
        if not isinstance(self.serializer, MsgpackSerializer):
            raise ConfigurationError("this project was given a serializer; register types with that one")
        self.serializer.register(type_, code, encoder, decoder)
        self._registered.append((type_, code, encoder, decoder))
        return type_

    def fan_out(
        self,
        task: Task[..., T] | BoundTask[..., T] | BatchTask[Any, ..., T],
        iterables: Sequence[Iterable[Any]],
        options: Mapping[str, Any],
    ) -> list[T]:
        """``bs.map``, for `Task.map`: tasks cannot import it, since it stands above them."""
        from beautyspot.fanout.map_sync import map

        return map(task, *iterables, **options)

    def fan_out_async(
        self,
        task: AsyncTask[..., T] | BoundAsyncTask[..., T] | AsyncBatchTask[Any, ..., T],
        iterables: Sequence[Iterable[Any]],
        options: Mapping[str, Any],
    ) -> Coroutine[Any, Any, list[T]]:
        """``bs.amap``, for `AsyncTask.map`."""
        from beautyspot.fanout.map_async import amap

        return amap(task, *iterables, **options)

    @property
    def maintenance(self) -> Maintenance:
        """The operations on all cached results: verify, prune, collect garbage, export and so on."""
        from beautyspot.maintenance.maintenance import Maintenance

        secret = None if self.results.signer is None else self.results.signer.secret
        return Maintenance(
            self.db, self.storage, self.serializer, secret, self.single_flight, self.retention, self._retention_worker
        )

    def _evict(self) -> None:
        self.maintenance.evict(wait=False)

    def run_io(self, function: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """Run blocking I/O of an async task in a thread of this project, in the context of the call."""
        import asyncio

        call: Any = contextvars.copy_context().run
        return asyncio.get_running_loop().run_in_executor(self._io_executor(), call, function, *args)

    def _io_executor(self) -> Executor:
        if self._executor is not None:
            return self._executor
        with self._lock:
            if self._own_executor is None:
                from concurrent.futures import ThreadPoolExecutor

                self._own_executor = ThreadPoolExecutor(self.io_workers, f"beautyspot-{self.name}")
            return self._own_executor


def _unpickle(name: str, options: dict[str, Any], registered: Callable[[], list[RegisteredType]]) -> Project:
    """Unpickle a project: with the same index and storage, opened again."""
    project = Project(name, **options)
    project._owns_db = project._owns_storage = True
    project._rate_limits.mark_copied()
    for row in registered():
        project.serializer.register(*row)  # type: ignore[attr-defined]
        project._registered.append(row)
    return project
