"""From a request's model spec to the channel of a worker, across deaths and replacements of workers."""

import threading
import time
from collections import Counter
from collections.abc import Callable

from corelane.processor.channel.gateway_end import NotConnected, WorkerChannel, WorkerLost
from corelane.processor.channel.methods import Assignment, Method
from corelane.processor.control.gateway_messages import Count, CountKind
from corelane.processor.control.routes import ModelRoute, VersionRoute
from corelane.processor.errors import Cancelled, ModelNotFound, Overloaded, RequestError, Unavailable
from corelane.processor.gateway.call import Call
from corelane.processor.wire.status import number_of

# Requests beyond a worker's slots that may be on their way to be refused by it, or just answered.
_SLACK = 8
_ANSWER_NS = 5_000_000  # what is kept of a deadline to say that waiting was in vain


# Hears of an answered call of a model that has shadows or a log.
OnAnswer = Callable[[Call, Assignment, ModelRoute, bytes], None]


def _nobody(call: Call, assignment: Assignment, model: ModelRoute, answer: bytes) -> None:
    return None


class _Backend:
    """One worker as this gateway sees it. Guarded by the router's lock: in_flight, retired."""

    def __init__(self, route: VersionRoute, channel: WorkerChannel) -> None:
        self.channel = channel
        self.version = route.version
        self.slots = route.slots + _SLACK
        self.in_flight = 0
        self.retired = False
        self.lost = False  # it does not answer; the supervisor will say so soon


class Router:
    """Thread safety: every method from any thread. Guarded by _changed: _models, _backends, the backends' fields, and
    what is counted.

    Invariant: a retired backend's channel is closed when its last call ends, and not before; the worker drains until
    then."""

    def __init__(
        self,
        connect: Callable[[str, VersionRoute], WorkerChannel],
        clock_ns: Callable[[], int] = time.monotonic_ns,
        on_answer: OnAnswer = _nobody,
    ) -> None:
        self._connect = connect
        self._on_answer = on_answer
        self._observed: dict[str, ModelRoute] = {}
        self._clock_ns = clock_ns
        self._changed = threading.Condition()
        self._models: dict[str, ModelRoute] = {}
        self._backends: dict[int, _Backend] = {}
        self._refused: Counter[tuple[str, int]] = Counter()
        self._failed_ns: Counter[tuple[str, int]] = Counter()  # model, version
        self._last_s: dict[tuple[str, int], float] = {}  # model, version

    def models(self) -> dict[str, ModelRoute]:
        return self._models

    def replace(self, models: dict[str, ModelRoute]) -> dict[int, str]:
        """Takes over a new table; calls under way finish where they are. Returns the workers that cannot be reached,
        and why: they get no calls from here, and are tried again with the next table."""
        routes = {
            route.instance: (model.name, route)
            for model in models.values()
            for route in model.versions
            if route.instance is not None
        }
        idle = []
        problems: dict[int, str] = {}
        with self._changed:
            for instance in self._backends.keys() - routes.keys():
                backend = self._backends.pop(instance)
                backend.retired = True
                if backend.in_flight == 0:
                    idle.append(backend)
            for instance in routes.keys() - self._backends.keys():
                model, route = routes[instance]
                try:
                    self._backends[instance] = _Backend(route, self._connect(model, route))
                except NotConnected as error:
                    problems[instance] = str(error)
            self._models = models
            self._observed = {name: model for name, model in models.items() if model.log or model.shadows}
            self._changed.notify_all()
        for backend in idle:
            backend.channel.close()
        return problems

    def call(self, call: Call) -> bytes:
        """One answer, from one version. If its worker dies, the call is tried once more: at once where a version is
        left to answer, else, if it `may_wait`, when one is back before the deadline."""
        backend, assignment = self._lease(call)
        try:
            answer = self._attempt(call, backend, assignment)
        except WorkerLost:
            backend, assignment = self._lease_again(call)
            try:
                answer = self._attempt(call, backend, assignment)
            except WorkerLost:
                raise Unavailable(f"model {call.model} lost its worker twice while it ran this request") from None
        observed = self._observed.get(call.model)
        if observed is not None:
            self._on_answer(call, call.assignment or assignment, observed, answer)
        return answer

    def choose(
        self, model: str, version: int | None, label: str | None, key: str | None
    ) -> tuple[VersionRoute, Assignment]:
        """The version that a call would go to now."""
        with self._changed:
            return self._find(model, version, label, key)

    def sticky_key(self, model: str) -> str | None:
        """The request metadata that the split of a model is sticky by; None if it is not."""
        route = self._models.get(model)
        return route.sticky_key if route is not None else None

    def _attempt(self, call: Call, backend: _Backend, assignment: Assignment) -> bytes:
        started_ns, failed_ns = time.perf_counter_ns(), 0
        try:
            return backend.channel.call(call, call.assignment or assignment)
        except WorkerLost:
            backend.lost = True
            raise
        except RequestError:
            failed_ns = time.perf_counter_ns() - started_ns
            raise
        finally:
            with self._changed:
                if call.method is not Method.METADATA:
                    self._last_s[call.model, backend.version] = time.time()
                    if failed_ns:
                        self._failed_ns[call.model, backend.version] += failed_ns
                backend.in_flight -= 1
                close = backend.retired and backend.in_flight == 0
            if close:
                backend.channel.close()

    def is_serving(self, model: ModelRoute) -> bool:
        """Whether a version of the model can be called from here."""
        return any(route.instance in self._backends for route in model.versions)

    def _alive(self, route: VersionRoute) -> bool:
        backend = None if route.instance is None else self._backends.get(route.instance)
        return backend is not None and not backend.lost

    def _find(
        self, model: str, version: int | None, label: str | None, key: str | None
    ) -> tuple[VersionRoute, Assignment]:
        if model not in self._models:
            raise ModelNotFound(f"Servable not found for request: {_requested(model, version)}")
        return self._models[model].find(version, label, key, alive=self._alive)

    def take_refused(self) -> list[tuple[str, int, int]]:
        """(model, gRPC code, count) of the calls since the last time that no version was found for. A model that is not
        known has no name here: clients could make up any number of them."""
        with self._changed:
            refused, self._refused = self._refused, Counter()
        return [(model, code, count) for (model, code), count in refused.items()]

    def take_times(self) -> list[Count]:
        """What channels do not keep of inferences since the last time, as the supervisor hears it: the nanoseconds that
        failed ones took, and when the last one ended, in milliseconds since 1970."""
        with self._changed:
            failed_ns, self._failed_ns = self._failed_ns, Counter()
            last_s, self._last_s = self._last_s, {}
        return [
            *(
                Count(kind=CountKind.FAILED_NS, model=model, version=version, number=ns)
                for (model, version), ns in failed_ns.items()
            ),
            *(
                Count(kind=CountKind.LAST_MS, model=model, version=version, number=int(at_s * 1000))
                for (model, version), at_s in last_s.items()
            ),
        ]

    def _lease(self, call: Call) -> tuple[_Backend, Assignment]:
        with self._changed:
            try:
                return self._lease_locked(call)
            except Overloaded:
                raise  # counted by the version
            except RequestError as error:
                self._refused[call.model if call.model in self._models else "", number_of(error)] += 1
                raise

    def _lease_locked(self, call: Call) -> tuple[_Backend, Assignment]:
        route, assignment = self._find(call.model, call.version, call.label, call.key)
        assert route.instance is not None
        backend = self._backends[route.instance]
        if backend.in_flight >= backend.slots:
            backend.channel.count_refused(call, call.assignment or assignment)
            raise Overloaded(
                f"version {route.version} of model {call.model} has {backend.in_flight} requests in flight"
            )
        backend.in_flight += 1
        return backend, assignment

    def _lease_again(self, call: Call) -> tuple[_Backend, Assignment]:
        wait_until_ns = call.deadline_ns - _ANSWER_NS if call.may_wait else 0
        with self._changed:
            while True:
                try:
                    return self._lease_locked(call)
                except Unavailable:
                    remaining_ns = wait_until_ns - self._clock_ns()
                    if remaining_ns <= 0:
                        raise
                if call.cancellation.cancelled:
                    raise Cancelled("the client hung up")
                self._changed.wait(min(remaining_ns / 1e9, 0.2))


def _requested(model: str, version: int | None) -> str:
    return f"Latest({model})" if version is None else f"Specific({model}, {version})"
