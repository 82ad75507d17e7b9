"""The code that ``version="auto"`` follows: a function, what it calls in its module, and its ``deps``."""

from __future__ import annotations

import functools
import hashlib
import inspect
import sys
from collections.abc import Iterable, Iterator
from types import FunctionType, MemberDescriptorType, MethodType, ModuleType
from typing import Any

from beautyspot._internal.names import find, full_name, module_name
from beautyspot.errors import ConfigurationError
from beautyspot.keys.fingerprints import fingerprint, of_class, of_source, source_of

_WRITE = 'write version="auto", deps=[a_function, a_class, a_module]'


class Deps:
    """Functions, classes and modules that a version follows besides its function.

    They are not pickled: a pickled task carries its keys.

    Args:
        given: The functions, classes, modules and tasks; a task stands for its function, its version and its own deps.

    Attributes:
        code: Functions and classes. They are read when the first key is made, since what they call may be defined
            further down.
        fixed: Names and fingerprints of modules, taken at once, before their files are edited.

    Raises:
        ConfigurationError: If one of them cannot be followed.
    """

    __slots__ = ("code", "fixed")

    def __init__(self, given: Iterable[Any] = ()) -> None:
        self.code: list[Any] = []
        self.fixed: list[tuple[str, bytes]] = []
        if isinstance(given, str) or not isinstance(given, Iterable):
            raise ConfigurationError(f"deps is a list, not {given!r}: {_WRITE}")
        for dep in given:
            self._add(dep)

    def __reduce__(self) -> tuple[Any, ...]:
        return Deps, ()

    def _add(self, dep: Any) -> None:
        also = _deps_of(dep)
        if also is not None:
            self.code += also.code
            self.fixed += also.fixed
            if dep.options.version not in (None, "auto"):
                self.fixed.append((dep.function_name, str(dep.options.version).encode()))
            dep = getattr(dep, "task", dep)  # of a bound method
        plain = _plain(dep)
        if isinstance(plain, ModuleType):
            self.fixed += _of_module(plain)
        elif isinstance(plain, FunctionType) or (
            isinstance(plain, type) and (_of_class(plain)[0] or _functions(plain))
        ):
            self.code.append(plain)
        else:
            raise ConfigurationError(
                f"deps names {dep!r}, which has no Python source to follow: {_WRITE}; what else counts may be part "
                'of an explicit version, as in version=f"2-{numpy.__version__}"'
            )


NOTHING = Deps()


def checked_deps(given: Any, version: Any) -> Deps:
    """The dependencies of a task of this *version*.

    Raises:
        ConfigurationError: If one cannot be followed, or the version is not ``"auto"``.
    """
    deps = Deps(given)
    if version != "auto" and (deps.code or deps.fixed):
        raise ConfigurationError(f'deps are followed by version="auto", and the version is {version!r}: {_WRITE}')
    return deps


def followed(function: Any, deps: Deps = NOTHING) -> bytes:
    """A fingerprint of *function*, of *deps*, and of what each of them calls in its own module."""
    found = set(deps.fixed)
    waiting = [_plain(function), *deps.code]
    known: dict[int, Any] = {}
    while waiting:
        current = waiting.pop()
        if id(current) in known:
            continue
        known[id(current)] = current
        also = _deps_of(current)
        if also is not None:  # a task
            found.update(also.fixed)
            waiting += [_plain(current), *also.code]
        elif isinstance(current, type):
            code, file = _of_class(current)
            found.add((full_name(current), code))
            waiting += [*_methods(current, file), *(base for base in current.__mro__ if _is_beside(base, current))]
        elif hasattr(current, "__code__"):
            found.add((full_name(current), fingerprint(current)))
            waiting += _called(current)
    digest = hashlib.blake2b(digest_size=16)
    for name, code in sorted(found):
        digest.update(name.encode() + b"\0" + code)
    return digest.digest()


def _deps_of(dep: Any) -> Deps | None:
    """The dependencies of a task, whose class stands above this module; ``None`` for any other object."""
    static = inspect.getattr_static  # a user's object may do anything when an attribute is looked up
    task = static(dep, "task", dep)
    options = static(task, "options", None)
    if isinstance(options, MemberDescriptorType):  # a slot, which runs no code
        options = getattr(task, "options", None)
    also = getattr(options, "deps", None)
    return also if isinstance(also, Deps) else None


def _plain(thing: Any) -> Any:
    """The innermost function: of a method or a property, below decorators."""
    if isinstance(thing, property):
        thing = thing.fget
    elif isinstance(thing, functools.cached_property):
        thing = thing.func
    plain = inspect.unwrap(thing)
    return plain.__func__ if isinstance(plain, MethodType) else plain


def _is_beside(thing: Any, other: Any) -> bool:
    return bool(getattr(thing, "__module__", None) == other.__module__)


def _called(function: FunctionType) -> Iterator[Any]:
    """The objects of the same module, or of the same class, that the code of *function* names."""
    owner = find(module_name(function.__module__), function.__qualname__.rpartition(".")[0])
    siblings = vars(owner) if inspect.isclass(owner) else {}
    for name in _names(function.__code__):
        for found in (function.__globals__.get(name), siblings.get(name)):
            if _is_beside(found, function):
                yield found if isinstance(found, type) or _deps_of(found) is not None else _plain(found)


def _names(code: Any) -> Iterator[str]:
    yield from code.co_names
    for const in code.co_consts:
        if inspect.iscode(const):
            yield from _names(const)


def _functions(kind: type) -> list[FunctionType]:
    """The methods that the class itself defines."""
    return [
        plain
        for member in vars(kind).values()
        if isinstance(plain := _plain(member), FunctionType)
        and _is_beside(plain, kind)
        and plain.__qualname__ == f"{kind.__qualname__}.{plain.__name__}"
    ]


def _methods(kind: type, file: str) -> list[FunctionType]:
    """The methods to follow: those in *file*, and not those that were generated from fields."""
    named = [(function, function.__code__.co_filename) for function in _functions(kind)]
    return [function for function, place in named if not file or place == file or not place.startswith("<")]


def _of_class(kind: type) -> tuple[bytes, str]:
    """A fingerprint of a class by its source, and its file; both empty if the source is not available."""
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    files = [file] if file else sorted({function.__code__.co_filename for function in _functions(kind)})
    for each in files:
        try:
            found = of_class(source_of(each), kind.__qualname__)
        except SyntaxError:
            continue
        if found:
            return found, each
    return b"", ""


def _of_module(module: ModuleType) -> Iterator[tuple[str, bytes]]:
    """Names and fingerprints of a module and, if it is a package, of all modules in it, imported or not."""
    name = module_name(module.__name__)
    yield name, _checked(name, _source(module.__spec__, getattr(module, "__file__", None)))
    yield from _of_modules_in(name, getattr(module, "__path__", ()))


def _of_modules_in(package: str, path: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    import pkgutil

    for finder, name, _ in pkgutil.iter_modules(path):
        spec: Any = finder.find_spec(f"{package}.{name}", None)
        yield spec.name, _checked(spec.name, _source(spec, spec.origin))
        yield from _of_modules_in(spec.name, spec.submodule_search_locations or ())


def _source(spec: Any, file: str | None) -> str | None:
    """The source of a module; a script has no *spec*, and some loaders have no source."""
    get_source = getattr(getattr(spec, "loader", None), "get_source", None)
    if get_source is not None:
        text: str | None = get_source(spec.name)
        return text
    return source_of(file) if file and file.endswith(".py") else None


def _checked(name: str, text: str | None) -> bytes:
    try:
        if text is not None:
            return of_source(text)
        reason = "has no Python source"
    except SyntaxError as cause:
        reason = f"is not Python ({cause})"
    raise ConfigurationError(
        f"deps cannot follow the module {name}, which {reason}: name functions, classes or modules that have, or "
        'make it part of an explicit version, as in version=f"2-{numpy.__version__}"'
    )
