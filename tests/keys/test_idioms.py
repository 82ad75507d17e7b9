"""What people write in tests works: the files in `idioms` are run by pytest, twice against one index.

Equal calls run once in the first process, and not at all in the second.
"""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

FILES = {path.stem: path for path in Path(__file__).with_name("idioms").glob("*.py")}
CONFTEST = FILES.pop("users_conftest")
WARNINGS = ("errors.CapturedWarning", "errors.ChangedCodeWarning", "errors.NotKeptWarning", "errors.UnreadableWarning")


def _tests_of(path: Path) -> list[str]:
    """The names of the tests in a file, those of a class as ``Class.name``."""
    found = []
    for node in ast.parse(path.read_text()).body:
        inner = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"{node.name}." if isinstance(node, ast.ClassDef) else ""
        found += [
            prefix + each.name
            for each in inner
            if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) and each.name.startswith("test_")
        ]
    return found


IDIOMS = [f"{name}.{test}" for name, path in sorted(FILES.items()) for test in _tests_of(path)]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What went wrong with each test: one text for each process and case, empty where nothing did."""
    place = tmp_path_factory.mktemp("users")
    shutil.copy(CONFTEST, place / "conftest.py")
    for name, path in FILES.items():
        shutil.copy(path, place / f"test_{name}.py")
    (place / "pytest.ini").write_text("[pytest]\njunit_family = xunit1\n")
    found: dict[str, list[str]] = {}
    for process in ("first", "second"):
        strictly = [word for name in WARNINGS for word in ("-W", f"error::beautyspot.{name}")]
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *strictly]
        command += [f"--basetemp={place / process}", f"--junitxml={process}.xml"]
        env = {**os.environ, "PLACE": str(place), "PROCESS": process}
        done = subprocess.run(command, cwd=place, env=env, capture_output=True, text=True, timeout=200)
        assert done.returncode in (0, 1), done.stdout + done.stderr
        for case in ElementTree.parse(place / f"{process}.xml").iter("testcase"):
            name = f"{case.get('classname')}.{case.get('name')}".removeprefix("test_").partition("[")[0]
            failed = "".join(f"{each.get('message')}\n{each.text}" for each in case)
            found.setdefault(name, []).append(failed and f"in the {process} process: {failed}")
    return found


@pytest.mark.parametrize("idiom", IDIOMS)
def test_equal_calls_run_once_and_not_at_all_in_the_next_process(idiom: str, outcomes: dict[str, list[str]]) -> None:
    texts = outcomes[idiom]
    assert len(texts) >= 2
    assert not any(texts), "\n".join(texts)
