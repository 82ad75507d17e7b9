"""The encoder of a type, and the decoder of a code; the file of a library is imported when it is needed."""

from __future__ import annotations

import functools
import importlib
import sys
from typing import Any

from beautyspot.serialization.types import builtin
from beautyspot.serialization.types.codes import Code, Decoder, Encoder

# Libraries by the name of the module whose presence shows that they are loaded; what they have in a file of their own.
_LIBRARIES = {
    "numpy": "numpy",
    "pandas": "pandas",
    "polars": "polars",
    "PIL.Image": "pil",
    "scipy": "scipy",
    "xarray": "xarray",
    "torch": "torch",
    "sklearn": "sklearn",
    "frozendict": "small",
    "pydantic.networks": "small",
}

# The file that decodes a code.
FILES = {
    Code.NAMEDTUPLE: "models",
    Code.DATACLASS: "models",
    Code.PYDANTIC: "models",
    Code.ATTRS: "models",
    Code.STRUCT: "models",
    Code.ARRAY: "numpy",
    Code.SCALAR: "numpy",
    Code.NUMPY: "numpy",
    Code.PANDAS: "pandas",
    Code.POLARS: "polars",
    Code.IMAGE: "pil",
    Code.SCIPY: "scipy",
    Code.XARRAY: "xarray",
    Code.TORCH: "torch",
    Code.ESTIMATOR: "sklearn",
    Code.FROZENDICT: "small",
    Code.URL: "small",
}


def _file(name: str) -> Any:
    return importlib.import_module(f"beautyspot.serialization.types.{name}")


@functools.lru_cache(1024)
def family_of(kind: type) -> tuple[int, Encoder] | None:
    """The code and the encoder of a type that has no entry in ``builtin.ENCODERS``; ``None`` if it cannot be kept."""
    for library, name in _LIBRARIES.items():
        if library in sys.modules:
            found: tuple[int, Encoder] | None = _file(name).family_of(kind)
            if found is not None:
                return found
    return builtin.family_of(kind) or _file("models").family_of(kind)


def decoder_of(code: int) -> Decoder | None:
    """The decoder of a built-in code that is not in ``builtin.DECODERS``; ``None`` if no built-in type has the code."""
    name = FILES.get(Code(code)) if code in Code._value2member_map_ else None
    if name is None:
        return None
    found: Decoder = _file(name).DECODERS[code]
    return found
