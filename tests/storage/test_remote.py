"""Blobs in S3, on a real server, and wherever fsspec reaches."""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import pytest
from botocore.config import Config
from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

import beautyspot as bs
from beautyspot.errors import ConfigurationError, DamagedBlobError, StorageError
from beautyspot.protocols.index import InDirectory
from beautyspot.protocols.storage import BlobStorage
from beautyspot.storage import FsspecStorage, LocalStorage, MemoryStorage, S3Storage, open_storage
from beautyspot.storage.locations import PartsFile
from beautyspot.storage.s3 import storage as s3
from beautyspot.storage.s3 import transfer
from beautyspot.testing import BlobStorageContract, Count
from tests.support.servers import Proxy, S3Server, until

NAME = "0123456789abcdef0123456789abcdef"
MIB = 1 << 20
ONCE = Config(retries={"total_max_attempts": 1}, connect_timeout=1, read_timeout=2)


class AsyncMemory(AsyncFileSystemWrapper):
    """A file system that runs on fsspec's event loop, like those of the clouds."""

    protocol = "asyncmemory"
    async_impl = True

    def __init__(self, **options: Any) -> None:
        super().__init__(MemoryFileSystem(), asynchronous=False, **options)


class PlainFiles(LocalFileSystem):
    """A file system with no abilities beyond files."""

    protocol = "plainfiles"


fsspec.register_implementation("asyncmemory", AsyncMemory, clobber=True)
fsspec.register_implementation("plainfiles", PlainFiles, clobber=True)


@pytest.fixture
def storage(s3_server: S3Server, s3_url: str) -> Iterator[S3Storage]:
    storage = S3Storage(s3_url, s3_server.options)
    yield storage
    storage.close()


@pytest.fixture
def proxy(s3_server: S3Server) -> Iterator[Proxy]:
    proxy = Proxy(s3_server.port)
    yield proxy
    proxy.close()


@pytest.fixture
def through_proxy(proxy: Proxy, s3_server: S3Server, s3_url: str) -> Iterator[S3Storage]:
    storage = S3Storage(s3_url, {**s3_server.options, "endpoint_url": f"http://127.0.0.1:{proxy.port}"})
    yield storage
    storage.close()


class TestS3Storage(BlobStorageContract):
    @pytest.fixture
    def storage(self, s3_server: S3Server, s3_url: str) -> Iterator[BlobStorage]:
        storage = S3Storage(s3_url, s3_server.options)
        yield storage
        storage.close()


class TestFsspecWithFiles(BlobStorageContract):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> BlobStorage:
        return FsspecStorage(f"plainfiles://{tmp_path}/deep/er/blobs")


class TestFsspecOnAnEventLoop(BlobStorageContract):
    @pytest.fixture
    def storage(self) -> BlobStorage:
        return FsspecStorage(f"asyncmemory://{os.urandom(6).hex()}/blobs")


def begun(server: S3Server, url: str) -> list[Any]:
    """Uploads below *url* that are running, or were left unfinished."""
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    client = server.client()
    try:
        return client.list_multipart_uploads(Bucket=bucket, Prefix=prefix).get("Uploads", [])
    finally:
        client.close()


def wait_for(works: Callable[[], Any]) -> None:
    end = time.monotonic() + 60
    while not works():
        assert time.monotonic() < end
        time.sleep(0.005)


def in_a_process(code: str, *arguments: object) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent.parent)


def in_a_child(work: Callable[[], bool]) -> bool:
    """Whether *work* succeeds in a forked process."""
    pid = os.fork()
    if not pid:
        try:
            os._exit(0 if work() else 1)
        finally:
            os._exit(2)
    return os.waitpid(pid, 0)[1] == 0


# A process that keeps a large blob, and says by how many bytes that took its memory up.
SAVES = r"""
import pickle, re, sys
size = int(sys.argv[2])
storage = pickle.loads(bytes.fromhex(sys.argv[1]))
def peak():
    return int(re.search(r"VmHWM:\s*(\d+)", open("/proc/self/status").read())[1]) * 1024
content = memoryview(b"x" * size)
storage.load(storage.save("00" * 16, [content[:1000]]), 1000)
before = peak()
location = storage.save("01" * 16, [content[: size // 3], content[size // 3 :]])
print(peak() - before, end=" ")
assert storage.load(location, size) == content
print(peak() - before - size)
storage.close()
"""


def test_a_large_blob_is_transferred_in_parts_with_little_memory(storage: S3Storage, s3_server: S3Server) -> None:
    size = 192 * MIB
    done = in_a_process(SAVES, pickle.dumps(storage).hex(), size)
    saving, loading = map(int, done.communicate()[0].split())
    assert saving < 96 * MIB
    assert loading < 96 * MIB  # beside the blob; with what the save has not given back
    (large,) = [blob for blob in storage.blobs() if blob.size == size]
    key = f"{storage.prefix}/{large.location}"
    assert s3_server.client().head_object(Bucket="tests", Key=key)["ETag"].endswith('-24"')


def test_parts_of_a_killed_uploader_are_listed_as_garbage(
    storage: S3Storage, through_proxy: S3Storage, proxy: Proxy, s3_server: S3Server, s3_url: str
) -> None:
    uploader = in_a_process(SAVES, pickle.dumps(through_proxy).hex(), 256 * MIB)
    wait_for(lambda: begun(s3_server, s3_url))
    proxy.hold()
    uploader.kill()
    uploader.communicate()
    proxy.cut()
    (small,) = [blob for blob in storage.blobs() if blob.size]
    storage.delete(small.location)
    (left,) = storage.blobs()
    assert left.location.endswith(".part")
    assert abs(left.modified - time.time()) < 60
    for location in (left.location, left.location.removesuffix(".part")):
        with pytest.raises(StorageError, match="it does not exist"):
            storage.load(location, 256 * MIB)
    storage.delete(left.location)
    storage.delete(left.location)
    assert list(storage.blobs()) == []
    assert begun(s3_server, s3_url) == []


@pytest.fixture(params=["at once", "when the wait is over"])
def _interrupted(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whether Ctrl-C interrupts a wait. Libraries that handle it themselves, as polars does, let waits go on."""
    handler = signal.getsignal(signal.SIGINT)
    signal.siginterrupt(signal.SIGINT, request.param == "at once")
    yield
    signal.signal(signal.SIGINT, handler)


@pytest.mark.usefixtures("_interrupted")
def test_an_interrupted_save_leaves_nothing(
    through_proxy: S3Storage, proxy: Proxy, s3_server: S3Server, s3_url: str
) -> None:
    def interrupt() -> None:
        wait_for(lambda: begun(s3_server, s3_url))
        proxy.hold()
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.2)
        proxy.let_go()

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        through_proxy.save(NAME, [bytes(256 * MIB)])
    thread.join()
    assert list(through_proxy.blobs()) == []


def test_a_thread_that_outlives_the_main_thread_stores_large_blobs(storage: S3Storage) -> None:
    code = """
import pickle, sys, threading
storage = pickle.loads(bytes.fromhex(sys.argv[1]))
def work():
    threading.main_thread().join()
    content = bytes(20 << 20)
    print(storage.load(storage.save("01" * 16, [content]), len(content)) == content)
    storage.close()
threading.Thread(target=work).start()
"""
    assert in_a_process(code, pickle.dumps(storage).hex()).communicate()[0] == "True\n"


@pytest.mark.parametrize("size", [MIB, 12 * MIB, 40 * MIB + 1])
def test_an_interrupted_download_is_retried(
    size: int, storage: S3Storage, through_proxy: S3Storage, proxy: Proxy
) -> None:
    content = os.urandom(MIB) * (size // MIB) + bytes(size % MIB)
    location = storage.save(NAME, [content])
    proxy.breaks = [size * part // 5 for part in (1, 2, 3)]
    assert through_proxy.load(location, size) == content
    assert proxy.breaks == []


def test_a_download_that_is_interrupted_too_often_is_an_error(
    storage: S3Storage, through_proxy: S3Storage, proxy: Proxy
) -> None:
    location = storage.save(NAME, [bytes(4 * MIB)])
    proxy.breaks = [MIB * times for times in range(1, 50)]
    with pytest.raises(
        StorageError, match=f"cannot read the blob s3://.*{location}: .*(read, but total|reading|reset)"
    ):
        through_proxy.load(location, 4 * MIB)
    assert proxy.connections == 6


@pytest.mark.parametrize("size", [12 * MIB, 40 * MIB])
def test_a_blob_that_is_replaced_while_it_is_read_is_rejected(
    size: int, storage: S3Storage, through_proxy: S3Storage, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = storage.save(NAME, [bytes(size)])
    client, key = storage._client.get(), storage._key(location)
    monkeypatch.setattr(proxy, "at_break", lambda: transfer.write_object(client, storage.bucket, key, [b"1" * size]))
    proxy.breaks = [10 * MIB]  # behind the first part, which says what the others must belong to
    with pytest.raises(StorageError, match="it was replaced while it was read"):
        through_proxy.load(location, size)


@pytest.mark.parametrize("claimed", [MIB, 20 * MIB])
def test_a_blob_that_is_larger_than_stated_is_not_read_to_its_end(
    claimed: int, storage: S3Storage, through_proxy: S3Storage, proxy: Proxy
) -> None:
    location = storage.save(NAME, [bytes(64 * MIB)])
    with pytest.raises(DamagedBlobError, match=f"{location} has {64 * MIB} bytes and should have {claimed}$"):
        through_proxy.load(location, claimed)
    assert proxy.answered < 16 * MIB


@pytest.mark.parametrize("claimed", [6, 1 << 50])
def test_a_wrong_size_is_rejected_before_memory_is_allocated(claimed: int, storage: S3Storage, tmp_path: Path) -> None:
    for each in (storage, FsspecStorage(f"plainfiles://{tmp_path}/blobs"), FsspecStorage("asyncmemory://sizes")):
        location = each.save(NAME, [b"content"])
        with pytest.raises(StorageError, match=f"{location} has 7 bytes and should have {claimed}$"):
            each.load(location, claimed)


def test_a_download_stores_no_byte_beyond_the_size() -> None:
    """As when an object is replaced by a larger one after its size was verified."""
    file = transfer._BlobFile("s3://bucket/blob", 4)
    file.seek(2)
    file.write(b"cd")
    file.seek(0)
    file.write(b"ab")
    with pytest.raises(DamagedBlobError, match="s3://bucket/blob has more bytes than the 4 it should have"):
        file.write(b"cde")
    assert (file.content, file.end) == (b"abcd", 4)


def test_an_empty_object_in_place_of_a_large_one_is_rejected(storage: S3Storage) -> None:
    location = storage.save(NAME, [])
    with pytest.raises(StorageError, match="it is shorter than it should be"):
        storage.load(location, 100 * MIB)


OPTIONS = {
    "wrong secret": ({"aws_secret_access_key": "not-the-secret"}, "correct aws_secret_access_key"),
    "unknown key": ({"aws_access_key_id": "nobody"}, "correct aws_access_key_id"),
    "nobody listens": ({"endpoint_url": "http://127.0.0.1:1"}, "the server cannot be reached"),
    "no such profile": ({"profile_name": "nobody"}, "correct profile_name"),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_an_error_says_what_is_wrong_and_what_to_do(case: str, s3_server: S3Server, s3_url: str) -> None:
    options, cure = OPTIONS[case]
    storage = S3Storage(s3_url, {**s3_server.options, "config": ONCE, **options})
    location = f"01/{NAME}-01234567"
    attempts: list[Callable[[], Any]] = [
        lambda: storage.save(NAME, [b"content"]),
        lambda: storage.save(NAME, [bytes(9 * MIB)]),
        lambda: storage.load(location, 7),
        lambda: storage.load(location, 100 * MIB),
        lambda: storage.delete(location),
        lambda: list(storage.blobs()),
    ]
    for attempt in attempts:
        with pytest.raises(StorageError, match=f"cannot .* blobs? .*{s3_url}.*: .*{cure}") as caught:
            attempt()
        assert "secret'" not in str(caught.value)
        assert "not-the-secret" not in str(caught.value)
    storage.close()


def test_a_missing_bucket_is_named(s3_server: S3Server) -> None:
    storage = S3Storage("s3://nowhere/prefix", s3_server.options)
    attempts: list[Callable[[], Any]] = [
        lambda: storage.save(NAME, [b"content"]),
        lambda: storage.save(NAME, [bytes(9 * MIB)]),
        lambda: list(storage.blobs()),
    ]
    for attempt in attempts:
        with pytest.raises(StorageError, match=r"s3://nowhere/prefix.*: there is no such bucket: create it"):
            attempt()
    storage.close()


def test_an_error_says_that_credentials_are_missing(
    s3_server: S3Server, s3_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    storage = S3Storage(s3_url, {"endpoint_url": s3_server.url, "region_name": "us-east-1"})
    with pytest.raises(StorageError, match="no credentials were found: set AWS_ACCESS_KEY_ID"):
        storage.save(NAME, [b"content"])
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret)
    storage.close()
    assert storage.load(storage.save(NAME, [b"content"]), 7) == b"content"  # found where boto3 looks for them
    storage.close()


def test_a_server_that_does_not_answer_is_a_timeout(proxy: Proxy, s3_server: S3Server, s3_url: str) -> None:
    options = {**s3_server.options, "endpoint_url": f"http://127.0.0.1:{proxy.port}", "config": ONCE}
    storage = S3Storage(s3_url, options)
    proxy.hold()
    begin = time.monotonic()
    with pytest.raises(StorageError, match="the server did not answer in time"):
        storage.save(NAME, [b"content"])
    assert time.monotonic() - begin < 30  # of the minute that it would wait by default, five times
    storage.close()


def test_a_secret_in_the_text_of_an_error_is_masked(s3_server: S3Server, s3_url: str) -> None:
    storage = S3Storage(s3_url, {**s3_server.options, "aws_session_token": "a-token\n", "config": ONCE})
    with pytest.raises(StorageError) as caught:
        storage.save(NAME, [b"content"])
    assert "a-token" not in str(caught.value)
    storage.close()


@pytest.mark.parametrize(
    "url",
    [
        "s3://",
        "s3:///prefix",
        "s3://key:secret@bucket/prefix",
        "s3://key:sec/ret@bucket",
        "s3://bucket/prefix?region=secret",
        "s3://bucket/../secret",
        "http://bucket/secret",
    ],
)
def test_an_invalid_url_is_rejected_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigurationError, match="is given as s3://bucket/prefix") as caught:
        S3Storage(url)
    assert "sec" not in str(caught.value)


def test_an_invalid_option_is_rejected() -> None:
    with pytest.raises(ConfigurationError, match="s3_opts has no bucket, region; it takes profile_name, region_name"):
        open_storage("s3://bucket/prefix", {"region": "eu", "bucket": "b"})
    with pytest.raises(ConfigurationError, match=r"is a botocore\.config\.Config, not a dict"):
        open_storage("s3://bucket/prefix", {"config": {}})
    with pytest.raises(ConfigurationError, match="endpoint_url in s3_opts holds credentials") as caught:
        open_storage("s3://bucket/prefix", {"endpoint_url": "https://key:hidden@host"})
    assert "hidden" not in str(caught.value)
    for place in ("directory", "memory://", "memory://name", Path("directory")):
        with pytest.raises(ConfigurationError, match="s3_opts is for a storage_path that begins with s3://"):
            open_storage(place, {"region_name": "eu"})


@pytest.mark.parametrize(
    "location",
    ["", "..", "../outside", "/etc/passwd", "s3://tests/other", f"../{NAME}", f"01/../{NAME}-01234567", f"01/{NAME}"],
)
def test_a_location_outside_of_the_storage_is_not_touched(location: str, storage: S3Storage, tmp_path: Path) -> None:
    for each in (storage, FsspecStorage(f"plainfiles://{tmp_path}/blobs"), FsspecStorage("asyncmemory://outside")):
        with pytest.raises(StorageError, match=r"is not the location of a blob below .*; it was not touched"):
            each.load(location, 7)
        with pytest.raises(StorageError, match=r"is not the location of a blob below .*; it was not touched"):
            each.delete(location)


def test_other_objects_in_a_bucket_are_neither_listed_nor_deleted(s3_server: S3Server, s3_url: str) -> None:
    one, other = (S3Storage(f"{s3_url}/{name}", s3_server.options) for name in ("one", "one2"))
    location = one.save(NAME, [b"content"])
    client = s3_server.client()
    client.put_object(Bucket="tests", Key=f"{one.prefix}/readme.txt", Body=b"text")
    client.create_multipart_upload(Bucket="tests", Key=f"{one.prefix}/readme.txt")
    assert list(other.blobs()) == []
    other.delete(location)
    with pytest.raises(StorageError, match="it does not exist"):
        other.load(location, 7)
    assert [blob.location for blob in one.blobs()] == [location]
    assert one.load(location, 7) == b"content"
    for each in (one, other, client):
        each.close()


def test_a_storage_may_be_a_whole_bucket(s3_server: S3Server) -> None:
    client = s3_server.client()
    client.create_bucket(Bucket="whole-bucket")
    for url in ("s3://whole-bucket", "S3://whole-bucket/"):
        storage = S3Storage(url, s3_server.options)
        assert repr(storage) == "S3Storage('s3://whole-bucket')"
        location = storage.save(NAME, [b"content"])
        assert [blob.location for blob in storage.blobs()] == [location]
        storage.delete(location)
        storage.close()
    client.close()


def test_many_blobs_are_listed_page_by_page(
    storage: S3Storage, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "_PAGE", 3)
    locations = {storage.save(f"{i:032x}", [b"x"]) for i in range(10)}
    client = s3_server.client()
    for i in range(7):
        location = f"00/{i:032x}-00000000"
        client.create_multipart_upload(Bucket="tests", Key=f"{storage.prefix}/{location}")
        locations.add(f"{location}.part")
    client.close()
    found = [blob.location for blob in storage.blobs()]
    assert len(found) == 17
    assert set(found) == locations


def test_a_pickled_copy_opens_the_same_storage_in_another_process(storage: S3Storage, tmp_path: Path) -> None:
    code = "import sys, pickle; s = pickle.loads(bytes.fromhex(sys.argv[1])); print(s.load(sys.argv[2], 7)); s.close()"
    for each in (storage, LocalStorage("blobs")):
        location = each.save(NAME, [b"content"])
        assert pickle.loads(pickle.dumps(each)).load(location, 7) == b"content"
        done = in_a_process(code, pickle.dumps(each).hex(), location)
        assert done.communicate()[0] == "bytearray(b'content')\n"


def test_no_secret_is_in_a_repr_or_a_message(s3_server: S3Server, s3_url: str) -> None:
    assert repr(S3Storage(s3_url, s3_server.options)) == f"S3Storage('{s3_url}')"
    remote = FsspecStorage("ftp://user:hidden@127.0.0.1:1/blobs?key=hidden")
    assert repr(remote) == "FsspecStorage('ftp://user:***@127.0.0.1:1/blobs')"
    with pytest.raises(
        StorageError, match=r"cannot write the blob ftp://user:\*\*\*@127\.0\.0\.1:1/blobs/01/"
    ) as caught:
        remote.save(NAME, [b"content"])
    assert "hidden" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_parent_child_and_grandchild_all_work_after_a_fork(storage: S3Storage, tmp_path: Path) -> None:
    content = os.urandom(20 * MIB)
    for each in (storage, FsspecStorage(f"plainfiles://{tmp_path}/blobs"), FsspecStorage("asyncmemory://f")):
        location = each.save(NAME, [content])

        def works(each: BlobStorage = each, location: str = location) -> bool:
            return each.load(location, len(content)) == content and bool(each.save(NAME, [content]))

        assert in_a_child(lambda works=works: works() and in_a_child(works))  # type: ignore[misc]
        assert works()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_while_another_thread_connects_does_no_harm(storage: S3Storage) -> None:
    location = storage.save(NAME, [b"content"])
    with storage._client._lock:  # as a thread that makes the client holds it
        assert in_a_child(lambda: storage.load(location, 7) == b"content")


@pytest.mark.slow
def test_many_threads_share_one_storage(storage: S3Storage, tmp_path: Path) -> None:
    for each in (storage, FsspecStorage(f"plainfiles://{tmp_path}/blobs"), FsspecStorage("asyncmemory://u")):

        def save(i: int, each: BlobStorage = each) -> bool:
            content = bytes([i]) * (i * MIB)
            return each.load(each.save(f"{i:032x}", [content]), len(content)) == content

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(save, range(20)))
        assert len(list(each.blobs())) == 20


def test_a_file_system_with_one_connection_is_not_shared_by_threads() -> None:
    for url, shared in (("plainfiles://blobs", False), ("asyncmemory://s", True)):
        storage = FsspecStorage(url)
        with ThreadPoolExecutor(1) as pool:
            there = pool.submit(storage._open).result()
        assert (there[0] is storage._open()[0]) is shared
        assert storage._open()[0] is storage._open()[0]


def test_a_blob_that_another_program_overwrote_makes_the_call_run_again(
    storage: S3Storage, s3_server: S3Server, tmp_path: Path, count: Count
) -> None:
    with bs.Project("p", db=tmp_path / "p.db", storage=storage) as project:

        @project.task(save_blob=True)
        def work(x: int) -> bytes:
            count(x)
            return bytes([x]) * 1000

        work(1)
        (blob,) = storage.blobs()
        client = s3_server.client()
        client.put_object(Bucket="tests", Key=f"{storage.prefix}/{blob.location}", Body=b"\x02" * blob.size)
        client.close()
        with pytest.warns(bs.UnreadableWarning, match="is damaged: its checksum does not fit") as caught:
            assert work(1) == bytes([1]) * 1000
        assert len(caught) == 1
        assert work(1) == bytes([1]) * 1000
        assert len(count) == 2


def test_a_missing_bucket_does_not_lose_the_result_of_a_call(s3_server: S3Server, tmp_path: Path) -> None:
    storage = S3Storage("s3://nowhere/prefix", s3_server.options)
    with bs.Project("p", db=tmp_path / "p.db", storage=storage) as project:
        work = project.task(save_blob=True)(lambda: b"result")
        with pytest.warns(bs.NotKeptWarning, match="there is no such bucket: create it"):
            assert work() == b"result"


def test_a_server_that_comes_back_is_used_again() -> None:
    server = S3Server()
    storage = S3Storage("s3://tests/prefix", {**server.options, "config": ONCE})
    try:
        server.client().create_bucket(Bucket="tests")
        location = storage.save(NAME, [bytes(9 * MIB)])
        server.kill()
        with pytest.raises(StorageError, match="the server cannot be reached"):
            storage.load(location, 9 * MIB)
        server.start()
        until(lambda: storage.load(location, 9 * MIB), lambda: True)  # it reads later than it answers
        assert storage.load(location, 9 * MIB) == bytes(9 * MIB)
    finally:
        storage.close()
        server.stop()


def test_blobs_stay_right_when_another_tool_copies_them(storage: S3Storage, s3_server: S3Server) -> None:
    local = LocalStorage("blobs")
    location = local.save(NAME, [b"content"])
    assert FsspecStorage("plainfiles://blobs").load(location, 7) == b"content"
    client = s3_server.client()
    client.upload_file(f"blobs/{location}", "tests", f"{storage.prefix}/{location}")
    assert storage.load(location, 7) == b"content"
    back = storage.save(NAME, [b"another"])
    os.makedirs("copy/01")
    client.download_file("tests", f"{storage.prefix}/{back}", f"copy/{back}")
    assert LocalStorage("copy").load(back, 7) == b"another"
    assert [blob.location for blob in FsspecStorage("plainfiles://copy").blobs()] == [back]
    client.close()


def test_a_url_finds_its_storage(s3_server: S3Server) -> None:
    remote = open_storage("s3://bucket/prefix", s3_server.options)
    assert isinstance(remote, S3Storage)
    assert not isinstance(remote, InDirectory)
    assert type(open_storage("memory://")) is MemoryStorage
    for url, path in (("file://here", os.path.join(os.getcwd(), "here")), ("FILE:///on/the/disk", "/on/the/disk")):
        here = open_storage(url)
        assert isinstance(here, LocalStorage)
        assert here.directory == path
    remote = open_storage("FTP://host/path")
    assert isinstance(remote, FsspecStorage)
    assert not isinstance(remote, InDirectory)


@pytest.mark.parametrize(
    ("url", "instead"),
    [
        ("memory://name", "write 'memory://' instead of 'memory://name'"),
        ("file://", "write 'file:///path', or the path alone"),
    ],
)
def test_an_invalid_local_url_says_what_to_write(url: str, instead: str) -> None:
    with pytest.raises(ConfigurationError, match=instead):
        open_storage(url)


@pytest.mark.parametrize(
    ("url", "instead"),
    [
        ("file:///blobs", "use LocalStorage, or a path as storage_path="),
        ("local://blobs", "use LocalStorage, or a path as storage_path="),
        ("memory://name", "use MemoryStorage, or storage_path='memory://'"),
    ],
)
def test_fsspec_is_not_for_local_storage(url: str, instead: str) -> None:
    with pytest.raises(ConfigurationError, match=f"FsspecStorage is not for .*://: {instead}"):
        FsspecStorage(url)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="no file system for gs://: Please install gcsfs"):
        open_storage("gs://bucket/prefix")
    with pytest.raises(ConfigurationError, match="no file system for az://: Install adlfs"):
        FsspecStorage("az://container")
    with pytest.raises(ConfigurationError, match="no file system for nowhere://: Protocol not known"):
        FsspecStorage("nowhere://place")
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(ConfigurationError, match=r'pip install "beautyspot\[s3\]"'):
        open_storage("s3://bucket/prefix")
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(ConfigurationError, match=r'known as \'gs\'.*pip install "beautyspot\[fsspec\]" brings gs'):
        open_storage("gs://bucket/prefix")
    with pytest.raises(ConfigurationError, match=r'gs:// need fsspec: pip install "beautyspot\[fsspec\]"'):
        FsspecStorage("gs://bucket/prefix")


def test_importing_beautyspot_imports_no_library_of_a_cloud() -> None:
    code = "import beautyspot as bs, sys; bs.Project('p'); print({'boto3', 'botocore', 'fsspec'} & set(sys.modules))"
    assert in_a_process(code).communicate()[0] == "set()\n"


@pytest.mark.parametrize("url", ["plainfiles://plain", "asyncmemory://whole"])
def test_a_save_that_fails_leaves_nothing_behind(url: str) -> None:
    storage = FsspecStorage(url)
    with pytest.raises(StorageError, match=r"cannot write the blob .*/01/"):
        storage.save(NAME, [b"head", None])  # type: ignore[list-item]
    assert list(storage.blobs()) == []


def test_unfinished_files_of_a_killed_writer_in_fsspec_are_listed() -> None:
    storage = FsspecStorage("plainfiles://blobs")
    location = storage.save(NAME, [b"content"])
    os.rename(f"blobs/{location}", f"blobs/{location}.part")
    Path("blobs/01/readme.txt").write_text("not ours")
    assert [(blob.location, blob.size) for blob in storage.blobs()] == [(f"{location}.part", 7)]
    storage.delete(f"{location}.part")
    assert list(storage.blobs()) == []


def test_every_kind_of_modification_time_is_understood() -> None:
    from datetime import UTC, datetime

    from beautyspot.storage.fsspec import _modified

    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    for entry in (
        {"mtime": at.timestamp()},
        {"LastModified": at, "created": 0.0},
        {"mtime": None, "last_modified": at},
        {"updated": "2026-01-02T03:04:05Z"},
        {"created": at},
    ):
        assert _modified(None, entry) == at.timestamp(), entry
    assert _modified(None, {"mtime": at.replace(tzinfo=None)}) >= at.timestamp()
    unknown = fsspec.filesystem("asyncmemory")
    for entry in ({"name": "/nowhere"}, {"mtime": "yesterday"}):
        assert abs(_modified(unknown, entry) - time.time()) < 5


@pytest.mark.parametrize("amount", [1, 3, 7, 100])
def test_parts_are_read_as_one_file(amount: int) -> None:
    numbers = memoryview(bytes(range(24))).cast("I", (2, 3))
    file = PartsFile([b"head", b"", memoryview(b"body"), numbers, bytearray(b"tail")])
    whole = b"headbody" + bytes(range(24)) + b"tail"
    assert b"".join(iter(lambda: file.read(amount), b"")) == whole
    assert (file.size, file.tell(), file.seek(-2, 2), file.read()) == (36, 36, 34, b"il")
    assert (file.seek(4), file.seek(2, 1), file.read(4)) == (4, 6, b"dy\x00\x01")
