"""Classes of the test: as arguments, captured, raised, as results."""

import dataclasses
import enum
import typing

import pydantic
import pytest

import beautyspot as bs


def test_a_local_class_that_is_captured(project, fresh):
    class Model:
        def __init__(self, factor):
            self.factor = factor
            self.calls = 0

        def predict(self, x):
            self.calls += 1
            return self.factor * x

    model = Model(2)

    @project.task
    def predict(x):
        return model.predict(x)

    assert [predict(1), predict(2), predict(1)] == [2, 4, 2]
    assert model.calls == fresh(2)


def test_a_local_class_as_an_argument(project, fresh):
    log = []

    class Point:
        def __init__(self, x, y):
            self.x, self.y = x, y

    @project.task
    def size(point):
        log.append(1)
        return point.x + point.y

    assert [size(Point(1, 2)), size(Point(1, 2)), size(Point(2, 2))] == [3, 3, 4]
    assert log == fresh([1, 1])


def test_a_local_class_itself(project, fresh):
    log = []

    class Small:
        limit = 1

    class Large:
        limit = 2

    @project.task
    def limit(kind):
        log.append(1)
        return kind.limit

    assert [limit(Small), limit(Large), limit(Small)] == [1, 2, 1]
    assert log == fresh([1, 1])


def test_a_local_class_that_the_task_makes(project):
    class Stack:
        def __init__(self):
            self.items = []

        def push(self, item):
            self.items.append(item)

    @project.task
    def pushed(x):
        stack = Stack()
        stack.push(x)
        return stack.items

    assert [pushed(1), pushed(2), pushed(1)] == [[1], [2], [1]]


def test_a_local_exception_that_is_raised(project):
    class Failed(Exception):
        pass

    log = []

    @project.task
    def fail(x):
        log.append(x)
        raise Failed(x)

    for _ in range(2):
        with pytest.raises(Failed, match="7"):
            fail(7)
    assert log == [7, 7]


def test_a_local_exception_that_is_retried(project, fresh):
    class Throttled(Exception):
        pass

    log = []

    @project.task
    def flaky(x):
        log.append(x)
        if len(log) < 3:
            raise Throttled
        return x

    while not flaky.cached(1):
        try:
            flaky(1)
        except Throttled:
            continue
    assert flaky(1) == 1
    assert log == fresh([1, 1, 1])


def test_a_local_exception_that_is_caught(project, fresh):
    class Missing(LookupError):
        def __init__(self, name):
            super().__init__(name)
            self.name = name

    log = []

    def find(name):
        log.append(name)
        raise Missing(name)

    @project.task
    def found(name):
        try:
            return find(name)
        except Missing as error:
            return f"no {error.name}"

    assert [found("a"), found("b"), found("a")] == ["no a", "no b", "no a"]
    assert log == fresh(["a", "b"])


def test_an_exception_as_an_argument(project, fresh):
    class Failed(Exception):
        pass

    log = []

    @project.task
    def text(error):
        log.append(1)
        return f"{type(error).__name__} {error}"

    assert [text(Failed("a")), text(Failed("a")), text(Failed("b"))] == ["Failed a", "Failed a", "Failed b"]
    assert text(ValueError("a")) == "ValueError a"
    assert log == fresh([1, 1, 1])


def test_an_exception_that_is_captured(project, fresh):
    error, log = ValueError("bad"), []

    @project.task
    def fail(x):
        log.append(x)
        if x:
            raise error
        return x

    for _ in range(2):
        with pytest.raises(ValueError, match="bad"):
            fail(1)
    assert [fail(0), fail(0)] == [0, 0]
    assert log == [1, 1, *fresh([0])]


def test_a_local_dataclass(project, fresh):
    @dataclasses.dataclass
    class Invoice:
        total: float
        lines: list[str] = dataclasses.field(default_factory=list)

    log = []

    @project.task
    def read(invoice):
        log.append(1)
        return Invoice(invoice.total * 2, [*invoice.lines, "read"])

    first = read(Invoice(1.5, ["a"]))
    assert first == Invoice(3.0, ["a", "read"])
    assert read(Invoice(1.5, ["a"])) == first
    assert type(read(Invoice(1.5, ["a"]))) is Invoice
    assert read(Invoice(1.5)) == Invoice(3.0, ["read"])
    assert log == fresh([1, 1])


def test_a_local_frozen_dataclass_with_slots(project, fresh):
    @dataclasses.dataclass(frozen=True, slots=True)
    class Point:
        x: int
        y: int = 0

    log = []

    @project.task
    def moved(point):
        log.append(1)
        return dataclasses.replace(point, x=point.x + 1)

    assert moved(Point(1)) == moved(Point(1)) == Point(2)
    assert log == fresh([1])


def test_a_local_pydantic_model(project, fresh):
    class Invoice(pydantic.BaseModel):
        total: float
        lines: list[str] = []

    log = []

    @project.task
    def parse(text, schema):
        log.append(1)
        return schema.model_validate_json(text)

    text = '{"total": 1.5, "lines": ["a"]}'
    assert parse(text, Invoice) == parse(text, Invoice) == Invoice(total=1.5, lines=["a"])
    assert log == fresh([1])


def test_a_local_pydantic_model_that_is_captured(project, fresh):
    class Invoice(pydantic.BaseModel):
        total: float

    log = []

    @project.task
    def parse(text):
        log.append(1)
        return Invoice.model_validate_json(text)

    assert parse('{"total": 1}') == parse('{"total": 1}') == Invoice(total=1)
    assert log == fresh([1])


def test_a_local_pydantic_model_as_an_argument(project, fresh):
    class Line(pydantic.BaseModel):
        text: str

    class Invoice(pydantic.BaseModel):
        lines: list[Line]

    log = []

    @project.task
    def count(invoice):
        log.append(1)
        return len(invoice.lines)

    assert [count(Invoice(lines=[Line(text=text)])) for text in "aba"] == [1, 1, 1]
    assert log == fresh([1, 1])


def test_a_local_enum(project, fresh):
    class Size(enum.Enum):
        SMALL = 1
        LARGE = 2

    log = []

    @project.task
    def grow(size):
        log.append(1)
        return Size.LARGE

    assert grow(Size.SMALL) is Size.LARGE
    assert grow(Size.SMALL) is Size.LARGE
    assert grow(Size.LARGE) is Size.LARGE
    assert log == fresh([1, 1])


def test_a_local_named_tuple(project, fresh):
    class Point(typing.NamedTuple):
        x: int
        y: int

    log = []

    @project.task
    def flip(point):
        log.append(1)
        return Point(point.y, point.x)

    assert flip(Point(1, 2)) == flip(Point(1, 2)) == Point(2, 1)
    assert type(flip(Point(1, 2))) is Point
    assert log == fresh([1])


def test_a_local_typed_dict(project, fresh):
    class Answer(typing.TypedDict):
        text: str

    log = []

    @project.task
    def answer(kind, text):
        log.append(1)
        return kind(text=text)

    assert answer(Answer, "a") == answer(Answer, "a") == {"text": "a"}
    assert log == fresh([1])


def test_a_local_class_as_a_result(project, fresh):
    @project.register_type
    class Answer:
        def __init__(self, text):
            self.text = text

    log = []

    @project.task
    def answer(text):
        log.append(1)
        return Answer(text)

    assert answer("a").text == answer("a").text == "a"
    assert type(answer("a")) is Answer
    assert log == fresh([1])


def test_a_fake_client_in_place_of_the_real_one(project, fresh):
    class FakeResponse:
        def __init__(self, text):
            self.output_text = text

    class FakeResponses:
        def __init__(self):
            self.calls = []

        def create(self, *, model, input):
            self.calls.append((model, input))
            return FakeResponse(input.upper())

    class FakeClient:
        def __init__(self):
            self.responses = FakeResponses()

    client = FakeClient()

    @project.task
    def ask(prompt, model="small"):
        return client.responses.create(model=model, input=prompt).output_text

    assert [ask("a"), ask("b"), ask("a"), ask("a", model="large")] == ["A", "B", "A", "A"]
    assert client.responses.calls == fresh([("small", "a"), ("small", "b"), ("large", "a")])


def test_a_class_whose_method_is_a_task(project, fresh):
    log = []

    class Pipeline:
        def __init__(self, scale):
            self.scale = scale

        @project.task
        def run(self, x):
            log.append(x)
            return self.scale * x

    assert [Pipeline(2).run(1), Pipeline(2).run(1), Pipeline(3).run(1)] == [2, 2, 3]
    assert log == fresh([1, 1])


def test_a_protocol_and_two_classes_that_have_it(project, fresh):
    class Greeter(typing.Protocol):
        def greet(self) -> str: ...

    class English:
        def greet(self) -> str:
            return "hello"

    class French:
        def greet(self) -> str:
            return "bonjour"

    log = []

    @project.task
    def greet(greeter: Greeter) -> str:
        log.append(1)
        return greeter.greet()

    assert [greet(English()), greet(French()), greet(English())] == ["hello", "bonjour", "hello"]
    assert log == fresh([1, 1])


def test_context_managers_of_the_test(project, fresh):
    import contextlib

    opened = []

    @contextlib.contextmanager
    def session(name):
        opened.append(name)
        yield name.upper()

    @project.task
    def ask(name):
        with session(name) as found:
            return found

    assert [ask("a"), ask("b"), ask("a")] == ["A", "B", "A"]
    assert opened == fresh(["a", "b"])


def test_a_task_is_an_argument_of_another(project, fresh):
    log = []

    @project.task
    def double(x):
        log.append(x)
        return 2 * x

    @project.task
    def apply(function, x):
        log.append("apply")
        return function(x) + 1

    assert [apply(double, 1), apply(double, 1)] == [3, 3]
    assert log == fresh(["apply", 1])


def test_an_unkeyable_argument_is_told(project):
    import threading

    @project.task
    def ask(connection):
        return 1

    import socket

    with socket.socket() as connection, pytest.raises(bs.UnkeyableError, match='ignore="connection"'):
        ask(connection)
    assert ask(threading.Lock()) == ask(threading.Lock()) == 1
