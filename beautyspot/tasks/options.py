"""The options of tasks, checked."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any, Literal, TypedDict, get_args, get_origin

from beautyspot._internal.names import full_name
from beautyspot._internal.signatures import signature_of
from beautyspot.errors import ConfigurationError
from beautyspot.keys.dependencies import NOTHING, Deps
from beautyspot.keys.policies import Policy
from beautyspot.protocols import Serializer

OnError = Literal["raise", "continue", "return"]


class CommonMapOptions(TypedDict, total=False):
    """The options of all maps but ``on_error``, for type checkers and editors."""

    progress: bool | None
    fixed: Mapping[str, Any] | None
    unpack: bool


class AsyncMapOptions(CommonMapOptions, total=False):
    """The options of ``task.map`` of an async task; see `beautyspot.amap`."""

    workers: int
    on_error: OnError


class MapOptions(CommonMapOptions, total=False):
    """The options of ``task.map``; see `beautyspot.map`."""

    workers: int | None
    engine: Any
    on_error: OnError


class TaskOptions(TypedDict, total=False):
    """The options of ``@project.task`` as they are given, for type checkers and editors."""

    name: str | None
    save_blob: bool | None
    version: str | int | None
    key: Callable[..., Any] | Policy | None
    ignore: str | tuple[str, ...]
    content_type: str | None
    ttl: str | float | timedelta | None
    serializer: Serializer | str | None
    mmap: bool
    deps: Iterable[Any]


@dataclass(frozen=True, slots=True)
class Options:
    """The options of ``@project.task``, checked."""

    name: str | None = None
    save_blob: bool | None = None
    version: str | int | None = None
    key: Callable[..., Any] | Policy | None = None
    ignore: tuple[str, ...] = ()
    content_type: str | None = None
    ttl: float | None = None
    serializer: Serializer | None = None
    mmap: bool = False
    deps: Deps = NOTHING


_LISTS = frozenset({"list", "List", "Sequence", "MutableSequence", "Collection", "Iterable"})


SCALARS = frozenset({"str", "bytes", "int", "float", "bool"})


@dataclass(frozen=True, slots=True)
class BatchOptions(Options):
    """The options of ``@project.batch_task``, checked.

    Attributes:
        size: How many items the function is called with at most.
        batch: The parameter that takes the list.
    """

    size: int = 64
    batch: str = ""


def batch_options(function: Any, options: Options, size: int, batch: str | None) -> BatchOptions:
    """Options of a task, as those of a batch task.

    Raises:
        ConfigurationError: If one of them cannot work for *function*.
    """
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ConfigurationError(f"size is how many items a batch has at most, a whole number from 1, not {size!r}")
    name = _batch_of(full_name(function), signature_of(function), batch)
    ignored = options.key.names if isinstance(options.key, Policy) and options.key.reading is None else ()
    if name in (*options.ignore, *ignored):
        raise ConfigurationError(
            f"{full_name(function)} ignores {name!r}, which is its list of items: all of them would be one call"
        )
    given = {field.name: getattr(options, field.name) for field in fields(options)}
    return BatchOptions(**given, size=size, batch=name)


def _batch_of(function: str, signature: inspect.Signature, given: str | None) -> str:
    """The parameter that takes the list: the given one, else the first that is annotated as a list, else the first."""
    closed = [p for p in signature.parameters.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if closed and closed[0].name in ("self", "cls"):
        closed = closed[1:]
    names = [p.name for p in closed]
    if given is not None and given not in names:
        raise ConfigurationError(f"{function} has no argument batch={given!r}; it has {', '.join(names) or 'none'}")
    if not names:
        raise ConfigurationError(f"{function} has no argument that takes the list of items: give it one")
    listed = [p.name for p in closed if _is_list(p.annotation)]
    return given or (listed or names)[0]


def _is_list(annotation: Any) -> bool:
    if not isinstance(annotation, str):
        annotation = getattr(get_origin(annotation) or annotation, "__name__", "")
    return annotation.strip("\"' ").partition("[")[0].rpartition(".")[2] in _LISTS


def item_type(annotation: Any) -> str:
    """The item type in the annotation of a list: ``"str"`` for ``list[str]``."""
    if isinstance(annotation, str):
        return annotation.strip("\"' ").partition("[")[2].removesuffix("]")
    return "".join(getattr(item, "__name__", "") for item in get_args(annotation))
