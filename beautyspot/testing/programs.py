"""Programs that fan tasks out: a script, one with a module of its own, a notebook."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest


class ProgramsContract:
    """Tasks have the same keys, wherever a program of the user defines them."""

    def test_tasks_of_a_script_are_the_same_everywhere(self, engine_source: str, tmp_path: Path) -> None:
        (tmp_path / "job.py").write_text(_program(_TASKS, engine_source))
        for _ in range(2):
            assert _python("job.py", tmp_path) == ""
        assert sorted(map(int, (tmp_path / "ran.txt").read_text().split())) == list(range(20))
        check = "import job; assert all(job.double.cached(x) for x in range(20)); assert job.Tool(3).times.cached(1)"
        assert _python("-c", tmp_path, check) == ""

    def test_tasks_of_a_module_are_the_same_everywhere(self, engine_source: str, tmp_path: Path) -> None:
        (tmp_path / "jobs.py").write_text(_TASKS)
        (tmp_path / "main.py").write_text(_program("from jobs import *", engine_source))
        for _ in range(2):
            assert _python("main.py", tmp_path) == ""
        assert sorted(map(int, (tmp_path / "ran.txt").read_text().split())) == list(range(20))

    def test_tasks_of_a_notebook_are_the_same_everywhere(self, engine_source: str, tmp_path: Path) -> None:
        pytest.importorskip("IPython")
        cells = [_TASKS, f"engine = {engine_source}", textwrap.dedent(_USE)]
        (tmp_path / "cells.py").write_text(f"CELLS = {cells!r}\n{_NOTEBOOK}")
        for _ in range(2):
            assert _python("cells.py", tmp_path) == ""
        assert sorted(map(int, (tmp_path / "ran.txt").read_text().split())) == list(range(20))


def _program(tasks: str, engine: str) -> str:
    return f'import beautyspot as bs\n{tasks}\nif __name__ == "__main__":\n    engine = {engine}\n{_USE}'


def _python(script: str, place: Path, *args: str) -> str:
    """Run a program; returns its output, without what engines write to its errors."""
    done = subprocess.run(
        [sys.executable, script, *args], cwd=place, capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


_TASKS = """
import beautyspot as bs
import os
project = bs.Project("jobs", storage_path="blobs")
RAN = os.path.abspath("ran.txt")

@project.task
def double(x):
    with open(RAN, "a") as file:
        file.write(f"{x}\\n")
    return 2 * x

def shifted(by):
    @project.task
    def shift(x):
        return x + by
    return shift

class Odd(Exception):
    pass

@project.task
def even(x):
    if x % 2:
        raise Odd(x)
    return x

class Tool:
    def __init__(self, factor):
        self.factor = factor

    @project.task
    def times(self, x):
        assert type(self) is Tool
        return self.factor * x
"""

_USE = """
    options = {"workers": 2, "engine": engine, "progress": False}
    for by in range(2):
        assert bs.map(double, range(20), **options) == [2 * x for x in range(20)]
        assert bs.map(Tool(3).times, range(4), **options) == [0, 3, 6, 9]
        assert bs.map(shifted(by), range(4), **options) == [by, by + 1, by + 2, by + 3]
        assert [type(x) for x in bs.map(even, range(2), on_error="return", **options)] == [int, Odd]
"""

_NOTEBOOK = """
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
for cell in CELLS:
    shell.run_cell(cell).raise_error()
"""
