"""The mark of a function that ``@project.limiter`` made: keys and maps read it without loading the limiter."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeGuard

_MARK = "__beautyspot_pricing__"


class Pricing(Protocol):
    """What the calls of a function pay."""

    def seconds(self, calls: Iterable[tuple[Any, ...]]) -> float:
        """How long the budgets make *calls* take that are made one after the other."""
        ...


class LimitedFunction(Protocol):
    """A function that ``@project.limiter`` made."""

    __beautyspot_pricing__: Pricing
    __wrapped__: Callable[..., Any]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Pay, then call the function."""
        ...


def mark_limited(function: Callable[..., Any], pricing: Pricing) -> None:
    """Mark *function* as made by ``@project.limiter``."""
    setattr(function, _MARK, pricing)


def is_limited(layer: Any) -> TypeGuard[LimitedFunction]:
    """Whether *layer* itself was made by ``@project.limiter``."""
    pricing = _pricing_of(layer)
    # `functools.wraps` copies the mark to a decorator that stands above.
    return pricing is not None and pricing is not _pricing_of(getattr(layer, "__wrapped__", layer))


def pacing_layers(function: Any) -> tuple[LimitedFunction, ...]:
    """What ``@project.limiter`` made around *function*: these layers run before the function has begun."""
    layers: list[LimitedFunction] = []
    while is_limited(function):
        layers.append(function)
        function = function.__wrapped__
    return tuple(layers)


def _pricing_of(layer: Any) -> Pricing | None:
    # Not by getattr: an object of the user's may do anything when it is asked for an attribute.
    pricing: Pricing | None = getattr(layer, "__dict__", {}).get(_MARK)
    return pricing
