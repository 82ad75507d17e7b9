"""polars: frames and series through Arrow, with the order that polars knows of; columns of objects as lists."""

from __future__ import annotations

import io
import sys
from typing import Any

from beautyspot.errors import SerializationError
from beautyspot.serialization.types.codes import Apart, Code, Decoder, Encoder


def _polars(v: Any, apart: Apart) -> Any:
    import polars

    is_series = isinstance(v, polars.Series)
    frame = v.to_frame() if is_series else v
    objects = {name: frame[name].to_list() for name, kind in frame.schema.items() if kind == polars.Object}
    # A frame without columns still has a height.
    plain = frame.with_columns(polars.lit(None).alias(name) for name in objects) if objects else frame
    target = io.BytesIO()
    try:
        plain.write_ipc(target)
    except Exception as cause:
        raise SerializationError(f"Arrow cannot hold this {type(v).__name__}: {cause}") from cause
    return [is_series, apart(target.getbuffer()), _order_of(frame), objects]


def _order_of(frame: Any) -> list[int]:
    """For each column 1 if polars knows that it is sorted, -1 if it knows that it is in descending order, else 0."""
    flags = [column.flags for column in frame.get_columns()]
    return [1 if flag.get("SORTED_ASC") else -1 if flag.get("SORTED_DESC") else 0 for flag in flags]


def _to_polars(data: Any) -> Any:
    import polars

    is_series, content, order, objects = data
    frame = polars.read_ipc(io.BytesIO(content))
    columns = [
        polars.Series(column.name, objects[column.name], dtype=polars.Object) if column.name in objects else column
        for column in frame.get_columns()
    ]
    columns = [
        column.set_sorted(descending=sign < 0) if sign else column for column, sign in zip(columns, order, strict=True)
    ]
    if is_series:
        return columns[0]
    return polars.DataFrame(columns) if any(order) or objects else frame


DECODERS: dict[int, Decoder] = {Code.POLARS: _to_polars}


def family_of(kind: type) -> tuple[int, Encoder] | None:
    """The code and the encoder of a type of polars; ``None`` for any other type."""
    polars = sys.modules["polars"]
    return (Code.POLARS, _polars) if kind in (polars.DataFrame, polars.Series) else None
