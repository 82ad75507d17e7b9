"""Every exception and warning of beautyspot.

::

    BeautyspotError
    ├── ConfigurationError        (ValueError)  an option, a path or a URL that cannot work
    ├── UnkeyableError            (TypeError)   an argument that cannot be part of a key
    ├── SerializationError        (TypeError)   a result that cannot be serialized; it is in .value
    ├── BatchError                (ValueError)  a batch function that did not return one result for each item
    ├── DeserializationError      (ValueError)  stored bytes that cannot be turned back into a value
    │   ├── UnknownTypeError                    they need a class that is not loaded, or an unregistered type
    │   │   └── UnloadedClassError              they need a class whose module is not loaded
    │   └── ChangedClassError                   they no longer make a whole object of their class
    ├── StorageError              (OSError)     a blob that cannot be written, read or trusted
    │   ├── MissingBlobError                    it does not exist
    │   └── DamagedBlobError                    it differs from what was written, or its location is invalid
    ├── IndexUnavailableError                   the index cannot be opened, read or written
    │   └── RejectedIndexError                  it must not be used, and was left untouched
    │       ├── ForeignIndexError (ConfigurationError)  it belongs to another program
    │       └── NewerIndexError                 a newer beautyspot made it
    ├── RateLimitExceeded         (TimeoutError) a call would wait for its budget longer than max_wait
    ├── LimiterUnavailableError                 the store of a budget cannot be reached, so no call starts
    ├── EngineLost                              an engine lost a chunk: its outcome is unknown
    ├── WorkerDied                              a worker died while it ran this input
    └── RemoteError                             in place of a worker's exception that cannot be pickled
    MapError                      (ExceptionGroup)  the failures of a map with on_error="continue"

    BeautyspotWarning             (UserWarning)
    ├── NotKeptWarning            a result could not be stored and was returned all the same
    ├── UnreadableWarning         a cached result could not be used, and the call ran again
    ├── ChangedCodeWarning        the code of a task changed and its version did not
    ├── CapturedWarning           what a function captured may not identify its calls as meant
    ├── RetentionWarning          a result is larger than max_bytes allows for all results
    └── RateLimitWarning          a budget is not enforced, or not settled, as intended

Each one can be pickled: it passes its arguments to its base class and builds its text in ``__str__``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = [
    "BatchError",
    "BeautyspotError",
    "BeautyspotWarning",
    "CapturedWarning",
    "ChangedClassError",
    "ChangedCodeWarning",
    "ConfigurationError",
    "DamagedBlobError",
    "DeserializationError",
    "EngineLost",
    "ForeignIndexError",
    "IndexUnavailableError",
    "LimiterUnavailableError",
    "MapError",
    "MissingBlobError",
    "NewerIndexError",
    "NotKeptWarning",
    "RateLimitExceeded",
    "RateLimitWarning",
    "RejectedIndexError",
    "RemoteError",
    "RetentionWarning",
    "SerializationError",
    "StorageError",
    "UnkeyableError",
    "UnknownTypeError",
    "UnloadedClassError",
    "UnreadableWarning",
    "WorkerDied",
]


def _shortened(path: tuple[str, ...]) -> str:
    """A path as text; only the beginning of a long one, since a value that contains itself has a path without end."""
    return "".join(path) if len(path) <= 12 else "".join(path[:8]) + "[…]"


class BeautyspotError(Exception):
    """The base class of every error of beautyspot."""


class ConfigurationError(BeautyspotError, ValueError):
    """An option, a path or a URL that cannot work. The text says which, and what to write instead."""


class UnkeyableError(BeautyspotError, TypeError):
    """A value that cannot be part of a key without guessing.

    Args:
        reason: What is wrong with the value.
        path: The way to it, outermost part first, such as ``("argument 'config'", "['client']")``.
        cure: What to write, if the reason does not say it: ``{place}`` stands for the way to the value, ``{ignore}``
            for the option that leaves it out.
    """

    def __init__(self, reason: str, path: tuple[str, ...] = (), cure: str = "{ignore}") -> None:
        super().__init__(reason, path, cure)
        self.reason = reason
        self.path = path
        self.cure = cure

    def inside(self, part: str) -> UnkeyableError:
        """The same error for a value that contains this one as *part*."""
        return UnkeyableError(self.reason, (part, *self.path), self.cure)

    def __str__(self) -> str:
        place = _shortened(self.path)
        between = " " if self.reason.startswith("(") else ": "  # the type of the value belongs to its place
        return f"{place}{between}{self.reason}" if place else self.reason


class SerializationError(BeautyspotError, TypeError):
    """A result that cannot be serialized.

    Args:
        reason: What is wrong, and what to do.
        path: The way to it in the result, such as ``("['client']", "[3]")``.
        value: The whole result, so that it is not lost.

    Attributes:
        function: Name of the task that returned it, or ``None``.
    """

    function: str | None = None

    def __init__(self, reason: str, path: tuple[str, ...] = (), value: Any = None) -> None:
        super().__init__(reason, path, value)
        self.reason = reason
        self.path = path
        self.value = value

    def inside(self, part: str) -> SerializationError:
        """The same error for a value that contains this one as *part*."""
        return SerializationError(self.reason, (part, *self.path), self.value)

    def __str__(self) -> str:
        return f"result{_shortened(self.path)}: {self.reason}"

    def __reduce__(self) -> tuple[Any, ...]:
        # The value itself may be impossible to pickle; the error must reach another process all the same.
        return type(self), (self.reason, self.path, None)


class BatchError(BeautyspotError, ValueError):
    """A batch function did not return one result for each item. No result of that batch was stored.

    Args:
        function: Name of the function.
        items: Number of items it was given.
        returned: Description of what it returned, such as ``"3 results"`` or ``"a dict"``.
    """

    def __init__(self, function: str, items: int, returned: str) -> None:
        super().__init__(function, items, returned)
        self.function = function
        self.items = items
        self.returned = returned

    def __str__(self) -> str:
        return (
            f"{self.function} was given a list of {self.items} items and returned {self.returned}: return a list with "
            "one result for each item, in their order. No result of this batch was stored"
        )


class DeserializationError(BeautyspotError, ValueError):
    """Stored bytes that cannot be turned back into a value in this process."""


class UnknownTypeError(DeserializationError):
    """Stored bytes that need a class that is not loaded in this process, or a type that is not registered."""


class UnloadedClassError(UnknownTypeError):
    """Stored bytes that need a class whose module is not loaded, or that its module does not have.

    Args:
        module: The module of the class.
        qualname: The name of the class in it.
    """

    def __init__(self, module: str, qualname: str) -> None:
        super().__init__(module, qualname)
        self.module = module
        self.qualname = qualname

    def __str__(self) -> str:
        return (
            f"write `from {self.module} import {self.qualname.partition('.')[0]}` at the top of the program: the class "
            f"{self.module}.{self.qualname} is not loaded"
        )


class ChangedClassError(DeserializationError):
    """Stored bytes that no longer make a whole object of their class, whose fields have changed since.

    Args:
        kind: The class, as ``module.Name``.
        change: What has changed: a clause such as ``"its field 'due' is gone"``.
        cure: What makes the stored bytes usable again; empty if nothing does.
    """

    def __init__(self, kind: str, change: str, cure: str = "") -> None:
        super().__init__(kind, change, cure)
        self.kind = kind
        self.change = change
        self.cure = cure

    def __str__(self) -> str:
        changed = f"the class {self.kind} has changed since: {self.change}"
        return f"{self.cure} to use it again; {changed}" if self.cure else changed


class StorageError(BeautyspotError, OSError):
    """A blob that cannot be written, read or trusted. The text names its location."""

    def __str__(self) -> str:
        return str(self.args[0]) if len(self.args) == 1 else super().__str__()


class MissingBlobError(StorageError):
    """A blob that does not exist in its storage, although the storage can be reached."""


class DamagedBlobError(StorageError):
    """A blob that differs from what was written, or a location that its storage does not use."""


class IndexUnavailableError(BeautyspotError):
    """The index cannot be opened, read or written. The text names the index and the cause."""


class RejectedIndexError(IndexUnavailableError):
    """The index must not be used, or its server refuses the connection: no call runs until that is corrected."""


class ForeignIndexError(RejectedIndexError, ConfigurationError):
    """The file or schema that was named as the index belongs to another program and was left untouched."""


class NewerIndexError(RejectedIndexError):
    """A newer beautyspot made the index, which was left untouched."""


class RateLimitExceeded(BeautyspotError, TimeoutError):
    """A call would have to wait for its budget for longer than ``max_wait``. It was charged nothing.

    Args:
        budget: Name of the budget.
        retry_after: Seconds after which the call could start, as the budget stands now.
        max_wait: Seconds that the call may wait at most.
    """

    def __init__(self, budget: str, retry_after: float, max_wait: float) -> None:
        super().__init__(budget, retry_after, max_wait)
        self.budget = budget
        self.retry_after = retry_after
        self.max_wait = max_wait

    def __str__(self) -> str:
        return (
            f"the budget {self.budget} allows no call for {self.retry_after:.2f} s, and max_wait is "
            f"{self.max_wait:g} s: call again then, or give a longer max_wait"
        )


class LimiterUnavailableError(BeautyspotError):
    """The store of a budget cannot be reached. No call starts, since the budget could not count it.

    Args:
        place: Address of the store.
        cause: What went wrong.
    """

    def __init__(self, place: str, cause: str) -> None:
        super().__init__(place, cause)
        self.place = place
        self.cause = cause

    def __str__(self) -> str:
        return (
            f"the budget at {self.place} cannot be reached: {self.cause}. No call starts without it: call again when "
            "it is back, or set limiter_uri to another store"
        )


class EngineLost(BeautyspotError):
    """An engine lost a chunk of inputs (its worker or its pool died): their outcome is unknown."""


class WorkerDied(BeautyspotError):
    """A worker process died while it ran an input.

    Args:
        task: Name of the task.
        input: Short text of the input.
        cause: Description by the engine.
    """

    def __init__(self, task: str, input: str, cause: str) -> None:
        super().__init__(task, input, cause)
        self.task = task
        self.input = input
        self.cause = cause

    def __str__(self) -> str:
        return (
            f"the worker running {self.task}({self.input}) died: {self.cause} "
            "(out of memory, os._exit or a crash in native code are the usual causes)"
        )


class RemoteError(BeautyspotError):
    """Takes the place of a worker's exception that could not be pickled.

    Args:
        kind: The exception's type, as ``module.Name``.
        message: The exception's text.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(kind, message)
        self.kind = kind
        self.message = message

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"


class MapError(ExceptionGroup[Exception]):
    """The failures of a map with ``on_error="continue"``, and its results.

    As a group it has one exception of each type, so that a traceback of a thousand failures can be read; all of them
    are in `failures`.

    Attributes:
        inputs: ``{position: arguments}`` of the inputs that failed, each a tuple of its arguments, or a dict where they
            were given by name: ``bs.map(task, error.inputs.values(), unpack=True)`` runs them once more.
        results: ``{position: result}`` of the inputs that succeeded.
        failures: ``{position: exception}`` of the inputs that failed.
    """

    inputs: Mapping[int, tuple[Any, ...] | dict[str, Any]]
    results: Mapping[int, Any]
    failures: Mapping[int, Exception]

    def __new__(
        cls,
        message: str,
        exceptions: Sequence[Exception],
        inputs: Mapping[int, tuple[Any, ...] | dict[str, Any]] | None = None,
        results: Mapping[int, Any] | None = None,
    ) -> MapError:
        """Group *exceptions*, which are in the order of *inputs*."""
        first: dict[type, Exception] = {}
        for error in exceptions:
            first.setdefault(type(error), error)
        self = super().__new__(cls, message, list(first.values()) if inputs else exceptions)
        self.inputs = dict(inputs or {})
        self.results = dict(results or {})
        self.failures = dict(zip(self.inputs, exceptions, strict=False))
        return self

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)

    def derive(self, excs: Sequence[Exception], /) -> MapError:  # type: ignore[override]
        """A group of some of the exceptions, as ``split`` and ``except*`` need it."""
        if not {*map(id, excs)} <= {*map(id, self.failures.values())}:  # parts of groups that calls raised
            return MapError(self.message, excs, None, self.results)
        types = {type(error) for error in excs}
        at = {i: args for i, args in self.inputs.items() if type(self.failures[i]) in types}
        return MapError(self.message, [self.failures[i] for i in at], at, self.results)

    def __reduce__(self) -> tuple[Any, ...]:
        return MapError, (self.message, tuple(self.failures.values()) or self.exceptions, self.inputs, self.results)

    def __str__(self) -> str:
        return self.message  # a group would add the number of exceptions that it shows


class BeautyspotWarning(UserWarning):
    """The base class of every warning of beautyspot."""


class NotKeptWarning(BeautyspotWarning):
    """A result could not be stored. It was returned all the same."""


class UnreadableWarning(BeautyspotWarning):
    """A cached result could not be used. The call runs again."""


class CapturedWarning(BeautyspotWarning):
    """What a function captured may not identify its calls as meant. The text names the variable and what to write."""


class ChangedCodeWarning(BeautyspotWarning):
    """A task's code changed since a result was stored, and its version did not."""


class RateLimitWarning(BeautyspotWarning):
    """A budget is not shared, or not settled, as intended."""


class RetentionWarning(BeautyspotWarning):
    """A result is larger than ``max_bytes`` allows for all results. It is stored all the same."""
