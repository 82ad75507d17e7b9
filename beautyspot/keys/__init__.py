"""A call and its key.

`keyer` computes the keys of one function's calls, `policies` are the values of ``key=``, `roots` are the parts of a
key beside the arguments: captured variables, decorators, constants. `captured` tells what runs changed of them from
what other code did, with `assignments` (what code may assign); `notices` are the warnings and errors about it.

`encoding` turns values into bytes (`traversal` has its protocols): `definitions` functions and classes, `shapes`
classes that describe data, `attributes` objects, `handles` what does work and is no data, `clients` what leads
elsewhere, `values` what other libraries make. `transient` knows values that only one process has. `fingerprints` and
`dependencies` tell whether code has changed.
"""

from beautyspot.keys.policies import KeyGen, Policy

__all__ = [
    "KeyGen",
    "Policy",
]
