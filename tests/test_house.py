"""The project itself: imports point one way, names are complete, errors travel, the wheel holds what it should."""

import ast
import importlib
import inspect
import logging
import os
import pickle
import pkgutil
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

import beautyspot as bs
from beautyspot import errors
from tests.support.servers import S3Server

ROOT = Path(__file__).parent.parent

# From the ground up. A room imports only from ranks below its own: wherever the import stands, for types or to run.
RANKS = [
    {"errors"},
    {"_internal", "protocols"},
    {"keys", "serialization", "db", "storage", "limiter"},
    {"results"},
    {"tasks"},
    {"fanout", "maintenance"},
    {"project"},
    {"__init__"},  # the face: its public names, which load when they are used
    {"testing", "adapters", "dashboard"},
    {"cli"},
]
RANK = {room: rank for rank, rooms in enumerate(RANKS) for room in rooms}
FILES = sorted(
    path
    for path in [*ROOT.glob("beautyspot/**/*.py"), *ROOT.glob("adapters/*.py")]
    if path.parent.name != "adapters" or path.parent.parent == ROOT
)
TREES = {path: ast.parse(path.read_text()) for path in FILES}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def room_of(path: Path) -> str:
    first, *folders = path.relative_to(ROOT).parent.parts
    return (folders or [path.stem])[0] if first == "beautyspot" else first


def imported(tree: ast.AST) -> set[str]:
    """What *tree* imports of beautyspot, at any depth: dotted names."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "absolute imports only"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in names if name.split(".")[0] == "beautyspot"}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_point_one_way(path: Path) -> None:
    room = room_of(path)
    others = {name.split(".")[1] if name.split(".")[1:2] and name.split(".")[1] in RANK else "__init__"
              for name in imported(TREES[path])}  # fmt: skip
    above = {other for other in others - {room} if RANK[other] >= RANK[room]}
    assert above == set(), f"{room} stands below {above}, or beside it"


ADAPTERS = [path for path in FILES if room_of(path) == "adapters"]
# Of other libraries, which have no public name for it.
THEIRS = {
    *("_managed_backend", "_backend", "_effective_n_jobs", "_temp_folder_manager", "_id", "_size"),  # joblib
    *("_reducer_callback", "_client", "_kwargs", "_run"),  # joblib; dask
    *("_shards", "_count", "_sql", "_transact", "_cull"),  # diskcache
}


@pytest.mark.parametrize("path", ADAPTERS, ids=name_of)
def test_an_adapter_uses_public_names_only(path: Path) -> None:
    """From the face of a room, what is in its ``__all__``; and no underscore of an object but its own."""
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Import):
            assert not [alias.name for alias in node.names if alias.name.startswith("beautyspot.")]
        elif isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith("beautyspot."):
            names, (_, *rest) = {alias.name for alias in node.names}, str(node.module).split(".")
            if rest[:1] == ["adapters"]:
                assert not [name for name in names if name.startswith("_")]
            else:
                assert names <= set(importlib.import_module(str(node.module)).__all__)
                assert len(rest) < 2, f"{node.module} is not the face of a room"
        elif isinstance(node, ast.Attribute) and re.match("_(?!_)", node.attr):
            owner = ast.unparse(node.value)
            assert owner in ("self", "cls", "super()") or node.attr in THEIRS, f"{owner}.{node.attr}"


PACKAGES = [path for path in FILES if path.name == "__init__.py" and path.parent.parent != ROOT]


@pytest.mark.parametrize("path", PACKAGES, ids=name_of)
def test_the_face_of_a_package_names_its_files(path: Path) -> None:
    about = ast.get_docstring(TREES[path])
    assert about is not None
    there = {p.stem if p.is_file() else p.name for p in path.parent.iterdir() if p.suffix == ".py" or p.is_dir()}
    for name in there - {"__init__", "__main__", "__pycache__", "static"}:
        assert re.search(rf"`{name}`", about), f"{name} is not in the docstring of {name_of(path)}"


PUBLIC = [
    "errors",
    *(path.parent.relative_to(ROOT / "beautyspot").as_posix().replace("/", ".") for path in PACKAGES
      if path.parent.name != "adapters" and "__all__" in path.read_text()),
]  # fmt: skip


@pytest.mark.parametrize("name", ["", *PUBLIC])
def test_all_is_complete(name: str) -> None:
    module = importlib.import_module(f"beautyspot.{name}".rstrip("."))
    for public in module.__all__:
        assert hasattr(module, public)
        assert public in dir(module)


def test_every_error_is_in_the_tree_at_the_top_of_its_module() -> None:
    assert errors.__doc__ is not None
    for name in errors.__all__:
        assert name in errors.__doc__


def definitions() -> list[tuple[str, Any]]:
    found = []
    for module in [bs, *(importlib.import_module(m.name) for m in pkgutil.walk_packages(bs.__path__, "beautyspot."))]:
        found.append((module.__name__, module))
        for name, thing in vars(module).items():
            if not name.startswith("_") and getattr(thing, "__module__", None) == module.__name__:
                if inspect.isfunction(thing) or inspect.isclass(thing):
                    found.append((f"{module.__name__}.{name}", thing))
                for member, function in vars(thing).items() if inspect.isclass(thing) else ():
                    ours = str(getattr(function, "__module__", "")).startswith(
                        "beautyspot"
                    )  # `limits` wraps its own anew
                    if (
                        ours
                        and inspect.isfunction(function)
                        and not member.startswith("_")
                        and "testing" not in module.__name__
                    ):
                        found.append((f"{module.__name__}.{name}.{member}", function))
    return found


def test_every_public_definition_has_a_docstring() -> None:
    assert [name for name, thing in definitions() if not thing.__doc__ and "asyncmap._" not in name] == []


ERRORS = [
    errors.BeautyspotError("text"),
    errors.ConfigurationError("text"),
    errors.UnkeyableError("reason", ("argument 'x'", "[3]")),
    errors.SerializationError("reason", ("['k']",), None),
    errors.BatchError("function", 3, "2 results"),
    errors.DeserializationError("text"),
    errors.UnknownTypeError("text"),
    errors.UnloadedClassError("module", "Kind"),
    errors.ChangedClassError("module.Kind", "its field 'a' is gone", "give it back"),
    errors.StorageError("text"),
    errors.MissingBlobError("text"),
    errors.DamagedBlobError("text"),
    errors.IndexUnavailableError("text"),
    errors.RejectedIndexError("text"),
    errors.ForeignIndexError("text"),
    errors.NewerIndexError("text"),
    errors.RateLimitExceeded("of p (tpm=10)", 6.0, 2.0),
    errors.LimiterUnavailableError("redis://host/0", "refused"),
    errors.EngineLost("text"),
    errors.WorkerDied("task", "x=1", "killed"),
    errors.RemoteError("module.Kind", "text"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
def test_an_error_survives_pickling(error: Exception) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


def test_every_error_is_tested_for_pickling() -> None:
    kinds = {type(error).__name__ for error in ERRORS}
    warnings = {name for name in errors.__all__ if issubclass(getattr(errors, name), Warning)}
    assert kinds | warnings | {"MapError"} == set(errors.__all__)


def test_a_serialization_error_travels_without_its_value() -> None:
    copy = pickle.loads(pickle.dumps(errors.SerializationError("reason", (), lambda: 1)))
    assert copy.value is None


def test_a_map_error_is_a_group_that_can_be_split_and_pickled() -> None:
    error = bs.MapError("2 failed", [ValueError(1), KeyError(2)], {3: ("a",), 5: ("b",)}, {0: "good"})
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.inputs, copy.results, str(copy)) == (error.inputs, error.results, str(error))
    matched, rest = error.split(ValueError)
    assert isinstance(matched, bs.MapError)
    assert matched.inputs == {3: ("a",)}
    assert rest is not None
    assert [type(e) for e in rest.exceptions] == [KeyError]
    assert rest.inputs == {5: ("b",)}


UNPICKLING = {
    "beautyspot/fanout/transport.py": "what a caller sends to its workers, in shared memory",
    "beautyspot/fanout/wire.py": "what workers and their caller say to each other",
    "beautyspot/fanout/worker.py": "what its caller says to a worker",
    "beautyspot/tasks/pickling.py": "tasks, on their way to a worker",
    "beautyspot/maintenance/unpickling.py": "caches of other libraries, once that was allowed",
}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_nothing_that_is_kept_is_unpickled(path: Path) -> None:
    """Whoever unpickles is in the list, and says what; who uses ``unpickling`` imports it inside a function."""
    name, tree = name_of(path), TREES[path]
    loads = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr in ("load", "loads", "Unpickler")
        and isinstance(node.value, ast.Name)
        and node.value.id in ("pickle", "cloudpickle", "joblib", "marshal", "shelve", "dill")
    ]
    assert bool(loads) == (name in UNPICKLING)
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert not [node for node in imports if node.module in ("pickle", "cloudpickle", "marshal", "shelve", "dill")]
    ours = [node for node in imports if node.module == "beautyspot.maintenance.unpickling"]
    assert not ours or name == "beautyspot/maintenance/other_caches.py"
    assert not set(ours) & set(tree.body)


def test_importing_brings_nothing_heavy_along() -> None:
    code = "import beautyspot as bs, sys; bs.Project('p').task(len); print(' '.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {
        "limits",
        "psycopg",
        "boto3",
        "fsspec",
        "click",
        "numpy",
        "pandas",
        "polars",
        "joblib",
        "tqdm",
        "cloudpickle",
        "asyncio",
        "multiprocessing",
    }
    assert heavy.isdisjoint(loaded)


def test_hooks_at_forks_are_registered_in_one_module() -> None:
    found = {
        name_of(path)
        for path in FILES
        for node in ast.walk(TREES[path])
        if isinstance(node, ast.Attribute) and node.attr == "register_at_fork"
    }
    assert found == {"beautyspot/_internal/fork_safety.py"}


def test_importing_a_module_changes_nothing_outside_it() -> None:
    code = """
        import importlib, os, pkgutil, signal, sys, threading, warnings
        import beautyspot
        # What our modules need may change what it likes: it is imported first.
        for name in ("panel", "panel_material_ui", "dask", "distributed", "ray", "joblib", "diskcache", "limits", "msgpack"):
            importlib.import_module(name)
        def state():
            return dict(os.environ), list(sys.path), list(warnings.filters), signal.getsignal(signal.SIGINT)
        before = state()
        for module in pkgutil.walk_packages(beautyspot.__path__, "beautyspot."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
        assert state() == before
    """
    done = subprocess.run([sys.executable, "-c", inspect.cleandoc(code)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_adapters_are_not_imported_under_another_name() -> None:
    code = "import adapters"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert "import this package as beautyspot.adapters, not as adapters" in done.stderr


@pytest.mark.slow
def test_the_wheel_contains_what_it_should(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--sdist", "--outdir", tmp_path, ROOT]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {f"beautyspot/adapters/{path.name}" if room_of(path) == "adapters" else name_of(path) for path in FILES}
    assert expected <= names
    assert "beautyspot/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if not name.startswith(("beautyspot/", "beautyspot-"))]
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", "--system-site-packages", tmp_path / "v"], check=True
    )
    site = next((tmp_path / "v" / "lib").glob("*/site-packages"))
    zipfile.ZipFile(wheel).extractall(site)
    code = "import beautyspot.adapters.futures as f; print(f.__file__)"
    packages = subprocess.run(
        [sys.executable, "-c", "import msgpack; print(msgpack.__path__[0])"], capture_output=True, text=True
    )
    done = subprocess.run(
        [tmp_path / "v/bin/python", "-c", code],
        cwd=tmp_path, capture_output=True, text=True, env={"PYTHONPATH": str(Path(packages.stdout.strip()).parent)},
    )  # fmt: skip
    assert "site-packages/beautyspot/adapters/futures.py" in done.stdout, done.stderr


def test_there_is_one_logger() -> None:
    names = set()
    for path in FILES:
        for node in ast.walk(TREES[path]):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "getLogger":
                names |= {ast.literal_eval(argument) for argument in node.args}
    assert names == {"beautyspot"}
    assert logging.getLogger("beautyspot").handlers == []


LONG = ("demo.py", "on_ray.py", "on_dask.py", "with_joblib.py")
ELSEWHERE = ("with_dagster.py", "with_prefect.py")  # in environments of their own: test_workflows.py
EXAMPLES = [
    pytest.param(path.name, marks=[pytest.mark.slow] * (path.name in LONG))
    for path in sorted((ROOT / "examples").glob("*.py"))
    if path.name not in ELSEWHERE
]


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_run(name: str, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, ROOT / "examples" / name], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_shared_batch_runs_on_servers(postgres_url: str, s3_server: S3Server, s3_url: str, tmp_path: Path) -> None:
    places = {"APP_INDEX": postgres_url, "APP_BLOBS": s3_url, "AWS_ENDPOINT_URL": s3_server.url}
    environment = {**os.environ, **places, **s3_server.environment, "AWS_DEFAULT_REGION": "us-east-1"}
    command = [sys.executable, ROOT / "examples" / "shared_batch.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "101 inputs: 100 kept, 1 to run" in done.stdout
    assert "of 100, each input once" in done.stdout
