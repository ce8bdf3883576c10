"""A gateway process: what those for gRPC and for HTTP share."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable

from corelane.processor import control
from corelane.processor.channel.gateway_end import SharedMemoryChannel
from corelane.processor.channel.methods import Assignment, Entry
from corelane.processor.control import routes
from corelane.processor.control.gateway_messages import (
    Count,
    CountKind,
    Counts,
    GatewayStart,
    RoutingTable,
    Stop,
    TableTaken,
)
from corelane.processor.control.messages import Beat, not_understood
from corelane.processor.control.questions import Response
from corelane.processor.gateway.access import Access
from corelane.processor.gateway.asking import Ask
from corelane.processor.gateway.call import Call
from corelane.processor.gateway.protocols.triton import ModelFacts
from corelane.processor.gateway.records.call_records import CallRecords
from corelane.processor.gateway.records.request_log import RequestLog
from corelane.processor.gateway.records.traces import Traces
from corelane.processor.gateway.router import Router
from corelane.processor.gateway.shadows import Shadows
from corelane.processor.gateway.signatures import Signatures
from corelane.processor.system import threads

_COUNTS_S = 1.0


class Gateway(ABC):
    """Thread safety: `handle` on one thread; what it changes (the router, `unready`) is read from any."""

    def __init__(self, client: control.ControlClient, start: GatewayStart) -> None:
        self.client = client
        self.settings = settings = start.settings
        self.shadows = Shadows(settings.request_timeout_s)
        self.log = RequestLog()
        self.router = Router(
            lambda model, route: SharedMemoryChannel(model, route, start.owner), on_answer=self._on_answer
        )
        self.shadows.router = self.router
        self.ask = Ask(client)
        self.signatures = Signatures(self.router, self.ask, settings.request_timeout_s)
        self.facts = ModelFacts(self.router, self.signatures, self.ask, self.send_counts)
        self.access = Access(settings.auth, settings.limits)
        traces = None if settings.traces is None else Traces(settings.traces)
        self.records = CallRecords(settings.access_log, traces)
        self._unready = ""
        self.stopping = False

    def tell_counts(self) -> None:
        """Sends the supervisor, again and again, what no channel can count. Never returns."""
        while True:
            time.sleep(_COUNTS_S)
            self.send_counts()

    def send_counts(self) -> None:
        """Sends them now: what the supervisor is asked after this counts what ended here before."""
        router = self.router
        refused = (
            Count(kind=CountKind.REFUSED, model=model, code=code, number=number)
            for model, code, number in router.take_refused()
        )
        counts = (*refused, *router.take_times(), *self.shadows.take_counts(), *self.log.take_counts())
        if counts:
            self.client.send(Counts(counts=counts))

    def _on_answer(self, call: Call, assignment: Assignment, model: routes.ModelRoute, answer: bytes) -> None:
        if call.entry is not Entry.SHADOW:
            self.shadows.copy(call, assignment, model.shadows, answer)
            if model.log is not None:
                self.log.record(call, model.log, answer)

    def unready(self) -> str:
        """Why the server is not ready, as the supervisor says (`host.ready`); empty if it is."""
        return "the server is stopping" if self.stopping else self._unready

    def handle(self, message: control.Message) -> None:
        """Messages from the supervisor, in order."""
        match message:
            case RoutingTable():
                problems = self.router.replace({model.name: model for model in message.models})
                self._unready = message.unready
                self.on_routes()
                self.client.send(TableTaken(epoch=message.epoch, problems=problems))
            case Response():
                self.ask.answered(message)
            case Beat():
                self.pass_beat(lambda: self.client.send(message))
            case Stop():
                self.stopping = True
                threads.start(lambda: self.stop(message.grace_s), "stop")
            case _:
                raise not_understood(message)

    @abstractmethod
    def on_routes(self) -> None:
        """A new table is in place."""

    @abstractmethod
    def pass_beat(self, answer: Callable[[], None]) -> None:
        """Has `answer` called by way of all that serves, and returns at once: a gateway that does not serve does not
        answer, and is killed."""

    @abstractmethod
    def serve(self) -> None:
        """Takes requests, says so, and returns at once."""

    @abstractmethod
    def stop(self, grace_s: float) -> None:
        """Takes no more requests, answers those under way within the time, and ends the process."""
