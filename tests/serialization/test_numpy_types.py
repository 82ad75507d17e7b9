"""Arrays, scalars and dtypes of NumPy come back with all that NumPy can see of them."""

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as np_st

from beautyspot.errors import SerializationError
from beautyspot.serialization import MsgpackSerializer
from tests.support.round_trip import both_ways, check

ALIGNED = np.dtype([("a", "i1"), ("b", "f8")], align=True)
RECORDS = np.rec.array([(1, 2.0), (3, 4.0)], dtype=[("a", "i4"), ("b", "f8")])
TITLED = np.dtype({"names": ["a"], "formats": ["i4"], "titles": ["title"]})
PADDED = np.dtype({"names": ["a"], "formats": ["i4"], "offsets": [4], "itemsize": 16})
OBJECTS = np.array([(1, "x"), (2, [(3,)])], dtype=[("a", "i4"), ("o", object)])

ARRAYS: dict[str, Any] = {
    "aligned": np.zeros(3, ALIGNED), "records": RECORDS, "matrix": np.arange(2).reshape(1, 2).view(np.matrix),
    "chararray": np.char.array(["a", "bb"]), "titles": np.zeros(2, TITLED), "objects in records": OBJECTS,
    "nested objects": np.zeros(2, dtype=[("a", "i4"), ("o", [("p", object), ("q", "f4")])]),
    "metadata": np.zeros(2, np.dtype("f8", metadata={"unit": "m"})), "subarray": np.zeros(2, [("a", "f4", (2, 3))]),
    "no text": np.zeros(3, "U0"), "no bytes": np.zeros(3, "V0"), "order": np.zeros((3, 2), ">f8", order="F"),
    "times": np.array(["NaT", "2020"], "M8[25s]"), "an object": np.array({"a": (1,)}, object),
    "texts with gaps": np.array(["a", None], np.dtypes.StringDType(na_object=None)),
    "texts that are texts": np.array(["a"], np.dtypes.StringDType(coerce=False)), "long": np.zeros(2, np.longdouble),
    "padded": np.zeros(2, PADDED), "cube": np.arange(24).reshape(2, 3, 4).transpose(1, 0, 2),
    "arrays": np.array([np.arange(3), None, {"k": np.float32(1)}], object), "large": np.arange(100_000),
}  # fmt: skip


def seen(array: Any) -> Any:
    dtype = array.dtype
    fields = dtype.fields and dict(dtype.fields)
    return (
        dtype,
        dtype.type,
        dtype.isalignedstruct,
        fields,
        dtype.metadata,
        dtype.byteorder,
        array.shape,
        array.tolist(),
    )


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_comes_back(name: str) -> None:
    check(ARRAYS[name], seen)


SCALARS = [
    np.str_("a\0"), np.str_(""), np.bytes_(b"a\0\0"), np.datetime64("2020", "D"), np.timedelta64(3, "25s"),
    np.float16(1), np.longdouble("1.5"), np.bool_(1), np.void(b"abc"), RECORDS[0], np.zeros(2, ALIGNED)[0], OBJECTS[1],
    np.complex64(1j), np.uint64(2**64 - 1),
]  # fmt: skip


@pytest.mark.parametrize("scalar", SCALARS, ids=lambda v: type(v).__name__)
def test_a_scalar_comes_back(scalar: Any) -> None:
    check(scalar, lambda v: (v.dtype, v.dtype.isalignedstruct, len(v) if isinstance(v, str | bytes) else 0, v))


def masks() -> list[Any]:
    structured = np.ma.array([(1, 2.0)], mask=[(0, 1)], dtype=[("a", "i4"), ("b", "f4")])
    return [
        np.ma.array([1, 2, 3], mask=[0, 1, 0]), np.ma.array([1.0, 2], fill_value=-9, hard_mask=True),
        np.ma.array(np.zeros((2, 2), "F"), mask=True), structured, structured[0], np.ma.array(["a"]), np.ma.masked,
    ]  # fmt: skip


@pytest.mark.parametrize("number", range(len(masks())))
def test_a_masked_array_comes_back_with_what_is_masked(number: int) -> None:
    check(masks()[number], lambda m: m is np.ma.masked or (m.data, m.mask, m.fill_value, m.hardmask, m.dtype))


def test_a_dtype_comes_back() -> None:
    for dtype in (np.dtype("f4"), ALIGNED, RECORDS.dtype, np.dtype(("f4", (2,))), np.dtype(np.dtypes.StringDType())):
        check(dtype, lambda d: (d, d.isalignedstruct, d.type))


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(np_st.arrays(np_st.scalar_dtypes(), np_st.array_shapes(max_dims=3, max_side=3)))
def test_any_array_comes_back(array: Any) -> None:
    for back in both_ways(array):
        assert (back.dtype, back.shape, back.tobytes()) == (array.dtype, array.shape, array.tobytes())


@given(
    st.lists(st.none() | st.integers() | st.text() | st.tuples(st.integers()) | st.floats(allow_nan=False), max_size=9)
)
def test_any_array_of_objects_comes_back(items: list[Any]) -> None:
    array = np.empty(len(items), object)
    array[:] = items
    check(array, seen)


def test_an_array_of_an_unknown_class_is_refused() -> None:
    with pytest.raises(SerializationError, match=r"builtins\.object cannot be kept"):
        MsgpackSerializer().dumps(np.array([object()]))
