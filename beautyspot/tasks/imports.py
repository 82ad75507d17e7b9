"""FunctionImports: the modules that a task's function imports, which its results may need before it runs."""

from __future__ import annotations

import dis
import types
from collections.abc import Iterator
from typing import Any, NamedTuple

from beautyspot._internal.warn import log


class _Import(NamedTuple):
    name: str
    names: tuple[str, ...] | None
    level: int


class FunctionImports:
    """The import statements in the code of a function, and of functions inside it.

    Args:
        function: The function.
    """

    def __init__(self, function: Any) -> None:
        self._function = function

    def load(self, module: str) -> bool:
        """Import what the function imports of the package of *module*, or else all that it imports.

        Nothing but what its own code names is imported. A statement that fails fails again when the function runs.

        Args:
            module: The module of a class that a result needs; it may be another one than the function names.

        Returns:
            Whether there was anything to import.
        """
        code = getattr(self._function, "__code__", None)
        found = [] if code is None else list(_imports_of(code))
        package = module.partition(".")[0]
        near = [each for each in found if each.level or each.name.partition(".")[0] == package]
        for name, names, level in near or found:
            try:
                __import__(name, self._function.__globals__, None, names or (), level)
            except Exception as error:
                log("INFO", "cannot import %s, as %r does: %s", name, self._function, error)
        return bool(found)


def _imports_of(code: types.CodeType) -> Iterator[_Import]:
    steps = [step for step in dis.get_instructions(code) if step.opname != "EXTENDED_ARG"]
    for level, names, step in zip(steps, steps[1:], steps[2:], strict=False):
        if step.opname == "IMPORT_NAME":
            yield _Import(step.argval, names.argval, level.argval)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _imports_of(constant)
