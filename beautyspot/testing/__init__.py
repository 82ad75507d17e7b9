"""Contract suites: what every index, storage, serializer, engine and store of rate limits must do.

Subclass a suite in a test module of pytest, and provide the fixture that it needs::

    class TestMine(TaskDBContract):
        @pytest.fixture
        def db(self, tmp_path):
            return MyTaskDB(tmp_path / "index")

A test of a further ability (`KeyLocks`, `FailureLog`, `MapsBlobs` …) passes on a backend without that ability.

The suites are in `index`, `catalog`, `storage`, `serializer`, `engine`, `fanout` and `limiter`; `records` makes what
they store, `programs` has the programs that they run.
"""

from beautyspot.testing.catalog import CatalogContract
from beautyspot.testing.engine import EngineContract
from beautyspot.testing.fanout import FanOutContract
from beautyspot.testing.index import TaskDBContract
from beautyspot.testing.limiter import AsyncLimiterStoreContract, LimiterStoreContract
from beautyspot.testing.records import Count, make_failure, make_key, make_record
from beautyspot.testing.serializer import SerializerContract
from beautyspot.testing.storage import BlobStorageContract

__all__ = [
    "AsyncLimiterStoreContract",
    "BlobStorageContract",
    "CatalogContract",
    "Count",
    "EngineContract",
    "FanOutContract",
    "LimiterStoreContract",
    "SerializerContract",
    "TaskDBContract",
    "make_failure",
    "make_key",
    "make_record",
]
