"""Taking over what ``diskcache.memoize`` or ``joblib.Memory`` kept of a function, as results of a task.

Each call's arguments are bound and keyed as a call of the task would be, and its value is put. What the index has
already stays as it is, so that the same command goes on where it was.
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
from beautyspot.maintenance.other_caches import Kept, OtherCache, Reading, Skipped, other_cache
from beautyspot.tasks import AsyncTask, Task

if TYPE_CHECKING:
    import os

__all__ = ["PICKLES", "ImportReport", "import_cache"]

_PAGE = 200  # calls that are looked up together
_TOLD = 20  # reasons that are counted apart

PICKLES = (
    "its entries are pickles, and reading a pickle runs any code that is in it. Allow that only for a directory that "
    "nobody else could write to"
)


@dataclass(slots=True)
class ImportReport:
    """What became of the entries of another cache.

    Attributes:
        name: Of the function whose entries were asked for.
        taken: How many are results now.
        already: How many calls had a result, which was left as it is.
        expired: How many were left out because their time was over.
        left_out: Why others were left out, and how many for each reason.
        others: How many entries there are of each other function.
        changed: Whether the code of the function is another than that of which joblib kept the results.
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
        told = reason in self.left_out or len(self.left_out) < _TOLD
        self.left_out[reason if told else "for other reasons"] += 1

    def __str__(self) -> str:
        parts = [(self.taken, "taken over"), (self.already, "there already"), (self.expired, "expired")]
        told = [f"{count:,} {what}" for count, what in parts if count or what == "taken over"]
        if self.left_out:
            told.append(f"{self.left_out.total():,} left out, which run again")
        text = ", ".join(told)
        if self.changed:
            text += (
                f"; the code of {self.name} is not the one that joblib kept these of: if that matters, clear them and "
                "run anew"
            )
        return text


def import_cache(
    source: str | os.PathLike[str],
    task: Task[..., Any] | AsyncTask[..., Any],
    *,
    allow_pickle: bool = False,
    name: str | None = None,
    progress: Callable[[int], object] | None = None,
) -> ImportReport:
    """Make results of *task* of what a cache of diskcache or joblib kept of its function.

    Args:
        source: The directory of a ``diskcache.Cache`` or ``FanoutCache``, or of a ``joblib.Memory``. It is only read.
        task: Whose results they become, under the arguments with which they were kept.
        allow_pickle: Whether the pickles in it may be read, which runs any code that is in them.
        name: Under which the function was kept; by default its ``module.qualname``. ``__main__.embed`` in diskcache, if
            it was that of a script.
        progress: Told how many entries were looked at since it was told last.

    Returns:
        How many were taken over, and what became of the others.

    Raises:
        ConfigurationError: If pickles were not allowed (nothing was read then), or *source* is no such directory.
        StorageError, IndexUnavailableError: If a result cannot be written. The same call again goes on.
    """
    if not allow_pickle:
        raise ConfigurationError(f"{source} was not read: {PICKLES}, with allow_pickle=True")
    function = inspect.unwrap(task.__wrapped__)
    told = ImportReport(name or f"{function.__module__}.{function.__qualname__}")
    cache = other_cache(Path(source))
    told.changed = _is_changed(cache, told.name, function)
    bind = _Binding(task)
    for page in pages(cache.entries(cache, told.name), _PAGE, progress):
        _take(task, bind, page, told)
    told.others = {other: count for other, count in cache.seen.most_common() if count and other != told.name}
    return told


def _take(task: Task[..., Any] | AsyncTask[..., Any], bind: _Binding, page: list[Kept], told: ImportReport) -> None:
    calls: dict[bytes, tuple[Reading, Kept]] = {}
    for kept in page:
        if kept.expired:
            told.expired += 1
            continue
        try:
            key, call = bind.only(kept.readings())
        except Skipped as reason:
            told.leave_out(str(reason))
        else:
            calls[key] = (call, kept)
    there = task.project.results.find_many(list(calls))
    told.already += len(there)
    for (args, named), kept in (call for key, call in calls.items() if key not in there):
        try:
            task._put(args, named, _read(kept))
        except (Skipped, SerializationError) as reason:
            told.leave_out(str(reason))
        else:
            told.taken += 1


def _read(kept: Kept) -> Any:
    try:
        return kept.value()
    except (Skipped, ConfigurationError):
        raise
    except Exception as error:  # a pickle may raise anything
        raise Skipped(f"it cannot be unpickled here: {type(error).__name__}: {error}") from error


class _Binding:
    """Turns what another cache knows of a call into a call of a task."""

    def __init__(self, task: Task[..., Any] | AsyncTask[..., Any]) -> None:
        self._task = task
        self._signature = inspect.signature(task.__wrapped__)

    def only(self, readings: list[Reading]) -> tuple[bytes, Reading]:
        """The key and the arguments of the one call that is meant.

        Raises:
            Skipped: If there is none, or more than one.
        """
        calls: dict[bytes, Reading] = {}
        reason = "its key is none that memoize makes"
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
        """Arguments in their places, with ``None`` for those that the task ignores and the other cache left out."""
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
    """Whether a function is not the one whose code was kept, decorators and layout aside."""
    code = cache.code_of(name)
    if code is None:
        return False
    try:
        return _plain(code) != _plain(inspect.getsource(function))
    except (OSError, TypeError, SyntaxError, AttributeError):  # no source, or no function: nobody can tell
        return False


def _plain(code: str) -> str:
    node: Any = ast.parse(textwrap.dedent(code)).body[0]
    node.decorator_list = []
    return ast.dump(node)
