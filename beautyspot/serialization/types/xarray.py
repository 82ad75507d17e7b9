"""xarray: variables, data arrays, datasets and trees, with their indexes, attributes and encodings."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from beautyspot._internal.names import full_name
from beautyspot.errors import SerializationError
from beautyspot.serialization.types.codes import Apart, Code, Decoder, Encoder


def _xr() -> Any:
    import xarray

    return xarray


def _parts(v: Any) -> list[Any]:
    """A variable as its dimensions, its data, its attributes and its encoding."""
    import numpy

    data: Any = v._data
    if isinstance(v, _xr().IndexVariable):
        data = v.to_index()
    elif not isinstance(data, numpy.ndarray):
        loaded = v.copy(deep=False).load() if hasattr(v, "load") and not hasattr(data, "dask") else v
        data = loaded.values if not hasattr(data, "dask") else data
    if hasattr(data, "dask"):
        raise SerializationError("return the data itself, not what is to be computed: write array.compute()")
    return [list(v.dims), data, dict(v.attrs), dict(v.encoding), isinstance(v, _xr().IndexVariable)]


def _to_variable(dims: Any, data: Any, attrs: Any, encoding: Any, is_index: bool) -> Any:
    cls = _xr().IndexVariable if is_index else _xr().Variable
    return cls(tuple(dims), data, attrs, encoding)


def _coordinates(v: Any) -> Any:
    """The coordinates: those without an index, those of an index of pandas, and those of a MultiIndex."""
    xr = _xr()
    indexed: dict[Any, Any] = {}
    levels = []
    for name, index in v.xindexes.items():
        if type(index) is xr.indexes.PandasMultiIndex:
            if name == index.dim:
                attrs = {
                    key: [dict(v.coords[key].attrs), dict(v.coords[key].encoding)] for key in (name, *index.index.names)
                }
                levels.append([name, index.index, attrs])
        elif type(index) is xr.indexes.PandasIndex:
            found = v.coords[name]
            indexed[name] = [index.dim, index.index, index.coord_dtype, dict(found.attrs), dict(found.encoding)]
        else:
            raise SerializationError(
                f"an index of the type {full_name(type(index))} cannot be kept; write drop_indexes()"
            )
    named = set(indexed) | {key for name, index, _ in levels for key in (name, *index.names)}
    plain = [[name, *_parts(coordinate.variable)] for name, coordinate in v.coords.items() if name not in named]
    return [plain, [[name, *parts] for name, parts in indexed.items()], levels, list(v.coords)]


def _to_coordinates(plain: Any, indexed: Any, levels: Any, order: Any) -> Any:
    xr = _xr()
    variables = {name: _to_variable(*parts) for name, *parts in plain}
    indexes: dict[Any, Any] = {}
    for name, dim, index, dtype, attrs, encoding in indexed:
        indexes[name] = xr.indexes.PandasIndex(index, dim, dtype)
        (variables[name],) = indexes[name].create_variables().values()
        variables[name].attrs, variables[name].encoding = attrs, encoding
    for name, index, attrs in levels:
        made = xr.Coordinates.from_pandas_multiindex(index, name)
        for key, (own, encoding) in attrs.items():
            variables[key] = made.variables[key]
            variables[key].attrs, variables[key].encoding = own, encoding
            indexes[key] = made.xindexes[key]
    return xr.Coordinates({name: variables[name] for name in order}, indexes)


def _variable(v: Any, _: Apart) -> Any:
    return ["variable", *_parts(v)]


def _data_array(v: Any, _: Apart) -> Any:
    return ["array", v.name, _parts(v.variable), _coordinates(v)]


def _to_data_array(name: Any, variable: Any, coordinates: Any) -> Any:
    found = _to_variable(*variable)
    made = _xr().DataArray(found, coords=_to_coordinates(*coordinates), name=name)
    made.encoding = found.encoding
    return made


def _dataset(v: Any, _: Apart) -> Any:
    variables = [[name, *_parts(v.variables[name])] for name in v.data_vars]
    return ["dataset", variables, _coordinates(v), dict(v.attrs), dict(v.encoding)]


def _to_dataset(variables: Any, coordinates: Any, attrs: Any, encoding: Any) -> Any:
    made = _xr().Dataset(
        {name: _to_variable(*parts) for name, *parts in variables}, coords=_to_coordinates(*coordinates), attrs=attrs
    )
    made.encoding = encoding
    return made


def _tree(v: Any, _: Apart) -> Any:
    return ["tree", v.name, [[node.path, node.to_dataset(inherit=False)] for node in v.subtree]]


def _to_tree(name: Any, nodes: Any) -> Any:
    return _xr().DataTree.from_dict(dict(map(tuple, nodes)), name=name)


_KINDS: dict[str, Callable[..., Any]] = {
    "variable": _to_variable,
    "array": _to_data_array,
    "dataset": _to_dataset,
    "tree": _to_tree,
}


def _to_xarray(data: Any) -> Any:
    kind, *content = data
    return _KINDS[kind](*content)


DECODERS: dict[int, Decoder] = {Code.XARRAY: _to_xarray}


def family_of(kind: type) -> tuple[int, Encoder] | None:
    """The code and the encoder of a type of xarray; ``None`` for any other type."""
    xr = sys.modules["xarray"]
    table: dict[Any, Encoder] = {
        xr.Variable: _variable,
        xr.IndexVariable: _variable,
        xr.DataArray: _data_array,
        xr.Dataset: _dataset,
        xr.DataTree: _tree,
    }
    return (Code.XARRAY, table[kind]) if kind in table else None
