"""Features put together: each writes its part of a dense tensor's rows."""

from typing import Any

from corelane.kernels.compiler.analysis import Analysis, attribute, rule
from corelane.kernels.compiler.common import as_feature, known_int, new_shape
from corelane.kernels.compiler.sizes import BATCH, Size
from corelane.kernels.compiler.terms import Feature, Part, Term
from corelane.kernels.graph.constants import FLOAT


@rule("layout of a feature", "Reshape", "ExpandDims", "Squeeze")
def layout(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    """As long as rows stay rows, only the shape changes."""
    feature = inputs[0]
    if not isinstance(feature, Feature):
        return None
    shape = new_shape(node, inputs, feature.shape)
    if shape is None or shape[:1] != (BATCH,):
        return None
    return Feature(feature.parts, shape, feature.dtype)


@rule("one dense input", "ConcatV2")
def concat(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    """Along the last axis, of [batch, n] tensors; fed floats are copied to their place."""
    features = [as_feature(analysis, one) for one in inputs[:-1]]
    if any(one is None or len(one.shape) != 2 or one.dtype != FLOAT for one in features):
        return None
    if known_int(inputs[-1]) not in (1, -1):
        return None
    parts: list[Part] = []
    width = Size.of(0)
    for feature in features:
        assert feature is not None, "looked at above"
        if feature.shape[1].constant is None:
            return None
        parts.extend(feature.parts)
        width = width + feature.shape[1]
    return Feature(tuple(parts), (BATCH, width), FLOAT)


@rule("lookups side by side", "ConcatV2")
def interleave(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    """Of [batch, length, dimension] lookups, along the last axis: each place has a row of every table."""
    features = [one for one in inputs[:-1] if isinstance(one, Feature)]
    if len(features) < len(inputs) - 1 or known_int(inputs[-1]) not in (2, -1):
        return None
    first = features[0]
    for one in features:
        part = one.parts[0]
        if len(one.shape) != 3 or one.shape[:2] != first.shape[:2] or len(one.parts) > 1 or part.opcode != "gather":
            return None
        assert part.table is not None, "it is a lookup"
        if one.shape[2] != Size.of(part.table.dimension) or part.attributes:
            return None
    dimensions = [one.shape[2].constant or 0 for one in features]
    parts: list[Part] = []
    before = Size.of(0)
    for number, one in enumerate(features):
        part = one.parts[0]
        attributes = (("number", sum(dimensions)), ("inset", sum(dimensions[:number])), ("before", before))
        parts.append(Part("gather", part.inputs, part.width, attributes, part.table))
        before = before + part.width
    return Feature(tuple(parts), (*first.shape[:2], Size.of(sum(dimensions))), FLOAT)


@rule("one dense input", "Pack")
def stack(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    """Along a new axis after the batch."""
    features = [as_feature(analysis, one) for one in inputs]
    first = features[0]
    if first is None or first.dtype != FLOAT or any(one is None or one.shape != first.shape for one in features):
        return None
    if attribute(node, "axis") not in (1, -1 if len(first.shape) == 1 else 1):
        return None
    if any(size.constant is None for size in first.shape[1:]):
        return None
    parts = [part for feature in features if feature is not None for part in feature.parts]
    return Feature(tuple(parts), (BATCH, Size.of(len(inputs)), *first.shape[1:]), FLOAT)
