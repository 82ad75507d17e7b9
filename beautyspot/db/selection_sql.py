"""Selections and orders as SQL: what the catalogs of SQLite and PostgreSQL have in common."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

from beautyspot.errors import ConfigurationError
from beautyspot.protocols.index import FunctionSummary, Order, Selection

DEEPEST = 10_000  # rows listed in an order that no database index supports: no more than these are sorted

_ORDERS = {"created", "size", "seconds"}
_PREFIX = re.compile(r"[0-9a-f]{1,32}")


class Condition(NamedTuple):
    """An SQL condition and the values of its placeholders; the SQL is ``true`` if every row meets the condition."""

    sql: str
    values: list[Any]


def condition_of(selection: Selection, mark: str, like: str) -> Condition:
    """The condition that the rows of a selection meet, except for the status ``"failed"``.

    Args:
        selection: The selection.
        mark: The placeholder for a value, ``?`` or ``%s``.
        like: The operator that compares texts and ignores their case.
    """
    parts: list[tuple[str, Any]] = []
    if selection.function is not None:
        parts.append((f"function = {mark}", selection.function))
    if selection.version is not None:
        parts.append((f"version = {mark}", selection.version))
    if selection.text:
        parts.append((f"input {like} {mark} ESCAPE '!'", f"%{_literal(selection.text)}%"))
    if selection.since is not None:
        parts.append((f"created >= {mark}", selection.since))
    if selection.before is not None:
        parts.append((f"created < {mark}", selection.before))
    if selection.status != "failed":
        parts += _of_results(selection, mark)
    return Condition(" AND ".join(sql for sql, _ in parts) or "true", [value for _, value in parts])


def _of_results(selection: Selection, mark: str) -> list[tuple[str, Any]]:
    parts: list[tuple[str, Any]] = []
    if selection.smallest is not None:
        parts.append((f"size >= {mark}", selection.smallest))
    if selection.largest is not None:
        parts.append((f"size <= {mark}", selection.largest))
    if selection.status == "expired":
        parts.append((f"expires <= {mark}", time.time()))
    return parts


def _literal(text: str) -> str:
    return re.sub(r"([!%_])", r"!\1", text)


def order_of(order: Order, descending: bool, failed: bool) -> str:
    """The SQL of an order; among equal rows the newest comes first.

    Raises:
        ConfigurationError: If there is no such order.
    """
    if order not in _ORDERS or (failed and order == "size"):
        raise ConfigurationError(f'results are ordered by "created", "size" or "seconds", not {order!r}')
    direction = "DESC" if descending else "ASC"
    return f"id {direction}" if order == "created" else f"coalesce({order}, 0) {direction}, id DESC"


def keys_from(prefix: str) -> tuple[bytes, bytes]:
    """The first and the last key whose hexadecimal digits begin with *prefix*.

    Raises:
        ConfigurationError: If no key can begin with *prefix*.
    """
    prefix = prefix.strip().lower()
    if not _PREFIX.fullmatch(prefix):
        raise ConfigurationError(f"a key is written in 1 to 32 of the digits 0-9 and a-f, not as {prefix!r}")
    return bytes.fromhex(prefix.ljust(32, "0")), bytes.fromhex(prefix.ljust(32, "f"))


def filled(rows: list[tuple[int, int]], bins: int) -> list[int]:
    """The counts of all *bins*, from rows of a bin's number and its count."""
    counts = [0] * bins
    for number, count in rows:
        counts[min(max(number, 0), bins - 1)] += count
    return counts


def by_function(kept: Iterable[tuple[Any, ...]], failed: Iterable[tuple[Any, ...]]) -> list[FunctionSummary]:
    """One summary for each version of each function, ordered by name and version.

    Args:
        kept: Rows of function, version, number of results, size, seconds, and time of the latest result.
        failed: Rows of function, version, number of failures, and time of the latest failure.
    """
    found = {
        (function, version): FunctionSummary(function, version, results, size, seconds, 0, latest)
        for function, version, results, size, seconds, latest in kept
    }
    for function, version, failures, latest in failed:
        before = found.get((function, version), FunctionSummary(function, version, 0, 0, 0.0, 0, latest))
        found[function, version] = before._replace(failures=failures, latest=max(latest, before.latest))
    return [found[name] for name in sorted(found)]
