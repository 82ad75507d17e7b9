"""Warnings that point at the user's line, warnings that are given once, and the log."""

from __future__ import annotations

import sys
import threading
import warnings
from pathlib import Path
from typing import Literal

_HERE = str(Path(__file__).parent.parent)
_ADAPTERS = str(Path(__file__).resolve().parent.parent.parent / "adapters")
_given: set[tuple[str, ...]] = set()
_lock = threading.Lock()


def warn(message: str, category: type[Warning]) -> None:
    """Warn at the line outside of beautyspot from which the call came."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith((_HERE, _ADAPTERS)):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


def warn_once(about: tuple[str, ...], message: str, category: type[Warning]) -> None:
    """Warn, if this process has not yet warned *about* the same thing."""
    with _lock:
        if about in _given:
            return
        _given.add(about)
    warn(message, category)


def log(level: Literal["INFO", "WARNING", "ERROR"], text: str, *values: object) -> None:
    """Log a message to the library's logger, ``beautyspot``."""
    import logging  # takes longer to import than the modules that log, and they seldom do

    logging.getLogger("beautyspot").log(getattr(logging, level), text, *values, stacklevel=2)
