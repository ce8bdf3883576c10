"""Embedding tables of fused plans as files, named after their content: HASH.fp32, and HASH.bf16, HASH.int8 made of it.

Who maps the same file shares its memory, so that equal tables of different versions and workers are there once.
"""

import logging
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

_logger = logging.getLogger(__name__)

TABLES = "tables"  # where a store is kept in the cache
_FP32 = ".fp32"
_ROWS = 1 << 16  # converted at a time
# Below that an int8 row, with its scale and offset, is larger than a bf16 one.
_INT8_DIMENSION_MIN = 8


def row_type(precision: str, dimension: int) -> str:
    """How the rows of a table are kept in a plan of that precision."""
    return "bf16" if precision == "int8" and dimension < _INT8_DIMENSION_MIN else precision


class TableStore:
    """Thread safety: any number of processes may use one folder; files appear whole."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def adopt(self, files: Iterable[Path]) -> None:
        """Makes a plan's tables one with equal ones here, where the file system has links. Tables that no plan has any
        more go."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for file in files:
            kept = self._folder / file.name
            file.chmod(0o444)
            try:
                os.link(file, kept)
            except FileExistsError:
                linked = file.with_name(f".{file.name}.{os.getpid()}")
                os.link(kept, linked)
                linked.replace(file)
            except OSError as error:
                _logger.warning("tables of plans are not shared: no links in %s: %s", self._folder, error)
                return
        for kept in self._folder.glob(f"*{_FP32}"):
            if kept.stat().st_nlink == 1:
                for one in self._folder.glob(f"{kept.stem}.*"):
                    one.unlink(missing_ok=True)

    def in_precision(self, table: Mapping[str, Any], folder: Path, precision: str) -> dict[str, Any]:
        """A table of the plan in `folder`, in rows of that precision; converted if it was not before."""
        original = folder / table["file"]
        wanted = row_type(precision, table["dimension"])
        kept = self._folder / f"{original.stem}.{wanted}"
        if not kept.exists():
            if wanted == "fp32":
                kept = original
            else:
                self._convert(original, kept, wanted, table["dimension"])
        return {**table, "file": str(kept), "type": wanted}

    def _convert(self, original: Path, kept: Path, wanted: str, dimension: int) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        convert = bf16_rows if wanted == "bf16" else int8_rows
        rows = np.memmap(original, np.float32, "r").reshape(-1, dimension)
        with tempfile.NamedTemporaryFile(dir=self._folder, delete=False) as file:
            try:
                for begin in range(0, len(rows), _ROWS):
                    file.write(convert(rows[begin : begin + _ROWS]).tobytes())
                file.flush()
                Path(file.name).chmod(0o444)
                Path(file.name).replace(kept)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise


def bf16_rows(rows: np.ndarray) -> np.ndarray:
    """The upper halves of floats, [n, dimension] of uint16, rounded to the nearest, ties to even."""
    bits = np.ascontiguousarray(rows, np.float32).view(np.uint32)
    rounded = (bits + (0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)
    # Rounding must not make another kind of number of a NaN.
    return np.where(np.isnan(rows), (bits >> 16 | 0x40).astype(np.uint16), rounded)


def int8_rows(rows: np.ndarray) -> np.ndarray:
    """Rows of bytes, [n, 8 + dimension]: a float scale and a float offset, then x = scale * byte + offset. Rows that
    are not finite become NaN."""
    low, high = rows.min(1, keepdims=True), rows.max(1, keepdims=True)
    scale = ((high.astype(np.float64) - low) / 255).astype(np.float32)
    with np.errstate(all="ignore"):
        quantized = np.rint((rows - low) / np.where(scale > 0, scale, 1))
    quantized = np.nan_to_num(quantized, nan=0.0).clip(0, 255).astype(np.uint8)
    return np.concatenate([scale.view(np.uint8), low.astype(np.float32).view(np.uint8), quantized], 1)
