"""What became of every call, and which fault it was under."""

import contextlib
import http.client
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from corelane.processor.errors import Cancelled, DeadlinePassed, Overloaded, RequestError, Unavailable

_GRACE_S = 10.0  # a call without an outcome so long after its deadline hangs
_PROBLEMS_MAX = 40  # different ones are kept
# What a client of a connection that broke sees, for one.
_BROKEN = (ConnectionError, http.client.HTTPException, TimeoutError)


class WrongAnswer(Exception):
    """The server answered, and not what it should have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """Which calls a fault may cost: of these models (all, if none is named), by these errors."""

    errors: tuple[type[Exception], ...] = ()
    models: frozenset[str] = frozenset()

    def covers(self, model: str, error: Exception) -> bool:
        return isinstance(error, self.errors) and (not self.models or model in self.models)


NOTHING = Allowance()
UNAVAILABLE = (Unavailable, Cancelled, *_BROKEN)
SLOW = (*UNAVAILABLE, DeadlinePassed, Overloaded)


@dataclass(slots=True)
class Tally:
    """Of one kind of fault. `lost`: calls that failed though nothing that was done allows it."""

    injected: int = 0
    answers: int = 0
    failed: int = 0
    wrong: int = 0
    hung: int = 0
    lost: int = 0
    recoveries_s: list[float] = field(default_factory=list)


class Ledger:
    """Thread safety: every method from any thread.

    Invariant: a call counts once, under the fault that was on when it ended."""

    def __init__(self) -> None:
        self.tallies: dict[str, Tally] = {}
        self.problems: Counter[str] = Counter()
        self.skipped: dict[str, str] = {}
        self.by_caller: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._kind = "none"
        self._tally = self.tallies.setdefault("none", Tally())
        self._allowances: list[tuple[float, Allowance]] = [(float("-inf"), NOTHING)]  # each from when on
        self._under_way: dict[int, tuple[str, float]] = {}  # by thread: who calls, and its deadline

    def begin(self, kind: str, allowance: Allowance) -> None:
        """From now on calls count under this kind of fault; what fails until `recovered` may be what it allows."""
        with self._lock:
            self._kind = kind
            self._tally = self.tallies.setdefault(kind, Tally())
            self._tally.injected += 1
            self._allowances.append((time.monotonic(), allowance))

    def recovered(self, after_s: float) -> None:
        """Everything answers again: a call that begins now may not fail."""
        with self._lock:
            self._tally.recoveries_s.append(after_s)
            self._allowances.append((time.monotonic(), NOTHING))
            del self._allowances[:-8]

    def problem(self, text: str) -> None:
        with self._lock:
            said = f"{self._kind}: {text}"[:400]
            if said in self.problems or len(self.problems) < _PROBLEMS_MAX:
                self.problems[said] += 1

    def call(self, caller: str, model: str, ask: Callable[[], int], timeout_s: float) -> None:
        """Runs a call, which returns how many answers it has checked, and books its outcome."""
        began_s = time.monotonic()
        with self._calling(caller, began_s + timeout_s):
            try:
                answers = ask()
            except (RequestError, *_BROKEN) as error:
                self._failed(caller, model, error, began_s)
            except WrongAnswer as error:
                self._wrong(caller, model, str(error))
            except Exception as error:
                self._wrong(caller, model, f"{type(error).__name__}: {error}")
            else:
                with self._lock:
                    self._tally.answers += answers
                    self.by_caller[caller] += answers

    def look_for_hung(self) -> None:
        """Books the calls that should have ended long ago."""
        now_s = time.monotonic()
        with self._lock:
            hung = [(key, who) for key, (who, deadline_s) in self._under_way.items() if now_s > deadline_s + _GRACE_S]
            for key, _ in hung:
                del self._under_way[key]
                self._tally.hung += 1
        for _, who in hung:
            self.problem(f"{who}: no outcome {_GRACE_S:g} s after its deadline")

    def total(self, name: str) -> int:
        return sum(getattr(tally, name) for tally in self.tallies.values())

    @contextlib.contextmanager
    def _calling(self, caller: str, deadline_s: float) -> Iterator[None]:
        key = threading.get_ident()
        with self._lock:
            self._under_way[key] = (caller, deadline_s)
        try:
            yield
        finally:
            with self._lock:
                self._under_way.pop(key, None)

    def _failed(self, caller: str, model: str, error: Exception, began_s: float) -> None:
        with self._lock:
            # Those that were in force at any time of the call.
            since = [index for index, (from_s, _) in enumerate(self._allowances) if from_s <= began_s]
            in_force = self._allowances[since[-1] if since else 0 :]
            allowed = any(allowance.covers(model, error) for _, allowance in in_force)
            self._tally.failed += allowed
            self._tally.lost += not allowed
        if not allowed:
            self.problem(f"{caller}: {type(error).__name__}: {error}")

    def _wrong(self, caller: str, model: str, text: str) -> None:
        with self._lock:
            self._tally.wrong += 1
        self.problem(f"{caller}: {text}")
