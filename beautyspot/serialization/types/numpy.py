"""NumPy: arrays of all kinds, scalars and dtypes. Arrays are written from their memory without a copy.

An array of Python objects is stored as the list of its items, one with objects in its records field by field: their
memory says nothing in another process.
"""

from __future__ import annotations

import sys
from typing import Any

from beautyspot.errors import DeserializationError, SerializationError
from beautyspot.serialization.types.codes import Apart, Code, Decoder, Encoder

_PADDED = 64  # bytes of padding that a record with objects may have: the data alone would set the size of its memory


def _np() -> Any:
    import numpy

    return numpy


def describe(dtype: Any) -> Any:
    """A dtype as plain data: a text, or a dict."""
    np = _np()
    more = {} if dtype.metadata is None else {"metadata": dict(dtype.metadata)}
    if dtype.kind == "T":
        na = {"na": dtype.na_object} if hasattr(dtype, "na_object") else {}
        return {"text": dtype.coerce, **na, **more}
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return {"base": describe(base), "shape": list(shape), **more}
    if dtype.names is not None:
        fields = [dtype.fields[name] for name in dtype.names]
        data = {
            "names": list(dtype.names),
            "formats": [describe(field[0]) for field in fields],
            "offsets": [field[1] for field in fields],
            "size": dtype.itemsize,
            "aligned": dtype.isalignedstruct,
            "record": dtype.type is np.record,
        }
        if any(len(field) > 2 for field in fields):
            data["titles"] = [field[2] if len(field) > 2 else None for field in fields]
        return {**data, **more}
    return {"simple": dtype.str, **more} if more else dtype.str


def to_dtype(data: Any) -> Any:
    """The dtype of a description."""
    np = _np()
    if isinstance(data, str):
        return np.dtype(data)
    if "text" in data:
        na = {"na_object": data["na"]} if "na" in data else {}
        made = np.dtypes.StringDType(coerce=data["text"], **na)
    elif "base" in data:
        made = np.dtype((to_dtype(data["base"]), tuple(data["shape"])))
    elif "simple" in data:
        made = np.dtype(data["simple"])
    else:
        record = {"names": data["names"], "formats": [to_dtype(f) for f in data["formats"]],
                  "offsets": data["offsets"], "itemsize": data["size"]}  # fmt: skip
        if "titles" in data:
            record["titles"] = data["titles"]
        made = np.dtype(record, align=data["aligned"])
        made = np.dtype((np.record, made)) if data["record"] else made
    return np.dtype(made, metadata=data["metadata"]) if "metadata" in data else made


def _kinds() -> list[Any]:
    np = _np()
    return [np.ndarray, np.matrix, np.recarray, np.char.chararray]


def _array(v: Any, apart: Apart) -> Any:
    np = _np()
    kinds = _kinds()
    kind = kinds.index(type(v)) if type(v) in kinds else 0
    dtype = v.dtype
    head = [describe(dtype), list(v.shape)]
    plain = v.view(np.ndarray) if kind else v
    more = [kind] if kind else []
    if dtype.kind in "OT":
        return [*head, "L", plain.ravel().tolist(), *more]
    if dtype.hasobject:
        if dtype.subdtype is not None or dtype.itemsize > _size_of_fields(dtype) + _PADDED:
            raise SerializationError(f"an array of dtype {dtype} holds Python objects inside its records")
        return [*head, "R", [np.ascontiguousarray(plain[name]) for name in dtype.names], *more]
    order = "C" if v.flags.c_contiguous or not v.flags.f_contiguous else "F"
    flat = np.ascontiguousarray(plain.T if order == "F" else plain).reshape(-1)
    return [*head, order, apart(flat.view(np.uint8).data) if dtype.itemsize else b"", *more]


def _size_of_fields(dtype: Any) -> int:
    return sum(dtype.fields[name][0].itemsize for name in dtype.names)


def _to_array(data: Any) -> Any:
    descr, shape, order, content = data[:4]
    dtype = to_dtype(descr)
    if order == "L":
        made = _of_items(dtype, content).reshape(shape)
    elif order == "R":
        made = _of_fields(dtype, tuple(shape), content)
    else:
        made = _of_memory(dtype, tuple(shape), order, content)
    return made.view(_kinds()[data[4]]) if len(data) > 4 else made


def _of_items(dtype: Any, items: list[Any]) -> Any:
    if dtype.kind not in "OT":  # for any other, the data alone would set the size of the allocation
        raise DeserializationError(f"an array of dtype {dtype} is not kept as a list")
    flat = _np().empty(len(items), dtype=dtype)
    for i, item in enumerate(items):
        flat[i] = item
    return flat


def _of_fields(dtype: Any, shape: tuple[int, ...], fields: list[Any]) -> Any:
    np = _np()
    if not dtype.hasobject or dtype.names is None or dtype.itemsize > _size_of_fields(dtype) + _PADDED:
        raise DeserializationError(f"an array of dtype {dtype} is not kept by its fields")
    for name, field in zip(dtype.names, fields, strict=True):
        base = dtype[name].base
        # An object is there for each item: so the memory is no more than what the data asked for already.
        if field.dtype.hasobject != base.hasobject or field.shape[: len(shape)] != shape:
            raise DeserializationError(f"the field {name!r} is not that of its array")
    made = np.zeros(shape, dtype)
    for name, field in zip(dtype.names, fields, strict=True):
        made[name] = field
    return made


def _of_memory(dtype: Any, shape: tuple[int, ...], order: str, content: Any) -> Any:
    np = _np()
    if dtype.hasobject or dtype.kind == "T":
        raise DeserializationError("an array of Python objects cannot be made from bytes")
    if not dtype.itemsize:
        return np.empty(shape, dtype, order)
    # A view of separate memory is used as it is; bytes are read-only and are copied.
    memory = bytearray(content) if isinstance(content, bytes) else content
    return np.ndarray(shape, dtype, memory, order=order)


def _scalar(v: Any, _: Apart) -> Any:
    if v.dtype.char in "US":  # whose dtype ends before trailing zeros
        return [v.dtype.char, _plain_text(v)]
    if v.dtype.hasobject:
        return [describe(v.dtype), [v[name] for name in v.dtype.names]]
    return [describe(v.dtype), v.tobytes()]


def _plain_text(v: Any) -> Any:
    return str.__str__(v) if isinstance(v, str) else bytes.__getitem__(v, slice(None))


def _to_scalar(data: Any) -> Any:
    np = _np()
    descr, content = data
    if descr in ("U", "S"):
        return (np.str_ if descr == "U" else np.bytes_)(content)
    dtype = to_dtype(descr)
    if isinstance(content, list):
        fields = [_boxed(item, dtype[i]) for i, item in enumerate(content)]
        return _of_fields(dtype, (), fields)[()]
    if dtype.hasobject:
        raise DeserializationError("a NumPy scalar of Python objects cannot be made from bytes")
    return np.ndarray((), dtype, bytearray(content))[()]


def _boxed(item: Any, dtype: Any) -> Any:
    if dtype.kind != "O":
        return _np().asarray(item)
    box = _np().empty(1, object)
    box[0] = item
    return box.reshape(())


def _masked(v: Any, _: Apart) -> Any:
    np = _np()
    if v is np.ma.masked:
        return ["masked constant"]
    kind = "mvoid" if isinstance(v, np.ma.core.mvoid) else "masked"
    mask = None if v.mask is np.ma.nomask else np.asarray(v.mask)
    filled = None if v._fill_value is None else np.asarray(v._fill_value)
    return [kind, np.asarray(v.data), mask, filled, v.hardmask]


def _to_masked(kind: str, data: Any, mask: Any, filled: Any, hard: bool) -> Any:
    ma = _np().ma
    mask = ma.nomask if mask is None else mask
    made = ma.core.mvoid(data, mask, hardmask=hard) if kind == "mvoid" else ma.MaskedArray(data, mask, hard_mask=hard)
    if filled is not None:
        made._fill_value = filled
    return made


def _to_numpy(data: Any) -> Any:
    kind, *content = data
    if kind == "dtype":
        return to_dtype(*content)
    return _np().ma.masked if kind == "masked constant" else _to_masked(kind, *content)


DECODERS: dict[int, Decoder] = {Code.ARRAY: _to_array, Code.SCALAR: _to_scalar, Code.NUMPY: _to_numpy}


def family_of(kind: type) -> tuple[int, Encoder] | None:
    """The code and the encoder of a type of NumPy; ``None`` for any other type."""
    np = sys.modules["numpy"]
    if kind is np.memmap or kind in _kinds():
        return Code.ARRAY, _array
    if issubclass(kind, np.generic):
        return Code.SCALAR, _scalar
    if kind in (np.ma.MaskedArray, np.ma.core.MaskedConstant, np.ma.core.mvoid):
        return Code.NUMPY, _masked
    return (Code.NUMPY, lambda v, _: ["dtype", describe(v)]) if issubclass(kind, np.dtype) else None
