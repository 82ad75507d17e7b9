"""Values of NumPy: arrays of all kinds, scalars, dtypes, random generators.

Equal arrays have equal parts, whatever their layout in memory, what padding holds or lies below a mask. Content is
digested in place.
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable
from typing import Any

from beautyspot.keys.values.array_digest import digest_of_array
from beautyspot.keys.values.extras import extras
from beautyspot.keys.values.libraries import Parts

# Types of elements that are their bytes, and that nothing but their code describes.
_PLAIN = frozenset("?bBhHiIlLqQefdgFDGSUmM")
_EXACT = frozenset("bBhHiIlLqQSUmM")  # those of them whose equal values have equal bytes
# What a masked array holds in its attributes: a mask, a fill value, and caches of both.
_MASKED = frozenset(
    ("_mask", "_fill_value", "_hardmask", "_sharedmask", "_baseclass", "_basedict", "_isfield", "_optinfo")
)

_MAPPED = frozenset(("_mmap", "filename", "offset", "mode"))  # where a mapped array lies


def parts_of(value: Any) -> Parts | None:
    """The tag and the parts of an array, scalar, dtype or random generator; ``None`` for any other value."""
    numpy: Any = sys.modules["numpy"]
    if isinstance(value, numpy.ndarray):
        return _array(value, numpy)
    if isinstance(value, numpy.generic):
        return _scalar(value, numpy)
    if isinstance(value, numpy.dtype):
        return (b"v", "dtype", described(value))
    if "numpy.random" in sys.modules:
        return _random(value, numpy)
    return None


def plain_types() -> dict[type, Callable[[Any], Any]]:
    """Types of scalars of Python's own kinds, and what makes Python's of them."""
    numpy: Any = sys.modules["numpy"]
    integers = {numpy.dtype(code).type: int for code in "lq" if numpy.dtype(code).itemsize == 8}
    return {
        **integers,
        numpy.bool_: bool,
        numpy.float64: _float,
        numpy.complex128: complex,
        numpy.str_: str,
        numpy.bytes_: bytes,
    }


def described(dtype: Any) -> Any:
    """What a dtype is, as plain values: with offsets of fields, alignment and metadata."""
    if dtype.metadata:
        return ("metadata", dict(dtype.metadata), _described(dtype))
    return dtype.str if dtype.char in _PLAIN else _described(dtype)


def content(array: Any) -> Any:
    """The elements of an array of the class `numpy.ndarray`, in C order: a digest, or lists where they are objects."""
    dtype = array.dtype
    if dtype.char in _PLAIN:
        return digest_of_array(array)
    if dtype.names is not None:
        return [content(array[name]) for name in dtype.names]
    if dtype.hasobject or dtype.kind == "T":  # the elements are pointers
        return array.ravel().tolist()
    return digest_of_array(array)


def _described(dtype: Any) -> Any:
    if dtype.names is not None:
        fields = [(name, described(field[0]), *field[1:]) for name, field in dtype.fields.items()]
        record = dtype.type.__name__ == "record"
        return ("fields", dtype.itemsize, sorted(fields, key=lambda field: str(field[0])), dtype.names,
                dtype.isalignedstruct, record)  # fmt: skip
    if dtype.subdtype is not None:
        return ("array", described(dtype.subdtype[0]), dtype.shape)
    if dtype.kind == "T":
        return ("text", hasattr(dtype, "na_object"), getattr(dtype, "na_object", None), dtype.coerce)
    if dtype.type.__module__.partition(".")[0] != "numpy":  # a type that another package brings
        return (dtype.str, str(dtype), type(dtype), dtype.type)
    return dtype.str


def _array(value: Any, numpy: Any) -> Parts:
    kind = type(value)
    if kind is numpy.ndarray or kind is numpy.memmap:
        plain = value if kind is numpy.ndarray else _base(value, numpy)
        return (b"v", "array", described(value.dtype), value.shape, content(plain))
    if isinstance(value, numpy.ma.MaskedArray):
        return _masked(value, kind, numpy)
    known = _MAPPED if isinstance(value, numpy.memmap) else ()
    return (b"v", "subarray", kind, _base(value, numpy), extras(value, numpy.ndarray, known), _reduced(value, numpy))


def _base(value: Any, numpy: Any) -> Any:
    return numpy.ndarray.view(value, numpy.ndarray)


def _masked(value: Any, kind: type, numpy: Any) -> Parts:
    mask, data = numpy.ma.getmaskarray(value), _base(value, numpy)
    fill = value.__dict__.get("_fill_value")
    if fill is None:
        fill = numpy.ma.default_fill_value(value.dtype)
    return (
        b"v", "masked", kind, value.__dict__.get("_baseclass"), _unmasked(data, mask, numpy), mask,
        numpy.asarray(fill, data.dtype), value.hardmask, value.__dict__.get("_optinfo") or None,
        extras(value, numpy.ma.MaskedArray, _MASKED), _reduced(value, numpy),
    )  # fmt: skip


def _unmasked(data: Any, mask: Any, numpy: Any) -> Any:
    """*data* with nothing below its mask."""
    if data.dtype.names is None:
        if not mask.any():
            return data
        data = data.copy()
        data[mask] = numpy.zeros((), data.dtype)[()]
        return data
    return [_unmasked(data[name], mask[name], numpy) for name in data.dtype.names] + [numpy.empty(0, data.dtype)]


def _reduced(value: Any, numpy: Any) -> Any:
    """What a ``__reduce__`` of its own says of an array beside its data; ``None`` where its class has NumPy's."""
    kind: type = type(value)
    if not _reduces(kind, numpy.ma.MaskedArray if isinstance(value, numpy.ma.MaskedArray) else numpy.ndarray):
        return None
    parts: Any = value.__reduce_ex__(2)
    return parts if isinstance(parts, str) else _without_data(parts, (value.shape, value.dtype, value.flags.fnc))


@functools.lru_cache(1024)
def _reduces(kind: type, base: type) -> bool:
    names = ("__reduce__", "__reduce_ex__", "__getstate__")
    return any(getattr(kind, name, None) is not getattr(base, name, None) for name in names)


def _without_data(parts: Any, native: tuple[Any, ...]) -> Any:
    """*parts* of a pickled array without the state that is NumPy's own: ``(version, shape, dtype, order, data)``."""
    if type(parts) is dict:
        return {name: _without_data(item, native) for name, item in parts.items()}
    if type(parts) not in (tuple, list):
        return parts
    at = next((i for i in range(1, len(parts) - 3) if _is_native(parts[i : i + 3], native)), None)
    if at is None:
        return tuple(_without_data(item, native) for item in parts)
    return tuple(_without_data(item, native) for item in (*parts[: at - 1], *parts[at + 4 :]))


def _is_native(parts: Any, native: tuple[Any, ...]) -> bool:
    return all(type(one) is type(other) for one, other in zip(parts, native, strict=True)) and tuple(parts) == native


def _scalar(value: Any, numpy: Any) -> Parts:
    kind, code = type(value), value.dtype.char
    is_exact = code in _EXACT or (code in "ef" and value == value)  # noqa: PLR0124  # NaN is not itself
    if is_exact and kind.__module__ == "numpy":
        return (b"v", "scalar", value.dtype.str, value.tobytes())
    made = numpy.asarray(value)
    if kind.__module__.partition(".")[0] == "numpy":
        return (b"v", "scalar", described(made.dtype), made.dtype.char in "gG", content(made))
    return (b"v", "subscalar", kind, described(made.dtype), content(made), extras(value, numpy.generic))


def _float(value: Any) -> float:
    return float(value) if value == value else math.nan  # noqa: PLR0124  # NaN is not itself; it has a sign


def _random(value: Any, numpy: Any) -> Parts | None:
    random = numpy.random
    if isinstance(value, random.Generator):
        return (b"v", "generator", type(value), value.bit_generator)
    if isinstance(value, random.RandomState):
        # The generator of the module itself is one object, whatever was drawn from it.
        is_global = value is random.mtrand._rand
        return (b"v", "random state", type(value), None if is_global else value.get_state(legacy=False))
    if isinstance(value, random.BitGenerator):
        return (b"v", "bit generator", type(value), value.state, getattr(value, "seed_seq", None))
    if isinstance(value, random.SeedSequence):
        return (b"v", "seed", type(value), value.state)
    return None
