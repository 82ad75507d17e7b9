"""RateLimits: limits the calls of a project. Loads the library `limits` when the first limit is declared."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from beautyspot._internal.warn import warn_once
from beautyspot.errors import ConfigurationError, RateLimitWarning
from beautyspot.protocols.index import LocalFile, TaskDB
from beautyspot.protocols.locks import KeyLocks
from beautyspot.results.events import Events
from beautyspot.tasks.task import AsyncTask, Task

if TYPE_CHECKING:
    from beautyspot.limiter.budget import Budget
    from beautyspot.limiter.budgets import Budgets
    from beautyspot.limiter.decorator import LimitedProject
    from beautyspot.limiter.permit import Permit
    from beautyspot.limiter.rates import Limit


class RateLimits:
    """The rate limits of a project.

    Args:
        name: The name of the project.
        db: The index of the project; by default the budgets lie beside it.
        events: The listeners, which hear of waits.
        tpm: Tokens a minute, or ``None``.
        rpm: Calls a minute, or ``None``.
        burst: Tokens that an idle budget may save.
        limiter_uri: The store of the budgets, or ``None`` for the default.

    Attributes:
        limiter_uri: As given, with an absolute path.

    Raises:
        ConfigurationError: If an option is invalid.
    """

    def __init__(
        self,
        name: str,
        db: TaskDB,
        events: Events,
        tpm: int | None,
        rpm: int | None,
        burst: float,
        limiter_uri: str | None,
    ) -> None:
        check_limits(tpm, rpm, burst)
        if limiter_uri is not None and (not isinstance(limiter_uri, str) or "://" not in limiter_uri):
            raise ConfigurationError(f'limiter_uri is a URL such as "redis://host:6379/0", not {limiter_uri!r}')
        self.tpm, self.rpm, self.burst = tpm, rpm, burst
        self.limiter_uri = _absolute(limiter_uri)
        if self.limiter_uri is not None:  # an error now, and not at the first call that waits
            from beautyspot.limiter.stores import check_uri

            check_uri(self.limiter_uri)
        self._name, self._db, self._events = name, db, events
        self._made_in: int | None = os.getpid()
        self._budgets: Budgets | None = None
        self._declaring = threading.Lock()

    def mark_copied(self) -> None:
        """Note that this project was made in another process: budgets in memory are not shared with that."""
        self._made_in = None

    @property
    def budgets(self) -> Budgets:
        """The budgets of the project."""
        with self._declaring:
            if self._budgets is None:
                from beautyspot.limiter.budgets import Budgets
                from beautyspot.limiter.rates import TokenLimit

                self._warn_if_unshared()
                common = TokenLimit(self.tpm, self.rpm, self.burst)
                self._budgets = Budgets(self._name, common, self._place(), is_copy=self._made_in != os.getpid())
            return self._budgets

    def _warn_if_unshared(self) -> None:
        """Warn if machines share the index, on a server, but not the budgets, which is the default."""
        if self.limiter_uri is None and isinstance(self._db, KeyLocks) and not isinstance(self._db, LocalFile):
            warn_once(
                ("alone", self._name),
                f"the limits of {self._name} hold in each process for itself, since its index is not a file: name a "
                'shared store, as in limiter_uri="redis://host:6379/0", or accept that with limiter_uri="memory://"',
                RateLimitWarning,
            )

    def _place(self) -> str:
        if self.limiter_uri is not None:
            return self.limiter_uri
        return f"sqlite:///{self._db.beside('limits')}" if isinstance(self._db, LocalFile) else "memory://"

    @property
    def budgets_are_local(self) -> bool:
        """Whether the budgets lie in a file, which other machines do not share."""
        return self._place().startswith("sqlite")

    def limiter(
        self,
        project: LimitedProject,
        limit: Any,
        *,
        cost: Any,
        key: Any,
        settle: Callable[[Any], float] | None,
        max_wait: float | None,
        tpm: int | None,
        rpm: int | None,
        burst: float | None,
    ) -> Any:
        """What `Project.limiter` returns."""
        function = limit if callable(limit) or isinstance(limit, staticmethod | classmethod) else None
        own = self._own_limit(limit if function is None else None, tpm, rpm, burst)

        def decorate(function: Any) -> Any:
            from beautyspot.limiter.decorator import CallPricing, limited

            if isinstance(function, staticmethod | classmethod):
                return type(function)(decorate(function.__func__))
            _check_function(function)
            return limited(function, CallPricing(project, function, own, cost, key, settle, max_wait))

        return decorate if function is None else decorate(function)

    def _own_limit(self, text: Any, tpm: int | None, rpm: int | None, burst: float | None) -> Limit | None:
        """The function's own limit, checked; ``None`` if the project's holds."""
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

    def limit(self, cost: float, key: str | int | None, max_wait: float | None) -> Permit:
        """What `Project.limit` returns."""
        from beautyspot.limiter.budgets import COMMON, key_text
        from beautyspot.limiter.permit import Permit

        budget = self.budgets.budget("tokens", key_text(key) or COMMON)
        return Permit(budget, cost, max_wait, self._waited)

    def _waited(self, budget: Budget, seconds: float) -> None:
        self._events.waited("", budget.name, seconds)

    def defer(self, seconds: float, key: str | int | None) -> None:
        """As `Project.defer`."""
        from beautyspot.limiter.budgets import key_text

        self.budgets.defer(seconds, key_text(key))

    def close(self) -> None:
        """Release the budgets; a later call opens them again."""
        if self._budgets is not None:
            self._budgets.close()


def check_limits(tpm: int | None, rpm: int | None, burst: float) -> None:
    """Reject invalid limits.

    Raises:
        ConfigurationError: If an option is invalid; names the option.
    """
    for name, amount in (("tpm", tpm), ("rpm", rpm)):
        if amount is not None and (not isinstance(amount, int) or isinstance(amount, bool) or amount < 1):
            raise ConfigurationError(f"{name} is a whole number of at least 1, or None for no limit, not {amount!r}")
    if not isinstance(burst, int | float) or isinstance(burst, bool) or not 0 <= burst < math.inf:
        raise ConfigurationError(f"burst is a number of tokens, 0 or more, not {burst!r}")


def _absolute(uri: str | None) -> str | None:
    """The same file from every directory: a worker may run in another one."""
    if uri is None or not uri.startswith("sqlite:///"):
        return uri
    return f"sqlite:///{os.path.abspath(uri.removeprefix('sqlite:///'))}"


def _check_function(function: Any) -> None:
    """Reject objects that cannot be limited.

    Raises:
        ConfigurationError: If *function* is a task or not callable; says what to write instead.
    """
    name = getattr(function, "__qualname__", repr(function))
    if isinstance(function, Task | AsyncTask):
        raise ConfigurationError(
            f"{name} is already a task: write @project.limiter below @project.task, so that a hit pays nothing"
        )
    if not callable(function):
        raise ConfigurationError(f"project.limiter limits the calls of a function, and {name} cannot be called")
