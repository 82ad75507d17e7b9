"""S3Storage: blobs as objects in a bucket, of Amazon or of any server with the same protocol.

An object is complete as soon as it is visible: a small one is one request, and the parts of a large one become an
object when all are uploaded. Parts that a killed writer left are listed, and can be deleted, as unfinished blobs.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from beautyspot.errors import BeautyspotError, ConfigurationError
from beautyspot.protocols.index import BlobInfo
from beautyspot.protocols.serializer import Buffer
from beautyspot.storage.locations import UNFINISHED, check_location, is_location, new_location
from beautyspot.storage.s3.client import S3Client
from beautyspot.storage.s3.errors import storage_error
from beautyspot.storage.s3.transfer import read_object, write_object

__all__ = ["S3Storage"]

_URL = re.compile(r"s3://([A-Za-z0-9][A-Za-z0-9._-]+)(?:/+([^?#]*))?", re.IGNORECASE)
_PAGE = 1000  # objects in one answer of the server, which allows no more
_UNSUPPORTED = ("NotImplemented", "MethodNotAllowed")


class S3Storage:
    """Blobs below a prefix of a bucket.

    boto3 looks for credentials in the environment, in files and in the machine's role, unless *s3_opts* has them. They
    are never part of the URL.

    Args:
        url: ``s3://bucket/prefix``; the bucket must exist.
        s3_opts: ``profile_name``, ``region_name``, ``aws_access_key_id``, ``aws_secret_access_key`` and
            ``aws_session_token`` of a boto3 session; ``endpoint_url``, ``verify``, ``use_ssl`` and ``config`` of its
            client.

    Raises:
        ConfigurationError: If the URL or an option cannot work, or boto3 is missing.
    """

    def __init__(self, url: str, s3_opts: Mapping[str, Any] | None = None) -> None:
        found = _URL.fullmatch(url)
        prefix = (found[2] or "").strip("/") if found else ""
        # Some clients resolve such steps to another path, outside of the prefix.
        if not found or {".", ".."} & set(prefix.split("/")):
            # The URL is not repeated: it may hold credentials.
            raise ConfigurationError(
                "a storage in S3 is given as s3://bucket/prefix, without a query; credentials and further options go "
                "into s3_opts"
            )
        self.bucket = found[1]
        self.prefix = prefix
        self._opts = dict(s3_opts or {})
        self._client = S3Client(self._opts)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._url(), self._opts)

    def __repr__(self) -> str:
        return f"S3Storage({self._url()!r})"

    def save(self, name: str, parts: Sequence[Buffer]) -> str:
        """Write *parts* as one object; returns its location below the prefix.

        Raises:
            StorageError: If it cannot be written; then no part of it can be read.
        """
        location = new_location(name)
        with self._translating_errors("write the blob", location) as client:
            write_object(client, self.bucket, self._key(location), parts)
        return location

    def load(self, location: str, size: int) -> bytearray:
        """The blob at *location*.

        Raises:
            StorageError: If it does not exist, cannot be read, or is not *size* bytes long.
        """
        with self._translating_errors("read the blob", location) as client:
            return read_object(client, self.bucket, self._key(location), size)

    def delete(self, location: str) -> None:
        """Delete the blob at *location*, if it exists; of an unfinished one, every part."""
        with self._translating_errors("delete the blob", location) as client:
            if location.endswith(UNFINISHED):
                for key, upload in self._unfinished(client, location.removesuffix(UNFINISHED)):
                    with contextlib.suppress(client.exceptions.NoSuchUpload):  # another process was faster
                        client.abort_multipart_upload(Bucket=self.bucket, Key=key, UploadId=upload["UploadId"])
            client.delete_object(Bucket=self.bucket, Key=self._key(location))

    def blobs(self) -> Iterator[BlobInfo]:
        """All blobs below the prefix, including those that a killed writer left unfinished, with size 0."""
        with self._translating_errors("list the blobs") as client:
            for found in self._pages(client, "list_objects_v2", "Contents", ""):
                location = found["Key"].removeprefix(self._key(""))
                if is_location(location):
                    yield BlobInfo(location, found["Size"], found["LastModified"].timestamp())
            for key, upload in self._unfinished(client, ""):
                location = key.removeprefix(self._key(""))
                if is_location(location):
                    yield BlobInfo(location + UNFINISHED, 0, upload["Initiated"].timestamp())

    def close(self) -> None:
        """Close the connections. The next call opens new ones."""
        self._client.close()

    def _url(self, location: str = "") -> str:
        return f"s3://{self.bucket}/{self._key(location)}".rstrip("/")

    def _key(self, location: str) -> str:
        return f"{self.prefix}/{location}" if self.prefix else location

    def _pages(self, client: Any, operation: str, field: str, location: str) -> Iterator[Any]:
        pages = client.get_paginator(operation).paginate(
            Bucket=self.bucket, Prefix=self._key(location), PaginationConfig={"PageSize": _PAGE}
        )
        for page in pages:
            yield from page.get(field, ())

    def _unfinished(self, client: Any, location: str) -> Iterator[tuple[str, Any]]:
        """Uploads that were started and not completed, of one blob or of all; none if the server cannot list them."""
        from botocore.exceptions import ClientError

        try:
            for upload in self._pages(client, "list_multipart_uploads", "Uploads", location):
                if not location or upload["Key"] == self._key(location):
                    yield upload["Key"], upload
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") not in _UNSUPPORTED:
                raise

    @contextlib.contextmanager
    def _translating_errors(self, what: str, location: str | None = None) -> Iterator[Any]:
        """The client, to do *what*; its exceptions become `StorageError` only here."""
        if location is not None:
            check_location(location, self._url())
        try:
            yield self._client.get()
        except BeautyspotError:
            raise
        except Exception as error:  # boto3, s3transfer and urllib3 have no base in common
            where = f"{what} {self._url(location)}" if location else f"{what} below {self._url()}"
            raise storage_error(error, where, self._client.secrets) from error


def open_url(url: str, **s3_opts: Any) -> S3Storage:
    """The storage at ``s3://bucket/prefix``."""
    return S3Storage(url, s3_opts)
