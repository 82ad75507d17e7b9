"""What runs change of what their function captured is its own state; what other code changes is an input."""

import asyncio
import collections
import contextlib
import csv
import gc
import heapq
import io
import os
import random
import signal
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import beautyspot as bs
from beautyspot.keys import captured
from tests.support.marks import on_sqlite


@pytest.fixture(autouse=True)
def _no_warnings() -> Iterator[None]:
    """A warning is an error here, unless the test expects it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", bs.CapturedWarning)
        yield


class Client:
    """A client as people write them: it counts, it remembers, it has a setting."""

    def __init__(self) -> None:
        self.calls = 0
        self.temperature = 0.5
        self.history: list[str] = []
        self.lock = threading.Lock()

    def ask(self, question: str) -> str:
        with self.lock:
            self.calls += 1
            self.history.append(question)
        return question.upper()


@on_sqlite
def test_a_list_a_counter_and_a_client_that_runs_change_make_no_other_call(project: bs.Project) -> None:
    log: list[str] = []
    tokens = 0
    counts: collections.Counter[str] = collections.Counter()
    memo: dict[str, int] = {}
    client, runs = Client(), [0]

    @project.task
    def ask(question: str) -> str:
        nonlocal tokens
        tokens += 1
        runs[0] += 1
        log.append(question)
        counts[question] += 1
        memo[question] = 1
        return client.ask(question)

    assert [ask(each) for each in "abcab"] == list("ABCAB")
    assert runs == [3]
    assert tokens == client.calls == 3


@on_sqlite
def test_what_other_code_sets_between_calls_makes_another_call(project: bs.Project) -> None:
    client, scale = Client(), 1
    settings = {"top": 1, "used": 0}
    log: list[int] = []

    @project.task
    def ask(number: int) -> tuple[float, int, int]:
        settings["used"] += 1
        log.append(number)
        client.ask("x")
        return client.temperature, scale, settings["top"]

    assert ask(1) == (0.5, 1, 1)
    client.temperature = 0.7
    assert ask(1) == (0.7, 1, 1)
    scale = 2
    assert ask(1) == (0.7, 2, 1)
    settings["top"] = 5
    assert ask(1) == (0.7, 2, 5)
    assert len(log) == settings["used"] == client.calls == 4
    assert ask(1) == (0.7, 2, 5)
    client.temperature, scale, settings["top"] = 0.5, 1, 1
    assert ask(1) == (0.5, 1, 1)
    assert len(log) == 4


@on_sqlite
def test_a_recursive_task_with_a_log_runs_each_number_once(project: bs.Project) -> None:
    log = []

    @project.task
    def fib(n: int) -> int:
        log.append(n)
        return n if n < 2 else fib(n - 1) + fib(n - 2)

    assert fib(12) == 144
    assert len(log) == 13


@on_sqlite
def test_two_tasks_share_what_either_changes(project: bs.Project) -> None:
    log: list[str] = []

    def note(text: str) -> None:
        log.append(text)

    @project.task
    def one(x: int) -> int:
        log.append(f"one {x}")
        return x

    @project.task
    def other(x: int) -> int:
        note(f"other {x}")
        return -x

    for _ in range(3):
        assert [one(1), other(1), one(2), other(2)] == [1, -1, 2, -2]
    assert len(log) == 4


@on_sqlite
def test_a_task_and_the_task_that_it_calls_share_a_log(project: bs.Project) -> None:
    log: list[str] = []

    @project.task
    def embed(x: int) -> int:
        log.append("embed")
        return x

    @project.task
    def pipeline(x: int) -> int:
        log.append("pipeline")
        return embed(x) + 1

    for _ in range(3):
        assert [pipeline(n) for n in range(4)] == [1, 2, 3, 4]
    assert len(log) == 8


@on_sqlite
def test_tasks_made_in_a_loop_share_a_log(project: bs.Project) -> None:
    log: list[int] = []

    def made(factor: int) -> Callable[[int], int]:
        @project.task
        def times(x: int) -> int:
            log.append(x)
            return factor * x

        return times

    for _ in range(2):
        for factor in (2, 3):
            times = made(factor)
            assert [times(x) for x in range(4)] == [factor * x for x in range(4)]
    assert len(log) == 8


@on_sqlite
@pytest.mark.parametrize("workers", [1, 4])
def test_counters_in_the_threads_of_a_map_make_no_other_calls(project: bs.Project, workers: int) -> None:
    count, client, log = 0, Client(), []

    @project.task
    def ask(x: int) -> str:
        nonlocal count
        count += 1
        log.append(x)
        return client.ask(str(x))

    for _ in range(3):
        assert bs.map(ask, range(30), workers=workers) == [str(x) for x in range(30)]
    assert count == len(log) == client.calls == 30


@on_sqlite
def test_what_an_object_inside_a_client_counts_in_threads_makes_no_other_calls(project: bs.Project) -> None:
    class Usage:
        def __init__(self) -> None:
            self.total, self.by_model = 0, {"small": 0}

        def add(self, tokens: int) -> None:
            self.total += tokens
            self.by_model["small"] += tokens

    class Outer:
        def __init__(self) -> None:
            self.usage = Usage()

    client, runs = Outer(), []

    @project.task
    def ask(x: int) -> int:
        runs.append(x)
        client.usage.add(10)
        return x

    for _ in range(3):
        bs.map(ask, range(20), workers=4)
    assert len(runs) == 20
    assert client.usage.total == 200


@on_sqlite
def test_counters_in_threads_of_the_program_make_no_other_calls(project: bs.Project) -> None:
    count, log = 0, []

    @project.task
    def ask(x: int) -> int:
        nonlocal count
        count += 1
        log.append(x)
        time.sleep(0.001)
        return x

    def work() -> None:
        for x in range(20):
            ask(x)

    for _ in range(2):
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(log) == 20


@on_sqlite
def test_counters_of_async_tasks_make_no_other_calls(project: bs.Project) -> None:
    count, log = 0, []

    async def main() -> None:
        semaphore = asyncio.Semaphore(3)

        @project.task
        async def ask(x: int) -> int:
            nonlocal count
            async with semaphore:
                await asyncio.sleep(0.001)
                count += 1
                log.append(x)
            return x

        for _ in range(2):
            await asyncio.gather(*(ask(x) for x in range(20)))
            await bs.amap(ask, range(20), workers=5)

    asyncio.run(main())
    assert count == len(log) == 20


@on_sqlite
def test_what_other_code_sets_while_a_call_is_under_way_makes_another_call(project: bs.Project) -> None:
    started, go_on, limit, runs = threading.Event(), threading.Event(), 1, []

    @project.task
    def ask(x: int) -> int:
        runs.append(x)
        started.set()
        go_on.wait(10)
        return limit

    thread = threading.Thread(target=ask, args=(1,))
    thread.start()
    started.wait(10)
    limit = 2
    go_on.set()
    thread.join()
    assert ask(1) == 2
    assert len(runs) == 2


@on_sqlite
def test_what_other_code_sets_while_a_coroutine_waits_makes_another_call(project: bs.Project) -> None:
    client, runs = Client(), []

    async def main() -> float:
        waiting = asyncio.Event()

        @project.task
        async def ask(x: int) -> float:
            runs.append(x)
            await waiting.wait()
            return client.temperature

        first = asyncio.ensure_future(ask(1))
        await asyncio.sleep(0.01)
        client.temperature = 0.9
        waiting.set()
        await first
        return await ask(1)

    assert asyncio.run(main()) == 0.9
    assert len(runs) == 2


@on_sqlite
def test_what_other_code_sets_while_a_stream_is_read_makes_another_call(project: bs.Project) -> None:
    limit, runs = 1, []

    @project.task
    def count(x: int) -> Iterator[int]:
        runs.append(x)
        for i in range(3):
            runs.append(i)
            yield i * limit

    stream = count(1)
    assert next(stream) == 0
    limit = 2
    assert list(stream) == [2, 4]
    assert list(count(1)) == [0, 2, 4]
    assert list(count(1)) == [0, 2, 4]
    assert len(runs) == 8


@on_sqlite
def test_a_batch_function_may_count_its_items(project: bs.Project) -> None:
    seen = []

    @project.batch_task(size=4)
    def double(items: list[int]) -> list[int]:
        seen.extend(items)
        return [2 * item for item in items]

    for _ in range(3):
        assert double(list(range(10))) == [2 * x for x in range(10)]
    assert len(seen) == 10


@on_sqlite
def test_a_variable_that_is_reassigned_by_each_run_is_state(project: bs.Project) -> None:
    log: list[int] = []
    connection: Any = None

    @project.task
    def ask(x: int) -> int:
        nonlocal log, connection
        log = log + [x]  # noqa: RUF005 - as people write it
        if connection is None:
            connection = threading.Lock()
        return x

    for _ in range(3):
        assert [ask(x) for x in range(4)] == [0, 1, 2, 3]
    assert len(log) == 4


@on_sqlite
def test_a_variable_that_is_assigned_after_the_task_is_made_counts(project: bs.Project) -> None:
    def main(model: str) -> str:
        @project.task
        def ask(x: int) -> str:
            return f"{chosen} {x}"

        chosen = model
        return ask(1)

    assert [main("small"), main("large"), main("small")] == ["small 1", "large 1", "small 1"]


@on_sqlite
def test_a_random_generator_is_told_by_its_seed_and_not_by_what_was_drawn(project: bs.Project) -> None:
    runs = []

    def drawn(seed: int) -> list[float]:
        rng, generator = random.Random(seed), np.random.default_rng(seed)

        @project.task
        def draw(x: int) -> float:
            runs.append(x)
            return rng.random() + generator.random()

        return [draw(x) for x in range(3)]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bs.CapturedWarning)
        first, second, again = drawn(1), drawn(2), drawn(1)
    assert first == again != second
    assert len(runs) == 6


class Slotted:
    __slots__ = ("count", "other")

    def __init__(self) -> None:
        self.count = 0
        self.other: Any = self


@on_sqlite
def test_an_object_with_slots_that_holds_itself_may_count(project: bs.Project) -> None:
    counter = Slotted()

    @project.task
    def ask(x: int) -> int:
        counter.count += 1
        return x

    for _ in range(3):
        assert ask(1) == 1
    assert counter.count == 1


@on_sqlite
def test_the_object_of_a_method_may_count_and_its_settings_tell_calls_apart(project: bs.Project) -> None:
    class Bot:
        def __init__(self, model: str) -> None:
            self.model = model
            self.calls = 0
            self.memory: list[str] = []

        @project.task
        def ask(self, question: str) -> str:
            self.calls += 1
            self.memory.append(question)
            return f"{self.model}: {question}"

    bot = Bot("small")
    for _ in range(3):
        assert [bot.ask(each) for each in "ab"] == ["small: a", "small: b"]
    bot.model = "large"
    assert bot.ask("a") == "large: a"
    assert bot.calls == 3
    assert Bot("small").ask("a") == "small: a"
    assert Bot("large").ask("a") == "large: a"


@on_sqlite
def test_what_other_code_changes_in_place_makes_another_call(project: bs.Project) -> None:
    words, table, nested = ["a"], np.zeros(3), {"deep": [1]}

    @project.task
    def ask(x: int) -> tuple[list[str], float, list[int]]:
        return list(words), float(table.sum()), list(nested["deep"])

    assert ask(1) == (["a"], 0.0, [1])
    words.append("b")
    assert ask(1) == (["a", "b"], 0.0, [1])
    table[0] = 5
    assert ask(1) == (["a", "b"], 5.0, [1])
    nested["deep"].append(2)
    assert ask(1) == (["a", "b"], 5.0, [1, 2])


def fill(target: list[Any], value: Any) -> None:
    target.append(value)


@on_sqlite
def test_a_list_that_other_functions_change_for_the_run_is_state(project: bs.Project) -> None:
    cards, heap, lines, filled = [1, 2, 3], [3], io.StringIO(), []
    runs = [0]

    @project.task
    def work(x: int) -> int:
        runs[0] += 1
        random.shuffle(cards)
        heapq.heappush(heap, x)
        csv.writer(lines).writerow([x])
        fill(filled, x)
        return x

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bs.CapturedWarning)
        for _ in range(3):
            assert [work(x) for x in range(3)] == [0, 1, 2]
    assert runs == [3]


@on_sqlite
def test_what_runs_and_other_code_change_in_turn_runs_again_with_a_warning(project: bs.Project) -> None:
    log: list[int] = []

    @project.task
    def ask(x: int) -> int:
        log.append(x)
        return len(log)

    ask(1)
    log.append(0)
    with pytest.warns(bs.CapturedWarning, match=r"both the runs of ask and other code change log.*ignore=\"log\""):
        ask(1)
    assert len(log) == 3


@on_sqlite
def test_a_chat_that_hands_on_its_memory_gives_the_warning(project: bs.Project) -> None:
    def answer(messages: list[str]) -> str:
        return "-".join(messages)

    class Chat:
        def __init__(self) -> None:
            self.messages: list[str] = []

        @project.task
        def ask(self, question: str) -> str:
            self.messages.append(question)
            return answer(self.messages)

    chat = Chat()
    chat.ask("a")
    with pytest.warns(bs.CapturedWarning, match=r"ask hands on self\.messages, which its runs change: calls are told"):
        chat.ask("b")


@pytest.mark.parametrize(
    ("body", "handed_on"),
    [
        ("log.append(x)", False), ("return len(log)", False), ("if log: pass", False), ("return x in log", False),
        ("memo[x] = 1", False), ("memo[x] += 1", False), ("with lock: pass", False), ("log.extend([x]); log.sort()", False),
        ("memo.setdefault(x, []).append(1)", False), ("print(log)", True), ("return log", True), ("return log[-1]", True),
        ("for each in log: pass", True), ("return [each for each in log]", True), ("return memo.get(x)", True),
        ("return log + [x]", True), ("other = log", True), ("return f'{log}'", True), ("return memo[x]", True),
        ("assert not log", False), ("return bool(log) or None", False),
    ],
)  # fmt: skip
def test_what_counts_as_handing_on(body: str, handed_on: bool, tmp_path: Path) -> None:
    from beautyspot.keys.notices import is_handed_on

    file = tmp_path / "written.py"
    file.write_text(f"log, memo, lock = [], {{}}, None\ndef f(x):\n    {body}\n")
    scope: dict[str, Any] = {}
    exec(compile(file.read_text(), str(file), "exec"), scope)
    assert any(is_handed_on(scope["f"], path) for path in ("log", "memo", "lock")) == handed_on


@on_sqlite
def test_ignored_captured_variables_and_attributes_do_not_count(project: bs.Project) -> None:
    client, calls = Client(), []

    def helper() -> None:
        calls.append(1)

    @project.task(ignore=("client.temperature", "helper.calls"))
    def ask(x: int) -> int:
        helper()
        client.ask("x")
        return x

    ask(1)
    client.temperature = 0.9
    calls.append(2)
    ask(1)
    assert client.calls == 1


@on_sqlite
def test_an_ignored_name_that_there_is_not_lists_all_that_there_is(project: bs.Project) -> None:
    limit, calls = 3, []

    def helper() -> int:
        calls.append(1)
        return limit

    with pytest.raises(
        bs.ConfigurationError,
        match=r"no argument, captured variable or constant 'y'; it has arguments: x; captured variables: helper, limit, "
        r"helper\.calls, helper\.limit; constants: Client, np",
    ):

        @project.task(ignore="y")
        def ask(x: int) -> Any:
            return helper(), limit, Client(), np


@on_sqlite
def test_a_name_captured_by_a_helper_is_enough_where_it_is_unambiguous(project: bs.Project) -> None:
    calls: list[int] = []

    def helper() -> None:
        calls.append(1)

    @project.task(ignore="calls")
    def ask(x: int) -> int:
        helper()
        return x

    ask(1)
    calls.append(5)
    ask(1)
    assert calls == [1, 5]


@on_sqlite
def test_explain_names_the_captured_variable_that_differs(project: bs.Project) -> None:
    temperature = 0.5

    @project.task
    def ask(x: int) -> float:
        return x * temperature

    ask(1)
    temperature = 0.7
    assert "captured variable 'temperature'" in ask.explain(1).text


@on_sqlite
def test_a_forked_child_in_which_no_run_goes_on_sets_inputs(project: bs.Project) -> None:
    limit, started, go_on = 1, threading.Event(), threading.Event()

    @project.task
    def ask(x: int) -> int:
        if x == 0:
            started.set()
            go_on.wait(10)
        return limit

    assert ask(1) == 1
    thread = threading.Thread(target=ask, args=(0,))
    thread.start()
    started.wait(10)
    child = os.fork()
    if child == 0:
        status = 1
        with contextlib.suppress(BaseException):
            limit = 7
            status = 0 if ask(1) == 7 else 2
        os._exit(status)
    go_on.set()
    thread.join()
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert ask(1) == 1


@on_sqlite
def test_a_thread_that_a_run_left_behind_makes_calls_run_again_with_a_warning(project: bs.Project) -> None:
    log: list[int] = []
    late = threading.Event()

    @project.task
    def ask(x: int) -> int:
        log.append(x)

        def after() -> None:
            late.wait(10)
            log.append(-x)

        threading.Thread(target=after, name="left behind").start()
        return x

    ask(1)
    late.set()
    for thread in threading.enumerate():
        if thread.name == "left behind":
            thread.join()
    with pytest.warns(bs.CapturedWarning, match="other code change log"):
        ask(1)
    for thread in threading.enumerate():
        if thread.name == "left behind":
            thread.join()
    assert len(log) == 4


class Held:
    """An object that can be weakly referenced, and holds what cannot."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self.table: dict[str, Any] = {}
        self.me = self


@on_sqlite
def test_objects_lists_and_dicts_that_were_looked_at_can_be_collected(project: bs.Project) -> None:
    def made() -> list[weakref.ref[Any]]:
        held = Held()
        held.items.append(held)
        held.table["held"] = held
        alive = Held()
        alive.items.append(Held())

        @project.task
        def ask(x: int) -> int:
            assert held.items
            assert alive.items
            return x

        ask(1)
        ask(2)
        return [weakref.ref(held), weakref.ref(alive), weakref.ref(alive.items[0]), weakref.ref(ask)]

    references = made()
    gc.collect()
    assert [each() for each in references] == [None] * 4


@on_sqlite
def test_of_lists_that_runs_changed_the_newest_512_are_remembered(project: bs.Project) -> None:
    def noted(number: int) -> None:
        log: list[int] = []

        @project.task
        def note(x: int) -> int:
            log.append(x)
            return x

        note(number)

    for number in range(600):
        noted(number)
    assert len(captured._newest) <= 512
    assert len(captured._records) <= 2 * 512


@on_sqlite
def test_an_address_that_comes_back_is_another_object(project: bs.Project) -> None:
    runs = [0]

    def asked(size: int) -> int:
        log = list(range(size))

        @project.task
        def ask(x: int) -> int:
            runs[0] += 1
            log.append(x)
            return size

        return ask(1)

    assert [asked(size) for size in (1, 2, 3, 1, 2, 3)] == [1, 2, 3, 1, 2, 3]
    assert runs == [3]


_PROGRAM = """
import asyncio, sys, threading, time
import beautyspot as bs

project = bs.Project("program")

class Client:
    def __init__(self):
        self.calls, self.tokens, self.lock = 0, {"in": 0}, threading.Lock()
    def ask(self, prompt):
        with self.lock:
            self.calls += 1
            self.tokens["in"] += len(prompt)
        time.sleep(0.02)
        return prompt.upper()

def main(engine):
    client, log, cost = Client(), [], 0.0

    @project.task
    def ask(prompt):
        nonlocal cost
        cost += 0.1
        log.append(prompt)
        with open("runs", "a") as file:
            file.write(".")
        return client.ask(prompt)

    prompts = [f"prompt {i}" for i in range(40)]
    if engine == "loop":
        answers = [ask(prompt) for prompt in prompts]
    else:
        answers = bs.map(ask, prompts, workers=2, engine=engine, progress=False)
    assert answers == [prompt.upper() for prompt in prompts]

if __name__ == "__main__":
    main(sys.argv[1])
"""


@pytest.mark.parametrize("engine", ["loop", "threads", "processes"])
def test_a_program_with_a_client_and_a_cost_counter_resumes_and_runs_nothing_the_third_time(
    engine: str, tmp_path: Path
) -> None:
    import subprocess

    (tmp_path / "program.py").write_text(_PROGRAM)
    runs = tmp_path / "runs"
    command = [sys.executable, "-W", "error::beautyspot.CapturedWarning", "program.py", engine]
    first = subprocess.Popen(command, cwd=tmp_path, start_new_session=True)
    deadline = time.monotonic() + 60
    while not runs.exists() or runs.stat().st_size < 10:
        assert time.monotonic() < deadline
        assert first.poll() is None
        time.sleep(0.005)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    started = runs.stat().st_size
    subprocess.run(command, cwd=tmp_path, check=True)
    second = runs.stat().st_size
    assert 40 <= second <= started + 40 - (started - 8)
    subprocess.run(command, cwd=tmp_path, check=True)
    assert runs.stat().st_size == second
