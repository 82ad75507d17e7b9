"""@project.limiter, project.limit and project.defer, as users write them."""

import asyncio
import contextlib
import email.utils
import functools
import http.client
import pickle
import threading
import time
import urllib.error
import warnings
from collections.abc import Callable, Iterator
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
import stamina
import tenacity

import beautyspot as bs
from beautyspot.errors import ConfigurationError, LimiterUnavailableError, RateLimitWarning
from beautyspot.limiter import retry_after
from beautyspot.limiter.gcra import SLACK
from beautyspot.testing import Count


@pytest.fixture
def paced(tmp_path: Path) -> Iterator[bs.Project]:
    """A token takes a millisecond."""
    with bs.Project("paced", db=tmp_path / "paced.db", tpm=60_000) as project:
        yield project


def owed(project: bs.Project, key: str = "", kind: str = "tokens") -> float:
    budget = project.budgets.budget(kind, key)
    return max(owed for owed, _ in budget._store.sync.get_gcra(budget.keys))


@contextlib.contextmanager
def charged(project: bs.Project, seconds: float, key: str = "") -> Iterator[None]:
    """Check that the block costs so many seconds of a budget that owes nothing.

    They pass while it is done: on a busy machine too, no more of them are gone than it took.
    """
    began = time.monotonic()
    yield
    left = owed(project, key)
    took = time.monotonic() - began
    assert seconds - took - SLACK <= left <= seconds


def run(function: Callable[..., Any], *args: Any) -> Any:
    """The result of a function, called or awaited."""
    given = function(*args)
    return asyncio.run(given) if asyncio.iscoroutine(given) else given


# --- what a call costs


def test_a_hit_costs_nothing(paced: bs.Project) -> None:
    @paced.task
    @paced.limiter(cost=30_000)
    def call(x: int) -> int:
        return x

    call(1)
    before = owed(paced)
    assert [call(1) for _ in range(3)] == [1, 1, 1]
    assert owed(paced) <= before


def test_a_map_is_charged_for_each_call_that_runs(paced: bs.Project) -> None:
    @paced.task
    @paced.limiter(cost=20)
    def call(x: int) -> int:
        return x

    started = time.monotonic()
    assert bs.map(call, [*range(10), *range(10)], workers=8, progress=False) == [*range(10), *range(10)]
    assert time.monotonic() - started >= 9 * 0.02 - 0.02
    assert bs.map(call, range(10), progress=False) == list(range(10))


@pytest.mark.parametrize(
    "cost",
    [
        lambda text: len(text),
        len,
        lambda text, model: len(text),
        lambda text, **rest: len(text),
        lambda *args, **kwargs: 500,
        500,
        500.0,
    ],
)
def test_a_cost_is_a_number_or_a_function_of_the_arguments_that_it_names(cost: Any, paced: bs.Project) -> None:
    @paced.limiter(cost=cost)
    def call(text: str, model: str = "small") -> str:
        return text

    with charged(paced, 0.5):
        call("x" * 500)


def test_a_cost_that_names_a_missing_argument_is_rejected_by_the_decorator(paced: bs.Project) -> None:
    def call(prompt: str, model_name: str = "small") -> str:
        return prompt

    for options in ({"key": lambda model: model}, {"cost": lambda tokens: tokens}, {"cost": lambda a, b, c: 1}):
        with pytest.raises(ConfigurationError, match=r"and .*call has prompt, model_name"):
            paced.limiter(**options)(call)  # type: ignore[call-overload]
    assert paced.limiter(cost=lambda text: len(text))(lambda prompt: prompt)("one argument") == "one argument"


def test_a_cost_without_names_gets_the_first_argument_after_self(paced: bs.Project) -> None:
    class Client:
        @paced.limiter(cost=len)
        def ask(self, text: str) -> str:
            return text

    with charged(paced, 0.4):
        assert Client().ask("x" * 400) == "x" * 400


def test_a_cost_sees_arguments_however_they_are_passed(paced: bs.Project) -> None:
    seen: list[Any] = []

    @paced.limiter(cost=lambda model, text: seen.append((model, text)) or 1)
    def call(text: str, model: str = "small", *, verbose: bool = False) -> None: ...

    call("a")
    call(text="b")
    call("c", "large", verbose=True)
    assert seen == [("small", "a"), ("small", "b"), ("large", "c")]


def test_the_cost_is_computed_once_per_call(paced: bs.Project, count: Count) -> None:
    @paced.limiter(cost=lambda: count() or 1)
    def call() -> None: ...

    @paced.limiter(cost=lambda: count() or 1)
    async def call_async() -> None: ...

    for _ in range(3):
        call()
        asyncio.run(call_async())
    assert len(count) == 6


def test_without_options_a_call_costs_one(paced: bs.Project) -> None:
    @paced.limiter
    def call() -> None: ...

    call()
    assert 0 < owed(paced) + 0.01 <= 0.011


def test_a_limited_function_keeps_its_name_and_signature(paced: bs.Project) -> None:
    @paced.limiter(cost=1)
    def call(x: int, y: str = "") -> str:
        """Its docstring."""
        return y * x

    @paced.limiter
    async def call_async(x: int) -> int:
        return x

    assert (call.__name__, call.__doc__) == ("call", "Its docstring.")
    assert call(2, "a") == "aa"
    assert asyncio.iscoroutinefunction(call_async)
    with pytest.raises(TypeError, match="call"):
        call()  # type: ignore[call-arg]


def test_methods_are_charged_too(paced: bs.Project) -> None:
    class Client:
        model = "m"

        @paced.limiter(cost=lambda self, text: len(text), key=lambda self: self.model)
        def ask(self, text: str) -> str:
            return text

        @staticmethod
        @paced.limiter(cost=1, key="static")
        def one() -> int:
            return 1

        @paced.limiter(cost=1, key="class")
        @classmethod
        def two(cls) -> str:
            return cls.__name__

    with charged(paced, 0.3, "m"):
        assert Client().ask("x" * 300) == "x" * 300
    assert (Client.one(), Client.two()) == (1, "Client")


def test_a_limiter_changes_no_key(paced: bs.Project) -> None:
    def call(x: int) -> int:
        return x

    plain = paced.task(call)
    limited = paced.task(paced.limiter(cost=lambda x: x, key="k", max_wait=3)(call))
    assert plain.key(1) == limited.key(1)


@pytest.mark.parametrize("limits", [1, 2])
def test_a_decorator_above_a_limiter_is_still_part_of_the_key(paced: bs.Project, limits: int) -> None:
    """It has the attributes of what it wraps, since `functools.wraps` copies them."""

    def scaled(factor: int) -> Any:
        def call(x: int) -> int:
            return x

        for number in range(limits):
            call = paced.limiter(cost=1, key=str(number))(call)

        @functools.wraps(call)
        def wrapper(x: int) -> int:
            return factor * call(x)

        return paced.task(wrapper)

    assert scaled(2).key(1) == scaled(2).key(1) != scaled(3).key(1)


def test_a_call_that_raises_is_charged_and_its_caller_gets_the_error(paced: bs.Project) -> None:
    @paced.limiter(cost=500)
    def fails() -> None:
        raise KeyError("x")

    with charged(paced, 0.5), pytest.raises(KeyError, match="x"):
        fails()


# --- which budget


def test_tokens_and_calls_are_charged_together(tmp_path: Path) -> None:
    with bs.Project("p", db=tmp_path / "p.db", tpm=60_000, rpm=60) as project:

        @project.limiter(cost=100, max_wait=0.5)
        def call() -> None: ...

        call()
        with pytest.raises(bs.RateLimitExceeded) as refused:
            call()
        assert refused.value.retry_after == pytest.approx(1, abs=0.9)
        budget = project.budgets.budget("tokens", "")
        tokens, calls = (owed for owed, _ in budget._store.sync.get_gcra(budget.keys))
        assert tokens < 0.15  # the refused call was charged to neither
        assert calls < 1.1


def test_a_project_may_limit_calls_alone(tmp_path: Path) -> None:
    with bs.Project("p", db=tmp_path / "p.db", tpm=None, rpm=60) as project:
        call = project.limiter(cost=10**9, max_wait=0)(lambda: None)
        call()
        with pytest.raises(bs.RateLimitExceeded):
            call()


def test_each_key_has_a_budget(paced: bs.Project) -> None:
    @paced.limiter(cost=1000, key=lambda model, **_: model, max_wait=0)
    def call(text: str, model: str) -> str:
        return text

    call("a", "small")
    call("a", model="large")
    with pytest.raises(bs.RateLimitExceeded, match="small"):
        call("a", "small")


def test_functions_with_the_same_key_share_its_budget(paced: bs.Project) -> None:
    one = paced.limiter(cost=1000, key="k")(lambda: 1)
    other = paced.limiter(cost=1000, key="k", max_wait=0)(lambda: 2)
    one()
    with pytest.raises(bs.RateLimitExceeded):
        other()


def test_a_limit_in_text_belongs_to_the_function(paced: bs.Project) -> None:
    @paced.limiter("60/minute", max_wait=0)
    def one() -> int:
        return 1

    @paced.limiter("60/minute", max_wait=0)
    def other() -> int:
        return 2

    assert (one(), other()) == (1, 2)
    with pytest.raises(bs.RateLimitExceeded, match="60/minute"):
        one()


def test_several_limits_of_a_text_all_hold(paced: bs.Project) -> None:
    @paced.limiter("10/second; 60/minute", max_wait=0.5)
    def call() -> None: ...

    call()
    with pytest.raises(bs.RateLimitExceeded) as refused:
        call()
    assert refused.value.retry_after == pytest.approx(1, abs=0.9)


def test_a_key_of_a_text_may_depend_on_the_call(paced: bs.Project) -> None:
    @paced.limiter("60/minute", cost=1, key=lambda model, **_: model, max_wait=0)
    def call(model: str, text: str = "") -> str:
        return model

    assert [call("a"), call("b")] == ["a", "b"]
    with pytest.raises(bs.RateLimitExceeded):
        call("a")


def test_numbers_of_a_decorator_override_those_of_the_project(paced: bs.Project) -> None:
    call = paced.limiter(cost=10, tpm=600, key="slow")(lambda: None)
    call()
    assert owed(paced, "slow") == pytest.approx(1, abs=0.9)
    with paced.limit(cost=0, key="slow"):  # the same budget, with the limit that was declared for it
        assert paced.budgets.budget("tokens", "slow").limit == bs.limiter.rates.TokenLimit(600, None, 0)  # type: ignore[attr-defined]


def test_a_burst_is_saved_up(tmp_path: Path) -> None:
    with bs.Project("p", db=tmp_path / "p.db", tpm=600, burst=20) as project:
        call = project.limiter(cost=10, max_wait=0)(lambda: None)
        for _ in range(3):
            call()
        with pytest.raises(bs.RateLimitExceeded):
            call()


def test_two_limits_under_one_key_are_rejected_by_the_decorator(paced: bs.Project) -> None:
    paced.limiter(tpm=100, key="k")(lambda: None)
    with pytest.raises(ValueError, match="two limits for the key 'k'"):
        paced.limiter(tpm=200, key="k")(lambda: None)
    paced.limiter("1/second", key="k")(lambda: None)  # a limit of another kind: both hold
    with pytest.raises(ValueError, match="two limits"):
        paced.limiter("2/second", key="k")(lambda: None)


def test_two_limits_under_one_computed_key_are_rejected_by_the_call(paced: bs.Project) -> None:
    one = paced.limiter("100/second", key=lambda model: model)(lambda model: model)
    other = paced.limiter("200/second", key=lambda model: model)(lambda model: model)
    one("m")
    with pytest.raises(ValueError, match="two limits for the key 'm'"):
        other("m")


def test_projects_of_one_index_share_a_budget(tmp_path: Path) -> None:
    with bs.Project("p", db=tmp_path / "p.db", tpm=600) as one, bs.Project("p", db=tmp_path / "p.db", tpm=600) as other:
        one.limiter(cost=10)(lambda: None)()
        with pytest.raises(bs.RateLimitExceeded):
            other.limiter(cost=1, max_wait=0)(lambda: None)()
    assert (tmp_path / "p.db-limits").exists()


def test_a_budget_in_memory_writes_no_file(tmp_path: Path) -> None:
    with bs.Project("p", db=tmp_path / "p.db", limiter_uri="memory://") as project:
        project.limiter(lambda: None)()
    assert list(tmp_path.iterdir()) == []


def test_an_index_in_memory_has_a_budget_in_memory(tmp_path: Path) -> None:
    with bs.Project("p", db="memory://") as project:
        project.limiter(lambda: None)()
    assert list(tmp_path.iterdir()) == []


# --- settling


@pytest.mark.parametrize("is_async", [False, True])
def test_the_actual_cost_is_charged(is_async: bool, paced: bs.Project) -> None:
    options: dict[str, Any] = {"cost": 800, "settle": lambda result: result["usage"]["total_tokens"]}
    answer = {"usage": {"total_tokens": 200}}

    @paced.limiter(**options)
    def call() -> Any:
        return answer

    @paced.limiter(**options)
    async def call_async() -> Any:
        return answer

    with charged(paced, 0.2):
        assert run(call_async if is_async else call) is answer


def test_more_than_was_estimated_is_charged_too(paced: bs.Project) -> None:
    paced.limiter(cost=1, settle=lambda result: 100_000)(lambda: None)()
    assert owed(paced) == pytest.approx(100, abs=9)


@pytest.mark.parametrize("settle", [lambda result: result["usage"], lambda result: None, lambda result: -1])
@pytest.mark.parametrize("is_async", [False, True])
def test_a_failing_settle_costs_no_result(settle: Any, is_async: bool, paced: bs.Project) -> None:
    async def call_async() -> dict[str, int]:
        return {"answer": 1}

    limited = paced.limiter(cost=500, settle=settle)(call_async if is_async else lambda: {"answer": 1})
    with charged(paced, 0.5), pytest.warns(RateLimitWarning, match="could not be settled"):
        assert run(limited) == {"answer": 1}


def test_a_permit_charges_what_was_settled(paced: bs.Project) -> None:
    with charged(paced, 0.1), paced.limit(cost=500) as permit:
        permit.settle(900)
        permit.settle(100)

    async def main() -> None:
        async with paced.limit(cost=500, key="async") as permit:
            permit.settle(300)

    with charged(paced, 0.3, "async"):
        asyncio.run(main())


def test_a_permit_that_is_not_settled_charges_the_estimate(paced: bs.Project) -> None:
    with charged(paced, 0.5), pytest.raises(KeyError), paced.limit(cost=500):
        raise KeyError


def test_a_permit_is_settled_inside_of_its_block(paced: bs.Project) -> None:
    permit = paced.limit(cost=5)
    with pytest.raises(ConfigurationError, match="inside of its with block"):
        permit.settle(3)
    with permit, pytest.raises(ValueError, match="finite"):
        permit.settle(float("nan"))


def test_a_permit_may_be_refused(paced: bs.Project) -> None:
    with paced.limit(cost=5000):
        pass
    with pytest.raises(bs.RateLimitExceeded), paced.limit(cost=1, max_wait=0.1):
        raise AssertionError
    with pytest.raises(ValueError, match="can never be admitted"), paced.limit(cost=60_001):
        raise AssertionError


# --- deferring


def test_no_call_begins_before_a_deferral_is_over(paced: bs.Project) -> None:
    begun: list[float] = []
    call = paced.limiter(cost=1)(lambda: begun.append(time.monotonic()))

    async def call_async() -> None:
        await paced.limiter(cost=1)(_note)(begun)

    deferred = time.monotonic()
    paced.defer(0.4)
    threads = [threading.Thread(target=call) for _ in range(3)]
    threads.append(threading.Thread(target=asyncio.run, args=(call_async(),)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(begun) == 4
    assert min(begun) - deferred >= 0.39


async def _note(begun: list[float]) -> None:
    begun.append(time.monotonic())


def test_a_deferral_of_a_key_delays_that_key_alone(paced: bs.Project) -> None:
    @paced.limiter(cost=1, key=lambda model: model, max_wait=0)
    @paced.limiter("1000/second", key=lambda model: model, max_wait=0)
    def call(model: str) -> str:
        return model

    paced.defer(5, key="a")
    assert call("b") == "b"
    with pytest.raises(bs.RateLimitExceeded) as refused:
        call("a")
    assert refused.value.retry_after == pytest.approx(5, abs=0.9)
    assert owed(paced, "a", "calls") == pytest.approx(5, abs=0.9)


def test_a_deferral_without_a_key_delays_calls_without_one(paced: bs.Project) -> None:
    own = paced.limiter("1000/second", max_wait=0)(lambda: None)
    keyed = paced.limiter("1000/second", key="k", max_wait=0)(lambda: "through")
    common = paced.limiter(cost=1, max_wait=0)(lambda: None)
    paced.defer(5)
    for call in (own, common):
        with pytest.raises(bs.RateLimitExceeded):
            call()
    assert keyed() == "through"


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
def test_an_invalid_deferral_is_a_value_error(seconds: float, paced: bs.Project) -> None:
    with pytest.raises(ValueError, match="finite number of seconds"):
        paced.defer(seconds)


class Response:
    def __init__(self, headers: dict[str, str], status_code: int = 429) -> None:
        self.headers = headers
        self.status_code = status_code


class StatusError(Exception):
    """An error as the clients of providers raise it."""

    def __init__(self, response: Response) -> None:
        super().__init__(response)
        self.response = response


@pytest.mark.parametrize("is_async", [False, True])
def test_a_retry_after_on_an_exception_delays_all_calls(is_async: bool, paced: bs.Project) -> None:
    error = StatusError(Response({"Retry-After": "7"}))

    @paced.limiter(cost=1)
    def call() -> None:
        raise error

    @paced.limiter(cost=1)
    async def call_async() -> None:
        raise error

    with pytest.raises(StatusError):
        run(call_async if is_async else call)
    assert owed(paced) == pytest.approx(7, abs=0.9)


@pytest.mark.parametrize("is_async", [False, True])
def test_a_retry_after_that_leaves_a_permit_delays_all_calls(is_async: bool, paced: bs.Project) -> None:
    def call() -> None:
        with paced.limit():
            raise StatusError(Response({"retry-after-ms": "7000"}))

    async def call_async() -> None:
        async with paced.limit():
            raise StatusError(Response({"retry-after-ms": "7000"}))

    with pytest.raises(StatusError):
        run(call_async if is_async else call)
    assert owed(paced) == pytest.approx(7, abs=0.9)


@pytest.mark.parametrize(
    "error",
    [
        StatusError(Response({"Retry-After": "7"}, 400)),
        StatusError(Response({"x-ratelimit-reset-tokens": "7s"}, 400)),
        StatusError(Response({"Retry-After": "soon"})),
        ValueError("7"),
        bs.RateLimitExceeded("k", 7, 0),
    ],
    ids=lambda error: type(error).__name__,
)
def test_other_failures_delay_no_call(error: Exception, paced: bs.Project) -> None:
    def call() -> None:
        raise error

    with pytest.raises(type(error)):
        paced.limiter(cost=1)(call)()
    assert owed(paced) < 0.1


def test_one_answer_delays_all_calls_by_an_hour_at_most(paced: bs.Project, caplog: pytest.LogCaptureFixture) -> None:
    def call() -> None:
        raise StatusError(Response({"Retry-After": "31536000"}))

    with pytest.raises(StatusError):
        paced.limiter(cost=1)(call)()
    assert owed(paced) == pytest.approx(3600, abs=9)
    assert "'paced' (tpm=60000) is deferred: no call of it begins for 3600 s" in caplog.text


def _message(**headers: str) -> Message:
    message = Message()
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    return message


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        ({"Retry-After": "3"}, 3),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"RETRY-AFTER": email.utils.formatdate(time.time() + 6000, usegmt=True)}, 6000),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"x-ratelimit-reset-tokens": "6m0s", "x-ratelimit-reset-requests": "120ms"}, 360),
        ({"x-ratelimit-reset": str(time.time() + 6000)}, 6000),
        ({"anthropic-ratelimit-tokens-reset": "2015-10-21T07:28:00Z"}, 0),
        ({"anthropic-ratelimit-input-tokens-reset": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 6000))}, 6000),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "-5"}, None),
        ({}, None),
        (Response({"Retry-After": "3"}), 3),
        (StatusError(Response({"Retry-After": "3"})), 3),
        (urllib.error.HTTPError("u", 429, "m", _message(Retry_After="3"), None), 3),
        (http.client.HTTPException(), None),
    ],
)  # fmt: skip
def test_a_retry_after_is_read_in_every_spelling(answer: Any, seconds: float | None) -> None:
    found = retry_after(answer)
    assert found == (None if seconds is None else pytest.approx(seconds, abs=0.1 if seconds < 1000 else 1200))


# --- under the retry libraries


def _unwell(count: Count, times: int, seconds: str = "0.3") -> Callable[[], str]:
    def call() -> str:
        count()
        if len(count) <= times:
            raise StatusError(Response({"Retry-After": seconds}))
        return "answer"

    return call


def test_each_attempt_of_tenacity_is_charged_and_waits(paced: bs.Project, count: Count) -> None:
    limited = paced.limiter(cost=1000, key="k")(_unwell(count, 2, "1.2"))

    @paced.task
    @tenacity.retry(retry=tenacity.retry_if_exception_type(StatusError), stop=tenacity.stop_after_attempt(5))
    def call() -> str:
        return limited()

    started = time.monotonic()
    assert call() == "answer"
    assert len(count) == 3
    assert time.monotonic() - started >= 2.35
    assert owed(paced, "k") == pytest.approx(1, abs=0.9)
    assert call() == "answer"
    assert len(count) == 3


def test_each_attempt_of_stamina_is_charged_and_waits(paced: bs.Project, count: Count) -> None:
    @stamina.retry(on=StatusError, wait_initial=0, wait_jitter=0)
    @paced.limiter(cost=100)
    async def call() -> str:
        return _unwell(count, 2)()

    started = time.monotonic()
    assert asyncio.run(call()) == "answer"
    assert len(count) == 3
    assert time.monotonic() - started >= 0.58


# --- invalid limits


@pytest.mark.parametrize(
    "options",
    [{"tpm": 0}, {"tpm": 1.5}, {"tpm": True}, {"rpm": -1}, {"rpm": "5"}, {"burst": -1}, {"burst": float("nan")}],
)
def test_invalid_limits_are_rejected(options: dict[str, Any], paced: bs.Project) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        bs.Project("p", **options)
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        paced.limiter(**options)


@pytest.mark.parametrize(
    ("limit", "options", "text"),
    [
        ("lots", {}, "a limit is written as"),
        ("0/minute", {}, "admits nothing"),
        (5, {}, "a limit is written as"),
        ("5/minute", {"tpm": 5}, "either a text"),
        (None, {"max_wait": -1}, "max_wait"),
        (None, {"cost": -1}, "cost"),
        (None, {"key": ""}, "not empty"),
        (None, {"settle": 5}, "settle is a function"),
    ],
)
def test_an_invalid_limiter_is_rejected(limit: Any, options: Any, text: str, paced: bs.Project) -> None:
    with pytest.raises(ValueError, match=text):
        paced.limiter(limit, **options)(lambda: None)


@pytest.mark.parametrize("options", [{"cost": "5"}, {"cost": True}, {"key": 1.5}, {"max_wait": "1"}])
def test_a_limiter_of_the_wrong_type_is_a_type_error(options: Any, paced: bs.Project) -> None:
    with pytest.raises(TypeError):
        paced.limiter(**options)(lambda: None)


def test_a_misspelt_option_is_rejected(paced: bs.Project) -> None:
    with pytest.raises(TypeError, match="costs"):
        paced.limiter(costs=5)  # type: ignore[call-overload]


def test_a_key_that_is_no_text_is_a_type_error(paced: bs.Project) -> None:
    call = paced.limiter(key=lambda model: [model])(lambda model: model)
    with pytest.raises(TypeError, match="the key of a budget"):
        call("m")
    assert paced.limiter(key=lambda model: None)(lambda model: model)("m") == "m"
    assert paced.limiter(key=lambda model: 5)(lambda model: model)("m") == "m"


def test_a_task_is_not_limited_from_outside(paced: bs.Project) -> None:
    with pytest.raises(ConfigurationError, match=r"below @project\.task"):
        paced.limiter(cost=1)(paced.task(len))


def test_only_a_callable_can_be_limited(paced: bs.Project) -> None:
    with pytest.raises(ConfigurationError, match="cannot be called"):
        paced.limiter(cost=1)(5)  # type: ignore[type-var]


def test_nothing_to_limit_is_an_error(tmp_path: Path) -> None:
    with bs.Project("p", db=tmp_path / "p.db", tpm=None) as project:
        with pytest.raises(ConfigurationError, match="neither tpm nor rpm"):
            project.limiter(lambda: None)()
        assert project.limiter("60/minute")(lambda: 1)() == 1


def test_a_store_that_cannot_be_reached_runs_nothing(tmp_path: Path, count: Count) -> None:
    with bs.Project("p", db=tmp_path / "p.db", limiter_uri="redis://:secret@127.0.0.1:1/0") as project:

        @project.limiter
        async def call_async() -> None:
            count()

        for call in (project.limiter(count), lambda: asyncio.run(call_async()), lambda: project.defer(1)):
            with pytest.raises(LimiterUnavailableError, match=r"127\.0\.0\.1:1") as refused:
                call()
            assert "secret" not in str(refused.value)
    assert len(count) == 0


def test_a_store_that_is_lost_while_a_call_runs_costs_no_result(tmp_path: Path) -> None:
    place = tmp_path / "budgets" / "b.db"
    with bs.Project("p", db=tmp_path / "p.db", tpm=60_000, limiter_uri=f"sqlite:///{place}") as project:

        def call() -> str:
            project.budgets.close()
            for file in place.parent.iterdir():
                file.unlink()
            place.mkdir()
            return "answer"

        with pytest.warns(RateLimitWarning, match="could not be settled"):
            assert project.limiter(cost=5, settle=lambda result: 1)(call)() == "answer"


def test_a_plan_includes_the_time_that_the_budget_needs(paced: bs.Project) -> None:
    @paced.task
    @paced.limiter("600/minute")
    @paced.limiter(cost=lambda number: 1000 * number, key=lambda number: "even" if number % 2 == 0 else "odd")
    def call(number: int) -> int:
        return number

    assert bs.plan(call, [1, 2, 3, 4]).seconds == pytest.approx(6)  # of the budget of even numbers
    assert bs.plan(call, [0] * 5).to_run == 1
    assert bs.plan(call, [0]).seconds == pytest.approx(0.1)  # as any call, by the text
    call(0)
    assert bs.plan(call, [0]).seconds == pytest.approx(0, abs=0.09)


# --- copies of a project


def test_a_pickled_project_has_its_limits(tmp_path: Path) -> None:
    options: dict[str, Any] = {"tpm": 600, "rpm": 7, "burst": 3, "limiter_uri": f"sqlite:///{tmp_path}/b.db"}
    with bs.Project("p", db=tmp_path / "p.db", **options) as project:
        copy = pickle.loads(pickle.dumps(project))
        assert {name: getattr(copy, name) for name in options} == options
        project.limiter(cost=10, tpm=600, key="k")(lambda: None)()
        with pytest.raises(bs.RateLimitExceeded):
            copy.limiter(cost=1, tpm=600, key="k", max_wait=0)(lambda: None)()
        copy.close()


def test_a_pickled_copy_with_a_budget_in_memory_warns(tmp_path: Path) -> None:
    with bs.Project("p", db=tmp_path / "p.db", limiter_uri="memory://") as project:
        copy = pickle.loads(pickle.dumps(project))
        with pytest.warns(RateLimitWarning, match="Leave limiter_uri out"):
            copy.limiter(lambda: None)()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            copy.limiter(lambda: None)()
        copy.close()
