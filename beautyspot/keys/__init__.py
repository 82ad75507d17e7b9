"""A call and its key.

`keyer` computes the keys of one function's calls, `policies` are the values of ``key=``. `encoding` turns values into
bytes, `values` those of other libraries, `clients` those that lead elsewhere. `fingerprints` and `dependencies` tell
whether code has changed.
"""

from beautyspot.keys.policies import KeyGen, Policy

__all__ = [
    "KeyGen",
    "Policy",
]
