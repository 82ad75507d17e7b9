"""Fixtures of pytest, captured and as arguments."""

import datetime
import logging
import os
import random
import time

import pytest

import beautyspot as bs

LOGGER = logging.getLogger("users")


def test_capsys(project, fresh, capsys):
    @project.task
    def double(x):
        print("doubling", x)
        return 2 * x

    assert [double(1), double(2), double(1)] == [2, 4, 2]
    assert capsys.readouterr().out == fresh("doubling 1\ndoubling 2\n")


def test_capsys_that_is_captured(project, fresh, capsys):
    log = []

    @project.task
    def double(x):
        print("doubling", x)
        log.append(capsys.readouterr().out)
        return 2 * x

    assert [double(1), double(2), double(1)] == [2, 4, 2]
    assert log == fresh(["doubling 1\n", "doubling 2\n"])


def test_capfd_that_is_captured(project, fresh, capfd):
    log = []

    @project.task
    def double(x):
        os.write(1, b"doubling")
        log.append(capfd.readouterr().out)
        return 2 * x

    assert [double(1), double(2), double(1)] == [2, 4, 2]
    assert log == fresh(["doubling", "doubling"])


def test_caplog(project, fresh, caplog):
    logger = logging.getLogger("users.local")

    @project.task
    def double(x):
        logger.warning("doubling %d", x)
        LOGGER.warning("twice")
        return 2 * x

    assert [double(1), double(2), double(1)] == [2, 4, 2]
    assert len(caplog.records) == fresh(4)


def test_caplog_that_is_captured(project, fresh, caplog):
    @project.task
    def double(x):
        with caplog.at_level(logging.INFO):
            LOGGER.info("doubling %d", x)
        return 2 * x

    assert [double(1), double(2), double(1)] == [2, 4, 2]
    assert len(caplog.messages) == fresh(2)


def test_tmp_path_as_an_argument(project, tmp_path):
    file = tmp_path / "text.txt"
    file.write_text("abc")
    log = []

    @project.task
    def size(path):
        log.append(path)
        return len(path.read_text())

    assert [size(file), size(file)] == [3, 3]
    assert log == [file]


def test_tmp_path_that_is_captured(project, tmp_path, recwarn):
    log = []

    @project.task
    def write(name):
        log.append(name)
        (tmp_path / name).write_text(name)
        return len(name)

    assert [write("a"), write("bb"), write("a")] == [1, 2, 1]
    assert log == ["a", "bb"]


def test_tmp_path_that_is_ignored(project, fresh, tmp_path, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")

    @project.task(ignore=("tmp_path", "other"))
    def write(name):
        (tmp_path / name).write_text(name)
        (other / name).write_text(name)
        return len(name)

    assert [write("a"), write("bb"), write("a")] == [1, 2, 1]
    assert sorted(path.name for path in other.iterdir()) == fresh(["a", "bb"])


def test_a_file_by_its_content(project, fresh, tmp_path):
    file = tmp_path / "text.txt"
    file.write_text("abc")
    log = []

    @project.task(key=bs.KeyGen.file_content("path"))
    def size(path):
        log.append(1)
        return len(path.read_text())

    assert [size(file), size(file)] == [3, 3]
    file.write_text("abcd")
    assert size(file) == 4
    assert log == fresh([1, 1])


def test_monkeypatch_of_an_attribute(project, monkeypatch):
    class Client:
        temperature = 0.5

        def __init__(self):
            self.model = "small"

    client = Client()

    @project.task
    def ask(x):
        return f"{client.model} {x}"

    assert ask(1) == "small 1"
    monkeypatch.setattr(client, "model", "large")
    assert ask(1) == "large 1"


def test_monkeypatch_of_a_method(project, monkeypatch):
    class Client:
        def ask(self, x):
            return f"real {x}"

    client = Client()

    @project.task
    def ask(x):
        return client.ask(x)

    assert ask(1) == "real 1"
    monkeypatch.setattr(client, "ask", lambda x: f"fake {x}")
    assert ask(1) == "fake 1"


def test_monkeypatch_of_a_method_of_a_local_class(project, monkeypatch):
    class Client:
        def ask(self, x):
            return f"real {x}"

    client = Client()

    @project.task
    def ask(x):
        return client.ask(x)

    assert ask(1) == "real 1"
    monkeypatch.setattr(Client, "ask", lambda self, x: f"fake {x}")
    assert ask(1) == "fake 1"


LIMIT = 3


def test_monkeypatch_of_a_constant(project, monkeypatch):
    @project.task
    def limited(x):
        return min(x, LIMIT)

    assert limited(9) == 3
    monkeypatch.setattr(f"{__name__}.LIMIT", 5)
    assert limited(9) == 5
    monkeypatch.undo()
    assert limited(9) == 3


def test_monkeypatch_that_is_captured(project, fresh, monkeypatch):
    log = []

    @project.task
    def ask(x):
        monkeypatch.setenv("ASKED", str(x))
        log.append(x)
        return os.environ["ASKED"]

    assert [ask(1), ask(2), ask(1)] == ["1", "2", "1"]
    assert log == fresh([1, 2])


def test_monkeypatch_of_time_sleep(project, fresh, monkeypatch):
    slept = []
    monkeypatch.setattr(time, "sleep", slept.append)

    @project.task
    def slow(x):
        time.sleep(x)
        return x

    assert [slow(1), slow(2), slow(1)] == [1, 2, 1]
    assert slept == fresh([1, 2])


def test_request_that_is_captured(request, project, fresh):
    log = []

    @project.task
    def name(x):
        log.append(request.node.name)
        return x

    assert [name(1), name(2), name(1)] == [1, 2, 1]
    assert len(log) == fresh(2)


@pytest.fixture
def client():
    class Client:
        def __init__(self):
            self.calls = []

        def ask(self, prompt):
            self.calls.append(prompt)
            return prompt.upper()

    return Client()


def test_a_fixture_that_gives_a_client(project, fresh, client):
    @project.task
    def ask(prompt):
        return client.ask(prompt)

    assert [ask("a"), ask("b"), ask("a")] == ["A", "B", "A"]
    assert client.calls == fresh(["a", "b"])


def test_a_client_of_a_fixture_as_an_argument(project, fresh, client):
    @project.task(ignore="client")
    def ask(client, prompt):
        return client.ask(prompt)

    assert [ask(client, "a"), ask(client, "b"), ask(client, "a")] == ["A", "B", "A"]
    assert client.calls == fresh(["a", "b"])


@pytest.fixture
def ask(project):
    calls = []

    @project.task
    def ask(prompt):
        calls.append(prompt)
        return prompt.upper()

    return ask, calls


def test_a_fixture_that_makes_the_task(ask, fresh):
    task, calls = ask
    assert [task("a"), task("b"), task("a")] == ["A", "B", "A"]
    assert calls == fresh(["a", "b"])


@pytest.fixture(params=["small", "large"])
def model(request):
    return request.param


def test_a_fixture_with_parameters(project, fresh, model):
    log = []

    @project.task
    def ask(x):
        log.append(x)
        return f"{model} {x}"

    assert [ask(1), ask(1)] == [f"{model} 1"] * 2
    assert log == fresh([1])


@pytest.mark.parametrize("factor", [2, 3, 2.0])
@pytest.mark.parametrize("offset", [0, 1])
def test_parametrize(project, fresh, factor, offset):
    log = []

    @project.task
    def times(x):
        log.append(x)
        return factor * x + offset

    assert [times(1), times(2), times(1)] == [factor + offset, 2 * factor + offset, factor + offset]
    assert type(times(1)) is type(factor)
    assert log == fresh([1, 2])


@pytest.mark.parametrize(
    "make", [list, tuple, set, lambda items: sorted(items)], ids=["list", "tuple", "set", "sorted"]
)
def test_parametrize_with_functions(project, fresh, make):
    log = []

    @project.task
    def made(text):
        log.append(text)
        return make(text)

    assert made("ab") == made("ab") == make("ab")
    assert log == fresh(["ab"])


@pytest.mark.parametrize("error", [ValueError, KeyError("x"), OSError(2, "no such file")], ids=["class", "key", "os"])
def test_parametrize_with_errors(project, error):
    log = []

    @project.task
    def fail(x):
        log.append(x)
        raise error

    for _ in range(2):
        with pytest.raises((ValueError, KeyError, OSError)):
            fail(1)
    assert log == [1, 1]


class TestInAClass:
    calls = 0

    def setup_method(self):
        self.log = []

    def test_self(self, project, fresh):
        @project.task
        def double(x):
            self.log.append(x)
            return 2 * x

        assert [double(1), double(2), double(1)] == [2, 4, 2]
        assert self.log == fresh([1, 2])

    def test_a_variable_of_the_class(self, project, fresh):
        @project.task
        def double(x):
            type(self).calls += 1
            return 2 * x

        assert [double(1), double(2), double(1)] == [2, 4, 2]
        assert self.calls == fresh(2)


def test_a_datetime_that_is_captured(project, fresh):
    now, log = datetime.datetime(2030, 1, 31, 12, tzinfo=datetime.UTC), []

    @project.task
    def age(x):
        log.append(x)
        return (now - datetime.datetime(x, 1, 1, tzinfo=datetime.UTC)).days

    assert age(2029) == age(2029) == 395
    assert log == fresh([2029])


def test_a_datetime_of_a_frozen_class(project, fresh, monkeypatch):
    class FrozenDatetime(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2030, 1, 31, tzinfo=tz)

    monkeypatch.setattr(datetime, "datetime", FrozenDatetime)
    now, log = datetime.datetime.now(), []
    assert type(now) is FrozenDatetime

    @project.task
    def year(x):
        log.append(x)
        return now.year + x

    assert year(1) == year(1) == 2031
    assert log == fresh([1])


def test_a_frozen_clock(project, fresh):
    class Clock:
        def __init__(self, now):
            self.now = now

        def tick(self):
            self.now += 1
            return self.now

    clock = Clock(100)

    @project.task
    def stamp(x):
        return clock.tick() + x

    assert [stamp(1), stamp(2), stamp(1)] == [102, 104, 102]
    assert clock.now == 100 + fresh(2)


def test_time_of_now_is_another_call_with_a_warning(project, recwarn):
    started = time.time()
    log = []

    @project.task
    def ask(x):
        log.append(started)
        return x

    assert [ask(1), ask(1)] == [1, 1]
    assert len(log) == 1


def test_a_random_generator(project, fresh):
    rng, log = random.Random(7), []

    @project.task
    def draw(x):
        log.append(x)
        rng.random()
        return x

    assert [draw(1), draw(2), draw(1)] == [1, 2, 1]
    assert log == fresh([1, 2])


def test_a_file_open_for_reading(project, fresh):
    with open(__file__) as file:

        @project.task
        def first_line(x):
            file.seek(0)
            return file.readline()[:x]

        assert [first_line(3), first_line(1), first_line(3)] == ['"""', '"', '"""']


def test_a_file_open_for_reading_as_an_argument(project, fresh):
    log = []

    @project.task
    def first_line(file):
        log.append(1)
        return file.readline()[:3]

    with open(__file__) as one, open(__file__) as other, open(__file__, "rb") as binary:
        assert [first_line(one), first_line(other)] == ['"""', '"""']
        assert first_line(binary) == b'"""'
    assert log == fresh([1, 1])


def test_a_file_open_for_writing(project, fresh, tmp_path):
    with open(tmp_path / "log.txt", "w") as file:

        @project.task
        def double(x):
            file.write(f"{x}\n")
            return 2 * x

        assert [double(1), double(2), double(1)] == [2, 4, 2]
    assert (tmp_path / "log.txt").read_text() == fresh("1\n2\n")


def test_a_file_by_tempfile(project, fresh):
    import tempfile

    with tempfile.NamedTemporaryFile("w+") as file:

        @project.task
        def double(x):
            file.write(f"{x}\n")
            return 2 * x

        assert [double(1), double(2), double(1)] == [2, 4, 2]
        file.seek(0)
        assert file.read() == fresh("1\n2\n")


def test_io_in_memory(project, fresh):
    import csv
    import io

    out = io.StringIO()
    writer = csv.writer(out)

    @project.task
    def double(x):
        print(x, file=out)
        return 2 * x

    @project.task
    def write(x):
        writer.writerow([x])
        return x

    assert [double(1), double(2), double(1)] == [2, 4, 2]
    assert [write(1), write(1)] == [1, 1]
    assert out.getvalue().split() == fresh(["1", "2", "1"])


def test_deselected_by_skipif_inside(project, fresh, pytestconfig):
    log = []

    @project.task
    def level(x):
        log.append(pytestconfig.getoption("verbose"))
        return x

    assert [level(1), level(1)] == [1, 1]
    assert len(log) == fresh(1)


def test_raises_and_warns(project):
    import warnings

    log = []

    @project.task
    def warned(x):
        log.append(x)
        warnings.warn("careful", UserWarning, stacklevel=2)
        return x

    if not warned.cached(1):
        with pytest.warns(UserWarning, match="careful"):
            warned(1)
    assert warned(1) == 1


def test_approx(project):
    expected = pytest.approx(0.3)

    @project.task
    def add(x, y):
        assert x + y == expected
        return x + y

    assert add(0.1, 0.2) == expected
    assert add(0.1, 0.2) == expected
