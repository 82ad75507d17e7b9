"""The route ``value/KEY``: one result as a file, to be downloaded, played or shown by the browser itself.

A request names a key and nothing else: the index and its storage know where the bytes are. Only what a browser shows
without running anything is sent to be shown; the rest is a download, whatever its content type.
"""

from __future__ import annotations

import re
from typing import Any

from bokeh.server.views.auth_request_handler import AuthRequestHandler
from tornado.web import HTTPError, authenticated

from beautyspot.dashboard.queries import LARGEST, Source
from beautyspot.errors import BeautyspotError
from beautyspot.protocols.index import Summary
from beautyspot.protocols.serializer import Buffer
from beautyspot.serialization.content_types import ContentType, is_shown_by_browsers
from beautyspot.serialization.to_json import Payload, as_payload

__all__ = ["ValueHandler"]

_STEP = 1 << 20  # bytes that are sent at a time
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class ValueHandler(AuthRequestHandler):
    """Sends the value of a key, in ranges if a player asks for them."""

    def initialize(self, source: Source) -> None:
        """Called by Tornado."""
        self._source = source

    @authenticated
    async def head(self, key: str) -> None:
        """As `get`, without the content."""
        await self._answer(key)

    @authenticated
    async def get(self, key: str) -> None:
        """Send the value of *key*."""
        await self._answer(key)

    async def _answer(self, key: str) -> None:
        try:
            row = await self._source.run(self._source.find, key)
            if not isinstance(row, Summary) or row.key.hex() != key:
                raise HTTPError(404, reason="there is no result with this key")
            content, kind, suffix = await self._source.run(_content, self._source, row)
        except BeautyspotError as error:
            raise HTTPError(404, log_message=str(error), reason="this result cannot be read") from error
        self._set_headers(row, kind, suffix)
        await self._send(memoryview(content))

    def _set_headers(self, row: Summary, kind: str, suffix: str) -> None:
        is_shown = is_shown_by_browsers(kind) and "download" not in self.request.query_arguments
        self.set_header("Content-Type", kind if is_shown else ContentType.BINARY.value)
        name = f"{row.key.hex()[:12]}{suffix}"
        self.set_header("Content-Disposition", f'{"inline" if is_shown else "attachment"}; filename="{name}"')
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Accept-Ranges", "bytes")
        self.set_header("Cache-Control", "no-store")
        if kind != ContentType.PDF:  # whose viewer would not start
            self.set_header("Content-Security-Policy", "default-src 'none'; sandbox")

    async def _send(self, content: memoryview) -> None:
        start, end = 0, content.nbytes
        asked = _RANGE.fullmatch(self.request.headers.get("Range", ""))
        if asked is not None and (asked[1] or asked[2]):
            start, end = _part(asked[1], asked[2], content.nbytes)
            if start >= end:
                self.set_header("Content-Range", f"bytes */{content.nbytes}")
                raise HTTPError(416)
            self.set_status(206)
            self.set_header("Content-Range", f"bytes {start}-{end - 1}/{content.nbytes}")
        self.set_header("Content-Length", str(end - start))
        if self.request.method == "HEAD":
            return
        for place in range(start, end, _STEP):
            self.write(bytes(content[place : min(place + _STEP, end)]))
            await self.flush()


def _part(first: str, last: str, size: int) -> tuple[int, int]:
    """The start and end of a range; a range without a start counts from the end."""
    if not first:
        return max(0, size - int(last)), size
    return int(first), min(size, int(last) + 1 if last else size)


def _content(source: Source, row: Summary) -> tuple[Buffer, str, str]:
    """The bytes of a result as a file, their content type and suffix; a large one is not copied."""
    if row.size > LARGEST:
        large = source.large_content(row.key)
        if large is not None:
            empty: Payload = as_payload(b"", row.content_type)
            return large, empty.content_type, empty.suffix
    content, kind, suffix = as_payload(source.maintenance.value(row.key), row.content_type)
    return content, kind, suffix


def patterns(source: Source) -> list[tuple[str, Any, dict[str, Any]]]:
    """The route for Tornado."""
    return [(r"/value/([0-9a-f]{32})", ValueHandler, {"source": source})]
