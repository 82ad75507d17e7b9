"""Values of the standard library come back with all that can be seen of them."""

import array
import datetime as dt
import decimal
import fractions
import ipaddress
import pathlib
import re
import types
import uuid
import zoneinfo
from collections import ChainMap, Counter, OrderedDict, defaultdict, deque
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beautyspot.errors import SerializationError
from beautyspot.serialization import MsgpackSerializer, as_json
from tests.support.round_trip import both_ways, check

VALUES: list[Any] = [
    range(1, 5, 2), range(2**70), range(0), slice(1, None, "a"), slice(None), fractions.Fraction(3, 4),
    types.SimpleNamespace(a=1, b=[(2,)]), types.SimpleNamespace(), OrderedDict(b=1, a=2), Counter("aab"),
    defaultdict(list, {"a": [1]}), defaultdict(None, {1: 2}), defaultdict(decimal.Decimal), deque([1, (2,)], maxlen=5),
    deque(), deque(maxlen=0), ChainMap({"a": 1}, {"b": 2}), re.compile("a+(?i:b)", re.I | re.M), re.compile(b"x", re.S),
    array.array("d", [1.5, 2]), array.array("u", "hé"), array.array("b"), array.array("Q", [2**63]),
    array.array("l", range(100_000)), dt.UTC, dt.timezone(dt.timedelta(hours=1)),
    dt.timezone(dt.timedelta(hours=1), "X"), zoneinfo.ZoneInfo("Europe/Berlin"), ipaddress.ip_address("1.2.3.4"),
    ipaddress.ip_address("fe80::1%eth0"), ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("::/10"),
    ipaddress.ip_interface("10.0.0.1/8"), uuid.uuid1(), uuid.uuid4(),
]  # fmt: skip


def seen(value: Any) -> Any:
    names = ("default_factory", "maxlen", "maps", "flags", "groupindex", "typecode", "is_safe", "scope_id", "netmask")
    return value, [getattr(value, name, None) for name in names]


@pytest.mark.parametrize("value", VALUES, ids=lambda v: type(v).__name__)
def test_a_value_comes_back(value: Any) -> None:
    check(value, seen)
    if not isinstance(value, array.array | slice):
        assert both_ways([value]) == [[value]] * 2


KEYS = [
    range(3), fractions.Fraction(1, 2), decimal.Decimal(1), (1, (2,)), frozenset([(1,)]), 2**70, dt.date(2020, 1, 1), b"x",
    1.5, None, True, "text", ipaddress.ip_address("1.2.3.4"), uuid.UUID(int=1), pathlib.PurePosixPath("a"), 1j,
    dt.timedelta(1), dt.UTC, re.compile("a"),
]  # fmt: skip


@pytest.mark.parametrize("key", KEYS, ids=lambda v: type(v).__name__)
def test_anything_hashable_can_be_a_key(key: Any) -> None:
    assert both_ways({key: 1, "other": 2}) == [{key: 1, "other": 2}] * 2
    check(OrderedDict({key: 1}), seen)
    check(Counter({key: 3}), seen)


inner = st.integers() | st.text() | st.fractions() | st.decimals(allow_nan=False) | st.ip_addresses() | st.binary()
values = st.recursive(
    inner,
    lambda some: (
        st.lists(some).map(deque)
        | st.dictionaries(inner, some).map(OrderedDict)
        | st.dictionaries(inner, some).map(lambda items: defaultdict(list, items))
        | st.dictionaries(st.text(), some).map(lambda items: types.SimpleNamespace(**items))
        | st.lists(st.dictionaries(inner, some), min_size=1).map(lambda maps: ChainMap(*maps))
    ),
    max_leaves=20,
)


@given(values)
def test_any_collection_of_them_comes_back(value: Any) -> None:
    check(value, seen)


def test_a_defaultdict_of_a_function_is_refused() -> None:
    with pytest.raises(SerializationError, match="kept with a type as its factory"):
        MsgpackSerializer().dumps(defaultdict(lambda: 0))


def test_a_pattern_prints_nothing_when_it_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    data = MsgpackSerializer().dumps(re.compile("a", re.DEBUG))
    capsys.readouterr()
    MsgpackSerializer().loads(data)
    assert capsys.readouterr().out == ""


def test_an_unknown_time_zone_is_refused() -> None:
    class Zone(dt.tzinfo):
        pass

    with pytest.raises(SerializationError, match=r"use zoneinfo or datetime.timezone"):
        MsgpackSerializer().dumps(dt.datetime(2020, 1, 1, tzinfo=Zone()))


SHOWN = [
    (deque([1, (2,)]), "[1, [2]]"), (range(2), "[0, 1]"), (fractions.Fraction(1, 2), '"1/2"'), (Counter("a"), '{"a": 1}'),
    (ipaddress.ip_address("1.2.3.4"), '"1.2.3.4"'), (types.SimpleNamespace(a=1), '{"type": "types.SimpleNamespace", "a": 1}'),
    (re.compile("a"), """{"type": "re.Pattern", "repr": "re.compile('a')"}"""),
]  # fmt: skip


@pytest.mark.parametrize(("value", "text"), SHOWN, ids=lambda v: type(v).__name__)
def test_viewers_show_a_value_as_json(value: Any, text: str) -> None:
    assert as_json(value) == text
