"""The protocols that backends implement, and the records that cross between a backend and the library.

`index` has the protocols of an index, `locks` those of its locks, `storage` those of a blob storage, `serializer` those
of a serializer. `records` are the values that they take and return.
"""

from beautyspot.protocols.index import (
    AccessLog,
    Catalog,
    Compacts,
    FailureLog,
    InDirectory,
    IntegrityCheck,
    LocalFile,
    MapLog,
    OrderedRecords,
    PrunesHistory,
    QuickLookup,
    Statistics,
    TaskDB,
)
from beautyspot.protocols.locks import BulkLocks, KeyLocks
from beautyspot.protocols.records import (
    BlobInfo,
    Entry,
    Failure,
    FunctionSummary,
    MapProgress,
    Order,
    Record,
    Selection,
    Summary,
    is_over,
)
from beautyspot.protocols.serializer import Buffer, BufferSerializer, ItemSerializer, Serializer
from beautyspot.protocols.storage import BlobStorage, Evicts, MapsBlobs

__all__ = [
    "AccessLog",
    "BlobInfo",
    "BlobStorage",
    "Buffer",
    "BufferSerializer",
    "BulkLocks",
    "Catalog",
    "Compacts",
    "Entry",
    "Evicts",
    "Failure",
    "FailureLog",
    "FunctionSummary",
    "InDirectory",
    "IntegrityCheck",
    "ItemSerializer",
    "KeyLocks",
    "LocalFile",
    "MapLog",
    "MapProgress",
    "MapsBlobs",
    "Order",
    "OrderedRecords",
    "PrunesHistory",
    "QuickLookup",
    "Record",
    "Selection",
    "Serializer",
    "Statistics",
    "Summary",
    "TaskDB",
    "is_over",
]
