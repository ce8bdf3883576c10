"""HTTP bodies that come packed: whole, in any number of members, bounded together."""

import gzip
import random
import zlib
from collections.abc import Callable

import pytest
import zstandard

from corelane.processor.errors import InvalidRequest, NotSupported
from corelane.processor.gateway.http.compression import compress, decompress

LIMIT = 10_000
SKIPPABLE_FRAME = b"\x50\x2a\x4d\x18\x03\0\0\0abc"


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


PACKERS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstd}


@pytest.mark.parametrize(
    ("body", "encoding", "content"),
    [
        (b"abc", "", b"abc"),
        (b"abc", "identity", b"abc"),
        (b"abc", "Identity , identity", b"abc"),
        (gzip.compress(b"abc", mtime=0), "gzip", b"abc"),
        (gzip.compress(b"abc", mtime=0), "GZIP", b"abc"),
        (gzip.compress(b"abc", mtime=0), "x-gzip", b"abc"),
        (gzip.compress(b"abc", mtime=0), "identity, gzip", b"abc"),
        (gzip.compress(b"abc", mtime=0), " gzip ,", b"abc"),
        (gzip.compress(b"ab", mtime=0) + gzip.compress(b"", mtime=0) + gzip.compress(b"cd", mtime=0), "gzip", b"abcd"),
        (zlib.compress(b"abc"), "deflate", b"abc"),
        (raw_deflate(b"abc"), "deflate", b"abc"),
        (raw_deflate(b"abc" * 1000), "Deflate", b"abc" * 1000),
        (zstd(b"ab") + zstd(b"cd"), "zstd", b"abcd"),
        (zstd(b"ab") + SKIPPABLE_FRAME + zstd(b"cd"), "ZSTD", b"abcd"),
        (gzip.compress(zstd(b"abc"), mtime=0), "zstd, gzip", b"abc"),
        (zlib.compress(zlib.compress(b"abc")), "deflate,deflate", b"abc"),
        (b"", "gzip", b""),
    ],
)
def test_bodies(body: bytes, encoding: str, content: bytes) -> None:
    assert decompress(body, encoding, LIMIT) == content


@pytest.mark.parametrize("name", PACKERS)
def test_what_stands_behind_a_body_is_an_error(name: str) -> None:
    packed = PACKERS[name](b"abc")
    for behind in (b"x", b"\0", b"garbage that is longer than any header", packed[:-1], packed[:5]):
        with pytest.raises(InvalidRequest, match=f"the body is not {name}"):
            decompress(packed + behind, name, LIMIT)


@pytest.mark.parametrize("name", PACKERS)
@pytest.mark.parametrize("seed", range(5))
def test_a_body_that_is_cut_short_or_damaged(name: str, seed: int) -> None:
    source = random.Random(seed)
    content = source.randbytes(50) * source.randrange(1, 100)
    packed = PACKERS[name](content)
    for end in range(1, len(packed)):
        with pytest.raises(InvalidRequest, match=f"the body is not {name}"):
            decompress(packed[:end], name, LIMIT)
    for _ in range(50):
        damaged = bytearray(packed)
        damaged[source.randrange(len(damaged))] ^= 1 << source.randrange(8)
        try:
            found = decompress(bytes(damaged), name, LIMIT)
        except InvalidRequest:
            continue
        assert found == content or name == "gzip", "all but gzip's header is checked by a sum"


@pytest.mark.parametrize("level", [1, 3, 19])
def test_every_shape_of_zstd_frame(level: int) -> None:
    source = random.Random(level)
    for _ in range(200):
        content = source.randbytes(source.randrange(200)) * source.randrange(3000)
        packer = zstandard.ZstdCompressor(
            level=level, write_checksum=source.random() < 0.5, write_content_size=source.random() < 0.5
        )
        packed = packer.compress(content)
        assert decompress(packed, "zstd", 1 << 20) == content
        with pytest.raises(InvalidRequest):
            decompress(packed[: source.randrange(1, len(packed))], "zstd", 1 << 20)


@pytest.mark.parametrize("name", PACKERS)
def test_the_bound_holds_over_all_parts_and_codings(name: str) -> None:
    pack = PACKERS[name]
    assert decompress(pack(b"a" * LIMIT), name, LIMIT) == b"a" * LIMIT
    bodies = [(pack(b"a" * (LIMIT + 1)), name), (pack(b"[" * 50_000_000), name)]
    bodies.append((pack(pack(b"a" * 50_000_000) * 10), f"{name},{name}"))
    if name != "deflate":
        bodies.append((pack(b"a" * (LIMIT // 2)) * 2 + pack(b"a"), name))
    for body, encoding in bodies:
        with pytest.raises(InvalidRequest, match=f"grows over listen.message_bytes_max .{LIMIT}"):
            decompress(body, encoding, LIMIT)


@pytest.mark.parametrize("name", ["gzip", "zstd"])
def test_the_number_of_parts_is_bounded(name: str) -> None:
    with pytest.raises(InvalidRequest, match="over 100000 compressed parts"):
        decompress(PACKERS[name](b"") * 100_001, name, LIMIT)


def test_codings_that_are_not_offered() -> None:
    for encoding in ("br", "identity, br", "gzip, br", "gzip;q=1"):
        with pytest.raises(NotSupported, match="is not known; known: zstd, gzip, deflate"):
            decompress(b"abc", encoding, LIMIT)
    with pytest.raises(InvalidRequest, match="names 5 codings; at most 4"):
        decompress(b"abc", "gzip," * 5, LIMIT)


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("", None),
        ("identity", None),
        ("br", None),
        ("gzip", "gzip"),
        ("GZip", "gzip"),
        ("x-gzip", "gzip"),
        ("gzip, zstd", "zstd"),
        ("gzip;q=1.0, zstd;q=0.5", "gzip"),
        ("gzip ; Q=0.2 , deflate;q=0.9", "deflate"),
        ("*", "zstd"),
        ("*;q=0.5, zstd;q=0", "gzip"),
        ("gzip;q=0", None),
        ("gzip;q=0.5, identity", None),
        ("gzip;q=nonsense", None),
        ("gzip;q=9", None),
        ("gzip;level=1;q=0", None),
    ],
)
def test_what_a_client_accepts(accepted: str, coding: str | None) -> None:
    body = b"abc" * 1000
    packed, found = compress(body, accepted)
    assert found == coding
    assert decompress(packed, found or "", LIMIT) == body
    assert compress(b"short", accepted) == (b"short", None)
