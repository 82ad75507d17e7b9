"""Results are moved with their blobs, between any two places, and answer there under their keys."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import beautyspot as bs
from beautyspot.cli import main
from beautyspot.db import MemoryTaskDB
from beautyspot.errors import UnreadableWarning
from beautyspot.maintenance.transfer import TransferEndpoint, TransferReport, move
from beautyspot.storage import LocalStorage, MemoryStorage
from beautyspot.testing import Count
from tests.support.servers import S3Server
from tests.support.tampering import change_rows

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


def test_a_disk_carries_results_between_places_that_no_machine_reaches_both(
    here: Places, beyond: Places, count: Count, tmp_path: Path
) -> None:
    fill(here, count)
    disk = tmp_path / "disk"
    disk.mkdir()
    done = beautyspot("import", str(disk / "results.db"), here["db"], *options(here, "from-"))
    assert (done.exit_code, done.stdout) == (0, "500 moved\n")
    disk.rename(tmp_path / "carried")
    done = beautyspot("import", beyond["db"], str(tmp_path / "carried" / "results.db"), *options(beyond))
    assert (done.exit_code, done.stdout) == (0, "500 moved\n")
    assert answers(beyond, count)


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


def test_damaged_results_are_left_out_and_reported(here: Places, there: Places, count: Count, tmp_path: Path) -> None:
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


def test_signed_results_stay_signed(
    here: Places, there: Places, beyond: Places, count: Count, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "a secret that nobody can guess"
    fill(here, count, range(380, 420), secret=secret)
    fill(here, count, range(420, 430))
    done = beautyspot("import", there["db"], here["db"], *options(there), *options(here, "from-"))
    assert done.stdout == "50 moved\n"
    assert answers(there, count, range(380, 420), secret=secret)
    monkeypatch.setenv("BEAUTYSPOT_SECRET", secret)
    done = beautyspot("import", beyond["db"], there["db"], *options(beyond), *options(there, "from-"))
    assert done.stdout.startswith("40 moved, 10 left out")
    assert "it is not signed with this secret" in done.stderr


def test_any_index_and_any_storage_can_be_moved_from_a_program() -> None:
    class Plain:
        """An index with the least that one must have."""

        def __init__(self) -> None:
            db = MemoryTaskDB()
            for name in ("lookup", "upsert", "delete", "summaries", "close"):
                setattr(self, name, getattr(db, name))

    source, target = TransferEndpoint(Plain(), MemoryStorage()), TransferEndpoint(MemoryTaskDB(), MemoryStorage())  # type: ignore[arg-type]
    with bs.Project("p", db=source.db, storage=source.storage) as project:
        task = project.task(version="1", save_blob=True)(abs)
        bs.map(task, range(300))
    told: list[int] = []
    assert move(source, target, progress=told.append) == TransferReport(300)
    assert sum(told) == 300
    with bs.Project("p", db=target.db, storage=target.storage) as project:
        assert bs.plan(project.task(version="1", save_blob=True)(abs), range(300)).kept == 300
    assert list(source.db.summaries()) == list(target.db.summaries())


def test_blobs_of_a_page_that_cannot_be_written_are_removed(tmp_path: Path) -> None:
    class Full(MemoryTaskDB):
        def upsert(self, records: Any) -> None:
            raise bs.IndexUnavailableError("full")

    source = TransferEndpoint(MemoryTaskDB(), MemoryStorage())
    with bs.Project("p", db=source.db, storage=source.storage) as project:
        bs.map(project.task(save_blob=True)(lambda x: x), range(20))
    target = TransferEndpoint(Full(), LocalStorage(tmp_path / "blobs"))
    with pytest.raises(bs.IndexUnavailableError, match="full"):
        move(source, target)
    assert list(target.storage.blobs()) == []


@pytest.mark.slow
def test_a_large_blob_needs_no_more_memory_than_itself(tmp_path: Path) -> None:
    code = """
        import os, sys, beautyspot as bs
        from beautyspot.maintenance.transfer import TransferEndpoint, move
        def peak():
            with open("/proc/self/status") as file:
                return int(next(line for line in file if line.startswith("VmHWM")).split()[1]) // 1024
        project = bs.Project("p", db="p.db", storage_path="blobs")
        project.task(lambda n: bytes(n))(int(sys.argv[1]))
        project.close()
        before = peak()
        with bs.Project("q", db="q.db", storage_path="q") as other:
            source = TransferEndpoint(project.db, project.storage)
            print(move(source, TransferEndpoint(other.db, other.storage)).moved, peak() - before)
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


# --- the command line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["export", "nowhere.db", "a.csv"], "there is no index at nowhere.db"),
        (["import", "new.db", "nowhere.db"], "there is no index at nowhere.db"),
        (["export", "mysql://host/name", "a.csv"], "no index is known as 'mysql'"),
        (["export", "memory://", "a.csv", "--storage-path", "s3://bucket?x=y"], "a storage in S3 is given as"),
        (["export", "memory://", "a.csv", "--s3-opt", "endpoint_url"], "is written NAME=VALUE"),
        (["export", "postgresql://user:hidden@127.0.0.1:1/n?timeout=1", "a.csv"], "cannot be reached"),
    ],
)
def test_an_error_is_one_line_that_says_what_to_do(
    words: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("beautyspot.db.postgres.connections._BRIEFLY", 1)
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


def test_a_blob_that_only_another_machine_has_is_reported_so(postgres_url: str, tmp_path: Path, count: Count) -> None:
    fill({"db": postgres_url, "storage_path": tmp_path / "here"}, count, range(450, 455))
    (tmp_path / "there").mkdir()
    with bs.Project("p", db=postgres_url, storage_path=tmp_path / "there") as project:
        with pytest.warns(UnreadableWarning, match="give a storage_path that all reach"):
            task_of(project, count)(450)
