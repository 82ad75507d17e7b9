"""Who is let in: those who know a token or a password; everyone, where neither was set.

The token stands in the address that is printed, once: it is exchanged for a cookie, so that it is in no page, no
bookmark and no log of a proxy. Basic authentication is HTTP's own, so that there is no page to log in on.
"""

from __future__ import annotations

import base64
import hmac
import secrets
from typing import Any

from bokeh.server.auth_provider import AuthProvider
from tornado.web import RequestHandler

__all__ = ["Gate"]

_LONGEST = 10_000  # browsers that are remembered


class Gate(AuthProvider):
    """Lets requests in, for pages, websockets and values alike.

    Args:
        token: That opens the address ``/enter?token=…``; ``None``: there is none.
        basic_auth: ``user:password``; ``None``: there is none.
    """

    def __init__(self, token: str | None = None, basic_auth: str | None = None) -> None:
        self._token = token
        self._basic = None if basic_auth is None else "Basic " + base64.b64encode(basic_auth.encode()).decode()
        self._cookie = f"beautyspot-{secrets.token_hex(4)}"  # apps on several ports share the cookies of a host
        self._sessions: dict[str, None] = {}
        super().__init__()

    def knows(self, handler: RequestHandler) -> bool:
        """Whether a request comes from someone who was let in, or may be now."""
        if (handler.get_cookie(self._cookie) or "") in self._sessions:
            return True
        given = handler.request.headers.get("Authorization", "")
        return self._basic is not None and hmac.compare_digest(given.encode(), self._basic.encode())

    def enter(self, handler: RequestHandler) -> bool:
        """Let the browser of a request in, from now on, if it shows the token or the password."""
        given = handler.get_query_argument("token", "")
        is_right = self._token is not None and hmac.compare_digest(given.encode(), self._token.encode())
        if not (is_right or self.knows(handler)):
            return False
        session = secrets.token_urlsafe(32)
        self._sessions[session] = None
        while len(self._sessions) > _LONGEST:
            self._sessions.pop(next(iter(self._sessions)))
        handler.set_cookie(self._cookie, session, httponly=True, samesite="Strict")
        return True

    @property
    def asks_for_password(self) -> bool:
        """Whether a browser is to ask its user."""
        return self._basic is not None

    @property
    def get_user(self) -> Any:
        """Asked by Bokeh with every request."""
        return lambda handler: "guest" if self.knows(handler) else None

    @property
    def login_url(self) -> str:
        """Where those are sent who are not known."""
        return "/enter"

    @property
    def login_handler(self) -> Any:
        """What answers there."""
        return _Enter


class _Enter(RequestHandler):
    """Exchanges a token or a password for a cookie."""

    def get(self) -> None:
        """Let in, or refuse."""
        gate: Gate = self.application.auth_provider  # type: ignore[attr-defined]
        if gate.enter(self):
            self.redirect("./")
            return
        self.set_status(401)
        if gate.asks_for_password:
            self.set_header("WWW-Authenticate", 'Basic realm="beautyspot", charset="UTF-8"')
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish("Not let in: open the address that `beautyspot ui` printed, or give its password.\n")
