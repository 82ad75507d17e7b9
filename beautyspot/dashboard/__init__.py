"""The results app: `results_app` as an object of Panel, `serve` for ``beautyspot ui``.

`queries` asks the index; `browser`, `detail`, `activity` and `health` are the views, made of `widgets`, and `app`
puts them together. What comes from a result is escaped by `markup`, `render` and `images`, or shown in a frame
by `iframes`. `server`, `auth`, `security` and `downloads` are the server of ``beautyspot ui``.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from beautyspot.errors import ConfigurationError

if TYPE_CHECKING:
    from beautyspot.maintenance.maintenance import Maintenance
    from beautyspot.project.project import Project
    from beautyspot.protocols.index import TaskDB

__all__ = ["results_app"]


def results_app(
    place: Project | Maintenance | TaskDB | str | os.PathLike[str],
    *,
    storage_path: str | os.PathLike[str] | None = None,
    s3_opts: dict[str, Any] | None = None,
    secret: str | None = None,
    allow_delete: bool = False,
    per_page: int = 20,
) -> Any:
    """The results app, as an object for a page of Panel; make one for each session.

    Args:
        place: A project, an index, or the path or URL of an index.
        storage_path: The place of the blobs; ``None``: ``blobs`` beside an index in a file, else ``./blobs``. A project
            has its own.
        s3_opts: The options of a storage in S3, as for a project.
        secret: The secret of the project, if it has one.
        allow_delete: Whether results can be deleted in the app.
        per_page: The number of rows of a page.

    Returns:
        A `panel.viewable.Viewer`.

    Raises:
        ConfigurationError: If Panel is missing, or *place* is no such thing.
    """
    check_panel()
    from beautyspot.dashboard.app import ResultsApp
    from beautyspot.dashboard.queries import source_of

    source = source_of(place, storage_path=storage_path, s3_opts=s3_opts, secret=secret, allow_delete=allow_delete)
    return ResultsApp(source, per_page)


def check_panel() -> None:
    """Raise unless Panel and its Material components are installed.

    Raises:
        ConfigurationError: If they are not.
    """
    missing = [name for name in ("panel", "panel_material_ui") if find_spec(name) is None]
    if missing:
        raise ConfigurationError(f'the results app needs {" and ".join(missing)}: pip install "beautyspot[dashboard]"')
