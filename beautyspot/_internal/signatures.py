"""Binding of a call's arguments to the parameters of its function, at the speed of the interpreter.

The interpreter binds faster than Python code can, and raises the same errors as the function itself. So each of these
helpers makes a function with the signature of another one, once, when that one is decorated.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from beautyspot._internal.names import full_name
from beautyspot.errors import ConfigurationError

Arguments = tuple[tuple[Any, ...], Mapping[str, Any]]  # of a call: by position, and by name

_OPEN_ENDED = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def signature_of(function: Any) -> inspect.Signature:
    """The signature of *function*: that of what it wraps, and the parameters that a wrapper has beside them.

    Raises:
        ConfigurationError: If it has none.
    """
    try:
        inner = inspect.signature(function)
        return inner if not hasattr(function, "__wrapped__") else _with_own(inner, function)
    except (TypeError, ValueError) as cause:
        raise ConfigurationError(
            f"{full_name(function)} does not say which arguments it takes ({cause}); wrap it in a function that does"
        ) from None


def _with_own(inner: inspect.Signature, wrapper: Any) -> inspect.Signature:
    """*inner* with the parameters of *wrapper* that it lacks; the wrapper's own where that passes nothing on."""
    if isinstance(wrapper, type) or not callable(wrapper):
        return inner
    try:
        own = inspect.signature(wrapper, follow_wrapped=False).parameters.values()
    except (TypeError, ValueError):  # written in C, such as `functools.lru_cache`
        return inner
    kinds = {p.kind for p in own}
    if inspect.Parameter.VAR_POSITIONAL not in kinds and inspect.Parameter.VAR_KEYWORD not in kinds:
        return inspect.Signature(list(own)) if {p.name for p in own} != set(inner.parameters) else inner
    extra = [p for p in own if p.kind not in _OPEN_ENDED and p.name not in inner.parameters]
    if not extra:
        return inner
    # The wrapper's own positional parameters come before those that it passes on.
    parameters = sorted([*extra, *inner.parameters.values()], key=lambda p: p.kind)
    first_default = next((i for i, p in enumerate(parameters) if p.default is not p.empty), len(parameters))
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if any(p.kind in positional and p.default is p.empty for p in parameters[first_default:]):
        parameters = sorted(
            [p.replace(kind=p.KEYWORD_ONLY) if p in extra and p.default is not p.empty else p for p in parameters],
            key=lambda p: p.kind,
        )
    return inspect.Signature(parameters)


def binder(
    qualname: str, signature: inspect.Signature, names: Iterable[str], left_out: Collection[str]
) -> Callable[..., tuple[Any, ...]]:
    """A function with *signature* that returns the values of *names*.

    Args:
        qualname: Name of the function in the errors of a call.
        signature: Signature of the function that is called.
        names: Names of parameters in the signature.
        left_out: Names that are omitted from ``**kwargs``.
    """
    parameters = signature.parameters
    values = [
        f"{{k: v for k, v in {name}.items() if k not in _beautyspot_left_out}}"
        if left_out and parameters[name].kind is inspect.Parameter.VAR_KEYWORD
        else name
        for name in names
    ]
    body = f"({', '.join(values)}{',' if values else ''})"
    return _made(signature, body, {"_beautyspot_left_out": left_out}, qualname)


def asker(
    function: Callable[..., Any], signature: inspect.Signature, qualname: str, option: str | None = None
) -> Callable[..., Any]:
    """A function with *signature* that passes the arguments of a call to *function*.

    *function* gets the arguments that its parameters name, including defaults. If its parameters have no names
    (``len``) or other names, it gets as many of the first arguments as it takes; a function that takes ``*args`` gets
    the arguments of the call unchanged.

    Args:
        function: The function that gets the arguments.
        signature: Signature of the function that is called.
        qualname: Name of that function, for errors.
        option: Name of the option that *function* was given as, if a parameter that names no argument is an error,
            since it would get another argument silently. A single argument and parameter may have different names.

    Raises:
        ConfigurationError: If *function* has a parameter that names no argument.
    """
    try:
        wanted = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return function
    if any(p.kind is p.VAR_POSITIONAL for p in wanted):
        return function
    parameters = signature.parameters
    named = [p for p in wanted if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name in parameters]
    rest = any(p.kind is p.VAR_KEYWORD for p in wanted)
    missing = [p for p in wanted if p not in named and p.kind is not p.VAR_KEYWORD and p.default is p.empty]
    if missing:
        closed = [p.name for p in parameters.values() if p.kind not in _OPEN_ENDED and p.name not in ("self", "cls")]
        nameless = all(p.kind is p.POSITIONAL_ONLY for p in missing)
        if (option is not None and len(missing) > len(closed)) or (option and not nameless and len(closed) != 1):
            asked = ", ".join(p.name for p in missing)
            raise ConfigurationError(
                f"{option} asks for {asked}, and {qualname} has {', '.join(closed) or 'no arguments'}: "
                "name the arguments that it is to get"
            )
        if any(p.kind is p.KEYWORD_ONLY for p in missing):
            return function
        positional = [p for p in wanted if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        first = (closed if option else [p.name for p in parameters.values() if p.kind not in _OPEN_ENDED])[
            : len(positional)
        ]
        body = f"_beautyspot_function({', '.join(first)})"
    else:
        names = list(parameters) if rest else [p.name for p in named]
        given = [f"**{n}" if parameters[n].kind is inspect.Parameter.VAR_KEYWORD else f"{n}={n}" for n in names]
        body = f"_beautyspot_function({', '.join(given)})"
    return _made(signature, body, {"_beautyspot_function": function}, qualname)


def _made(signature: inspect.Signature, body: str, scope: dict[str, Any], qualname: str) -> Callable[..., Any]:
    """``lambda <signature>: body``."""
    words: list[str] = []
    last = None
    for i, p in enumerate(signature.parameters.values()):
        if last is p.POSITIONAL_ONLY and p.kind is not p.POSITIONAL_ONLY:
            words.append("/")
        if p.kind is p.KEYWORD_ONLY and last not in (p.KEYWORD_ONLY, p.VAR_POSITIONAL):
            words.append("*")
        stars = "*" if p.kind is p.VAR_POSITIONAL else "**" if p.kind is p.VAR_KEYWORD else ""
        default = ""
        if p.default is not p.empty:
            scope[f"_default{i}"] = p.default
            default = f"=_default{i}"
        words.append(f"{stars}{p.name}{default}")
        last = p.kind
    if last is inspect.Parameter.POSITIONAL_ONLY:
        words.append("/")
    made: Callable[..., Any] = eval(f"lambda {', '.join(words)}: {body}", scope)  # noqa: S307 - of parameter names
    made.__qualname__ = qualname
    return made
