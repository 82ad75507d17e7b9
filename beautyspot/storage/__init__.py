"""Blob storages: each backend is a module or a package, found by the scheme of a URL.

`local`, `memory`, `s3` and `fsspec` are the backends. All but `memory` name blobs by the scheme of `locations`, so that
blobs can be copied from one to another.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from beautyspot._internal.lazy import lazy_names
from beautyspot._internal.registry import Registry
from beautyspot.errors import ConfigurationError
from beautyspot.protocols.storage import BlobStorage
from beautyspot.storage.local import LocalStorage
from beautyspot.storage.locations import PartsFile, check_location, check_size, is_location, new_location
from beautyspot.storage.memory import MemoryStorage

if TYPE_CHECKING:
    from beautyspot.storage.fsspec import FsspecStorage
    from beautyspot.storage.s3.storage import S3Storage

__all__ = [
    "FsspecStorage",
    "LocalStorage",
    "MemoryStorage",
    "PartsFile",
    "S3Storage",
    "check_location",
    "check_size",
    "is_location",
    "new_location",
    "open_storage",
]

STORAGES = Registry(
    "blob storage",
    "beautyspot.storages",
    {
        **dict.fromkeys(("file", "local"), "beautyspot.storage.local:open_url"),
        "memory": "beautyspot.storage.memory:open_url",
        "s3": "beautyspot.storage.s3.storage:open_url",
        "diskcache": "beautyspot.adapters.diskcache:open_storage_url",
    },
)


def open_storage(place: str | os.PathLike[str], s3_opts: Mapping[str, Any] | None = None) -> BlobStorage:
    """The storage in a directory, or at a URL such as ``s3://bucket/prefix``, ``gs://bucket/prefix`` or ``memory://``.

    Args:
        place: A directory or a URL. A scheme without a backend of ours or of an entry point is looked up in fsspec.
        s3_opts: Options of an `S3Storage`.

    Raises:
        ConfigurationError: If no backend is known for the URL's scheme, or if *s3_opts* are given for another one.
    """
    if s3_opts and not str(place).lower().startswith("s3://"):
        raise ConfigurationError("s3_opts is for a storage_path that begins with s3://")
    opener = _opener(place)
    if opener is None:
        return LocalStorage(place)
    storage: BlobStorage = opener(str(place), **(s3_opts or {}))
    return storage


def _opener(place: str | os.PathLike[str]) -> Callable[..., Any] | None:
    from beautyspot.storage import fsspec

    try:
        return STORAGES.for_url(place)
    except ConfigurationError as unknown:
        known = fsspec.known_schemes()
        if str(place).partition("://")[0].lower() in known:
            return fsspec.FsspecStorage
        hint = "" if known else '; pip install "beautyspot[fsspec]" brings gs, az, sftp and many others'
        raise ConfigurationError(f"{unknown}{hint}") from None


# The backends load when they are first used: importing beautyspot imports no library of a cloud.
__getattr__, __dir__ = lazy_names(__name__, {"fsspec": ("FsspecStorage",), "s3.storage": ("S3Storage",)})
