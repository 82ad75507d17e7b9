"""SciPy: sparse matrices and arrays of all formats, and what its optimizers return."""

from __future__ import annotations

import sys
from typing import Any

from beautyspot._internal.names import full_name
from beautyspot.errors import DeserializationError, SerializationError
from beautyspot.serialization.classes import loaded, reference
from beautyspot.serialization.types.codes import Apart, Code, Decoder, Encoder

_FORMATS = ("bsr", "coo", "csc", "csr", "dia", "dok", "lil")
_COMPRESSED = ("bsr", "csc", "csr")


def _sparse(v: Any, _: Apart) -> Any:
    import numpy as np

    name = type(v).__name__
    if v.format in _COMPRESSED:
        parts = [v.data, v.indices, v.indptr]
    elif v.format == "coo":
        parts = [v.data, *v.coords]
    elif v.format == "dia":
        parts = [v.data, v.offsets]
    elif v.format == "lil":
        parts = [v.data, v.rows, np.empty(0, v.dtype)]
    else:
        parts = [list(v.keys()), np.fromiter(v.values(), v.dtype, len(v.keys()))]
    return [name, list(v.shape), parts]


def _to_sparse(name: str, shape: Any, parts: list[Any]) -> Any:
    """A sparse matrix, checked: SciPy's code in C trusts the positions in it."""
    import numpy as np
    import scipy.sparse

    kind, shape = name.partition("_")[0], tuple(shape)
    if kind not in _FORMATS or name.partition("_")[2] not in ("array", "matrix"):
        raise DeserializationError(f"there is no sparse matrix of the kind {name!r}")
    cls = getattr(scipy.sparse, name)
    if kind in _COMPRESSED:
        made = cls(tuple(parts), shape=shape)
        made.check_format(full_check=True)
        made.indices, made.indptr = parts[1:]
    elif kind == "coo":
        data, *coords = parts
        made = cls((data, tuple(coords)), shape=shape)
        made.coords = tuple(coords)
    elif kind == "dia":
        made = cls(tuple(parts), shape=shape)
    elif kind == "lil":
        data, rows, empty = parts
        if len(rows) != len(data) or len(rows) != shape[0]:
            raise DeserializationError("a sparse matrix whose rows are not those of its shape")
        for row, items in zip(rows, data, strict=True):
            if len(row) != len(items) or any(not 0 <= column < shape[1] for column in row):
                raise DeserializationError("a sparse matrix with items outside of its shape")
        made = cls((len(rows), shape[1]), dtype=empty.dtype)
        made.data, made.rows = data, rows
    else:
        keys, values = parts
        made = cls(shape, dtype=values.dtype)
        coo = (
            [np.asarray(column) for column in zip(*keys, strict=True)] if keys and isinstance(keys[0], tuple) else keys
        )
        if (
            keys
            and isinstance(keys[0], tuple)
            and any(column.min() < 0 or column.max() >= size for column, size in zip(coo, shape, strict=True))
        ):
            raise DeserializationError("a sparse matrix with items outside of its shape")
        made._dict = dict(zip(keys, values, strict=True))
    return made


def _result(v: Any, _: Apart) -> Any:
    return ["result", reference(type(v)), dict(v)]


def _to_result(ref: Any, items: dict[str, Any]) -> Any:
    import scipy.optimize

    cls: Any = scipy.optimize.OptimizeResult
    if list(ref) != reference(cls):
        cls = loaded(ref, cls)
        if not cls.__module__.startswith("scipy."):
            raise DeserializationError(f"{full_name(cls)} is no result of SciPy")
    made = dict.__new__(cls)
    dict.update(made, items)
    return made


def _hessian(v: Any, _: Apart) -> Any:
    return ["hessian", v.sk, v.yk]


def _to_scipy(data: Any) -> Any:
    kind, *content = data
    if kind == "result":
        return _to_result(*content)
    if kind == "hessian":
        import scipy.optimize

        return scipy.optimize.LbfgsInvHessProduct(*content)
    return _to_sparse(kind, *content)


DECODERS: dict[int, Decoder] = {Code.SCIPY: _to_scipy}


def family_of(kind: type) -> tuple[int, Encoder] | None:
    """The code and the encoder of a type of SciPy; ``None`` for any other type."""
    if "scipy.sparse" in sys.modules and issubclass(
        kind, sys.modules["scipy.sparse"].sparray | sys.modules["scipy.sparse"].spmatrix
    ):
        if not kind.__module__.startswith("scipy.sparse"):
            raise SerializationError(f"a {full_name(kind)} cannot be kept; return it as a matrix of SciPy's own")
        return Code.SCIPY, _sparse
    optimize = sys.modules.get("scipy.optimize")
    if optimize is not None and kind.__module__.startswith("scipy."):
        if issubclass(kind, optimize.OptimizeResult):
            return Code.SCIPY, _result
        if kind is optimize.LbfgsInvHessProduct:
            return Code.SCIPY, _hessian
    return None
