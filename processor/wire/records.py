"""TFRecord files: TensorFlow's container of byte strings."""

import contextlib
import struct
from collections.abc import Iterator
from pathlib import Path

import google_crc32c

_LENGTH = struct.Struct("<QI")
_CHECK = struct.Struct("<I")


def read(path: Path) -> Iterator[bytes]:
    """The records of an uncompressed file. ValueError where it is cut or damaged; OSError if it cannot be read."""
    left = path.stat().st_size
    with path.open("rb") as file:
        while head := file.read(_LENGTH.size):
            left -= len(head)
            if len(head) < _LENGTH.size:
                raise ValueError("it ends within a record")
            length, check = _LENGTH.unpack(head)
            if check != _masked(head[:8]):
                raise ValueError("it is no TFRecord file, or damaged")
            left -= length + _CHECK.size
            if left < 0:
                raise ValueError("it ends within a record")
            data = file.read(length)
            if _CHECK.unpack(file.read(_CHECK.size))[0] != _masked(data):
                raise ValueError("a record is damaged")
            yield data


def whole_bytes(path: Path) -> int:
    """The length of the part of a file that `read` reads without a fault."""
    size = 0
    with contextlib.suppress(ValueError):
        for data in read(path):
            size += len(to_record(b"")) + len(data)
    return size


def to_record(data: bytes) -> bytes:
    """One record of a file."""
    length = struct.pack("<Q", len(data))
    return length + _CHECK.pack(_masked(length)) + data + _CHECK.pack(_masked(data))


def _masked(data: bytes) -> int:
    """TFRecord's checksum: CRC-32C, rotated right by 15 bits, plus a constant."""
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
