"""What beautyspot does, on work that every machine has: the modules of Python's standard library.

Four runs of one job: a first one, a second one, one that is killed half-way, and the one after that.
Each run is a process of its own, as a script that is started again is.
"""

import ast
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import beautyspot as bs

HERE = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="beautyspot-demo-"))
LIBRARY = Path(sysconfig.get_path("stdlib"))
LEFT_OUT = {"__pycache__", "dist-packages", "idlelib", "lib2to3", "site-packages", "test", "tests"}
BRANCHES = (ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.comprehension, ast.match_case)

project = bs.Project("demo", db=HERE / "demo.db", storage_path=HERE / "blobs")


@dataclass(frozen=True)
class Measured:
    lines: int
    functions: int
    complexity: int  # of the most complex function
    where: str


@project.task(key=bs.KeyGen.file_content("path"))  # a file is what it contains
def measure(path: Path) -> Measured:
    """The cyclomatic complexity of a module's functions: one, and one more for every branch."""
    source = path.read_bytes()
    found = {"(no function)": 0}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            branches = sum(isinstance(inner, BRANCHES) for inner in ast.walk(node))
            found[f"{node.name}, line {node.lineno}"] = 1 + branches
    where = max(found, key=found.__getitem__)
    return Measured(source.count(b"\n"), len(found) - 1, found[where], where)


def modules() -> list[Path]:
    return sorted(path for path in LIBRARY.rglob("*.py") if not LEFT_OUT & set(path.relative_to(LIBRARY).parts))


def start() -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, __file__, str(HERE)], stdout=subprocess.PIPE, text=True)


def finish(run: "subprocess.Popen[str]") -> str:
    """What a run printed; its output ends when its last worker process does."""
    try:
        return run.communicate(timeout=300)[0]
    except BaseException:
        run.kill()
        raise


def check(holds: bool, claim: str) -> None:
    if not holds:
        sys.exit(f"this should hold, and does not: {claim}")


def main() -> None:
    sys.stdout.reconfigure(line_buffering=True)  # the runs' progress bars come in between
    paths = modules()
    print(f"\n1. A first run over the modules of the standard library. {bs.plan(measure, paths, workers=2)}.")
    first = float(finish(start()))
    results = measure.map(paths)
    check(bs.plan(measure, paths).to_run == 0, "after a run, every result is kept")
    print(f"   It took {first:.2f} s.")

    print(f"\n2. The same run again. {bs.plan(measure, paths)}.")
    second = float(finish(start()))
    check(second < first / 2, "a run of kept results takes less than half the time")
    print(f"   It took {second:.2f} s, {first / second:.0f} times less.")

    for path in paths:
        measure.forget(path)
    print(f"\n3. All results dropped, and a run that is ended with kill -9. {bs.plan(measure, paths, workers=2)}.")
    run = start()
    while bs.plan(measure, paths).kept < len(paths) // 2 and run.poll() is None:
        time.sleep(0.02)
    run.kill()
    finish(run)
    check(run.returncode == -9, "the run was killed before it was over")
    killed, left = time.time(), bs.plan(measure, paths, workers=2)
    print(f"\n   Killed. What was finished is there: {left}.")

    print("\n4. The same line once more.")
    rest = float(finish(start()))
    ran = sum(kept.created > killed for kept in project.db.summaries())
    check(ran == left.to_run, "the last run ran what was missing, and nothing else")
    check(measure.map(paths) == results, "the results are those of the first run")
    print(f"   It ran {ran} calls in {rest:.2f} s. All {len(paths)} results equal those of the first run.")

    print("\n   complexity  functions  lines  module")
    for path, m in sorted(zip(paths, results, strict=True), key=lambda pair: -pair[1].complexity)[:5]:
        print(f"   {m.complexity:10}  {m.functions:9}  {m.lines:5}  {path.relative_to(LIBRARY)} ({m.where})")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        inputs, began = modules(), time.perf_counter()
        bs.map(measure, inputs, engine="processes", workers=2, progress=True)
        print(time.perf_counter() - began)
    else:
        try:
            main()
        finally:
            project.close()
            shutil.rmtree(HERE, ignore_errors=True)
