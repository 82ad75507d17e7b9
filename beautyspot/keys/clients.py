"""Clients: they count by where they lead, not by what they hold. No password or key is read.

The table has one row a library, by the names of its classes, so that nothing is imported. Another package adds rows
by entry points in the group ``beautyspot.keys``: the name is that of a class, ``module.qualname``, and the object is a
function of such a value that returns what identifies it.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterable
from typing import Any

from beautyspot._internal.names import full_name
from beautyspot.errors import UnkeyableError

Parts = tuple[Any, ...]  # a tag of one byte, then the parts
Place = Callable[[Any], Any]

GROUP = "beautyspot.keys"
# How the names of options end that are not read.
_SECRET = ("password", "passwd", "pwd", "secret", "token", "apikey", "_key", "credentials", "signature")


def client_parts(value: Any, kind: type) -> Parts | None:
    """The tag and the parts of a client: its class, and where it leads; ``None`` for any other value.

    Raises:
        UnkeyableError: If it cannot tell where it leads: it is closed, or belongs to another thread.
    """
    row = _row_of(kind)
    if row is None:
        return None
    name, place = row
    try:
        found = place(value)
    except UnkeyableError:
        raise
    except Exception as cause:
        raise UnkeyableError(
            f"({full_name(kind)}) cannot identify a call, since it cannot tell where it leads ({cause})"
        ) from None
    # A library may make a class for each client, which is known by its name alone.
    return (b"u", full_name(kind) if _root(full_name(kind)) == _root(name) else kind, found)


@functools.lru_cache(1024)
def _row_of(kind: type) -> tuple[str, Place] | None:
    """The name of a class and the function that tells where *kind* leads; ``None`` where it is no client."""
    names = [f"{base.__module__}.{base.__qualname__}" for base in kind.__mro__]
    for name in names:
        if name in _PLACES:
            return name, _PLACES[name]
    theirs = _entry_points() if any(_is_installed(_root(name)) for name in names) else {}
    for name in names:
        if name in theirs:
            return name, theirs[name].load()
    return None


def _root(name: str) -> str:
    return name.partition(".")[0]


def _is_installed(package: str) -> bool:
    """Whether a package was installed: entry points are read for their classes alone, since reading them takes time."""
    module = sys.modules.get(package)
    paths = [getattr(module, "__file__", None), *getattr(module, "__path__", ())]
    return any("site-packages" in str(path) or "dist-packages" in str(path) for path in paths)


@functools.cache
def _entry_points() -> dict[str, Any]:
    from importlib.metadata import entry_points

    return {entry.name: entry for entry in entry_points(group=GROUP)}


def url(text: Any) -> str:
    """A URL without its password and without options that are secret."""
    from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

    parts = urlsplit(str(text))
    user, at, host = parts.netloc.rpartition("@")
    options = _options(parse_qsl(parts.query, keep_blank_values=True))
    netloc = f"{user.partition(':')[0]}{at}{host}"
    return urlunsplit((parts.scheme, netloc, parts.path, urlencode(options), parts.fragment))


def _options(pairs: Iterable[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Options without secret ones; one may be a list of options itself, as in ``odbc_connect=UID=u;PWD=p``."""
    return [(name, _public(item)) for name, item in pairs if not _is_secret(name)]


def _public(item: Any) -> Any:
    if not isinstance(item, str) or ";" not in item:
        return item
    return ";".join(part for part in item.split(";") if not _is_secret(part.partition("=")[0]))


def _is_secret(name: str) -> bool:
    name = name.strip().lower().replace("-", "_")
    return name == "key" or name.endswith(_SECRET)


def _httpx(value: Any) -> Any:
    """The base URL, and the parameters that each request adds to its URL."""
    return (url(value.base_url), _options(value.params.multi_items()))


def _model_api(value: Any) -> Any:
    """openai, anthropic: the base URL and parameters; of their clients for clouds also the version or the project."""
    query = dict(_options(value.default_query.items()))
    return (url(value.base_url), query, getattr(value, "_api_version", None), getattr(value, "project_id", None))


def _aiohttp(value: Any) -> Any:
    return None if value._base_url is None else url(value._base_url)


def _genai(value: Any) -> Any:
    api = value._api_client
    options = api._http_options
    base = options.get("base_url") if isinstance(options, dict) else options.base_url
    return (bool(api.vertexai), api.project, api.location, url(base or ""))


def _botocore(value: Any) -> Any:
    meta = value.meta
    return (meta.service_model.service_name, meta.region_name, url(meta.endpoint_url))


def _boto3(value: Any) -> Any:
    """A resource: its client, and which of its things it is."""
    meta = value.meta
    name = meta.resource_model.name if meta.resource_model else None
    return (*_botocore(meta.client), name, {name: getattr(value, name) for name in meta.identifiers})


def _boto3_session(value: Any) -> Any:
    return (value.region_name, value.profile_name)


def _sqlite(value: Any) -> Any:
    """The files; of a database in memory, which leads nowhere else, its content."""
    cursor = value.cursor()
    cursor.row_factory = None
    files = cursor.execute("PRAGMA database_list").fetchall()
    return {name: os.path.realpath(file) if file else _content(value, cursor, name) for _, name, file in files}


def _content(value: Any, cursor: Any, name: str) -> bytes:
    quoted = name.replace('"', '""')
    (pages,) = cursor.execute(f'PRAGMA "{quoted}".page_count').fetchone()
    content: bytes = value.serialize(name=name) if pages else b""  # an empty one cannot be serialized
    return content


def _sqlalchemy(value: Any) -> Any:
    """An engine, a connection or what makes them."""
    place = value.engine.url
    database = place.database
    backend = place.get_backend_name()
    if backend == "sqlite" and database and database != ":memory:":
        database = os.path.realpath(database)
    return (backend, place.username, place.host, place.port, database, dict(_options(place.query.items())))


def _sqlalchemy_session(value: Any) -> Any:
    bound = value.bind
    if bound is not None:
        return _sqlalchemy(bound)
    several = getattr(value, "binds", None) or getattr(value, f"_{type(value).__name__}__binds", {})
    return [_sqlalchemy(engine) for engine in several.values()]


def _sqlalchemy_maker(value: Any) -> Any:
    bound = value.kw.get("bind")
    return None if bound is None else _sqlalchemy(bound)


def _psycopg(value: Any) -> Any:
    info = value.info
    return (info.host, info.port, info.dbname, info.user, info.options)


def _psycopg_pool(value: Any) -> Any:
    from psycopg.conninfo import conninfo_to_dict

    given = conninfo_to_dict(value.conninfo) | (value.kwargs or {})
    return {name: given.get(name) for name in ("host", "hostaddr", "port", "dbname", "user", "service", "options")}


def _redis_pool(value: Any) -> Any:
    given = value.connection_kwargs
    sentinel = getattr(value, "service_name", None)
    host, port = given.get("host", "localhost"), given.get("port", 6379)
    return (sentinel, given.get("path") or (host, port), given.get("db") or 0, given.get("username"))


def _redis(value: Any) -> Any:
    return _redis_pool(value.connection_pool)


def _redis_cluster(value: Any) -> Any:
    return sorted(value.nodes_manager.startup_nodes)


def _mongo(value: Any) -> Any:
    settings = value._topology_settings
    name = getattr(value, "_default_database_name", None) or getattr(value, "_MongoClient__default_database_name", None)
    return (sorted(settings.seeds), getattr(settings, "fqdn", None), settings.replica_set_name, name)


def _mongo_database(value: Any) -> Any:
    return (_mongo(value.client)[:3], value.name)


def _mongo_collection(value: Any) -> Any:
    return (_mongo_database(value.database), value.name)


def _cursor(value: Any) -> Any:
    """A cursor leads where its connection leads."""
    connection = value.connection
    parts = client_parts(connection, type(connection))
    return None if parts is None else parts[-1]


_ROWS: list[tuple[Place, str]] = [
    (_httpx, "httpx.Client httpx.AsyncClient httpx2.Client httpx2.AsyncClient"),
    (_aiohttp, "aiohttp.client.ClientSession"),
    (_model_api, "openai._base_client.BaseClient anthropic._base_client.BaseClient"),
    (_genai, "google.genai.client.Client google.genai.client.AsyncClient"),
    (_botocore, "botocore.client.BaseClient"),
    (_boto3, "boto3.resources.base.ServiceResource"),
    (_boto3_session, "boto3.session.Session"),
    (_sqlite, "sqlite3.Connection"),
    (_cursor, "sqlite3.Cursor psycopg.Cursor psycopg.AsyncCursor psycopg2.extensions.cursor "
              "sqlalchemy.engine.result.Result"),
    (lambda value: url(value.target().decode()), "grpc._cython.cygrpc.Channel"),
    (_sqlalchemy, "sqlalchemy.engine.base.Engine sqlalchemy.engine.base.Connection "
                  "sqlalchemy.ext.asyncio.engine.AsyncEngine sqlalchemy.ext.asyncio.engine.AsyncConnection"),
    (_sqlalchemy_session, "sqlalchemy.orm.session.Session sqlalchemy.ext.asyncio.session.AsyncSession"),
    (_sqlalchemy_maker, "sqlalchemy.orm.session.sessionmaker sqlalchemy.ext.asyncio.session.async_sessionmaker"),
    (lambda value: _sqlalchemy_maker(value.session_factory), "sqlalchemy.orm.scoping.scoped_session"),
    (_psycopg, "psycopg.Connection psycopg.AsyncConnection psycopg2.extensions.connection"),
    (_psycopg_pool, "psycopg_pool.pool.ConnectionPool psycopg_pool.pool_async.AsyncConnectionPool"),
    (_redis, "redis.client.Redis redis.asyncio.client.Redis"),
    (_redis_pool, "redis.connection.ConnectionPool redis.asyncio.connection.ConnectionPool"),
    (_redis_cluster, "redis.cluster.RedisCluster redis.asyncio.cluster.RedisCluster"),
    (_mongo, "pymongo.synchronous.mongo_client.MongoClient pymongo.asynchronous.mongo_client.AsyncMongoClient "
             "pymongo.mongo_client.MongoClient"),
    (_mongo_database, "pymongo.synchronous.database.Database pymongo.asynchronous.database.AsyncDatabase "
                      "pymongo.database.Database"),
    (_mongo_collection, "pymongo.synchronous.collection.Collection pymongo.asynchronous.collection.AsyncCollection "
                        "pymongo.collection.Collection"),
]  # fmt: skip
_PLACES: dict[str, Place] = {name: place for place, names in _ROWS for name in names.split()}
