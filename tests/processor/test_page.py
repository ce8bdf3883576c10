"""The page of the admin port, in a real browser."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import onnx_models
from tests.support.client import PlainClient as Client
from tests.support.http import ask
from tests.support.server import LISTEN, Server, serving, wait_until

browser_is_here = pytest.mark.skipif(
    shutil.which("chromium") is None or shutil.which("chromedriver") is None, reason="needs chromium and chromedriver"
)
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
  - {name: gone, path: nowhere}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("page")
    for version in (1, 2, 3):
        onnx_models.write_scale(folder / f"m/{version}", version)
    with serving(folder, MODELS, listen=LISTEN, ready=False) as running:
        for version in (1, 2, 3):
            running.wait_state("ctr", version, "AVAILABLE")
        with Client(running.grpc) as client:
            for _ in range(300):
                client.predict("ctr", {"x": [1.0]})
        yield running


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for argument in (
        *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
        *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
        f"--user-data-dir={tmp_path / 'profile'}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(executable_path=str(shutil.which("chromedriver")))
    found = webdriver.Chrome(options=options, service=service)
    yield found
    found.quit()


def text(browser: Any, selector: str) -> str:
    from selenium.webdriver.common.by import By

    return str(browser.find_element(By.CSS_SELECTOR, selector).text)


def count(browser: Any, selector: str) -> int:
    from selenium.webdriver.common.by import By

    return len(browser.find_elements(By.CSS_SELECTOR, selector))


def shot(browser: Any, name: str) -> None:
    """Kept where SCREENSHOTS says, for whoever wants to look."""
    folder = os.environ.get("SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        browser.save_screenshot(f"{folder}/{name}.png")


@browser_is_here
def test_the_page_shows_what_is_served(server: Server, browser: Any) -> None:
    browser.set_window_size(1400, 1500)
    browser.get(f"http://{server.admin}/")
    wait_until(lambda: count(browser, "#versions tr") == 5, "the versions' table", 20)
    versions = text(browser, "#versions")
    for word in ("ctr", "AVAILABLE", "stable", "<b>canary</b>", "80 %", "shadow 100 %", "onnxruntime", "no version"):
        assert word in versions
    assert count(browser, "#versions b") == 0, "what the server says is text"
    assert "gone: " in text(browser, "#problems")
    assert count(browser, ".cpu") == len(server.status()["cores"])
    owners = text(browser, "#core-legend")
    assert "ctr/1" in owners or "pool" in owners
    wait_until(lambda: count(browser, "#rate polyline") == 3, "a line for each version", 20)
    assert count(browser, "#latency polyline") == 3
    assert "3 (" not in text(browser, "#arms") and "shadow" in text(browser, "#arms")
    assigned = {row.split()[0]: row for row in text(browser, "#arms").splitlines() if row[:1].isdigit()}
    shares = [float(assigned[version].split("%")[1].split()[-1]) for version in "12"]
    assert sum(shares) == pytest.approx(100, abs=0.02)
    assert "came" in text(browser, "#events") or "plan" in text(browser, "#events")
    assert text(browser, "#lost") == ""
    assert not [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    shot(browser, "desktop")


@browser_is_here
def test_the_page_fits_a_phone(server: Server, browser: Any) -> None:
    metrics = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    )
    browser.get(f"http://{server.admin}/")
    wait_until(lambda: count(browser, "#versions tr") == 5, "the versions' table", 20)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390, "only tables scroll sideways"
    shot(browser, "phone")


@browser_is_here
def test_the_page_says_when_the_server_is_gone(tmp_path: Path, browser: Any) -> None:
    with serving(tmp_path, "models: []") as server:
        browser.get(f"http://{server.admin}/")
        wait_until(lambda: "gRPC" in text(browser, "#summary"), "the page", 20)
    wait_until(lambda: "does not answer" in text(browser, "#lost"), "the notice", 20)


def test_the_page_asks_nobody_else(server: Server) -> None:
    found = ask(server.admin, "GET", "/")
    assert found.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in found.headers["content-security-policy"]
    page = found.body.decode()
    links = [word for word in ("http://", "https://", "src=", "@import", "url(") if word in page]
    assert links == ["http://"], "but for the namespace of SVG"
    assert page.count("http://") == 1


def test_other_sites_pages_cannot_use_the_admin_port(server: Server) -> None:
    body = b'{"manifest": "models: []", "base": "/", "source": "x"}'
    assert ask(server.admin, "POST", "/v1/apply", body, {"Content-Type": "text/plain"}).status == 403
    assert ask(server.admin, "GET", "/v1/status", None, {"Host": "evil.example"}).status == 403
    assert ask(server.admin, "GET", "/v1/status", None, {"Host": "localhost:1"}).status == 200
    assert server.version("ctr", 1)["state"] == "AVAILABLE"


def test_history(server: Server) -> None:
    def history() -> dict[str, Any]:
        return ask(server.admin, "GET", "/v1/history").json

    def has_rates() -> bool:
        """Rates are noted a while after the calls; a shadow's calls come later still."""
        versions = history()["versions"].values()
        return len(versions) == 3 and all(any(point[1] > 0 for point in points) for points in versions)

    wait_until(has_rates, "a rate of every version")
    found = history()
    assert set(found["versions"]) == {"ctr/1", "ctr/2", "ctr/3"}
    for points in found["versions"].values():
        times = [point[0] for point in points]
        assert times == sorted(times)
        assert times[-1] <= found["now_s"]
