"""Embedding tables of fused plans as files, named after their content: HASH.fp32, and HASH-CRC.bf16, HASH-CRC.int8 made
of it, CRC being their own checksum.

Who maps the same file shares its memory, so that equal tables of different versions and workers are there once.
"""

import contextlib
import filecmp
import hashlib
import json
import logging
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import google_crc32c
import numpy as np

from corelane.processor.engines.selection import PLAN
from corelane.processor.system.cache_files import MAKING, checksum, not_kept, scratch_folder, sync

_logger = logging.getLogger(__name__)

TABLES = "tables"  # where a store is kept in the cache
_FP32 = ".fp32"
_FILE = re.compile(r"tables/([0-9a-f]{32})\.fp32")
_ROWS = 1 << 16  # converted at a time
# Below that an int8 row, with its scale and offset, is larger than a bf16 one.
_INT8_DIMENSION_MIN = 8


def row_type(precision: str, dimension: int) -> str:
    """How the rows of a table are kept in a plan of that precision."""
    return "bf16" if precision == "int8" and dimension < _INT8_DIMENSION_MIN else precision


def row_name(file: str, kind: str) -> str:
    """What a plan's table is called among converted ones."""
    return f"{Path(file).stem}.{kind}"


class TableStore:
    """Thread safety: any number of processes may use one folder; files appear whole."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def adopt(self, files: Iterable[Path]) -> None:
        """Makes a plan's tables one with equal ones here, where the file system has links; one here that is damaged is
        replaced. Tables that no plan has any more go."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for file in files:
            file.chmod(0o444)
            try:
                self._adopt(file)
            except OSError as error:
                _logger.warning("tables of plans are not shared: no links in %s: %s", self._folder, error)
                return
        for kept in self._folder.glob(f"*{_FP32}"):
            with contextlib.suppress(FileNotFoundError):  # another process may do the same
                if kept.stat().st_nlink == 1:
                    for one in self._folder.glob(f"{kept.stem}[-.]*"):
                        one.unlink(missing_ok=True)

    def _adopt(self, file: Path) -> None:
        kept = self._folder / file.name
        linked = file.with_name(f".{file.name}.{os.getpid()}")
        try:
            os.link(file, kept)
        except FileExistsError:
            if filecmp.cmp(file, kept, shallow=False):
                os.link(kept, linked)
                linked.replace(file)
            else:
                _logger.warning("table %s is replaced: it was damaged", kept)
                os.link(file, linked)
                linked.replace(kept)

    def converted(self, plan: Path, precision: str) -> dict[str, str]:
        """The files here of all tables of a plan in rows of that precision, by `row_name`: checked, or made now. What
        cannot be kept is not among them, nor what belongs to no plan that can be understood."""
        found: dict[str, str] = {}
        try:
            for signature in json.loads((plan / PLAN).read_bytes())["signatures"]:
                for table in signature.get("program", {}).get("tables", ()):
                    if not _FILE.fullmatch(table["file"]):
                        raise ValueError(f"{table['file']} is no table's name")
                    kind = row_type(precision, table["dimension"])
                    name = row_name(table["file"], kind)
                    if kind != "fp32" and name not in found:
                        original = plan / table["file"]
                        kept = self._find(original.stem, kind) or self._convert(original, kind, table["dimension"])
                        found[name] = str(kept)
        except OSError as error:
            _logger.warning("%s", not_kept(f"tables in {precision}", self._folder, error))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            _logger.warning("tables of %s are not converted: %s", plan, error)
        return found

    def _find(self, stem: str, kind: str) -> Path | None:
        for kept in self._folder.glob(f"{stem}-*.{kind}"):
            if kept.stem == f"{stem}-{checksum(kept):08x}":
                return kept
            _logger.warning("table %s is made anew: it was damaged", kept)
            with contextlib.suppress(OSError):
                kept.unlink()
        return None

    def _convert(self, original: Path, kind: str, dimension: int) -> Path:
        """ValueError if the original is not what its name says: others are to share what is made of it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        content, crc = hashlib.blake2b(digest_size=16), 0
        with scratch_folder(self._folder.parent / MAKING) as scratch:
            path = scratch / "table"
            with path.open("wb") as file:
                for rows, converted in converted_rows(original, kind, dimension):
                    content.update(rows.tobytes())
                    crc = google_crc32c.extend(crc, converted)
                    file.write(converted)
            if content.hexdigest() != original.stem:
                raise ValueError(f"{original} is not what its name says")
            path.chmod(0o444)
            sync(path)
            kept = self._folder / f"{original.stem}-{crc:08x}.{kind}"
            path.replace(kept)
            sync(self._folder)
        return kept


def converted_rows(original: Path, kind: str, dimension: int) -> Iterator[tuple[np.ndarray, bytes]]:
    """Rows of a table, some at a time, and the same in fewer bits."""
    convert = bf16_rows if kind == "bf16" else int8_rows
    rows = np.memmap(original, np.float32, "r").reshape(-1, dimension)
    for begin in range(0, len(rows), _ROWS):
        some = rows[begin : begin + _ROWS]
        yield some, convert(some).tobytes()


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
