"""Signatures on their way from a worker by the supervisor to a gateway, where workers come and go."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from corelane.processor import control
from corelane.processor.control.questions import EncodedSignatures, SignaturesQuestion
from corelane.processor.control.routes import ModelRoute, VersionRoute
from corelane.processor.errors import FailedPrecondition, ModelNotFound, RequestError, Unavailable
from corelane.processor.gateway.router import Router
from corelane.processor.gateway.signatures import Signatures
from corelane.processor.supervisor.api import inference_answers
from corelane.processor.wire import messages
from corelane.processor.wire.status import error_of_number, number_of
from corelane.processor.worker import process


def described(*names: str) -> bytes:
    """A GetModelMetadataResponse with these signatures."""
    definitions = messages.SignatureDefMap()
    for name in names:
        definitions.signature_def[name].method_name = "m"
    response = messages.GetModelMetadataResponse()
    response.metadata["signature_def"].Pack(definitions)
    data: bytes = response.SerializeToString()
    return data


def table(instance: int | None) -> dict[str, ModelRoute]:
    route = VersionRoute(version=1, state="AVAILABLE", instance=instance, channel="c", slots=1, restarting=not instance)
    return {"m": ModelRoute(name="m", versions=(route,))}


def gateway(answer: Callable[[int], bytes], instance: int = 1) -> tuple[Signatures, Router, list[int]]:
    """A gateway's signatures, its router, and the workers that it has asked about."""
    router = Router(lambda model, route: SimpleNamespace(close=lambda: None))  # type: ignore[arg-type,return-value]
    router.replace(table(instance))
    asked: list[int] = []

    def ask(question: Any, timeout_s: float | None) -> Any:
        assert isinstance(question, SignaturesQuestion) and timeout_s == 5.0
        asked.append(question.instance)
        return EncodedSignatures(metadata=answer(question.instance))

    return Signatures(router, ask, 5.0), router, asked


def gone() -> RequestError:
    """The supervisor's ModelNotFound as a gateway raises it."""
    return error_of_number(number_of(ModelNotFound("its worker has ended")), "its worker has ended")


def test_a_worker_is_asked_about_once() -> None:
    signatures, router, asked = gateway(lambda instance: described(f"s{instance}"))
    for _ in range(2):
        assert set(signatures.of("m", None, None)[2].served) == {"s1"}
    router.replace(table(2))
    assert set(signatures.of("m", 1, None)[2].served) == {"s2"}
    assert asked == [1, 2]
    assert signatures._known.keys() == {2}, "what is gone is forgotten"


def test_a_worker_that_ended_meanwhile_is_not_the_answer() -> None:
    def answer(instance: int) -> bytes:
        if instance == 1:
            router.replace(table(2))
            raise gone()
        return described("s")

    signatures, router, asked = gateway(answer)
    assert set(signatures.of("m", None, None)[2].served) == {"s"}
    assert asked == [1, 2]


@pytest.mark.parametrize("next_instance", [None, 1])
def test_a_version_whose_worker_ended_restarts(next_instance: int | None) -> None:
    def answer(instance: int) -> bytes:
        router.replace(table(next_instance))
        raise gone()

    signatures, router, _ = gateway(answer)
    with pytest.raises(Unavailable, match="is restarting"):
        signatures.of("m", None, None)


def test_the_supervisor_answers_for_workers_that_are_there() -> None:
    def ask(instance: int) -> bytes:
        question = SignaturesQuestion(instance=instance)
        return asyncio.run(inference_answers.signatures(supervisor, question)).metadata

    workers = [
        SimpleNamespace(instance=SimpleNamespace(id=number), signatures=data) for number, data in ((3, b"a"), (4, b""))
    ]
    supervisor: Any = SimpleNamespace(workers=workers)
    assert ask(3) == b"a"
    with pytest.raises(FailedPrecondition, match="take too much room"):
        ask(4)
    with pytest.raises(ModelNotFound):
        ask(5)


def test_signatures_that_no_message_has_room_for_are_left_out() -> None:
    def told(size: int) -> bytes:
        group: Any = SimpleNamespace(signatures=lambda: bytes(size))
        return process._signatures(group)

    assert told(100) == bytes(100)
    assert told(control.MESSAGE_BYTES_MAX) == b""
