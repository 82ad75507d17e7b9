"""Graphs of networkx: nodes, edges and their attributes, without views that a graph remembers."""

from __future__ import annotations

import sys
from typing import Any

from beautyspot.keys.values.extras import extras
from beautyspot.keys.values.libraries import Parts

_OWN = frozenset(("graph", "_node", "_adj", "_pred", "_succ", "frozen"))


def parts_of(value: Any) -> Parts | None:
    """The tag and the parts of a graph; ``None`` for any other value. Nodes and edges have no order."""
    networkx: Any = sys.modules["networkx"]
    if not isinstance(value, networkx.Graph):
        return None
    kind, directed = type(value), value.is_directed()
    edges: dict[Any, Any] = {}
    for one, neighbours in value.adjacency():
        for other, held in neighbours.items():
            ends: Any = (one, other) if directed else frozenset((one, other))
            if value.is_multigraph():
                edges.update({(ends, key): attributes for key, attributes in held.items()})
            else:
                edges[ends] = held
    library = next(base for base in kind.__mro__ if base.__module__.partition(".")[0] == "networkx")
    # Views such as `nodes` stay on the graph under the names of what makes them.
    held = extras(value, library, _OWN | {name for name in vars(value) if _is_own(name, library)})
    return (b"v", "graph", kind, directed, value.graph, dict(value.nodes(data=True)), edges, held)


def _is_own(name: str, library: type) -> bool:
    return hasattr(library, name) or name.startswith("__networkx")
