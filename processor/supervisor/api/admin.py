"""The admin API: HTTP and JSON on the admin address, for the command line.

GET  /v1/status   what `corelane status --json` prints
GET  /            the page
GET  /v1/live     200 while the supervisor answers and does its work
GET  /v1/ready    200 once the models answer (host.ready), until the end; 503 says which do not, and why;
                  /v1/ready/MODEL: 200 while that model answers
GET  /v1/history  rates, latencies, failures and core use by version; ?range=5m, 1h, 6h, 1d
GET  /v1/report   what `corelane report --json` prints
GET  /v1/events   what happened, the newest last; ?model=, ?version=, ?limit=
GET  /v1/logs     the newest lines of the log; ?model=, ?version=, ?limit=, ?after=
GET  /v1/traffic/MODEL  the earlier splits, which `rollback` can go back to
POST /v1/traffic  {"action": "promote" | "rollback" | "split", "model", "version", "shares": {version: percent}, "back"}
POST /v1/apply    {"manifest": text, "base": folder, "source": name, "yes"}; 409 and {"problems": [...]} if refused
                  Both POSTs take "by", who asks, and "dry_run": only say what would change; a page in a browser may
                  only post to /v1/traffic, from this address, as listen.page_actions allows
GET  /metrics     for Prometheus; also as /monitoring/prometheus/metrics
"""

import contextlib
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from corelane.processor.errors import RequestError
from corelane.processor.manifest.text.files import BYTES_MAX
from corelane.processor.supervisor.api import orders
from corelane.processor.supervisor.api.asks import metrics
from corelane.processor.supervisor.api.page_actions import PageActions, is_from_a_page, refusal
from corelane.processor.supervisor.log_lines import LogLines
from corelane.processor.supervisor.supervisor import Supervisor
from corelane.processor.supervisor.views.exposition import CONTENT_TYPE
from corelane.processor.supervisor.views.page import page
from corelane.processor.supervisor.views.report import report
from corelane.processor.supervisor.views.status import status
from corelane.processor.system.http_server import BoundedConfig, Bounds

# Operators, probes and scrapers; each is a descriptor of the supervisor's.
_CONNECTIONS_MAX = 128
_IDLE_S = 75.0
# JSON writes a character of a manifest with up to two bytes, as a rule.
_BODY_BYTES_MAX = 2 * BYTES_MAX
# The page has everything in itself, and asks nobody but us.
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


_Order = Callable[[Supervisor, Any, str], Awaitable[orders.Answer]]


class _Json(JSONResponse):
    """Of names and paths that may hold anything, halves of characters among them."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode()


class _Server(uvicorn.Server):
    """The supervisor handles the signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def application(supervisor: Supervisor, lines: LogLines) -> Starlette:
    document = page()
    actions = PageActions(supervisor.manifest.listen)

    async def get_status(request: Request) -> Response:
        return _Json(status(supervisor))

    async def get_report(request: Request) -> Response:
        return _Json(report(supervisor))

    async def get_live(request: Request) -> Response:
        return _Json({"live": supervisor.alive}, 200 if supervisor.alive else 503)

    async def get_ready(request: Request) -> Response:
        name = request.path_params.get("model")
        serving = supervisor.workers.routed_models()
        ready = supervisor.ready if name is None else name in serving
        missing = {} if ready else supervisor.unready()
        why = {other: model.reason for other, model in missing.items() if name in (None, other)}
        return _Json({"ready": ready, **({"not_ready": why} if why else {})}, 200 if ready else 503)

    async def get_history(request: Request) -> Response:
        return _Json(*orders.history(supervisor, request.query_params))

    async def get_page(request: Request) -> Response:
        return Response(document, media_type="text/html; charset=utf-8", headers={"content-security-policy": _POLICY})

    async def get_metrics(request: Request) -> Response:
        return Response(await metrics(supervisor), media_type=CONTENT_TYPE)

    async def get_events(request: Request) -> Response:
        return _Json(*orders.events(supervisor, request.query_params))

    async def get_logs(request: Request) -> Response:
        return _Json(*orders.log_lines(lines, request.query_params))

    async def get_earlier(request: Request) -> Response:
        return _Json(*await orders.earlier_splits(supervisor, request.path_params["model"]))

    async def post_apply(request: Request) -> Response:
        return await _carry_out(orders.apply, request)

    async def post_traffic(request: Request) -> Response:
        return await _carry_out(orders.change_traffic, request)

    async def _carry_out(order: _Order, request: Request) -> Response:
        try:
            body = await _json(request)
        except ValueError as error:
            return _Json({"problems": [f"the body should be JSON: {error}"]}, 400)
        host = request.client.host if request.client else "a socket"
        if is_from_a_page(request.headers):
            try:
                by = await actions.name_of(request.headers, host)
            except RequestError as error:
                return _Json({"problems": [str(error)]}, error.http_status)
            except TimeoutError:
                return _Json({"problems": ["the file system of the keys does not answer"]}, 503)
            body = {**body, "by": by} if isinstance(body, dict) else body
        return _Json(*await order(supervisor, body, host))

    return Starlette(
        routes=[
            Route("/v1/status", get_status),
            Route("/v1/report", get_report),
            Route("/v1/live", get_live),
            Route("/v1/ready", get_ready),
            Route("/v1/ready/{model:path}", get_ready),
            Route("/v1/history", get_history),
            Route("/v1/events", get_events),
            Route("/v1/logs", get_logs),
            Route("/v1/traffic/{model:path}", get_earlier),
            Route("/", get_page),
            Route("/metrics", get_metrics),
            Route("/monitoring/prometheus/metrics", get_metrics),
            Route("/v1/apply", post_apply, methods=["POST"]),
            Route("/v1/traffic", post_traffic, methods=["POST"]),
        ],
        middleware=[Middleware(_OwnPagesOnly)],
        exception_handlers={HTTPException: _problem},
    )


async def _json(request: Request) -> Any:
    """The body, parsed. HTTPException for one that is too large; ValueError for one that is no JSON."""
    data, size = bytearray(), 0
    async for part in request.stream():
        size += len(part)
        if size <= _BODY_BYTES_MAX:
            data += part
    if size > _BODY_BYTES_MAX:  # read to its end and let go: who still sends hears no answer
        raise HTTPException(413, f"the body is over {_BODY_BYTES_MAX >> 20} MiB")
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("it is too deep") from None


def _problem(request: Request, error: Exception) -> Response:
    """What Starlette itself refuses, in our form."""
    assert isinstance(error, HTTPException)
    return _Json({"problems": [str(error.detail)]}, error.status_code)


class _OwnPagesOnly:
    """Keeps other sites' pages in an operator's browser from what this address offers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_request = scope["type"] == "http"
        problem = refusal(scope["method"], scope["path"], Headers(scope=scope)) if is_request else ""
        await (_Json({"problems": [problem]}, 403) if problem else self._app)(scope, receive, send)


def admin_server(supervisor: Supervisor, lines: LogLines) -> uvicorn.Server:
    """A server to run on the supervisor's loop, on a socket that already listens."""
    bounds = Bounds(connections_max=_CONNECTIONS_MAX, idle_s=_IDLE_S)
    return _Server(BoundedConfig(application(supervisor, lines), bounds, log_level="warning"))
