"""What identifies a function: pairs that answer differently have two keys, pairs that answer alike have one."""

import dataclasses
import enum
import functools
import gc
import linecache
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydantic
import pytest

import beautyspot as bs
from beautyspot.keys.keyer import Keyer
from tests.support.marks import on_sqlite


def key_of(function: Any, *args: Any) -> bytes:
    return Keyer(function)(args, {})[0]


class Settings:
    def __init__(self, value: Any) -> None:
        self.value = value


def plain(value: Any) -> Callable[[int], Any]:
    def ask(x: int) -> Any:
        return x, value

    return ask


def as_default(value: Any) -> Callable[[int], Any]:
    def ask(x: int, value: Any = value) -> Any:
        return x, value

    return ask


def in_a_list(value: Any) -> Callable[[int], Any]:
    return plain([value])


def as_attribute(value: Any) -> Callable[[int], Any]:
    return plain(Settings(value))


def in_a_helper(value: Any) -> Callable[[int], Any]:
    def helper() -> Any:
        return value

    def ask(x: int) -> Any:
        return x, helper()

    return ask


def in_a_partial(value: Any) -> Any:
    def ask(other: Any, x: int) -> Any:
        return x, other

    return functools.partial(ask, value)


def in_a_method(value: Any) -> Any:
    class Local:
        def __init__(self) -> None:
            self.value = value

        def ask(self, x: int) -> Any:
            return x, self.value

    return Local().ask


def in_a_class(value: Any) -> Any:
    class Local:
        held = value

    def ask(x: int) -> Any:
        return x, Local.held

    return ask


def in_a_wrapper(value: Any) -> Any:
    def decorate(function: Any) -> Any:
        @functools.wraps(function)
        def wrapper(*args: Any) -> Any:
            return function(*args), value

        return wrapper

    @decorate
    def ask(x: int) -> Any:
        return x

    return ask


def in_a_wrapping_object(value: Any) -> Any:
    class Wrapper:
        def __init__(self, function: Any) -> None:
            functools.update_wrapper(self, function)
            self.value = value

        def __call__(self, x: int) -> Any:
            return self.__wrapped__(x), self.value  # type: ignore[attr-defined]

    @Wrapper
    def ask(x: int) -> Any:
        return x

    return ask


def in_a_cached_helper(value: Any) -> Any:
    @functools.lru_cache
    def helper() -> Any:
        return value

    def ask(x: int) -> Any:
        return x, helper()

    return ask


def in_a_task(value: Any) -> Any:
    @bs.Project("inner").task
    def inner(x: int) -> Any:
        return x, value

    def ask(x: int) -> Any:
        return inner(x)

    return ask


def in_a_singledispatch(value: Any) -> Any:
    @functools.singledispatch
    def helper(x: Any) -> Any:
        return value

    def ask(x: int) -> Any:
        return helper(x)

    return ask


def in_a_closure_of_a_closure(value: Any) -> Any:
    def above(inner: Any) -> Any:
        def ask(x: int) -> Any:
            return inner(x) if inner else value

        return ask

    return above(above(above(None)))


FACTORIES = [
    plain, as_default, in_a_list, as_attribute, in_a_helper, in_a_partial, in_a_method, in_a_class, in_a_wrapper,
    in_a_wrapping_object, in_a_cached_helper, in_a_task, in_a_singledispatch, in_a_closure_of_a_closure,
]  # fmt: skip


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Invoice(pydantic.BaseModel):
    total: float


def twice(x: int) -> int:
    return 2 * x


def thrice(x: int) -> int:
    return 3 * x


def counted(number: int) -> Any:
    return lambda x: x * number


PAIRS: list[tuple[Callable[[], Any], Callable[[], Any]]] = [
    (lambda: 1, lambda: 2),
    (lambda: 1, lambda: 1.0),
    (lambda: "a", lambda: "b"),
    (lambda: None, lambda: False),
    (lambda: [1, 2], lambda: [2, 1]),
    (lambda: {"a": 1}, lambda: {"a": 2}),
    (lambda: {"a": {"b": 1}}, lambda: {"a": {"b": 2}}),
    (lambda: {1: "x"}, lambda: {1: "y"}),
    (lambda: (1, (2, 3)), lambda: (1, (2, 4))),
    (lambda: {1, 2}, lambda: {1, 3}),
    (lambda: np.zeros(3), lambda: np.ones(3)),
    (lambda: Colour.RED, lambda: Colour.BLUE),
    (lambda: Settings(1), lambda: Settings(2)),
    (lambda: Settings(Settings(1)), lambda: Settings(Settings(2))),
    (lambda: Invoice(total=1), lambda: Invoice(total=2)),
    (lambda: Invoice, lambda: Settings),
    (lambda: twice, lambda: thrice),
    (lambda: counted(2), lambda: counted(3)),
    (lambda: counted(counted(2)), lambda: counted(counted(3))),
    (lambda: functools.partial(twice, 1), lambda: functools.partial(twice, 2)),
    (lambda: Settings(1).__init__, lambda: Settings(2).__init__),
    (lambda: lambda x: x + 1, lambda: lambda x: x + 2),
    (lambda: dataclasses.make_dataclass("D", ["a"])(1), lambda: dataclasses.make_dataclass("D", ["a"])(2)),
    (lambda: dataclasses.make_dataclass("D", ["a"]), lambda: dataclasses.make_dataclass("D", ["b"])),
    (lambda: type("T", (), {"x": 1}), lambda: type("T", (), {"x": 2})),
    (lambda: [counted(2), counted(3)], lambda: [counted(3), counted(2)]),
]


@pytest.mark.parametrize("factory", FACTORIES, ids=lambda factory: factory.__name__)
def test_what_a_factory_is_given_tells_its_functions_apart(factory: Any) -> None:
    for number, (one, other) in enumerate(PAIRS):
        first, again, second = (key_of(factory(value()), 1) for value in (one, one, other))
        assert first == again, (factory, number)
        assert first != second, (factory, number)


def test_closures_of_one_factory_inside_each_other_are_told_apart() -> None:
    def nested(depth: int, inner: Any = None) -> Any:
        for _ in range(depth):
            inner = above(inner)
        return inner

    def above(inner: Any) -> Any:
        def ask(x: int) -> Any:
            return 1 + inner(x) if inner else x

        return ask

    assert len({key_of(nested(depth), 1) for depth in (1, 2, 3, 4)}) == 4


def test_functions_that_captured_each_other_have_a_key() -> None:
    def pair(step: int) -> Any:
        def even(x: int) -> bool:
            return x == 0 or odd(x - step)

        def odd(x: int) -> bool:
            return x != 0 and even(x - step)

        return even

    assert key_of(pair(1), 4) == key_of(pair(1), 4) != key_of(pair(2), 4)


def retry_twice(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(x: int) -> Any:
        return function(x) or function(x)

    return wrapper


def negated(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(x: int) -> Any:
        return -function(x)

    return wrapper


def test_decorators_tell_functions_apart() -> None:
    keys = [key_of(each, 1) for each in (twice, retry_twice(twice), negated(twice), negated(retry_twice(twice)))]
    assert len(set(keys)) == 4
    assert key_of(negated(twice), 1) == key_of(negated(twice), 1)
    held = [key_of(plain(each), 1) for each in (twice, retry_twice(twice), negated(twice))]
    assert len(set(held)) == 3


@on_sqlite
def test_a_captured_task_counts_with_what_it_captured(project: bs.Project) -> None:
    def main(model: str) -> Any:
        @project.task
        def ask(x: int) -> str:
            return f"{model} {x}"

        @project.task
        def pipeline(x: int) -> str:
            return ask(x)

        return pipeline(1)

    assert [main("small"), main("large"), main("small")] == ["small 1", "large 1", "small 1"]


@on_sqlite
def test_a_task_that_is_passed_counts_with_its_version(project: bs.Project) -> None:
    def f(x: int) -> int:
        return x

    @project.task
    def apply(function: Any, x: int) -> int:
        return int(function(x))

    keys = [apply.key(project.task(version=version)(f), 1) for version in ("1", "2")]
    assert keys[0] == apply.key(project.task(f), 1) != keys[1]


@on_sqlite
def test_a_name_is_the_identity_of_a_function(project: bs.Project) -> None:
    runs = []

    def made(name: str | None) -> Any:
        def here(x: int) -> int:
            runs.append(x)
            return x

        return project.task(name=name)(here)

    first = made("ask")
    assert first(1) == 1
    assert made("ask").key(1) == first.key(1) != made("other").key(1) != made(None).key(1)
    del first

    def moved(x: int) -> int:
        runs.append(-x)
        return -x

    gc.collect()
    with pytest.warns(bs.ChangedCodeWarning, match=r"results that are kept for 'ask' were made by .*here, whose code"):
        assert project.task(name="ask", version="1")(moved)(1) == 1
    assert runs == [1]


@on_sqlite
def test_two_functions_of_one_name_are_refused(project: bs.Project) -> None:
    @project.task(name="ask")
    def one(x: int) -> int:
        return x

    with pytest.raises(bs.ConfigurationError, match=r"two functions are called 'ask', .*one and .*other"):

        @project.task(name="ask")
        def other(x: int) -> int:
            return -x

    assert one(1) == 1


@on_sqlite
def test_a_version_that_is_given_says_alone_when_results_are_stale(project: bs.Project) -> None:
    def made(body: str, **options: Any) -> Any:
        scope: dict[str, Any] = {"__name__": "edited"}
        source = f"LIMIT = {len(body)}\n\n\ndef f(x):\n    return {body}, LIMIT\n"
        name = f"<edited {body}>"
        linecache.cache[name] = (len(source), None, source.splitlines(True), name)
        exec(compile(source, name, "exec"), scope)
        return project.task(**options)(scope["f"])

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first = made("x", version="1", name="f")(1)
        assert made("x + 1", version="1", name="f")(1) == first == (1, 1)
    assert made("x + 1", version="2", name="f")(1) == (2, 5)


def test_a_version_of_one_changes_no_key() -> None:
    assert Keyer(twice)((1,), {}) == Keyer(twice, version="1")((1,), {}) != Keyer(twice, version="2")((1,), {})


_SCRIPT = """
import beautyspot as bs
from pathlib import Path
project = bs.Project("p")
PROMPT = {prompt!r}
CONFIG = {config!r}
CALLS = 0
def main():
    @project.task{options}
    def ask(x):
        global CALLS
        CALLS += 1
        def inner():
            return CONFIG["top"]
        with open("runs", "a") as file:
            file.write(".")
        return PROMPT, x, inner()
    return [ask(x) for x in (1, 2, 1)]
print(main())
"""


def _runs_of(place: Path, prompt: str = "p", config: Any = None, options: str = "") -> tuple[str, int]:
    runs = place / "runs"
    before = runs.stat().st_size if runs.exists() else 0
    (place / "script.py").write_text(_SCRIPT.format(prompt=prompt, config=config or {"top": 1}, options=options))
    done = subprocess.run([sys.executable, "-B", "script.py"], cwd=place, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout, (runs.stat().st_size if runs.exists() else 0) - before


def test_constants_at_the_top_of_a_script_are_inputs(tmp_path: Path) -> None:
    assert _runs_of(tmp_path)[1] == 2
    assert _runs_of(tmp_path)[1] == 0
    shown, runs = _runs_of(tmp_path, prompt="q")
    assert runs == 2
    assert "'q'" in shown
    assert _runs_of(tmp_path, config={"top": 2})[1] == 2
    assert _runs_of(tmp_path)[1] == 0
    assert _runs_of(tmp_path, options='(ignore=("PROMPT", "CONFIG"))')[1] == 2
    assert _runs_of(tmp_path, prompt="r", options='(ignore=("PROMPT", "CONFIG"))')[1] == 0


def test_constants_do_not_count_where_a_version_is_given(tmp_path: Path) -> None:
    assert _runs_of(tmp_path, options='(version="1")')[1] == 2
    assert _runs_of(tmp_path, prompt="q", options='(version="1")')[1] == 0


_BRANCHES = """
import sys
import beautyspot as bs
project = bs.Project("p")
def ready(): return sys.argv[1] == "fast"
if ready():
    @project.task{options}
    def ask(x): return "fast"
else:
    @project.task{options}
    def ask(x): return "slow"
print(ask(1))
"""


@pytest.mark.parametrize("options", ["", '(version="1")'])
def test_the_branches_of_an_if_are_told_apart_in_every_process(options: str, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(_BRANCHES.format(options=options))
    printed = [
        subprocess.run(
            [sys.executable, "script.py", mode], cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout.strip()
        for mode in ("fast", "slow", "fast")
    ]
    assert printed == ["fast", "slow", "fast"]


_EDITED = """
import sys, time
import beautyspot as bs
from pathlib import Path
project = bs.Project("p")
@project.task(version="auto")
def ask(x):
    return "{word}"
if len(sys.argv) > 1:
    here = Path(__file__)
    here.write_text(here.read_text().replace("on" + "e", "tw" + "o"))
print(ask(1))
"""


def test_code_that_is_edited_between_the_start_and_the_first_call_is_not_taken_for_the_old_one(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(_EDITED.format(word="one"))
    command = [sys.executable, "-B", "script.py"]
    first = subprocess.run([*command, "edit"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    second = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert (first.strip(), second.strip()) == ("one", "two")


def test_a_function_that_is_an_argument_counts_by_its_code(tmp_path: Path) -> None:
    script = textwrap.dedent("""
        import beautyspot as bs
        project = bs.Project("p")
        def metric(x): return x * {factor}
        class Metric:
            @staticmethod
            def fixed(x): return x + {factor}
            def __call__(self, x): return x - {factor}
        @project.task
        def apply(function, x): return function(x)
        print(apply(metric, 10), apply(Metric.fixed, 10), apply(Metric(), 10))
    """)
    printed = []
    for factor in (2, 3, 2):
        (tmp_path / "script.py").write_text(script.format(factor=factor))
        done = subprocess.run([sys.executable, "-B", "script.py"], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout.strip())
    assert printed[0].split()[:2] == ["20", "12"]
    assert printed[1].split()[:2] == ["30", "13"]


def test_a_class_that_describes_data_counts_by_its_shape_where_it_is_passed() -> None:
    def model(**fields: Any) -> Any:
        made = pydantic.create_model("Answer", __module__=__name__, **fields)
        globals()["Answer"] = made
        return made

    def ask(kind: Any) -> None: ...

    try:
        one = key_of(ask, model(total=(float, 0)))
        assert one == key_of(ask, model(total=(float, 0)))
        assert one != key_of(ask, model(total=(int, 0)))
        assert one != key_of(ask, model(total=(float, 1)))
        assert one != key_of(ask, model(total=(float, 0), tax=(float, 0)))
        assert one != key_of(ask, list[model(total=(float, 0))])  # type: ignore[misc]
    finally:
        del globals()["Answer"]


@on_sqlite
def test_a_wrapper_may_have_parameters_of_its_own(project: bs.Project) -> None:
    def with_retries(function: Any) -> Any:
        @functools.wraps(function)
        def wrapper(*args: Any, retries: int = 3, **kwargs: Any) -> Any:
            return retries, function(*args, **kwargs)

        return wrapper

    def with_client(function: Any) -> Any:
        @functools.wraps(function)
        def wrapper(client: str, *args: Any, **kwargs: Any) -> Any:
            return client, function(*args, **kwargs)

        return wrapper

    def renamed(function: Any) -> Any:
        @functools.wraps(function)
        def wrapper(question: str) -> Any:
            return function(question)

        return wrapper

    def ask(prompt: str, model: str = "small") -> str:
        return f"{model}: {prompt}"

    retried, with_one, other = (project.task(each(ask)) for each in (with_retries, with_client, renamed))
    assert retried("a", retries=5) == (5, "small: a")
    assert retried("a") == retried(prompt="a") == (3, "small: a")
    assert retried.key("a", retries=3) == retried.key("a") != retried.key("a", retries=5)
    assert with_one("c", "a") == ("c", "small: a")
    assert with_one.key("c", "a") == with_one.key("c", prompt="a") != with_one.key("d", "a")
    assert other("a") == other(question="a") == "small: a"


SENTINEL, OTHER = object(), object()


@on_sqlite
def test_sentinels_count_by_the_name_under_which_a_module_has_them(project: bs.Project) -> None:
    @project.task
    def ask(x: Any, default: Any = SENTINEL) -> bool:
        return default is SENTINEL

    assert ask(1) is True
    assert ask(1, OTHER) is False
    assert ask.key(1) == ask.key(1, SENTINEL) != ask.key(1, OTHER)
    with pytest.raises(bs.UnkeyableError, match=r"ask: 'x' \(builtins\.object\) cannot identify a call"):
        ask(object())
