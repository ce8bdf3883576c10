"""The admin API: HTTP and JSON on the admin address, for the command line.

GET  /v1/status   what `corelane status --json` prints
GET  /v1/report   what `corelane report --json` prints
POST /v1/traffic  {"action": "promote" | "rollback" | "split", "model", "version", "shares": {version: percent}}
GET  /metrics     for Prometheus; also as /monitoring/prometheus/metrics
POST /v1/apply    {"manifest": text, "base": folder, "source": name}; 409 and {"problems": [...]} if refused
"""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from processor.errors import ControlError, ManifestError
from processor.manifest import parse_manifest
from processor.supervisor.asks import metrics
from processor.supervisor.exposition import CONTENT_TYPE
from processor.supervisor.report import report
from processor.supervisor.status import status
from processor.supervisor.supervisor import Supervisor


class _Server(uvicorn.Server):
    """The supervisor handles the signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def application(supervisor: Supervisor) -> Starlette:
    async def get_status(request: Request) -> JSONResponse:
        return JSONResponse(status(supervisor))

    async def get_report(request: Request) -> JSONResponse:
        return JSONResponse(report(supervisor))

    async def get_metrics(request: Request) -> Response:
        return Response(await metrics(supervisor), media_type=CONTENT_TYPE)

    async def post_apply(request: Request) -> JSONResponse:
        try:
            body = await request.json()
            text, base, source = body["manifest"], Path(body["base"]), str(body["source"])
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
            return JSONResponse({"problems": [f"the body should have manifest, base and source: {error}"]}, 400)
        try:
            supervisor.apply(parse_manifest(text, source=source, base=base))
        except ManifestError as error:
            return JSONResponse({"problems": error.problems}, 409)
        except ControlError as error:
            return JSONResponse({"problems": [str(error)]}, 409)
        return JSONResponse(status(supervisor))

    async def post_traffic(request: Request) -> JSONResponse:
        try:
            body = await request.json()
            model, traffic = str(body["model"]), supervisor.traffic
            if body["action"] == "promote":
                said = traffic.promote(supervisor, model, int(body["version"]))
            elif body["action"] == "rollback":
                said = traffic.roll_back(supervisor, model)
            elif body["action"] == "split":
                shares = {int(version): float(share) for version, share in body["shares"].items()}
                said = traffic.split(supervisor, model, shares)
            else:
                raise ValueError(f"there is no action {body['action']}")
        except (json.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
            return JSONResponse({"problems": [f"the body should have action, model and what it takes: {error}"]}, 400)
        except ControlError as error:
            return JSONResponse({"problems": [str(error)]}, 409)
        await supervisor.published()
        return JSONResponse({"said": said})

    return Starlette(
        routes=[
            Route("/v1/status", get_status),
            Route("/v1/report", get_report),
            Route("/metrics", get_metrics),
            Route("/monitoring/prometheus/metrics", get_metrics),
            Route("/v1/apply", post_apply, methods=["POST"]),
            Route("/v1/traffic", post_traffic, methods=["POST"]),
        ]
    )


def admin_server(supervisor: Supervisor) -> uvicorn.Server:
    """A server to run on the supervisor's loop, on a socket that already listens."""
    return _Server(uvicorn.Config(application(supervisor), log_level="warning", lifespan="off"))
