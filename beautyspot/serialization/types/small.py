"""Libraries of which one type is kept: frozendict, and the URLs of pydantic."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from beautyspot.errors import DeserializationError
from beautyspot.serialization.classes import loaded, reference
from beautyspot.serialization.types.codes import Code, Decoder, Encoder


def _to_frozendict(data: Any) -> Any:
    return importlib.import_module("frozendict").frozendict(data)


def _to_url(data: Any) -> Any:
    ref, text = data
    base = sys.modules["pydantic.networks"]._BaseUrl if "pydantic.networks" in sys.modules else ()
    cls = loaded(ref)
    if not issubclass(cls, base) or cls.__module__ != "pydantic.networks":
        raise DeserializationError(f"{'.'.join(ref)} is no URL of pydantic")
    return cls(text)


DECODERS: dict[int, Decoder] = {Code.FROZENDICT: _to_frozendict, Code.URL: _to_url}


def family_of(kind: type) -> tuple[int, Encoder] | None:
    """The code and the encoder of one of these types; ``None`` for any other type."""
    if "frozendict" in sys.modules and kind is sys.modules["frozendict"].frozendict:
        return Code.FROZENDICT, lambda v, _: dict(v)
    if kind.__module__ == "pydantic.networks" and hasattr(kind, "unicode_string"):
        return Code.URL, lambda v, _: [reference(kind), str(v)]
    return None
