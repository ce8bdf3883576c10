"""What the gRPC services share: a call's deadline, its end, and its errors."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc

from corelane.processor._native import Cancellation
from corelane.processor.channel.methods import Entry, Method
from corelane.processor.errors import RequestError
from corelane.processor.gateway.call import Call
from corelane.processor.gateway.records.call_records import CallRecords
from corelane.processor.gateway.router import Router
from corelane.processor.wire.status import code_of, message_of

_logger = logging.getLogger(__name__)

_DEADLINE_S_MAX = 30 * 24 * 3600

# A model's name, and a version of it, a label, or neither.
Target = tuple[str, int | None, str | None]
_NO_TARGET: Target = ("", None, None)
Behaviour = Callable[[bytes, Any], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Forwarding:
    """What calls are forwarded with: `timeout_s` is for those without a deadline."""

    router: Router
    records: CallRecords
    timeout_s: float


def forwarding(how: Forwarding, method: Method, target_of: Callable[[bytes], Target]) -> Behaviour:
    """Hands the bytes of a request to the version that they name, and its answer back. `target_of` raises the
    RequestError of a request that names nothing."""
    timeout_ns, router = int(how.timeout_s * 1e9), how.router

    def behave(request: bytes, context: grpc.ServicerContext) -> bytes:
        remaining_s = context.time_remaining()
        # A call without a deadline may have one in the far future instead of none.
        has_deadline = remaining_s is not None and remaining_s < _DEADLINE_S_MAX
        deadline_ns = time.monotonic_ns() + (int(remaining_s * 1e9) if has_deadline else timeout_ns)
        cancellation = Cancellation()
        if not context.add_callback(cancellation.cancel):
            return b""  # the call is over already
        started_s, target = time.perf_counter(), _NO_TARGET
        failure: Exception | None = None
        try:
            target = model, version, label = target_of(request)
            key_name = router.sticky_key(model)
            return router.call(
                Call(
                    method=method,
                    model=model,
                    version=version,
                    label=label,
                    request=request,
                    deadline_ns=deadline_ns,
                    may_wait=has_deadline,
                    cancellation=cancellation,
                    key=None if key_name is None else metadata_of(context, key_name),
                )
            )
        except Exception as error:
            failure = error
            return failed(context, error)
        finally:
            if how.records.is_on:
                how.records.write(
                    headers=lambda name: metadata_of(context, name),
                    entry=Entry.GRPC,
                    method=method,
                    model=target[0],
                    asked=target[1] if target[2] is None else target[2],
                    peer=context.peer(),
                    started_s=started_s,
                    error=failure,
                )

    return behave


def answering(answer: Callable[[bytes], Any]) -> Behaviour:
    """Answers with the message that `answer` makes of a request's bytes."""

    return answering_in_time(lambda request, timeout_s: answer(request))


def answering_in_time(answer: Callable[[bytes, float | None], Any]) -> Behaviour:
    """As `answering`; `answer` gets the seconds that the client will wait, too, or None if it has set no deadline."""

    def behave(request: bytes, context: grpc.ServicerContext) -> bytes:
        remaining_s = context.time_remaining()
        if remaining_s is not None and remaining_s >= _DEADLINE_S_MAX:
            remaining_s = None
        try:
            data: bytes = answer(request, remaining_s).SerializeToString()
            return data
        except Exception as error:
            return failed(context, error)

    return behave


def failed(context: grpc.ServicerContext, error: Exception) -> bytes:
    """Ends a call with an error: every one leaves the gateway here."""
    if not isinstance(error, RequestError):
        _logger.error("a call failed by a fault of ours", exc_info=error)
    context.set_code(code_of(error))
    context.set_details(message_of(error))
    return b""


def metadata_of(context: grpc.ServicerContext, name: str) -> str | None:
    """What a client sent as metadata under this name; None if it sent none."""
    for key, value in context.invocation_metadata():
        if key == name:
            return value if isinstance(value, str) else value.decode(errors="replace")
    return None
