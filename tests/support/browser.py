"""Chromium without a screen, as a desktop or a phone."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.server import wait_until

IS_HERE = shutil.which("chromium") is not None and shutil.which("chromedriver") is not None
PATIENCE_S = 60  # the machine may be busy

_CUT_OFF = """(() => {
  const root = document.documentElement, width = root.clientWidth, bad = [];
  if (root.scrollWidth > width) bad.push("the page: " + root.scrollWidth);
  for (const element of document.querySelectorAll("main *, header *")) {
    if (element.closest("svg, [hidden], .bar, thead, .name, .empty, select")) continue;
    const box = element.getBoundingClientRect(), said = element.outerHTML.slice(0, 200);
    const speaks = [...element.childNodes].some(node => node.nodeType === Node.TEXT_NODE && node.data.trim());
    const inline = getComputedStyle(element).display === "inline";
    if (speaks && (box.width === 0 || box.height === 0)) bad.push("not shown: " + said);
    if (box.right > width + 1 || box.left < -1) bad.push("outside: " + said);
    if (!inline && element.clientWidth && element.scrollWidth > element.clientWidth + 1) bad.push("scrolls: " + said);
  }
  return bad;
})()"""


class Browser:
    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def look(self, address: str, *, width: int = 1400, phone: bool = False, dark: bool = False) -> None:
        """Opens the page, and returns when it has drawn what the server said."""
        metrics = {"width": width, "height": 844 if phone else 1000, "deviceScaleFactor": 1, "mobile": phone}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": phone})
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.driver.get(f"http://{address}/")
        self.wait("latest !== null && past !== null", "the page")

    def js(self, script: str) -> Any:
        return self.driver.execute_script(f"return {script}")

    def text(self, selector: str) -> str:
        return str(self.js(f"document.querySelector({json.dumps(selector)}).innerText"))

    def count(self, selector: str) -> int:
        return int(self.js(f"document.querySelectorAll({json.dumps(selector)}).length"))

    def click(self, selector: str) -> None:
        """Where a person's click would go; fails if something covers it."""
        from selenium.webdriver.common.by import By

        element = self.driver.find_element(By.CSS_SELECTOR, selector)
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def type(self, selector: str, text: str) -> None:
        from selenium.webdriver.common.by import By

        element = self.driver.find_element(By.CSS_SELECTOR, selector)
        element.clear()
        element.send_keys(text)

    def wait(self, script: str, what: str) -> Any:
        return wait_until(lambda: self.js(script), f"{what}: {script}", PATIENCE_S)

    def wait_text(self, selector: str, words: str) -> None:
        try:
            wait_until(lambda: words in self.text(selector), f"{words} in {selector}", PATIENCE_S)
        except AssertionError as error:
            raise AssertionError(f"{error}; it has {self.text(selector)}") from None

    def answer(self, path: str, document: Any) -> None:
        """From the next page on, `path` is answered with this, and not by the server."""
        script = (
            "{const real = window.fetch; window.fetch = (path, ...rest) => path.split('?')[0] === %s ? "
            "Promise.resolve(new Response(JSON.stringify(%s))) : real(path, ...rest);}"
        )
        source = script % (json.dumps(path), json.dumps(document))
        self.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": source})

    def tap(self, x: float, y: float) -> None:
        for kind, points in (("touchStart", [{"x": x, "y": y}]), ("touchEnd", [])):
            self.driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    def move(self, x: float, y: float) -> None:
        self.driver.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseMoved", "x": x, "y": y})

    def box(self, selector: str) -> dict[str, float]:
        """Where it stands, scrolled into view."""
        self.js(f"document.querySelector({json.dumps(selector)}).scrollIntoView({{block: 'center'}})")
        return dict(self.js(f"document.querySelector({json.dumps(selector)}).getBoundingClientRect().toJSON()"))

    def errors(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]

    def cut_off(self) -> list[str]:
        """What one has to scroll sideways for, or what is not shown at all."""
        return list(self.js(_CUT_OFF))

    def shot(self, name: str) -> None:
        """Kept where SCREENSHOTS says, for whoever wants to look."""
        folder = os.environ.get("SCREENSHOTS")
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.driver.save_screenshot(f"{folder}/{name}.png")


@contextlib.contextmanager
def open_browser(folder: Path) -> Iterator[Browser]:
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for argument in (
        *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
        *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
        f"--user-data-dir={folder / 'profile'}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(executable_path=str(shutil.which("chromedriver")))
    driver = webdriver.Chrome(options=options, service=service)
    try:
        yield Browser(driver)
    finally:
        driver.quit()
