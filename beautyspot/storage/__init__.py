"""Blob storages: one backend a file, found by the scheme of a URL."""

from __future__ import annotations

import os

from beautyspot.plugins import Registry
from beautyspot.protocols import BlobStorage
from beautyspot.storage.local import LocalStorage
from beautyspot.storage.memory import MemoryStorage

__all__ = ["LocalStorage", "MemoryStorage", "open_storage"]

STORAGES = Registry("blob storage", "beautyspot.storages", {"memory": "beautyspot.storage.memory:open_url"})


def open_storage(place: str | os.PathLike[str]) -> BlobStorage:
    """The storage in a directory, or at a URL such as ``memory://``.

    Raises:
        ConfigurationError: If no backend is known for the URL's scheme.
    """
    opener = STORAGES.for_url(place)
    if opener is None:
        return LocalStorage(place)
    storage: BlobStorage = opener(str(place))
    return storage
