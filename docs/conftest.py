"""Runs the code of the READMEs and of every page in this directory, each page in a directory of its own.

A Python block in a README runs alone, as a reader would copy it: with a directory and a namespace of its own.

A comment after a line gives what it prints, with ``...`` for what varies. A block that begins with a file name, such as
``# job.py``, is written to that file. The file is run where a console block of the page runs ``python job.py``;
otherwise it is run at once, by pytest if its name begins with ``test_``. A block that begins with ``# In [1]:`` is a
notebook cell; number 1 starts a new notebook. In a console block, beautyspot commands are run on a terminal, unless
they name a server of the reader's own or wait for a browser; a line of ``...`` stands for any lines.
"""

import contextlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from sybil import Example, Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import CodeBlockParser, SkipParser

import beautyspot as bs
from beautyspot._internal import warn

_PRINTED = re.compile(r"^ *print\(.*\) +# (.*)$", re.MULTILINE)
_FILE = re.compile(r"# (\w+\.py)\n")


class Page(ModuleType):
    """The module of a page's code, in which its functions and classes can be found by name."""

    def __init__(self, name: str, namespace: dict[str, Any]) -> None:
        super().__init__(name)
        self._namespace = namespace

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]
        return self._namespace

    def __getattr__(self, name: str) -> Any:
        try:
            return self._namespace[name]
        except KeyError:
            raise AttributeError(name) from None


class Servers:
    """Real servers for the pages that use one. The first such page starts them; environment variables locate them."""

    def __init__(self) -> None:
        self._started: list[Any] = []

    def start(self) -> None:
        """Start the servers, once."""
        if self._started:
            return
        from tests.support.servers import PostgresServer, RedisServer, S3Server

        postgres, s3, redis = self._started = [PostgresServer(), S3Server(), RedisServer()]
        postgres.execute("CREATE DATABASE app")
        s3.client().create_bucket(Bucket="results")
        os.environ |= {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(postgres.port),
            "PGUSER": "postgres",
            "PGPASSWORD": "secret",
        }
        os.environ |= {"AWS_ENDPOINT_URL": s3.url, "AWS_DEFAULT_REGION": "us-east-1", **s3.environment}
        os.environ |= {"REDIS_URL": redis.url}

    def empty(self) -> None:
        """Delete the tables of a page, so that the next page finds an empty database."""
        for server in self._started[:1]:
            server.execute("DROP DATABASE app WITH (FORCE)")
            server.execute("CREATE DATABASE app")

    def stop(self) -> None:
        """Stop the servers that were started."""
        for server in self._started:
            server.stop()


_servers = Servers()


class Notebook:
    """Notebook cells, run by IPython in a separate process, as a kernel runs them."""

    _KERNEL = """
import contextlib, io, json, sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
sys.modules["__main__"] = shell.user_module
for line in sys.stdin:
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        done = shell.run_cell(json.loads(line))
    print(json.dumps([done.success, printed.getvalue()]), flush=True)
"""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def run(self, cell: str) -> str:
        """Run a cell and return what it printed; cell number 1 starts a new kernel."""
        if cell.startswith("# In [1]:"):
            self.stop()
            self._process = subprocess.Popen(  # noqa: S603 - a page's own code
                [sys.executable, "-c", self._KERNEL],
                env={**os.environ, "IPYTHONDIR": os.path.abspath(".ipython")},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # progress bars
                text=True,
            )
        if self._process is None or self._process.stdin is None or self._process.stdout is None:
            raise AssertionError("the first cell of a notebook begins with # In [1]:")
        print(json.dumps(cell), file=self._process.stdin, flush=True)
        success, printed = json.loads(self._process.stdout.readline())
        if not success:
            raise AssertionError(printed)
        return str(printed)

    def stop(self) -> None:
        """End the kernel."""
        if self._process is not None:
            self._process.communicate(timeout=60)
            self._process = None


_notebook = Notebook()


class CodeOfPage(CodeBlockParser):
    """Evaluates blocks of Python."""

    language = "python"

    def evaluate(self, example: Example) -> None:
        """Run a block, and compare what it printed."""
        if Path(example.path).name.startswith("README"):
            _run_alone(example.namespace)
        if "postgresql:///" in example.parsed:
            _servers.start()
        printed = io.StringIO()
        script = _FILE.match(example.parsed)
        with contextlib.redirect_stdout(printed):
            if script:
                Path(script[1]).write_text(example.parsed)
                if f" python {script[1]}" not in example.document.text:
                    printed.write(_run(script[1]))
            elif example.parsed.startswith("# In ["):
                printed.write(_notebook.run(example.parsed))
            else:
                _in_this_process(example)
        expected = _PRINTED.findall(example.parsed)
        given = printed.getvalue().splitlines()
        if expected and not (len(expected) == len(given) and all(map(_fits, expected, given))):
            raise AssertionError(f"{example.path}:{example.line} printed {given} and not {expected}")


class CommandsOfPage(CodeBlockParser):
    """Evaluates blocks of a console."""

    language = "console"

    def evaluate(self, example: Example) -> None:
        """Run the beautyspot commands and the programs, and compare what the terminal showed."""
        for found in _COMMAND.finditer(example.parsed):
            command, expected = found[1].replace("\\\n", ""), found[2].rstrip("\n")
            if command.startswith("beautyspot ") and not _NOT_RUN.search(command):
                program, *words = shlex.split(command)
                given = _on_terminal(str(Path(sys.executable).with_name(program)), *words)
                pattern = ".*".join(map(_ignoring_widths, expected.split("...")))
                if expected and re.fullmatch(pattern, given, re.DOTALL) is None:
                    raise AssertionError(f"{example.path}:{example.line} {command}\n{given}\nand not\n{expected}")
            elif _PROGRAM.search(command):
                path = f"PATH={Path(sys.executable).parent}:{os.environ['PATH']}"
                given = _on_terminal("env", path, *shlex.split(command))
                _check_program(f"{example.path}:{example.line} {command}", command, expected, given)


def _check_program(where: str, command: str, expected: str, given: str) -> None:
    """Compare the output of a program; if the command kills it, only the lines that it printed in time."""
    wanted, found = expected.splitlines(), given.splitlines()
    if command.startswith("timeout -s KILL"):
        wanted = wanted[: len(found)]
    if len(wanted) != len(found) or not all(map(_equal_but_numbers, wanted, found)):
        raise AssertionError(f"{where}\n{given}\nand not\n{expected}")


def _equal_but_numbers(expected: str, given: str) -> bool:
    """Whether two lines differ at most in their numbers and the length of a progress bar."""
    return _without_numbers(expected) == _without_numbers(given)


def _without_numbers(line: str) -> str:
    return re.sub(r"[\d?][\d.,:?]*", "N", re.sub(r"\|[ ▏▎▍▌▋▊▉█]+\|", "|bar|", re.sub(r" +", " ", line)))


_COMMAND = re.compile(r"^\$ ((?:.*\\\n)*.*)\n?((?:(?!\$ ).*\n?)*)", re.MULTILINE)
_NOT_RUN = re.compile(r"user@host|^beautyspot ui")
_PROGRAM = re.compile(r"^(timeout -s KILL \d+ )?python \w+\.py$")


def _ignoring_widths(text: str) -> str:
    """Return a pattern for *text* that allows any column width."""
    return r"\s+".join(map(re.escape, re.split(r"\s+", text)))


def _on_terminal(*words: str) -> str:
    from tests.support.terminal import on_terminal

    _, shown = on_terminal(*words, columns=88 if words[0] == "env" else 80)
    lines = [line.rpartition("\r")[2].rstrip() for line in shown.split("\n")]  # a finished bar is erased
    return "\n".join(lines).rstrip("\n")


_python = PythonEvaluator()


def _in_this_process(example: Example) -> None:
    try:
        _python(example)
    except BaseExceptionGroup as error:  # sybil cannot shorten the tracebacks of its parts
        raise AssertionError("".join(traceback.format_exception(error))) from None


def _run(script: str) -> str:
    run = ["-m", "pytest", "-q", "-p", "no:cacheprovider", script] if script.startswith("test_") else [script]
    done = subprocess.run([sys.executable, *run], capture_output=True, text=True, timeout=200, check=False)  # noqa: S603 - a page's own code
    if done.returncode:
        raise AssertionError(done.stdout + done.stderr)
    return done.stdout


def _fits(expected: str, given: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, expected.split("..."))), given) is not None


def _run_alone(namespace: dict[str, Any]) -> None:
    """Remove what earlier blocks left: names, and files by a new directory."""
    _close_projects(namespace)
    namespace.clear()
    namespace["__name__"] = "page"
    os.chdir(tempfile.mkdtemp(dir="."))


def _close_projects(namespace: dict[str, Any]) -> None:
    for value in list(namespace.values()):
        if isinstance(value, bs.Project):
            value.close()


class Pages:
    """A pytest plugin that collects the pages: a conftest.py sees only files below it, and README.md is above."""

    def __init__(self) -> None:
        self._directories: list[tuple[str, tempfile.TemporaryDirectory[str]]] = []
        parsers = [CodeOfPage(), CommandsOfPage(), SkipParser()]
        root = str(Path(__file__).parent.parent)
        patterns = ["README*.md", "docs/*.md", "docs/**/*.md"]
        sybil = Sybil(parsers, path=root, patterns=patterns, setup=self._begin, teardown=self._end)
        self.pytest_collect_file = sybil.pytest()

    def _begin(self, namespace: dict[str, Any]) -> None:
        self._directories.append((os.getcwd(), tempfile.TemporaryDirectory()))
        os.chdir(self._directories[-1][1].name)
        namespace["__name__"] = "page"
        sys.modules["page"] = Page("page", namespace)

    def _end(self, namespace: dict[str, Any]) -> None:
        _close_projects(namespace)
        _notebook.stop()
        _servers.empty()
        del sys.modules["page"]
        warn._given.clear()
        cwd, directory = self._directories.pop()
        os.chdir(cwd)
        directory.cleanup()


def pytest_configure(config: pytest.Config) -> None:
    """Register the pages."""
    config.pluginmanager.register(Pages(), "pages")


def pytest_unconfigure() -> None:
    """Stop the servers of the pages."""
    _servers.stop()
