"""OpenTelemetry: a span for each call that is sampled, under the client's own if it sent a `traceparent`.

Spans are made when a call has ended, from what is known of it, and sent by a thread of their own; where traces are off,
none of this is imported.
"""

from collections.abc import Callable
from typing import Any

from corelane.processor.channel.methods import Entry, Method
from corelane.processor.control.gateway_settings import TracesSettings
from corelane.processor.errors import StartError
from corelane.processor.version import VERSION
from corelane.processor.wire.status import code_of, number_of

Headers = Callable[[str], str | None]


class Traces:
    """Thread safety: every method from any thread."""

    def __init__(self, settings: TracesSettings) -> None:
        """StartError without the extra that this takes."""
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
            from opentelemetry.trace import SpanKind, Status, StatusCode
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ImportError as error:
            raise StartError("listen.traces needs OpenTelemetry: pip install 'corelane[traces]'") from error
        self._provider = TracerProvider(
            resource=Resource.create({"service.name": "corelane", "service.version": VERSION}),
            sampler=ParentBased(TraceIdRatioBased(settings.percent / 100)),
        )
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=settings.endpoint)))
        self._tracer = self._provider.get_tracer("corelane", VERSION)
        self._propagator = TraceContextTextMapPropagator()
        self._kind, self._status, self._error = SpanKind.SERVER, Status, StatusCode.ERROR

    def write(
        self,
        *,
        headers: Headers,
        request_id: str,
        entry: Entry,
        method: Method,
        model: str,
        asked: int | str | None,
        started_ns: int,
        ended_ns: int,
        error: Exception | None,
    ) -> None:
        """Of a call that has ended; times since 1970."""
        carrier = {name: value for name in ("traceparent", "tracestate") if (value := headers(name)) is not None}
        attributes: dict[str, Any] = {
            "rpc.system": "grpc" if entry is Entry.GRPC else "http",
            "rpc.method": method.name.lower(),
            "rpc.grpc.status_code": 0 if error is None else number_of(error),
            "corelane.model": model,
            "corelane.request_id": request_id,
        }
        if asked is not None:
            attributes["corelane.version"] = str(asked)
        span = self._tracer.start_span(
            f"{method.name.lower()} {model}".strip(),
            context=self._propagator.extract(carrier),
            kind=self._kind,
            attributes=attributes,
            start_time=started_ns,
        )
        if error is not None:
            span.set_status(self._status(self._error, f"{code_of(error).name}: {error}"))
        span.end(ended_ns)

    def close(self) -> None:
        """Sends what waits."""
        self._provider.shutdown()
