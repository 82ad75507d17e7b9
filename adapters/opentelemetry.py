"""Events as spans of OpenTelemetry."""

from __future__ import annotations

import time
from collections.abc import Callable

import beautyspot
from beautyspot.errors import ConfigurationError
from beautyspot.project import Project
from beautyspot.results import Event, Kind, Listener, listen

try:
    from opentelemetry import trace as api
    from opentelemetry.util.types import AttributeValue
except ImportError as error:
    raise ConfigurationError('spans need opentelemetry: pip install "beautyspot[opentelemetry]"') from error

__all__ = ["trace"]


def trace(project: Project, tracer_provider: api.TracerProvider | None = None, hits: bool = True) -> Callable[[], None]:
    """Make a span of every run, failure, wait and hit of a project, below the span in which the call was made.

    A span bears the name of the function, and the attributes ``code.function.name``, ``beautyspot.project``,
    ``beautyspot.key``, ``beautyspot.outcome`` (the kind of the event), ``beautyspot.result.size`` and
    ``beautyspot.budget``. It has the start time of the function, and is made when the function has ended, so that no
    span can stay open; a hit's takes no time. Arguments are not part of it.

    Args:
        project: The project.
        tracer_provider: The provider; by default the global one.
        hits: Whether hits are spans too; a map has one for each hit.

    Returns:
        A function that stops the tracing.
    """
    tracer = api.get_tracer("beautyspot", beautyspot.__version__, tracer_provider)

    def span(event: Event) -> None:
        end = time.time_ns()
        start = end - int((event.seconds or 0.0) * 1e9)
        made = tracer.start_span(_name(event), start_time=start, attributes=_attributes(event))
        if event.error is not None:
            made.record_exception(event.error, timestamp=end)
            made.set_status(api.Status(api.StatusCode.ERROR, f"{type(event.error).__name__}: {event.error}"))
        made.end(end)

    listeners: dict[Kind, Listener] = {"run": span, "error": span, "wait": span}
    return listen(project, {**listeners, "hit": span} if hits else listeners)


def _name(event: Event) -> str:
    if event.kind == "wait":
        return f"wait for {'budget' if event.budget else event.function}"
    return event.function


def _attributes(event: Event) -> dict[str, AttributeValue]:
    kind = type(event.error)
    known: dict[str, AttributeValue | None] = {
        "code.function.name": event.function or None,
        "beautyspot.project": event.project,
        "beautyspot.key": event.key or None,
        "beautyspot.outcome": event.kind,
        "beautyspot.result.size": event.size,
        "beautyspot.budget": event.budget or None,
        "error.type": None if event.error is None else f"{kind.__module__}.{kind.__qualname__}",
    }
    return {name: value for name, value in known.items() if value is not None}
