"""Attributes that a SavedModel leaves out."""

from collections.abc import Mapping
from typing import Any


def spell_out_defaults(graph: Any, ops: Mapping[str, Any]) -> None:
    """Writes the attributes that a SavedModel leaves out because they are as the op has them. `ops` are OpDefs by name;
    nodes of other ops stay as they are."""
    for node in graph.node:
        if node.op not in ops:
            continue
        for attribute in ops[node.op].attr:
            if attribute.name not in node.attr and attribute.HasField("default_value"):
                node.attr[attribute.name].CopyFrom(attribute.default_value)
