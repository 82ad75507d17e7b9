"""Project: builds the parts and owns their lifetime.

`project` is the class, `decorators` makes tasks of functions, `rate_limits` limits calls.
"""

from typing import TYPE_CHECKING

from beautyspot._internal.lazy import lazy_names

if TYPE_CHECKING:
    from beautyspot.project.project import Project

__all__ = ["Project"]

__getattr__, __dir__ = lazy_names(__name__, {"project": ("Project",)})
