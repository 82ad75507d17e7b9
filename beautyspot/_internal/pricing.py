"""The mark of a function that ``@project.limiter`` made: keys and maps read it without loading the limiter."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeGuard

from beautyspot._internal.signatures import Arguments

_MARK = "__beautyspot_pricing__"


class Pricing(Protocol):
    """What the calls of a function cost."""

    def seconds(self, calls: Iterable[Arguments]) -> float:
        """Seconds that the budgets make *calls* take, one after the other."""
        ...


class LimitedFunction(Protocol):
    """A function that ``@project.limiter`` made."""

    __beautyspot_pricing__: Pricing
    __wrapped__: Callable[..., Any]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Charge the call, then run the function."""
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
    """The layers that ``@project.limiter`` put around *function*, outermost first: they run before it begins."""
    layers: list[LimitedFunction] = []
    while is_limited(function):
        layers.append(function)
        function = function.__wrapped__
    return tuple(layers)


def _pricing_of(layer: Any) -> Pricing | None:
    # Not by getattr: a user's object may do anything when an attribute is looked up.
    pricing: Pricing | None = getattr(layer, "__dict__", {}).get(_MARK)
    return pricing
