"""The hash that buckets are chosen by, against what TensorFlow gives."""

import pytest

from corelane.kernels._native import fingerprint64


@pytest.mark.parametrize(
    ("text", "fingerprint"),
    [
        # From tf.strings.to_hash_bucket_fast and tf.fingerprint, one of each length class.
        (b"", 11160318154034397263),
        (b"a", 12917804110809363939),
        (b"v1", 15612490772135294343),
        (b"hello", 13009744463427800296),
        (b"0123456789abcdef", 6105018409752412263),
        (b"x" * 33, 12270365409943098935),
        (b"y" * 64, 4471793200125962424),
        (b"z" * 65, 8299915583762718517),
        (b"w" * 200, 5137922210105849728),
    ],
)
def test_fingerprints_are_tensorflows(text: bytes, fingerprint: int) -> None:
    assert fingerprint64(text) == fingerprint
