"""What a tensor of the graph is, in terms of the features: what analysis finds out, one op at a time."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from corelane.kernels.compiler.sizes import BATCH, Size

Shape = tuple[Size, ...]


@dataclass(frozen=True, slots=True)
class Opaque:
    """Nothing is known but that TensorFlow computes it. `reason` names the op that ended a feature's path, if one
    did."""

    reason: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """A constant; strings as an array of bytes objects."""

    array: np.ndarray

    @property
    def shape(self) -> Shape:
        return tuple(map(Size.of, self.array.shape))


@dataclass(frozen=True, slots=True, eq=False)
class Sizes:
    """A scalar or vector of ints that follow from the shapes of what is fed: an object array of Size."""

    values: np.ndarray

    @property
    def shape(self) -> Shape:
        return tuple(map(Size.of, self.values.shape))


@dataclass(frozen=True, slots=True)
class Vector:
    """The value of that number, laid out in row-major order. `dtype` is TensorFlow's number."""

    value: int
    shape: Shape
    dtype: int


@dataclass(frozen=True, slots=True)
class Coordinates:
    """Where in a tensor of `dense_shape` the elements of a domain are: [n, rank]; row by row."""

    rows: int
    dense_shape: Shape


@dataclass(frozen=True, slots=True)
class Positions:
    """Which elements of the domain before, by number, are those of `rows`: [n], or [n, 1]."""

    rows: int
    shape: Shape


@dataclass(frozen=True, slots=True)
class Segments:
    """The row that each element is of: [n]."""

    rows: int
    dtype: int


@dataclass(frozen=True, slots=True)
class Offsets:
    """The rows of a ragged tensor: how many elements each has ("counts", [batch], or "counts column", [batch, 1]),
    where each begins or ends ("starts", "ends", [batch]), or both ("splits", [batch + 1])."""

    rows: int
    form: str
    dtype: int


@dataclass(frozen=True, slots=True)
class RowMask:
    """Which places up to the longest row each row has: [batch, width] or that flat; or the places themselves, one for
    each element: [n, 1] or [n]."""

    rows: int
    shape: Shape


@dataclass(frozen=True, slots=True)
class TiledRows:
    """The number of its row at each place up to the longest row: [batch, width], or that flat."""

    rows: int
    shape: Shape


@dataclass(frozen=True, slots=True)
class AtLeast:
    """A scalar that is this size or more."""

    size: Size


@dataclass(frozen=True, slots=True)
class Places:
    """For each element of a value, which of its distinct elements it is. Those are the value of opcode "distinct"."""

    value: int


@dataclass(frozen=True, slots=True)
class Table:
    """An embedding table, [rows, dimension] of floats: a variable's handle or a constant's node; or several variables,
    whose rows it has in the order that `Analysis.orders` has for its source."""

    source: str
    is_variable: bool
    rows: int
    dimension: int
    is_handle: bool = False
    parts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Share:
    """Those elements of a value, or those numbers of its elements (None), for which `by` is `index`; of `count`."""

    value: int | None
    by: int
    index: int
    count: int


@dataclass(frozen=True, slots=True)
class ShareOfRows:
    """Rows of a part of a table, by a share of the ids."""

    table: Table
    share: Share


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The handle of a hash table."""

    handle: str


@dataclass(frozen=True, slots=True)
class Embedded:
    """Rows of a table, one for each element of `value`: its shape with the dimension after it. `weights` is a value
    that they are multiplied by."""

    table: Table
    value: int
    shape: Shape
    weights: int | None = None


@dataclass(frozen=True, slots=True)
class Squares:
    """A value of floats, squared."""

    value: int
    shape: Shape


@dataclass(frozen=True, slots=True)
class WeightSums:
    """What each row's weights come to: their "sum", the sum of their "squares", or the "root" of that."""

    weights: int
    rows: int
    form: str
    shape: Shape


@dataclass(frozen=True, slots=True)
class Part:
    """A slice of each row of a feature: an instruction that writes (`opcode`), on values. `width` elements."""

    opcode: str
    inputs: tuple[int, ...]
    width: Size
    attributes: tuple[tuple[str, Any], ...] = ()
    table: Table | None = None


@dataclass(frozen=True, slots=True)
class Feature:
    """A dense tensor [batch, ...] whose rows are parts one after another. `dtype` is TensorFlow's number."""

    parts: tuple[Part, ...]
    shape: Shape
    dtype: int


@dataclass(frozen=True, slots=True)
class Cells:
    """A sparse tensor made dense, with `default` where nothing is."""

    value: int
    rows: int
    shape: Shape
    default: int


@dataclass(frozen=True, slots=True)
class OneHots:
    """A one-hot vector of floats for each cell."""

    value: int
    rows: int
    shape: Shape
    depth: int


@dataclass(frozen=True, slots=True)
class MaskedRows:
    """Looked-up rows [batch, length, dimension], zero where the mask is."""

    table: Table
    value: int
    mask: int
    shape: Shape


@dataclass(frozen=True, slots=True)
class KeptCounts:
    """How many elements each row has, as floats."""

    rows: int
    shape: Shape


@dataclass(frozen=True, slots=True)
class RowNumbers:
    """The number of the row that each element is of."""

    shape: Shape


@dataclass(frozen=True, slots=True)
class CoordinateColumns:
    """The coordinates of every cell of [batch, width], as [2, batch * width]."""

    width: int


@dataclass(frozen=True, slots=True)
class Same:
    """A tensor of one number or string everywhere."""

    element: Any
    shape: Shape
    dtype: int


Term = (
    Opaque
    | Known
    | Sizes
    | Vector
    | Coordinates
    | Positions
    | Segments
    | Offsets
    | RowMask
    | TiledRows
    | AtLeast
    | Places
    | Table
    | Share
    | ShareOfRows
    | Squares
    | WeightSums
    | Vocabulary
    | Embedded
    | Feature
    | Same
    | Cells
    | OneHots
    | MaskedRows
    | KeptCounts
    | RowNumbers
    | CoordinateColumns
)


def shape_of(term: Term) -> Shape | None:
    """Its symbolic shape; None if that is unknown."""
    if isinstance(term, Coordinates):
        return (Size.symbol("count", term.rows), Size.of(len(term.dense_shape)))
    if isinstance(term, Segments):
        return (Size.symbol("count", term.rows),)
    if isinstance(term, Offsets):
        one = Size.of(1)
        return {"splits": (BATCH + 1,), "counts column": (BATCH, one)}.get(term.form, (BATCH,))
    if isinstance(term, Table):
        return None if term.is_handle else (Size.of(term.rows), Size.of(term.dimension))
    if isinstance(term, Opaque | AtLeast | Vocabulary | CoordinateColumns | Share | ShareOfRows | Places):
        return None
    return term.shape
