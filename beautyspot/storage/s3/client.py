"""The connection of an S3Storage: its options, and a boto3 client that each process creates when it needs it."""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401 - boto3 needs it, and it cannot be imported after the main thread ended
import importlib.util
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from beautyspot._internal.fork_safety import SurvivesFork
from beautyspot.errors import ConfigurationError

_OF_SESSION = ("profile_name", "region_name", "aws_access_key_id", "aws_secret_access_key", "aws_session_token")
_OF_CLIENT = ("endpoint_url", "verify", "use_ssl", "config")
_SECRET = ("aws_secret_access_key", "aws_session_token")

# Enough for several threads that each transfer several parts; connections beyond these are closed after use.
_CONNECTIONS = 50


class S3Client(SurvivesFork):
    """A boto3 client, created when it is first needed: once in each process, and again after `close`.

    Args:
        options: Options of ``boto3.session.Session`` and of its ``client``, as given by the user.

    Raises:
        ConfigurationError: If boto3 is missing, or an option cannot work.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        _check(options)
        self._options = dict(options)
        self._client: Any = None
        self._lock = threading.Lock()  # two threads must not create sessions at once; they share the client
        self.survive_forks()

    @property
    def secrets(self) -> list[str]:
        """Values that no message may contain."""
        # Without line ends, which a message may show escaped.
        found = [str(self._options.get(name) or "").strip() for name in _SECRET]
        return [secret for secret in found if secret]

    def get(self) -> Any:
        """The client of this process."""
        with self._lock:
            if self._client is None:
                self._client = self._make()
            return self._client

    def close(self) -> None:
        """Close its connections."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def after_fork_in_child(self) -> None:
        """Drop the parent's client without closing it: a lock in it may have been held at the fork."""
        self._lock = threading.Lock()
        self._client = None

    def _make(self) -> Any:
        import boto3
        from botocore.config import Config

        config = Config(
            retries={"mode": "standard", "total_max_attempts": 5},
            connect_timeout=10,
            read_timeout=60,
            tcp_keepalive=True,
            max_pool_connections=_CONNECTIONS,
            response_checksum_validation="when_required",  # the index has checksums; else a blob takes two requests
        )
        given = {name: value for name, value in self._options.items() if value is not None}
        session: Any = boto3.session.Session(**{name: given[name] for name in _OF_SESSION if name in given})
        options = {name: given[name] for name in _OF_CLIENT if name in given}
        return session.client("s3", **{**options, "config": config.merge(given.get("config", Config()))})


def _check(options: Mapping[str, Any]) -> None:
    if importlib.util.find_spec("boto3") is None:
        raise ConfigurationError('blobs at s3:// need boto3: pip install "beautyspot[s3]"')
    known = (*_OF_SESSION, *_OF_CLIENT)
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ConfigurationError(f"s3_opts has no {', '.join(unknown)}; it takes {', '.join(known)}")
    config = options.get("config")
    if config is not None and not callable(getattr(config, "merge", None)):
        raise ConfigurationError(f"config in s3_opts is a botocore.config.Config, not a {type(config).__name__}")
    if "@" in urlsplit(options.get("endpoint_url") or "").netloc:
        raise ConfigurationError(
            "endpoint_url in s3_opts holds credentials: give them as aws_access_key_id and aws_secret_access_key"
        )
