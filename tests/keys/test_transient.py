"""A captured value that only one process has makes each process run again: the first miss says so."""

import subprocess
import sys
from pathlib import Path

import pytest

_SCRIPT = """
import datetime, os, tempfile, time, uuid, warnings
import beautyspot as bs
project = bs.Project("p")
{constant}
def main():
    {line}
    @project.task
    def ask(x):
        return x, str(value)
    for x in range(3):
        ask(x)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    main()
print([str(each.message) for each in caught])
"""


def _warned(place: Path, line: str, constant: str = "") -> list[str]:
    (place / "script.py").write_text(_SCRIPT.format(line=line, constant=constant))
    done = subprocess.run([sys.executable, "script.py"], cwd=place, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: list[str] = eval(done.stdout)
    return found


@pytest.mark.parametrize(
    "line",
    [
        "value = time.time()", "value = datetime.datetime.now()", "value = tempfile.mkdtemp()", "value = uuid.uuid4()",
        "value = str(uuid.uuid4())", "value = os.getpid()", "value = {'started': time.time()}", "value = id(object())",
        "import socket; s = socket.create_server(('127.0.0.1', 0)); value = f'http://127.0.0.1:{s.getsockname()[1]}/v1'; s.close()",
    ],
)  # fmt: skip
def test_a_value_of_this_process_is_named_at_the_first_miss(line: str, tmp_path: Path) -> None:
    assert _warned(tmp_path, line) == []
    [text] = _warned(tmp_path, line)
    assert "'value' holds a value that only one process has" in text
    assert text.endswith("Write @project.task(ignore='value')")


def test_a_constant_of_this_process_is_named_too(tmp_path: Path) -> None:
    _warned(tmp_path, "pass", "value = time.time()")
    [text] = _warned(tmp_path, "pass", "value = time.time()")
    assert text.endswith("Write @project.task(ignore='value')")


def test_an_intended_change_of_a_setting_gives_no_warning(tmp_path: Path) -> None:
    assert _warned(tmp_path, "value = 0.5") == _warned(tmp_path, "value = 0.7") == []
    assert _warned(tmp_path, "value = 0.5, time.time(); value = 0.7") == []
