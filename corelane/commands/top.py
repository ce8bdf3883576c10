"""`corelane top`."""

import argparse
import time
from collections.abc import Callable
from typing import Any

from rich.console import Group, RenderableType

from corelane.commands.common import add_admin, add_command, add_wide, call_admin, seconds_argument
from corelane.scheduler import core_list
from corelane.scheduler.numbers import amount, figure
from corelane.terminal import Column, grid, repeat, show, state_style

_DESCRIPTION = """\
Shows rates, latency, queues and cores of every version of a running server, the busiest first, until Ctrl-C.

  corelane top
  corelane top --interval 5
  corelane top --once -o wide            one picture after one interval
"""


def add_parser(commands: Any) -> None:
    parser = add_command(commands, "top", run, "show live rates, latency, queues and cores", _DESCRIPTION)
    parser.add_argument(
        "--interval",
        type=seconds_argument,
        default=2.0,
        metavar="SECONDS",
        help="time between two pictures (default: 2)",
    )
    parser.add_argument("--once", action="store_true", help="draw one picture and exit")
    add_wide(parser)
    add_admin(parser)


def run(options: argparse.Namespace) -> int:
    view = _View(options.admin, options.output == "wide")
    if options.once:
        view.draw()
        time.sleep(options.interval)
        show(view.draw())
    else:
        repeat(options.interval, view.draw)
    return 0


class _View:
    """Rates come from the counters' differences between two pictures."""

    def __init__(self, admin: str, wide: bool) -> None:
        self._admin = admin
        self._wide = wide
        self._last: dict[str, dict[str, float]] = {}
        self._last_s = 0.0

    def draw(self) -> RenderableType:
        status, report = call_admin(self._admin, "/v1/status"), call_admin(self._admin, "/v1/report")
        now_s = time.monotonic()
        took_s = now_s - self._last_s if self._last else 0.0
        planned = {(entry["model"], entry["version"]): entry for entry in report["versions"]}
        counts: dict[str, dict[str, float]] = {}
        rows = []
        for model in status["models"]:
            for version in model["versions"]:
                if version["pid"] is None and version["state"] in ("RETIRED", "WAITING"):
                    continue
                name = f"{model['name']}/{version['version']}"
                counts[name] = _counts(version)
                rows.append(
                    {
                        "name": name,
                        "state": version["state"],
                        **self._rates(name, counts[name], took_s),
                        **_now(version, planned.get((model["name"], version["version"]))),
                    }
                )
        busy = {f"gateway {gateway['pid']}": {"cpu_s": gateway["cpu_s"]} for gateway in status["gateways"]}
        gateways = sum(self._rate(name, "cpu_s", now["cpu_s"], took_s) or 0.0 for name, now in busy.items())
        self._last, self._last_s = {**counts, **busy}, now_s
        rows.sort(key=lambda row: (-(row["rate"] or 0.0), row["name"]))
        total = sum(row["rate"] or 0.0 for row in rows)
        ready = "ready" if status["ready"] else "not ready"
        first = (
            f"{ready}; {amount(total)} requests/s; {len(status['gateways'])} gateways use {gateways:.2f} cores; "
            f"{len(status['cores'])} cores to use"
        )
        return Group(first, "", grid(_COLUMNS, rows, self._wide))

    def _rates(self, name: str, now: dict[str, float], took_s: float) -> dict[str, float | None]:
        return {
            "rate": self._rate(name, "answered", now["answered"], took_s),
            "failures": self._rate(name, "failed", now["failed"], took_s),
            "busy": self._rate(name, "cpu_s", now["cpu_s"], took_s),
        }

    def _rate(self, name: str, key: str, now: float, took_s: float) -> float | None:
        before = self._last.get(name)
        # A new worker's CPU time begins anew.
        return None if before is None or took_s <= 0 else max(0.0, now - before[key]) / took_s


def _counts(version: dict[str, Any]) -> dict[str, float]:
    if version["pid"] is None:
        return {"answered": 0, "failed": 0, "cpu_s": 0.0}
    requests = version["requests"]
    failed = sum(requests[name] for name in ("failed", "expired", "cancelled", "rejected", "interrupted"))
    return {"answered": requests["answered"], "failed": failed, "cpu_s": version["cpu_s"]}


def _now(version: dict[str, Any], planned: dict[str, Any] | None) -> dict[str, Any]:
    requests, memory = version.get("requests", {}), version.get("memory_bytes")
    measured = planned["measured"] if planned else {"p50_ms": None, "p99_ms": None}
    cores = None
    if planned:
        cores = f"pool {core_list(planned['cpus'])}" if planned["shares"] else core_list(planned["cpus"])
    return {
        "queued": requests.get("queued"),
        "running": requests.get("running"),
        "sessions": version.get("sessions"),
        "cores": cores,
        "slo_met": planned["slo_met"] if planned else None,
        "mib": None if memory is None else memory >> 20,
        **measured,
    }


def _number(key: str, text: Callable[[float], str]) -> Any:
    return lambda row: None if row[key] is None else text(row[key])


_COLUMNS = [
    Column("version", lambda row: row["name"]),
    Column("state", lambda row: row["state"], wide=True, style=lambda row: state_style(row["state"])),
    Column("req/s", _number("rate", amount)),
    Column("failed/s", _number("failures", amount), style=lambda row: "red" if row["failures"] else ""),
    Column("p50 ms", _number("p50_ms", figure)),
    Column("p99 ms", _number("p99_ms", figure), style=lambda row: "red" if row["slo_met"] is False else ""),
    Column("queued", lambda row: row["queued"]),
    Column("running", lambda row: row["running"], wide=True),
    Column("sessions", lambda row: row["sessions"], wide=True),
    Column("cpu", _number("busy", figure)),
    Column("cores", lambda row: row["cores"]),
    Column("MiB", lambda row: row["mib"], wide=True),
]
