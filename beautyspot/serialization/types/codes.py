"""The extension codes of built-in types, and the types of their encoders and decoders."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

Apart = Callable[[memoryview], Any]
Encoder = Callable[[Any, Apart], Any]
Decoder = Callable[[Any], Any]
Family = tuple["Code", Encoder]


class Code(enum.IntEnum):
    """Extension codes in stored data; a code never gets a second meaning."""

    BUFFER = -2
    BYTES = -3
    TUPLE = -4
    SET = -5
    FROZENSET = -6
    INT = -7
    COMPLEX = -8
    DATETIME = -9
    DATE = -10
    TIME = -11
    TIMEDELTA = -12
    DECIMAL = -13
    UUID = -14
    PATH = -15
    ENUM = -16
    BYTEARRAY = -17
    NAMEDTUPLE = -18
    DATACLASS = -19
    PYDANTIC = -20
    ARRAY = -21
    SCALAR = -22
    PANDAS = -23
    POLARS = -24
    IMAGE = -25
    STANDARD = -26
    ATTRS = -27
    STRUCT = -28
    OBJECT = -29
    NUMPY = -30
    SCIPY = -31
    XARRAY = -32
    TORCH = -33
    ESTIMATOR = -34
    FROZENDICT = -35
    URL = -36
