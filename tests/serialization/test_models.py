"""Objects come back with their fields and whatever they hold beside them, and no code of their classes runs."""

import dataclasses
import functools
import sys
from collections import namedtuple
from typing import Any, Generic, Literal, NamedTuple, Optional, TypeVar

import attrs
import pydantic
import pydantic.dataclasses
import pytest

import beautyspot as bs
from beautyspot.errors import ConfigurationError, DeserializationError, SerializationError, UnknownTypeError
from beautyspot.serialization import ClasslessDecoder, MsgpackSerializer
from beautyspot.serialization.types.codes import Code
from tests.support.marks import on_sqlite
from tests.support.round_trip import both_ways, check

ran: list[str] = []
T = TypeVar("T")
U = TypeVar("U")


@dataclasses.dataclass
class Order:
    a: int
    b: list[int] = dataclasses.field(default_factory=list)
    c: int = dataclasses.field(init=False)
    factor: dataclasses.InitVar[int] = 2

    def __post_init__(self, factor: int) -> None:
        ran.append("Order")
        self.extra = self.a * factor

    @functools.cached_property
    def cached(self) -> object:
        return object()


class Undecorated(Order):
    """Without its own decorator."""


class Tagged:
    tag = "none"


@dataclasses.dataclass
class OnPlainBase(Tagged):
    x: int


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    a: int
    b: str = "x"


@dataclasses.dataclass
class Guarded:
    x: int

    def __setattr__(self, name: str, value: Any) -> None:
        ran.append("Guarded")
        object.__setattr__(self, name, value)


@dataclasses.dataclass
class Generically(Generic[T]):
    x: T


@attrs.define
class Defined:
    a: int = attrs.field(converter=lambda v: ran.append("Defined") or v)
    b: list[int] = attrs.Factory(list)

    @functools.cached_property
    def cached(self) -> object:
        return object()


@attrs.frozen(cache_hash=True)
class Hashed:
    a: str


@attrs.define(slots=False)
class OpenDefined:
    a: int


class Box(pydantic.BaseModel, Generic[T]):
    value: T
    _p: int = pydantic.PrivateAttr(default=3)
    _q: str = pydantic.PrivateAttr()


class Two(pydantic.BaseModel, Generic[T, U]):
    a: T
    b: U


class Hooked(pydantic.BaseModel, Generic[T]):
    a: T

    @classmethod
    def __pydantic_init_subclass__(cls, **options: Any) -> None:
        ran.append("Hooked")


class Page(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    x: int
    url: pydantic.HttpUrl | None = None

    @pydantic.field_validator("x")
    @classmethod
    def checked(cls, value: int) -> int:
        ran.append("Page")
        return value

    @pydantic.computed_field
    @functools.cached_property
    def cached(self) -> int:
        return 5


class Numbers(pydantic.RootModel[list[int]]):
    pass


@pydantic.dataclasses.dataclass
class Validated:
    x: int = pydantic.Field(default=3, gt=0)


Pair = namedtuple("Pair", "a b")


class NotedPair(Pair):
    """With a ``__dict__``."""


class Typed(NamedTuple):
    a: int
    b: str = "q"


def with_attributes(value: Any, **attributes: Any) -> Any:
    for name, item in attributes.items():
        setattr(value, name, item)
    return value


OBJECTS: dict[str, Any] = {
    "set after init": with_attributes(Order(1), c=7, cached=object()), "undecorated": with_attributes(Undecorated(2), c=1, more="m"),
    "plain base": with_attributes(OnPlainBase(1), tag="t"), "slots": Slotted(1), "setattr": Guarded(1),
    "generic": Generically[int](1), "attrs": Defined(1, [2]), "attrs with a hash": Hashed("x"),
    "attrs with a dict": with_attributes(OpenDefined(1), more=(2,)), "extra": Page(x=1, more=(2,), url="http://a.b/c"),
    "private": with_attributes(Box[int](value=1), _q="s"), "without parameters": Box(value=1), "root": Numbers([1]),
    "list": Box[list[int]](value=[1]), "Optional": Box[Optional[int]](value=None), "union": Box[int | str](value="a"),  # noqa: UP045
    "Literal": Box[Literal["a", 1]](value="a"), "nested": Box[Box[int]](value=Box[int](value=1)),
    "dict of tuples": Box[dict[str, tuple[int, ...]]](value={"a": (1,)}), "model": Box[Page](value=Page(x=1)),
    "two": Two[int, str](a=1, b="x"), "Any": Box[Any](value={1}), "pydantic dataclass": Validated(x=4),
    "named tuple": Pair(1, (2,)), "named tuple with a dict": with_attributes(NotedPair(1, 2), note="n"), "NamedTuple": Typed(1),
}  # fmt: skip


def seen(value: Any) -> Any:
    attributes = {n: v for n, v in getattr(value, "__dict__", {}).items() if n not in ("cached", "__orig_class__")}
    hidden = [getattr(value, f"__pydantic_{name}__", None) for name in ("private", "extra")]
    return value, dict(sorted(attributes.items())), hidden, sorted(getattr(value, "__pydantic_fields_set__", ()))


@pytest.mark.parametrize("name", OBJECTS)
def test_an_object_comes_back(name: str) -> None:
    value = OBJECTS[name]
    ran.clear()
    check(value, seen)
    assert ran == []
    for back in both_ways(value):
        assert back == value
        assert not hasattr(value, "cached") or "cached" not in getattr(back, "__dict__", {})


def test_a_hash_that_attrs_remembers_is_that_of_this_process() -> None:
    hash(OBJECTS["attrs with a hash"])
    for back in both_ways(OBJECTS["attrs with a hash"]):
        assert back._attrs_cached_hash is None
        assert hash(back) == hash(Hashed("x"))


def test_a_struct_of_msgspec_comes_back() -> None:
    msgspec = pytest.importorskip("msgspec")

    class Struct(msgspec.Struct, dict=True):  # type: ignore[name-defined,misc]
        a: int
        b: str = "x"

        def __post_init__(self) -> None:
            ran.append("Struct")

    class Frozen(msgspec.Struct, frozen=True, kw_only=True, tag=True):  # type: ignore[name-defined,misc]
        a: int

    for kind in (Struct, Frozen):
        kind.__module__, kind.__qualname__ = __name__, kind.__name__
        setattr(sys.modules[__name__], kind.__name__, kind)
    value = Struct(1)
    value.__dict__["more"] = (2,)
    ran.clear()
    check(value, seen)
    check(Frozen(a=1), seen)
    assert ran == []


def test_a_model_is_not_parametrized_where_code_of_it_would_run() -> None:
    kind = Hooked[int]
    data = MsgpackSerializer().dumps([kind(a=1), Box[int](value=2)])
    ran.clear()
    assert MsgpackSerializer().loads(data)[0] == kind(a=1)  # as long as the program has this model
    with pytest.raises(DeserializationError, match="cannot be parametrized without running its __pydantic_init"):
        MsgpackSerializer().loads(MsgpackSerializer().dumps(kind(a=1)).replace(b"\xa3int", b"\xa3str"))
    assert ran == []


@pytest.mark.parametrize("kind", [list, str, ValueError])
def test_a_dataclass_that_is_more_than_its_fields_is_refused(kind: type) -> None:
    made = dataclasses.make_dataclass("Made", [("x", int)], bases=(kind,))
    with pytest.raises(SerializationError, match=r"say how to keep a .*Made with register_type"):
        MsgpackSerializer().dumps(made(1))


class Answer:
    def __init__(self, text: str) -> None:
        ran.append("Answer")
        self.text = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Answer) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]


class LongAnswer(Answer):
    __slots__ = ("pages",)


class Reduced:
    def __reduce__(self) -> Any:
        return Reduced, ()


@on_sqlite
def test_a_class_that_is_registered_alone_is_kept_by_its_attributes_and_slots(project: bs.Project) -> None:
    assert project.register_type(Answer) is Answer

    @project.task
    def answer(kind: str) -> Any:
        return with_attributes(LongAnswer("long"), pages=3) if kind == "long" else [Answer("short")]

    first, long = answer("short"), answer("long")
    ran.clear()
    assert answer("short") == first
    back = answer("long")
    assert (type(back), back.text, back.pages) == (LongAnswer, long.text, 3)
    assert ran == []


@on_sqlite
def test_register_type_is_a_decorator(project: bs.Project) -> None:
    @project.register_type
    class Local:
        def __init__(self) -> None:
            self.x = 1

    assert isinstance(project.serializer, MsgpackSerializer)
    assert [(type(back), back.x) for back in both_ways(Local(), project.serializer)] == [(Local, 1)] * 2


@on_sqlite
@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Reduced, "its __reduce__ says that the state of its values is not in attributes"),
        (type("Numbers", (list,), {}), "the state of its values is not in attributes"),
        (type("Failure", (ValueError,), {}), "the state of its values is not in attributes"),
        (object, "the state of its values is not in attributes"),
        (type(iter([])), "the state of its values is not in attributes"),
    ],
)
def test_a_class_whose_state_is_elsewhere_is_refused(project: bs.Project, kind: type, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=f"give code=, encoder= and decoder= for .*{reason}"):
        project.register_type(kind)


@on_sqlite
def test_code_encoder_and_decoder_are_given_together(project: bs.Project) -> None:
    with pytest.raises(ConfigurationError, match="or none of them: then it is kept by its attributes"):
        project.register_type(Answer, code=3)  # type: ignore[call-overload]
    with pytest.raises(ConfigurationError, match="takes a class, not"):
        project.register_type("Answer")  # type: ignore[call-overload]


def test_an_unregistered_class_is_refused_with_what_to_write() -> None:
    with pytest.raises(SerializationError, match=r"write project.register_type\(Answer\) to keep it by its attr"):
        MsgpackSerializer().dumps(Answer("x"))


def test_only_a_registered_class_is_made() -> None:
    writer, reader = MsgpackSerializer(), MsgpackSerializer()
    writer.register(Answer)
    data = writer.dumps(Answer("x"))
    with pytest.raises(UnknownTypeError, match=r"call project.register_type\(Answer\) first"):
        reader.loads(data)


def test_viewers_see_objects_without_their_classes() -> None:
    writer = MsgpackSerializer()
    writer.register(Answer)
    names = ["set after init", "attrs", "private", "extra"]
    shown = [repr(ClasslessDecoder().loads(writer.dumps(OBJECTS[name]))) for name in names]
    assert shown == [
        f"{__name__}.Order(a=1, b=[], c=7, extra=2)",
        f"{__name__}.Defined(a=1, b=[2])",
        f"{__name__}.Box(value=1)",
        f"{__name__}.Page(x=1, url=HttpUrl('http://a.b/c'), more=(2,))",
    ]
    assert repr(ClasslessDecoder().loads(writer.dumps(Answer("x")))) == f"{__name__}.Answer(text='x')"


def test_a_code_has_one_meaning() -> None:
    assert len({int(code) for code in Code}) == len(list(Code)) == 35
    assert all(-127 <= code <= -2 for code in Code)
