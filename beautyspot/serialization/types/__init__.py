"""The types that need no registration: their encoders to plain data, and their decoders; one file for each library.

`codes` are the extension codes in stored data. `builtin` has the types of the standard library, `models` objects with
declared fields, `objects` instances of plain registered classes; `numpy`, `scipy`, `pandas`, `polars`, `pil`, `torch`,
`xarray`, `sklearn` and `small` (frozendict, URLs of pydantic) have those of other libraries. `lookup` finds the
encoder of a type and the decoder of a code; a file is imported only if its library is loaded, or for its data.

An encoder turns a value into something that MessagePack can pack; its argument ``apart`` moves a large buffer out of
the message. A decoder makes a new object and calls nothing that is named in the data: it looks classes up among those
that are loaded, and fills their instances without calling them.
"""
