"""gzip, deflate and zstd of HTTP bodies, both ways. What a body grows to is bounded before it grows.

A body is read whole: every member of a gzip and every frame of a zstd body, and nothing may stand behind them.
"""

import zlib

import zstandard

from corelane.processor.errors import InvalidRequest, NotSupported

# Below this a body is sent as it is: it fits a packet anyhow.
_BYTES_MIN = 860
_GZIP_LEVEL = 1
_ZSTD_LEVEL = 1
_ZSTD_WINDOW_BYTES_MAX = 1 << 27
_ZSTD_HEADER_BYTES_MAX = 18
_ZSTD_SKIPPABLE = 0x184D2A50
_ZSTD_REPEATED_BYTE = 1  # a kind of block
_PIECE_BYTES = 1 << 12
_READ_BYTES = 1 << 20
_PARTS_MAX = 100_000  # members or frames of one body
_OFFERED = ("zstd", "gzip", "deflate")  # the best first
_ALIASES = {"x-gzip": "gzip", "x-deflate": "deflate"}
_CODINGS_MAX = 4
_GZIP_BITS = zlib.MAX_WBITS | 16


def decompress(body: bytes, encoding: str, bytes_max: int) -> bytes:
    """A body by its Content-Encoding: codings in the order in which they were applied, in any case. InvalidRequest if
    it is damaged, or grows over `bytes_max` at any coding; NotSupported for a coding that is not offered."""
    codings = _codings(encoding)
    if len(codings) > _CODINGS_MAX:
        raise InvalidRequest(f"Content-Encoding names {len(codings)} codings; at most {_CODINGS_MAX} are taken")
    for coding in codings:
        if coding not in _OFFERED:
            raise NotSupported(f"Content-Encoding {coding} is not known; known: {', '.join(_OFFERED)}")
    for coding in reversed(codings):
        body = _unpacked(body, coding, bytes_max)
    return body


def compress(body: bytes, accepted: str) -> tuple[bytes, str | None]:
    """A body as a client's Accept-Encoding allows, and its Content-Encoding; None: as it is."""
    if len(body) < _BYTES_MIN or not accepted:
        return body, None
    coding = _chosen(accepted)
    if coding == "zstd":
        return zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(body), coding
    if coding == "gzip":
        packer = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_BITS)
        return packer.compress(body) + packer.flush(), coding
    if coding == "deflate":
        return zlib.compress(body, _GZIP_LEVEL), coding
    return body, None


def _codings(text: str) -> list[str]:
    """The codings of a header but for those that change nothing."""
    names = [part.strip().lower() for part in text.split(",")]
    return [_ALIASES.get(name, name) for name in names if name not in ("", "identity")]


def _chosen(accepted: str) -> str | None:
    weights: dict[str, float] = {}
    for part in accepted.lower().split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        weights[_ALIASES.get(name, name)] = _weight(parameters)
    offered = {name: weights.get(name, weights.get("*", 0.0)) for name in _OFFERED}
    best = max(offered.values())
    if best <= 0 or weights.get("identity", 0.0) > best:
        return None
    return next(name for name in _OFFERED if offered[name] == best)


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            try:
                weight = float(value)
            except ValueError:
                return 0.0
            return weight if 0.0 <= weight <= 1.0 else 0.0
    return 1.0


def _unpacked(body: bytes, coding: str, bytes_max: int) -> bytes:
    if not body:
        return body
    try:
        if coding == "gzip":
            return _members(body, bytes_max)
        if coding == "deflate":
            return _from_deflate(body, bytes_max)
        return _frames(body, bytes_max)
    except (zlib.error, zstandard.ZstdError) as error:
        raise InvalidRequest(f"the body is not {coding}: {error}") from None


def _from_deflate(body: bytes, bytes_max: int) -> bytes:
    """zlib's form, which the name means, or the raw one, which some clients send."""
    is_zlib = len(body) >= 2 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0
    unpacker = zlib.decompressobj(zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS)
    content = unpacker.decompress(body, bytes_max + 1)
    _check_size(len(content), bytes_max)
    if not unpacker.eof:
        raise zlib.error("it is cut short")
    if unpacker.unused_data:
        raise zlib.error(f"{len(unpacker.unused_data)} bytes stand behind its end")
    return content


def _members(body: bytes, bytes_max: int) -> bytes:
    """The contents of gzip's members, one behind the other."""
    parts: list[bytes] = []
    size = count = position = 0
    while position < len(body):
        count += 1
        _check_count(count)
        unpacker = zlib.decompressobj(_GZIP_BITS)
        while not unpacker.eof:
            # In pieces, because a member hands back a copy of what stands behind it.
            piece = unpacker.unconsumed_tail or body[position : position + _PIECE_BYTES]
            if not piece:
                raise zlib.error("it is cut short")
            if not unpacker.unconsumed_tail:
                position += len(piece)
            part = unpacker.decompress(piece, bytes_max - size + 1)
            size += len(part)
            _check_size(size, bytes_max)
            parts.append(part)
        position -= len(unpacker.unused_data)
    return b"".join(parts)


def _frames(body: bytes, bytes_max: int) -> bytes:
    """The contents of zstd's frames, one behind the other."""
    unpacker = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES_MAX)
    view = memoryview(body)
    parts: list[bytes] = []
    size = count = position = 0
    while position < len(body):
        count += 1
        _check_count(count)
        end = _end_of_frame(body, position)
        # The reader says nothing of a frame that is cut short; this one is not.
        with unpacker.stream_reader(view[position:end], read_across_frames=False) as reader:
            while part := reader.read(_READ_BYTES):
                size += len(part)
                _check_size(size, bytes_max)
                parts.append(part)
        position = end
    return b"".join(parts)


def _end_of_frame(body: bytes, begin: int) -> int:
    """Where the frame at `begin` ends, by RFC 8878: a skippable one by its length, another by its blocks' headers."""
    if len(body) - begin < 8:
        raise zstandard.ZstdError("it is cut short")
    magic, length = (int.from_bytes(body[at : at + 4], "little") for at in (begin, begin + 4))
    if magic & 0xFFFFFFF0 == _ZSTD_SKIPPABLE:
        position = begin + 8 + length
    else:
        head = body[begin : begin + _ZSTD_HEADER_BYTES_MAX]
        position = begin + zstandard.frame_header_size(head)
        is_last = False
        while not is_last:
            block = int.from_bytes(body[position : position + 3], "little")
            is_last, kind, content_bytes = bool(block & 1), block >> 1 & 3, block >> 3
            if position + 3 > len(body):
                raise zstandard.ZstdError("it is cut short")
            position += 3 + (1 if kind == _ZSTD_REPEATED_BYTE else content_bytes)
        position += 4 if zstandard.get_frame_parameters(head).has_checksum else 0
    if position > len(body):
        raise zstandard.ZstdError("it is cut short")
    return position


def _check_count(count: int) -> None:
    if count > _PARTS_MAX:
        raise InvalidRequest(f"the body has over {_PARTS_MAX} compressed parts")


def _check_size(size: int, bytes_max: int) -> None:
    if size > bytes_max:
        raise InvalidRequest(f"the body grows over listen.message_bytes_max ({bytes_max})")
