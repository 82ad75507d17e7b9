"""The index in PostgreSQL: restarts, cut connections, refusals, poolers, forks; and locks that end with their owner."""

import asyncio
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import beautyspot as bs
from beautyspot.db import PostgresTaskDB, open_db
from beautyspot.db.postgres import connections
from beautyspot.db.postgres.schema import MIGRATIONS
from beautyspot.errors import ForeignIndexError, NewerIndexError, NotKeptWarning, RejectedIndexError, UnreadableWarning
from beautyspot.testing import Count, make_key, make_record
from tests.support.clocks import quickest
from tests.support.servers import Pooler, PostgresServer, Proxy
from tests.support.tampering import rows


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """A server of the test's own, to be killed."""
    server = PostgresServer()
    yield server
    server.stop()


@pytest.fixture
def proxy(postgres_server: PostgresServer) -> Iterator[Proxy]:
    proxy = Proxy(postgres_server.port)
    yield proxy
    proxy.close()


def through(proxy: Proxy, url: str, port: int) -> str:
    return url.replace(f":{port}/", f":{proxy.port}/")


def start(code: str, cwd: Path, *args: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *args]
    return subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


# --- starting


@pytest.mark.slow
def test_sixteen_processes_start_on_an_empty_database_together(postgres_url: str, tmp_path: Path) -> None:
    code = """
        import sys, time, beautyspot as bs
        task = bs.Project("p", db=sys.argv[3]).task(version="1")(abs)
        while time.time() < float(sys.argv[1]): pass
        print(task(int(sys.argv[2])))
    """
    at = str(time.time() + 4)
    processes = [start(code, tmp_path, at, str(i), postgres_url) for i in range(16)]
    assert [process.communicate(timeout=60) for process in processes] == [(f"{i}\n", "") for i in range(16)]
    with bs.Project("p", db=postgres_url) as project:
        assert all(project.task(version="1")(abs).cached(i) for i in range(16))


def test_a_program_that_closes_nothing_ends_at_once_without_output(postgres_url: str, tmp_path: Path) -> None:
    code = """
        import sys, beautyspot as bs
        task = bs.Project("p", db=sys.argv[1]).task(version="1")(abs)
        print(bs.map(task, range(-50, 0))[0], flush=True)
    """

    def seconds_to_end() -> float:
        process = start(code, tmp_path, postgres_url)
        assert process.stdout is not None
        assert process.stdout.readline() == "50\n"
        began = time.monotonic()
        assert process.communicate(timeout=60) == ("", "")
        return time.monotonic() - began

    assert quickest(seconds_to_end, 4) < 4  # a pool that waits for its threads waits for five seconds


REFUSALS = {
    "wrong password": ("postgres:wrong", "postgres", "password authentication failed"),
    "no password": ("postgres", "postgres", "no password supplied"),
    "unknown user": ("nobody:secret", "postgres", "password authentication failed"),
    "missing database": ("postgres:secret", "nowhere", 'database "nowhere" does not exist'),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refused_connection_is_an_error_before_any_call_runs(
    case: str, postgres_server: PostgresServer, count: Count
) -> None:
    user, database, message = REFUSALS[case]
    with bs.Project("p", db=postgres_server.url_of(database, user=user)) as project:
        task = project.task(lambda x: count())
        with pytest.raises(
            RejectedIndexError, match=f"refuses the connection: .*{message}.*Correct the URL given as db="
        ) as caught:
            task(1)
        with pytest.raises(RejectedIndexError):
            bs.map(task, [1])
    assert len(count) == 0
    assert "secret" not in str(caught.value)
    assert ":wrong@" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://host/name?nonsense=1", "is no URL of a PostgreSQL server: .*nonsense"),
        ("postgresql://user:hidden@host/name?nonsense=1", "postgresql://user@host/name is no URL"),
        ("postgresql://host/name?schema=Not-A-Name", "schema is a name of small letters"),
        ("postgresql://host/name?pool_size=many", "is no number: .*'many'"),
        ("postgresql://host/name?timeout=0", "timeout above 0"),
    ],
)
def test_an_invalid_url_is_rejected_at_once(url: str, message: str) -> None:
    with pytest.raises(bs.ConfigurationError, match=message) as caught:
        open_db(url)
    assert "hidden" not in str(caught.value)


def test_an_error_says_that_the_role_may_not_create_tables(postgres_server: PostgresServer) -> None:
    postgres_server.execute("DROP ROLE IF EXISTS guest", "CREATE ROLE guest LOGIN PASSWORD 'g'")
    with bs.Project("p", db=postgres_server.url_of("postgres", user="guest:g") + "?schema=not_yours") as project:
        with pytest.raises(
            RejectedIndexError, match=r"does not permit creating the tables: permission denied.*Grant CREATE"
        ):
            project.task(lambda x: x)(1)


def test_a_role_that_may_only_read_gets_cached_results(
    postgres_server: PostgresServer, postgres_url: str, count: Count
) -> None:
    with bs.Project("p", db=postgres_url) as project:
        project.task(version="1")(abs)(-1)
    schema = postgres_url.partition("=")[2]
    postgres_server.execute(
        "DROP ROLE IF EXISTS reader",
        "CREATE ROLE reader LOGIN PASSWORD 'r'",
        f"GRANT USAGE ON SCHEMA {schema} TO reader",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO reader",
    )
    with bs.Project("p", db=postgres_url.replace("postgres:secret", "reader:r")) as project:
        task = project.task(version="1")(abs)
        assert task.cached(-1)
        assert task(-1) == 1
        with pytest.warns(NotKeptWarning, match="permission denied for table results"):
            assert task(-2) == 2
    postgres_server.execute("DROP OWNED BY reader")


def test_tables_of_another_program_are_rejected_and_left_as_they_are(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    schema = postgres_url.partition("=")[2]
    postgres_server.execute(f"CREATE SCHEMA {schema}", f"CREATE TABLE {schema}.results (theirs int)")
    with bs.Project("p", db=postgres_url) as project:
        with pytest.raises(ForeignIndexError, match="holds tables of another program"):
            project.task(lambda x: x)(1)
    tables = postgres_server.execute(f"SELECT tablename FROM pg_tables WHERE schemaname = '{schema}'")
    assert tables == [("results",)]


def test_tables_of_a_newer_beautyspot_are_rejected(postgres_server: PostgresServer, postgres_url: str) -> None:
    with bs.Project("p", db=postgres_url) as project:
        project.task(lambda x: x)(1)
    schema = postgres_url.partition("=")[2]
    postgres_server.execute(f"INSERT INTO {schema}.migrations VALUES ({len(MIGRATIONS) + 1}, 0)")
    with bs.Project("p", db=postgres_url) as project:
        with pytest.raises(NewerIndexError, match="Install the newer beautyspot"):
            project.task(lambda x: x)(1)


def test_every_migration_has_its_record(postgres_url: str, postgres_server: PostgresServer) -> None:
    with bs.Project("p", db=postgres_url) as project:
        project.task(lambda x: x)(1)
    numbers = postgres_server.execute(f"SELECT number FROM {postgres_url.partition('=')[2]}.migrations ORDER BY 1")
    assert numbers == [(n,) for n in range(1, len(MIGRATIONS) + 1)]


def test_a_pickled_copy_opens_the_same_index_and_no_text_shows_the_password(postgres_url: str) -> None:
    db = PostgresTaskDB(postgres_url, pool_size=2)
    db.upsert([make_record(1)])
    copy = pickle.loads(pickle.dumps(db))
    assert make_key(1) in copy.lookup([make_key(1)])
    assert repr(copy) == repr(db)
    assert "secret" not in repr(db)
    db.close()
    copy.close()


def test_arguments_override_options_in_the_url(postgres_server: PostgresServer) -> None:
    query = "schema=from_url&pool_size=2&timeout=7.5&sslmode=prefer"
    db = PostgresTaskDB(f"{postgres_server.url}?{query}", timeout=3)
    copy = pickle.loads(pickle.dumps(db))
    for each in (db, copy):
        assert (each._schema, each._connections.size, each._connections.timeout) == ("from_url", 2, 3)
        assert each._connections.url == f"{postgres_server.url}?sslmode=prefer"
    db.upsert([make_record(1)])
    assert postgres_server.execute("SELECT count(*) FROM from_url.results") == [(1,)]
    db.close()
    postgres_server.execute("DROP SCHEMA from_url CASCADE")


def test_characters_that_postgresql_cannot_store_are_replaced_in_texts(postgres_url: str) -> None:
    with bs.Project("p", db=postgres_url, on_save_error="raise") as project:
        echo = project.task(lambda text: text)
        for text in ("a\0b", "a\udc80b", "日本"):
            assert echo(text) == text
            assert echo.cached(text)
            with pytest.raises(ValueError, match="oops"):
                project.task(lambda t: int(f"oops {t}"))(text)
        assert len(list(project.db.failures())) == 3  # type: ignore[attr-defined]


# --- speed that does not come by itself


class Counting(PostgresTaskDB):
    """Counts the statements that are sent to the server."""

    statements = 0

    def __init__(self, url: str) -> None:
        super().__init__(url)
        run = self._connections.run

        def counted(action: Callable[[Any], Any]) -> Any:
            self.statements += 1
            return run(action)

        self._connections.run = counted  # type: ignore[method-assign]

    def try_lock_many(self, keys: Sequence[bytes]) -> set[bytes]:
        self.statements += 1
        return super().try_lock_many(keys)

    def unlock_many(self, keys: Sequence[bytes]) -> None:
        self.statements += 1
        super().unlock_many(keys)


def test_ten_thousand_cached_results_are_read_in_few_statements(postgres_url: str) -> None:
    db = Counting(postgres_url)
    with bs.Project("p", db=db) as project:
        task = project.task(lambda x: x)
        bs.map(task, range(10_000))
        db.statements = 0
        assert bs.map(task, range(10_000)) == list(range(10_000))
        assert db.statements <= 25
    db.close()


def test_quick_calls_are_locked_and_stored_many_at_a_time(postgres_url: str) -> None:
    db = Counting(postgres_url)
    with bs.Project("p", db=db) as project:
        assert bs.map(project.task(lambda x: x), range(5000)) == list(range(5000))
        assert db.statements < 2000  # one by one it would be 25,000
    db.close()


def test_writers_of_the_same_rows_do_not_deadlock(postgres_url: str) -> None:
    records = [make_record(i) for i in range(400)]
    db = PostgresTaskDB(postgres_url)
    began = time.monotonic()
    threads = [
        threading.Thread(target=lambda order: [db.upsert(order) for _ in range(15)], args=(order,))
        for order in (records, records[::-1], records[200:] + records[:200])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - began < 15  # a deadlock is noticed after a second
    assert len(db.lookup([make_key(i) for i in range(400)])) == 400
    db.close()


def test_a_server_that_is_serializable_by_default_works(postgres_server: PostgresServer, postgres_url: str) -> None:
    postgres_server.execute("ALTER ROLE postgres SET default_transaction_isolation = 'serializable'")
    try:
        with bs.Project("p", db=postgres_url, on_save_error="raise") as project:
            task = project.task(lambda x: x)
            assert bs.map(task, [*range(300), *range(300)], workers=8) == [*range(300), *range(300)]
            assert all(task.cached(x) for x in range(300))
    finally:
        postgres_server.execute("ALTER ROLE postgres RESET default_transaction_isolation")


# --- failures


def test_a_restart_in_the_middle_of_a_map_loses_nothing(server: PostgresServer, count: Count) -> None:
    with bs.Project("p", db=server.url, on_save_error="raise") as project:

        def function(x: int) -> int:
            time.sleep(0.01)
            count(x)
            return x

        task = project.task(ignore=("count",))(function)
        results: list[Any] = []
        running = threading.Thread(target=lambda: results.extend(bs.map(task, range(300), workers=4)))
        running.start()
        for _ in range(2):
            time.sleep(0.2)
            server.kill()
            time.sleep(0.3)
            server.start()
        running.join(60)
        assert results == list(range(300))
        assert bs.plan(task, range(300)).kept == 300
    # Only what ran at the instant of a kill lost its lock, and nobody else was there to run it.
    assert sorted(map(int, count.lines)) == list(range(300))


@pytest.mark.slow
def test_connections_that_are_lost_in_the_middle_of_a_map_are_replaced(
    postgres_server: PostgresServer, postgres_url: str, proxy: Proxy
) -> None:
    with bs.Project("p", db=through(proxy, postgres_url, postgres_server.port), on_save_error="raise") as project:
        task = project.task(lambda x: time.sleep(0.002) or x)
        results: list[Any] = []
        running = threading.Thread(target=lambda: results.extend(bs.map(task, range(500), workers=8)))
        running.start()
        cuts = 0
        while running.is_alive():
            time.sleep(0.07)
            proxy.cut()
            cuts += 1
        assert results == list(range(500))
        assert cuts > 3
        assert bs.plan(task, range(500)).kept == 500


def test_without_its_server_a_map_runs_and_stores_nothing(
    server: PostgresServer, count: Count, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_RETRY_AFTER", 0.5)  # a test waits for less long
    db = PostgresTaskDB(server.url, timeout=1)
    with bs.Project("p", db=db) as project:
        task = project.task(lambda x: count() or x)
        task(1)
        server.kill()
        began = time.monotonic()
        with pytest.warns(bs.BeautyspotWarning) as caught:
            assert [task(x) for x in range(100)] == list(range(100))
        assert time.monotonic() - began < 40  # and not a second for each of them
        texts = [str(warning.message) for warning in caught]
        assert [warning.category for warning in caught] == [UnreadableWarning, NotKeptWarning]
        assert all("cannot be reached: connection to server at" in text and "refused" in text for text in texts)
        assert len(count) == 101
        server.start()
        time.sleep(0.6)
        assert task(1) == 1
        assert task(500) == 500
        assert task.cached(500)
        assert len(count) == 102
    db.close()


def test_with_a_full_disk_a_map_runs_and_stores_nothing(count: Count) -> None:
    server = PostgresServer()
    server.largest_file = 16 << 20  # a log of PostgreSQL's has that size; the tables may grow no further
    server.stop_process()
    server.start()
    with bs.Project("p", db=server.url) as project:
        task = project.task(save_blob=False)(lambda x: count() or os.urandom(1 << 20))
        with pytest.warns(NotKeptWarning, match="could not extend file|could not write") as caught:
            values = [task(x) for x in range(30)]
        assert len(caught) == 1
        kept = [task.peek(x) for x in range(30)]
        assert 0 < sum(value is not None for value in kept) < 30
        assert all(value in (None, mine) for value, mine in zip(kept, values, strict=True))
    server.stop()


def test_a_server_that_does_not_answer_does_not_block_the_event_loop(
    postgres_server: PostgresServer, postgres_url: str, proxy: Proxy
) -> None:
    async def main(project: bs.Project) -> int:
        @project.task(version="1")
        async def double(x: int) -> int:
            return 2 * x

        assert await double(1) == 2
        proxy.hold()
        turns = 0  # of the loop, in a second and a half in which nothing is answered
        calls = asyncio.gather(*[double(x) for x in range(20)])
        asyncio.get_running_loop().call_later(1.5, proxy.let_go)
        while not calls.done():
            await asyncio.sleep(0.001)
            turns += proxy.holds
        assert await calls == [2 * x for x in range(20)]
        return turns

    with bs.Project("p", db=through(proxy, postgres_url, postgres_server.port)) as project:
        assert asyncio.run(main(project)) > 30


# --- one execution per key


JOB = """
    import os, sys, time, beautyspot as bs
    project = bs.Project("p", db=os.environ["INDEX"])

    @project.task
    def slow(x):
        print("running", flush=True)
        if sys.argv[1] == "forks" and os.fork() == 0:
            print(os.getpid(), flush=True)
            time.sleep(60)
        time.sleep(60 if sys.argv[1] != "waits" else 0)
        return x

    print("starting", flush=True)
    slow(1)
"""


def job(role: str, cwd: Path, url: str) -> "subprocess.Popen[str]":
    (cwd / "job.py").write_text(textwrap.dedent(JOB))
    environment = {**os.environ, "INDEX": url}
    return subprocess.Popen(
        [sys.executable, "job.py", role], cwd=cwd, env=environment, stdout=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("role", ["runs", "forks"])
def test_the_lock_of_a_killed_process_is_released_at_once(postgres_url: str, tmp_path: Path, role: str) -> None:
    # Also where a child of his is still there, which has copies of his connections.
    with job(role, tmp_path, postgres_url) as owner:
        lines = [owner.stdout.readline().strip() for _ in range(3 if role == "forks" else 2)]  # type: ignore[union-attr]
        assert "running" in lines
        with job("waits", tmp_path, postgres_url) as waiter:
            assert waiter.stdout is not None
            assert waiter.stdout.readline() == "starting\n"
            time.sleep(0.5)
            assert waiter.poll() is None
            owner.kill()
            began = time.monotonic()
            assert waiter.stdout.readline() == "running\n"
            assert time.monotonic() - began < 20  # of the minute that the call lasts
            assert waiter.wait(60) == 0
        for line in lines:
            if line.isdigit():
                os.kill(int(line), signal.SIGKILL)


def test_two_projects_with_one_index_object_run_a_key_once(postgres_url: str, count: Count) -> None:
    db = PostgresTaskDB(postgres_url)
    projects = [bs.Project("p", db=db) for _ in range(2)]
    tasks = [project.task(version="1")(lambda x: time.sleep(0.3) or count() or x) for project in projects]
    assert tasks[0].key(1) == tasks[0].key(1)
    task = projects[0].task(version="same", key=lambda x: x)(slow)
    other = projects[1].task(version="same", key=lambda x: x)(slow)
    assert task.key(1, count) == other.key(1, count)
    threads = [threading.Thread(target=each, args=(1, count)) for each in (task, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(count) == 1
    for project in projects:
        project.close()
    db.close()


def slow(x: int, count: Any) -> int:
    time.sleep(0.3)
    count(x)
    return x


def test_a_new_session_acquires_the_locks_of_a_lost_one(
    postgres_server: PostgresServer, postgres_url: str, proxy: Proxy
) -> None:
    mine = PostgresTaskDB(through(proxy, postgres_url, postgres_server.port))
    theirs = PostgresTaskDB(postgres_url)
    assert mine.try_lock_many([make_key(1), make_key(2)]) == {make_key(1), make_key(2)}
    assert not theirs.try_lock(make_key(1))
    proxy.cut()
    assert mine.try_lock(make_key(3))
    assert theirs.try_lock_many([make_key(1), make_key(2), make_key(3), make_key(4)]) == {make_key(4)}
    mine.unlock_many([make_key(1), make_key(2)])
    assert theirs.try_lock(make_key(1))
    mine.close()
    theirs.lock(make_key(3))  # in a moment: the server has to notice
    theirs.close()


def test_a_call_that_waits_for_a_lock_runs_when_its_server_is_gone(server: PostgresServer) -> None:
    theirs, mine = PostgresTaskDB(server.url, timeout=1), PostgresTaskDB(server.url, timeout=1)
    with bs.Project("p", db=mine) as project:
        task = project.task(version="1")(abs)
        assert theirs.try_lock(bytes.fromhex(task.key(-1)))
        results: list[int] = []
        waiting = threading.Thread(target=lambda: results.append(task(-1)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", bs.BeautyspotWarning)
            waiting.start()
            time.sleep(0.3)
            assert results == []
            server.kill()
            waiting.join(20)
        assert results == [1]
    for db in (theirs, mine):
        db.close()


def test_a_lock_released_while_the_server_is_away_is_free_afterwards(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_RETRY_AFTER", 0.1)
    mine, theirs = PostgresTaskDB(server.url, timeout=0.5), PostgresTaskDB(server.url)
    assert mine.try_lock_many([make_key(1), make_key(2)]) == {make_key(1), make_key(2)}
    server.kill()
    mine.unlock(make_key(1))
    server.start()
    time.sleep(0.2)
    assert mine.try_lock(make_key(3))  # which takes key 2 again
    assert theirs.try_lock_many([make_key(1), make_key(2), make_key(3)]) == {make_key(1)}
    for db in (theirs, mine):
        db.close()


@pytest.mark.slow
def test_a_full_lock_table_loses_no_held_lock() -> None:
    small = PostgresServer(max_connections="12", max_locks_per_transaction="10")
    mine, theirs = PostgresTaskDB(small.url, timeout=0.5), PostgresTaskDB(small.url)
    mine.lookup([make_key(0)])
    assert mine.try_lock(make_key(0))
    with pytest.raises(bs.IndexUnavailableError, match="max_locks_per_transaction"):
        mine.try_lock_many([make_key(i) for i in range(1, 5000)])
    assert not theirs.try_lock(make_key(0))
    assert theirs.try_lock_many([make_key(i) for i in range(1, 20)]) == {make_key(i) for i in range(1, 20)}
    for db in (theirs, mine):
        db.close()
    small.stop()


def test_a_cancelled_waiter_leaves_no_lock_behind(postgres_url: str) -> None:
    theirs = PostgresTaskDB(postgres_url)

    async def main(project: bs.Project) -> None:
        @project.task(version="1")
        async def double(x: int) -> int:
            return 2 * x

        key = bytes.fromhex(double.key(1))
        assert theirs.try_lock(key)
        waiters = [asyncio.create_task(double(1)) for _ in range(3)]
        await asyncio.sleep(0.1)
        waiters[0].cancel()  # the one that asks the index
        await asyncio.sleep(0.05)
        theirs.unlock(key)
        assert await asyncio.gather(*waiters[1:]) == [2, 2]
        # Cancelled in any moment of asking: nothing is held afterwards.
        for i in range(40):
            asking = asyncio.create_task(double(100 + i))
            await asyncio.sleep(0.0002 * i)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    with bs.Project("p", db=postgres_url) as project:
        asyncio.run(main(project))
        project._io_executor().shutdown(wait=True)
        assert project.db._locks._held == set()  # type: ignore[attr-defined]
    theirs.close()


@pytest.mark.slow
def test_a_thread_that_is_interrupted_while_it_acquires_leaves_no_lock_behind(
    postgres_url: str, tmp_path: Path
) -> None:
    code = """
        import os, signal, sys, threading, time, warnings
        warnings.simplefilter("ignore", ResourceWarning)  # of a connection that was just being made
        from beautyspot.db import PostgresTaskDB
        from beautyspot.testing import make_key
        db = PostgresTaskDB(sys.argv[1])
        db.try_lock(make_key(0))
        db.unlock(make_key(0))
        others = threading.Thread(target=lambda: [(db.try_lock(k), db.unlock(k)) for k in map(make_key, range(9000, 11000))])
        others.start()
        for i in range(200):
            timer = threading.Timer(0.00002 * i, os.kill, (os.getpid(), signal.SIGINT))
            keys = [make_key(10 * i + n) for n in range(5)]
            try:
                timer.start()
                for key in keys:
                    db.try_lock(key)
                    db.unlock(key)
                timer.join()
                time.sleep(0.01)
            except KeyboardInterrupt:
                db.unlock_many(keys)
        others.join()
        free = PostgresTaskDB(sys.argv[1])
        held = [i for i in range(2000) if not free.try_lock(make_key(i))]
        free.close()
        print(len(held) + len(db._locks._held))
    """
    process = start(code, tmp_path, postgres_url)
    out, err = process.communicate(timeout=100)
    assert err == ""
    assert int(out) == 0


def test_parent_and_child_both_work_after_a_fork(postgres_url: str) -> None:
    with bs.Project("p", db=postgres_url) as project:
        task = project.task(version="1")(abs)
        assert task(-1) == 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12 on, for any fork beside threads
            child = os.fork()
        if child == 0:
            code = 1
            try:
                code = 0 if (task(-1), task(-2), task.cached(-2)) == (1, 2, True) else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert task(-3) == 3
        assert task.cached(-2)
        assert len(rows(project, "key")) == 3


# --- a pooler before the server


def test_a_pooler_in_session_mode_works(postgres_server: PostgresServer, postgres_url: str) -> None:
    pooler = Pooler(postgres_server, "session")
    with bs.Project("p", db=postgres_url.replace(f":{postgres_server.port}/", f":{pooler.port}/")) as project:
        task = project.task(lambda x: x)
        assert bs.map(task, range(200), workers=8) == list(range(200))
        assert bs.plan(task, range(200)).kept == 200
    pooler.stop()


def test_a_pooler_in_transaction_mode_is_rejected_with_the_cure(
    postgres_server: PostgresServer, postgres_url: str, count: Count
) -> None:
    pooler = Pooler(postgres_server, "transaction")
    url = postgres_url.replace(f":{postgres_server.port}/", f":{pooler.port}/")
    with bs.Project("p", db=url) as project, pytest.raises(RejectedIndexError, match=r"lock_url=.*session mode"):
        project.task(lambda x: count() or x)(1)
    assert len(count) == 0
    db = PostgresTaskDB(url, lock_url=postgres_server.url)
    with bs.Project("p", db=db, on_save_error="raise") as project:
        task = project.task(lambda x: count() or x)
        assert bs.map(task, [*range(300), *range(300)], workers=8) == [*range(300), *range(300)]
        assert bs.plan(task, range(300)).kept == 300
        copy = pickle.loads(pickle.dumps(project))
        assert copy.db.try_lock(make_key(1))
        copy.close()
    db.close()
    pooler.stop()
    assert len(count) == 300


def test_two_processes_behind_a_pooler_run_a_key_once(
    postgres_server: PostgresServer, postgres_url: str, tmp_path: Path
) -> None:
    pooler = Pooler(postgres_server, "transaction")
    url = postgres_url.replace(f":{postgres_server.port}/", f":{pooler.port}/")
    code = """
        import os, sys, time, beautyspot as bs
        from beautyspot.db import PostgresTaskDB
        project = bs.Project("p", db=PostgresTaskDB(sys.argv[1], lock_url=sys.argv[2]))
        task = project.task(version="1")(lambda x: os.write(1, b"%d " % x) and time.sleep(0.01))
        while time.time() < float(sys.argv[3]): pass
        bs.map(task, range(60), workers=4)
    """
    at = str(time.time() + 2)
    processes = [start(code, tmp_path, url, postgres_server.url, at) for _ in range(2)]
    outs = [process.communicate(timeout=60) for process in processes]
    assert [err for _, err in outs] == ["", ""]
    ran = [line for out, _ in outs for line in out.split()]
    assert sorted(map(int, ran)) == list(range(60))
    pooler.stop()
