"""Clients count by where they lead: what leads to one place has one key, and no password is in it."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import psycopg
import psycopg_pool
import pytest
import redis
import redis.asyncio
import redis.asyncio.cluster

from beautyspot.errors import UnkeyableError
from beautyspot.keys.encoding import encode
from tests.support.servers import PostgresServer

SECRET = "SECRET"


def aws(make: Callable[..., Any], service: str, region: str, **options: Any) -> Any:
    return make(
        service, region_name=region, aws_access_key_id="id", aws_secret_access_key=SECRET, **options
    )  # fmt: skip


def client(service: str, region: str, **options: Any) -> Any:
    return aws(boto3.client, service, region, **options)


def bucket(name: str) -> Any:
    return aws(boto3.resource, "s3", "eu-west-1").Bucket(name)


def pool(conninfo: str) -> Any:
    return psycopg_pool.ConnectionPool(conninfo, open=False)


def cluster(port: int) -> Any:
    return redis.asyncio.cluster.RedisCluster("localhost", port, password=SECRET)


def check(make: Callable[..., Any], *places: tuple[Any, ...]) -> None:
    """Clients made twice are equal, those of different places differ, and none has a password in its encoding."""
    keys = [encode(make(*place)) for place in places]
    assert keys == [encode(make(*place)) for place in places]
    assert len(set(keys)) == len(places)
    assert not any(SECRET.encode() in key for key in keys)


@pytest.mark.parametrize(
    ("make", "places"),
    [
        (client, [("s3", "eu-west-1"), ("s3", "eu-west-2"), ("sqs", "eu-west-1")]),
        (lambda url: client("s3", "eu-west-1", endpoint_url=url), [("http://a",), ("http://b",)]),
        (lambda region: aws(boto3.resource, "s3", region), [("eu-west-1",), ("eu-west-2",)]),
        (bucket, [("a",), ("b",)]),
        (lambda region: boto3.Session("id", SECRET, region_name=region), [("eu-west-1",), ("eu-west-2",)]),
        (redis.Redis.from_url, [("redis://u:SECRET@h:1/3",), ("redis://u:SECRET@h:1/4",), ("redis://u:SECRET@h:2/3",),
                                ("redis://v:SECRET@h:1/3",), ("unix:///a?password=SECRET",)]),
        (redis.asyncio.Redis.from_url, [("redis://u:SECRET@h:1/3",), ("redis://u:SECRET@h:1/4",)]),
        (redis.ConnectionPool.from_url, [("redis://u:SECRET@h:1/3",), ("redis://u:SECRET@h:1/4",)]),
        (cluster, [(1,), (2,)]),
        (pool, [("host=h user=u password=SECRET",), ("host=h user=v password=SECRET",),
                ("postgresql://u:SECRET@h/d",), ("postgresql://u:SECRET@h:1/d",)]),
    ],
)  # fmt: skip
def test_clients_count_by_where_they_lead(make: Callable[..., Any], places: list[tuple[Any, ...]]) -> None:
    check(make, *places)


def test_an_address_that_is_the_default_is_the_same_whether_it_was_given_or_not() -> None:
    urls = ["redis://localhost", "redis://localhost:6379", "redis://localhost:6379/0"]
    assert {encode(redis.Redis.from_url(url)) for url in urls} == {encode(redis.Redis())}


def test_a_connection_of_postgres_counts_by_host_database_and_user(postgres_server: PostgresServer) -> None:
    url = postgres_server.url
    with psycopg.connect(url) as one, psycopg.connect(url) as other:
        with psycopg.connect(url, dbname="template1") as third:
            keys = [encode(one), encode(other), encode(third)]
    assert keys[0] == keys[1] != keys[2]


def test_a_connection_of_sqlite_counts_by_its_files(tmp_path: Path) -> None:
    def opened(name: str, attached: str = "") -> bytes:
        connection = sqlite3.connect(name)
        connection.row_factory = sqlite3.Row
        if attached:
            connection.execute("ATTACH ? AS other", (attached,))
        key = encode(connection)
        connection.close()
        return key

    (tmp_path / "link").symlink_to(tmp_path / "a.db")
    assert opened("a.db") == opened(str(tmp_path / "a.db")) == opened("link")
    assert len({opened("a.db"), opened("b.db"), opened("a.db", "b.db"), opened("a.db", "c.db")}) == 4


def test_a_database_in_memory_counts_by_what_is_in_it() -> None:
    one, other = sqlite3.connect(":memory:"), sqlite3.connect(":memory:")
    assert encode(one) == encode(other)
    one.execute("CREATE TABLE t AS SELECT 1 AS x")
    assert encode(one) != encode(other)
    other.execute("CREATE TABLE t AS SELECT 1 AS x")
    assert encode(one) == encode(other)
    one.close()
    with pytest.raises(
        UnkeyableError, match=r"\(sqlite3.Connection\) cannot identify a call, since it cannot tell where"
    ):
        encode(one)
    other.close()


def stand_in(name: str, /, **attributes: Any) -> Any:
    """An object of a class of that module and name."""
    module, _, qualname = name.rpartition(".")
    made = type(qualname, (), {"__module__": module})()
    vars(made).update(attributes)
    return made


def model_api(name: str) -> Callable[..., Any]:
    def made(url: str, query: Any = None, **attributes: Any) -> Any:
        return stand_in(name, base_url=url, api_key=SECRET, default_query=query or {}, **attributes)

    return made


def httpx(name: str) -> Callable[..., Any]:
    def made(url: str, *params: tuple[str, str]) -> Any:
        held = [*params, ("api_key", SECRET)]
        return stand_in(name, base_url=url, params=SimpleNamespace(multi_items=lambda: held), auth=SECRET)

    return made


def genai(url: str, *cloud: Any) -> Any:
    vertex, project, location = cloud or (None, None, None)
    options = SimpleNamespace(base_url=url, headers={"x-goog-api-key": SECRET})
    api = SimpleNamespace(vertexai=vertex, project=project, location=location, _http_options=options, api_key=SECRET)
    return stand_in("google.genai.client.Client", _api_client=api)


class Url(SimpleNamespace):
    def get_backend_name(self) -> str:
        return str(self.drivername.partition("+")[0])


def engine(name: str = "sqlalchemy.engine.base.Engine", **changes: Any) -> Any:
    parts = {"drivername": "postgresql+psycopg", "username": "u", "password": SECRET, "host": "h", "port": None,
             "database": "d", "query": {"sslpassword": SECRET}, **changes}  # fmt: skip
    made = stand_in(name, url=Url(**parts))
    made.engine = made
    return made


def mongo(*seeds: tuple[str, int], default: str | None = None) -> Any:
    settings = SimpleNamespace(seeds=set(seeds), fqdn=None, replica_set_name=None)
    options = SimpleNamespace(password=SECRET)
    return stand_in(
        "pymongo.synchronous.mongo_client.MongoClient",
        _topology_settings=settings, _default_database_name=default, options=options,
    )  # fmt: skip


def mongo_database(name: str) -> Any:
    return stand_in("pymongo.synchronous.database.Database", client=mongo(("h", 1)), name=name)


def mongo_collection(name: str) -> Any:
    return stand_in("pymongo.synchronous.collection.Collection", database=mongo_database("d"), name=name)


PORT, DATABASE = {"port": 1}, {"database": "e"}


@pytest.mark.parametrize(
    ("make", "places"),
    [
        (httpx("httpx.Client"), [("http://u:SECRET@a/?api_key=SECRET",), ("http://b",), ("http://v:SECRET@a",),
                                 ("http://b", ("tenant", "a")), ("http://b", ("tenant", "b"))]),
        (httpx("httpx.AsyncClient"), [("http://a",), ("http://b",)]),
        (lambda url: stand_in("aiohttp.client.ClientSession", _base_url=url), [("http://a",), ("http://b",), (None,)]),
        (model_api("openai._base_client.BaseClient"), [("http://a",), ("http://b",), ("http://b", {"a": "b"})]),
        (lambda version: model_api("openai._base_client.BaseClient")("http://a", _api_version=version), [("1",), ("2",)]),
        (model_api("anthropic._base_client.BaseClient"), [("http://a",), ("http://b",)]),
        (lambda name: model_api("anthropic._base_client.BaseClient")("http://a", project_id=name), [("1",), ("2",)]),
        (genai, [("http://a",), ("http://b",), ("http://a", True, "p", "eu"), ("http://a", True, "q", "eu"),
                 ("http://a", True, "p", "us")]),
        (lambda changes: engine(**changes), [({},), (PORT,), (DATABASE,), ({"host": "i"},), ({"username": "v"},),
                                               ({"query": {"keyspace": "a"}},), ({"query": {"keyspace": "b"}},),
                                               ({"query": {"odbc_connect": "UID=u;PWD=SECRET"}},)]),
        (lambda changes: engine(drivername="sqlite", **changes), [({},), (DATABASE,), ({"database": None},)]),
        (lambda changes: stand_in("sqlalchemy.orm.session.Session", bind=engine(**changes)), [(PORT,), (DATABASE,)]),
        (lambda changes: stand_in("sqlalchemy.orm.session.Session", bind=None, binds={1: engine(**changes)}),
         [(PORT,), (DATABASE,)]),
        (lambda changes: stand_in("sqlalchemy.orm.session.sessionmaker", kw={"bind": engine(**changes)}),
         [(PORT,), (DATABASE,)]),
        (mongo, [(("h", 1),), (("h", 2),), (("h", 1), ("i", 1))]),
        (lambda default: mongo(("h", 1), default=default), [("a",), ("b",), (None,)]),
        (mongo_database, [("a",), ("b",)]),
        (mongo_collection, [("a",), ("b",)]),
    ],
)  # fmt: skip
def test_clients_of_libraries_that_are_not_installed_here_count_by_where_they_lead(
    make: Callable[..., Any], places: list[tuple[Any, ...]]
) -> None:
    """On stand-ins: classes with the module, name and attributes of httpx 0.28, aiohttp 3.14, openai 3.57, anthropic
    2.14, google-genai 3.6, SQLAlchemy 2.1 and PyMongo 4.20."""
    check(make, *places)


def test_one_database_has_one_key_whatever_driver_reaches_it() -> None:
    asynchronous = engine(drivername="postgresql+asyncpg")
    assert encode(engine()) == encode(asynchronous)


def test_a_subclass_of_a_client_is_another_client() -> None:
    class Database(sqlite3.Connection):
        pass

    globals()["Database"] = Database
    Database.__qualname__ = "Database"
    keys = []
    for kind in (sqlite3.Connection, Database):
        connection = sqlite3.connect("a.db", factory=kind)
        keys.append(encode(connection))
        connection.close()
    assert keys[0] != keys[1]


_PACKAGE = {
    "acme/__init__.py": "import threading\n"
    "class Client:\n"
    "    def __init__(self, url): self.url, self.lock = url, threading.Lock()\n"
    "class Special(Client): pass\n",
    "acme_keys.py": "import sys\nprint('loaded')\ndef place(client): return client.url\n",
    "acme_keys-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: acme-keys\nVersion: 1\n",
    "acme_keys-1.dist-info/entry_points.txt": "[beautyspot.keys]\nacme.Client = acme_keys:place\n",
}
_USED = """
import acme, fractions, threading
from beautyspot.keys.encoding import encode
from tests.support.servers import PostgresServer
encode([fractions.Fraction(1, 2), {1: 2}])
print("first")
keys = [encode(kind(url)) for kind in (acme.Client, acme.Special) for url in ("a", "a", "b")]
print([keys.index(key) for key in keys])
"""


def test_another_package_tells_where_the_clients_of_a_library_lead(tmp_path: Path) -> None:
    folder = tmp_path / "site-packages"
    for name, text in _PACKAGE.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(Path(__file__).parents[2])])}
    done = subprocess.run([sys.executable, "-c", _USED], env=env, capture_output=True, text=True)
    assert (done.stdout.splitlines(), done.stderr) == (["first", "loaded", "[0, 0, 2, 3, 3, 5]"], "")
