"""What comes back is what went in, in value and type, and nothing that is read is trusted."""

import dataclasses
import datetime as dt
import decimal
import enum
import io
import os
import pathlib
import pickle
import struct
import subprocess
import sys
import textwrap
import threading
import uuid
import zoneinfo
from collections import namedtuple
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pandas as pd
import polars as pl
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import beautyspot as bs
from beautyspot.errors import ConfigurationError, DeserializationError, SerializationError, UnknownTypeError
from beautyspot.serialization import blob_format
from beautyspot.serialization.msgpack_serializer import MsgpackSerializer
from beautyspot.serialization.types.codes import Code


class Colour(enum.Enum):
    RED = 1
    BLUE = "b"


class Access(enum.IntFlag):
    READ = 1
    WRITE = 2


class Level(enum.StrEnum):
    LOW = "low"


@dataclasses.dataclass(frozen=True, slots=True)
class Point:
    x: int
    y: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        built.append(self)


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    name: str
    sizes: list[tuple[int, int]] = []
    _hidden: int = pydantic.PrivateAttr(default=7)


built: list[Any] = []
Pair = namedtuple("Pair", "a b")


def image(mode: str, as_png: bool = False) -> Image.Image:
    made = Image.effect_noise((5, 4), 50).convert(mode)
    if as_png:
        file = io.BytesIO()
        made.save(file, "PNG")
        made = Image.open(io.BytesIO(file.getvalue()))
        made.load()
    return made


VALUES: list[Any] = [
    None, True, False, 0, -1, 2**63, 2**64 - 1, -(2**63), 2**64, -(2**200), 1.5, float("inf"), "", "ü", "a\ud800b",
    b"", b"bytes", [], [1, "a", None], (), (1, (2, [3])), [(1, 2), (3, 4)], {}, {"a": {"b": (1,)}},
    {1: "int", (1, 2): "tuple", None: 0, frozenset({1}): {2}, 2.5: 1, b"b": 2, Colour.RED: 3}, set(), {1, "a", (2,)},
    frozenset({1}), bytearray(b"bytes"), [bytearray(b"deep")], {"k": [{"v": bytearray(b"deeper")}]}, 1 + 2j,
    dt.datetime(2020, 1, 2, 3, 4, 5, 6), dt.datetime(2020, 1, 1, tzinfo=dt.UTC),
    dt.datetime(2020, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=5, minutes=30), "IST")),
    dt.datetime(2020, 10, 25, 2, 30, fold=1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")), dt.date(1, 1, 1),
    dt.time(1, 2, 3, 4, fold=1), dt.time(1, tzinfo=dt.UTC), dt.timedelta(-1, 2, 3), decimal.Decimal("1.50"),
    decimal.Decimal("-Infinity"), uuid.uuid4(), Path("a/b"), Path(""), pathlib.PurePosixPath("a"),
    pathlib.PureWindowsPath("c:\\a"), Colour.RED, Colour.BLUE, Access.READ | Access.WRITE, Level.LOW, Pair(1, (2,)),
    Point(1, (2, 3)), msgpack.ExtType(5, b"x"), [Point(1)], Model(name="a", sizes=[(1, 2)], more=(1,)), np.float64(1.5), np.int8(-1),
    np.bool_(True), np.str_("ü"), np.datetime64("2020-01-01T00:00", "s"), np.complex64(1j), image("RGB"), image("L"),
    image("P"), image("RGBA", as_png=True), {"image": image("1")}, bytes(200_000), bytearray(200_000), "x" * 200_000,
]  # fmt: skip


@pytest.fixture
def serializer() -> MsgpackSerializer:
    return MsgpackSerializer()


def both_ways(serializer: MsgpackSerializer, value: Any) -> list[Any]:
    """The value from a row, and from a blob."""
    blob = b"".join(blob_format.join(*serializer.dump_parts(value)))
    return [serializer.loads(serializer.dumps(value)), serializer.load_parts(*blob_format.split(bytearray(blob)))]


@pytest.mark.parametrize("value", VALUES, ids=lambda v: type(v).__name__)
def test_a_value_comes_back_equal_and_of_its_type(serializer: MsgpackSerializer, value: Any) -> None:
    for back in both_ways(serializer, value):
        assert type(back) is type(value)
        assert back == value
        if isinstance(value, dt.datetime):
            assert (back.fold, back.tzname()) == (value.fold, value.tzname())
        if isinstance(value, Model):
            assert (back._hidden, back.model_extra) == (7, {"more": (1,)})
            assert back.model_fields_set == value.model_fields_set


ARRAYS = [
    np.arange(6).reshape(2, 3), np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.arange(10)[::2], np.array(5),
    np.zeros((0, 3)), np.array([True]), np.array(["a", "ü"]), np.array([b"a"]), np.zeros(3, ">i2"), np.zeros(2, "c16"),
    np.array(["2020-01-01"], "M8[us]"), np.array([1], "m8[s]"), np.array([(1, [2.0, 3.0])], [("a", "i4"), ("b", "f8", 2)]),
    np.array([None, "x", (1, 2)], object), np.array(["a", "longer"], "T"), np.random.rand(100, 200),
    np.asfortranarray(np.random.rand(100, 200)), np.random.rand(100, 200)[:, ::3], np.arange(24).reshape(2, 3, 4).T,
]  # fmt: skip


@pytest.mark.parametrize("array", ARRAYS, ids=lambda a: f"{a.dtype.kind}{a.shape}")
def test_an_array_comes_back_with_dtype_shape_and_order(serializer: MsgpackSerializer, array: np.ndarray) -> None:
    for back in both_ways(serializer, array):
        assert type(back) is np.ndarray
        assert (back.dtype, back.shape) == (array.dtype, array.shape)
        assert back.flags.f_contiguous or not array.flags.f_contiguous
        assert back.flags.writeable
        np.testing.assert_array_equal(back, array)


FRAMES = [
    pd.DataFrame({"a": [1, 2], "b": ["x", None], "c": [1.5, np.nan]}), pd.DataFrame(), pd.Series([1, 2], name="s"),
    pd.Series(["a"], name=3), pd.DataFrame({1: [1.5]}, index=["q"]), pd.DataFrame({"a": pd.Categorical(list("aba"))}),
    pd.DataFrame({"t": pd.date_range("2020", periods=3, tz="UTC")}), pd.DataFrame({"a": range(50_000)}),
    pd.DataFrame({"a": [1, None]}, dtype="Int64"), pd.DataFrame({"a": [1]}, index=pd.Index([2], name="i")),
    pd.DataFrame(np.zeros((2, 3))), pd.DataFrame({"a": []}), pd.DataFrame(index=[1, 2]),
    pl.DataFrame({"a": [1, None], "b": ["x", "y"]}), pl.Series("s", [[1], [2, 3]]), pl.DataFrame({"a": range(50_000)}),
    pl.DataFrame({"a": [dt.date(2020, 1, 1)], "b": [decimal.Decimal("1.5")]}),
]  # fmt: skip


@pytest.mark.parametrize("frame", FRAMES, ids=lambda f: f"{type(f).__module__.split('.')[0]}-{type(f).__name__}")
def test_a_frame_comes_back(serializer: MsgpackSerializer, frame: Any) -> None:
    for back in both_ways(serializer, frame):
        assert type(back) is type(frame)
        if isinstance(frame, pd.DataFrame):
            pd.testing.assert_frame_equal(back, frame)
        elif isinstance(frame, pd.Series):
            pd.testing.assert_series_equal(back, frame)
        else:
            assert back.equals(frame)
            assert getattr(back, "schema", back.name if hasattr(back, "name") else None) is not None


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary() | st.datetimes()
    | st.decimals(allow_nan=False) | st.uuids() | st.timedeltas() | st.complex_numbers(allow_nan=False)
    | st.builds(bytearray, st.binary()),
    lambda inner: st.lists(inner)
    | st.tuples(inner, inner)
    | st.dictionaries(st.text() | st.integers() | st.tuples(st.integers(), st.text()), inner)
    | st.frozensets(st.integers() | st.text()),
    max_leaves=30,
)  # fmt: skip


def types_of(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return type(value), [types_of(item) for item in value]
    if isinstance(value, dict):
        return dict, [(types_of(key), types_of(item)) for key, item in value.items()]
    return type(value)


@given(plain)
def test_any_plain_value_comes_back_equal_in_all_its_parts(value: Any) -> None:
    for back in both_ways(MsgpackSerializer(), value):
        assert back == value
        assert types_of(back) == types_of(value)


@given(st.binary())
def test_any_bytes_give_a_value_or_one_kind_of_error(data: bytes) -> None:
    try:
        MsgpackSerializer().loads(data)
        blob_format.split(data)
    except DeserializationError:
        pass


@pytest.mark.parametrize("code", [0, 127])
def test_a_registered_type_is_written_under_its_code(serializer: MsgpackSerializer, code: int) -> None:
    serializer.register(
        range, code, lambda r: f"{r.start},{r.stop}".encode(), lambda b: range(*map(int, b.split(b",")))
    )
    data = serializer.dumps([range(1, 5)])
    assert serializer.loads(data) == [range(1, 5)]
    assert msgpack.unpackb(data) == [msgpack.ExtType(code, b"1,5")]


def test_all_128_codes_can_be_registered(serializer: MsgpackSerializer) -> None:
    for code in range(128):
        kind = type(f"Kind{code}", (), {})
        serializer.register(kind, code, lambda _: b"", lambda _, kind=kind: kind())
        assert type(serializer.loads(serializer.dumps(kind()))) is kind
    assert serializer.loads(serializer.dumps((1, {2}))) == (1, {2})


def test_a_registered_type_overrides_a_built_in_one(serializer: MsgpackSerializer) -> None:
    serializer.register(np.ndarray, 10, lambda x: x.tobytes(), lambda b: np.frombuffer(b))
    assert msgpack.unpackb(serializer.dumps(np.zeros(1))) == msgpack.ExtType(10, bytes(8))


def test_subclasses_are_serialized_as_their_registered_base(serializer: MsgpackSerializer) -> None:
    serializer.register(pathlib.PurePath, 1, lambda p: str(p).encode(), lambda b: Path(b.decode()))
    assert serializer.loads(serializer.dumps(Path("a"))) == Path("a")


@pytest.mark.parametrize("code", [-1, 128, 1.5, True])
def test_a_code_out_of_range_is_an_error(serializer: MsgpackSerializer, code: Any) -> None:
    with pytest.raises(ValueError, match="code must be a whole number from 0 to 127"):
        serializer.register(range, code, bytes, bytes)  # type: ignore[arg-type]


def test_registering_a_code_or_a_type_twice_is_an_error(serializer: MsgpackSerializer) -> None:
    serializer.register(range, 1, bytes, range)  # type: ignore[arg-type]
    serializer.register(range, 1, bytes, range)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"builtins.range is registered under code 1 already"):
        serializer.register(slice, 1, bytes, slice)
    with pytest.raises(ConfigurationError, match=r"builtins.range is registered under code 1 already"):
        serializer.register(range, 2, bytes, range)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="MessagePack holds str as it is"):
        serializer.register(str, 3, str.encode, bytes.decode)


def test_an_encoder_that_does_not_return_bytes_is_an_error(serializer: MsgpackSerializer) -> None:
    serializer.register(range, 1, str, range)  # type: ignore[arg-type]
    with pytest.raises(SerializationError, match=r"the encoder of builtins.range gave str and not bytes"):
        serializer.dumps(range(3))


def test_an_error_has_the_path_to_the_unknown_type_and_the_value(serializer: MsgpackSerializer) -> None:
    with pytest.raises(SerializationError, match=r"result\[0\]\.y\[1\]: a _thread.lock"):
        serializer.dumps([Point(1, (2, threading.Lock()))])  # type: ignore[arg-type]
    value = {"x": [1, 2, 3, {"y": (1, threading.Lock())}]}
    with pytest.raises(
        SerializationError, match=r"result\['x'\]\[3\]\['y'\]\[1\]: a _thread.lock .*register_type"
    ) as caught:
        serializer.dumps(value)
    assert caught.value.value is value


@pytest.mark.parametrize("value", [memoryview(b"x"), msgpack.Timestamp(1), {1: memoryview(b"")}])
def test_a_type_that_messagepack_would_change_silently_is_rejected(serializer: MsgpackSerializer, value: Any) -> None:
    with pytest.raises(SerializationError, match="cannot be kept"):
        serializer.dumps([value])


def test_a_value_that_contains_itself_is_rejected(serializer: MsgpackSerializer) -> None:
    endless: list[Any] = []
    endless.append((endless,))
    with pytest.raises(SerializationError, match="contains itself"):
        serializer.dumps(endless)


def test_a_class_inside_a_function_is_found_while_it_is_there(serializer: MsgpackSerializer) -> None:
    @dataclasses.dataclass
    class Local:
        x: int

    again = serializer.loads(serializer.dumps(Local(1)))
    assert type(again) is Local
    assert again.x == 1
    nowhere = serializer.dumps(Local(1)).replace(b"Local", b"Lokal")
    with pytest.raises(UnknownTypeError):
        serializer.loads(nowhere)


def test_a_class_to_which_its_name_does_not_lead_is_rejected(serializer: MsgpackSerializer) -> None:
    made = dataclasses.make_dataclass("Nowhere", ["x"])
    with pytest.raises(SerializationError, match="move it to the top of its module"):
        serializer.dumps(made(1))


def test_reading_runs_no_code_of_a_class(serializer: MsgpackSerializer) -> None:
    data = serializer.dumps(Point(1))
    built.clear()
    assert serializer.loads(data).x == 1
    assert built == []


def test_a_class_that_is_not_loaded_is_not_imported(serializer: MsgpackSerializer) -> None:
    here = __name__.encode()
    data = serializer.dumps(Point(1)).replace(here, b"antigravity.".ljust(len(here), b"x"))
    with pytest.raises(DeserializationError, match=r"write `from antigravity\.x+ import Point` .* is not loaded"):
        serializer.loads(data)
    assert "antigravity" not in __import__("sys").modules


@pytest.mark.parametrize("target", [b"os\0system", b"subprocess\0Popen", b"builtins\0dict"])
def test_a_name_in_the_data_is_never_called(serializer: MsgpackSerializer, target: bytes) -> None:
    import subprocess  # noqa: F401 - loaded, so that only its kind keeps it from being used

    module, name = target.decode().split("\0")
    for code in (-19, -20, -16, -18, -25):
        payload = msgpack.packb([[module, name], {"x": 1}, []])
        data = struct.pack(">BBb", 0xC7, len(payload), code) + payload
        with pytest.raises(DeserializationError):
            serializer.loads(data)


@pytest.mark.parametrize(
    "data",
    [
        pickle.dumps({"a": 1}),
        b"cos\nsystem\n(S'touch hacked'\ntR.",
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xc9\xff\xff\xff\xff\xff",
        b"\xdd\x00\x10\x00\x00" * 2000,
        b"\xc1",
        b"",
        msgpack.packb([1]) + b"more",
        struct.pack(">BBb", 0xC7, 1, -128) + b"\xc0",
    ],
)
def test_hostile_bytes_are_an_error_and_nothing_else(
    serializer: MsgpackSerializer, data: bytes, tmp_path: Path
) -> None:
    with pytest.raises(DeserializationError):
        serializer.loads(data)
    with pytest.raises(DeserializationError):
        blob_format.split(data)
    assert not os.path.exists(tmp_path / "hacked")


def test_an_error_for_an_unregistered_code_says_what_to_do(serializer: MsgpackSerializer) -> None:
    with pytest.raises(DeserializationError, match="no type is registered under code 9; call register_type first"):
        serializer.loads(msgpack.packb(msgpack.ExtType(9, b"")))


def test_large_buffers_are_not_copied_into_the_message(serializer: MsgpackSerializer) -> None:
    array = np.arange(100_000.0)
    head, buffers = serializer.dump_parts({"array": array, "small": np.arange(3)})
    assert len(head) < 300
    assert [buffer.nbytes for buffer in buffers] == [array.nbytes]
    assert np.shares_memory(np.frombuffer(buffers[0]), array)


def test_an_array_from_a_blob_is_a_view_of_the_blob(serializer: MsgpackSerializer) -> None:
    blob = bytearray(b"".join(blob_format.join(*serializer.dump_parts([np.arange(100_000.0), np.ones(9000)]))))
    first, second = serializer.load_parts(*blob_format.split(blob))
    assert np.shares_memory(first, np.frombuffer(blob, np.uint8))
    assert first.ctypes.data % 8 == second.ctypes.data % 8 == 0
    assert not np.shares_memory(first, second)


def test_a_projects_own_serializer_is_used(tmp_path: Path) -> None:
    class Text:
        def dumps(self, value: Any) -> bytes:
            return repr(value).encode()

        def loads(self, data: Any) -> Any:
            return ("read", bytes(data).decode())

    with bs.Project("p", serializer=Text(), storage_path=tmp_path / "blobs") as project:
        task = project.task(lambda x: x)
        blob = project.task(save_blob=True)(lambda x: [x])
        assert [task(1), task(1)] == [1, ("read", "1")]
        assert [blob(1), blob(1)] == [[1], ("read", "[1]")]
        with pytest.raises(ConfigurationError, match="register types with that one"):
            project.register_type(range, 1, bytes, range)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrap", [lambda v: (v,), lambda v: ({"k": v},), lambda v: frozenset([v])])
def test_a_hundred_levels_of_any_type_are_serialized_and_more_are_rejected(wrap: Any) -> None:
    serializer, value = MsgpackSerializer(), ("innermost",)
    for _ in range(99):
        value = wrap(value)
    assert serializer.loads(serializer.dumps(value)) == value
    with pytest.raises(SerializationError, match="nested more than"):
        serializer.dumps(wrap(value))


def test_endless_nesting_is_an_error_and_no_crash() -> None:
    # Each level of msgpack's own recursion takes 50 kB of the stack, and a thread of macOS has 512.
    code = """
        import struct, threading
        from beautyspot.errors import DeserializationError
        from beautyspot.serialization.msgpack_serializer import MsgpackSerializer
        data = b"\\xc0"
        for level in range(3000):
            data = struct.pack(">BIb", 0xC9, len(data) + 1, -4) + b"\\x91" + data
            if level in (99, 100, 500, 2999):
                def load(data=data):
                    try:
                        MsgpackSerializer().loads(data)
                        print("value")
                    except DeserializationError:
                        print("error")
                threading.stack_size(512 << 10)
                thread = threading.Thread(target=load)
                thread.start()
                thread.join()
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("value\nerror\nerror\nerror\n", "")


def test_data_with_a_false_size_allocates_no_memory() -> None:
    serializer = MsgpackSerializer()

    def ext(code: int, data: bytes) -> bytes:
        return struct.pack(">BIb", 0xC9, len(data), code) + data

    vast = ext(Code.ARRAY, msgpack.packb(["V1000000000", [9], "L", [b""] * 9]))
    dtype = {"names": ["a"], "formats": ["O"], "offsets": [0], "size": 1 << 30, "aligned": False, "record": False}
    padded = ext(Code.ARRAY, msgpack.packb([dtype, [9], "R", []]))
    empty = ext(Code.ARRAY, msgpack.packb(["V0", [1 << 40], "C", b""]))
    dtype = {**dtype, "formats": ["V0"], "size": 64}
    nothing = ext(Code.ARRAY, msgpack.packb([dtype, [1 << 40], "R", []])[:-1] + b"\x91" + empty)
    state = [{}, "L", [1 << 20, 1 << 20], [], b""]
    picture = ext(Code.IMAGE, msgpack.packb(["pixels", ["PIL.Image", "Image"], state, None, None, {}]))
    reason = r"is not kept as a list|is not kept by its fields|an image of 1048576 by 1048576 pixels"
    for data in (vast, padded, nothing, picture):
        with pytest.raises(DeserializationError, match=reason):
            serializer.loads(data)
