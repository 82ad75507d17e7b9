"""Clients and sessions against a server of the test."""

import contextlib
import http.server
import sqlite3
import threading

import pytest
import requests


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.paths.append(self.path)
        body = f"page {self.path}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Set-Cookie", f"visits={len(self.server.paths)}")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.paths = []
        server.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_session_with_cookies(project, fresh, server):
    url = server.url
    with requests.Session() as session:
        session.headers["User-Agent"] = "ours"

        @project.task(ignore="url")
        def fetch(path):
            return session.get(url + path).text

        assert [fetch("/a"), fetch("/b"), fetch("/a")] == ["page /a", "page /b", "page /a"]
        assert len(session.cookies) == fresh(1)
        assert server.paths == fresh(["/a", "/b"])
        session.headers["User-Agent"] = "other"
        assert fetch("/a") == "page /a"
    assert server.paths[-1:] == fresh(["/a"])


def test_a_session_as_an_argument(project, fresh, server):
    @project.task(ignore="url")
    def fetch(session, path, url):
        return session.get(url + path).text

    with requests.Session() as session, requests.Session() as other:
        other.auth = ("user", "password")
        assert fetch(session, "/a", server.url) == "page /a"
        assert fetch(other, "/a", server.url) == "page /a"
        assert fetch(requests.Session(), "/a", server.url) == "page /a"
    assert server.paths == fresh(["/a", "/a"])


def test_sqlite_in_memory(project, fresh):
    with contextlib.closing(sqlite3.connect(":memory:")) as db:
        db.execute("CREATE TABLE log (x)")

        @project.task
        def double(x):
            db.execute("INSERT INTO log VALUES (?)", (x,))
            return 2 * x

        assert [double(1), double(2), double(1)] == [2, 4, 2]
        assert db.execute("SELECT count(*) FROM log").fetchone()[0] == fresh(2)


def test_sqlite_in_a_file(project, fresh, tmp_path):
    with contextlib.closing(sqlite3.connect(tmp_path / "users.db")) as db:
        db.execute("CREATE TABLE users (name)")
        db.execute("INSERT INTO users VALUES ('a')")
        log = []

        @project.task
        def count(table):
            log.append(table)
            return db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]

        assert [count("users"), count("users")] == [1, 1]
    assert log == ["users"]
