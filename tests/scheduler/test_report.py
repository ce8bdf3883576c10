"""The report as data, as text and as a page."""

import json
from html.parser import HTMLParser
from typing import Any

from corelane.core_map import as_page, as_text
from corelane.scheduler import Cost, Demand, Settings, allocate, uniform_host
from corelane.scheduler.report import SCHEMA, Measured, to_report


def demand(name: str, rate: float, role: str = "baseline", **rest: Any) -> Demand:
    cost = Cost(fixed_ms=2.0, per_row_ms=0)
    return Demand(model=name, version=1, role=role, rate_per_s=rate, cost=cost, **rest)  # type: ignore[arg-type]


def example() -> dict[str, Any]:
    host = uniform_host(32, sockets=2, threads=2, cache_group=4)
    demands = [
        demand("ctr", 900, slo_p99_ms=20),
        demand("<b>cvr</b>", 100, slo_p99_ms=1),
        demand("trial", 100, "ab"),
        demand("greedy", 1e6, "ab", slo_p99_ms=10),
    ]
    plan = allocate(host, demands, Settings())
    measured = {"ctr/1": Measured(p50_ms=2.5, p99_ms=31.0, precision="bf16", memory_bytes=300 << 20)}
    return to_report(host, plan, measured, [(0.0, "the first plan"), (60.0, "trial/1 came")])


def test_the_schema() -> None:
    report = json.loads(json.dumps(example(), allow_nan=False))
    assert report["schema"] == SCHEMA == 1
    assert [thread["cpu"] for thread in report["host"]["map"][:4]] == [0, 16, 1, 17]
    owners = {thread["cpu"]: thread["owner"] for thread in report["host"]["map"]}
    ctr = next(entry for entry in report["versions"] if entry["model"] == "ctr")
    assert all(owners[cpu] == "ctr/1" for cpu in ctr["cpus"])
    assert all(owners[cpu] == "pool" for cpu in report["pool"]["cpus"])
    assert all(owners[cpu] == "reserve" for cpu in report["reserve"]["cpus"])
    assert (ctr["slo_met"], ctr["slo_missed_by_ms"]) == (False, 11.0), "what was measured counts"
    assert (ctr["precision"], ctr["memory_bytes"]) == ("bf16", 300 << 20)
    greedy = next(entry for entry in report["versions"] if entry["model"] == "greedy")
    assert greedy["predicted"] == {"p50_ms": None, "p99_ms": None}
    assert greedy["slo_met"] is False
    assert len(report["problems"]) == 2


def test_as_text() -> None:
    text = as_text(example())
    assert "32 cores to use: cores 0-31, 16 physical, 2 sockets, 2 NUMA nodes, 4 cache groups" in text
    assert "no, by 11 ms" in text
    assert "socket 1 node 1" in text
    assert "problem: greedy/1 cannot keep up" in text
    assert "pool: " in text
    assert "trial/1 came" in text
    marks = [line.split("  ", 1)[1] for line in text.splitlines() if line.startswith("socket ")]
    assert sum(len(line.replace(" ", "")) for line in marks) == 32, "a mark for each hardware thread"


class _Checker(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.cells = 0
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "br", "wbr"):
            self.open.append(tag)
        self.cells += ("class", "cpu") in attrs
        self.outside += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_as_page() -> None:
    page = as_page(example())
    checker = _Checker()
    checker.feed(page)
    assert checker.open == []
    assert checker.cells == 32
    assert checker.outside == [], "self-contained"
    assert "<b>" not in page
    assert "&lt;b&gt;cvr" in page


def test_of_a_host_that_serves_nothing() -> None:
    report = to_report(uniform_host(2), None, {})
    assert report["versions"] == []
    assert "2 cores to use" in as_text(report)
    assert "</html>" in as_page(report)
