"""Some hundred calls, whose keys stand in ``known_keys.json``. Only the standard library takes part.

Keys are part of the format: whoever changes the file loses every result that is kept. It is written anew with
``python -m tests.keys.known_calls``, and only where the change log says that the format has changed.
"""

import array
import collections
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import functools
import ipaddress
import json
import logging
import operator
import os
import pathlib
import re
import threading
import types
import typing
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from beautyspot.keys.keyer import Keyer
from beautyspot.keys.policies import KeyGen

FILE = Path(__file__).with_name("known_keys.json")
GREETING = "Hello"
SETTINGS = {"model": "small", "limits": [1, 2.5, None]}


class Colour(enum.Enum):
    """Members with values of two types."""

    RED = 1
    BLUE = "blue"


class Access(enum.Flag):
    """Members that can be combined."""

    READ = 1
    WRITE = 2


@dataclasses.dataclass
class Point:
    """Data with a default."""

    x: Any
    y: Any = 0


class Pair(NamedTuple):
    """A named tuple."""

    a: Any
    b: Any = 1


class Plain:
    """An object that is its attributes."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def ask(self, x: Any) -> Any:
        """A method."""
        return self.value, x


class Slotted:
    """An object with slots."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class Keyed:
    """An object that says what identifies it."""

    def __beautyspot_key__(self) -> Any:
        return ("keyed", 1)


class Texts(list[str]):
    """A subclass of a list."""


class Options(typing.TypedDict, total=False):
    """A dict with known names."""

    name: str


def ask(x: Any) -> Any:
    """The function of most calls."""
    return x


def with_defaults(x: Any, y: int = 2, *rest: Any, z: str = "z", **more: Any) -> Any:
    """A function with parameters of every kind."""
    return x, y, rest, z, more


def with_constants(x: Any) -> Any:
    """A function that reads constants."""
    return GREETING, SETTINGS, x


def capturing(value: Any) -> Callable[[Any], Any]:
    """A function that captured *value*."""

    def captured(x: Any) -> Any:
        return value, x

    return captured


def with_code(x: Any) -> Any:
    """A function of which most kinds of syntax are part."""
    found: dict[str, Any] = {f"{i!r:>4}": (i, *x[1:]) for i in range(3) if not i % 2 or i is None}
    try:
        with threading.Lock():
            while (n := len(found)) > 1_000:
                del found[str(n)]
    except (KeyError, ValueError) as error:
        raise RuntimeError("no") from error
    else:
        found |= {"lambda": lambda a, /, b=1, *, c: a + b @ c, "set": {1, 2}, "slice": x[1:2, ...]}
    match x:
        case {"a": [int(first), *_], **others} if first:
            return others, first
        case Point(x=0) | None:
            return [None, True, 1.5, 2j, b"bytes", -1]
    return found


def wrapping(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def local_classes() -> dict[str, Any]:
    """Classes without a home, and objects of them."""

    class Local:
        """A class inside a function."""

        limit = 3

        def __init__(self, x: Any) -> None:
            self.x = x

        def ask(self, q: Any) -> Any:
            return self.x, q, self.limit

        @property
        def doubled(self) -> Any:
            return self.x * 2

    class Mode(enum.Enum):
        FAST = "fast"

    class FailedError(ValueError):
        pass

    @dataclasses.dataclass
    class Row:
        name: str
        size: int = 0

    made = collections.namedtuple("made", "a b")
    return {
        "class": Local, "object": Local(1), "method": Local(1).ask, "enum": Mode, "member": Mode.FAST,
        "exception": FailedError("no"), "dataclass": Row, "row": Row("a"), "named tuple": made(1, 2),
    }  # fmt: skip


def nested(depth: int) -> list[Any]:
    """Lists in lists."""
    return [depth, nested(depth - 1)] if depth else []


def cyclic() -> list[Any]:
    """A list that holds itself."""
    found: list[Any] = [1]
    found.append(found)
    return found


VALUES: dict[str, Any] = {
    "none": None, "true": True, "false": False, "zero": 0, "one": 1, "minus one": -1, "64 bits": 2**64 - 1,
    "large": 2**100, "negative and large": -(2**100), "float": 0.1, "negative zero": -0.0, "infinity": float("inf"),
    "nan": float("nan"), "complex": 1 + 2j, "text": "text", "no text": "", "unicode": "naïve ☕ 日本", "surrogate": "\ud800",
    "long text": "text " * 2000, "bytes": b"\x00\xff", "many bytes": bytes(range(256)) * 40,
    "bytearray": bytearray(b"ab"), "memoryview": memoryview(b"ab"), "list": [1, "a", None], "empty list": [],
    "mixed list": [1, 1.0, True, "1", b"1"], "many": list(range(5000)), "tuple": (1, "a"), "empty tuple": (),
    "tuples": [(1, (2, (3,)))], "set": {"a", "b", "c"}, "mixed set": {1, "a", (2, 3)}, "frozenset": frozenset("abc"),
    "dict": {"b": 1, "a": [2]}, "empty dict": {}, "dict by numbers": {1: "a", 2.5: "b", None: "c"},
    "dict by tuples": {(1, 2): {"x": (3,)}}, "large dict": {f"name {i}": i for i in range(200)}, "nested": nested(20),
    "cycle": cyclic(), "date": dt.date(2020, 2, 29), "datetime": dt.datetime(2020, 1, 2, 3, 4, 5, 6),
    "datetime in UTC": dt.datetime(2020, 1, 2, tzinfo=dt.UTC), "fold": dt.datetime(2020, 1, 2, fold=1),
    "datetime with offset": dt.datetime(2020, 1, 2, tzinfo=dt.timezone(dt.timedelta(hours=9))), "time": dt.time(1, 2),
    "timedelta": dt.timedelta(days=1, microseconds=2), "decimal": decimal.Decimal("1.10"),
    "fraction": fractions.Fraction(1, 3), "uuid": uuid.UUID(int=5), "path": Path("data/a.csv"),
    "pure path": pathlib.PureWindowsPath("c:/a"), "address": ipaddress.ip_address("127.0.0.1"),
    "network": ipaddress.ip_network("10.0.0.0/8"), "pattern": re.compile("a+b", re.IGNORECASE),
    "match": re.search("a(b)?", "xab"), "array": array.array("i", [1, 2]), "range": range(1, 9, 2),
    "slice": slice(1, None, 2), "ellipsis": ..., "member": Colour.RED, "flags": Access.READ | Access.WRITE,
    "dataclass": Point(1), "named tuple": Pair(1), "object": Plain([1]), "slots": Slotted({"a": 1}), "keyed": Keyed(),
    "subclass of list": Texts(["a"]), "counter": collections.Counter("aab"), "deque": collections.deque([1], 3),
    "ordered": collections.OrderedDict(b=1, a=2), "default": collections.defaultdict(list, a=[1]),
    "chain": collections.ChainMap({"a": 1}, {"b": 2}), "namespace": types.SimpleNamespace(a=1, b="x"),
    "proxy": types.MappingProxyType({"a": 1}), "keys": {"a": 1}.keys(), "values": {"a": 1}.values(),
    "items": {"a": 1}.items(), "exception": ValueError("no", 1), "class": Plain, "enum": Colour, "data class": Point,
    "typed dict": Options, "built-in class": int, "type expression": dict[str, list[int]], "optional": int | None,
    "literal": typing.Literal["a", 1], "any": typing.Any, "built-in": len, "method of a type": str.lower,
    "function of a module": os.path.join, "module": json, "function": ask, "method": Plain(1).ask,
    "bound built-in": {"a": 1}.get, "partial": functools.partial(ask, 1), "getter": operator.itemgetter(1, 2),
    "closure": capturing([1]), "shared": [SETTINGS, SETTINGS], "lock": threading.Lock(),
    "logger": logging.getLogger("jobs"), **{f"local {name}": value for name, value in local_classes().items()},
}  # fmt: skip
CAPTURED: dict[str, Any] = {
    "number": 0.7, "dict": {"a": [1], "b": {"c": 2}}, "object": Plain({"a": 1}), "function": ask,
    "closure": capturing("inner"), "lock": threading.Lock(), "handles": [threading.Event(), logging.getLogger("a.b")],
    "generator": (i for i in "ab"), "local object": local_classes()["object"], "class": Point,
}  # fmt: skip


def keys() -> dict[str, str]:
    """The key of each call, by what it is called."""
    return {name: keyer(args, kwargs)[0].hex() for name, keyer, args, kwargs in _calls()}


def _calls() -> Iterator[tuple[str, Keyer, tuple[Any, ...], dict[str, Any]]]:
    for name, value in VALUES.items():
        yield f"argument: {name}", Keyer(ask), (value,), {}
    for name, value in CAPTURED.items():
        yield f"captured: {name}", Keyer(capturing(value)), (1,), {}
    yield "defaults", Keyer(with_defaults), (1,), {}
    yield "all parameters", Keyer(with_defaults), (1, 3, 4), {"z": "y", "more": [5]}
    yield "constants", Keyer(with_constants), (1,), {}
    yield "constants and a version", Keyer(with_constants, version="2"), (1,), {}
    yield "version", Keyer(ask, version=2), (1,), {}
    yield "version auto", Keyer(with_code, version="auto"), (1,), {}
    yield "name", Keyer(ask, name="question"), (1,), {}
    yield "ignored", Keyer(with_defaults, ignore=("y", "more")), (1,), {}
    yield "ignored below", Keyer(ask, ignore="x['client']"), ({"client": 1, "model": "a"},), {}
    yield "key", Keyer(with_defaults, key=lambda x, z: (x, z)), (1,), {}
    yield "policy", Keyer(ask, key=KeyGen.file_content("x")), (Path(__file__).with_name("__init__.py"),), {}
    yield "serializer", Keyer(ask, written="json"), (1,), {}
    yield "lambda", Keyer(lambda x: x + 1), (1,), {}
    yield "method", Keyer(Plain.ask), (Plain("a"), 1), {}
    yield "bound method", Keyer(Plain("a").ask), (1,), {}
    yield "partial", Keyer(functools.partial(with_defaults, 1, z="x")), (2,), {}
    yield "wrapped", Keyer(wrapping(ask)), (1,), {}
    yield "cached", Keyer(functools.lru_cache(ask)), (1,), {}
    yield "function with much code", Keyer(ask), (with_code,), {}


if __name__ == "__main__":
    FILE.write_text(json.dumps(keys(), indent=1, sort_keys=True) + "\n")
