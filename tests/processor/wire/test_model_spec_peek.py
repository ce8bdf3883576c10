"""The native peek against protobuf's own parser."""

import random

from hypothesis import given
from hypothesis import strategies as st

from corelane.processor._native import peek_model_spec
from corelane.processor.wire import messages

text = st.text("abé/ ", max_size=6)


@st.composite
def specs(draw: st.DrawFn) -> messages.Message:
    spec = messages.ModelSpec()
    spec.name = draw(text)
    spec.signature_name = draw(text)
    choice = draw(st.integers(0, 2))
    if choice == 1:
        spec.version.value = draw(st.integers(-(2**63), 2**63 - 1))
    elif choice == 2:
        spec.version_label = draw(text)
    return spec


def expected(spec: messages.Message) -> tuple:
    choice = spec.WhichOneof("version_choice")
    return (
        True,
        spec.name,
        spec.version.value if choice == "version" else None,
        spec.version_label if choice == "version_label" else None,
        spec.signature_name,
    )


@given(st.lists(specs(), min_size=1, max_size=3), st.binary(max_size=40))
def test_repeated_specs_merge_as_protobuf_merges_them(parts: list, tensor: bytes) -> None:
    data = b""
    for part in parts:
        request = messages.PredictRequest()
        request.model_spec.CopyFrom(part)
        request.inputs["x"].tensor_content = tensor
        request.output_filter.append("y")
        data += request.SerializeToString()
    assert peek_model_spec(data) == expected(messages.PredictRequest.FromString(data).model_spec)


@given(st.lists(specs(), min_size=1, max_size=3))
def test_the_first_task_speaks_for_a_multi_inference(parts: list) -> None:
    request = messages.MultiInferenceRequest()
    for part in parts:
        request.tasks.add().model_spec.CopyFrom(part)
    assert peek_model_spec(request.SerializeToString(), 1) == expected(parts[0])


def test_no_spec() -> None:
    assert peek_model_spec(b"") == (False, "", None, None, "")
    request = messages.PredictRequest(output_filter=["y"])
    assert peek_model_spec(request.SerializeToString()) == (False, "", None, None, "")
    assert peek_model_spec(messages.MultiInferenceRequest().SerializeToString(), 1) == (False, "", None, None, "")


def test_unknown_fields_are_skipped() -> None:
    request = messages.PredictRequest()
    request.model_spec.name = "m"
    spec = bytes([0x0A, len(inner := b"\x7a\x03abc\x80\x02\x05" + request.model_spec.SerializeToString())]) + inner
    unknown = b"\x98\x06\x96\x01" + b"\xa1\x06" + b"8" * 8 + b"\xad\x06" + b"4" * 4 + b"\xb2\x06\x02zz"
    assert peek_model_spec(unknown + spec + unknown) == (True, "m", None, None, "")


def test_bytes_that_are_no_message() -> None:
    for data in (b"\x0a", b"\x0a\x05ab", b"\xff" * 12, b"\x00\x01", b"\x0b\x0c", b"\x08\x01", b"\x0a\x02\x08\x01"):
        assert peek_model_spec(data) is None, data


def test_what_the_peek_takes_protobuf_takes_or_refuses_in_a_part_it_does_not_read() -> None:
    source = random.Random(3)
    request = messages.PredictRequest()
    request.model_spec.name = "model"
    request.model_spec.version.value = 300
    request.inputs["x"].float_val.extend([1, 2, 3])
    good = request.SerializeToString()
    compared = 0
    for _ in range(5000):
        data = bytearray(good)
        for _ in range(source.randint(1, 3)):
            data[source.randrange(len(data))] = source.randrange(256)
        found = peek_model_spec(bytes(data))
        try:
            spec = messages.PredictRequest.FromString(bytes(data)).model_spec
        except messages.DecodeError:
            continue
        if found is not None and found[0]:
            compared += 1
            assert found == expected(spec)
    assert compared > 1000


def test_a_name_that_is_not_utf8_matches_nothing_and_harms_nothing() -> None:
    assert peek_model_spec(b"\x0a\x04\x0a\x02\xff\xfe") == (True, "��", None, None, "")
