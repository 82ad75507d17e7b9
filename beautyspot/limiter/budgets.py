"""Budgets: all budgets of a project by their keys, over one store that opens when it is first needed."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

from beautyspot._internal.fork_safety import SurvivesFork
from beautyspot.errors import ConfigurationError
from beautyspot.limiter.budget import Budget
from beautyspot.limiter.memory import MemoryStorage
from beautyspot.limiter.rates import Limit, Rate, TokenLimit, checked_seconds
from beautyspot.limiter.stores import Store, open_store

_MAX_BUDGETS = 4096  # budgets that are held; beyond, idle ones are discarded
COMMON = ""  # the key of calls that are limited without one


def key_text(key: Any) -> str | None:
    """A key as text; ``None`` if there is none.

    Raises:
        TypeError: If the key is neither a text nor a whole number.
        ConfigurationError: If the key is an empty text.
    """
    if key is None or (isinstance(key, str) and key):
        return key
    if isinstance(key, int) and not isinstance(key, bool):
        return str(key)
    if key == "":
        raise ConfigurationError("the key of a budget is a text that is not empty, or None for the project's own")
    raise TypeError(f"the key of a budget is a text or a whole number, not {key!r} ({type(key).__name__})")


class Budgets(SurvivesFork):
    """The budgets of a project.

    Two functions that name the same key share its budget, and so do all processes whose projects have the same name
    and the same store.

    Args:
        name: The name of the project.
        common: The limit where none is declared.
        uri: The URI of the store.
        is_copy: Whether this process received the project from another one.
    """

    def __init__(self, name: str, common: TokenLimit, uri: str, is_copy: bool = False) -> None:
        self._namespace = f"{{{name}}}"  # in braces: the budgets of a call share a slot of a Redis cluster
        self._common = common
        self._uri = uri
        self._is_copy = is_copy
        self._store: Store | None = None
        self._lock = threading.Lock()
        self._declared: dict[tuple[str, str], Limit] = {}
        self._for_computed_keys: list[Limit] = []  # limits whose keys each call computes
        self._without_key: set[tuple[str, str]] = {("tokens", COMMON)}
        self._budgets_by_key: dict[tuple[str, str], Budget] = {}
        self.survive_forks()

    def declare(self, limit: Limit, key: str, is_keyless: bool = False) -> None:
        """Declare *limit* for *key*.

        Args:
            limit: The limit.
            key: The key of the budget.
            is_keyless: Whether the user gave no key: `defer` without a key means this one too.

        Raises:
            ConfigurationError: If another limit holds for that key already.
        """
        with self._lock:
            place = (limit.kind, key)
            budget = self._budgets_by_key.get(place)
            known = self._declared.setdefault(place, budget.limit if budget and budget.limit else limit)
            if known != limit:
                raise self._conflict(key, known, limit)
            if is_keyless:
                self._without_key.add(place)

    def declare_for_computed_keys(self, limit: Limit) -> None:
        """Declare *limit* for the keys that calls compute."""
        with self._lock:
            if limit not in self._for_computed_keys:
                self._for_computed_keys.append(limit)

    def budget(self, kind: str, key: str, limit: Limit | None = None) -> Budget:
        """The budget of *key*.

        Args:
            kind: The kind of the limit: ``"tokens"`` or ``"calls"``.
            key: The key of the budget.
            limit: The limit that the caller declared; ``None``: the one that holds for the key.

        Raises:
            ConfigurationError: If another limit holds for that key, or no limit does.
        """
        budget = self._budgets_by_key.get((kind, key))
        if budget is None:
            budget = self._make_budget(kind, key, limit)
        if limit is not None and budget.limit != limit:
            raise self._conflict(key, budget.limit, limit)
        return budget

    def _make_budget(self, kind: str, key: str, limit: Limit | None) -> Budget:
        with self._lock:
            holds = self._declared.get((kind, key)) or limit or self._common
            rates = self._rates(holds, key)
            if len(self._budgets_by_key) >= _MAX_BUDGETS:
                self._budgets_by_key = {
                    place: budget for place, budget in self._budgets_by_key.items() if not budget.is_idle
                }
            name = f"{key or self._namespace[1:-1]!r} ({holds})"
            budget = Budget(self._open_store(), rates, name, holds)
            return self._budgets_by_key.setdefault((kind, key), budget)

    def _rates(self, limit: Limit, key: str) -> list[Rate]:
        rates = list(limit.rates(self._namespace, key))
        if not rates:
            raise ConfigurationError(
                "nothing is limited: the project has neither tpm nor rpm. Give it one, or the limiter a text such as "
                '"100/minute"'
            )
        return rates

    def _open_store(self) -> Store:
        if self._store is None:
            self._store = open_store(self._uri)
            if self._is_copy and isinstance(self._store.sync, MemoryStorage):
                self._store.sync.is_copy = True
        return self._store

    def defer(self, seconds: float, key: str | None = None) -> None:
        """Let no call of *key* begin before *seconds* have passed; without a key, no call that has none.

        Raises:
            ValueError: If *seconds* is negative or not finite.
            ConfigurationError: If nothing is limited.
            LimiterUnavailableError: If the store cannot be reached.
        """
        checked_seconds("a deferral", seconds)
        with self._lock:
            keys = {rate.key for limit, name in self._limits_of(key) for rate in limit.rates(self._namespace, name)}
            if not keys:
                raise ConfigurationError("nothing is limited, so nothing can be deferred")
            store = self._open_store()
        try:
            store.sync.defer_gcra(sorted(keys), seconds)
        except store.errors as error:
            raise store.unavailable(error) from error

    def _limits_of(self, key: str | None) -> Iterable[tuple[Limit, str]]:
        """The limits of *key*, or of all calls that have none, each with its key."""
        if key is None:
            yield from [(self._declared.get(place, self._common), place[1]) for place in self._without_key]
            return
        yield self._declared.get(("tokens", key), self._common), key
        for limit in (self._declared.get(("calls", key)), *self._for_computed_keys):
            if limit is not None:
                yield limit, key

    def _conflict(self, key: str, known: Limit | None, limit: Limit) -> ConfigurationError:
        return ConfigurationError(
            f"two limits for the key {key!r}: {known} holds already, and {limit} is declared. Give each a key= of its "
            "own, or both the same limit"
        )

    def close(self) -> None:
        """Release the store; a later call opens it again."""
        with self._lock:
            if self._store is not None:
                self._store.close()

    def after_fork_in_child(self) -> None:
        """Go on with the same limits; a store in memory is a copy in this process."""
        self._is_copy = True
        self._lock = threading.Lock()
