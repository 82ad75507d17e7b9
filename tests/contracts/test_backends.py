"""The library's own backends, tested by the contract suites that are public for other backends."""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

import beautyspot as bs
from beautyspot.adapters.futures import ExecutorEngine, processes
from beautyspot.db import MemoryTaskDB, PostgresTaskDB, SQLiteTaskDB, open_db
from beautyspot.errors import ConfigurationError
from beautyspot.fanout.engines import Engine
from beautyspot.protocols.index import TaskDB
from beautyspot.protocols.serializer import Serializer
from beautyspot.protocols.storage import BlobStorage
from beautyspot.serialization.msgpack_serializer import MsgpackSerializer
from beautyspot.storage import LocalStorage, MemoryStorage, open_storage
from beautyspot.testing import (
    BlobStorageContract,
    CatalogContract,
    EngineContract,
    SerializerContract,
    TaskDBContract,
)


class TestSQLiteTaskDB(TaskDBContract, CatalogContract):
    @pytest.fixture
    def db(self, tmp_path: Path) -> Iterator[TaskDB]:
        db = SQLiteTaskDB(tmp_path / "deep" / "er" / "index.db")
        yield db
        db.close()


class TestPostgresTaskDB(TaskDBContract, CatalogContract):
    @pytest.fixture
    def db(self, postgres_url: str) -> Iterator[TaskDB]:
        db = PostgresTaskDB(postgres_url)
        yield db
        db.close()


class TestMemoryTaskDB(TaskDBContract, CatalogContract):
    @pytest.fixture
    def db(self) -> TaskDB:
        return MemoryTaskDB()


class TestLocalStorage(BlobStorageContract):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> BlobStorage:
        return LocalStorage(tmp_path / "blobs")


class TestMemoryStorage(BlobStorageContract):
    @pytest.fixture
    def storage(self) -> BlobStorage:
        return MemoryStorage()


class TestMsgpackSerializer(SerializerContract):
    @pytest.fixture
    def serializer(self) -> Serializer:
        return MsgpackSerializer()


class TestProcesses(EngineContract):
    @pytest.fixture
    def engine(self) -> Iterator[Engine]:
        engine = processes(2)
        yield engine
        engine.close()


class TestExecutor(EngineContract):
    @pytest.fixture
    def engine(self) -> Iterator[Engine]:
        with ProcessPoolExecutor(2) as pool:
            yield ExecutorEngine(pool)


def test_a_url_finds_its_backend(tmp_path: Path) -> None:
    assert isinstance(open_db("memory://"), MemoryTaskDB)
    assert isinstance(open_storage("memory://"), MemoryStorage)
    db = open_db(f"sqlite:///{tmp_path}/x.db")
    assert isinstance(db, SQLiteTaskDB)
    assert db.path == f"{tmp_path}/x.db"
    assert isinstance(open_db("x.db"), SQLiteTaskDB)
    assert isinstance(open_storage(tmp_path), LocalStorage)


def test_an_unknown_scheme_says_which_are_known() -> None:
    with pytest.raises(ConfigurationError, match="no index is known as 'mysql'"):
        open_db("mysql://host/name")
    with pytest.raises(ConfigurationError, match=r"entry point in the group 'beautyspot\.storages'"):
        open_storage("carrier-pigeon://host")


def test_a_backend_of_another_package_is_found_by_its_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "other-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[beautyspot.databases]\nother = other_index:make\n[beautyspot.storages]\nother = other_index:make\n"
        "[beautyspot.serializers]\nother = other_index:Text\n"
    )
    (tmp_path / "other_index.py").write_text(
        "def make(url):\n    return ('made', url)\n"
        "class Text:\n    def dumps(self, value): return repr(value).encode()\n"
        "    def loads(self, data): return ('read', bytes(data).decode())\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert open_db("other://place") == ("made", "other://place")
    assert open_storage("other://place") == ("made", "other://place")
    with bs.Project("p", db="memory://", serializer="other") as project:
        task = project.task(lambda x: x)
        assert [task(1), task(1)] == [1, ("read", "1")]
        plain = project.task(serializer="msgpack")(lambda x: x)
        assert [plain(1), plain(1)] == [1, 1]  # the same function, and not the other's bytes
    with pytest.raises(ConfigurationError, match="no serializer is known as 'yaml'"):
        bs.Project("p", serializer="yaml")
