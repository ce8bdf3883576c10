"""Messages between processes: there and back, and all that is none."""

import contextlib
import json
import socket
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corelane.processor.control import MESSAGE_BYTES_MAX, ControlClient, Message, decode, encode
from corelane.processor.control.codec import codec_of
from corelane.processor.control.gateway_messages import GatewayStart, RoutingTable, TableTaken
from corelane.processor.control.gateway_settings import GatewaySettings, TlsSettings
from corelane.processor.control.messages import Beat, Failed
from corelane.processor.control.questions import AnyAnswer, AnyQuestion, Inquiry, Response
from corelane.processor.control.worker_messages import Place
from corelane.processor.errors import InvalidMessage, TooLarge
from tests.support.messages import values_of

KINDS = typing.get_args(Message)
by_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


def returned(message: Any) -> Any:
    """The message as the other side hears it."""
    line = encode(message)
    assert line.index(b"\n") == len(line) - 1
    return decode(line)


@by_kind
@given(data=st.data())
@settings(max_examples=20)
def test_there_and_back(kind: type, data: st.DataObject) -> None:
    message = data.draw(values_of(kind))
    assert returned(message) == message
    assert type(returned(message)) is kind


@pytest.mark.parametrize("kind", typing.get_args(AnyQuestion), ids=lambda kind: kind.__name__)
@given(data=st.data())
@settings(max_examples=10)
def test_questions_there_and_back(kind: type, data: st.DataObject) -> None:
    inquiry = Inquiry(number=7, question=data.draw(values_of(kind)))
    assert returned(inquiry) == inquiry


@pytest.mark.parametrize("kind", typing.get_args(AnyAnswer), ids=lambda kind: kind.__name__)
@given(data=st.data())
@settings(max_examples=10)
def test_answers_there_and_back(kind: type, data: st.DataObject) -> None:
    response = Response(number=7, answer=data.draw(values_of(kind)))
    assert returned(response) == response


def test_values_keep_their_types() -> None:
    """What JSON does not tell apart, the types do."""
    tls = TlsSettings(certificate=Path("/a b/c"), key=Path("k\udcff"))
    plain = GatewaySettings(
        protocol="grpc", address="a", request_timeout_s=3, message_bytes_max=1, http_idle_s=1e300,
        grpc_ping_interval_s=float("inf"), tls=tls,
    )  # fmt: skip
    start = returned(GatewayStart(settings=plain, owner=1))
    assert start.settings.tls == tls
    assert [type(value) for value in (start.settings.request_timeout_s, start.owner)] == [float, int]
    assert returned(Place(sessions=((), (1, 2)), shares=True)).sessions == ((), (1, 2))
    assert returned(TableTaken(epoch=0, problems={3: "gone"})).problems == {3: "gone"}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "Expecting value: line 1 column 1"),
        (b"}{\n", "Expecting value: line 1 column 1"),
        (b'{"type":"Beat","number":1', "Expecting ',' delimiter"),
        (b"\xff\n", "codec can't decode"),
        (b"[" * 100_000, "recursion"),
        (b"null", "NoneType instead of dict"),
        (b"[]", "list instead of dict"),
        (b"{}", "None is no kind of message here"),
        (b'{"type":"beat","number":1}', "'beat' is no kind of message here"),
        (b'{"type":["Beat"],"number":1}', "['Beat'] is no kind of message here"),
        (b'{"type":"WorkerSpec"}', "'WorkerSpec' is no kind of message here"),
        (b'{"type":"Beat"}', "Beat with no number"),
        (b'{"type":"Beat","number":1,"at":2}', "Beat with an unknown at"),
        (b'{"type":"Beat","numbers":1}', "Beat with no number and an unknown numbers"),
        (b'{"type":"Beat","number":"1"}', "Beat.number: str instead of int"),
        (b'{"type":"Beat","number":true}', "Beat.number: bool instead of int"),
        (b'{"type":"Beat","number":1.0}', "Beat.number: float instead of int"),
        (b'{"type":"Beat","number":null}', "Beat.number: NoneType instead of int"),
        (b'{"type":"Stop","grace_s":true}', "Stop.grace_s: bool instead of float"),
        (b'{"type":"Stop","grace_s":1' + b"0" * 400 + b"}", "Stop.grace_s: the number is too large for a float"),
        (b'{"type":"LoadStep","phase":"sleeping","signature":""}', "LoadStep.phase: 'sleeping' instead of 'starting'"),
        (b'{"type":"LoadStep","phase":[],"signature":""}', "LoadStep.phase: [] instead of 'starting'"),
        (b'{"type":"Place","sessions":[[1],2],"shares":true}', "Place.sessions: int instead of list"),
        (b'{"type":"Place","sessions":{},"shares":true}', "Place.sessions: dict instead of list"),
        (b'{"type":"TableTaken","epoch":1,"problems":[[1,"a","b"]]}', "problems: 3 values instead of 2"),
        (b'{"type":"TableTaken","epoch":1,"problems":[[1,"a"],[1,"b"]]}', "problems: a key stands twice"),
        (b'{"type":"Counts","counts":[{"kind":"refused"}]}', "Counts.counts: Count with no code, model, number,"),
        (
            b'{"type":"Inquiry","number":1,"question":{"type":"ReloadQuestion","request":"*"}}',
            "Inquiry.question: ReloadQuestion.request: no base64",
        ),
        (b'{"type":"Inquiry","number":1,"question":{"type":"Done"}}', "question: 'Done' is no kind of message here"),
    ],
)
def test_what_is_no_message(line: bytes, reason: str) -> None:
    with pytest.raises(InvalidMessage) as raised:
        decode(line)
    assert reason in str(raised.value)


@by_kind
@given(data=st.data())
@settings(max_examples=3)
def test_every_field_is_needed_and_of_its_type(kind: type, data: st.DataObject) -> None:
    plain = json.loads(encode(data.draw(values_of(kind))))
    faults = [{**plain, "never": 0}]
    for name in plain.keys() - {"type"}:
        faults.append({key: value for key, value in plain.items() if key != name})
        faults.append({**plain, name: {"never": 0}})
    for fault in faults:
        with pytest.raises(InvalidMessage, match=f"^{kind.__name__}"):
            decode(json.dumps(fault).encode())


@contextlib.contextmanager
def connected() -> Iterator[tuple[socket.socket, ControlClient]]:
    """The supervisor's end of a connection, and a child's."""
    ours, theirs = socket.socketpair()
    client = ControlClient(theirs.detach())
    with ours, client._socket, client._lines:
        yield ours, client


def test_a_message_that_is_too_large_is_not_sent() -> None:
    with connected() as (ours, client):
        with pytest.raises(TooLarge, match=f"which reads {MESSAGE_BYTES_MAX} at most"):
            client.send(Failed(error="x" * MESSAGE_BYTES_MAX))
        client.send(Beat(number=1))
        assert ours.recv(1000) == encode(Beat(number=1))


def test_a_process_hears_messages_of_any_size() -> None:
    """A table of many versions may be larger than what a process may say."""
    table = RoutingTable(epoch=1, models=(), unready="x" * 2 * MESSAGE_BYTES_MAX)
    line = encode(table)
    assert len(line) > MESSAGE_BYTES_MAX
    assert decode(line) == table
    with connected() as (ours, client):
        ours.sendall(encode(Beat(number=1)) + b'{"type":"Beat"')
        assert client.receive() == Beat(number=1)
        ours.shutdown(socket.SHUT_WR)
        assert client.receive() is None, "half a line is none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tagged:
    type: str


@pytest.mark.parametrize("annotation", [set[int], int | str, list[int], object, Any, Beat | Tagged, Beat | int])
def test_types_that_messages_cannot_have(annotation: Any) -> None:
    with pytest.raises(TypeError):
        codec_of(annotation)
