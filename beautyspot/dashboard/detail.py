"""ResultView: one result or one failure, with its record and its value."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import panel as pn
import param

from beautyspot.dashboard import markup
from beautyspot.dashboard.queries import LARGEST, Large, Source
from beautyspot.dashboard.render import see
from beautyspot.dashboard.widgets import Markup, button
from beautyspot.errors import BeautyspotError, DeserializationError, StorageError
from beautyspot.protocols.index import Failure, Summary
from beautyspot.serialization.content_types import label_of
from beautyspot.serialization.to_json import as_payload, file_kind

__all__ = ["ResultView"]


class ResultView(pn.viewable.Viewer):
    """Shows the result or the failure of a key.

    Args:
        source: The index and its storage.
        key: The key as hexadecimal digits; empty for none.
    """

    key = param.String(default="")
    deleted = param.Integer(default=0, doc="The number of results that were deleted here.")

    def __init__(self, source: Source, **params: Any) -> None:
        self._source = source
        self._head = Markup(markup.block(markup.note("Choose a row to see its result.")))
        self._body = Markup()
        self._download = pn.widgets.FileDownload(label="Download", visible=False, embed=False, auto=True)
        self._forget = button("Delete this result", color="error", visible=False)
        self._sure = False
        self._turn = 0
        super().__init__(**params)
        self._forget.on_click(self._on_forget)

    def __panel__(self) -> Any:
        return pn.Column(
            self._head,
            pn.Row(self._download, self._forget),
            self._body,
            sizing_mode="stretch_width",
            margin=(0, 0, 0, 8),
        )

    @param.depends("key", watch=True, on_init=True)
    async def read(self) -> None:
        """Show the result of the key; the answer for a key that is no longer chosen is ignored."""
        self._turn += 1
        turn = self._turn
        self._reset_forget()
        if not self.key:
            self._head.object, self._body.object = markup.block(markup.note("Choose a row to see its result.")), ""
            self._download.visible = False
            return
        try:
            row = await self._source.run(self._source.find, self.key)
        except BeautyspotError as error:
            row, problem = None, str(error)
        else:
            problem = "there is no result with this key any more"
        if turn != self._turn:
            return
        if row is None:
            self._head.object, self._body.object = markup.block(markup.note(f"{self.key}: {problem}", "failed")), ""
            self._download.visible = False
            return
        self._head.object = _head(row)
        self._download.visible = False
        if isinstance(row, Failure):
            failed = markup.note(f"{row.error}: {row.message}", "failed")
            self._body.object = markup.block(failed + markup.text(row.traceback))
            return
        self._body.object = markup.block(markup.note("Reading …"))
        shown, suffix = await self._source.run(self._seen, row, self._url(row.key))
        if turn == self._turn:
            self._body.object = markup.block(self._link(row) + shown, "value")
            self._offer_download(row, suffix)
            self._forget.visible = self._source.allow_delete

    def _url(self, key: bytes) -> str | None:
        root = f"{pn.state.rel_path}/" if pn.state.rel_path else ""
        return f"{root}value/{key.hex()}" if self._source.serves_values else None

    def _seen(self, row: Summary, url: str | None) -> tuple[str, str]:
        """HTML that shows a result, and the suffix of its file. Runs in a thread: reading may take a while."""
        try:
            value = self._source.value(row.key)
            like: Any = ("" if value.is_text else b"") if isinstance(value, Large) else value
            return see(value, row.content_type, url), file_kind(like, row.content_type)[1]
        except (DeserializationError, StorageError) as error:
            problem = f"This result cannot be read: {error}"
        except BeautyspotError as error:
            problem = str(error)
        except Exception as error:  # whatever a value is, the page stays and says so
            problem = f"This result cannot be shown: {type(error).__name__}: {error}"
        return markup.note(problem, "failed"), ""

    def _link(self, row: Summary) -> str:
        url = self._url(row.key)
        return "" if url is None else f'<p><a href="{url}?download" download>Download</a></p>'

    def _offer_download(self, row: Summary, suffix: str) -> None:
        if self._source.serves_values:
            return
        if row.size > 5 * LARGEST:
            self._body.object += markup.block(
                markup.note(f"To download it: beautyspot show {row.key.hex()} --raw FILE")
            )
            return

        def content() -> io.BytesIO:
            return io.BytesIO(as_payload(self._source.maintenance.value(row.key), row.content_type).content)

        self._download.param.update(callback=content, filename=row.key.hex()[:12] + suffix, visible=True)

    def _reset_forget(self) -> None:
        self._sure = False
        self._forget.param.update(visible=False, label="Delete this result")

    async def _on_forget(self, _: Any) -> None:
        if not self._sure:
            self._sure = True
            self._forget.label = "Really delete it? The next call runs again"
            return
        key = self.key
        try:
            await self._source.run(self._source.forget, bytes.fromhex(key))
        except BeautyspotError as error:
            self._body.object = markup.block(markup.note(str(error), "failed"))
            return
        self.deleted += 1
        await asyncio.sleep(0)
        await self.read()


def _head(row: Summary | Failure) -> str:
    from html import escape

    pairs: list[tuple[str, Any]] = [
        ("when", markup.full_time(row.created)),
        ("took", markup.seconds_text(row.seconds)),
    ]
    if isinstance(row, Summary):
        pairs += [
            ("size", f"{markup.size_text(row.size)} ({row.size:,} bytes)"),
            ("type", row.content_type and f"{label_of(row.content_type)} ({row.content_type})"),
            ("expires", None if row.expires is None else markup.full_time(row.expires)),
        ]
    pairs += [("version", row.version), ("by", row.worker), ("key", row.key.hex())]
    title = f"<h2>{escape(row.function)}</h2><code class='input'>{escape(row.input)}</code>"
    return markup.block(title + markup.facts(pairs), "head")
