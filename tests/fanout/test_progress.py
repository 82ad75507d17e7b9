"""What shows how far a map has come: a bar, or lines; neither fails a call."""

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import beautyspot as bs
from beautyspot.fanout import progress


@pytest.fixture
def project(tmp_path: Path) -> Iterator[bs.Project]:
    with bs.Project("test", db=tmp_path / "test.db", storage_path=tmp_path / "blobs") as project:
        yield project


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines come every 0.1 s, not every 30 s."""
    monkeypatch.setattr(progress, "_LINE_EVERY", 0.1)


def slow(x: int) -> float:
    time.sleep(0.05)
    return 1 / x


@pytest.mark.usefixtures("often")
def test_a_long_map_writes_lines_where_there_is_no_terminal(
    project: bs.Project, capsys: pytest.CaptureFixture[str]
) -> None:
    bs.map(project.task(slow), range(12), workers=1, on_error="return")
    first, *_, last = capsys.readouterr().err.splitlines()
    assert first.startswith("slow: ")
    assert " of 12 after " in first
    assert "(0 kept, " in first
    assert first.endswith(" left")
    assert last.startswith("slow: 12 of 12 after ")
    assert last.endswith("(0 kept, 11 run, 1 failed)")


@pytest.mark.usefixtures("often")
def test_an_endless_map_writes_lines_without_a_total(project: bs.Project, capsys: pytest.CaptureFixture[str]) -> None:
    list(bs.imap(project.task(slow), (x for x in range(1, 7)), workers=1))
    assert capsys.readouterr().err.splitlines()[-1].startswith("slow: 6 after ")


@pytest.mark.usefixtures("often")
def test_no_line_is_written_with_progress_false(project: bs.Project, capsys: pytest.CaptureFixture[str]) -> None:
    bs.map(project.task(slow), range(1, 6), workers=1, progress=False)
    assert capsys.readouterr().err == ""


def test_a_short_map_writes_no_line(project: bs.Project, capsys: pytest.CaptureFixture[str]) -> None:
    bs.map(project.task(slow), range(1, 6), workers=1)
    assert capsys.readouterr().err == ""


BROKEN = {
    "missing": "sys.stderr = None",
    "closed": "sys.stderr.close()",
    "closed descriptor": "os.close(2)",
    "broken pipe": "read, write = os.pipe(); os.close(read); os.dup2(write, 2)",
    "closed while it runs": "during = True",
    "raises": "sys.stderr = type('Bad', (), {'isatty': lambda self: 1 / 0, 'write': lambda self, text: 1 / 0})()",
}


@pytest.mark.parametrize("shown", ["True", "None"])
@pytest.mark.parametrize("how", BROKEN)
def test_a_standard_error_that_cannot_be_written_fails_no_call(how: str, shown: str, tmp_path: Path) -> None:
    script = textwrap.dedent(f"""
        import os, sys, time
        import beautyspot as bs
        from beautyspot.fanout import progress
        progress._LINE_EVERY = 0.01
        during = False
        project = bs.Project("p", db="p.db")
        def work(x):
            time.sleep(0.02)
            if during and x == 3:
                sys.stderr.close()
            return x
        task = project.task(version="1")(work)
        {BROKEN[how]}
        results = [bs.map(task, range(8), progress={shown}, workers=1) for _ in range(2)]
        project.close()
        print(results == [list(range(8))] * 2, flush=True)
        os._exit(0)
    """)
    (tmp_path / "script.py").write_text(script)
    done: Any = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60, env={**os.environ}
    )
    assert done.stdout == "True\n", done.stderr
