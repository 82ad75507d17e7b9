"""A list, a dict, a Counter or a variable collects what ran."""

import collections
import functools
import itertools
import threading

import pytest

import beautyspot as bs


def test_a_list(project, fresh):
    log = []

    @project.task
    def double(x):
        log.append(x)
        return 2 * x

    assert [double(1), double(2), double(1)] == [2, 4, 2]
    assert log == fresh([1, 2])


def test_a_list_with_an_assert_in_the_task(project, fresh):
    log = []

    @project.task
    def double(x):
        assert x > 0, f"{x} is no number for this"
        log.append(x)
        return 2 * x

    assert [double(1), double(2), double(1)] == [2, 4, 2]
    assert log == fresh([1, 2])
    with pytest.raises(AssertionError, match="no number"):
        double(0)


def test_a_dict(project, fresh):
    seen = {}

    @project.task
    def double(x):
        seen[x] = seen.get(x, 0) + 1
        return 2 * x

    assert [double(1), double(2), double(1)] == [2, 4, 2]
    assert seen == fresh({1: 1, 2: 1})


def test_a_dict_by_text(project, fresh):
    calls = {"n": 0}

    @project.task
    def double(x):
        calls["n"] += 1
        return 2 * x

    assert [double(1), double(2), double(1)] == [2, 4, 2]
    assert calls["n"] == fresh(2)


def test_a_counter(project, fresh):
    counts = collections.Counter()

    @project.task
    def double(x):
        counts[x] += 1
        counts.update(["all"])
        return 2 * x

    assert [double(1), double(2), double(1)] == [2, 4, 2]
    assert dict(counts) == fresh({1: 1, "all": 2, 2: 1})


def test_a_defaultdict_of_lists(project, fresh):
    by_word = collections.defaultdict(list)

    @project.task
    def length(word):
        by_word[word].append(len(word))
        return len(word)

    assert [length("a"), length("bb"), length("a")] == [1, 2, 1]
    assert dict(by_word) == fresh({"a": [1], "bb": [2]})


def test_a_set_and_a_deque(project, fresh):
    visited, newest = set(), collections.deque(maxlen=2)

    @project.task
    def visit(url):
        visited.add(url)
        newest.append(url)
        return url.upper()

    assert [visit(url) for url in "abcab"] == list("ABCAB")
    assert sorted(visited) == fresh(["a", "b", "c"])
    assert list(newest) == fresh(["b", "c"])


def test_nonlocal(project, fresh):
    calls = 0

    @project.task
    def double(x):
        nonlocal calls
        calls += 1
        return 2 * x

    assert [double(1), double(2), double(1)] == [2, 4, 2]
    assert calls == fresh(2)


_calls = 0
_log = []


def test_global_variables(project, fresh):
    @project.task
    def double(x):
        global _calls
        _calls += 1
        _log.append(x)
        return 2 * x

    assert [double(1), double(2), double(1)] == [2, 4, 2]
    assert _calls == fresh(2)
    assert _log == fresh([1, 2])


def test_an_attribute_of_the_function(project, fresh):
    def double(x):
        double.calls += 1
        return 2 * x

    double.calls = 0
    task = project.task(double)
    assert [task(1), task(2), task(1)] == [2, 4, 2]
    assert double.calls == fresh(2)


def test_a_list_as_a_default(project, fresh):
    @project.task(ignore="log")
    def double(x, log=[]):
        log.append(x)
        return 2 * x

    assert [double(1), double(2), double(1)] == [2, 4, 2]
    assert double.__wrapped__.__defaults__[0] == fresh([1, 2])


def test_itertools_count(project, fresh):
    numbers = itertools.count(1)

    @project.task
    def double(x):
        next(numbers)
        return 2 * x

    assert [double(1), double(2), double(1)] == [2, 4, 2]
    assert next(numbers) == 1 + fresh(2)


def test_an_iterator_of_answers(project):
    answers = iter([OSError("down"), "rain", "sun"])

    @project.task
    def weather(city):
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    if not weather.cached("Oslo"):
        with pytest.raises(OSError, match="down"):
            weather("Oslo")
    assert weather("Oslo") == weather("Oslo") == "rain"


def test_a_helper_that_notes(project, fresh):
    log = []

    def note(text):
        log.append(text)

    @project.task
    def double(x):
        note(f"doubling {x}")
        return 2 * x

    assert [double(1), double(2), double(1)] == [2, 4, 2]
    assert log == fresh(["doubling 1", "doubling 2"])


def test_a_log_per_test_function_of_one_maker(project, fresh):
    def make(factor):
        log = []

        @project.task
        def times(x):
            log.append(x)
            return factor * x

        return times, log

    double, doubled = make(2)
    triple, tripled = make(3)
    assert [double(1), triple(1), double(1), triple(1)] == [2, 3, 2, 3]
    assert doubled == tripled == fresh([1])


def test_a_class_that_counts(project, fresh):
    class Counter:
        def __init__(self):
            self.n = 0

        def __call__(self):
            self.n += 1

    count = Counter()

    @project.task
    def double(x):
        count()
        return 2 * x

    assert [double(1), double(2), double(1)] == [2, 4, 2]
    assert count.n == fresh(2)


def test_a_map_with_threads(project, fresh):
    log = []

    @project.task
    def double(x):
        log.append(x)
        return 2 * x

    for _ in range(2):
        assert bs.map(double, range(10), workers=4, progress=False) == [2 * x for x in range(10)]
    assert sorted(log) == fresh(list(range(10)))


def test_what_the_test_sets_is_an_input(project):
    temperature, settings = 0.5, {"top": 1}

    @project.task
    def ask(x):
        return (x, temperature, settings["top"])

    assert ask(1) == (1, 0.5, 1)
    temperature = 0.7
    assert ask(1) == (1, 0.7, 1)
    settings["top"] = 2
    assert ask(1) == (1, 0.7, 2)


def test_a_stream(project, fresh):
    log = []

    @project.task
    def count(n):
        for i in range(n):
            log.append(i)
            yield i

    assert list(count(3)) == list(count(3)) == [0, 1, 2]
    assert log == fresh([0, 1, 2])


def test_a_list_that_the_task_returns_is_told(project):
    log = []

    @project.task
    def chat(question):
        log.append(question)
        return list(log)

    if chat.cached("a"):
        return
    assert chat("a") == ["a"]
    with pytest.warns(bs.CapturedWarning, match="chat hands on log"):
        assert chat("b") == ["a", "b"]


def test_a_class_that_decorates_and_counts(project, fresh):
    class Counted:
        def __init__(self, function):
            functools.update_wrapper(self, function)
            self.function = function
            self.calls = 0

        def __call__(self, *args):
            self.calls += 1
            return self.function(*args)

    @Counted
    def double(x):
        return 2 * x

    task = project.task(double)
    assert [task(1), task(2), task(1)] == [2, 4, 2]
    assert double.calls == fresh(2)


def test_a_helper_that_counts_in_an_attribute(project, fresh):
    def double(x):
        double.calls += 1
        return 2 * x

    double.calls = 0

    @project.task
    def apply(function, x):
        return function(x) + 1

    assert [apply(double, 1), apply(double, 2), apply(double, 1)] == [3, 5, 3]
    assert double.calls == fresh(2)


def test_a_project_that_is_captured(project, fresh):
    log = []

    @project.task
    def double(x):
        log.append(project.name)
        return 2 * x

    assert [double(1), double(2), double(1)] == [2, 4, 2]
    assert log == fresh(["tests", "tests"])


def test_a_lock_around_a_counter(project, fresh):
    lock, counter = threading.Lock(), {"calls": 0, "by_name": collections.Counter()}

    @project.task
    def double(x):
        with lock:
            counter["calls"] += 1
            counter["by_name"][str(x)] += 1
        return 2 * x

    assert [double(1), double(2), double(1)] == [2, 4, 2]
    assert counter["calls"] == fresh(2)
