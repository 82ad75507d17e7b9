"""Blobs to and from S3: large ones in several parts at once, with bounded memory, and without a copy of the whole."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import Any

from beautyspot.errors import StorageError
from beautyspot.protocols import Buffer
from beautyspot.storage.locations import check_size
from beautyspot.storage.parts import PartsFile

MIB = 1 << 20
PART = 8 * MIB  # a blob up to this size is one request; s3transfer makes parts larger where 10,000 would not do
RANGED = 16 * MIB  # a blob above this size is read by several requests
AT_ONCE = 4  # parts of one blob under way

# The client copies what it reads: by small steps, that copy is small.
_STEP = MIB // 4
_PAUSES = (0.1, 0.5, 2.0, 5.0)  # before a body that broke off is asked for again, where it broke off


def write_object(client: Any, bucket: str, key: str, parts: Sequence[Buffer]) -> None:
    """Write *parts* as one object, whole or not at all; the server compares the checksums that boto3 sends along."""
    file = PartsFile(parts)
    if file.size <= PART:
        client.put_object(Bucket=bucket, Key=key, Body=file.read(), ContentType="application/octet-stream")
        return
    from boto3.s3.transfer import TransferConfig

    # The other kind, awscrt, has threads of its own and does not survive a fork.
    config: Any = TransferConfig(
        multipart_threshold=PART,
        multipart_chunksize=PART,
        max_concurrency=AT_ONCE,
        use_threads=_may_start_threads(),
        preferred_transfer_client="classic",
    )
    config.max_in_memory_upload_chunks = AT_ONCE  # boto3 passes no such argument on
    try:
        client.upload_fileobj(file, bucket, key, ExtraArgs={"ContentType": "application/octet-stream"}, Config=config)
    except (KeyboardInterrupt, SystemExit) as interrupt:
        # It may have come once everything was written. Often so where polars is imported, which has the system restart
        # a wait that Ctrl-C broke off: Python hears of it when boto3's wait for the upload is over.
        try:
            client.delete_object(Bucket=bucket, Key=key)
        except Exception as error:
            raise interrupt from error  # the object is garbage then, as one whose writer was killed
        raise


def _may_start_threads() -> bool:
    """Whether pools may: not after the end of the main thread, while others still work and keep their results."""
    return threading.main_thread().is_alive()


class ObjectReader:
    """Reads one object into memory, which is allocated once the object is known to have the right size.

    Args:
        client: Of boto3.
        bucket: Where the object is.
        key: The object.
        size: Its bytes.
    """

    def __init__(self, client: Any, bucket: str, key: str, size: int) -> None:
        self._get = partial(client.get_object, Bucket=bucket, Key=key)
        self._name = f"s3://{bucket}/{key}"
        self._size = size
        self._etag = ""
        self._stopped = False

    def read(self) -> bytearray:
        """The content.

        Raises:
            StorageError: If the object has another size, or its server does not answer for a part of it.
        """
        ranged = self._size > RANGED
        response = self._get(Range=f"bytes=0-{PART - 1}") if ranged else self._get()
        with closing(response["Body"]):
            _, _, total = response.get("ContentRange", "").rpartition("/")
            check_size(self._name, int(total or response["ContentLength"]), self._size)
            self._etag = response["ETag"]
            content = bytearray(self._size)
            if ranged:
                self._fill_ranges(memoryview(content), response)
            else:
                self._fill(_Range(memoryview(content), 0), response)
        return content

    def _fill_ranges(self, view: memoryview, response: Any) -> None:
        first, *others = [_Range(view[start : start + PART], start) for start in range(0, self._size, PART)]
        if not _may_start_threads():
            self._fill(first, response)
            for each in others:
                self._fill(each, None)
            return
        with ThreadPoolExecutor(AT_ONCE - 1, "beautyspot-s3") as pool:
            rest = [pool.submit(self._fill, each, None) for each in others]
            try:
                self._fill(first, response)
                for future in rest:
                    future.result()
            except BaseException:
                self._stopped = True
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _fill(self, part: _Range, response: Any) -> None:
        from botocore.exceptions import HTTPClientError, IncompleteReadError

        for pause in (*_PAUSES, None):
            response = response or self._open(part)
            try:
                with closing(response["Body"]) as body:
                    part.take(body)
                return
            except (HTTPClientError, IncompleteReadError, OSError):
                if pause is None or self._stopped:
                    raise
            if not part.rest.nbytes:  # it broke off after the last byte
                return
            time.sleep(pause)
            response = None

    def _open(self, part: _Range) -> Any:
        length = part.rest.nbytes
        response = self._get(Range=f"bytes={part.at}-{part.at + length - 1}", IfMatch=self._etag)
        begins = response.get("ContentRange", "").startswith(f"bytes {part.at}-")
        if not begins or response["ContentLength"] != length:
            response["Body"].close()
            raise StorageError(f"cannot read {self._name}: its server does not answer for a part of an object")
        return response


class _Range:
    """A part of an object, and how much of it has come."""

    def __init__(self, view: memoryview, start: int) -> None:
        self.rest = view
        self.at = start

    def take(self, body: Any) -> None:
        while self.rest.nbytes and (count := body.readinto(self.rest[:_STEP])):
            self.rest = self.rest[count:]
            self.at += count
        body.readinto(bytearray(1))  # only at its end does a body compare its length and its checksum
