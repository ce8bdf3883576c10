"""What ops make of tensors of rows, on small shapes and without any engine."""

from collections.abc import Callable

import numpy as np
import pytest

from corelane.kernels.batching import JoinsRows, axes, layout
from corelane.kernels.batching import transfer as op
from corelane.kernels.batching.slices import MASKS, strided
from corelane.kernels.batching.tensor import Tensor, fixed, known, rows
from corelane.kernels.compiler.sizes import BATCH, Size

B = BATCH
MATRIX, STEPS, VECTOR = rows([B, 3]), rows([B, 2, 4]), rows([B])
NONE = dict.fromkeys(MASKS, 0)


def ints(*values: int | Size) -> Tensor:
    array = np.empty(len(values), np.object_)
    array[:] = [Size.of(value) for value in values]
    return known(array)


ROWS: dict[str, tuple[Callable[[], Tensor], list[int | Size]]] = {
    "numbers of equal rank": (lambda: op.elementwise(MATRIX, MATRIX), [B, 3]),
    "a weight for each column": (lambda: op.elementwise(MATRIX, fixed([3])), [B, 3]),
    "one row for all": (lambda: op.elementwise(MATRIX, fixed([1, 3])), [B, 3]),
    "a scalar": (lambda: op.elementwise(VECTOR, fixed([])), [B]),
    "broadcast of columns": (lambda: op.elementwise(rows([B, 1]), fixed([4])), [B, 4]),
    "dense layer": (lambda: op.matmul(MATRIX, fixed([3, 5])), [B, 5]),
    "dense layer, weights transposed": (lambda: op.matmul(MATRIX, fixed([5, 3]), right_transposed=True), [B, 5]),
    "attention scores": (lambda: op.matmul(STEPS, STEPS, right_transposed=True), [B, 2, 2]),
    "weights from the left": (lambda: op.matmul(fixed([7, 2]), STEPS), [B, 7, 4]),
    "einsum of heads": (lambda: op.einsum("bti,ij->btj", [STEPS, fixed([4, 6])]), [B, 2, 6]),
    "reshape by -1": (lambda: layout.reshape(STEPS, ints(-1, 8)), [B, 8]),
    "reshape by the number of rows": (lambda: layout.reshape(STEPS, ints(B, -1)), [B, 8]),
    "rows in parts": (lambda: layout.reshape(STEPS, ints(-1, 4)), [B * 2, 4]),
    "parts back to rows": (lambda: layout.reshape(layout.reshape(STEPS, ints(-1, 4)), ints(-1, 2, 4)), [B, 2, 4]),
    "zero keeps a size": (lambda: layout.reshape(STEPS, ints(0, 8), zero_copies=True), [B, 8]),
    "lookup": (lambda: op.gather(fixed([10, 4]), VECTOR, 0), [B, 4]),
    "a column": (lambda: op.gather(MATRIX, fixed([2]), 1), [B, 2]),
    "places of each row": (lambda: op.gather(STEPS, rows([B, 5]), 1, 1), [B, 5, 4]),
    "filled rows": (lambda: layout.made_of([B, Size.of(2)]), [B, 2]),
    "one row repeated": (lambda: layout.tile(fixed([1, 3]), ints(B, 1)), [B, 3]),
    "a vector for every row": (lambda: layout.broadcast_to(fixed([3]), ints(B, 3)), [B, 3]),
    "sum of columns": (lambda: op.reduce(MATRIX, [-1], keep=False), [B]),
    "all but the first column": (
        lambda: strided(MATRIX, ints(0, 1), ints(0, 0), ints(1, 1), masks={**NONE, "begin": 1, "end": 3}),
        [B, None],
    ),
    "side by side": (lambda: layout.concat([MATRIX, rows([B, 2])], 1), [B, 5]),
    "stacked": (lambda: layout.stack([MATRIX, MATRIX], 1), [B, 2, 3]),
}  # type: ignore[dict-item]

JOINED: dict[str, Callable[[], Tensor]] = {
    "rows against columns": lambda: op.elementwise(VECTOR, MATRIX),
    "two rows for all": lambda: op.elementwise(MATRIX, fixed([2, 3])),
    "more axes than the rows": lambda: op.elementwise(MATRIX, fixed([1, 1, 3])),
    "parts against rows": lambda: op.elementwise(rows([B * 2, 3]), MATRIX),
    "an unknown rank": lambda: op.elementwise(MATRIX, fixed()),
    "gram matrix": lambda: op.matmul(MATRIX, MATRIX, right_transposed=True),
    "rows multiplied from the left": lambda: op.matmul(fixed([2, 2]), MATRIX),
    "rows transposed": lambda: op.matmul(MATRIX, fixed([3, 3]), left_transposed=True),
    "sum of rows": lambda: op.reduce(MATRIX, [0], keep=True),
    "sum over unknown axes": lambda: op.reduce(MATRIX, None, keep=True),
    "softmax of a vector": lambda: op.along(VECTOR, -1),
    "rows moved": lambda: layout.transpose(MATRIX, [1, 0]),
    "a fixed number of rows": lambda: layout.reshape(MATRIX, ints(4, -1)),
    "a row across others": lambda: layout.reshape(MATRIX, ints(-1, 2)),
    "an unknown shape": lambda: layout.reshape(MATRIX, fixed([2])),
    "rows in front": lambda: layout.expand(MATRIX, [0]),
    "a single row lost": lambda: layout.squeeze(MATRIX, []),
    "rows by others' ids": lambda: op.gather(MATRIX, VECTOR, 0),
    "rows picked": lambda: op.gather(MATRIX, fixed([2]), 0),
    "rows along the second axis": lambda: op.gather(fixed([3, 10]), VECTOR, 1),
    "rows repeated": lambda: layout.tile(MATRIX, ints(2, 1)),
    "two rows repeated for each": lambda: layout.tile(fixed([2, 3]), ints(B, 1)),
    "rows one behind the other": lambda: layout.concat([MATRIX, MATRIX], 0),
    "with constant rows": lambda: layout.concat([MATRIX, fixed([2, 3])], 1),
    "rows summed by einsum": lambda: op.einsum("bi,bj->ij", [MATRIX, MATRIX]),
    "rows named twice": lambda: op.einsum("bi,ci->bc", [MATRIX, MATRIX]),
    "the number of rows as a number": lambda: axes.refuse_counts([ints(B)]) or fixed(),
    "a row left out": lambda: strided(MATRIX, ints(1, 0), ints(0, 0), ints(1, 1), masks={**NONE, "end": 3, "begin": 2}),
    "rows backwards": lambda: strided(MATRIX, ints(0), ints(0), ints(-1), masks={**NONE, "begin": 1, "end": 1}),
    "the number of rows as a width": lambda: layout.made_of([Size.of(3), B]),
}  # type: ignore[dict-item]


@pytest.mark.parametrize("name", ROWS)
def test_rows_that_stay_apart(name: str) -> None:
    make, shape = ROWS[name]
    tensor = make()
    assert tensor.is_rows
    assert tensor.shape is not None
    assert len(tensor.shape) == len(shape)
    assert all(size is None or found == Size.of(size) for found, size in zip(tensor.shape, shape, strict=True))


@pytest.mark.parametrize("name", JOINED)
def test_rows_that_meet(name: str) -> None:
    with pytest.raises(JoinsRows):
        JOINED[name]()


def test_sizes_are_followed_through_arithmetic() -> None:
    shape = op.shape_of(rows([B, 2, 4]))
    first, rest = op.gather(shape, known(np.array(0)), 0), op.gather(shape, known(np.array([1, 2])), 0)
    target = layout.concat([layout.expand(first, [0]), ints(8)], 0)
    assert layout.reshape(STEPS, target).shape == (B, Size.of(8))
    assert rest.constants() is not None
    assert op.arithmetic("Multiply", first, known(np.array(2))).values == B * 2
    assert op.arithmetic("FloorDiv", op.arithmetic("Multiply", first, known(np.array(2))), first).constants() == 2
    with pytest.raises(JoinsRows, match="the number of rows"):
        op.arithmetic("FloorDiv", first, known(np.array(2)))
