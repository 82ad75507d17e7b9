"""Security headers of every answer of our server, and the hosts for which it answers.

Each page's own scripts carry a nonce that its content security policy names, so a script that a result smuggled in
would not run: the second line of defence, after escaping and frames. Requests for other host names are refused, so
that a foreign page cannot reach the app by pointing its own name here (DNS rebinding).
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable
from typing import Any

from tornado.httputil import HTTPHeaders
from tornado.web import OutputTransform

__all__ = ["LOOPBACK", "host_of", "security"]

LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]", "::1"})

_SCRIPT = re.compile(rb"<script(?=[\s>])")
_SAME = "'self'"


def _policy(nonce: str | None) -> str:
    # Bokeh makes functions of texts (unsafe-eval), and Panel loads modules from blobs.
    scripts = f"{_SAME} 'unsafe-eval' blob: data:" + (f" 'nonce-{nonce}'" if nonce else "")
    rules = {
        "default-src": _SAME,
        "script-src": scripts,
        "style-src": f"{_SAME} 'unsafe-inline'",
        "img-src": f"{_SAME} data: blob:",
        "media-src": f"{_SAME} data: blob:",
        "font-src": f"{_SAME} data:",
        "connect-src": f"{_SAME} blob: data:",
        "frame-src": _SAME,
        "worker-src": f"{_SAME} blob:",
        "object-src": "'none'",
        "base-uri": "'none'",
        "form-action": _SAME,
        "frame-ancestors": _SAME,
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def host_of(address: str) -> str:
    """The host of ``host:port`` or of a host alone."""
    return address if address.endswith("]") or ":" not in address else address.rpartition(":")[0]


def security(hosts: Iterable[str] | None) -> Callable[[Any], OutputTransform]:
    """What Tornado is given to change answers with.

    Args:
        hosts: For which the server answers, without ports; ``None``: for any.
    """
    allowed = None if hosts is None else {host.lower() for host in hosts}
    return lambda request: _Secured(request, allowed)


class _Secured(OutputTransform):
    def __init__(self, request: Any, allowed: set[str] | None) -> None:
        self._allowed = allowed is None or host_of(request.host).lower() in allowed

    def transform_first_chunk(
        self, status_code: int, headers: HTTPHeaders, chunk: bytes, finishing: bool
    ) -> tuple[int, HTTPHeaders, bytes]:
        """Add the policy and the nonces, or refuse."""
        if not self._allowed:
            body = b"This host name is not one of this server's: give it as --allow-origin.\n"
            for name in list(headers):
                del headers[name]
            headers["Content-Type"] = "text/plain; charset=utf-8"
            headers["Content-Length"] = str(len(body))
            headers["Content-Security-Policy"] = _policy(None)
            return 403, headers, body
        is_page = headers.get("Content-Type", "").startswith("text/html") and finishing
        nonce = secrets.token_urlsafe(16) if is_page else None
        if "Content-Security-Policy" not in headers:
            headers["Content-Security-Policy"] = _policy(nonce)
            if nonce is not None:
                chunk = _SCRIPT.sub(b'<script nonce="%s"' % nonce.encode(), chunk)
                if "Content-Length" in headers:
                    headers["Content-Length"] = str(len(chunk))
        headers["Referrer-Policy"] = "no-referrer"
        return status_code, headers, chunk

    def transform_chunk(self, chunk: bytes, finishing: bool) -> bytes:
        """Further parts of an answer; of a refused one, nothing."""
        return chunk if self._allowed else b""
