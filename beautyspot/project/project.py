"""Project: builds the parts and owns their lifetime."""

from __future__ import annotations

import contextvars
import os
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from beautyspot.db import open_db
from beautyspot.errors import ConfigurationError
from beautyspot.maintenance.background import retention_worker
from beautyspot.project.decorators import Batching, Decorating, serializer_of
from beautyspot.project.rate_limits import Paced
from beautyspot.protocols.index import QuickLookup, TaskDB
from beautyspot.protocols.locks import KeyLocks
from beautyspot.protocols.serializer import Serializer
from beautyspot.protocols.storage import BlobStorage
from beautyspot.results.events import Events, Observed
from beautyspot.results.signing import signer_for
from beautyspot.results.singleflight import SingleFlight
from beautyspot.results.store import Results
from beautyspot.results.task_cache import OnSaveError
from beautyspot.serialization.msgpack_serializer import MsgpackSerializer
from beautyspot.storage import open_storage
from beautyspot.tasks.pickling import ByValue

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import Executor
    from types import TracebackType
    from typing import Self

    from beautyspot.maintenance.maintenance import Maintenance
    from beautyspot.maintenance.retention import Retention

__all__ = ["Project"]

P = ParamSpec("P")
T = TypeVar("T")

BLOB_THRESHOLD = 1 << 16  # chosen by measurement: docs/benchmarks.md


class Project(Decorating, Paced, Observed, Batching):
    """A place where results are kept, and the decorator that keeps them there.

    Args:
        name: Of the project; its index is ``./name.db`` unless *db* says otherwise.
        db: A path, a URL (``postgresql://…``, ``sqlite:///…``, ``memory://``), or any `TaskDB`.
        storage_path: A directory, or a URL (``s3://bucket/prefix``, or any that fsspec knows), for large results.
        s3_opts: Of a storage in S3: ``endpoint_url``, ``region_name``, ``profile_name``, ``aws_access_key_id`` …,
            as boto3 takes them. Without them, its own chain of environment, files and roles holds.
        storage: Any `BlobStorage`, in place of *storage_path*.
        serializer: Any `Serializer`, or the name of an installed one, in place of MessagePack.
        tpm: Tokens a minute that limited calls may cost, or ``None`` for no such limit.
        rpm: Limited calls a minute, or ``None`` for no such limit.
        burst: Tokens that may be saved up while nobody calls; 0 paces strictly.
        limiter_uri: Who shares these budgets: ``"memory://"`` this process alone, ``"sqlite:///path"`` all
            processes that name the file, ``"redis://host:port/0"`` all machines that reach the server. By default
            all processes that open the same SQLite index, through a file beside it.
        io_workers: Threads for the I/O of async tasks.
        executor: An executor for that I/O, in place of *io_workers*.
        blob_threshold: Bytes above which a result goes to blob storage by itself.
        on_save_error: ``"warn"``: a result that cannot be written is returned, with one warning;
            ``"raise"``: its call raises.
        secret: Signs what is kept: a result that was not signed with it is none. At least 16 bytes that nobody
            can guess; ``None``: nothing is signed.
        retention: For how long results are kept, and how many bytes of them; ``None``: nothing is ever dropped.

    Raises:
        ConfigurationError: If an option cannot work.
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
            raise ConfigurationError("s3_opts are for a storage_path in S3; a storage that is given has its own")
        super().__init__(tpm, rpm, burst, limiter_uri)
        self.name = name
        self.on_save_error: OnSaveError = on_save_error
        self.io_workers = io_workers
        self._owns_db = db is None or isinstance(db, str | os.PathLike)
        self._owns_storage = storage is None
        place = f"./{name}.db" if db is None else db
        self.db: TaskDB = open_db(place) if isinstance(place, str | os.PathLike) else place
        self.storage = open_storage(storage_path, s3_opts) if storage is None else storage
        self.serializer: Serializer = serializer_of(serializer) or MsgpackSerializer()
        self._registered: list[tuple[type, int, Any, Any]] = []
        self._executor = executor
        self._own_executor: Executor | None = None
        self._lock = threading.Lock()
        self.events = Events(name)
        self.retention = retention
        self._retention_worker = retention_worker(retention, self.db, self._evict, self.run_io)
        self.results = self._made_results(blob_threshold, secret)
        self.single_flight = SingleFlight(
            self.db if isinstance(self.db, KeyLocks) else None,
            None if isinstance(self.db, QuickLookup) else self.run_io,
        )

    def _made_results(self, blob_threshold: int, secret: str | bytes | None) -> Results:
        retention_worker = self._retention_worker
        accesses = None if retention_worker is None else retention_worker.accesses
        return Results(
            self.db,
            self.storage,
            blob_threshold,
            signer_for(secret),
            on_read=None if accesses is None else accesses.note,
            on_write=None if retention_worker is None else retention_worker.wrote,
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
        return _reopened, (self.name, options, ByValue(self._registered))

    def __beautyspot_key__(self) -> str:
        """What stands for this project where a function captured it."""
        return self.name

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Release everything that this project opened itself, and nothing that was handed to it.

        Every result that was handed out is kept already. A later call opens the places again.
        """
        with self._lock:
            executor, self._own_executor = self._own_executor, None
        if executor is not None:
            executor.shutdown()
        if self._retention_worker is not None:
            self._retention_worker.write_accesses()
        if self._budgets is not None:
            self._budgets.close()
        if self._owns_db:
            self.db.close()
        if self._owns_storage:
            self.storage.close()

    shutdown = close

    def register_type(
        self, type_: type[T], code: int, encoder: Callable[[T], bytes], decoder: Callable[[bytes], T]
    ) -> None:
        """Say how values of a type are kept.

        Args:
            type_: The type; its subclasses are kept the same way.
            code: 0 to 127, the MessagePack extension code on disk; one type a code.
            encoder: Turns a value into bytes.
            decoder: Turns these bytes into a value again.

        Raises:
            ConfigurationError: If the code or the type is taken or out of range, or the project has a
                serializer of its own.
        """
        if not isinstance(self.serializer, MsgpackSerializer):
            raise ConfigurationError("this project was given a serializer; register types with that one")
        self.serializer.register(type_, code, encoder, decoder)
        self._registered.append((type_, code, encoder, decoder))

    def fan_out(self, task: Any, *iterables: Any, **options: Any) -> list[Any]:
        """``bs.map`` for tasks, which stand below it."""
        from beautyspot.fanout.map_sync import map

        return map(task, *iterables, **options)

    @property
    def maintenance(self) -> Maintenance:
        """What can be done with what is kept, other than calling for it: verify, prune, collect garbage, export."""
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


def _reopened(name: str, options: dict[str, Any], registered: Callable[[], Any]) -> Project:
    """The project of a pickle: the same places, opened again."""
    project = Project(name, **options)
    project._owns_db = project._owns_storage = True
    project._made_in = None  # by another process
    for row in registered():
        project.register_type(*row)
    return project
