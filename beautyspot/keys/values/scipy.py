"""Sparse matrices of SciPy: their entries by place, whatever their order, or the duplicates that add up to them."""

from __future__ import annotations

import sys
from typing import Any

from beautyspot.keys.values.extras import extras
from beautyspot.keys.values.libraries import Parts

# How the formats hold their entries, and what they remember of them.
_OWN = frozenset(
    ("_shape", "maxprint", "data", "indices", "indptr", "row", "col", "coords", "offsets", "rows", "_dict", "dtype",
     "has_canonical_format", "_has_canonical_format", "_has_sorted_indices", "has_sorted_indices")
)  # fmt: skip


def parts_of(value: Any) -> Parts | None:
    """The tag and the parts of a sparse matrix or array; ``None`` for any other value.

    A zero that is stored is an entry, as it is for the graph algorithms of SciPy.
    """
    sparse: Any = sys.modules.get("scipy.sparse")
    if sparse is None or not sparse.issparse(value):
        return None
    entries = value.tocoo(copy=True)
    entries.sum_duplicates()
    places = entries.coords if hasattr(entries, "coords") else (entries.row, entries.col)
    return (
        b"v", "sparse", type(value), value.shape, entries.data, [place.astype("i8") for place in places],
        extras(value, type(value), _OWN),
    )  # fmt: skip
