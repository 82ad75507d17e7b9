"""Events as metrics of Prometheus."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable

from beautyspot.errors import ConfigurationError
from beautyspot.project import Project
from beautyspot.results import KINDS, Event, listen

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram
except ImportError as error:
    raise ConfigurationError('metrics need prometheus_client: pip install "beautyspot[prometheus]"') from error

__all__ = ["count"]

BUCKETS = (0.001, 0.01, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600)  # seconds: from a lookup to a training


class _Metrics:
    """The metrics of one registry, which all projects share."""

    def __init__(self, registry: CollectorRegistry) -> None:
        of = ("project", "function")
        self.events = Counter("beautyspot_events", "What became of calls", (*of, "kind"), registry=registry)
        self.run = Histogram("beautyspot_run_seconds", "How long functions ran", of, registry=registry, buckets=BUCKETS)
        self.kept = Counter("beautyspot_kept_bytes", "Bytes of the results that were kept", of, registry=registry)
        self.wait = Histogram(
            "beautyspot_wait_seconds", "How long calls waited", (*of, "on"), registry=registry, buckets=BUCKETS
        )

    def note(self, event: Event) -> None:
        """Count an event."""
        of = (event.project, event.function)
        self.events.labels(*of, event.kind).inc()
        if event.kind == "run":
            self.run.labels(*of).observe(event.seconds or 0.0)
        elif event.kind == "keep":
            self.kept.labels(*of).inc(event.size or 0)
        elif event.kind == "wait":
            # Names of budgets may be as many as there are users: they are no label.
            self.wait.labels(*of, "budget" if event.budget else "call").observe(event.seconds or 0.0)


_made: weakref.WeakKeyDictionary[CollectorRegistry, _Metrics] = weakref.WeakKeyDictionary()
_making = threading.Lock()


def count(project: Project, registry: CollectorRegistry = REGISTRY) -> Callable[[], None]:
    """Count the events of a project: several projects may be counted in one registry.

    ``beautyspot_events_total{project,function,kind}``, ``beautyspot_run_seconds{project,function}``,
    ``beautyspot_wait_seconds{project,function,on}`` (``on`` is ``"budget"`` or ``"call"``) and
    ``beautyspot_kept_bytes_total{project,function}``.

    Args:
        project: The project.
        registry: The registry; by default the global one.

    Returns:
        A function that stops the counting; the counts stay.
    """
    with _making:
        metrics = _made.get(registry)
        if metrics is None:
            metrics = _made[registry] = _Metrics(registry)
    return listen(project, dict.fromkeys(KINDS, metrics.note))
