"""Requests to one signature that find out what its model takes, an input at a time.

A kind of value is drawn for each input. Where a model refuses a request, the input that it minds is searched for, and
gets other values, so that one strict input hides nothing about the others.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from corelane.processor.trials.draws import OUT_OF_RANGE, Draws, Shape
from corelane.processor.trials.samples import Inputs

_FIRST_KINDS = ("plain", "empty", "range", "known", "negative", "large")
_REFUSALS_MAX = 2  # of a kind by an input: then it is tried no more
_GIVEN = "given"  # the kind of what was not drawn
_CULPRITS_MAX = 4  # of one request
_TABLE = re.compile(r"is not in \[0, (\d+)\)")

Answer = dict[str, np.ndarray] | str  # or why the request is refused


@dataclass(frozen=True, slots=True)
class Trial:
    inputs: Inputs
    answer: Answer


class Trials:
    """`run` asks the model. It is asked `runs_max` times at most; what was learned until then is used afterwards."""

    def __init__(self, draws: Draws, run: Callable[[Inputs], Answer], runs_max: int) -> None:
        self.draws = draws
        self.accepted: dict[str, set[str]] = defaultdict(set)  # by input: kinds; "empty" if all were zeros
        self._refused: Counter[tuple[str, str]] = Counter()  # by unit and kind
        self._base: dict[str, str] = {}  # a kind by unit; the model takes all of them together
        self._ask, self._runs_left = run, runs_max
        self._source = np.random.default_rng(5)

    def given(self, inputs: Inputs, kind: str = _GIVEN) -> Trial:
        """A request that somebody else made."""
        return self._run(inputs, dict.fromkeys(self.draws.units, kind))

    def find_base(self, shape: Shape) -> Iterator[Trial]:
        """To be called first: tries one kind for all inputs after the other, until the model takes one."""
        for kind in _FIRST_KINDS:
            kinds = {
                unit: kind if kind in self.draws.kinds_of(unit) else self.draws.kinds_of(unit)[0]
                for unit in self.draws.units
            }
            trial = self._run(self.draws.draw(kinds, shape), kinds)
            yield trial
            if not isinstance(trial.answer, str):
                return

    def next(self, shape: Shape) -> Iterator[Trial]:
        """A request with kinds that are tried least, and if it is refused, the same without what the model minds."""
        kinds = {unit: self._pick(unit) for unit in self.draws.units}
        inputs = self.draws.draw(kinds, shape)
        for _ in range(_CULPRITS_MAX + 1):
            trial = self._run(inputs, kinds)
            yield trial
            if not isinstance(trial.answer, str) or self._runs_left <= 0:
                return
            plain = self.draws.draw(self._base or dict.fromkeys(kinds, "plain"), shape)
            unit = self._culprit(inputs, plain, kinds)
            if unit is None:
                return
            self._learn(unit, kinds[unit], trial.answer)
            kinds = {**kinds, unit: self._base[unit]}
            inputs = {**inputs, **self._of_unit(unit, plain)}

    def strict(self, shape: Shape, units_max: int) -> Iterator[Trial]:
        """Ids that a table does not have, for some inputs that go to one: everything else is as the model takes it."""
        if not self._base:
            return
        for unit in [unit for unit in self.draws.units if unit in self.draws.table_rows][:units_max]:
            for kind in OUT_OF_RANGE:
                kinds = {**self._base, unit: kind}
                yield self._run(self.draws.draw(kinds, shape), kinds)

    @property
    def is_spent(self) -> bool:
        """Whether the model was asked as often as it may be."""
        return self._runs_left <= 0

    def uncovered(self) -> list[str]:
        """Inputs of which the model took nothing but zeros and empty strings."""
        return [unit for unit in self.draws.units if not self.accepted[unit] - {"empty"}]

    def note(self, inputs: Inputs, kinds: Mapping[str, str]) -> None:
        """Counts a request that the model took."""
        for unit, kind in kinds.items():
            array = inputs[unit]
            if array.size:
                is_plain = not (array != (b"" if array.dtype.kind == "O" else np.zeros((), array.dtype))).any()
                self.accepted[unit].add("empty" if is_plain else kind)

    def _run(self, inputs: Inputs, kinds: Mapping[str, str]) -> Trial:
        self._runs_left -= 1
        answer = self._ask(inputs)
        if not isinstance(answer, str):
            if _GIVEN not in kinds.values():
                self._base = self._base or dict(kinds)
            self.note(inputs, kinds)
        return Trial(inputs, answer)

    def _pick(self, unit: str) -> str:
        is_strict = unit in self.draws.table_rows
        kinds = [
            kind
            for kind in self.draws.kinds_of(unit)
            if self._refused[unit, kind] < _REFUSALS_MAX and not (is_strict and kind in OUT_OF_RANGE)
        ]
        untried = [kind for kind in kinds if kind not in self.accepted[unit]]
        among = untried if untried and self._source.random() < 0.5 else kinds or [self._base.get(unit, "plain")]
        return among[self._source.integers(len(among))]

    def _culprit(self, inputs: Inputs, plain: Inputs, kinds: Mapping[str, str]) -> str | None:
        """The input whose values the model refuses, though it takes those before it; None if it is not to be told."""
        units = [unit for unit in self.draws.units if kinds[unit] != self._base.get(unit)]
        if not self._base or not units or isinstance(self._run_quietly(plain), str):
            return None
        taken, refused = 0, len(units)
        while refused - taken > 1 and self._runs_left > 0:
            middle = (taken + refused) // 2
            mixed = dict(plain)
            for unit in units[:middle]:
                mixed |= self._of_unit(unit, inputs)
            if isinstance(self._run_quietly(mixed), str):
                refused = middle
            else:
                taken = middle
        return units[refused - 1]

    def _run_quietly(self, inputs: Inputs) -> Answer:
        self._runs_left -= 1
        return self._ask(inputs)

    def _learn(self, unit: str, kind: str, refusal: str) -> None:
        self._refused[unit, kind] += 1
        size = _TABLE.search(refusal)
        if size is not None and "range" in self.draws.kinds_of(unit):
            known = self.draws.table_rows.get(unit, int(size[1]))
            self.draws.table_rows[unit] = max(1, min(known, int(size[1])))
            if kind not in OUT_OF_RANGE:
                self._refused[unit, kind] -= 1  # it was drawn beyond a table whose size is known now

    def _of_unit(self, unit: str, inputs: Inputs) -> Inputs:
        return {name: inputs[name] for name in self.draws.names_of(unit)}
