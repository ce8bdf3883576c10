"""The gateway processes: kept alive, and kept told where to send requests."""

import asyncio
import dataclasses
import itertools
import logging
import time
from collections.abc import Callable, Mapping, Sequence

from corelane.processor import control
from corelane.processor._native import OWNER_MAX
from corelane.processor.control.gateway_messages import (
    Count,
    Counts,
    GatewayStart,
    Ready,
    RoutingTable,
    Stop,
    TableTaken,
)
from corelane.processor.control.gateway_settings import GatewaySettings, Protocol
from corelane.processor.control.messages import Failed, not_understood
from corelane.processor.control.questions import Inquiry
from corelane.processor.control.routes import ModelRoute
from corelane.processor.manifest import ListenSettings
from corelane.processor.supervisor.children.child import Child
from corelane.processor.supervisor.children.endings import Ending
from corelane.processor.supervisor.events import Events, Kind
from corelane.processor.supervisor.runtime import cpu_s

_logger = logging.getLogger("corelane")

_BACKOFF_MAX_S = 10.0
_HEALTHY_S = 30.0


@dataclasses.dataclass(slots=True, eq=False)
class Gateway:
    place: int  # which of the kinds it is
    kind: GatewaySettings
    child: Child
    owner: int  # its number on the channels
    started_s: float
    ready: bool = False
    acknowledged: int = -1
    problems: Mapping[int, str] = dataclasses.field(default_factory=dict)  # workers that it cannot reach, and why
    attempts: int = 0  # to reach those
    again_s: float = 0.0  # when it is to try again
    error: str = ""
    cpu_s: float = 0.0  # as last seen: what it used afterwards is lost with it


def kinds_of(
    listen: ListenSettings,
    addresses: Mapping[Protocol, str],
    request_timeout_s: float,
    rest_timeout_s: float | None,
    count: int,
) -> list[GatewaySettings]:
    """The settings of each gateway: `count` of them for each protocol, one at least, and one for the Unix socket, which
    cannot be shared."""
    places: list[tuple[Protocol, str]] = [*addresses.items()] * max(1, count)
    if listen.grpc_socket is not None:
        places.append(("grpc", f"unix:{listen.grpc_socket}"))
    return [
        GatewaySettings(
            protocol=protocol,
            address=address,
            message_bytes_max=listen.message_bytes_max,
            compression=listen.grpc_compression,
            metrics_path=listen.metrics_path,
            connections_max=listen.connections_max,
            http_idle_s=listen.http_idle_s,
            grpc_ping_interval_s=listen.grpc_ping_interval_s,
            access_log=listen.access_log,
            request_timeout_s=rest_timeout_s if protocol == "http" and rest_timeout_s else request_timeout_s,
            traces=listen.traces,
            tls=listen.tls,
            auth=listen.auth,
            limits=listen.limits,
        )
        for protocol, address in places
    ]


class Gateways:
    """Belongs to the event loop's thread.

    Invariant: the newest table has number `epoch`, and every live gateway has been sent it."""

    def __init__(
        self,
        *,
        kinds: Sequence[GatewaySettings],
        events: Events,
        on_change: Callable[[], None],
        on_ask: Callable[[Child, Inquiry], None],
        on_counts: Callable[[Sequence[Count]], None],
        on_end: Callable[[int], None],
    ) -> None:
        """There is a gateway for each of `kinds`, which are its settings. `on_change` is called if one took over
        a table, started or died; `on_ask` carries a client's question to us, `on_counts` what gateways counted;
        `on_end` gets the number of a gateway that has ended, first of all."""
        self.kinds = kinds
        self._events = events
        self._on_change = on_change
        self._on_ask = on_ask
        self._on_counts = on_counts
        self._on_end = on_end
        self._owners = itertools.cycle(range(1, OWNER_MAX + 1))
        self.list: list[Gateway] = []
        self.epoch = 0
        self.failed = asyncio.Event()
        self.failure = ""
        self.last_end = ""  # how the last one ended that was not asked to, or why none could be started
        self.past_cpu_s = [0.0] * len(kinds)  # by place, of those that have ended
        self._table = RoutingTable(epoch=0, models=(), unready="no model has been looked at yet")
        self._stopping = False
        self._started = False
        self._failures = itertools.count()
        self._was_up = False

    @property
    def reachable(self) -> bool:
        """Whether there is a gateway that listens, for each protocol."""
        listening = {gateway.kind.protocol for gateway in self.list if gateway.ready}
        return listening == {kind.protocol for kind in self.kinds}

    @property
    def up(self) -> bool:
        """Whether every gateway listens."""
        return len(self.list) == len(self.kinds) and all(gateway.ready for gateway in self.list)

    def start(self) -> None:
        self._started = True
        for place in range(len(self.kinds)):
            self._start_one(place)

    def publish(self, models: Sequence[ModelRoute], unready: str) -> None:
        """Sends a table, if it differs from the last; `unready` is why probes should not hear that the server is ready,
        empty if they should."""
        table = RoutingTable(epoch=self.epoch, models=tuple(models), unready=unready)
        if table == self._table:
            return
        self.epoch += 1
        self._table = dataclasses.replace(table, epoch=self.epoch)
        for gateway in self.list:
            gateway.child.send(self._table)

    def try_again(self) -> None:
        """Has gateways that could not reach a worker try so again, after longer and longer waits."""
        now_s = time.monotonic()
        for gateway in self.list:
            if gateway.problems and now_s >= gateway.again_s:
                gateway.again_s = now_s + _BACKOFF_MAX_S  # if it does not answer
                gateway.child.send(self._table)

    def problem(self, instance: int) -> str:
        """Why a gateway cannot send requests to a worker; empty if all can that have looked."""
        return next((gateway.problems[instance] for gateway in self.list if instance in gateway.problems), "")

    def all_have(self, epoch: int) -> bool:
        """Whether every live gateway has taken over table `epoch` or a later one. If none is left of those that were
        started, none has."""
        return (bool(self.list) or not self._started) and all(gateway.acknowledged >= epoch for gateway in self.list)

    async def stop(self, grace_s: float) -> None:
        """Takes no more calls, answers those under way, and returns when the gateways have ended."""
        self._stopping = True
        for gateway in self.list:
            gateway.child.send(Stop(grace_s=grace_s))
        ends = [asyncio.ensure_future(gateway.child.ended()) for gateway in self.list]
        if ends:
            _, late = await asyncio.wait(ends, timeout=grace_s + 1)
            self.kill()
            if late:
                await asyncio.wait(late)

    def kill(self) -> None:
        self._stopping = True
        for gateway in self.list:
            gateway.child.kill()

    def _start_one(self, place: int) -> None:
        if self._stopping:
            return
        gateway: Gateway
        kind, owner = self.kinds[place], next(self._owners)
        try:
            child = Child(
                "corelane.processor.gateway",
                f"gateway:{kind.address}",
                GatewayStart(settings=kind, owner=owner),
                on_message=lambda message: self._on_message(gateway, message),
                on_exit=lambda ending: self._on_exit(gateway, ending),
            )
        except (OSError, ValueError) as error:
            self._start_later(place, f"cannot be started: {error}")
            return
        gateway = Gateway(place=place, kind=kind, child=child, owner=owner, started_s=time.monotonic())
        child.send(self._table)
        self.list.append(gateway)

    def cpu_seconds(self) -> list[tuple[GatewaySettings, float]]:
        """CPU time by kind of gateway, over all that were in that place: it never falls."""
        total_s = list(self.past_cpu_s)
        for gateway in self.list:
            gateway.cpu_s = max(gateway.cpu_s, cpu_s(gateway.child.pid))
            total_s[gateway.place] += gateway.cpu_s
        return list(zip(self.kinds, total_s, strict=True))

    def _on_message(self, gateway: Gateway, message: control.Message) -> None:
        match message:
            case Inquiry():
                self._on_ask(gateway.child, message)
            case Counts():
                self._on_counts(message.counts)
            case Failed():
                gateway.error = message.error
            case TableTaken():
                gateway.acknowledged = message.epoch
                self._note_problems(gateway, message.problems)
                self._on_change()
            case Ready():
                gateway.ready = True
                self._was_up = self._was_up or self.up
                self._on_change()
            case _:
                raise not_understood(message)

    def _note_problems(self, gateway: Gateway, problems: Mapping[int, str]) -> None:
        gateway.attempts = gateway.attempts + 1 if problems else 0
        gateway.again_s = time.monotonic() + min(0.25 * 2 ** min(gateway.attempts, 10), _BACKOFF_MAX_S)
        for number in problems.keys() - gateway.problems.keys():
            text = f"[{gateway.child.name}] {problems[number]}; it tries again"
            self._events.note(Kind.GATEWAY, text, level=logging.ERROR)
        gateway.problems = problems

    def _on_exit(self, gateway: Gateway, ending: Ending) -> None:
        self.list.remove(gateway)
        self.past_cpu_s[gateway.place] += gateway.cpu_s
        self._on_end(gateway.owner)
        if self._stopping:
            return
        if gateway.error and not self._was_up:
            self.failure = gateway.error
            self.failed.set()
            return
        lived_s = time.monotonic() - gateway.started_s
        if lived_s > _HEALTHY_S:
            self._failures = itertools.count()
        self._start_later(gateway.place, gateway.error or ending.describe("").strip())
        self._on_change()

    def _start_later(self, place: int, why: str) -> None:
        self.last_end = why
        wait_s = min(0.25 * (2 ** min(next(self._failures), 10) - 1), _BACKOFF_MAX_S)
        self._events.note(Kind.GATEWAY, f"a gateway {why}; another starts in {wait_s:.1f} s", level=logging.ERROR)
        asyncio.get_running_loop().call_later(wait_s, self._start_one, place)
