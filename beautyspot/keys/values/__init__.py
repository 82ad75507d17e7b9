"""What identifies values of other libraries: parts that can be encoded.

`libraries` finds the module that knows a value's library, `extras` what a subclass adds. One module a library: `numpy`
(`array_digest` digests elements), `pandas`, `polars`, `arrow` (pyarrow), `scipy` (sparse matrices), `sklearn`, `torch`,
`xarray`, `astropy`, `networkx`, `pillow`, `markup` (bs4, lxml), `sqlalchemy`, `stdlib`. No library is imported for
them: its values exist only once it is loaded.
"""

from beautyspot.keys.values.libraries import Parts, has_forms, holds_scalars, parts_of, plain_items, plain_of

__all__ = ["Parts", "has_forms", "holds_scalars", "parts_of", "plain_items", "plain_of"]
