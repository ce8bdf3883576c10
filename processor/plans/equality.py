"""Whether two engines answer alike: on recorded requests, and on inputs made to find where they do not.

A fused plan is taken only if it does. What the original refuses, the plan must refuse, too.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from corelane.processor.engines import Engine
from corelane.processor.errors import RequestError
from corelane.processor.loading.phases import OnStep, unheard
from corelane.processor.trials import samples
from corelane.processor.trials.draws import Draws, Shape, examples
from corelane.processor.trials.hints import Hints
from corelane.processor.trials.samples import Inputs
from corelane.processor.trials.trials import Answer, Trial, Trials
from corelane.processor.wire.tensor_types import Signature

TOLERANCE = 1e-5  # of the largest output: sums run in another order
# Rows and sizes of other open axes of requests, in turn. Both come to nothing and back, since what a run leaves behind
# shows in the next one.
_ROWS = (7, 1, 64, 2, 3, 0, 5)
_WIDTHS = (3, 1, 7, 2, 0)
_HUGE = 1000
_TRIALS, _TRIALS_WIDE = 110, 40
_EXPECTED = 140  # requests of a signature, about
_RUNS_MAX = 320  # of the original, by signature
_STRICT_UNITS = 8
_WIDE = 100  # inputs; such models are tried at many places by one request
_REPEAT_EVERY = 10
_MODERATE = 1e6  # numbers up to here leave no dense layer's range


@dataclass(frozen=True, slots=True, kw_only=True)
class Equality:
    """`difference` is the largest of a float, by the largest of its output; `problem` says what differs too much, or
    is None. `accepted` of `requests` were not refused by both. `kinds` says which kinds of values the original took, by
    "signature/input"."""

    requests: int
    accepted: int
    difference: float
    problem: str | None
    kinds: Mapping[str, Sequence[str]] = field(default_factory=dict)


def compare(
    original: Engine, other: Engine, folder: Path, hints: Hints, bytes_max: int = 1 << 30, on_step: OnStep = unheard
) -> Equality:
    """Runs both until they differ. `folder` may hold recorded requests. Engines that agree on all requests are unequal
    still if an input had only requests that the original refuses, or nothing but zeros: then nothing was compared."""
    return _Comparison(original, other, hints, on_step).run(folder, bytes_max)


class _Comparison:
    def __init__(self, original: Engine, other: Engine, hints: Hints, on_step: OnStep) -> None:
        self._original, self._other, self._hints, self._on_step = original, other, hints, on_step
        self._sessions = original.make_session(), other.make_session()
        self._requests = self._accepted = self._expected = 0
        self._largest = 0.0
        self._kinds: dict[str, Sequence[str]] = {}

    def run(self, folder: Path, bytes_max: int) -> Equality:
        recorded: dict[str, list[Inputs]] = {}
        for signature, inputs in samples.recorded(folder, self._original.signatures(), bytes_max):
            recorded.setdefault(signature.name, []).append(inputs)
        self._expected = _EXPECTED * len(self._original.signatures()) + sum(map(len, recorded.values()))
        for signature in self._original.signatures().values():
            if signature.name not in self._other.signatures():
                return self._result(f"no signature {signature.name}")
            problem = self._compare(signature, recorded.get(signature.name, []))
            if problem is not None:
                return self._result(f"signature {signature.name}: {problem}")
        return self._result(
            None if self._accepted else "every request made up is refused, so that nothing was compared"
        )

    def _result(self, problem: str | None) -> Equality:
        return Equality(
            requests=self._requests,
            accepted=self._accepted,
            difference=self._largest,
            problem=problem,
            kinds=self._kinds,
        )

    def _compare(self, signature: Signature, recorded: Sequence[Inputs]) -> str | None:
        trials = Trials(
            Draws(signature, self._hints),
            lambda inputs: _run(self._original, self._sessions[0], signature, inputs),
            _RUNS_MAX,
        )
        first: Trial | None = None  # that is accepted, with what the other engine answers to it
        for number, trial in enumerate(_trials(signature, self._hints, trials, recorded)):
            self._requests += 1
            self._on_step("comparing with the original, request by request", self._requests, self._expected)
            answer = _run(self._other, self._sessions[1], signature, trial.inputs)
            difference = _difference(trial.answer, answer, is_finite=_is_finite(trial.inputs))
            if isinstance(difference, str):
                return f"{difference}, for {_shown(trial.inputs)}"
            self._accepted += not isinstance(trial.answer, str)
            self._largest = max(self._largest, difference)
            if first is None and not isinstance(answer, str):
                if (problem := self._compare_subsets(signature, trial)) is not None:
                    return problem
                first = Trial(trial.inputs, answer)
            elif first is not None and (number % _REPEAT_EVERY == 0 or isinstance(answer, str)):
                again = _run(self._other, self._sessions[1], signature, first.inputs)
                if not _is_same(first.answer, again):
                    return f"a request repeated after others has another answer, for {_shown(first.inputs)}"
        self._kinds |= {f"{signature.name}/{name}": sorted(kinds) for name, kinds in trials.accepted.items()}
        # A signature that the plan does not compute by itself is the original's own.
        if not self._hints.signatures or signature.name in self._hints.signatures:
            for name in trials.uncovered():
                return f"the original takes no values of input {name} but zeros, so that nothing of it was compared"
        return None

    def _compare_subsets(self, signature: Signature, trial: Trial) -> str | None:
        """Each output alone, as a request may ask for it."""
        assert not isinstance(trial.answer, str)
        for name in reversed(list(trial.answer)) if len(trial.answer) > 1 else ():
            answer = _run(self._other, self._sessions[1], signature, trial.inputs, [name])
            difference = _difference({name: trial.answer[name]}, answer, is_finite=_is_finite(trial.inputs))
            if isinstance(difference, str):
                return f"asked for alone: {difference}, for {_shown(trial.inputs)}"
        return None


def _run(engine: Engine, session: object, signature: Signature, inputs: Inputs, outputs: Sequence[str] = ()) -> Answer:
    own = engine.signatures()[signature.name]
    try:
        return engine.run(session, own, inputs, list(outputs or own.outputs))
    except RequestError as error:
        return str(error)


def _trials(signature: Signature, hints: Hints, trials: Trials, recorded: Sequence[Inputs]) -> Iterator[Trial]:
    for inputs in (*recorded, *examples(signature, hints)):
        yield trials.given(inputs)
    yield from trials.find_base(Shape.of(signature, 7, 3))
    for inputs in samples.made_up(signature):
        yield trials.given(inputs)
    for number in range(_TRIALS if len(signature.inputs) <= _WIDE else _TRIALS_WIDE):
        shape = Shape.of(signature, _ROWS[number % len(_ROWS)], _WIDTHS[number % len(_WIDTHS)])
        yield from trials.next(shape)
    yield from trials.strict(Shape.of(signature, 3, 3), _STRICT_UNITS)
    yield from trials.next(Shape.of(signature, _HUGE, 3))
    yield from trials.next(Shape.of(signature, 0, 3))
    yield from trials.next(Shape.of(signature, 4, 0))
    names = list(signature.inputs)
    if len(names) > 1:
        # Not every input has as many rows: does the model mind, and if it repeats a row, so must the plan.
        for rows, others in ((3, 1), (1, 3), (0, 1), (2, 3)):
            for odd in names[:_STRICT_UNITS]:
                yield from trials.next(Shape(rows={name: rows if name == odd else others for name in names}, width=3))


def _is_finite(inputs: Inputs) -> bool:
    return all(
        np.isfinite(array).all() and (np.abs(array) <= _MODERATE).all()
        for array in inputs.values()
        if array.dtype.kind == "f"
    )


def _is_same(expected: Answer, answer: Answer) -> bool:
    """To the byte."""
    if isinstance(expected, str) or isinstance(answer, str):
        return isinstance(expected, str) and isinstance(answer, str)
    return all(
        expected[name].shape == answer[name].shape
        and (
            np.array_equal(expected[name], answer[name])
            if expected[name].dtype.kind == "O"
            else expected[name].tobytes() == answer[name].tobytes()
        )
        for name in expected
    )


def _difference(expected: Answer, answer: Answer, *, is_finite: bool) -> float | str:
    """A relative difference, or what is wrong in words. `is_finite`: the request's numbers are, and moderate."""
    if isinstance(expected, str) and isinstance(answer, str):
        return 0.0
    if isinstance(expected, str):
        # Some graphs refuse requests without rows; to answer nothing with nothing is no error.
        if not any(array.size for array in answer.values()):  # type: ignore[union-attr]
            return 0.0
        return f"it answers what the original refuses ({expected})"
    if isinstance(answer, str):
        return f"refused: {answer}"
    largest = 0.0
    for name, wanted in expected.items():
        array = answer[name]
        if array.shape != wanted.shape or array.dtype != wanted.dtype:
            return f"output {name} is {array.dtype}{array.shape} and not {wanted.dtype}{wanted.shape}"
        if wanted.dtype.kind not in "f":
            if not np.array_equal(array, wanted):
                return f"output {name} differs"
            continue
        # What becomes of NaN and infinity in a dense layer is not the same in any two libraries, nor in TensorFlow with
        # weights as variables and as constants.
        finite = np.isfinite(wanted)
        if not is_finite:
            finite &= np.isfinite(array)
        elif (
            not np.array_equal(array[~finite], wanted[~finite], equal_nan=True) or not np.isfinite(array[finite]).all()
        ):
            return f"output {name} is not finite where the other is"
        scale = float(np.abs(wanted[finite]).max(initial=1e-30))
        difference = float(np.abs(array[finite] - wanted[finite]).max(initial=0.0)) / scale
        if difference > TOLERANCE:
            return f"output {name} is {difference:.2g} away"
        largest = max(largest, difference)
    return largest


def _shown(inputs: Inputs) -> str:
    return ", ".join(f"{name}={array.ravel()[:3].tolist()!r:.60}" for name, array in list(inputs.items())[:3])
