"""The records that cross between an index and the library."""

from zlib import crc32

from beautyspot.protocols.records import Entry


def test_an_entry_is_intact_if_its_checksum_fits() -> None:
    entry = Entry(b"value", None, crc32(b"value").to_bytes(4, "big"), 5, None, b"")
    assert entry.is_intact()
    assert not entry._replace(value=b"volue").is_intact()
    assert not entry._replace(checksum=entry.checksum + b"s" * 16).is_intact()  # signed: see `results.signing`
    assert not entry._replace(value=None, location="00/blob").is_intact()
