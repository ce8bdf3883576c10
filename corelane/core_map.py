"""The core-allocation report as text, and as a self-contained page."""

import html
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from corelane.processor.supervisor.views.page import look
from corelane.scheduler import core_list
from corelane.scheduler.numbers import amount, figure
from corelane.terminal import table

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RESERVE, _POOL, _FREE = "=", "~", "."
_WIDTH = 64
_EVENTS = 10


def as_text(report: dict[str, Any], wide: bool = True) -> str:
    """The report for a terminal. Unless `wide`, its table has only the columns that fit 80 characters."""
    host = report["host"]
    lines = [f"{host['cores']} {'core' if host['cores'] == 1 else 'cores'} to use: {host['description']}", ""]
    lines += [_table(report, wide), "", *_notes(report), "", *_map(report), ""]
    lines += [f"problem: {problem}" for problem in report["problems"]]
    lines += [f"{entry['model']}/{entry['version']}: {entry['why']}" for entry in report["versions"]]
    lines += _common_reasons(report)
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


_MEASURED_P99 = _HEADER.index("p99 ms: predicted") + 1
_NARROW = ("version", "cores", "req/s", "busy", "p99 ms: predicted", "SLO ms", "met")


def _table(report: dict[str, Any], wide: bool) -> str:
    rows = [_cells(entry) for entry in report["versions"]]
    known = {"cores": "not planned"}
    rows += [[_name(entry), *(known.get(name) for name in _HEADER[1:])] for entry in report["unplanned"]]
    shown = [index for index, name in enumerate(_HEADER) if wide or name in _NARROW or index == _MEASURED_P99]
    return table([_HEADER[index] for index in shown], [[row[index] for index in shown] for row in rows])


def _name(entry: dict[str, Any]) -> str:
    return f"{entry['model']}/{'*' if entry['version'] is None else entry['version']}"


def _notes(report: dict[str, Any]) -> Iterator[str]:
    """Notes: what the table's times include, and the versions that it leaves out."""
    if report["predicts"] == "client":
        yield (
            "predicted: what a client on the host's network sees: gateway, channel, queue and run; the network and the "
            "client's own time come on top"
        )
    else:
        yield "predicted and measured: in queue and run; gateways, network and client come on top"
    for entry in report["unplanned"]:
        yield f"not planned, so its load is not counted: {_name(entry)}: {entry['why']}; to mend it: {entry['mend']}"


def _common_reasons(report: dict[str, Any]) -> list[str]:
    """A sentence each for gateways, pool and reserve."""
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
    legend += [f"{mark} {owner}" for mark, owner in ((_POOL, "pool"), (_RESERVE, "reserve"), (_FREE, "free"))]
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


_SERIES = 10  # the styles' number of colours for versions


def as_page(report: dict[str, Any]) -> str:
    """A self-contained HTML page in the style of the admin port's page."""
    host = report["host"]
    reasons = [f"{entry['model']}/{entry['version']}: {entry['why']}" for entry in report["versions"]]
    reasons += _common_reasons(report)
    events = [f"{_clock(event['at_s'])} {event['reason']}" for event in reversed(report["events"])]
    name = f" on {host['name']}" if host.get("name") else ""
    return "".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Corelane: cores</title>',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<style>{look()}</style></head><body><header><h1>Core allocation{html.escape(name)}</h1>",
            f'<span class="dim">{host["cores"]} cores to use: {html.escape(host["description"])}</span></header><main>',
            _list("Problems", report["problems"], "no"),
            f'<section class="wide"><h2>Cores</h2>{_page_map(host["map"])}</section>',
            f'<section class="wide"><h2>Versions</h2>{_page_table(report)}'
            f"{''.join(f'<p>{html.escape(note)}</p>' for note in _notes(report))}</section>",
            _list("Why", reasons),
            _list("Changes", events),
            "</main></body></html>\n",
        ]
    )


def _page_map(threads: Sequence[dict[str, Any]]) -> str:
    owners = list(dict.fromkeys(thread["owner"] for thread in threads))
    names = [name for name in owners if name not in ("", "pool", "reserve")]
    colours = {name: f"var(--series-{index % _SERIES})" for index, name in enumerate(names)}
    colours |= {"pool": "var(--owner-pool)", "reserve": "var(--owner-reserve)", "": "var(--owner-free)"}
    parts = []
    for (socket, node), in_node in groupby(threads, key=lambda thread: (thread["socket"], thread["node"])):
        parts.append(f'<div class="node"><div class="dim">socket {socket}, node {node}</div><div class="groups">')
        for _, group in groupby(in_node, key=lambda thread: thread["cache"]):
            parts.append(f'<div class="group">{"".join(_cell(thread, colours) for thread in group)}</div>')
        parts.append("</div></div>")
    keys = "".join(
        f'<span><span class="swatch" style="--owner:{colours[name]}"></span>{html.escape(name or "free")}: '
        f"{_cores_of(threads, name)}</span>"
        for name in (*names, *(name for name in ("pool", "reserve", "") if name in owners))
    )
    return f'{"".join(parts)}<div class="legend">{keys}</div>'


def _cores_of(threads: Sequence[dict[str, Any]], owner: str) -> str:
    return core_list(sorted(thread["cpu"] for thread in threads if thread["owner"] == owner)).replace(",", ", ")


def _cell(thread: dict[str, Any], colours: Mapping[str, str]) -> str:
    owner, busy = thread["owner"], thread.get("busy")
    used = "" if busy is None else f", {busy:.0%} busy"
    style = f"--owner:{colours[owner]};--busy:{busy or 0:.0%}"
    title = f"core {thread['cpu']}: {html.escape(owner or 'free')}{used}"
    free = "" if owner else ' class="free"'
    return f'<div class="cpu" style="{style}" title="{title}"><span{free}>{thread["cpu"]}</span><i></i></div>'


def _page_table(report: dict[str, Any]) -> str:
    names = [*_HEADER]
    for index in (_HEADER.index("measured"), len(_HEADER) - 1 - _HEADER[::-1].index("measured")):
        names[index] = names[index - 1].replace("predicted", "measured")
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    rows = []
    for entry in report["versions"]:
        missed = ' class="no"' if entry["slo_met"] is False else ""
        cells = "".join(_page_cell(name, cell) for name, cell in zip(names, _cells(entry), strict=True))
        rows.append(f"<tr{missed}>{cells}</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _page_cell(name: str, cell: Any) -> str:
    kind, text = (' class="empty"', "-") if cell is None else ("", html.escape(str(cell)).replace(",", ",<wbr>"))
    return f'<td{kind}><span class="name">{html.escape(name)}</span><span>{text}</span></td>'


def _list(title: str, items: Sequence[str], kind: str = "") -> str:
    if not items:
        return ""
    lines = "".join(f'<li class="{kind}">{html.escape(item)}</li>' for item in items)
    return f'<section class="wide"><h2>{title}</h2><ul>{lines}</ul></section>'
