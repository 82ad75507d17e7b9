"""Every exception and warning that beautyspot raises of its own.

::

    BeautyspotError
    ├── ConfigurationError        (ValueError)  an option, a path or a URL that cannot work
    ├── UnkeyableError            (TypeError)   an argument that cannot be part of a key
    ├── SerializationError        (TypeError)   a result that cannot be kept; carries it as .value
    ├── BatchError                (ValueError)  a batch function that did not return one result for each item
    ├── DeserializationError      (ValueError)  kept bytes that cannot be turned back into a value
    │   └── UnknownTypeError                    they need a class that is not loaded, or a type nobody registered
    ├── StorageError              (OSError)     a blob that cannot be written, read or trusted
    │   ├── MissingBlobError                    it is gone
    │   └── DamagedBlobError                    it is not what was written, or no blob of its storage
    ├── IndexUnavailableError                   the index cannot be opened, read or written
    │   └── RejectedIndexError                  it is not ours to use, and was left untouched
    │       ├── ForeignIndexError (ConfigurationError)  it belongs to another program
    │       └── NewerIndexError                 a newer beautyspot made it
    ├── RateLimitExceeded         (TimeoutError) a call would wait for its budget longer than it may
    ├── LimiterUnavailableError                 the store of a budget cannot be reached: nothing runs without
    ├── EngineLost                              an engine lost a chunk: its outcome is unknown
    ├── WorkerDied                              a worker died while it ran this input
    └── RemoteError                             stands for a worker's exception that cannot travel
    MapError                      (ExceptionGroup)  what failed in a map with on_error="continue"

    BeautyspotWarning             (UserWarning)
    ├── NotKeptWarning            a result could not be kept and was returned all the same
    ├── UnreadableWarning         something kept could not be used, and the call ran again
    ├── ChangedCodeWarning        the code of a task changed and its version did not
    ├── RetentionWarning          a result is larger than max_bytes allows for all of them
    └── RateLimitWarning             a budget is not kept to, or not settled, as it was meant to be

Each one can be pickled: its arguments are those of its constructor, its text is built in ``__str__``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = [
    "BatchError",
    "BeautyspotError",
    "BeautyspotWarning",
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
    "UnreadableWarning",
    "WorkerDied",
]


def _shortened(path: tuple[str, ...]) -> str:
    """A path as text; of one without end (a value that holds itself) only its beginning."""
    return "".join(path) if len(path) <= 12 else "".join(path[:8]) + "[…]"


class BeautyspotError(Exception):
    """The base of every error of beautyspot."""


class ConfigurationError(BeautyspotError, ValueError):
    """An option, a path or a URL that cannot work; the text says which and what to write."""


class UnkeyableError(BeautyspotError, TypeError):
    """A value that cannot be part of a key without guessing.

    Args:
        reason: What is wrong with the value.
        path: Where it sits, outermost part first, such as ``("argument 'config'", "['client']")``.
    """

    def __init__(self, reason: str, path: tuple[str, ...] = ()) -> None:
        super().__init__(reason, path)
        self.reason = reason
        self.path = path

    def inside(self, part: str) -> UnkeyableError:
        """The same error, seen from the value that holds this one as *part*."""
        return UnkeyableError(self.reason, (part, *self.path))

    def __str__(self) -> str:
        place = _shortened(self.path)
        return f"{place}: {self.reason}" if place else self.reason


class SerializationError(BeautyspotError, TypeError):
    """A result that cannot be kept.

    Args:
        reason: What is wrong, and what to do.
        path: Where in the value it sits, such as ``("['client']", "[3]")``.
        value: The whole result, so that a computation is never lost to its keeping.

    Attributes:
        function: The name of the task that returned it, where one did.
    """

    function: str | None = None

    def __init__(self, reason: str, path: tuple[str, ...] = (), value: Any = None) -> None:
        super().__init__(reason, path, value)
        self.reason = reason
        self.path = path
        self.value = value

    def inside(self, part: str) -> SerializationError:
        """The same error, seen from the value that holds this one as *part*."""
        return SerializationError(self.reason, (part, *self.path), self.value)

    def __str__(self) -> str:
        return f"result{_shortened(self.path)}: {self.reason}"

    def __reduce__(self) -> tuple[Any, ...]:
        # The value may be what cannot be pickled; the error must travel all the same.
        return type(self), (self.reason, self.path, None)


class BatchError(BeautyspotError, ValueError):
    """A batch function did not return one result for each item. Nothing of that batch was kept.

    Args:
        function: Its name.
        items: How many it was given.
        returned: What it returned, such as ``"3 results"`` or ``"a dict"``.
    """

    def __init__(self, function: str, items: int, returned: str) -> None:
        super().__init__(function, items, returned)
        self.function = function
        self.items = items
        self.returned = returned

    def __str__(self) -> str:
        return (
            f"{self.function} was given a list of {self.items} items and returned {self.returned}: return a list with "
            "one result for each item, in their order. Nothing of this batch was kept"
        )


class DeserializationError(BeautyspotError, ValueError):
    """Kept bytes that cannot be turned back into a value here."""


class UnknownTypeError(DeserializationError):
    """Kept bytes that may be whole, and need a class that is not loaded here or a type that nobody registered."""


class StorageError(BeautyspotError, OSError):
    """A blob that cannot be written, read or trusted; the text names the location."""

    def __str__(self) -> str:
        return str(self.args[0]) if len(self.args) == 1 else super().__str__()


class MissingBlobError(StorageError):
    """A blob that is gone from its storage, while that answers."""


class DamagedBlobError(StorageError):
    """A blob that is not what was written, or a location that is none of its storage."""


class IndexUnavailableError(BeautyspotError):
    """The index cannot be opened, read or written; the text gives the cause and the place."""


class RejectedIndexError(IndexUnavailableError):
    """The index is not ours to use, or its server refuses us: no call runs until that is set right."""


class ForeignIndexError(RejectedIndexError, ConfigurationError):
    """What is at the index's place belongs to another program and was left untouched."""


class NewerIndexError(RejectedIndexError):
    """The index was made by a newer beautyspot and was left untouched."""


class RateLimitExceeded(BeautyspotError, TimeoutError):
    """A call would have to wait for its budget for longer than ``max_wait``. Nothing was charged.

    Args:
        budget: Which budget.
        retry_after: Seconds after which the call could begin, by what is owed now.
        max_wait: Seconds that it was ready to wait.
    """

    def __init__(self, budget: str, retry_after: float, max_wait: float) -> None:
        super().__init__(budget, retry_after, max_wait)
        self.budget = budget
        self.retry_after = retry_after
        self.max_wait = max_wait

    def __str__(self) -> str:
        return (
            f"the budget {self.budget} is spent, or held back, for {self.retry_after:.2f} s, and max_wait is "
            f"{self.max_wait:g} s: try again then, or wait for longer"
        )


class LimiterUnavailableError(BeautyspotError):
    """The store of a budget cannot be reached. No call begins: it would not count.

    Args:
        place: Of the store.
        cause: What went wrong.
    """

    def __init__(self, place: str, cause: str) -> None:
        super().__init__(place, cause)
        self.place = place
        self.cause = cause

    def __str__(self) -> str:
        return (
            f"the budget at {self.place} cannot be reached: {self.cause}. No call begins without it; call again when "
            "it is back, or set limiter_uri to another place"
        )


class EngineLost(BeautyspotError):
    """An engine lost a chunk of inputs (its worker or its pool died): their outcome is unknown."""


class WorkerDied(BeautyspotError):
    """A worker process died while it ran an input.

    Args:
        task: The task's name.
        input: A short text of the input.
        cause: What the engine said.
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
    """Stands for an exception of a worker that could not be pickled.

    Args:
        kind: The exception's type, as ``module.Name``.
        message: Its text.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(kind, message)
        self.kind = kind
        self.message = message

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"


class MapError(ExceptionGroup[Exception]):
    """What failed in a map with ``on_error="continue"``, with what did not.

    Attributes:
        inputs: ``{position: arguments}`` of the inputs that failed, arguments as a tuple.
        results: ``{position: result}`` of those that did not.
        failures: ``{position: exception}``.
    """

    inputs: Mapping[int, tuple[Any, ...]]
    results: Mapping[int, Any]
    failures: Mapping[int, Exception]

    def __new__(
        cls,
        message: str,
        exceptions: Sequence[Exception],
        inputs: Mapping[int, tuple[Any, ...]] | None = None,
        results: Mapping[int, Any] | None = None,
    ) -> MapError:
        """Group *exceptions*, which stand in the order of *inputs*."""
        self = super().__new__(cls, message, exceptions)
        self.inputs = dict(inputs or {})
        self.results = dict(results or {})
        self.failures = dict(zip(self.inputs, exceptions, strict=False))
        return self

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)

    def derive(self, excs: Sequence[Exception], /) -> MapError:  # type: ignore[override]
        """A part of this group, as ``split`` and ``except*`` ask for."""
        at = {i: args for i, args in self.inputs.items() if self.failures[i] in excs}
        return MapError(self.message, [self.failures[i] for i in at] or excs, at, self.results)

    def __reduce__(self) -> tuple[Any, ...]:
        return MapError, (self.message, self.exceptions, self.inputs, self.results)


class BeautyspotWarning(UserWarning):
    """The base of every warning of beautyspot."""


class NotKeptWarning(BeautyspotWarning):
    """A result could not be kept; it was returned all the same."""


class UnreadableWarning(BeautyspotWarning):
    """Something kept could not be used; the call runs again."""


class ChangedCodeWarning(BeautyspotWarning):
    """A task's code changed since a result was kept, and its version did not."""


class RateLimitWarning(BeautyspotWarning):
    """A budget is not shared, or not settled, as it was meant to be."""


class RetentionWarning(BeautyspotWarning):
    """A result is larger than ``max_bytes`` allows for all of them; it is kept all the same."""
