"""Values of xarray: variables with their dimensions, coordinates and attributes."""

from __future__ import annotations

import sys
from typing import Any

from beautyspot.keys.values.libraries import Parts


def parts_of(value: Any) -> Parts | None:
    """The tag and the parts of an array, data set, tree or variable; ``None`` for any other value.

    How a file is to be written (``encoding``) does not count.
    """
    xarray: Any = sys.modules["xarray"]
    kind = type(value)
    if isinstance(value, xarray.DataArray):
        coordinates = {name: array.variable for name, array in value.coords.items()}
        return (b"v", "data array", kind, value.name, value.variable, coordinates, set(value.xindexes))
    if isinstance(value, xarray.Dataset):
        # All at once: each array that a data set makes of a variable costs as much as it has coordinates.
        variables, names = dict(value.variables), set(value.coords)
        return (b"v", "data set", kind, variables, names, dict(value.sizes), value.attrs, set(value.xindexes))
    if isinstance(value, xarray.Variable):
        return (b"v", "variable", value.dims, value.values, value.attrs)
    tree = getattr(xarray, "DataTree", ())
    if isinstance(value, tree):
        return (b"v", "data tree", kind, value.name, value.to_dict())
    return None
