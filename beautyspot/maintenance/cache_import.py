"""Import of what ``diskcache.memoize`` or ``joblib.Memory`` cached of a function, as results of a task.

The arguments of each call are bound and keyed like a call of the task, and its value is put. Results that the index
already has stay as they are, so that the same import continues where it left off.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beautyspot._internal.pages import pages
from beautyspot.errors import ConfigurationError, SerializationError
from beautyspot.maintenance.other_caches import CachedCall, OtherCache, Reading, Skipped, other_cache
from beautyspot.tasks import AsyncTask, Task

if TYPE_CHECKING:
    import os

__all__ = ["PICKLES", "ImportReport", "import_cache"]

AnyTask = Task[..., Any] | AsyncTask[..., Any]

_PAGE = 200  # calls that are looked up together
_REASONS = 20  # reasons that are counted apart

PICKLES = (
    "its entries are pickles, and reading a pickle runs any code that is in it. Allow that only for a directory that "
    "nobody else could write to"
)


@dataclass(slots=True)
class ImportReport:
    """The outcome of an import.

    Attributes:
        name: The name of the function whose entries were imported.
        taken: The number of entries that became results.
        already: The number of calls that had a result, which stays as it is.
        expired: The number of entries that were left out because they have expired.
        left_out: The reasons why other entries were left out, with the number for each.
        others: The number of entries of each other function.
        changed: Whether the function's code differs from that whose results joblib cached.
    """

    name: str
    taken: int = 0
    already: int = 0
    expired: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    others: Mapping[str, int] = field(default_factory=dict)
    changed: bool = False

    def leave_out(self, reason: str) -> None:
        """Count an entry that is left out."""
        has_room = reason in self.left_out or len(self.left_out) < _REASONS
        self.left_out[reason if has_room else "for other reasons"] += 1

    def __str__(self) -> str:
        parts = [(self.taken, "imported"), (self.already, "there already"), (self.expired, "expired")]
        texts = [f"{count:,} {what}" for count, what in parts if count or what == "imported"]
        if self.left_out:
            texts.append(f"{self.left_out.total():,} left out, which run again")
        text = ", ".join(texts)
        if self.changed:
            text += (
                f"; the code of {self.name} has changed since joblib cached these: if that matters, clear them and "
                "run again"
            )
        return text


def import_cache(
    source: str | os.PathLike[str],
    task: AnyTask,
    *,
    allow_pickle: bool = False,
    name: str | None = None,
    progress: Callable[[int], object] | None = None,
) -> ImportReport:
    """Import what a cache of diskcache or joblib has of a task's function, as results of the task.

    Args:
        source: The directory of a ``diskcache.Cache`` or ``FanoutCache``, or of a ``joblib.Memory``. It is only read.
        task: The task that gets the results, under the arguments with which they were cached.
        allow_pickle: Whether the pickles in it may be read, which runs any code that is in them.
        name: The name of the function in the cache; by default its ``module.qualname``. In diskcache, a function of a
            script is ``__main__.embed``.
        progress: Called with the number of entries that were read since its last call.

    Returns:
        The numbers of entries that were imported and left out.

    Raises:
        ConfigurationError: If pickles were not allowed (nothing was read then), or *source* is no such directory.
        StorageError, IndexUnavailableError: If a result cannot be written. The same call again continues.
    """
    if not allow_pickle:
        raise ConfigurationError(f"{source} was not read: {PICKLES}, with allow_pickle=True")
    function = inspect.unwrap(task.__wrapped__)
    report = ImportReport(name or f"{function.__module__}.{function.__qualname__}")
    cache = other_cache(Path(source))
    report.changed = _is_changed(cache, report.name, function)
    bind = _Binding(task)
    for page in pages(cache.entries(cache, report.name), _PAGE, progress):
        _take(task, bind, page, report)
    report.others = {other: count for other, count in cache.seen.most_common() if count and other != report.name}
    return report


def _take(task: AnyTask, bind: _Binding, page: list[CachedCall], report: ImportReport) -> None:
    calls: dict[bytes, tuple[Reading, CachedCall]] = {}
    for entry in page:
        if entry.expired:
            report.expired += 1
            continue
        try:
            key, call = bind.only(entry.readings())
        except Skipped as reason:
            report.leave_out(str(reason))
        else:
            calls[key] = (call, entry)
    known = task.project.results.find_many(list(calls))
    report.already += len(known)
    for (args, named), entry in (call for key, call in calls.items() if key not in known):
        try:
            task.core.put(args, named, _read(entry))
        except (Skipped, SerializationError) as reason:
            report.leave_out(str(reason))
        else:
            report.taken += 1


def _read(entry: CachedCall) -> Any:
    try:
        return entry.value()
    except (Skipped, ConfigurationError):
        raise
    except Exception as error:  # a pickle may raise anything
        raise Skipped(f"it cannot be unpickled here: {type(error).__name__}: {error}") from error


class _Binding:
    """Binds the arguments that another cache has of a call to a task."""

    def __init__(self, task: AnyTask) -> None:
        self._task = task
        self._signature = inspect.signature(task.__wrapped__)

    def only(self, readings: list[Reading]) -> tuple[bytes, Reading]:
        """The key and the arguments of the one call that *readings* can mean.

        Raises:
            Skipped: If they can mean none, or more than one.
        """
        calls: dict[bytes, Reading] = {}
        reason = "its key is not one that memoize makes"
        for reading in readings:
            try:
                args, named = self._completed(*reading)
                calls[bytes.fromhex(self._task.key(*args, **named))] = args, named
            except TypeError as error:  # UnkeyableError is one
                reason = str(error)
        if len(calls) > 1:
            raise Skipped("its key stands for more than one call: it does not tell None from the end of the arguments")
        if not calls:
            raise Skipped(reason)
        return next(iter(calls.items()))

    def _completed(self, args: tuple[Any, ...], named: dict[str, Any]) -> Reading:
        """The arguments in order, with ``None`` for those that the task ignores and the other cache does not have."""
        named = dict(named)
        rest, more = named.pop("*", []), named.pop("**", {})
        if rest:
            args = tuple(self._given(named, name) for name in self._positional())
        bound = self._signature.bind_partial(*args, *rest, **named, **more)
        for name in self._task.options.ignore:
            parameter = self._signature.parameters.get(name)
            if parameter is not None and name not in bound.arguments and parameter.default is parameter.empty:
                bound.arguments[name] = None
        in_order = [name for name in self._signature.parameters if name in bound.arguments]
        bound.arguments = {name: bound.arguments[name] for name in in_order}
        return bound.args, bound.kwargs

    def _given(self, named: dict[str, Any], name: str) -> Any:
        if name not in named and name not in self._task.options.ignore:
            raise Skipped(f"its argument {name!r} was ignored there, and the task does not ignore it")
        return named.pop(name, None)

    def _positional(self) -> list[str]:
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        return [name for name, parameter in self._signature.parameters.items() if parameter.kind in kinds]


def _is_changed(cache: OtherCache, name: str, function: Any) -> bool:
    """Whether a function's code differs from the cached one, decorators and layout aside."""
    code = cache.code_of(name)
    if code is None:
        return False
    try:
        return _plain(code) != _plain(inspect.getsource(function))
    except (OSError, TypeError, SyntaxError, AttributeError):  # no source, or not a function: unknown
        return False


def _plain(code: str) -> str:
    node: Any = ast.parse(textwrap.dedent(code)).body[0]
    node.decorator_list = []
    return ast.dump(node)
