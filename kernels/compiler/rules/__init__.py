"""The rewrite rules, by what they are about. Importing this registers all of them."""

from corelane.kernels.compiler.rules import (
    bags,
    constants,
    counting,
    examples,
    features,
    folding,
    ids,
    indicators,
    lookups,
    masked,
    partitioned,
    ragged,
    shapes,
    sources,
)

__all__ = [
    "bags",
    "constants",
    "counting",
    "examples",
    "features",
    "folding",
    "ids",
    "indicators",
    "lookups",
    "masked",
    "partitioned",
    "ragged",
    "shapes",
    "sources",
]
