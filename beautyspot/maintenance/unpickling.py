"""The only module that unpickles cached values, which runs any code that is in them.

`other_caches` imports it, once the user has said that nobody else could write to those caches. Nothing else in
beautyspot may: `tests/test_house.py` checks that.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any


def unpickled(data: bytes) -> Any:
    """The object of a pickle."""
    return pickle.loads(data)  # noqa: S301 - the caller of `import_cache` has allowed it


def unpickled_file(path: Path) -> Any:
    """The object of a file that is a pickle."""
    return unpickled(path.read_bytes())


def unpickled_output(path: Path) -> Any:
    """The object of an ``output.pkl`` of joblib, which may be compressed and hold arrays outside of its pickle."""
    import joblib

    return joblib.load(path)
