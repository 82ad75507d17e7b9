"""Serialization: results to bytes and back.

`msgpack_serializer` is the built-in serializer, `types` has the types that it knows. `classes` makes instances without
running their code, `shapes` compares their fields with those of the class as it is now. `blob_format` is the layout of
a blob, `inspector` decodes values without their classes, `to_json` converts values to JSON and to files,
`content_types` is the table of MIME types.
"""

from typing import TYPE_CHECKING

from beautyspot._internal.lazy import lazy_names

if TYPE_CHECKING:
    from beautyspot.serialization.content_types import ContentType
    from beautyspot.serialization.inspector import ClasslessDecoder, UnknownObject
    from beautyspot.serialization.msgpack_serializer import MsgpackSerializer
    from beautyspot.serialization.to_json import as_json, as_payload, to_plain

__all__ = [
    "ClasslessDecoder",
    "ContentType",
    "MsgpackSerializer",
    "UnknownObject",
    "as_json",
    "as_payload",
    "to_plain",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "content_types": ("ContentType",),
        "inspector": (
            "ClasslessDecoder",
            "UnknownObject",
        ),
        "msgpack_serializer": ("MsgpackSerializer",),
        "to_json": (
            "as_json",
            "as_payload",
            "to_plain",
        ),
    },
)
