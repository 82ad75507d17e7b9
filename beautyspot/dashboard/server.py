"""The server of the results app, which ``beautyspot ui`` starts."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import panel as pn
import panel_material_ui
from bokeh.settings import settings

from beautyspot.dashboard.app import ResultsApp
from beautyspot.dashboard.auth import Authenticator
from beautyspot.dashboard.downloads import patterns
from beautyspot.dashboard.queries import Source
from beautyspot.dashboard.security import LOOPBACK, host_of, security
from beautyspot.errors import ConfigurationError

__all__ = ["serve"]

_EVERYWHERE = ("0.0.0.0", "::", "")  # noqa: S104 - such an address requires a token, see below
_KEPT_FOR = 20_000  # milliseconds that a session outlives its page


def serve(
    source: Source,
    *,
    address: str = "localhost",
    port: int = 5006,
    allow_origin: Sequence[str] = (),
    basic_auth: str | None = None,
    token: str | None = None,
    ready: Callable[[str], object] = lambda url: None,
) -> None:
    """Serve the results app until it is interrupted.

    Args:
        source: The index and its storage.
        address: The address to listen on.
        port: The port to listen on; 0: any free one.
        allow_origin: Other hosts, with their ports, under which browsers may reach the app.
        basic_auth: The ``user:password`` to ask for.
        token: The token to ask for; if the address is not of this machine alone and there is no password, one is made.
        ready: Called with the URL of the app once it answers.

    Raises:
        ConfigurationError: If it cannot listen on the address and port, or *basic_auth* is not of its form.
    """
    if basic_auth is not None and not all(basic_auth.partition(":")[::2]):
        raise ConfigurationError("--basic-auth is written user:password")
    if address not in LOOPBACK and basic_auth is None and token is None:
        token = secrets.token_urlsafe(24)
    source.serves_values = True
    authenticator = Authenticator(token, basic_auth) if token or basic_auth else None
    server = _server(source, address, port, allow_origin, authenticator)
    host = "localhost" if address in _EVERYWHERE else f"[{address}]" if ":" in address else address
    url = f"http://{host}:{server.port}/"
    try:
        server.start()
        ready(f"{url}enter?token={token}" if token else url)
        server.io_loop.start()
    finally:
        server.stop()
        source.close()


def _server(
    source: Source, address: str, port: int, allow_origin: Sequence[str], authenticator: Authenticator | None
) -> Any:
    settings.resources = "server"  # pages load Bokeh's files from here, whatever BOKEH_RESOURCES says
    pn.config.disconnect_notification = "The connection is lost: check that the server runs, and load the page again"
    pn.extension(disconnect_notification=pn.config.disconnect_notification, notifications=True)
    is_public = address in _EVERYWHERE
    named = {host_of(origin) for origin in allow_origin}
    hosts = {*LOOPBACK, *named, *({address} if not is_public else ())}
    port = port or _free_port(None if is_public else address)  # pages of other ports may belong to others
    own = {"localhost", "127.0.0.1", *({address} if not is_public and ":" not in address else ())}
    origins = [*allow_origin, *(f"{host}:{port}" for host in sorted(own))]
    options: dict[str, Any] = {} if authenticator is None else {"auth_provider": authenticator}
    try:
        return pn.serve(
            {"/": lambda: page(source)},
            address=None if is_public else address,
            port=port,
            websocket_origin=origins,
            show=False,
            start=False,
            verbose=False,
            title=f"{source.name} · beautyspot",
            extra_patterns=patterns(source),
            transforms=[security(hosts)],
            check_unused_sessions_milliseconds=10_000,
            unused_session_lifetime_milliseconds=_KEPT_FOR,
            **options,
        )
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {address}:{port}: {error.strerror or error}; --port 0 takes any that is free"
        ) from error


def _free_port(address: str | None) -> int:
    with socket.create_server((address or "", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def page(source: Source) -> Any:
    """The page of the app, with its header."""
    ui: Any = panel_material_ui
    made = ui.Page(
        title=f"beautyspot · {source.name}",
        main=[pn.Column(ResultsApp(source), sizing_mode="stretch_width", margin=12)],
        theme_toggle=True,
        busy_indicator=None,
        theme_config={"palette": {"primary": {"main": "#3a70c8"}}},
    )
    # Otherwise every event of every session would go to every page, at half of what a page costs the server.
    util: Any = import_module("panel.util")
    with util.edit_readonly(made):
        made.busy = False
    return made
