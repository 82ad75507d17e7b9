"""A hit is a whole object: its class is found where the function imports it, and has the fields that were stored."""

import asyncio
import subprocess
import sys
import textwrap
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import beautyspot as bs
from beautyspot.errors import UnreadableWarning
from beautyspot.testing import Count
from tests.support.marks import on_sqlite

Define = Callable[[str], None]
WITHOUT = "@dataclass\nclass Item:\n    a: int"
WITH_DEFAULT = f"{WITHOUT}\n    b: str = 'x'"
WITHOUT_DEFAULT = f"{WITHOUT}\n    b: str"


@pytest.fixture
def define(monkeypatch: pytest.MonkeyPatch) -> Define:
    """Makes the module `shop` anew, from its source."""

    def module(source: str) -> None:
        made = types.ModuleType("shop")
        exec("from dataclasses import dataclass\n" + source, vars(made))
        monkeypatch.setitem(sys.modules, "shop", made)

    return module


@pytest.fixture
def read(project: bs.Project, count: Count) -> Any:
    @project.task
    def read(x: int) -> Any:
        count()
        shop: Any = sys.modules["shop"]
        return shop.Item(x, "ran") if "b" in shop.Item.__dataclass_fields__ else shop.Item(x)

    return read


@on_sqlite
def test_a_field_with_a_default_is_filled_in_at_a_hit(define: Define, read: Any, count: Count) -> None:
    define(WITHOUT)
    read(1)
    define(WITH_DEFAULT)
    assert [read(1).b, len(count)] == ["x", 1]
    assert bs.plan(read, [1, 2]).kept == 1


@on_sqlite
def test_a_changed_class_runs_the_call_again_with_one_warning(define: Define, read: Any, count: Count) -> None:
    define(WITHOUT)
    read.map([1, 2, 3])
    define(WITHOUT_DEFAULT)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert [read(1).b, read(2).b, read(1).b] == ["ran"] * 3
    assert len(count) == 5
    (warning,) = caught
    assert warning.category is UnreadableWarning
    assert str(warning.message) == (
        "a kept result cannot be used and its call runs again: give the field 'b' a plain default to use it again; the "
        "class shop.Item has changed since: its field 'b' is new (more of this kind are not reported)"
    )


@on_sqlite
def test_a_plan_counts_calls_whose_class_has_changed(define: Define, read: Any) -> None:
    define(WITHOUT)
    read.map([1, 2, 3])
    define(WITHOUT_DEFAULT)
    plan = bs.plan(read, [1, 2, 3, 4])
    assert (plan.kept, plan.to_run) == (0, 4)


@on_sqlite
def test_verify_counts_results_that_no_longer_make_a_whole_object(
    define: Define, read: Any, project: bs.Project
) -> None:
    define(WITHOUT)
    read.map([1, 2, 3])
    assert project.maintenance.verify()
    define(WITHOUT_DEFAULT)
    health = project.maintenance.verify(fix=True)
    assert health.counts == {"incomplete": 3}
    assert health.problems[0].text.startswith("it no longer makes a whole object: give the field 'b'")
    define(WITHOUT)
    assert project.maintenance.verify().checked == 3


def run(directory: Path, program: str) -> list[str]:
    """The lines that a program in *directory* prints; warnings are errors in it."""
    (directory / "program.py").write_text(textwrap.dedent(program))
    command = [sys.executable, "-W", "error", "program.py"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def write(directory: Path, **files: str) -> None:
    for name, text in files.items():
        path = directory / (name.replace("__", "/") + ".py")
        path.parent.mkdir(exist_ok=True)
        (path.parent / "__init__.py").touch() if path.parent != directory else None
        path.write_text(textwrap.dedent(text))


CLASS = "from dataclasses import dataclass\n@dataclass\nclass Item:\n    x: int\n"
BODIES = {
    "from": "from shop import Item\nreturn Item(x)",
    "module": "import shop\nreturn shop.Item(x)",
    "inner function": "def inner():\n    from shop import Item\n    return Item(x)\nreturn inner()",
    "under an if": "if x:\n    from shop import Item\nreturn Item(x)",
    "in a list": "from shop import Item\nreturn [Item(x)] * 3",
    "beside one that is missing": "try:\n    import shop_of_yesterday\nexcept ImportError:\n    pass\n"
    "from shop import Item\nreturn Item(x)",
}


@pytest.mark.parametrize("name", BODIES)
def test_a_class_that_the_function_imports_is_found(tmp_path: Path, name: str) -> None:
    write(tmp_path, shop=CLASS)
    body = textwrap.indent(BODIES[name], "    ")
    program = (
        "import sys\nimport beautyspot as bs\nproject = bs.Project('p')\n@project.task\n"
        f"def make(x):\n    print('ran')\n{body}\n"
        "print(bs.plan(make, [1]).kept, 'shop' in sys.modules, make(1))\n"
    )
    item = "[Item(x=1), Item(x=1), Item(x=1)]" if name == "in a list" else "Item(x=1)"
    assert run(tmp_path, program) == ["ran", f"0 False {item}"]
    kept, _, value = run(tmp_path, program)[0].split(" ", 2)
    assert (kept, value) == ("1", item)


def test_a_class_is_found_where_a_package_gives_it_on(tmp_path: Path) -> None:
    write(tmp_path, shop__items=CLASS)
    (tmp_path / "shop" / "__init__.py").write_text("from shop.items import Item\n")
    (tmp_path / "shop" / "tasks.py").write_text(
        "import beautyspot as bs\nproject = bs.Project('p')\n@project.task\n"
        "def make(x):\n    print('ran')\n    from .items import Item\n    return Item(x)\n"
    )
    program = "from shop.tasks import make\nprint(make(1))\n"
    assert run(tmp_path, program) == ["ran", "Item(x=1)"]
    assert run(tmp_path, program) == ["Item(x=1)"]


def test_a_stream_of_a_class_that_the_function_imports_is_replayed(tmp_path: Path) -> None:
    write(tmp_path, shop=CLASS)
    program = """
        import beautyspot as bs
        project = bs.Project("p")
        @project.task
        def make(n):
            print("ran")
            yield 0
            from shop import Item
            yield from map(Item, range(n))
        print(list(make(2)))
    """
    assert run(tmp_path, program) == ["ran", "[0, Item(x=0), Item(x=1)]"]
    assert run(tmp_path, program) == ["[0, Item(x=0), Item(x=1)]"]


def test_no_other_class_is_imported(tmp_path: Path) -> None:
    write(tmp_path, shop=CLASS, other="print('imported')\n" + CLASS)
    program = """
        import sys, warnings
        import beautyspot as bs
        project = bs.Project("p")
        @project.task
        def make(x):
            from shop import Item
            return sys.modules["other"].Item(x) if "other" in sys.modules else None
        if len(sys.argv) == 1:
            pass
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            {first}
            print(make(1), [str(one.message) for one in caught])
    """
    run(tmp_path, program.format(first="import other"))
    (line,) = run(tmp_path, program.format(first="pass"))
    assert line.startswith("None ")
    assert "write `from other import Item` at the top of the program: the class other.Item is not loaded" in line


ARRAYS = {"rows": np.arange(50_000.0)}


@on_sqlite
def test_a_mapped_array_is_read_only_from_the_first_call_on(project: bs.Project) -> None:
    def table(x: int) -> Any:
        return {"rows": np.arange(50_000.0) + x, "x": x}

    async def table_async(x: int) -> Any:
        return table(x)

    mapped = project.task(mmap=True)(table)
    awaited = project.task(mmap=True)(table_async)
    listed = project.batch_task(mmap=True)(lambda xs: [table(x) for x in xs])
    results = [mapped(1), mapped(1), asyncio.run(awaited(1)), *bs.map(mapped, [2, 3]), *listed([4, 5])]
    results += bs.map(mapped, [6, 7], engine="processes", workers=1)
    for result in results:
        assert not result["rows"].flags.writeable
        np.testing.assert_array_equal(result["rows"], np.arange(50_000.0) + result["x"])


@on_sqlite
def test_a_small_array_is_writable_from_the_first_call_on(project: bs.Project) -> None:
    small = project.task(mmap=True)(lambda: np.arange(3))
    assert [small().flags.writeable, small().flags.writeable] == [True, True]
