"""The core-allocation report for people: as text, and as one self-contained page."""

import html
import time
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from corelane.terminal import table
from scheduler import core_list
from scheduler.numbers import amount, figure

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RESERVE, _POOL, _FREE = "=", "~", "."
_WIDTH = 64
_EVENTS = 10


def as_text(report: dict[str, Any]) -> str:
    host = report["host"]
    lines = [f"{host['cores']} {'core' if host['cores'] == 1 else 'cores'} to use: {host['description']}", ""]
    lines += [_table(report), "", *_notes(report), "", *_map(report), ""]
    lines += [f"problem: {problem}" for problem in report["problems"]]
    lines += [f"{entry['model']}/{entry['version']}: {entry['why']}" for entry in report["versions"]]
    lines += _of_all(report)
    if report["events"]:
        lines += ["", "changes:"]
        lines += [f"  {_clock(event['at_s'])}  {event['reason']}" for event in report["events"][-_EVENTS:]]
    return "\n".join(lines)


_HEADER = [
    "version",
    "role",
    "sessions",
    "cores",
    "req/s",
    "busy",
    "service ms",
    "p50 ms: predicted",
    "measured",
    "p99 ms: predicted",
    "measured",
    "SLO ms",
    "met",
    "precision",
    "MiB",
]


def _table(report: dict[str, Any]) -> str:
    rows = [_cells(entry) for entry in report["versions"]]
    blank = [None] * (len(_HEADER) - 2)
    return table(_HEADER, rows + [[_name(entry), "not planned", *blank] for entry in report["unplanned"]])


def _name(entry: dict[str, Any]) -> str:
    return f"{entry['model']}/{'*' if entry['version'] is None else entry['version']}"


def _notes(report: dict[str, Any]) -> Iterator[str]:
    """What the table's times include, and what it does without."""
    if report["predicts"] == "client":
        yield (
            "predicted: what a client on the host's network sees: gateway, channel, queue and run; the network and the "
            "client's own time come on top"
        )
    else:
        yield "predicted and measured: in queue and run; gateways, network and client come on top"
    for entry in report["unplanned"]:
        yield f"not planned, so its load is not counted: {_name(entry)}: {entry['why']}; to mend it: {entry['mend']}"


def _of_all(report: dict[str, Any]) -> list[str]:
    """A sentence each for what is no version's."""
    lines = [f"gateways: {report['gateways']['why']}"] if report["gateways"] else []
    return lines + [f"{name}: {report[name]['why']}" for name in ("pool", "reserve") if report[name]["why"]]


def _cells(entry: dict[str, Any]) -> list[Any]:
    met = entry["slo_met"]
    missed = entry["slo_missed_by_ms"]
    no = "no" if missed is None else f"no, by {figure(missed)} ms"
    memory = entry["memory_bytes"]
    return [
        f"{entry['model']}/{entry['version']}",
        entry["role"],
        len(entry["sessions"]),
        f"pool {core_list(entry['cpus'])}" if entry["shares"] else core_list(entry["cpus"]),
        amount(entry["rate_per_s"]),
        f"{entry['utilisation']:,.0%}",
        figure(entry["service_ms"]),
        _ms(entry["predicted"]["p50_ms"], "never"),
        _ms(entry["measured"]["p50_ms"]),
        _ms(entry["predicted"]["p99_ms"], "never"),
        _ms(entry["measured"]["p99_ms"]),
        _ms(entry["slo_p99_ms"]),
        None if met is None else "yes" if met else no,
        entry["precision"],
        None if memory is None else memory >> 20,
    ]


def _ms(value: float | None, missing: str | None = None) -> str | None:
    return missing if value is None else figure(value)


def _map(report: dict[str, Any]) -> Iterator[str]:
    """A character for each hardware thread, by socket, node and cache group."""
    threads = report["host"]["map"]
    names = list(dict.fromkeys(thread["owner"] for thread in threads if thread["owner"] not in ("", "pool", "reserve")))
    letters = {name: _LETTERS[index % len(_LETTERS)] for index, name in enumerate(names)}
    letters |= {"pool": _POOL, "reserve": _RESERVE, "": _FREE}
    for (socket, node), in_node in groupby(threads, key=lambda thread: (thread["socket"], thread["node"])):
        groups = [
            "".join(letters[thread["owner"]] for thread in group)
            for _, group in groupby(in_node, key=lambda thread: thread["cache"])
        ]
        yield from _wrapped(f"socket {socket} node {node}  ", groups)
    legend = [f"{letters[name]} {name}" for name in names]
    legend += [f"{mark} {what}" for mark, what in ((_POOL, "pool"), (_RESERVE, "reserve"), (_FREE, "free"))]
    yield from _wrapped("", legend, "   ")


def _wrapped(head: str, parts: Sequence[str], between: str = " ") -> Iterator[str]:
    line = head
    for part in parts:
        if len(line) > len(head) and len(line) + len(part) > len(head) + _WIDTH:
            yield line.rstrip()
            line = " " * len(head)
        line += part + between
    yield line.rstrip()


def _clock(at_s: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at_s))


_STYLE = """
:root { color-scheme: light dark; --line: #8884; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 1100px; padding: 1rem; }
h1 { font-size: 1.3rem } h2 { font-size: 1.05rem; margin-top: 1.6rem }
.wide { overflow-x: auto }
table { border-collapse: collapse; white-space: nowrap; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid var(--line) }
th:nth-child(-n+2), td:nth-child(-n+2) { text-align: left }
.no { color: #c0392b; font-weight: 600 }
.node { display: flex; flex-wrap: wrap; gap: .6rem; margin: .4rem 0 }
.group { display: flex; flex-wrap: wrap; gap: 2px; padding: 3px; border: 1px solid var(--line); border-radius: 4px }
.cpu { width: 1.9rem; height: 1.9rem; font-size: .7rem; border-radius: 3px; display: grid; place-items: center;
  color: #111 }
.key { display: inline-flex; align-items: center; gap: .3rem; margin-right: 1rem }
.key i { width: .9rem; height: .9rem; border-radius: 3px }
li { margin: .2rem 0 }
"""


def as_page(report: dict[str, Any]) -> str:
    """HTML with everything in it."""
    threads = report["host"]["map"]
    owners = list(dict.fromkeys(thread["owner"] for thread in threads))
    names = [name for name in owners if name not in ("", "pool", "reserve")]
    colours = {name: f"hsl({index * 360 // max(1, len(names))} 65% 72%)" for index, name in enumerate(names)}
    colours |= {"pool": "hsl(0 0% 78%)", "reserve": "hsl(45 25% 60%)", "": "hsl(0 0% 94%)"}
    keys = "".join(
        f'<span class="key"><i style="background:{colours[name]}"></i>{html.escape(name or "free")}</span>'
        for name in (*names, *(name for name in ("pool", "reserve", "") if name in owners))
    )
    reasons = [f"{entry['model']}/{entry['version']}: {entry['why']}" for entry in report["versions"]]
    reasons += _of_all(report)
    events = [f"{_clock(event['at_s'])} {event['reason']}" for event in reversed(report["events"])]
    host = report["host"]
    return "".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Corelane: cores</title>',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<style>{_STYLE}</style></head><body><h1>Core allocation</h1>",
            f"<p>{host['cores']} cores to use: {html.escape(host['description'])}</p>",
            _list("Problems", report["problems"], "no"),
            f"<h2>Cores</h2>{''.join(_page_map(threads, colours))}<p>{keys}</p>",
            f'<h2>Versions</h2><div class="wide">{_page_table(report)}</div>',
            *(f"<p>{html.escape(note)}</p>" for note in _notes(report)),
            _list("Why", reasons),
            _list("Changes", events),
            "</body></html>\n",
        ]
    )


def _page_map(threads: Sequence[dict[str, Any]], colours: dict[str, str]) -> Iterator[str]:
    for (socket, node), in_node in groupby(threads, key=lambda thread: (thread["socket"], thread["node"])):
        yield f'<div>socket {socket}, node {node}</div><div class="node">'
        for _, group in groupby(in_node, key=lambda thread: thread["cache"]):
            cells = "".join(
                f'<div class="cpu" style="background:{colours[thread["owner"]]}" '
                f'title="core {thread["cpu"]}: {html.escape(thread["owner"] or "free")}">{thread["cpu"]}</div>'
                for thread in group
            )
            yield f'<div class="group">{cells}</div>'
        yield "</div>"


def _page_table(report: dict[str, Any]) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in _HEADER)
    rows = []
    for entry in report["versions"]:
        missed = ' class="no"' if entry["slo_met"] is False else ""
        cells = ["-" if cell is None else html.escape(str(cell)) for cell in _cells(entry)]
        rows.append(f"<tr{missed}>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _list(title: str, items: Sequence[str], kind: str = "") -> str:
    if not items:
        return ""
    found = "".join(f'<li class="{kind}">{html.escape(item)}</li>' for item in items)
    return f"<h2>{title}</h2><ul>{found}</ul>"
