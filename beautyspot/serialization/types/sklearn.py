"""scikit-learn: estimators through ``skops``, which neither pickles nor runs what it reads.

Only classes of scikit-learn, NumPy and SciPy that are loaded already are made. What an estimator of another library, or
one with a function of one's own, would need is refused when it is stored.
"""

from __future__ import annotations

import importlib
import io
import sys
import zipfile
from typing import Any

from beautyspot._internal.names import full_name
from beautyspot.errors import DeserializationError, SerializationError
from beautyspot.serialization.classes import find_class, loaded, reference
from beautyspot.serialization.types.codes import Apart, Code, Decoder, Encoder

_TRUSTED = ("sklearn", "numpy", "scipy")


def _estimator(v: Any, apart: Apart) -> Any:
    try:
        skops = importlib.import_module("skops.io")
    except ImportError as cause:
        raise SerializationError(
            f"write `pip install beautyspot[sklearn]`: a {full_name(type(v))} is kept through skops"
        ) from cause
    name = full_name(type(v))
    try:
        content = skops.dumps(v)
    except Exception as cause:
        raise SerializationError(f"skops cannot hold this {name}: {cause}") from cause
    unknown = [other for other in skops.get_untrusted_types(data=content) if not _is_trusted(other)]
    if unknown:
        raise SerializationError(f"a {name} with {', '.join(unknown)} in it cannot be kept; return what it computes")
    return [reference(type(v)), apart(memoryview(content))]


def _is_trusted(name: str) -> bool:
    module, _, qualname = name.rpartition(".")
    return module.partition(".")[0] in _TRUSTED and find_class(module, qualname) is not None


def _to_estimator(data: Any) -> Any:
    ref, content = data
    loaded(ref)
    try:
        skops = importlib.import_module("skops.io")
    except ImportError as cause:
        raise DeserializationError(
            "write `pip install beautyspot[sklearn]`: estimators are read through skops"
        ) from cause
    content = bytes(content)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if sum(member.file_size for member in archive.infolist()) > len(content):
            raise DeserializationError("an estimator that is compressed, so that its size is not known")
    found = skops.get_untrusted_types(data=content)
    unknown = [name for name in found if not _is_trusted(name)]
    if unknown:
        raise DeserializationError(f"an estimator with {', '.join(unknown)} in it is not read")
    return skops.loads(content, trusted=found)


DECODERS: dict[int, Decoder] = {Code.ESTIMATOR: _to_estimator}


def family_of(kind: type) -> tuple[int, Encoder] | None:
    """The code and the encoder of an estimator; ``None`` for any other type."""
    base = getattr(sys.modules.get("sklearn.base"), "BaseEstimator", None)
    return (Code.ESTIMATOR, _estimator) if base is not None and issubclass(kind, base) else None
