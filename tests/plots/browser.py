"""A headless Chromium that shows pages from disk. It must be there: Debian's chromium and chromium-driver."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.patience import PATIENCE_S

RIGHT, DOWN, ENTER, ESCAPE, TAB, SPACE = "\ue014", "\ue015", "\ue007", "\ue00c", "\ue004", " "
CANVAS = "document.querySelector('#map-canvas').toDataURL()"
READOUT = "#map-readout"
SWITCHES = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


class Browser:
    """What the tests ask of a browser."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, page: Path, *, width: int = 1280, scheme: str = "light") -> None:
        """Show a page once everything on it is there."""
        self.resize(width)
        media = [("prefers-color-scheme", scheme), ("prefers-reduced-motion", "reduce")]
        features = [{"name": name, "value": value} for name, value in media]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        self.driver.get(page.as_uri())
        self.wait("!document.querySelector('#map-readout')?.textContent.endsWith('…')")

    def resize(self, width: int) -> None:
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def run(self, script: str, *given: Any) -> Any:
        """The value of an expression in the page."""
        return self.driver.execute_script(f"return {script}", *given)

    def wait(self, script: str) -> None:
        """Until an expression is true."""
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.driver, PATIENCE_S, 0.05).until(lambda _: self.run(script))

    def find(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def text(self, selector: str) -> str:
        return str(self.find(selector).text)

    def type(self, *keys: str) -> None:
        """Press keys where the focus is."""
        self.driver.switch_to.active_element.send_keys(*keys)

    def column(self, table: str, number: int) -> list[str]:
        """The texts of a table's column."""
        cells = f"#{table} tbody td:nth-child({number})"
        return [str(text) for text in self.run(f"[...document.querySelectorAll('{cells}')].map((e) => e.textContent)")]

    def heading(self, table: str, text: str) -> int:
        """Which column has this heading, from 1."""
        texts = self.run(f"[...document.querySelectorAll('#{table} th')].map((e) => e.textContent)")
        return int(texts.index(text)) + 1

    def complaints(self) -> list[str]:
        """What the browser's console has said since it was last asked."""
        return [entry["message"] for entry in self.driver.get_log("browser")]


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """A browser with a fresh profile; a test that finds none fails."""
    from selenium.webdriver import Chrome, ChromeOptions, ChromeService

    options = ChromeOptions()
    options.binary_location = shutil.which("chromium") or "/usr/bin/chromium"
    for switch in (*SWITCHES, f"--user-data-dir={profile}"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options=options, service=ChromeService(shutil.which("chromedriver") or "/usr/bin/chromedriver"))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
