"""``beautyspot ui``: the results app, served from this machine."""

from __future__ import annotations

import webbrowser

import click

from beautyspot.cli.target import Place, at_index
from beautyspot.dashboard import check_panel
from beautyspot.db import SQLiteTaskDB


@click.command(short_help="Open the results app.")
@at_index()
@click.option("--port", default=5006, show_default=True, help="The port to listen on; 0 takes any free one.")
@click.option(
    "--address",
    default="localhost",
    show_default=True,
    help="The address to listen on; for other machines, 0.0.0.0 or one of this machine, which then asks for a token.",
)
@click.option("--no-open", is_flag=True, help="Do not open a browser; the address is printed in any case.")
@click.option(
    "--basic-auth",
    metavar="USER:PASSWORD",
    envvar="BEAUTYSPOT_BASIC_AUTH",
    help="Ask for a password; better set BEAUTYSPOT_BASIC_AUTH, which no list of processes shows.",
)
@click.option(
    "--token",
    metavar="TEXT",
    envvar="BEAUTYSPOT_TOKEN",
    help="Ask for a token, which the printed address carries; a random one where it is needed and not given.",
)
@click.option(
    "--allow-origin",
    multiple=True,
    metavar="HOST[:PORT]",
    help="Another host name under which browsers reach the app, as behind a proxy.",
)
@click.option("--allow-delete", is_flag=True, help="Allow deleting results in the app. Without it nothing is written.")
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
    """Show the cached results of DB in a browser, until Ctrl-C."""
    check_panel()
    with place.open(to_write=allow_delete) as kept:
        kept.catalog.latest()  # an unreadable index is reported here, and not on a page
        # Imported late, since Panel takes a second to load.
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
