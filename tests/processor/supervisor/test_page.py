"""The page of the admin port, in a real browser."""

import contextlib
import itertools
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from corelane.core_map import as_page
from corelane.processor.errors import RequestError
from corelane.processor.supervisor.views.page import page
from corelane.scheduler import Cost, Demand, Settings, allocate, uniform_host
from corelane.scheduler.report import to_report
from tests.support import onnx_models
from tests.support.browser import IS_HERE, Browser, open_browser
from tests.support.client import PlainClient as Client
from tests.support.http import ask
from tests.support.server import LISTEN, SPLIT, WITH_ACTIONS, WITH_KEYED_ACTIONS, Server, serving, wait_until

browser_is_here = pytest.mark.skipif(not IS_HERE, reason="needs chromium and chromedriver")
MODELS = """\
models:
  - name: ctr
    path: m
    slo_p99_ms: 50
    queue: {timeout_ms: 20000}  # whatever else the machine does
    versions:
      - {version: 1, role: baseline, label: stable, traffic: 80}
      - {version: 2, role: ab, label: "<b>canary</b>", traffic: 20}
      - {version: 3, role: ab, shadow: 100}
  - {name: broken, path: broken}
  - {name: a-model-with-a-name-that-is-far-too-long-for-a-phone, path: nowhere}
  - {name: gone, path: nowhere}
"""
CHARTS = ("rate", "latency", "failures", "core-use")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("page")
    for version in (1, 2, 3):
        onnx_models.write_scale(folder / f"m/{version}", version)
    (folder / "broken/1").mkdir(parents=True)
    (folder / "broken/1/model.onnx").write_bytes(b"no model")
    with serving(folder, MODELS, listen=LISTEN, ready=False) as running:
        for version in (1, 2, 3):
            running.wait_state("ctr", version, "AVAILABLE")
        running.wait_state("broken", 1, "FAILED")
        call(running)
        yield running


def call(server: Server) -> None:
    """Of which one in 16 has no answer."""
    with Client(server.grpc) as client:
        for _ in range(300):
            client.predict("ctr", {"x": [1.0]})
        for _ in range(20):
            with pytest.raises(RequestError):
                client.predict("ctr", {"y": [1.0]}, version=1)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    with open_browser(tmp_path) as opened:
        yield opened


@contextlib.contextmanager
def two_versions(folder: Path, listen: str) -> Iterator[Server]:
    for version in (1, 2):
        onnx_models.write_scale(folder / f"m/{version}", version)
    (folder / "keys").write_text("ops s3cret\nads other\n")
    with serving(folder, SPLIT, listen=listen) as server:
        for version in (1, 2):
            server.wait_state("m", version, "AVAILABLE")
        yield server


def large_report() -> dict[str, Any]:
    """As a server on 128 cores would say it."""
    host = uniform_host(128, sockets=2, threads=2, cache_group=8)

    def demand(model: str, rate: float, role: str) -> Demand:
        cost = Cost(fixed_ms=2.0, per_row_ms=0)
        return Demand(model=model, version=1, role=role, rate_per_s=rate, cost=cost)  # type: ignore[arg-type]

    plan = allocate(host, [demand("ctr", 9000, "baseline"), demand("trial", 100, "ab")], Settings())
    report = to_report(host, plan, {})
    report["host"]["name"] = "<i>large</i>"
    for thread in report["host"]["map"]:
        thread["busy"] = None if thread["cpu"] == 7 else thread["cpu"] / 127
    return report


@browser_is_here
def test_the_page_shows_what_is_served(server: Server, browser: Browser) -> None:
    browser.look(server.admin)
    versions = browser.text("#versions")
    for word in ("ctr/1", "AVAILABLE", "stable", "<b>canary</b>", "80 %", "shadow 100 %", "onnxruntime", "no version"):
        assert word in versions
    assert browser.count("#versions b") == 0, "what the server says is text"
    assert "gone: " in browser.text("#problems")
    assert f"on {socket.gethostname()}" in browser.text("h1")
    assert browser.count(".cpu") == len(server.status()["cores"])
    owners = browser.text("#core-legend")
    assert "ctr/1" in owners or "pool" in owners
    browser.wait_text("#core-legend", "% busy")
    for chart in CHARTS:
        browser.wait(f"document.querySelectorAll('#{chart} path:not(.second)').length === 3", "a line for each version")
    shares = browser.js(
        "[...document.querySelectorAll('#arms [data-model=ctr] tbody tr')].map(r => r.cells[3].lastChild.innerText)"
    )
    assert sum(float(share.split()[0]) for share in shares) == pytest.approx(100, abs=0.02)
    assert "equal" in browser.text("#arms")
    assert browser.text("#lost") == ""
    assert browser.cut_off() == []
    assert browser.errors() == []
    browser.shot("desktop")


@browser_is_here
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_phone_shows_all_of_it(server: Server, browser: Browser, dark: bool) -> None:
    facts = """[...document.querySelectorAll('tr:not(.details) > td:not(.empty):not(.n)')]
      .map(cell => cell.cellIndex + cell.lastChild.textContent.replace(/[0-9.]+/g, '#')).join()"""
    browser.look(server.admin, dark=dark)
    on_a_desktop = browser.js(facts)
    browser.look(server.admin, width=375, phone=True, dark=dark)
    for number in range(browser.count(".toggle")):
        browser.js(f"document.querySelectorAll('.toggle')[{number}].click()")
    browser.wait("document.querySelectorAll('.details:not([hidden])').length === 4", "all versions open")
    assert browser.cut_off() == []
    browser.js("document.querySelectorAll('.toggle').forEach(button => button.click())")
    assert browser.js(facts) == on_a_desktop
    labels = browser.js(
        "[...document.querySelectorAll('#versions tr:first-child td:not(.empty) .name')].slice(1).map(n => n.innerText)"
    )
    assert {"state", "role", "cores", "MiB"} <= set(labels), "each says what it is"
    assert all(labels)
    ground, ink = browser.js("[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]")
    brightness = [int(colour.partition("(")[2].split(",")[0]) for colour in (ground, ink)]
    assert (brightness[0] < brightness[1]) is dark
    assert browser.errors() == []
    browser.shot("phone-dark" if dark else "phone")


@browser_is_here
@pytest.mark.parametrize("phone", [False, True], ids=["hover", "touch"])
def test_charts_show_all_values_at_a_time(server: Server, browser: Browser, phone: bool) -> None:
    browser.look(server.admin, width=375 if phone else 1400, phone=phone)
    browser.wait("past.versions['ctr/1'].length > 1", "points")
    assert browser.text("#at") == "values of now"
    at_s = browser.js("past.versions['ctr/1'].at(-1)[0]")
    box = browser.box("#rate")
    share = browser.js(f"1 - (past.now_s - {at_s}) / past.range_s")
    x, y = box["left"] + 44 + share * (box["width"] - 50), box["top"] + 40
    (browser.tap if phone else browser.move)(x, y)
    browser.wait("cursor_s !== null", "the time under the pointer")
    assert "values at" in browser.text("#at")
    for chart in CHARTS:
        assert browser.count(f"#{chart} .cursor") == 1, "one time for all"
        values = browser.text(f"#{chart}-values")
        assert all(name in values for name in ("ctr/1", "ctr/2", "ctr/3"))
    assert "–" not in browser.text("#rate-values")
    browser.shot("touch" if phone else "hover")
    heading = browser.box("h1")
    (browser.tap if phone else browser.move)(heading["left"] + 5, heading["top"] + 5)
    browser.wait("cursor_s === null", "now again")


@browser_is_here
def test_ranges_are_the_servers(server: Server, browser: Browser) -> None:
    browser.look(server.admin)
    for span, seconds in (("1h", 3600), ("6h", 21_600), ("1d", 86_400), ("5m", 300)):
        browser.click(f"[data-range='{span}']")
        browser.wait(f"past.range === '{span}' && past.range_s === {seconds}", "that range")
        assert browser.count("[data-range][aria-pressed=true]") == 1
        assert browser.count("#rate path") == 3


@browser_is_here
def test_a_version_says_why(server: Server, browser: Browser) -> None:
    call(server)
    browser.look(server.admin)
    browser.click("#versions tr:nth-child(1) .toggle")
    details = "#versions tr:nth-child(2)"
    for word in ("onnxruntime: ", "fp32: ", "restarts", "since", "load took", "why these cores"):
        assert word in browser.text(details)
    browser.wait_text(details, "INVALID_ARGUMENT")
    for word in ("gateway", "queue", "run", "OK "):
        assert word in browser.text(details)
    assert " ms" in browser.text(f"{details} .why")
    browser.click("#versions tr:nth-child(7) .toggle")
    assert browser.text("#versions tr:nth-child(7) .toggle") == "broken/1"
    for word in ("FAILED", "last error", "error at", "ago"):
        assert word in browser.text("#versions tr:nth-child(8)")
    browser.js("window.previous = latest")
    browser.wait("latest !== window.previous", "another look")
    assert browser.count("#versions .details:not([hidden])") == 2, "what is open stays open"
    assert browser.cut_off() == []
    browser.shot("details")


@browser_is_here
@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
def test_words_are_explained_where_they_stand(server: Server, browser: Browser, phone: bool) -> None:
    browser.look(server.admin, width=375 if phone else 1400, phone=phone)
    browser.click("#versions tr:nth-child(1) td:nth-child(4) > span:last-child .term")
    assert "cores of its own" in browser.text("#tip")
    box = browser.js("document.getElementById('tip').getBoundingClientRect().toJSON()")
    assert box["left"] >= 0 and box["right"] <= browser.js("document.documentElement.clientWidth")
    browser.click("h1")
    assert browser.js("document.getElementById('tip').hidden")
    words = browser.js(
        "[...document.querySelectorAll('.term')].map(term => [term.dataset.word, WORDS[term.dataset.word] || ''])"
    )
    assert all(meaning for _, meaning in words)
    assert {"baseline", "ab", "pool", "shadow", "SLO", "session"} <= {word for word, _ in words} | set(
        browser.js("Object.keys(WORDS)")
    )


@browser_is_here
@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
def test_many_cores_are_readable(server: Server, browser: Browser, phone: bool) -> None:
    browser.answer("/v1/report", large_report())
    browser.look(server.admin, width=375 if phone else 1400, phone=phone, dark=phone)
    assert browser.count(".cpu") == 128
    assert browser.text("h1") == "Corelane on <i>large</i>"
    assert browser.cut_off() == []
    sizes = browser.js("""[...document.querySelectorAll('.cpu')].map(cell => cell.getBoundingClientRect())
      .map(box => [box.width, box.height])""")
    assert all(width >= 24 and height >= 24 for width, height in sizes), "a finger hits one"
    browser.click("[aria-label^='Core 127:']")
    assert "100 % busy" in browser.text("#core-said")
    browser.click("[aria-label^='Core 7:']")
    assert "not known how busy" in browser.text("#core-said")
    assert "28-31, 60-63, 92-95, 124-127, " in browser.text("#core-legend")
    browser.box("#cores")
    browser.shot("128-cores-phone" if phone else "128-cores")


@browser_is_here
def test_events_of_one_model(server: Server, browser: Browser) -> None:
    browser.look(server.admin)
    browser.wait_text("#events", "broken/1")
    assert "ctr/1" in browser.text("#events")
    browser.click("#event-model option[value=broken]")
    browser.wait("!document.getElementById('events').innerText.includes('ctr/1')", "the other model's are gone")
    assert "failed" in browser.text("#events")
    assert all("broken" in line for line in browser.text("#events").splitlines() if line.strip())
    browser.click("#event-model option[value='']")
    browser.wait_text("#events", "ctr/1")


@browser_is_here
def test_the_page_says_when_the_server_is_gone(tmp_path: Path, browser: Browser) -> None:
    with serving(tmp_path, "models: []") as server:
        browser.look(server.admin)
        assert "gRPC" in browser.text("#summary")
    browser.wait_text("#lost", "does not answer")


@browser_is_here
@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
def test_acting_from_the_page(tmp_path: Path, browser: Browser, phone: bool) -> None:
    with two_versions(tmp_path, WITH_ACTIONS) as server:

        def traffic() -> list[float]:
            return [version["traffic"] for version in server.status()["models"][0]["versions"]]

        browser.look(server.admin, width=375 if phone else 1400, phone=phone)
        browser.click("[data-model=m] button.plain")
        browser.wait("document.getElementById('version') !== null", "the dialog")
        browser.click("#version option[value='2']")
        browser.click("#act .go")
        browser.wait_text("#act-body", "version 2 of model m gets all calls")
        assert browser.cut_off() == []
        browser.shot("act-phone" if phone else "act")
        assert traffic() == [95, 5], "nothing is done before somebody says so"
        browser.click("#act .go")
        browser.wait("document.getElementById('done') !== null", "it is done")
        assert traffic() == [0, 100]
        browser.click("#act-body button")
        browser.wait_text("#events", "(by the page")

        browser.click("[data-model=m] button.plain")
        browser.click("#action option[value=split]")
        browser.wait("document.querySelectorAll('.share').length === 2", "a share for each version")
        browser.type("[data-version='1']", "70")
        browser.type("[data-version='2']", "40")
        browser.click("#act .go")
        browser.wait_text("#act-body", "should add up to 100, not 110")
        browser.wait("document.querySelectorAll('.share').length === 2", "another try")
        assert browser.js("document.querySelector(\"[data-version='1']\").value") == "70", "what was typed is kept"
        browser.type("[data-version='2']", "30")
        browser.click("#act .go")
        browser.wait("document.getElementById('preview') !== null", "the preview")
        browser.click("#act .go")
        browser.wait("document.getElementById('done') !== null", "it is done")
        assert traffic() == [70, 30]
        browser.click("#act-body button")

        browser.click("[data-model=m] button.plain")
        browser.click("#action option[value=rollback]")
        browser.wait("document.querySelectorAll('#back option').length === 2", "the earlier splits")
        browser.click("#back option[value='2']")
        browser.click("#act .go")
        browser.wait("document.getElementById('preview') !== null", "the preview")
        browser.click("#act .go")
        browser.wait("document.getElementById('done') !== null", "it is done")
        assert traffic() == [95, 5]


@browser_is_here
def test_a_manager_acts_with_a_key(tmp_path: Path, browser: Browser) -> None:
    with two_versions(tmp_path, WITH_KEYED_ACTIONS) as server:
        browser.look(server.admin)
        browser.click("[data-model=m] button.plain")
        browser.wait("document.getElementById('key') !== null", "it asks for a key")
        browser.click("#version option[value='2']")
        for key, problem in (("wrong", "not known"), ("other", "listen.auth.managers")):
            browser.type("#key", key)
            browser.click("#act .go")
            browser.wait_text("#act-body", problem)
            browser.wait("document.getElementById('key') !== null", "it asks again")
        browser.click("#version option[value='2']")
        browser.type("#key", "s3cret")
        browser.click("#act .go")
        browser.wait("document.getElementById('preview') !== null", "the preview")
        assert browser.js("localStorage.length === 0 && document.cookie === ''"), "the key is the tab's"
        browser.click("#act .go")
        browser.wait("document.getElementById('done') !== null", "it is done")
        assert [version["traffic"] for version in server.status()["models"][0]["versions"]] == [0, 100]


@browser_is_here
def test_without_leave_there_is_nothing_to_press(server: Server, browser: Browser) -> None:
    browser.look(server.admin)
    assert browser.count("#arms button.plain") == 0
    assert "listen.page_actions" in browser.text("#acting")


@browser_is_here
@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
def test_the_report_looks_the_same(tmp_path: Path, browser: Browser, phone: bool) -> None:
    file = tmp_path / "report.html"
    file.write_text(as_page(large_report()))
    metrics = {"width": 375 if phone else 1300, "height": 900, "deviceScaleFactor": 1, "mobile": phone}
    browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.driver.get(file.as_uri())
    assert browser.count(".cpu") == 128
    assert browser.cut_off() == []
    assert "large" in browser.text("h1")
    browser.shot("report-phone" if phone else "report")


def test_the_page_asks_nobody_else(server: Server) -> None:
    answer = ask(server.admin, "GET", "/")
    assert answer.headers["content-type"].startswith("text/html")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
    assert answer.body == page()
    text = answer.body.decode()
    links = [word for word in ("http://", "https://", "src=", "@import", "url(", "innerHTML") if word in text]
    assert links == ["http://"], "but for the namespace of SVG"
    assert text.count("http://") == 1


def test_other_sites_pages_cannot_use_the_admin_port(server: Server) -> None:
    body = b'{"manifest": "models: []", "base": "/", "source": "x"}'
    assert ask(server.admin, "POST", "/v1/apply", body, {"Content-Type": "text/plain"}).status == 403
    assert ask(server.admin, "GET", "/v1/status", None, {"Host": "evil.example"}).status == 403
    assert ask(server.admin, "GET", "/v1/status", None, {"Host": "localhost:1"}).status == 200
    assert server.version("ctr", 1)["state"] == "AVAILABLE"


def test_history(server: Server) -> None:
    def history() -> dict[str, Any]:
        return ask(server.admin, "GET", "/v1/history?range=1h").json

    def has_rates() -> bool:
        """Rates are noted a while after the calls; a shadow's calls come later still."""
        versions = history()["versions"].values()
        return len(versions) == 3 and all(any(point[1] > 0 for point in points) for points in versions)

    wait_until(has_rates, "a rate of every version")
    document = history()
    assert set(document["versions"]) == {"ctr/1", "ctr/2", "ctr/3"}
    for points in document["versions"].values():
        times = [point[0] for point in points]
        assert all(earlier < later for earlier, later in itertools.pairwise(times))
        assert times[-1] <= document["now_s"]
    assert ask(server.admin, "GET", "/v1/history").json["range"] == "5m"


@pytest.mark.parametrize("span", ["2h", "", "5M", "-1", "%00"])
def test_ranges_that_are_none(server: Server, span: str) -> None:
    answer = ask(server.admin, "GET", f"/v1/history?range={span}")
    assert answer.status == 400
    assert answer.json["problems"][0].startswith("range should be one of 5m, 1h, 6h, 1d, not ")


def test_the_server_says_what_became_of_calls(server: Server) -> None:
    call(server)

    def minute() -> Any:
        version = server.version("ctr", 1)["last_minute"]
        return version if version and version["calls"] else None

    document = wait_until(minute, "calls of the last minute")
    assert json.dumps(document, allow_nan=False)
    assert document["calls"] == sum(document["codes"].values())
    assert server.version("broken", 1)["last_minute"] is None
