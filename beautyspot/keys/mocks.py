"""What identifies a mock: what was configured, and its ``spec``; not what it was called with.

A mock makes children when they are asked for, and gives them what follows from its own ``spec`` and ``wraps``. What it
made itself does not count, so that a mock stays the same while it is used.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from typing import Any

# What mocks keep in their ``__dict__`` beside attributes that were set; names with ``_mock_`` are added to these.
_MACHINERY = frozenset(
    {
        "method_calls", "_spec_class", "_spec_set", "_spec_signature", "_spec_asyncs", "_is_coroutine", "__code__",
        "__defaults__", "__kwdefaults__", "__annotations__",
    }
)  # fmt: skip
_ITERATORS: tuple[type, ...] = (type(iter([])), type(iter(())))


def is_mock(kind: type) -> bool:
    """Whether values of a class are mocks: of `unittest.mock`, or of its copy on PyPI."""
    for name in ("unittest.mock", "mock.mock"):
        module = sys.modules.get(name)
        if module is not None and issubclass(kind, getattr(module, "NonCallableMock", ())):
            return True
    return False


def behind(function: types.FunctionType) -> Any:
    """The mock that answers for a function made by `unittest.mock.create_autospec`; ``None`` for any other function."""
    mock = vars(function).get("mock")
    if mock is None or not is_mock(type(mock)) or vars(mock).get("_mock_delegate") is not function:
        return None
    return mock


def configured(mock: Any) -> dict[str, Any]:
    """What was configured, by name: what it returns, raises and wraps, attributes and children, its specification."""
    return dict(_configured(mock, {id(mock): True}))


def _configured(mock: Any, known: dict[int, bool]) -> Iterator[tuple[str, Any]]:
    """What was configured.

    Args:
        mock: The mock.
        known: Whether anything was configured, of mocks that were met already.
    """
    own = vars(mock)
    for name, item in (*_answers(mock, own), *_specification(own), *_attributes(own)):
        if not is_mock(type(item)) or _is_configured(item, known):
            yield name, item


def _is_configured(mock: Any, known: dict[int, bool]) -> bool:
    if id(mock) not in known:
        known[id(mock)] = True  # what is met again below itself was set there
        known[id(mock)] = any(True for _ in _configured(mock, known))
    return known[id(mock)]


def _answers(mock: Any, own: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """What a call returns or raises, unless a magic method does what it does by itself."""
    from unittest.mock import DEFAULT

    delegate = own.get("_mock_delegate")
    answers, prefix = (own, "_mock_") if delegate is None else (vars(delegate), "")
    returned = answers.get(f"{prefix}return_value", DEFAULT)
    if returned is not DEFAULT and not _is_usual(own, returned):
        yield "return_value", returned
    effect = answers.get(f"{prefix}side_effect")
    if type(effect) in _ITERATORS:
        effect = list(effect.__reduce__()[1][0])  # all of it, whatever was drawn
    if effect is not None and not _is_usual_effect(own, effect):
        yield "side_effect", effect
    wrapped = own.get("_mock_wraps")
    if wrapped is not None and not _follows_from_wraps(own, wrapped):
        yield ":wraps", wrapped


def _is_usual(own: dict[str, Any], returned: Any) -> bool:
    """Whether a magic method returns what it returns by itself."""
    from unittest import mock

    parent, name = own.get("_mock_new_parent"), own.get("_mock_new_name")
    usual: Any = getattr(mock, "_return_values", {}).get(name, mock.DEFAULT)
    calculate: Any = getattr(mock, "_calculate_return_value", {}).get(name)
    if calculate is not None and parent is not None:
        usual = calculate(parent)
    return type(returned) is type(usual) and bool(returned == usual)


def _is_usual_effect(own: dict[str, Any], effect: Any) -> bool:
    """Whether a magic method, such as ``__iter__``, does what it does by itself."""
    return (
        own.get("_mock_new_name") in ("__eq__", "__ne__", "__iter__", "__aiter__")
        and type(effect) is types.FunctionType
        and effect.__qualname__.startswith("_get_")
    )


def _follows_from_wraps(own: dict[str, Any], wrapped: Any) -> bool:
    parent = own.get("_mock_new_parent")
    whole = None if parent is None else vars(parent).get("_mock_wraps")
    return whole is not None and getattr(whole, str(own.get("_mock_new_name")), None) == wrapped


def _specification(own: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    kind, methods, parent = own.get("_spec_class"), own.get("_mock_methods"), own.get("_mock_new_parent")
    whole = None if parent is None else vars(parent).get("_spec_class")
    if kind is not None:
        name = str(own.get("_mock_new_name"))
        part = whole if name == "()" else getattr(whole, name, None)
        if whole is None or (part is not None and kind is not part and kind is not type(part)):
            yield ":spec", kind
    elif methods is not None:
        yield ":spec", sorted(methods)
    if own.get("_mock_sealed"):
        yield ":sealed", True


def _attributes(own: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, item in list(own.items()):
        if not name.startswith("_mock_") and name not in _MACHINERY and (name, item) != ("__name__", "AsyncMock"):
            yield name, item
    for name, child in list(own.get("_mock_children", {}).items()):
        if type(child).__name__ != "_SpecState":  # a child that nobody has asked for
            yield name, child
