"""Estimators of scikit-learn: parameters and what was fitted, without the version that made them."""

from __future__ import annotations

import sys
from typing import Any

from beautyspot.keys.values.extras import is_cached
from beautyspot.keys.values.libraries import Parts


def parts_of(value: Any) -> Parts | None:
    """The tag and the parts of an estimator; ``None`` for any other value."""
    base: Any = sys.modules.get("sklearn.base")
    kind: Any = type(value)
    if base is None or not isinstance(value, base.BaseEstimator) or kind.__reduce__ is not object.__reduce__:
        return None
    state = value.__getstate__()
    if type(state) is not dict:
        return None
    held = {name: item for name, item in state.items() if name != "_sklearn_version" and not is_cached(kind, name)}
    return (b"v", "estimator", kind, held)
