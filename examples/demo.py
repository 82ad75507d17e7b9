"""A demo of beautyspot on data that every machine has: the modules of Python's standard library.

The same job is started three times, each time in a new process: the first run is killed at 40 %, the second one resumes
it, and the third one finds every result in the cache.
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


@project.task(key=bs.KeyGen.file_content("path"))  # the key is the content of the file
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
    found = (path for path in LIBRARY.rglob("*.py") if not LEFT_OUT & set(path.relative_to(LIBRARY).parts))
    return sorted({path.read_bytes(): path for path in sorted(found)}.values())  # files with equal content are one call


def start() -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, __file__, str(HERE)], stdout=subprocess.PIPE, text=True)


def finish(run: "subprocess.Popen[str]") -> str:
    """Wait for a run to end and return what it printed."""
    try:
        return run.communicate(timeout=300)[0]
    except BaseException:
        run.kill()
        raise


def stored(since: float = 0) -> int:
    """Return the number of results that were stored after a point in time."""
    return sum(record.created > since for record in project.db.summaries())


def check(holds: bool, claim: str) -> None:
    if not holds:
        sys.exit(f"this should hold, and does not: {claim}")


def main() -> None:
    sys.stdout.reconfigure(line_buffering=True)  # keeps the order with the progress bars of the runs
    paths = modules()
    print(f"\n1. Measure {len(paths)} modules, and end the program with kill -9 at 40 %.")
    run = start()
    while stored() < len(paths) * 0.4 and run.poll() is None:
        time.sleep(0.01)
    run.kill()
    finish(run)
    check(run.returncode == -9, "the run was killed before it was over")
    killed, left = time.time(), bs.plan(measure, paths)
    print(f"\n   Killed. {left.kept} results are in the cache.")

    print("\n2. Start it again: it resumes.")
    second = float(finish(start()))
    ran = stored(since=killed)
    check(ran == left.to_run, "the second run ran what was missing, and nothing else")
    print(f"   It ran the {ran} calls that were missing, in {second:.1f} s.")

    print("\n3. Once more: everything is in the cache.")
    third = float(finish(start()))
    check(bs.plan(measure, paths).to_run == 0, "after a run, every result is in the cache")
    print(f"   It ran 0 calls, in {third:.2f} s.")

    results = measure.map(paths, progress=False)
    plain = [measure.__wrapped__(path) for path in paths]
    check(results == plain, "the results are those of the function without a cache")
    print(f"\nAll {len(results)} results equal those of the function without a cache. The most complex functions:")
    print("\n   complexity  lines  module")
    for path, m in sorted(zip(paths, results, strict=True), key=lambda pair: -pair[1].complexity)[:3]:
        print(f"   {m.complexity:10}  {m.lines:5}  {path.relative_to(LIBRARY)} ({m.where})")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        inputs, began = modules(), time.perf_counter()
        bs.map(measure, inputs, workers=2, progress=True)
        print(time.perf_counter() - began)
    else:
        try:
            main()
        finally:
            project.close()
            shutil.rmtree(HERE, ignore_errors=True)
