"""A stored object is read only if it makes a whole object of its class as it is now."""

import sys
import textwrap
import types
from collections.abc import Callable
from typing import Any

import pytest

from beautyspot.errors import ChangedClassError, ConfigurationError, DeserializationError
from beautyspot.serialization import MsgpackSerializer

Define = Callable[[str], Any]


@pytest.fixture
def define(monkeypatch: pytest.MonkeyPatch) -> Define:
    """Makes the module `shop` anew, from its source."""

    def module(source: str) -> Any:
        made = types.ModuleType("shop")
        exec(textwrap.dedent(source), vars(made))
        monkeypatch.setitem(sys.modules, "shop", made)
        return made

    return module


HEADS = {
    "dataclass": "from dataclasses import dataclass, field\n@dataclass\nclass Item:\n",
    "frozen dataclass": "from dataclasses import dataclass, field\n@dataclass(frozen=True, slots=True)\nclass Item:\n",
    "attrs": "import attrs\nfrom attrs import field\n@attrs.define\nclass Item:\n",
    "attrs with a dict": "import attrs\nfrom attrs import field\n@attrs.define(slots=False)\nclass Item:\n",
    "pydantic": "from pydantic import BaseModel, Field\nclass Item(BaseModel):\n",
    "msgspec": "import msgspec\nfrom msgspec import field\nclass Item(msgspec.Struct):\n",
    "named tuple": "from typing import NamedTuple\nclass Item(NamedTuple):\n",
}


def source(kind: str, *fields: str) -> str:
    if kind == "msgspec":
        pytest.importorskip("msgspec")
    if kind == "pydantic":
        fields = tuple(field.replace("field(default_factory=", "Field(default_factory=") for field in fields)
    return HEADS[kind] + "".join(f"    {field}\n" for field in fields)


def stored(shop: Any, **fields: Any) -> bytes:
    return MsgpackSerializer().dumps([shop.Item(**fields)])


KINDS = pytest.mark.parametrize("kind", HEADS)
WITH_FACTORIES = pytest.mark.parametrize("kind", [kind for kind in HEADS if kind != "named tuple"])


@KINDS
def test_an_unchanged_class_gives_the_same_object(define: Define, kind: str) -> None:
    before = source(kind, "a: int", "b: str = 'x'")
    data = stored(define(before), a=1, b="y")
    now = define(before)
    assert MsgpackSerializer().loads(data) == [now.Item(a=1, b="y")]


@KINDS
def test_a_new_field_with_a_default_is_filled_in(define: Define, kind: str) -> None:
    data = stored(define(source(kind, "a: int")), a=1)
    now = define(source(kind, "a: int", "b: str = 'x'"))
    assert MsgpackSerializer().loads(data) == [now.Item(a=1, b="x")]


@WITH_FACTORIES
def test_a_new_field_with_a_collection_as_its_default_gets_a_fresh_one(define: Define, kind: str) -> None:
    data = stored(define(source(kind, "a: int")), a=1)
    factory = "factory=list" if kind.startswith("attrs") else "default_factory=list"
    define(source(kind, "a: int", f"b: list = field({factory})"))
    (first,), (second,) = MsgpackSerializer().loads(data), MsgpackSerializer().loads(data)
    first.b.append(1)
    assert second.b == []


@KINDS
def test_a_new_field_without_a_default_makes_it_unreadable(define: Define, kind: str) -> None:
    data = stored(define(source(kind, "a: int")), a=1)
    define(source(kind, "a: int", "b: str"))
    text = (
        "^give the field 'b' a plain default to use it again; the class shop.Item has changed since: its field 'b' is"
    )
    with pytest.raises(ChangedClassError, match=text):
        MsgpackSerializer().loads(data)


@WITH_FACTORIES
def test_a_default_that_only_code_of_the_class_can_make_is_not_made(define: Define, kind: str) -> None:
    data = stored(define(source(kind, "a: int")), a=1)
    factory = "factory=" if kind.startswith("attrs") else "default_factory="
    define(source(kind, "a: int", f"b: list = field({factory}lambda: exec('raise SystemExit'))"))
    with pytest.raises(ChangedClassError, match="its field 'b' is new"):
        MsgpackSerializer().loads(data)


@KINDS
def test_a_field_that_is_gone_makes_it_unreadable(define: Define, kind: str) -> None:
    data = stored(define(source(kind, "a: int", "b: str")), a=1, b="y")
    define(source(kind, "a: int"))
    with pytest.raises(ChangedClassError, match=r"the class shop.Item has changed since: its field 'b' is gone"):
        MsgpackSerializer().loads(data)


@KINDS
def test_a_renamed_field_makes_it_unreadable(define: Define, kind: str) -> None:
    data = stored(define(source(kind, "a: int", "b: str")), a=1, b="y")
    define(source(kind, "a: int", "c: str = 'x'"))
    with pytest.raises(ChangedClassError, match="its field 'b' is gone, and its field 'c' is new"):
        MsgpackSerializer().loads(data)


@KINDS
@pytest.mark.parametrize(
    ("now", "fits"),
    [("str", False), ("bool", False), ("list[int]", False), ("dict", False), ("int | None", True), ("object", True)],
)
def test_a_value_must_fit_the_new_type_of_its_field(define: Define, kind: str, now: str, fits: bool) -> None:
    data = stored(define(source(kind, "a: int")), a=1)
    shop = define(source(kind, f"a: {now}"))
    if fits:
        assert MsgpackSerializer().loads(data) == [shop.Item(a=1)]
    else:
        with pytest.raises(ChangedClassError, match="its field 'a' has another type, which the value does not fit"):
            MsgpackSerializer().loads(data)


@pytest.mark.parametrize(
    ("before", "value", "now", "fits"),
    [
        ("list[int]", [1], "list[str]", False),
        ("list[int]", [1], "list[int | str]", True),
        ("dict", {"a": 1}, "dict[str, int]", True),
        ("dict", {1: 1}, "dict[str, int]", False),
        ("tuple", (1, "a"), "tuple[int, str]", True),
        ("tuple", (1, "a"), "tuple[int, ...]", False),
        ("str", "a", "__import__('typing').Literal['a', 'b']", True),
        ("str", "c", "__import__('typing').Literal['a', 'b']", False),
        ("set", {1}, "frozenset", False),
        ("str", "a", "'Unknown'", True),
    ],
)
def test_the_parts_of_a_value_must_fit_too(define: Define, before: str, value: Any, now: str, fits: bool) -> None:
    data = stored(define(source("dataclass", f"a: {before}")), a=value)
    shop = define(source("dataclass", f"a: {now}"))
    if fits:
        assert MsgpackSerializer().loads(data) == [shop.Item(a=value)]
    else:
        with pytest.raises(ChangedClassError, match="has another type"):
            MsgpackSerializer().loads(data)


def test_a_value_that_never_fitted_its_type_is_read_while_the_type_stays(define: Define) -> None:
    shop = define(source("pydantic", "a: int"))
    data = MsgpackSerializer().dumps(shop.Item.model_construct(a="broken"))
    assert MsgpackSerializer().loads(data).a == "broken"
    define(source("pydantic", "a: int", "b: int = 3"))
    assert MsgpackSerializer().loads(data).a == "broken"


def test_fields_in_another_order_are_the_same(define: Define) -> None:
    data = stored(define(source("dataclass", "a: int", "b: str")), a=1, b="y")
    shop = define(source("dataclass", "b: str", "a: int"))
    assert MsgpackSerializer().loads(data) == [shop.Item(a=1, b="y")]


def test_a_field_that_was_not_set_stays_so(define: Define) -> None:
    shop = define(source("dataclass", "a: int", "b: str = field(init=False)"))
    data = stored(shop, a=1)
    assert vars(MsgpackSerializer().loads(data)[0]) == {"a": 1}


@pytest.mark.parametrize(
    ("now", "message"),
    [
        ("Item = 3", "is not loaded"),
        ("class Item: pass", "it is no dataclass any more"),
        ("from typing import NamedTuple\nclass Item(NamedTuple):\n    a: int", "it is no dataclass any more"),
    ],
)
def test_a_class_of_another_kind_makes_it_unreadable(define: Define, now: str, message: str) -> None:
    data = stored(define(source("dataclass", "a: int")), a=1)
    define(now)
    with pytest.raises(DeserializationError, match=message):
        MsgpackSerializer().loads(data)


@pytest.mark.parametrize(
    ("before", "now", "change"),
    [
        ("_p: int = 3", "_p: int = 3\n    _q: int = 4", None),
        ("_p: int = 3", "_p: int = 3\n    _q: int", "its field '_q' is new"),
        ("_p: int = 3", "b: int = 1", "its field '_p' is gone"),
    ],
)
def test_private_attributes_of_a_model_are_fields_too(
    define: Define, before: str, now: str, change: str | None
) -> None:
    data = stored(define(source("pydantic", "a: int", before)), a=1)
    define(source("pydantic", "a: int", now))
    if change is None:
        made = MsgpackSerializer().loads(data)[0]
        assert (made._p, made._q) == (3, 4)
    else:
        with pytest.raises(ChangedClassError, match=change):
            MsgpackSerializer().loads(data)


PLAIN = """
    class Item:
        def __init__(self, a):
            self.a = a
"""


@pytest.mark.parametrize(
    ("now", "change"),
    [
        ("def __init__(self, a):\n  self.a = a", None),
        ("b = 3\n def __init__(self, a):\n  self.a = a\n  self.b = 4", None),
        ("def __init__(self, a):\n  self.a = a\n  self.b = 4", "its field 'b' is new"),
        ("def __init__(self, c):\n  self.c = c", "its field 'a' is gone"),
        ("__slots__ = ('a',)\n def __init__(self, a):\n  self.a = a", None),
        ("__slots__ = ('b',)\n def __init__(self, a):\n  self.b = a", "its field 'a' is gone"),
        ("c: int\n def __init__(self, a):\n  self.a = a", "its field 'c' is new"),
    ],
)
def test_a_plain_class_declares_what_its_init_assigns(define: Define, now: str, change: str | None) -> None:
    def serializer(shop: Any) -> MsgpackSerializer:
        made = MsgpackSerializer()
        made.register(shop.Item)
        return made

    shop = define(PLAIN)
    data = serializer(shop).dumps(shop.Item(1))
    registered = serializer(define("class Item:\n " + now))
    if change is None:
        assert registered.loads(data).a == 1
    else:
        with pytest.raises(ChangedClassError, match=change):
            registered.loads(data)


def test_options_of_a_registration_are_given_together() -> None:
    with pytest.raises(ConfigurationError, match=r"give code=, encoder= and decoder= for builtins.range, or none"):
        MsgpackSerializer().register(range, None, bytes, range)  # type: ignore[arg-type]


def test_a_member_that_is_gone_makes_it_unreadable(define: Define) -> None:
    data = MsgpackSerializer().dumps(
        define("import enum\nclass Colour(enum.Enum):\n    RED = 1\n    BLUE = 2").Colour.RED
    )
    define("import enum\nclass Colour(enum.Enum):\n    BLUE = 2")
    with pytest.raises(ChangedClassError, match=r"the class shop.Colour has changed since: its member 'RED' is gone"):
        MsgpackSerializer().loads(data)
