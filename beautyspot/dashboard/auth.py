"""Authentication by a token or a password; without either, every request is allowed.

The printed address carries the token, which is exchanged for a cookie, so that it is in no page, no bookmark and no
log of a proxy. The password is asked for by basic authentication of HTTP, so there is no login page.
"""

from __future__ import annotations

import base64
import hmac
import secrets
from typing import Any

from bokeh.server.auth_provider import AuthProvider
from tornado.web import RequestHandler

__all__ = ["Authenticator"]

_MOST_SESSIONS = 10_000  # browsers that are remembered


class Authenticator(AuthProvider):
    """Authenticates requests, for pages, websockets and values alike.

    Args:
        token: The token of the address ``/enter?token=…``; ``None``: there is none.
        basic_auth: ``user:password``; ``None``: there is none.
    """

    def __init__(self, token: str | None = None, basic_auth: str | None = None) -> None:
        self._token = token
        self._basic = None if basic_auth is None else "Basic " + base64.b64encode(basic_auth.encode()).decode()
        self._cookie = f"beautyspot-{secrets.token_hex(4)}"  # apps on several ports share the cookies of a host
        self._sessions: dict[str, None] = {}
        super().__init__()

    def knows(self, handler: RequestHandler) -> bool:
        """Whether a request has a known cookie or the password."""
        if (handler.get_cookie(self._cookie) or "") in self._sessions:
            return True
        given = handler.request.headers.get("Authorization", "")
        return self._basic is not None and hmac.compare_digest(given.encode(), self._basic.encode())

    def enter(self, handler: RequestHandler) -> bool:
        """Set a cookie if a request has the token or the password; whether it has."""
        given = handler.get_query_argument("token", "")
        is_right = self._token is not None and hmac.compare_digest(given.encode(), self._token.encode())
        if not (is_right or self.knows(handler)):
            return False
        session = secrets.token_urlsafe(32)
        self._sessions[session] = None
        while len(self._sessions) > _MOST_SESSIONS:
            self._sessions.pop(next(iter(self._sessions)))
        handler.set_cookie(self._cookie, session, httponly=True, samesite="Strict")
        return True

    @property
    def asks_for_password(self) -> bool:
        """Whether the browser should ask its user for the password."""
        return self._basic is not None

    @property
    def get_user(self) -> Any:
        """Called by Bokeh with every request."""
        return lambda handler: "guest" if self.knows(handler) else None

    @property
    def login_url(self) -> str:
        """Where unauthenticated requests are redirected."""
        return "/enter"

    @property
    def login_handler(self) -> Any:
        """The handler of that address."""
        return _Enter


class _Enter(RequestHandler):
    """Exchanges a token or a password for a cookie."""

    def get(self) -> None:
        """Set the cookie, or refuse."""
        authenticator: Authenticator = self.application.auth_provider  # type: ignore[attr-defined]
        if authenticator.enter(self):
            self.redirect("./")
            return
        self.set_status(401)
        if authenticator.asks_for_password:
            self.set_header("WWW-Authenticate", 'Basic realm="beautyspot", charset="UTF-8"')
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish("Access denied: open the address that `beautyspot ui` printed, or give its password.\n")
