"""Questions of a gateway: each has an answer of its kind, an error, or an end of waiting."""

import typing
from collections.abc import Callable
from typing import Any

import pytest

from corelane.processor.control.questions import (
    AnyAnswer,
    AnyQuestion,
    Done,
    EncodedSignatures,
    Inquiry,
    LoadQuestion,
    MetricsText,
    Refusal,
    Response,
    SignaturesQuestion,
    answer_type,
)
from corelane.processor.errors import DeadlinePassed, InvalidMessage, NotFound, TooLarge
from corelane.processor.gateway.asking import Ask
from corelane.processor.supervisor.api import asks


class Line:
    """A control connection whose other end answers at once: `on_inquiry` gets each question."""

    def __init__(self, on_inquiry: Callable[[Inquiry], None]) -> None:
        self.send = on_inquiry


def asking(answer: AnyAnswer) -> Ask:
    """Of a supervisor that gives this answer to any question."""
    line: Any = Line(lambda inquiry: ask.answered(Response(number=inquiry.number, answer=answer)))
    ask = Ask(line)
    return ask


def test_every_question_has_a_kind_of_answer_and_somebody_who_answers() -> None:
    kinds = typing.get_args(AnyQuestion)
    for kind in kinds:
        assert answer_type(kind.__new__(kind)) in typing.get_args(AnyAnswer)
    assert set(kinds) == asks._ANSWERS.keys()
    assert LoadQuestion(model="m").subject == "load"


def test_an_answer_comes_to_who_asked() -> None:
    signatures = EncodedSignatures(metadata=b"m")
    assert asking(signatures)(SignaturesQuestion(instance=1)) is signatures
    assert asking(Done())(LoadQuestion(model="m"), 1.0) == Done()


def test_a_refusal_is_the_error_that_it_stands_for() -> None:
    with pytest.raises(NotFound, match="its worker has ended"):
        asking(Refusal(code=5, reason="its worker has ended"))(SignaturesQuestion(instance=1))


def test_an_answer_to_another_question_is_none() -> None:
    with pytest.raises(InvalidMessage, match="MetricsText means nothing here"):
        asking(MetricsText(text=""))(LoadQuestion(model="m"))


def test_nobody_waits_for_longer_than_allowed() -> None:
    numbers: list[int] = []
    line: Any = Line(lambda inquiry: numbers.append(inquiry.number))
    ask = Ask(line)
    for _ in range(2):
        with pytest.raises(DeadlinePassed):
            ask(LoadQuestion(model="m"), 0.001)
    assert numbers == [0, 1]
    ask.answered(Response(number=0, answer=Done()))
    assert ask._open == {}


def test_a_question_that_is_too_large_is_forgotten() -> None:
    def refuse(inquiry: Inquiry) -> None:
        raise TooLarge("this takes too many bytes")

    line: Any = Line(refuse)
    ask = Ask(line)
    with pytest.raises(TooLarge):
        ask(LoadQuestion(model="m"))
    assert ask._open == {}
