"""The contract of a blob storage."""

from __future__ import annotations

import time

from beautyspot.errors import StorageError
from beautyspot.protocols.storage import BlobStorage, MapsBlobs


class BlobStorageContract:
    """The contract of a `BlobStorage`. Needs the fixture ``storage``: a fresh, empty storage."""

    name = "0123456789abcdef0123456789abcdef"

    def test_a_blob_comes_back_as_it_was_written(self, storage: BlobStorage) -> None:
        location = storage.save(self.name, [b"head", memoryview(b"body"), bytearray(b"tail")])
        content = storage.load(location, 12)
        assert content == b"headbodytail"
        content[0:4] = b"mine"  # the caller may write to what it reads
        assert storage.load(location, 12) == b"headbodytail"

    def test_a_large_blob_comes_back(self, storage: BlobStorage) -> None:
        content = bytes(range(256)) * 40_000
        location = storage.save(self.name, [memoryview(content)])
        assert storage.load(location, len(content)) == content

    def test_an_empty_blob_comes_back(self, storage: BlobStorage) -> None:
        assert storage.load(storage.save(self.name, []), 0) == b""

    def test_two_blobs_of_one_name_are_two(self, storage: BlobStorage) -> None:
        first, second = storage.save(self.name, [b"first"]), storage.save(self.name, [b"second"])
        assert storage.load(first, 5) == b"first"
        assert storage.load(second, 6) == b"second"

    def test_a_deleted_blob_is_gone(self, storage: BlobStorage) -> None:
        location = storage.save(self.name, [b"content"])
        storage.delete(location)
        storage.delete(location)
        assert _refuses(storage, location, 7)

    def test_a_blob_of_another_size_is_refused(self, storage: BlobStorage) -> None:
        location = storage.save(self.name, [b"content"])
        assert _refuses(storage, location, 6)
        assert _refuses(storage, location, 8)

    def test_a_location_outside_is_refused(self, storage: BlobStorage) -> None:
        for location in ("../outside", "/etc/passwd", "", "..", "s3://other/blob", f"../{self.name}"):
            assert _refuses(storage, location, 1), location

    def test_all_blobs_are_listed(self, storage: BlobStorage) -> None:
        assert list(storage.blobs()) == []
        locations = {storage.save(f"{i:032x}", [b"x" * i]) for i in range(20)}
        blobs = list(storage.blobs())
        assert {blob.location for blob in blobs} == locations
        assert sorted(blob.size for blob in blobs) == list(range(20))
        assert all(abs(blob.modified - time.time()) < 3600 for blob in blobs)
        assert all(any(f"{i:032x}" in blob.location for i in range(20)) for blob in blobs)

    def test_it_opens_again_after_closing(self, storage: BlobStorage) -> None:
        location = storage.save(self.name, [b"content"])
        storage.close()
        assert storage.load(location, 7) == b"content"
        storage.close()

    def test_a_mapped_blob_is_read_only(self, storage: BlobStorage) -> None:
        if isinstance(storage, MapsBlobs):
            location = storage.save(self.name, [b"content"])
            view = storage.map(location, 7)
            assert view.readonly
            assert bytes(view) == b"content"


def _refuses(storage: BlobStorage, location: str, size: int) -> bool:
    try:
        storage.load(location, size)
    except StorageError:
        return True
    return False
