"""Upload and download of blobs: large ones in several parts at once, in bounded memory, without a copy of the whole."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import closing, suppress
from typing import Any

from beautyspot.errors import DamagedBlobError
from beautyspot.protocols.serializer import Buffer
from beautyspot.storage.locations import PartsFile, check_size

MIB = 1 << 20
PART = 8 * MIB  # a blob up to this size is one request; s3transfer uses larger parts if 10,000 are not enough
AT_ONCE = 4  # parts of one blob that are transferred at once

# Received data that is not yet in place: at most so many pieces of so many bytes.
_WAITING = 16
_STEP = MIB // 4


def write_object(client: Any, bucket: str, key: str, parts: Sequence[Buffer]) -> None:
    """Write *parts* as one object, completely or not at all; the server verifies the checksums that boto3 sends."""
    file = PartsFile(parts)
    if file.size <= PART:
        client.put_object(Bucket=bucket, Key=key, Body=file.read(), ContentType="application/octet-stream")
        return
    config = _config(use_threads=_may_start_threads())
    try:
        client.upload_fileobj(file, bucket, key, ExtraArgs={"ContentType": "application/octet-stream"}, Config=config)
    except (KeyboardInterrupt, SystemExit) as interrupt:
        # It may have come after everything was written. This is usual if polars is imported, which makes the system
        # restart a wait that Ctrl-C interrupted: Python handles the signal when boto3's wait for the upload is over.
        try:
            client.delete_object(Bucket=bucket, Key=key)
        except Exception as error:
            raise interrupt from error  # the object stays as an orphan, like one whose writer was killed
        raise


def read_object(client: Any, bucket: str, key: str, size: int) -> bytearray:
    """The content of an object, in memory once. A small one takes one request, unless the connection breaks.

    Raises:
        DamagedBlobError: If the object is not *size* bytes long; then it is not read to its end.
    """
    from botocore.exceptions import HTTPClientError, IncompleteReadError

    name, large = f"s3://{bucket}/{key}", size > PART
    # No memory is allocated before the size is verified. HEAD would not return the reason of a refusal.
    response = client.get_object(Bucket=bucket, Key=key, **({"Range": "bytes=0-0"} if large else {}))
    with closing(response["Body"]) as body:
        _, _, total = response.get("ContentRange", "").rpartition("/")
        check_size(name, int(total or response["ContentLength"]), size)
        if large:
            body.read(2)  # to its end, so that the connection can be used again
        else:
            with suppress(HTTPClientError, IncompleteReadError, OSError):  # boto3 retries, below
                return bytearray(body.read())
    file = _BlobFile(name, size)
    client.download_fileobj(bucket, key, file, Config=_config(use_threads=large and _may_start_threads()))
    check_size(name, file.end, size)
    return file.content


def _config(use_threads: bool) -> Any:
    from boto3.s3.transfer import TransferConfig

    # The alternative, awscrt, has threads of its own and does not survive a fork.
    config: Any = TransferConfig(
        multipart_threshold=PART,
        multipart_chunksize=PART,
        max_concurrency=AT_ONCE,
        max_io_queue=_WAITING,
        io_chunksize=_STEP,
        use_threads=use_threads,
        preferred_transfer_client="classic",
    )
    config.max_in_memory_upload_chunks = AT_ONCE  # boto3's constructor has no such argument
    return config


def _may_start_threads() -> bool:
    """Whether threads may start: not after the end of the main thread, while other threads still store results."""
    return threading.main_thread().is_alive()


class _BlobFile:
    """A file in memory that accepts parts in any order, and no byte beyond its size.

    Args:
        name: URL of the object, for messages.
        size: Size in bytes.

    Attributes:
        content: The bytes of the file.
        end: Position after the last written byte.
    """

    def __init__(self, name: str, size: int) -> None:
        self._name = name
        self._at = 0
        self.content = bytearray(size)
        self.end = 0

    def write(self, data: bytes) -> int:
        """Write *data* at the current position.

        Raises:
            DamagedBlobError: If it exceeds the size; this ends the download.
        """
        stop = self._at + len(data)
        if stop > len(self.content):
            raise DamagedBlobError(f"the blob {self._name} has more bytes than the {len(self.content)} it should have")
        self.content[self._at : stop] = data
        self._at, self.end = stop, max(stop, self.end)
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to *offset*, counted from the beginning."""
        self._at = offset
        return offset

    def seekable(self) -> bool:
        """Return true: parts come in any order."""
        return True
