"""Values of pyarrow: tables, arrays, schemas; nothing of chunks, offsets, or what lies below a null."""

from __future__ import annotations

import json
import sys
from typing import Any

from beautyspot.keys.values.libraries import Parts


def parts_of(value: Any) -> Parts | None:
    """The tag and the parts of a table, array, scalar, schema, field or type; ``None`` for any other value."""
    arrow: Any = sys.modules["pyarrow"]
    if isinstance(value, arrow.Table | arrow.RecordBatch):
        columns = [_array(column, arrow) for column in value.columns]
        return (b"v", "arrow table", type(value), value.num_rows, value.schema, columns)
    if isinstance(value, arrow.Array | arrow.ChunkedArray):
        return (b"v", "arrow array", isinstance(value, arrow.ChunkedArray), value.type, _array(value, arrow))
    if isinstance(value, arrow.Scalar):
        return (b"v", "arrow scalar", value.type, _array(arrow.array([value], value.type), arrow))
    if isinstance(value, arrow.Schema):
        return (b"v", "arrow schema", list(value), _metadata(value))
    if isinstance(value, arrow.Field):
        return (b"v", "arrow field", value.name, value.type, value.nullable, _metadata(value))
    if isinstance(value, arrow.DataType):
        fields = [value.field(i) for i in range(value.num_fields)]
        return (b"v", "arrow type", str(value), fields, _extension(value, arrow))
    return None


def _extension(dtype: Any, arrow: Any) -> Any:
    if not isinstance(dtype, arrow.BaseExtensionType):
        return None
    serialized = getattr(dtype, "__arrow_ext_serialize__", bytes)
    return (dtype.extension_name, dtype.storage_type, serialized())


def _metadata(value: Any) -> Any:
    """The metadata of a schema or a field, without the versions of the libraries that wrote it."""
    held = dict(value.metadata or {})
    if b"pandas" in held:
        of_pandas = json.loads(held[b"pandas"])
        held[b"pandas"] = {name: item for name, item in of_pandas.items() if name not in ("creator", "pandas_version")}
    return held or None


def _array(array: Any, arrow: Any) -> tuple[Any, ...]:
    """The places of missing values, and the others."""
    if isinstance(array, arrow.ChunkedArray):
        array = array.combine_chunks()
        if isinstance(array, arrow.ChunkedArray):  # too long for one
            return tuple(_array(chunk, arrow) for chunk in array.chunks)
    missing = None
    if array.null_count:
        missing, array = array.is_null().to_numpy(zero_copy_only=False), array.drop_null()
    return (len(array), missing, _present(array, array.type, arrow))


def _present(array: Any, dtype: Any, arrow: Any) -> Any:
    """The values of an array without missing ones."""
    types: Any = arrow.types
    if isinstance(dtype, arrow.BaseExtensionType):
        return _array(array.storage, arrow)
    if types.is_dictionary(dtype):
        return _array(array.dictionary_decode(), arrow)
    if types.is_struct(dtype):
        return [_array(child, arrow) for child in array.flatten()]
    if types.is_map(dtype):
        array = array.cast(arrow.list_(arrow.struct([("key", dtype.key_type), ("value", dtype.item_type)])))
        return _present(array, array.type, arrow)
    if types.is_list(dtype) or types.is_large_list(dtype):
        return (array.value_lengths().to_numpy(zero_copy_only=False), _array(array.flatten(), arrow))
    if types.is_fixed_size_list(dtype):
        return _array(array.flatten(), arrow)
    if types.is_date(dtype) or types.is_time(dtype) or types.is_timestamp(dtype) or types.is_duration(dtype):
        array = array.view(arrow.int64() if dtype.bit_width == 64 else arrow.int32())
        return array.to_numpy(zero_copy_only=False)
    if types.is_integer(dtype) or types.is_floating(dtype) or types.is_boolean(dtype):
        return array.to_numpy(zero_copy_only=False)
    return array.to_pylist()
