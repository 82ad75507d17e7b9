"""The joblib backend that makes an existing pipeline resumable: each delayed call is cached."""

from __future__ import annotations

import copy
import functools
import hashlib
import inspect
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FunctionType
from typing import Any, cast

import joblib
from joblib._parallel_backends import FallbackToBackend

from beautyspot.errors import ConfigurationError, SerializationError, UnkeyableError
from beautyspot.fanout import run_watched
from beautyspot.project import Project
from beautyspot.tasks import ExternalCall, Task, warn_uncached

# Arguments of scikit-learn's functions that say nothing of their result.
_MACHINERY = ("callback_ctx", "caller", "candidate_progress", "split_progress", "verbose")
_HINTS = [(None, None), ("threads", None), ("processes", None), (None, "sharedmem"), ("threads", "sharedmem")]


@contextmanager
def resumable(project: Project) -> Iterator[None]:
    """Within this context, every call that joblib runs is cached by its function and its arguments.

    A pipeline that was stopped or killed resumes: ``GridSearchCV.fit``, ``cross_val_score``, or any `joblib.Parallel`,
    whatever its ``n_jobs``. It runs on the backend that was active before. Calls that cannot be cached (a fitted model
    would need pickle) run uncached, with one warning for each function; so do calls that share memory
    (``require="sharedmem"``), which change their arguments.

    Args:
        project: The project that stores the results.
    """
    with joblib.parallel_config(backend=ResumableBackend(project)):
        yield


class _Job:
    """A submitted batch of joblib.

    Attributes:
        results: The results of its calls; cached ones are there at once.
        run: The positions of the calls that run, each with its `ExternalCall`; ``None`` if it cannot be cached.
        out: The output of the inner backend for them.
        error: The exception that one of them raised in this thread.
    """

    def __init__(self, size: int) -> None:
        self.results: list[Any] = [None] * size
        self.run: dict[int, ExternalCall | None] = {}
        self.out: Any = None
        self.error: BaseException | None = None


class ResumableBackend(joblib.parallel.ParallelBackendBase):  # type: ignore[misc]
    """Looks every call up before it runs, and stores its result; another backend runs the calls.

    Args:
        project: The project that stores the results.
    """

    supports_retrieve_callback = True
    supports_sharedmem = True

    def __init__(self, project: Project) -> None:
        super().__init__()
        self._project = project
        # The backends that joblib would use without this one.
        self._others = {hints: joblib.parallel.get_active_backend(*hints)[0] for hints in _HINTS}
        self._inner: Any = self._others[None, None]
        self._sequential = False
        self._caches = True
        self._tasks: dict[tuple[FunctionType, str], Task[..., Any]] = {}
        self._uncached: set[str] = set()  # names of functions whose results cannot be serialized
        self._submitting = threading.local()

    @property
    def other(self) -> Any:
        """The backend that joblib would use without this one."""
        return self._others[None, None]

    @property
    def default_n_jobs(self) -> int:
        """That of the other backend."""
        return int(self._inner.default_n_jobs)

    def effective_n_jobs(self, n_jobs: int | None) -> int:  # pyright: ignore
        """The number of the other backend, but at least two: joblib does not use a backend for one job."""
        return max(2, int(self._inner.effective_n_jobs(n_jobs)))

    def configure(  # pyright: ignore
        self, n_jobs: int = 1, parallel: Any = None, prefer: Any = None, require: Any = None, **options: Any
    ) -> int:
        """Prepare the backend that joblib would use without this one."""
        self.parallel = parallel
        self._inner = self._others[None if prefer == "processes" and require else prefer, require]
        self._sequential = False
        self._caches = require != "sharedmem"  # otherwise a call's effect is not only its return value
        try:
            wanted = self._inner.configure(n_jobs=n_jobs, parallel=parallel, prefer=prefer, require=require, **options)
        except FallbackToBackend:
            wanted = 1
        self._sequential = wanted == 1
        return max(2, int(wanted))

    def submit(self, func: Any, callback: Callable[[Any], Any] | None = None) -> _Job:
        """Begin a batch. A cached one calls back at once, and joblib then submits the next from within the callback."""
        job = _Job(len(func.items))
        begin = functools.partial(self._begin, job, func, callback or (lambda _: None))
        here = self._submitting.__dict__
        if "waiting" in here:  # called from a callback: recursion would be as deep as there are cached calls
            here["waiting"].append(begin)
            return job
        here["waiting"] = deque([begin])
        try:
            while here["waiting"]:
                here["waiting"].popleft()()
        finally:
            del here["waiting"]
        return job

    def _begin(self, job: _Job, batch: Any, callback: Callable[[Any], Any]) -> None:
        for position, (function, args, kwargs) in enumerate(batch.items):
            call = self._call(function, args, kwargs)
            value = self if call is None else call.find(self)
            if value is self:
                job.run[position] = call
            else:
                job.results[position] = value
        if not job.run:
            callback(job)
            return
        rest = copy.copy(batch)
        rest.items = [batch.items[position] for position in job.run]
        rest._size = len(rest.items)
        if self._sequential:
            try:
                job.out = rest()
            except Exception as error:
                job.error = error
            callback(job)
            return

        def came(out: Any) -> None:
            job.out = out
            callback(job)

        self._inner.submit(self._for_loky(rest), callback=came)

    def _for_loky(self, batch: Any) -> Any:
        """The batch as `Parallel` would send it to loky's workers, which also end with this process."""
        workers: Any = getattr(self._inner, "_workers", None)
        if not hasattr(workers, "_temp_folder_manager"):
            return batch
        manager, owner = workers._temp_folder_manager, self.parallel._id
        batch._reducer_callback = lambda: manager.set_current_context(owner)  # where large arrays are
        return functools.partial(run_watched, os.getpid(), batch)

    def retrieve_result_callback(self, job: _Job) -> list[Any]:  # pyright: ignore
        """The results of a batch; those that were computed are stored now."""
        if job.error is not None:
            raise job.error
        if job.run:
            out = job.out if self._sequential else self._inner.retrieve_result_callback(job.out)
            for (position, call), value in zip(job.run.items(), out, strict=True):
                job.results[position] = value
                if call is not None:
                    self._keep(call, value)
        return job.results

    def _call(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ExternalCall | None:
        """The call as one of a task; ``None`` if its result cannot be cached."""
        if not self._caches or isinstance(function, Task):
            return None  # a task caches by itself, in its worker
        try:
            task = self._task(function)
            return None if task.function_name in self._uncached else ExternalCall(task, args, kwargs)
        except (UnkeyableError, ConfigurationError) as error:
            warn_uncached(self._project, function, error)
            return None
        except TypeError:  # arguments that do not fit: the function itself says so
            return None

    def _task(self, function: Callable[..., Any]) -> Task[..., Any]:
        """The task of a function; a function of scikit-learn carries the configuration with which it runs."""
        settings = getattr(function, "config", None)
        plain = inspect.unwrap(function)
        version = ""
        if isinstance(settings, dict):
            text = repr(sorted(settings.items()))
            version = f"config {hashlib.blake2b(text.encode(), digest_size=4).hexdigest()}"
        if not isinstance(plain, FunctionType) or plain.__closure__:
            return cast("Task[..., Any]", self._project.task(version=version or None)(function))
        if (plain, version) not in self._tasks:
            names = inspect.signature(plain).parameters if plain.__module__.startswith("sklearn.") else ()
            ignore = tuple(name for name in _MACHINERY if name in names)
            task = self._project.task(version=version or None, ignore=ignore)(plain)
            self._tasks[plain, version] = cast("Task[..., Any]", task)
        return self._tasks[plain, version]

    def _keep(self, call: ExternalCall, value: Any) -> None:
        try:
            call.store(value)
        except SerializationError as error:
            self._uncached.add(call.task.function_name)
            warn_uncached(self._project, call.task, error)

    def compute_batch_size(self) -> int:  # pyright: ignore
        """One call in a batch: a batch returns its results at its end, so a kill would lose those of a larger one."""
        return 1

    def start_call(self) -> None:
        """Tell the other backend."""
        self._inner.start_call()

    def stop_call(self) -> None:
        """Tell the other backend."""
        self._inner.stop_call()

    def terminate(self) -> None:
        """Tell the other backend."""
        if not self._sequential:
            self._inner.terminate()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Tell the other backend."""
        if not self._sequential:
            self._inner.abort_everything(ensure_ready=ensure_ready)

    def get_nested_backend(self) -> Any:
        """The backend for nested calls, which are part of the outer call and not cached."""
        if self._sequential:
            return self._others[None, None], None
        return self._inner.get_nested_backend()

    def retrieval_context(self) -> AbstractContextManager[None]:  # pyright: ignore
        """That of the other backend."""
        context: AbstractContextManager[None] = self._inner.retrieval_context()
        return context
