"""The function that ``@project.limiter`` returns: each call is charged to its budget before it runs."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing
from typing import Any, Protocol

from beautyspot._internal.names import full_name
from beautyspot._internal.pricing import mark_limited
from beautyspot._internal.signatures import Arguments, asker, signature_of
from beautyspot.errors import ConfigurationError
from beautyspot.limiter.budget import Budget
from beautyspot.limiter.budgets import COMMON, Budgets, key_text
from beautyspot.limiter.permit import Permit, warn_on_failure
from beautyspot.limiter.rates import Limit, checked_cost, checked_seconds


class WaitListener(Protocol):
    """Reports waits to the listeners of a project."""

    def waited(self, function: str, budget: str, seconds: float) -> None:
        """Report that *function* waited for a budget."""
        ...


class LimitedProject(Protocol):
    """What limited functions need of their project; it is pickled with them."""

    @property
    def budgets(self) -> Budgets:
        """The budgets of the project."""
        ...

    @property
    def events(self) -> WaitListener:
        """The listener for waits."""
        ...


class CallPricing:
    """What the calls of one function cost, and to which budget.

    Args:
        project: The project of the budgets.
        function: The function.
        limit: The function's own limit, or ``None`` for the project's.
        cost: Tokens, or a callable of the call's arguments that returns them.
        key: The key of the budget, or a callable of the call's arguments that returns it.
        settle: A callable of the result that returns the tokens actually used.
        max_wait: Seconds that a call waits at most.

    Raises:
        ConfigurationError: If an option is invalid.
    """

    def __init__(
        self,
        project: LimitedProject,
        function: Callable[..., Any],
        limit: Limit | None,
        cost: Any,
        key: Any,
        settle: Callable[[Any], Any] | None,
        max_wait: float | None,
    ) -> None:
        self._given = (project, function, limit, cost, key, settle, max_wait)
        self._project, self._limit = project, limit
        self.name = full_name(inspect.unwrap(function))
        self.max_wait = None if max_wait is None else checked_seconds("max_wait", max_wait)
        self.settle = settle
        self._kind = limit.kind if limit is not None else "tokens"
        asks = functools.partial(asker, signature=signature_of(function), qualname=self.name)
        if settle is not None and not callable(settle):
            raise ConfigurationError(f"settle is a function of the result, not {settle!r}")
        self.asks_cost = callable(cost)
        self.cost: Any = asks(cost, option="cost") if self.asks_cost else checked_cost(cost, float("inf"), self.name)
        self.asks_key = callable(key)
        self._key: Any = asks(key, option="key") if self.asks_key else self._declared(key_text(key))
        if self.asks_key and limit is not None:
            self._project.budgets.declare_for_computed_keys(limit)
        self._budget: Budget | None = None  # of a key that all calls share

    def __reduce__(self) -> tuple[Any, ...]:
        return CallPricing, self._given

    def _declared(self, key: str | None) -> str:
        """The key of all calls: without one, a function with its own limit also has its own key."""
        if self._limit is None:
            return COMMON if key is None else key
        own = self.name if key is None else key
        self._project.budgets.declare(self._limit, own, is_keyless=key is None)
        return own

    def seconds(self, calls: Iterable[Arguments]) -> float:
        """Seconds that the budgets make *calls* take, one after the other."""
        owed: dict[str, float] = {}
        for args, kwargs in calls:
            cost = self.cost(*args, **kwargs) if self.asks_cost else self.cost
            for key, emission, _, tokens in self.budget(args, kwargs).requests(cost):
                owed[key] = owed.get(key, 0.0) + tokens * emission
        return max(owed.values(), default=0.0)

    def budget(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Budget:
        """The budget of a call."""
        if self.asks_key:
            key = key_text(self._key(*args, **kwargs))
            return self._project.budgets.budget(self._kind, COMMON if key is None else key, self._limit)
        if self._budget is None:
            self._budget = self._project.budgets.budget(self._kind, self._key, self._limit)
        return self._budget

    def permit(self, args: tuple[Any, ...], kwargs: dict[str, Any], function: Callable[..., Any]) -> Permit:
        """The permit for one call of *function*, which `limited` returned."""
        cost = self.cost(*args, **kwargs) if self.asks_cost else self.cost
        return Permit(self.budget(args, kwargs), cost, self.max_wait, self._waited, function)

    def settled(self, permit: Permit, result: Any) -> None:
        """Report the actual cost of a call, by its *result*."""
        if self.settle is not None:
            with warn_on_failure(self.name):
                permit.settle(self.settle(result))

    def _waited(self, budget: Budget, seconds: float) -> None:
        self._project.events.waited(self.name, budget.name, seconds)


def limited(function: Callable[..., Any], pricing: CallPricing) -> Callable[..., Any]:
    """A function that charges each call, then calls *function*."""
    plain = inspect.unwrap(function)
    streams = inspect.isgeneratorfunction(plain) or inspect.isasyncgenfunction(plain)
    made = _limited_stream(function, pricing) if streams else _limited_call(function, pricing)
    mark_limited(made, pricing)  # for keys, maps and `bs.plan`
    return made


def _limited_call(function: Callable[..., Any], pricing: CallPricing) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with pricing.permit(args, kwargs, call) as permit:
            result = function(*args, **kwargs)
            pricing.settled(permit, result)
        return result

    @functools.wraps(function)
    async def call_async(*args: Any, **kwargs: Any) -> Any:
        async with pricing.permit(args, kwargs, call_async) as permit:
            result = await function(*args, **kwargs)
            pricing.settled(permit, result)
        return result

    return call_async if inspect.iscoroutinefunction(inspect.unwrap(function)) else call


def _limited_stream(function: Callable[..., Any], pricing: CallPricing) -> Callable[..., Any]:
    """As `_limited_call` for a generator function: charges before the first item, settles by the list of all items."""

    @functools.wraps(function)
    def stream(*args: Any, **kwargs: Any) -> Iterator[Any]:
        items = []
        with pricing.permit(args, kwargs, stream) as permit:
            for item in function(*args, **kwargs):
                if pricing.settle is not None:
                    items.append(item)
                yield item
            pricing.settled(permit, items)

    @functools.wraps(function)
    async def stream_async(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        items = []
        async with pricing.permit(args, kwargs, stream_async) as permit, aclosing(function(*args, **kwargs)) as given:
            async for item in given:
                if pricing.settle is not None:
                    items.append(item)
                yield item
            pricing.settled(permit, items)

    return stream_async if inspect.isasyncgenfunction(inspect.unwrap(function)) else stream
