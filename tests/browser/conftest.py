"""A headless Chromium that sees this machine alone, and remembers what pages asked for.

Debian's ``chromium`` and ``chromium-driver``; where they are not, browser tests are skipped. Every
page ends as a picture in the folder that ``make test-browser`` prints.
"""

import base64
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("selenium", reason="needs selenium (pip install 'harness[dev]')")

from selenium import webdriver
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

ROOT = Path(__file__).parents[2]
SCREENSHOTS = Path(os.environ.get("HARNESS_SCREENSHOTS", ROOT / "build" / "screenshots"))
PHONE = 390
"""Points that a phone is wide."""
_TALLEST = 16_000
"""Pixels of a picture; Chromium draws nothing below."""
_TEXT = """
const parts = [];
const walk = (node) => {
  if (node.nodeType === Node.TEXT_NODE) { parts.push(node.textContent.trim()); return; }
  if (['STYLE', 'SCRIPT', 'TEMPLATE'].includes(node.nodeName)) return;
  if (node.shadowRoot) walk(node.shadowRoot);
  node.childNodes.forEach(walk);
};
walk(document.body);
return parts.filter(Boolean).join('\\n');
"""
_FIND = """
const found = [];
const walk = (root) => root.querySelectorAll('*').forEach((node) => {
  if (node.matches(arguments[0])) found.push(node);
  if (node.shadowRoot) walk(node.shadowRoot);
});
walk(document);
return found;
"""


class Browser:
    """A browser, and what its pages did."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver
        self._requests: list[str] = []

    def open(self, address: str | Path) -> None:
        """Open an address, or a file from disk."""
        self.driver.get(address.as_uri() if isinstance(address, Path) else address)

    def text(self) -> str:
        """All text of the page, one piece a line, shadow trees included."""
        return str(self.driver.execute_script(_TEXT))

    def find(self, selector: str) -> list[WebElement]:
        """All elements that a CSS selector matches, shadow trees included."""
        found: list[WebElement] = self.driver.execute_script(_FIND, selector)
        return found

    def wait(self, condition: Any, what: str, seconds: float = 60) -> Any:
        """Wait for a condition of the page; fail with what it was."""
        return WebDriverWait(self.driver, seconds).until(lambda _: condition(), what)

    def shoot(self, name: str) -> Path:
        """Save what is seen."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        path = SCREENSHOTS / f"{name}.png"
        self.driver.save_screenshot(str(path))
        return path

    def shoot_whole(self, name: str) -> Path:
        """Save the whole page, also what is below the window, as wide as the window."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        path = SCREENSHOTS / f"{name}.png"
        size = "return [window.innerWidth, document.documentElement.scrollHeight]"
        width, height = self.driver.execute_script(size)
        clip = {"x": 0, "y": 0, "width": width, "height": min(height, _TALLEST), "scale": 1}
        asked = {"clip": clip, "captureBeyondViewport": True}
        found = self.driver.execute_cdp_cmd("Page.captureScreenshot", asked)
        path.write_bytes(base64.b64decode(found["data"]))
        return path

    def be_phone(self) -> None:
        """Show pages as a phone of 390 points does, until the test ends."""
        size = {"width": PHONE, "height": 844, "deviceScaleFactor": 2, "mobile": True}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def run_scripts(self, allowed: bool) -> None:
        """Let the pages opened from now on run scripts, or not."""
        value = {"value": not allowed}
        self.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", value)

    def errors(self) -> list[str]:
        """What the console has complained of since the last call."""
        entries = self.driver.get_log("browser")
        return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]

    def requests(self) -> list[str]:
        """Addresses that pages have asked for so far; none of what is inside the page itself."""
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                self._requests.append(message["params"]["request"]["url"])
        return [url for url in self._requests if not re.match(r"(data|blob|about|chrome):", url)]

    def outside(self, *inside: str) -> list[str]:
        """Requests for anything but addresses that start so."""
        return [url for url in self.requests() if not url.startswith(inside)]


@pytest.fixture(scope="session")
def chromium() -> Iterator[webdriver.Chrome]:
    """One browser for all tests."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.skip("needs chromium and chromedriver (Debian: chromium, chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for argument in (
        "--headless=new",
        "--no-sandbox",  # a container's root has none
        "--disable-dev-shm-usage",
        "--window-size=1500,1100",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        "--disable-background-networking",
        "--no-first-run",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    made = webdriver.Chrome(options, webdriver.ChromeService(driver))
    made.set_page_load_timeout(120)
    yield made
    made.quit()


@pytest.fixture
def browser(chromium: webdriver.Chrome) -> Iterator[Browser]:
    """A browser on an empty page, nothing remembered."""
    chromium.get("about:blank")
    for log in ("browser", "performance"):
        chromium.get_log(log)
    yield Browser(chromium)
    chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
