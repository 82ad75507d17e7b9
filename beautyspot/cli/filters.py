"""Filters: options of commands that become a `Selection`."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import click

from beautyspot._internal.units import bytes_in, seconds_in
from beautyspot.errors import ConfigurationError
from beautyspot.maintenance.maintenance import Maintenance
from beautyspot.protocols.index import Selection

_LISTED = 8  # functions that a note lists


def duration(text: str) -> float:
    """The seconds of a length of time such as ``12h``; ``0`` needs no unit."""
    try:
        return 0.0 if text == "0" else seconds_in(text, "a duration")
    except ConfigurationError as error:
        raise click.BadParameter(str(error)) from error


def size(text: str) -> int:
    """The number of bytes of a size such as ``1MB`` or ``64KiB``."""
    try:
        return bytes_in(text, "a size")
    except ConfigurationError as error:
        raise click.BadParameter(str(error)) from error


@dataclass(frozen=True, slots=True)
class Wanted:
    """The values of the options; ``None``: not given."""

    function: str | None = None
    version: str | None = None
    status: Literal["kept", "expired", "failed"] | None = None
    older_than: float | None = None
    newer_than: float | None = None
    larger: int | None = None
    smaller: int | None = None
    text: str | None = None

    def __bool__(self) -> bool:
        return self != Wanted()

    def selection(self, kept: Maintenance) -> Selection:
        """The conditions for an index."""
        now = time.time()
        return Selection(
            self.status or "kept",
            None if self.function is None else _full_name(kept, self.function),
            self.version,
            self.text or "",
            None if self.newer_than is None else now - self.newer_than,
            None if self.older_than is None else now - self.older_than,
            self.larger,
            self.smaller,
        )


_OPTIONS: dict[str, Callable[[Any], Any]] = {
    "function": click.option("--function", metavar="NAME", help="The function: module.name, or the end of it."),
    "version": click.option("--version", metavar="TEXT", help="The version; '' means tasks without one."),
    "status": click.option(
        "--status",
        type=click.Choice(["kept", "expired", "failed"]),
        help="kept (includes expired), expired, or failed.",
    ),
    "older_than": click.option("--older-than", type=duration, help="Older than: 90s, 12h, 30d."),
    "newer_than": click.option("--newer-than", type=duration, help="Newer than: 90s, 12h, 30d."),
    "larger": click.option("--larger", type=size, help="Of at least this size: 500, 64kB, 1MB."),
    "smaller": click.option("--smaller", type=size, help="Of at most this size."),
    "text": click.option("--text", help="The input contains this text."),
}


def filtered(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the options of *names*, as one `Wanted`."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def run(*args: Any, **options: Any) -> Any:
            wanted = Wanted(**{name: options.pop(name) for name in names})
            return command(*args, wanted=wanted, **options)

        decorated: Callable[..., Any] = run
        for name in reversed(names):
            decorated = _OPTIONS[name](decorated)
        return decorated

    return decorate


def _full_name(kept: Maintenance, name: str) -> str:
    """The function whose name ends with *name*; an unknown name is returned as it is, with a note."""
    if any(kept.catalog.select(Selection(status, name), count=1) for status in ("kept", "failed")):
        return name
    known = sorted({found.function for found in kept.catalog.functions()})
    fitting = [function for function in known if function.endswith(f".{name}")]
    if len(fitting) > 1:
        raise ConfigurationError(f"more than one function is called {name}: {', '.join(fitting)}; write one in full")
    if fitting:
        return fitting[0]
    names = ", ".join(known[:_LISTED]) + ", …" * (len(known) > _LISTED)
    click.echo(f"there is no result of a function {name}; there are results of {names or 'no function'}", err=True)
    return name
