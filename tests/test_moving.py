"""Results are moved with their blobs, between any two places, and answer there under their keys."""

import io
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest
from click.testing import CliRunner, Result

import beautyspot as bs
from beautyspot.archive import Archive
from beautyspot.cli import main
from beautyspot.db import MemoryTaskDB
from beautyspot.errors import ConfigurationError, StorageError, UnreadableWarning
from beautyspot.moving import Moved, Shelf, move
from beautyspot.storage import LocalStorage, MemoryStorage
from beautyspot.testing import Count, make_record
from tests.servers import S3Server
from tests.tampering import change_rows

Places = dict[str, Any]


@pytest.fixture
def here(tmp_path: Path) -> Places:
    return {"db": str(tmp_path / "here.db"), "storage_path": str(tmp_path / "here")}


@pytest.fixture
def there(tmp_path: Path) -> Places:
    return {"db": str(tmp_path / "there.db"), "storage_path": str(tmp_path / "there")}


@pytest.fixture
def beyond(postgres_url: str, s3_server: S3Server, s3_url: str) -> Places:
    return {"db": postgres_url, "storage_path": s3_url, "s3_opts": s3_server.options}


def beautyspot(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


def options(places: Places, prefix: str = "") -> list[str]:
    pairs = [f"{name}={value}" for name, value in places.get("s3_opts", {}).items()]
    given = [word for pair in pairs for word in (f"--{prefix}s3-opt", pair)]
    return [f"--{prefix}storage-path", places["storage_path"], *given]


def fill(places: Places, count: Count, inputs: range = range(500), **more: Any) -> None:
    with bs.Project("p", blob_threshold=400, **places, **more) as project:
        bs.map(task_of(project, count), inputs)


def task_of(project: bs.Project, count: Count) -> Any:
    return project.task(version="1", key=lambda x: x)(lambda x: count(x) or "y" * x)


def answers(places: Places, count: Count, inputs: range = range(500), **more: Any) -> bool:
    """Whether all results are there, whole, and nothing has to run for them."""
    ran = len(count)
    with bs.Project("p", **places, **more) as project:
        values = bs.map(task_of(project, count), inputs)
    return values == ["y" * x for x in inputs] and len(count) == ran


def test_results_kept_under_sqlite_answer_under_postgresql_and_back(
    here: Places, beyond: Places, there: Places, count: Count
) -> None:
    fill(here, count)
    done = beautyspot("import", beyond["db"], here["db"], *options(beyond), *options(here, "from-"))
    assert (done.exit_code, done.stdout) == (0, "500 moved\n")
    assert answers(beyond, count)
    done = beautyspot("import", there["db"], beyond["db"], *options(there), *options(beyond, "from-"))
    assert (done.exit_code, done.stdout) == (0, "500 moved\n")
    assert answers(there, count)
    summaries = []
    for places in (here, beyond, there):
        with bs.Project("p", **places) as project:
            summaries.append(list(project.db.summaries()))
    assert summaries[0] == summaries[1] == summaries[2]  # in their order, with all that viewers list


@pytest.mark.parametrize("first", ["here", "beyond"])
def test_an_archive_carries_results_between_places_that_no_machine_reaches_both(
    here: Places, beyond: Places, count: Count, first: str, tmp_path: Path
) -> None:
    source, target = (here, beyond) if first == "here" else (beyond, here)
    fill(source, count)
    archive = str(tmp_path / "results.tar")
    done = beautyspot("export", source["db"], archive, *options(source))
    assert (done.exit_code, done.stdout) == (0, "500 moved\n")
    done = beautyspot("import", target["db"], archive, *options(target))
    assert (done.exit_code, done.stdout) == (0, "500 moved\n")
    assert answers(target, count)


def test_what_is_there_stays_as_it_is(here: Places, there: Places, count: Count) -> None:
    fill(here, count)
    fill(there, count, range(100, 200))
    with bs.Project("p", **there) as project:
        task_of(project, count).put(150, "newer")
    done = beautyspot("import", there["db"], here["db"], *options(there), *options(here, "from-"))
    assert done.stdout == "400 moved, 100 there already\n"
    with bs.Project("p", **there) as project:
        assert task_of(project, count)(150) == "newer"
    done = beautyspot("import", there["db"], here["db"], *options(there), *options(here, "from-"))
    assert done.stdout == "0 moved, 500 there already\n"


def test_what_has_expired_stays_behind(here: Places, there: Places) -> None:
    with bs.Project("p", **here) as project:
        bs.map(project.task(version="1", ttl=0.01)(abs), range(10))
        project.task(version="2", ttl="1h")(abs)(1)
    time.sleep(0.02)
    done = beautyspot("import", there["db"], here["db"], *options(there), *options(here, "from-"))
    assert done.stdout == "1 moved, 10 expired\n"


def killed_half_way(command: list[str], looks: Callable[[], bool], cwd: Path) -> None:
    """Run a command and kill it as soon as something of it is seen."""
    process = subprocess.Popen([sys.executable, "-m", "beautyspot.cli", *command], cwd=cwd)
    while process.poll() is None and not looks():
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.slow
def test_a_killed_import_goes_on_where_it_was(here: Places, beyond: Places, count: Count, tmp_path: Path) -> None:
    fill(here, count, range(2000))
    command = ["import", beyond["db"], here["db"], *options(beyond), *options(here, "from-")]

    def something_arrived() -> bool:
        with bs.Project("p", **beyond) as project:
            return next(project.db.summaries(), None) is not None

    killed_half_way(command, something_arrived, tmp_path)
    done = beautyspot(*command)
    moved, there = (int(part.split()[0].replace(",", "")) for part in done.stdout.split(", "))
    assert moved + there == 2000
    assert 0 < there < 2000
    assert answers(beyond, count, range(2000))


def test_a_killed_export_goes_on_where_it_was(here: Places, there: Places, count: Count, tmp_path: Path) -> None:
    fill(here, count, range(3000))
    archive = tmp_path / "results.tar"
    command = ["export", here["db"], str(archive), *options(here)]
    killed_half_way(command, lambda: archive.exists() and archive.stat().st_size > 1_000_000, tmp_path)
    with open(archive, "ab") as file:
        file.write(b"what a write that was cut short left")
    done = beautyspot("import", there["db"], str(archive), *options(there))
    assert "is not complete: export once more" in done.stderr
    done = beautyspot(*command)
    assert done.exit_code == 0, done.stderr
    assert 0 < int(done.stdout.split()[0].replace(",", "")) < 3000
    assert beautyspot("import", there["db"], str(archive), *options(there)).stdout == "3,000 moved\n"
    assert answers(there, count, range(3000))


@pytest.mark.parametrize("size", [0, 1, 512, 600, 5000, 100_000, -1, -512, -1024, -10240])
def test_an_archive_that_was_cut_anywhere_is_gone_on_with(
    size: int, here: Places, there: Places, count: Count, tmp_path: Path
) -> None:
    fill(here, count, range(600))
    archive = tmp_path / "results.tar"
    beautyspot("export", here["db"], str(archive), *options(here))
    os.truncate(archive, size if size >= 0 else archive.stat().st_size + size)
    done = beautyspot("export", here["db"], str(archive), *options(here))
    assert done.exit_code == 0 or "is a complete archive already" in done.stderr
    assert beautyspot("import", there["db"], str(archive), *options(there)).stdout == "600 moved\n"
    assert answers(there, count, range(600))


def test_a_complete_archive_is_not_written_over(here: Places, count: Count, tmp_path: Path) -> None:
    fill(here, count, range(3))
    archive = tmp_path / "results.tar"
    beautyspot("export", here["db"], str(archive), *options(here))
    before = archive.read_bytes()
    done = beautyspot("export", here["db"], str(archive), *options(here))
    assert done.exit_code == 1
    assert "is a complete archive already: name another file" in done.stderr
    assert archive.read_bytes() == before


def test_damaged_results_are_left_out_and_told_of(here: Places, there: Places, count: Count, tmp_path: Path) -> None:
    fill(here, count, range(390, 410))
    blobs = sorted((tmp_path / "here").rglob("*-*"))
    blobs[0].write_bytes(b"z" * blobs[0].stat().st_size)
    blobs[1].unlink()
    with bs.Project("p", **here) as project:
        change_rows(project, "size = 395", checksum=b"1234")
    done = beautyspot("import", there["db"], here["db"], *options(there), *options(here, "from-"))
    assert done.exit_code == 1
    assert done.stdout.startswith("17 moved, 3 left out")
    assert "its blob is damaged: its checksum does not fit" in done.stderr
    assert "cannot read the blob" in done.stderr
    assert "its row is damaged: its checksum does not fit" in done.stderr


def test_a_bit_that_flips_in_an_archive_is_noticed(here: Places, there: Places, count: Count, tmp_path: Path) -> None:
    fill(here, count, range(1000, 1003))
    archive = tmp_path / "results.tar"
    beautyspot("export", here["db"], str(archive), *options(here))
    content = bytearray(archive.read_bytes())
    content[content.index(b"y" * 500) + 100] ^= 1
    archive.write_bytes(content)
    done = beautyspot("import", there["db"], str(archive), *options(there))
    assert (done.exit_code, done.stdout[:7]) == (1, "2 moved")
    assert "is damaged: its checksum does not fit" in done.stderr


def test_signed_results_stay_signed(
    here: Places, there: Places, beyond: Places, count: Count, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, archive = "a secret that nobody can guess", str(tmp_path / "results.tar")
    fill(here, count, range(380, 420), secret=secret)
    fill(here, count, range(420, 430))
    beautyspot("export", here["db"], archive, *options(here))
    assert beautyspot("import", there["db"], archive, *options(there)).stdout == "50 moved\n"
    assert answers(there, count, range(380, 420), secret=secret)
    monkeypatch.setenv("BEAUTYSPOT_SECRET", secret)
    done = beautyspot("import", beyond["db"], archive, *options(beyond))
    assert done.stdout.startswith("40 moved, 10 left out")
    assert "it is not signed with this secret" in done.stderr


def test_any_index_and_any_storage_can_be_moved_from_a_program() -> None:
    class Plain:
        """An index with the least that one must have."""

        def __init__(self) -> None:
            db = MemoryTaskDB()
            for name in ("lookup", "upsert", "delete", "summaries", "close"):
                setattr(self, name, getattr(db, name))

    source, target = Shelf(Plain(), MemoryStorage()), Shelf(MemoryTaskDB(), MemoryStorage())  # type: ignore[arg-type]
    with bs.Project("p", db=source.db, storage=source.storage) as project:
        task = project.task(version="1", save_blob=True)(abs)
        bs.map(task, range(300))
    told: list[int] = []
    assert move(source, target, progress=told.append) == Moved(300)
    assert sum(told) == 300
    with bs.Project("p", db=target.db, storage=target.storage) as project:
        assert bs.plan(project.task(version="1", save_blob=True)(abs), range(300)).kept == 300
    assert list(source.db.summaries()) == list(target.db.summaries())


def test_blobs_of_a_page_that_cannot_be_written_are_removed(tmp_path: Path) -> None:
    class Full(MemoryTaskDB):
        def upsert(self, records: Any) -> None:
            raise bs.IndexUnavailableError("full")

    source = Shelf(MemoryTaskDB(), MemoryStorage())
    with bs.Project("p", db=source.db, storage=source.storage) as project:
        bs.map(project.task(save_blob=True)(lambda x: x), range(20))
    target = Shelf(Full(), LocalStorage(tmp_path / "blobs"))
    with pytest.raises(bs.IndexUnavailableError, match="full"):
        move(source, target)
    assert list(target.storage.blobs()) == []


def test_a_large_blob_needs_no_more_memory_than_itself(tmp_path: Path) -> None:
    code = """
        import os, sys, beautyspot as bs
        from beautyspot.archive import Archive
        from beautyspot.moving import Shelf, move
        def peak():
            with open("/proc/self/status") as file:
                return int(next(line for line in file if line.startswith("VmHWM")).split()[1]) // 1024
        project = bs.Project("p", db="p.db", storage_path="blobs")
        project.task(lambda n: bytes(n))(int(sys.argv[1]))
        project.close()
        before = peak()
        archive = Archive("a.tar")
        move(Shelf(project.db, project.storage), archive)
        with bs.Project("q", db="q.db", storage_path="q") as other:
            print(move(archive, Shelf(other.db, other.storage)).moved, peak() - before)
        project.close()
    """
    size = 200 << 20
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(line[8:] for line in code.splitlines()), str(size)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    moved, grown = map(int, done.stdout.split())
    assert moved == 1
    assert grown < 250


# --- archives that were made to do harm


def archive_of(path: Path, *members: tuple[str, bytes]) -> str:
    with tarfile.open(path, "w") as tar:
        for name, content in [("beautyspot-results-1", b""), *members, ("end", b"")]:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return str(path)


def row(**changes: Any) -> list[Any]:
    entry, summary = make_record(1, b"\x01", **changes)
    return [list(entry._replace(checksum=b"\xa5\x05\xdf\x1b")), list(summary), None]


EVIL = {
    "no rows": b"\xc1",
    "a number for rows": msgpack.packb(7),
    "a bomb": b"\xdd\xff\xff\xff\xff" * 100,
    "nested too deep": b"\x91" * 10_000,
    "a pickle": b"cos\nsystem\n(S'touch hacked'\ntR.",
    "short rows": msgpack.packb([[[1], [2], None]]),
    "a key that is none": msgpack.packb([row(key=b"short")]),
    "a text for a value": msgpack.packb([[["t", None, b"", 1, None, b""], *row()[1:]]]),
    "a location of its own": msgpack.packb([[[None, "../../etc/passwd", b"1234", 1, None, b""], *row()[1:]]]),
    "a size below zero": msgpack.packb([[[b"", None, b"1234", -1, None, b""], *row()[1:]]]),
    "a time that is none": msgpack.packb([row(created="now")]),
    "a content type that is none": msgpack.packb([row(content_type=7)]),
}


@pytest.mark.parametrize("case", EVIL)
def test_rows_that_cannot_be_are_refused(case: str, tmp_path: Path, there: Places) -> None:
    archive = archive_of(tmp_path / "evil.tar", ("rows/1", EVIL[case]))
    done = beautyspot("import", there["db"], archive, *options(there))
    assert done.exit_code == 1
    assert "is damaged at rows/1" in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("hack")) == []


def test_members_with_paths_are_not_unpacked(tmp_path: Path, there: Places) -> None:
    rows = ("rows/1", msgpack.packb([row()]))
    archive = archive_of(
        tmp_path / "evil.tar", ("../../outside", b"x"), ("/etc/evil", b"x"), ("blobs/../x", b"x"), rows
    )
    assert beautyspot("import", there["db"], archive, *options(there)).stdout == "1 moved\n"
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == []


def test_a_file_that_is_no_archive_is_left_as_it_is(tmp_path: Path, here: Places, count: Count) -> None:
    fill(here, count, range(3))
    theirs = tmp_path / "theirs.tar"
    with tarfile.open(theirs, "w") as tar:
        tar.add(__file__, "test.py")
    text = tmp_path / "notes.txt"
    text.write_text("my notes\n" * 100)
    short = tmp_path / "short.txt"
    short.write_text("be mine")
    for path in (theirs, text, short):
        before = path.read_bytes()
        done = beautyspot("export", here["db"], str(path), *options(here))
        assert "is no archive of beautyspot's results" in done.stderr
        assert done.exit_code == 1
        assert path.read_bytes() == before
    with pytest.raises(ConfigurationError, match="is no archive"):
        list(Archive(theirs).items())


def test_a_page_that_says_it_is_larger_than_the_file_takes_no_memory(tmp_path: Path) -> None:
    path = Path(archive_of(tmp_path / "evil.tar", ("rows/1", msgpack.packb([row()]))))
    with tarfile.open(path) as tar:
        member = tar.getmember("rows/1")
    archive = Archive(path)
    member.size = 1 << 29
    with pytest.raises(StorageError, match="ends before"):
        list(archive._rows(member))
    member.size = 1 << 40
    with pytest.raises(StorageError, match="is damaged at rows/1"):
        list(archive._rows(member))


# --- the command line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["export", "nowhere.db", "a.tar"], "there is no index at nowhere.db"),
        (["import", "new.db", "nowhere.db"], "there is no index at nowhere.db"),
        (["export", "mysql://host/name", "a.tar"], "no index is known as 'mysql'"),
        (["export", "memory://", "a.tar", "--storage-path", "s3://bucket?x=y"], "a storage in S3 is given as"),
        (["export", "memory://", "a.tar", "--s3-opt", "endpoint_url"], "is written NAME=VALUE"),
        (["export", "postgresql://user:hidden@127.0.0.1:1/n?timeout=1", "a.tar"], "cannot be reached"),
    ],
)
def test_an_error_is_one_line_that_says_what_to_do(
    words: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("beautyspot.db.postgres_sessions._BRIEFLY", 1)
    done = beautyspot(*words)
    assert done.exit_code in (1, 2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert "hidden" not in done.stderr
    assert not Path("nowhere.db").exists()


def test_the_command_is_installed() -> None:
    command = Path(sys.executable).with_name("beautyspot")
    done = subprocess.run([command, "--help"], capture_output=True, text=True, check=True)
    assert "export" in done.stdout
    assert len(done.stdout.splitlines()) <= 24
    done = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert bs.__version__ in done.stdout


def test_keys_do_not_depend_on_where_results_are(here: Places, beyond: Places) -> None:
    keys = set()
    for places in (here, beyond):
        with bs.Project("p", **places) as project:
            keys.add(project.task(version="1")(abs).key(-1))
    assert len(keys) == 1


def test_an_import_does_not_put_the_blobs_of_two_indexes_into_one_directory(
    postgres_url: str, tmp_path: Path, count: Count, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fill({"db": "here.db", "storage_path": "blobs"}, count)
    refused = beautyspot("import", postgres_url, "here.db")
    assert refused.exit_code == 2
    assert "give DB another place with --storage-path" in " ".join(refused.output.replace("│", " ").split())
    assert beautyspot("import", postgres_url, "here.db", "--storage-path", "there").exit_code == 0
    assert answers({"db": postgres_url, "storage_path": "there"}, count)


def test_a_blob_that_only_another_machine_has_is_told_as_that(postgres_url: str, tmp_path: Path, count: Count) -> None:
    fill({"db": postgres_url, "storage_path": tmp_path / "here"}, count, range(450, 455))
    (tmp_path / "there").mkdir()
    with bs.Project("p", db=postgres_url, storage_path=tmp_path / "there") as project:
        with pytest.warns(UnreadableWarning, match="give a storage_path that all reach"):
            task_of(project, count)(450)
