"""Paced: the part of a project that keeps calls to a budget. Loads `limits` when the first limit is declared."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, overload

from beautyspot._internal.warn import warn_once
from beautyspot.errors import ConfigurationError, RateLimitWarning
from beautyspot.protocols.index import LocalFile, TaskDB
from beautyspot.protocols.locks import KeyLocks
from beautyspot.tasks.task import AsyncTask, Task

if TYPE_CHECKING:
    from beautyspot.limiter.budget import Budget
    from beautyspot.limiter.budgets import Budgets
    from beautyspot.limiter.permit import Permit
    from beautyspot.limiter.rates import Limit
    from beautyspot.results.events import Events

F = TypeVar("F", bound=Callable[..., Any])


class Paced:
    """What a project knows of rate limits.

    Attributes:
        tpm: Tokens a minute, or ``None``.
        rpm: Calls a minute, or ``None``.
        burst: Tokens that may be saved up.
        limiter_uri: Who shares the budgets; a path in it is absolute.
    """

    name: str
    db: TaskDB
    events: Events

    def __init__(self, tpm: int | None, rpm: int | None, burst: float, limiter_uri: str | None) -> None:
        check_limits(tpm, rpm, burst)
        if limiter_uri is not None and (not isinstance(limiter_uri, str) or "://" not in limiter_uri):
            raise ConfigurationError(f'limiter_uri is a URL such as "redis://host:6379/0", not {limiter_uri!r}')
        self.tpm, self.rpm, self.burst = tpm, rpm, burst
        self.limiter_uri = _absolute(limiter_uri)
        self._made_in: int | None = os.getpid()
        self._budgets: Budgets | None = None
        self._declaring = threading.Lock()

    @property
    def budgets(self) -> Budgets:
        """The budgets of this project, for its limits."""
        with self._declaring:
            if self._budgets is None:
                from beautyspot.limiter.budgets import Budgets
                from beautyspot.limiter.rates import TokenLimit

                self._say_if_alone()
                common = TokenLimit(self.tpm, self.rpm, self.burst)
                self._budgets = Budgets(self.name, common, self._place(), is_copy=self._made_in != os.getpid())
            return self._budgets

    def _say_if_alone(self) -> None:
        """An index on a server is shared by machines, and by default its budgets are not: that must not pass unseen."""
        if self.limiter_uri is None and isinstance(self.db, KeyLocks) and not isinstance(self.db, LocalFile):
            warn_once(
                ("alone", self.name),
                f"the limits of {self.name} hold in each process for itself, since its index is no file: name who "
                'shares them, as in limiter_uri="redis://host:6379/0", or say limiter_uri="memory://"',
                RateLimitWarning,
            )

    def _place(self) -> str:
        if self.limiter_uri is not None:
            return self.limiter_uri
        return f"sqlite:///{self.db.beside('limits')}" if isinstance(self.db, LocalFile) else "memory://"

    @property
    def budgets_are_local(self) -> bool:
        """Whether they lie in a file, which other machines do not share."""
        return self._place().startswith("sqlite")

    @overload
    def limiter(self, function: F, /) -> F: ...
    @overload
    def limiter(
        self,
        limit: str | None = None,
        /,
        *,
        cost: float | Callable[..., float] = 1,
        key: str | int | Callable[..., str | int | None] | None = None,
        settle: Callable[[Any], float] | None = None,
        max_wait: float | None = None,
        tpm: int | None = None,
        rpm: int | None = None,
        burst: float | None = None,
    ) -> Callable[[F], F]: ...
    def limiter(
        self,
        limit: Any = None,
        /,
        *,
        cost: Any = 1,
        key: Any = None,
        settle: Callable[[Any], float] | None = None,
        max_wait: float | None = None,
        tpm: int | None = None,
        rpm: int | None = None,
        burst: float | None = None,
    ) -> Any:
        """Keep the calls of a function to a budget; below ``@project.task``, so that a hit pays nothing.

        A call begins when nothing is owed any more, in the order in which calls were made, and owes its cost
        then: the next call waits for that. Threads block, coroutine functions await.

        Args:
            limit: A limit of its own, in the notation of `limits`: ``"100/minute"``; of several all hold.
                Without one, the project's ``tpm`` and ``rpm`` hold.
            cost: Tokens that a call costs, or a callable of the call's arguments that gives them; it gets those
                that it names, and one without names (``len``) the first.
            key: Names the budget, or is a callable of the call's arguments that does; calls with one key share
                one budget in the whole project. Without one it is the project's own, or the function's own
                where the function has limits of its own.
            settle: A callable of the result, or of the list of what a generator yielded, that gives the tokens
                that were really used; the difference is charged or given back.
            max_wait: Seconds that a call waits at most; 0 tries.
            tpm: Tokens a minute in place of the project's.
            rpm: Calls a minute in place of the project's.
            burst: Tokens that may be saved up, in place of the project's; with *limit*, 0 unless it is given.

        Returns:
            A decorator; the function itself, limited, where it was given in place of *limit*.

        Raises:
            ConfigurationError: If an option cannot work, or another limit holds for that key.
        """
        function = limit if callable(limit) or isinstance(limit, staticmethod | classmethod) else None
        own = self._own_limit(limit if function is None else None, tpm, rpm, burst)

        def decorate(function: Any) -> Any:
            from beautyspot.limiter.decorator import CallPricing, limited

            if isinstance(function, staticmethod | classmethod):
                return type(function)(decorate(function.__func__))
            _check_function(function)
            return limited(function, CallPricing(self, function, own, cost, key, settle, max_wait))

        return decorate if function is None else decorate(function)

    def _own_limit(self, text: Any, tpm: int | None, rpm: int | None, burst: float | None) -> Limit | None:
        """What holds for a function, checked; ``None``: what holds for the project."""
        from beautyspot.limiter.rates import TextLimit, TokenLimit, parsed

        check_limits(tpm, rpm, 0 if burst is None else burst)
        if text is not None:
            if tpm is not None or rpm is not None:
                raise ConfigurationError(f"a limiter has either a text such as {text!r}, or tpm and rpm")
            parsed(text)
            return TextLimit(text, burst or 0)
        if tpm is None and rpm is None and burst is None:
            return None
        return TokenLimit(
            self.tpm if tpm is None else tpm,
            self.rpm if rpm is None else rpm,
            self.burst if burst is None else burst,
        )

    def limit(self, cost: float = 1, key: str | int | None = None, max_wait: float | None = None) -> Permit:
        """Leave to run what stands in a ``with`` or ``async with`` block, for calls that no decorator can wrap.

        Args:
            cost: Tokens that it is expected to cost; ``permit.settle(actual)`` corrects it.
            key: Names the budget; without one it is the project's own.
            max_wait: Seconds that it waits at most; 0 tries.

        Raises:
            ConfigurationError: If nothing is limited under that key.
            RateLimitExceeded: On entering, if that would take longer than *max_wait*.
            LimiterUnavailableError: On entering, if the store of the budget cannot be reached.
            ValueError, TypeError: On entering, if the cost cannot be.
        """
        from beautyspot.limiter.budgets import COMMON, named
        from beautyspot.limiter.permit import Permit

        budget = self.budgets.budget("tokens", named(key) or COMMON)
        return Permit(budget, cost, max_wait, self._waited)

    def _waited(self, budget: Budget, seconds: float) -> None:
        self.events.waited("", budget.name, seconds)

    def defer(self, seconds: float, key: str | int | None = None) -> None:
        """Let no limited call begin before *seconds* have passed, in any process: for a 429 or a ``Retry-After``.

        An exception that carries such a header does this by itself.

        Args:
            seconds: From now.
            key: Of the budget; without one, all that is limited without a key.

        Raises:
            ValueError, TypeError: If *seconds* is no finite number of at least 0.
            LimiterUnavailableError: If the store of the budget cannot be reached.
        """
        from beautyspot.limiter.budgets import named

        self.budgets.defer(seconds, named(key))


def check_limits(tpm: int | None, rpm: int | None, burst: float) -> None:
    """Refuse limits that cannot be.

    Raises:
        ConfigurationError: Naming the option.
    """
    for name, amount in (("tpm", tpm), ("rpm", rpm)):
        if amount is not None and (not isinstance(amount, int) or isinstance(amount, bool) or amount < 1):
            raise ConfigurationError(f"{name} is a whole number of at least 1, or None for no limit, not {amount!r}")
    if not isinstance(burst, int | float) or isinstance(burst, bool) or not 0 <= burst < math.inf:
        raise ConfigurationError(f"burst is a number of tokens, 0 or more, not {burst!r}")


def _absolute(uri: str | None) -> str | None:
    """The same place from every directory: a worker may have another one."""
    if uri is None or not uri.startswith("sqlite:///"):
        return uri
    return f"sqlite:///{os.path.abspath(uri.removeprefix('sqlite:///'))}"


def _check_function(function: Any) -> None:
    """Refuse what cannot be limited.

    Raises:
        ConfigurationError: Saying what to write instead.
    """
    name = getattr(function, "__qualname__", repr(function))
    if isinstance(function, Task | AsyncTask):
        raise ConfigurationError(
            f"{name} is a task already: write @project.limiter below @project.task, so that a hit pays nothing"
        )
    if not callable(function):
        raise ConfigurationError(f"project.limiter limits the calls of a function, and {name} cannot be called")
