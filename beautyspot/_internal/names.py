"""Names of modules, functions and classes that are the same in every process."""

from __future__ import annotations

import sys
import types
from pathlib import PurePath
from typing import Any

_UNBOUND = (staticmethod, classmethod, types.MethodType)
MAIN = ("__main__", "__mp_main__")


def _main() -> Any:
    # A spawned child imports the script as __mp_main__, and sets __main__ only afterwards.
    return sys.modules.get("__mp_main__") or sys.modules.get("__main__")


def main_name() -> str:
    """The importable name of the main module: of ``python -m``, a script, or a spawned child of either.

    The name of a script is the stem of its file, the name under which it can be imported; a notebook or a prompt has
    no file and is called ``__main__``.
    """
    main = _main()
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return str(spec.name)
    file = getattr(main, "__file__", None)
    return PurePath(file).stem if file else "__main__"


def module_name(name: str | None) -> str:
    """The name of the module *name* in every process."""
    return main_name() if name in MAIN else str(name)


def is_interactive(module: str | None) -> bool:
    """Whether *module* is a notebook or a prompt: a main module without a file."""
    return module in MAIN and main_name() == "__main__"


def loaded_module(module: str) -> Any:
    """The module with a name as `module_name` returns it, if it is loaded; else ``None``."""
    if module not in MAIN and module in sys.modules:
        return sys.modules[module]
    # The main module of a worker is not the main module of its caller.
    return _main() if module == main_name() else None


def find(module: str, qualname: str) -> Any:
    """The object with a name, if its module is loaded; else ``None``.

    Nothing is imported, since the name may come from a file.
    """
    holder = loaded_module(module)
    for part in qualname.split("."):
        # The attribute as the class has it, not what a lookup would bind.
        holder = vars(holder).get(part) if isinstance(holder, type) else getattr(holder, part, None)
        holder = holder.__func__ if isinstance(holder, _UNBOUND) else holder
    return holder


def stands_for(obj: Any) -> bool:
    """Whether the name of *obj* refers to it, or to what its decorators made of it."""
    found = find(module_name(getattr(obj, "__module__", None)), getattr(obj, "__qualname__", ""))
    while found is not None:
        if found is obj:
            return True
        found = getattr(found, "__wrapped__", None)
    return False


def full_name(obj: Any) -> str:
    """``module.qualname`` of a function or a class."""
    name = getattr(obj, "__qualname__", None) or getattr(obj, "__name__", None) or type(obj).__qualname__
    return f"{module_name(getattr(obj, '__module__', None))}.{name}"
