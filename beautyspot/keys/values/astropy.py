"""Values of astropy: quantities, units, columns and tables, without what they remember of their use."""

from __future__ import annotations

import sys
from typing import Any

from beautyspot.keys.values.libraries import Parts


def parts_of(value: Any) -> Parts | None:
    """The tag and the parts of a quantity, unit, column or table; ``None`` for any other value."""
    kind = type(value)
    units: Any = sys.modules.get("astropy.units")
    if units is not None:
        if isinstance(value, units.UnitBase):
            base = value.decompose()
            return (b"v", "unit", str(value), base.scale, [str(unit) for unit in base.bases], list(base.powers))
        if isinstance(value, units.function.FunctionUnitBase):
            return (b"v", "function unit", kind, str(value), value.function_unit, value.physical_unit)
        if isinstance(value, units.StructuredUnit):
            return (b"v", "structured unit", list(value.field_names), list(value.values()))
        if isinstance(value, units.Quantity):
            return (b"v", "quantity", kind, _plain(value), value.unit, _info(value))
    table: Any = sys.modules.get("astropy.table")
    if table is not None:
        if isinstance(value, table.Table):
            columns = [(name, value.columns[name]) for name in value.colnames]
            return (b"v", "astropy table", kind, columns, value.meta, list(value.primary_key or ()))
        if isinstance(value, table.MaskedColumn):
            masked: Any = sys.modules["numpy"].ma
            made = masked.MaskedArray(_plain(value), masked.getmaskarray(value), fill_value=value._fill_value)
            return (b"v", "column", kind, made, *_described(value))
        if isinstance(value, table.Column):
            return (b"v", "column", kind, _plain(value), *_described(value))
    return None


def _plain(value: Any) -> Any:
    numpy: Any = sys.modules["numpy"]
    return numpy.ndarray.view(value, numpy.ndarray)


def _described(column: Any) -> tuple[Any, ...]:
    return (column.name, column.unit, column.format, column.description, column.meta)


def _info(value: Any) -> Any:
    """What a quantity says of itself as a column; being asked for it alone leaves something that says nothing."""
    info = value.__dict__.get("info")
    if info is None:
        return None
    held = {name: getattr(info, name, None) for name in ("name", "format", "description", "meta")}
    return {name: item for name, item in held.items() if item} or None
