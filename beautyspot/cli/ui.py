"""``beautyspot ui``: the results app, served from this machine."""

from __future__ import annotations

import webbrowser

import click

from beautyspot.cli.target import Place, at_index
from beautyspot.dashboard import check_panel
from beautyspot.db import SQLiteTaskDB


@click.command(short_help="Open the results app.")
@at_index()
@click.option("--port", default=5006, show_default=True, help="Where to listen; 0 takes any port that is free.")
@click.option(
    "--address",
    default="localhost",
    show_default=True,
    help="Where to listen; another machine reaches no other than its own or 0.0.0.0, which then asks for a token.",
)
@click.option("--no-open", is_flag=True, help="Do not open a browser; the address is printed in any case.")
@click.option(
    "--basic-auth",
    metavar="USER:PASSWORD",
    envvar="BEAUTYSPOT_BASIC_AUTH",
    help="Ask for a password; better given in BEAUTYSPOT_BASIC_AUTH, which no list of processes shows.",
)
@click.option(
    "--token",
    metavar="TEXT",
    envvar="BEAUTYSPOT_TOKEN",
    help="Ask for a token, which the printed address carries; made up where one is needed and none is given.",
)
@click.option(
    "--allow-origin",
    multiple=True,
    metavar="HOST[:PORT]",
    help="A further host name under which browsers reach the app, as behind a proxy.",
)
@click.option("--allow-delete", is_flag=True, help="Results may be dropped in the app. Without it nothing is written.")
def ui(
    place: Place,
    port: int,
    address: str,
    no_open: bool,
    basic_auth: str | None,
    token: str | None,
    allow_origin: tuple[str, ...],
    allow_delete: bool,
) -> None:
    """Show what is kept in DB in a browser, until Ctrl-C."""
    check_panel()
    with place.open(to_write=allow_delete) as kept:
        kept.catalog.latest()  # what cannot be read is said here, and not on a page
        # Imported late, since Panel takes a second; and first, since it says where pages load their files from.
        from beautyspot.dashboard.queries import Source
        from beautyspot.dashboard.server import serve

        name = place.db.rpartition("/")[2] if isinstance(kept.db, SQLiteTaskDB) else str(kept.db)

        def ready(url: str) -> None:
            click.echo(url)
            if not no_open:
                webbrowser.open(url)

        serve(
            Source(kept, name, allow_delete),
            address=address,
            port=port,
            allow_origin=allow_origin,
            basic_auth=basic_auth,
            token=token,
            ready=ready,
        )
