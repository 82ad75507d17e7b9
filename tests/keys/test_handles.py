"""What does work and is no data: how it counts where it was captured, and what is said where it cannot count."""

import asyncio
import concurrent.futures
import contextvars
import csv
import ctypes
import gzip
import hashlib
import io
import itertools
import logging
import mmap
import multiprocessing
import pickle
import queue
import random
import re
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import threading
import weakref
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from tqdm import tqdm

import beautyspot as bs
from beautyspot.errors import ConfigurationError, UnkeyableError
from beautyspot.keys.encoding import Encoder, encode
from beautyspot.keys.keyer import Keyer


def generated() -> Iterator[int]:
    yield 1


async def awaited() -> int:
    return 1


async def streamed() -> AsyncIterator[int]:
    yield 1


class Opaque:
    """A client of an unknown library: what it holds cannot be seen."""

    def __reduce__(self) -> Any:
        raise TypeError("it has a socket")


class Holder:
    def __init__(self, value: Any) -> None:
        self.value = value


class Named(mock.Mock):
    """A mock of a class of one's own."""


def captured(value: Any) -> bytes:
    encoder = Encoder(captured=True)
    data = encoder.any(value)
    assert encoder.unidentified == []
    return data


def rows(statement: str = "select 1 as a") -> sqlite3.Row:
    connection = sqlite3.connect(":memory:")
    connection.row_factory = sqlite3.Row
    row: sqlite3.Row = connection.execute(statement).fetchone()
    connection.close()
    return row


def match(text: str, pattern: str = "a") -> Any:
    return re.search(pattern, text)


_BY_TYPE: list[Callable[[], Any]] = [
    threading.Lock, threading.RLock, threading.Event, threading.Condition, lambda: threading.Semaphore(2),
    lambda: threading.Barrier(2), threading.local, threading.Thread, asyncio.Lock, asyncio.Event, asyncio.Queue,
    lambda: asyncio.Semaphore(2), queue.Queue, queue.PriorityQueue, queue.SimpleQueue, multiprocessing.Lock,
    multiprocessing.Event, concurrent.futures.Future, generated, streamed, lambda: weakref.ref(Holder),
    weakref.WeakSet, contextvars.copy_context, random.SystemRandom, lambda: csv.writer(io.StringIO()),
    lambda: iter({1, 2}), lambda: itertools.chain([1]), lambda: re.finditer("a", "a"), lambda: csv.reader([]),
    lambda: tqdm(disable=True), mock.Mock, mock.AsyncMock, mock.MagicMock, ssl.create_default_context,
]  # fmt: skip


@pytest.mark.parametrize("make", _BY_TYPE)
def test_what_does_work_counts_by_its_type_in_every_object_that_captured_it(make: Callable[[], Any]) -> None:
    one, other = make(), make()
    assert captured(one) == captured(other)
    assert captured(Holder([one])) == captured(Holder([other]))


def test_types_of_handles_are_told_apart() -> None:
    assert len({captured(make()) for make in _BY_TYPE}) == len(_BY_TYPE)


_BY_VALUE: list[tuple[Callable[[Any], Any], Any, Any]] = [
    (logging.getLogger, "jobs.a", "jobs.b"),
    (lambda name: logging.LoggerAdapter(logging.getLogger(name), {}), "jobs.a", "jobs.b"),
    (contextvars.ContextVar, "user", "tenant"),
    (lambda value: mock.Mock(return_value=value), 1, 2),
    (lambda value: mock.Mock(side_effect=value), [1], [2]),
    (lambda value: mock.Mock(name_of=value), 1, 2),
    (lambda spec: mock.Mock(spec=spec), int, str),
    (lambda value: Named(**{"get.return_value": value}), 1, 2),
    (io.StringIO, "a", "b"),
    (io.BytesIO, b"a", b"b"),
    (memoryview, b"a", b"b"),
    (match, "a at once", "a again"),
    (rows, "select 1 as a", "select 2 as a"),
    (rows, "select 1 as a", "select 1 as b"),
    (lambda held: held.keys(), {"a": 1, "b": 1}, {"a": 1}),
    (lambda held: held.values(), {"a": 1}, {"a": 2}),
    (lambda held: held.items(), {"a": 1}, {"a": 2}),
    (ctypes.c_int, 1, 2),
    (lambda size: (ctypes.c_int * 2)(size, 1), 1, 2),
    (lambda value: multiprocessing.Value("i", value), 1, 2),
    (lambda value: multiprocessing.Array("i", [value]), 1, 2),
]


@pytest.mark.parametrize(("make", "one", "other"), _BY_VALUE)
def test_what_can_be_read_counts_by_what_it_holds(make: Callable[[Any], Any], one: Any, other: Any) -> None:
    for encoded in (captured, encode):
        assert encoded(make(one)) == encoded(make(one))
        assert encoded(make(one)) != encoded(make(other))


def test_the_position_in_a_buffer_counts() -> None:
    one, other = io.StringIO("abc"), io.StringIO("abc")
    other.read(1)
    assert encode(one) != encode(other)


def test_a_mock_counts_without_what_it_was_called_with() -> None:
    one, other = mock.MagicMock(), mock.MagicMock()
    one.get("a").json()
    assert captured(one) == captured(other)


def test_files_that_are_read_count_by_their_path(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_text("same")
        with gzip.open(tmp_path / f"{name}.gz", "wb") as file:
            file.write(b"same")
    with (
        (tmp_path / "a").open() as text,
        (tmp_path / "b").open() as other,
        (tmp_path / "a").open("rb") as binary,
        (tmp_path / "b").open("rb", buffering=0) as raw,
        gzip.open(tmp_path / "a.gz") as packed,
        gzip.open(tmp_path / "b.gz", "rt") as unpacked,
    ):
        files = [text, other, binary, raw, packed, unpacked]
        assert len({encode(file) for file in files}) == len(files)
        with (tmp_path / "a").open() as again:
            assert encode(again) == encode(text) == captured(text)


def test_files_that_are_written_count_by_their_type(tmp_path: Path) -> None:
    with (tmp_path / "a").open("w") as one, (tmp_path / "b").open("a") as other:
        assert captured(one) == captured(other) == encode(one)
    assert captured(sys.stdout) == captured(sys.stderr)
    with tempfile.NamedTemporaryFile() as first, tempfile.NamedTemporaryFile() as second:
        assert captured(first) == captured(second)
    directories = tempfile.TemporaryDirectory(), tempfile.TemporaryDirectory()
    assert captured(directories[0]) == captured(directories[1])
    for directory in directories:
        directory.cleanup()


def test_a_cursor_that_was_captured_leads_where_its_connection_leads(tmp_path: Path) -> None:
    one, other = sqlite3.connect(tmp_path / "a.db"), sqlite3.connect(tmp_path / "b.db")
    assert captured(one.cursor()) == captured(one.execute("select 1"))
    assert captured(one.cursor()) != captured(other.cursor())
    one.close()
    other.close()


def test_a_library_that_was_loaded_counts_by_its_name() -> None:
    library, other = ctypes.CDLL(None), ctypes.CDLL(None)
    assert captured(library) == captured(other)
    assert captured(library.abs) != captured(library.labs)


def ask(client: Any, config: Any = None) -> None: ...


def refusal(*args: Any) -> str:
    with pytest.raises(UnkeyableError) as caught:
        Keyer(ask)(args, {})
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    return str(caught.value)


def closed() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    connection.close()
    return connection


@pytest.mark.parametrize(
    ("make", "cure"),
    [
        (generated, "pass list(client)"),
        (lambda: iter([1]), "pass list(client)"),
        (lambda: map(str, [1]), "pass list(client)"),
        (lambda: itertools.count(), "pass list(client)"),
        (lambda: csv.DictReader([]), "pass list(client)"),
        (lambda: tqdm([1], disable=True), "pass list(client)"),
        (streamed, "pass [item async for item in client]"),
        (concurrent.futures.Future, "pass client.result()"),
        (lambda: sqlite3.connect(":memory:").cursor(), "pass client.fetchall(), or the connection"),
        (lambda: io.TextIOWrapper(io.BytesIO(b"a")), "pass client.read()"),
        (lambda: sys.__stdin__, "pass client.read()"),
        (tempfile.TemporaryFile, "pass client.read()"),
        (tempfile.SpooledTemporaryFile, "pass client.read()"),
        (queue.Queue, 'write @project.task(ignore="client")'),
        (asyncio.Queue, 'write @project.task(ignore="client")'),
        (lambda: mmap.mmap(-1, 16), 'write @project.task(ignore="client")'),
    ],
)
def test_an_argument_from_which_data_is_read_is_refused_with_what_to_pass(make: Callable[[], Any], cure: str) -> None:
    value = make()
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    message = (
        f"tests.keys.test_handles.ask: 'client' ({kind}) cannot identify a call, since data is read from it: {cure}"
    )
    assert refusal(value) == message
    held = getattr(value, "connection", value)
    if hasattr(held, "close") and held is not sys.__stdin__ and not hasattr(held, "aclose"):
        held.close()


def test_a_member_of_an_archive_is_refused_as_its_name_does_not_say_which_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("data.txt", "a")
    with zipfile.ZipFile(tmp_path / "a.zip") as archive, archive.open("data.txt") as member:
        assert refusal(member).endswith("pass client.read()")


def test_a_socket_a_coroutine_and_a_process_are_refused_with_what_to_write() -> None:
    with socket.socket() as connection:
        assert refusal(connection).endswith('(ignore="client")')
    coroutine = awaited()
    assert refusal(coroutine).endswith("pass await client")
    coroutine.close()
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        assert refusal(process).endswith("pass client.communicate()")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Opaque(), "'client' (tests.keys.test_handles.Opaque) cannot identify a call: write "
                   '@project.task(ignore="client"), or give Opaque a __beautyspot_key__ method that returns what '
                   "identifies it"),
        (hashlib.sha256(), "'client' (_hashlib.HASH) cannot identify a call: write @project.task(ignore=\"client\")"),
        ({"clients": [0, queue.Queue()]}, "client['clients'][1] (queue.Queue) cannot identify a call, since data is "
                                          "read from it: write @project.task(ignore=\"client['clients']\")"),
        (Holder(generated()), "client.value (builtins.generator) cannot identify a call, since data is read from it: "
                              'write @project.task(ignore="client.value")'),
        ([generated()], "client[0] (builtins.generator) cannot identify a call, since data is read from it: pass "
                        "list(client[0])"),
        (closed(), "'client' (sqlite3.Connection) cannot identify a call, since it cannot tell where it leads (Cannot "
                   'operate on a closed database.): write @project.task(ignore="client")'),
    ],
    ids=["opaque", "fixed class", "in a dict", "in an object", "in a list", "closed"],
)  # fmt: skip
def test_a_refusal_names_the_place_and_what_to_write(value: Any, message: str) -> None:
    assert refusal(value) == f"tests.keys.test_handles.ask: {message}"


def test_what_key_returned_is_refused_as_that() -> None:
    with pytest.raises(UnkeyableError, match=r"ask: 'key' \(.*Opaque\) cannot identify a call: return something else"):
        Keyer(ask, key=lambda client: client)((Opaque(),), {})


def test_a_value_that_is_nested_too_deeply_is_refused_with_what_to_write() -> None:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(
        UnkeyableError, match=r"\(nested too deeply\) cannot identify a call: write .*ignore=.client.\)"
    ):
        Keyer(ask)((nested,), {})


def test_what_a_refusal_says_to_ignore_can_be_ignored() -> None:
    def key(config: Any) -> bytes:
        return Keyer(ask, ignore=("config['clients']", "client.value"))((Holder(generated()), config), {})[0]

    assert key({"clients": [queue.Queue()], "model": "a"}) == key({"clients": [], "model": "a"})
    assert key({"clients": [queue.Queue()], "model": "a"}) != key({"clients": [], "model": "b"})


def test_a_path_below_nothing_cannot_be_ignored() -> None:
    with pytest.raises(ConfigurationError, match=r"no argument, captured variable or constant .nothing\['clients'\]"):
        Keyer(ask, ignore="nothing['clients']")


def asking(client: Any, **settings: Any) -> Callable[[int], Any]:
    def answer(question: int) -> Any:
        return client, settings

    return answer


@pytest.mark.parametrize(
    ("make", "place", "ignored"),
    [
        (lambda: asking(Opaque()), "'client'", "client"),
        (lambda: asking(Holder(Opaque())), "client.value", "client.value"),
        (lambda: asking(1, tool=Opaque()), "settings['tool']", "settings['tool']"),
        (lambda: asking(asking(Opaque())), "client.client", "client.client"),
    ],
    ids=["variable", "attribute", "item", "helper"],
)
def test_a_captured_object_that_nothing_identifies_gives_a_warning_with_what_to_write(
    make: Callable[[], Callable[[int], Any]], place: str, ignored: str
) -> None:
    cure = (
        f'write @project.task(ignore="{ignored}"), or give Opaque a __beautyspot_key__ method that returns what '
        "identifies it"
    )
    name = f"n{next(_numbers)}"
    with pytest.warns(bs.CapturedWarning) as caught:
        Keyer(first := make(), name=name)
    kind = "(tests.keys.test_handles.Opaque)"
    said = f"{name}: {place} {kind}, a captured object, identifies calls by its class alone: {cure}"
    assert [str(warning.message) for warning in caught] == [said]
    with pytest.raises(UnkeyableError) as refused:
        Keyer(make(), name=name)
    told = f"{name}: {place} {kind} is another one than before, and nothing tells the two apart: {cure}"
    assert str(refused.value) == told
    assert Keyer(make(), name=name, ignore=ignored)((1,), {})[0] == Keyer(first, name=name, ignore=ignored)((1,), {})[0]


_numbers = itertools.count()
