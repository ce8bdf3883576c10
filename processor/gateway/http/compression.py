"""gzip, deflate and zstd of HTTP bodies, both ways. What a body grows to is bounded before it grows."""

import zlib

import zstandard

from processor.errors import InvalidRequest, NotSupported

# Below this a body is sent as it is: it fits a packet anyhow.
_BYTES_MIN = 860
_GZIP_LEVEL = 1
_ZSTD_LEVEL = 1
_ZSTD_WINDOW_BYTES_MAX = 1 << 27
_ACCEPTED = ("zstd", "gzip", "deflate")  # the best first


def decompress(body: bytes, encoding: str | None, bytes_max: int) -> bytes:
    """A body by its Content-Encoding. InvalidRequest if it is damaged or grows over `bytes_max`."""
    if encoding is None or encoding == "identity":
        return body
    try:
        if encoding == "gzip":
            return _inflate(body, zlib.MAX_WBITS | 16, bytes_max)
        if encoding == "deflate":
            return _inflate(body, zlib.MAX_WBITS, bytes_max)
        if encoding == "zstd":
            return _from_zstd(body, bytes_max)
    except (zlib.error, zstandard.ZstdError) as error:
        raise InvalidRequest(f"the body is not {encoding}: {error}") from None
    raise NotSupported(f"Content-Encoding {encoding} is not known; known: {', '.join(_ACCEPTED)}")


def compress(body: bytes, accepted: str | None) -> tuple[bytes, str | None]:
    """A body as a client's Accept-Encoding allows, and its Content-Encoding; None: as it is."""
    if len(body) < _BYTES_MIN or accepted is None:
        return body, None
    encoding = _chosen(accepted)
    if encoding == "zstd":
        return zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(body), encoding
    if encoding == "gzip":
        packer = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, zlib.MAX_WBITS | 16)
        return packer.compress(body) + packer.flush(), encoding
    if encoding == "deflate":
        return zlib.compress(body, _GZIP_LEVEL), encoding
    return body, None


def _chosen(accepted: str) -> str | None:
    weights: dict[str, float] = {}
    for part in accepted.lower().split(","):
        name, _, parameters = part.partition(";")
        weight = 1.0
        key, _, value = parameters.strip().partition("=")
        if key.strip() == "q":
            try:
                weight = float(value)
            except ValueError:
                weight = 0.0
        weights[name.strip()] = weight
    offered = {name: weights.get(name, weights.get("*", 0.0)) for name in _ACCEPTED}
    best = max(offered.values())
    return next(name for name in _ACCEPTED if offered[name] == best) if best > 0 else None


def _inflate(body: bytes, window_bits: int, bytes_max: int) -> bytes:
    unpacker = zlib.decompressobj(window_bits)
    found = unpacker.decompress(body, bytes_max + 1)
    _check(len(found), bytes_max)
    if not unpacker.eof:
        raise zlib.error("it is cut short")
    return found


def _from_zstd(body: bytes, bytes_max: int) -> bytes:
    # Of a body that is cut short this returns the beginning, which is no JSON and no tensor.
    with zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES_MAX).stream_reader(body) as reader:
        found = reader.read(bytes_max + 1)
    _check(len(found), bytes_max)
    return found


def _check(size: int, bytes_max: int) -> None:
    if size > bytes_max:
        raise InvalidRequest(f"the body grows over listen.message_bytes_max ({bytes_max})")
