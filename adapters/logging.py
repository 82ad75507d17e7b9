"""Events as records of the standard `logging`."""

from __future__ import annotations

import logging
from collections.abc import Callable

from beautyspot.project import Project
from beautyspot.results import KINDS, Event, Kind, listen, one_line

__all__ = ["log"]

LEVELS: dict[Kind, int] = {"run": logging.INFO, "wait": logging.INFO, "error": logging.ERROR}  # the others: DEBUG


def log(project: Project, logger: logging.Logger | None = None) -> Callable[[], None]:
    """Log every event of a project: runs and waits as ``INFO``, errors as ``ERROR``, the others as ``DEBUG``.

    A record carries its `Event` as ``record.beautyspot``, for formatters that write fields.

    Args:
        project: The project.
        logger: The logger; by default ``beautyspot``.

    Returns:
        A function that stops the logging.
    """
    to = logging.getLogger("beautyspot") if logger is None else logger

    def write(event: Event) -> None:
        level = LEVELS.get(event.kind, logging.DEBUG)
        if to.isEnabledFor(level):
            to.log(level, "%s", one_line(_text(event)), extra={"beautyspot": event})

    return listen(project, dict.fromkeys(KINDS, write))


def _text(event: Event) -> str:
    call = f"{event.function}({event.input})" if event.input else event.function or "a block"
    key = f" [{event.key[:12]}]" if event.key else ""
    seconds = "" if event.seconds is None else f" {event.seconds:.3f} s"
    if event.kind == "wait":
        return f"{call}{key} waited{seconds} for {event.budget or 'the same call'}"
    if event.kind == "error":
        return f"{call}{key} failed after{seconds}: {type(event.error).__name__}: {event.error}"
    what = {"hit": "was kept", "miss": "runs", "run": f"ran{seconds}", "keep": f"is kept: {event.size} bytes"}
    return f"{call}{key} {what[event.kind]}"
