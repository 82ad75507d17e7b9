"""Events reach logging, OpenTelemetry and Prometheus as their users expect them there."""

import asyncio
import logging
import subprocess
import sys
import time

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from prometheus_client import CollectorRegistry, generate_latest

import beautyspot as bs
from beautyspot.adapters.logging import log
from beautyspot.adapters.opentelemetry import trace
from beautyspot.adapters.prometheus import count

NAME = f"{__name__}.double"
project_index = pytest.fixture(lambda: "sqlite")  # what a library is told is not about the index


def double(x: int) -> int:
    if x < 0:
        raise ValueError("negative")
    time.sleep(0.01)
    return 2 * x


async def double_later(x: int) -> int:
    return double(x)


@pytest.fixture
def provider() -> TracerProvider:
    return TracerProvider()


@pytest.fixture
def exporter(provider: TracerProvider) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return exporter


def attributes(span: ReadableSpan) -> dict[str, object]:
    return dict(span.attributes or {})


@pytest.mark.parametrize(
    ("module", "library", "extra"),
    [("opentelemetry", "opentelemetry", "opentelemetry"), ("prometheus", "prometheus_client", "prometheus")],
)
def test_a_library_that_is_missing_is_named_with_its_extra(module: str, library: str, extra: str) -> None:
    code = f"import sys; sys.modules[{library!r}] = None; import beautyspot.adapters.{module}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert f'need {library}: pip install "beautyspot[{extra}]"' in done.stderr


class TestLogging:
    def test_each_event_is_a_record_that_carries_it(
        self, project: bs.Project, caplog: pytest.LogCaptureFixture
    ) -> None:
        task = project.task(double)
        log(project)
        with caplog.at_level(logging.DEBUG, "beautyspot"):
            task(1)
            task(1)
            with pytest.raises(ValueError, match="negative"):
                task(-1)
        assert [record.beautyspot.kind for record in caplog.records] == ["miss", "run", "keep", "hit", "miss", "error"]
        assert {record.name for record in caplog.records} == {"beautyspot"}
        key = task.key(1)[:12]
        miss, run, keep, hit, _, error = [record.message for record in caplog.records]
        assert miss == f"{NAME}(x=1) [{key}] runs"
        assert run.startswith(f"{NAME}(x=1) [{key}] ran 0.0")
        assert keep == f"{NAME}(x=1) [{key}] is kept: 1 bytes"
        assert hit == f"{NAME} [{key}] was kept"
        assert error.endswith(" s: ValueError: negative")

    def test_runs_are_info_while_hits_are_debug(self, project: bs.Project, caplog: pytest.LogCaptureFixture) -> None:
        task = project.task(double)
        log(project, logging.getLogger("mine"))
        with caplog.at_level(logging.INFO, "mine"):
            task(1)
            task(1)
        assert [(record.name, record.levelname, record.beautyspot.kind) for record in caplog.records] == [
            ("mine", "INFO", "run")
        ]

    def test_a_record_is_one_line_whatever_an_argument_or_an_exception_says(
        self, project: bs.Project, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Hostile(ValueError):
            def __repr__(self) -> str:
                return "\nERROR forged"

            def __beautyspot_key__(self) -> str:
                return "hostile"

        @project.task
        def fail(x: object) -> None:
            raise ValueError("first\nsecond")

        log(project)
        with caplog.at_level(logging.DEBUG, "beautyspot"), pytest.raises(ValueError, match="first"):
            fail(Hostile())
        assert len(caplog.records) == 2
        assert not [record.message for record in caplog.records if "\n" in record.message]

    def test_a_wait_says_for_what(self, caplog: pytest.LogCaptureFixture) -> None:
        with bs.Project("paced", tpm=6_000) as project:
            log(project)
            with caplog.at_level(logging.INFO, "beautyspot"):
                for _ in range(2):
                    with project.limit(cost=5):
                        pass
        (message,) = [record.message for record in caplog.records]
        assert message.startswith("a block waited 0.0")
        assert message.endswith(" s for 'paced' (tpm=6000)")


class TestOpenTelemetry:
    def test_a_run_is_a_span_as_long_as_the_function_ran(
        self, project: bs.Project, provider: TracerProvider, exporter: InMemorySpanExporter
    ) -> None:
        task = project.task(double)
        trace(project, provider)
        before = time.time_ns()
        task(1)
        (span,) = exporter.get_finished_spans()
        assert span.name == NAME
        assert attributes(span) == {
            "code.function.name": NAME,
            "beautyspot.project": "test",
            "beautyspot.key": task.key(1),
            "beautyspot.outcome": "run",
            "beautyspot.result.size": 1,
        }
        assert span.start_time is not None
        assert span.end_time is not None
        assert span.start_time >= before
        assert span.end_time - span.start_time >= 10_000_000
        assert span.status.status_code is StatusCode.UNSET
        assert span.instrumentation_scope is not None
        assert span.instrumentation_scope.name == "beautyspot"

    def test_a_failure_is_a_span_with_its_exception(
        self, project: bs.Project, provider: TracerProvider, exporter: InMemorySpanExporter
    ) -> None:
        trace(project, provider)
        with pytest.raises(ValueError, match="negative"):
            project.task(double)(-1)
        (span,) = exporter.get_finished_spans()
        assert span.status.status_code is StatusCode.ERROR
        assert span.status.description == "ValueError: negative"
        assert attributes(span)["error.type"] == "builtins.ValueError"
        (exception,) = span.events
        assert exception.name == "exception"
        assert dict(exception.attributes or {})["exception.message"] == "negative"

    @pytest.mark.parametrize("hits", [True, False])
    def test_hits_are_spans_if_they_are_wanted(
        self, project: bs.Project, provider: TracerProvider, exporter: InMemorySpanExporter, hits: bool
    ) -> None:
        task = project.task(double)
        task(1)
        trace(project, provider, hits=hits)
        task(1)
        assert [attributes(span)["beautyspot.outcome"] for span in exporter.get_finished_spans()] == ["hit"] * hits

    def test_spans_lie_below_the_one_in_which_the_map_was_called(
        self, project: bs.Project, provider: TracerProvider, exporter: InMemorySpanExporter
    ) -> None:
        task = project.task(double)
        trace(project, provider)
        with provider.get_tracer("mine").start_as_current_span("batch") as batch:
            bs.map(task, range(4))
            bs.map(task, range(4, 6), engine="processes", workers=1)
        *runs, _ = exporter.get_finished_spans()
        assert len(runs) == 6
        assert {span.parent.span_id for span in runs if span.parent} == {batch.get_span_context().span_id}

    def test_spans_of_async_calls_lie_below_the_one_of_their_task(
        self, project: bs.Project, provider: TracerProvider, exporter: InMemorySpanExporter
    ) -> None:
        task = project.task(double_later)
        trace(project, provider)

        async def one(x: int) -> int:
            with provider.get_tracer("mine").start_as_current_span(f"{x}") as span:
                await asyncio.gather(task(x), return_exceptions=True)
            return span.get_span_context().span_id

        async def main() -> list[int]:
            return await asyncio.gather(one(1), one(-1))

        mine = asyncio.run(main())
        spans = [span for span in exporter.get_finished_spans() if span.name.endswith("double_later")]
        assert {span.parent.span_id: attributes(span)["beautyspot.outcome"] for span in spans if span.parent} == {
            mine[0]: "run", mine[1]: "error",
        }  # fmt: skip

    def test_waiting_for_a_budget_is_a_span(self, provider: TracerProvider, exporter: InMemorySpanExporter) -> None:
        with bs.Project("paced", tpm=6_000) as project:
            trace(project, provider)
            for _ in range(2):
                with project.limit(cost=5):
                    pass
        (span,) = exporter.get_finished_spans()
        assert span.name == "wait for budget"
        assert attributes(span) == {
            "beautyspot.project": "paced",
            "beautyspot.outcome": "wait",
            "beautyspot.budget": "'paced' (tpm=6000)",
        }


class TestPrometheus:
    def test_events_are_counted_by_function_with_the_time_they_took(self, project: bs.Project) -> None:
        registry = CollectorRegistry()
        stop = count(project, registry)
        task = project.task(double)
        task(1)
        task(1)
        with pytest.raises(ValueError, match="negative"):
            task(-1)
        of = {"project": "test", "function": NAME}

        def events(kind: str) -> float | None:
            return registry.get_sample_value("beautyspot_events_total", {**of, "kind": kind})

        assert [events(kind) for kind in ("hit", "miss", "run", "keep", "error")] == [1, 2, 1, 1, 1]
        assert registry.get_sample_value("beautyspot_run_seconds_count", of) == 1
        assert (registry.get_sample_value("beautyspot_run_seconds_sum", of) or 0) >= 0.01
        assert registry.get_sample_value("beautyspot_kept_bytes_total", of) == 1
        stop()
        task(1)
        assert events("hit") == 1
        assert (
            b'beautyspot_events_total{function="tests.adapters.test_event_adapters.double",kind="hit"'
            in generate_latest(registry)
        )

    def test_projects_share_a_registry(self, project: bs.Project) -> None:
        registry = CollectorRegistry()
        with bs.Project("other") as other:
            for each in (project, other):
                count(each, registry)
                each.task(double)(1)
        for name in ("test", "other"):
            of = {"project": name, "function": NAME, "kind": "miss"}
            assert registry.get_sample_value("beautyspot_events_total", of) == 1

    def test_waits_are_told_apart_by_what_they_are_for(self) -> None:
        registry = CollectorRegistry()
        with bs.Project("paced", tpm=6_000) as project:
            count(project, registry)
            for _ in range(2):
                with project.limit(cost=5):
                    pass
        of = {"project": "paced", "function": "", "on": "budget"}
        assert registry.get_sample_value("beautyspot_wait_seconds_count", of) == 1
