"""Any cached value as JSON and as a file, for viewers, exports and the command line."""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import enum
import io
import json
import math
import pathlib
import sys
import uuid
from collections import deque
from collections.abc import Mapping, Set
from typing import Any, NamedTuple

from beautyspot.serialization.content_types import ContentType, suffix_of
from beautyspot.serialization.inspector import UnknownObject

__all__ = ["Payload", "as_json", "as_payload", "file_kind", "to_plain"]

_WHOLE = 10_000  # elements up to which an array is written out
_TEXTS = (decimal.Decimal, uuid.UUID, pathlib.PurePath, complex, dt.timedelta)
_SHOWN_BY_REPR = frozenset({"numpy", "pandas", "scipy", "sklearn", "torch", "xarray"})  # what is inside says nothing
_TIMES = (dt.datetime, dt.date, dt.time)


def to_plain(value: Any) -> Any:
    """*value* converted to types of JSON; any other type becomes text, or a dict that names the type.

    Args:
        value: Any cached value, or the result of a `ClasslessDecoder`.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, int):
        return value if abs(value) < 1 << 63 else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, UnknownObject):
        content = to_plain(value.content)
        return {"type": value.kind, **content} if isinstance(content, dict) else {"type": value.kind, "value": content}
    if isinstance(value, bytes | bytearray | memoryview):
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, Mapping):
        return dict(zip(map(_name, value), map(to_plain, value.values()), strict=True))
    if isinstance(value, list | tuple | Set | deque | range):
        return list(map(to_plain, value))  # uses half the stack of a comprehension: values are up to 500 levels deep
    if isinstance(value, _TIMES):
        return value.isoformat()
    if isinstance(value, _TEXTS):
        return str(value)
    return _of_library(value)


def _name(key: Any) -> str:
    return key if isinstance(key, str) else str(to_plain(key))


def _of_library(value: Any) -> Any:
    kind = library_kind(value)
    if kind == "array":
        if value.ndim == 0:
            return to_plain(value.item())
        if value.size <= _WHOLE and value.dtype.kind not in "OV":
            return to_plain(value.tolist())
        return {"type": "array", "shape": list(value.shape), "dtype": str(value.dtype)}
    if kind == "scalar":
        return to_plain(value.item())
    if kind == "frame":
        frame = value if hasattr(value, "columns") else value.to_frame()
        rows = frame.to_dict(orient="records") if hasattr(frame, "iloc") else frame.to_dicts()
        return [to_plain(row) for row in rows]
    if kind == "image":
        return {"type": "image", "size": list(value.size), "mode": value.mode}
    module = type(value).__module__
    if module in ("fractions", "ipaddress"):
        return str(value)
    name = f"{module}.{type(value).__qualname__}"
    fields = {} if module.partition(".")[0] in _SHOWN_BY_REPR else getattr(value, "__dict__", {})
    return (
        {"type": name, **to_plain(fields)}
        if isinstance(fields, dict) and fields
        else {"type": name, "repr": repr(value)}
    )


def library_kind(value: Any) -> str | None:
    """The kind of a library's value: ``"array"``, ``"scalar"``, ``"frame"`` or ``"image"``; ``None`` for any other."""
    loaded = sys.modules
    if "numpy" in loaded:
        if isinstance(value, loaded["numpy"].ndarray):
            return "array"
        if isinstance(value, loaded["numpy"].generic):
            return "scalar"
    for library in ("pandas", "polars"):
        if library in loaded and isinstance(value, loaded[library].DataFrame | loaded[library].Series):
            return "frame"
    return "image" if "PIL.Image" in loaded and isinstance(value, loaded["PIL.Image"].Image) else None


def as_json(value: Any, indent: int | None = None) -> str:
    """*value* as JSON text; see `to_plain`."""
    return json.dumps(to_plain(value), indent=indent, ensure_ascii=False)


class Payload(NamedTuple):
    """A value as a file.

    Attributes:
        content: The bytes of the file.
        content_type: MIME type of the file.
        suffix: Suffix of the file name, such as ``.png``.
    """

    content: bytes
    content_type: str
    suffix: str


def file_kind(value: Any, content_type: str | None) -> tuple[str, str]:
    """The content type and the suffix of the file that `as_payload` makes of *value*."""
    if isinstance(value, bytes | bytearray | memoryview):
        kind = content_type or ContentType.BINARY.value
        return kind, suffix_of(kind) or ".bin"
    if isinstance(value, str):
        kind = content_type or ContentType.TEXT.value
        return kind, suffix_of(kind) or ".txt"
    kind_of = library_kind(value)
    if kind_of == "array" and value.dtype.kind not in "OV":
        return ContentType.BINARY.value, ".npy"
    kind = {"frame": ContentType.CSV, "image": ContentType.PNG}.get(kind_of or "", ContentType.JSON).value
    return kind, suffix_of(kind)


def as_payload(value: Any, content_type: str | None) -> Payload:
    """*value* as a file: bytes unchanged, texts in UTF-8, arrays as ``.npy``, frames as CSV, all others as JSON.

    Args:
        value: Any cached value, or the result of a `ClasslessDecoder`.
        content_type: The content type that the task gives, or ``None``.
    """
    kind, suffix = file_kind(value, content_type)
    return Payload(_content(value, suffix), kind, suffix)


def _content(value: Any, suffix: str) -> bytes:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    file = io.BytesIO()
    if suffix == ".npy":
        import numpy

        numpy.save(file, value, allow_pickle=False)
    elif suffix == ".png":
        value.save(file, "PNG")
    elif suffix == ".csv":
        frame = value if hasattr(value, "columns") else value.to_frame()
        file.write((frame.to_csv() if hasattr(frame, "iloc") else frame.write_csv()).encode())
    else:
        file.write(as_json(value, indent=2).encode("utf-8", "surrogatepass"))
    return file.getvalue()
