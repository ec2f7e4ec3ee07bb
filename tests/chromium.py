"""The browser that tests drive: where it is, and a page that is opened in it."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

DESKTOP, PHONE = {"width": 1200, "height": 800}, {"width": 375, "height": 740}
WATCH = "window.fired = 0; for (const f of ['alert', 'confirm', 'prompt']) window[f] = () => { window.fired = 99; };"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MISSING = "no Chromium here: install it (Debian: apt-get install chromium) or set R3LAB_CHROMIUM"


def executable() -> str | None:
    """Its path: the one that R3LAB_CHROMIUM names, else one on the path; None if there is none."""
    return os.environ.get("R3LAB_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


class Opened:
    """A page from disk, offline, with all that went wrong."""

    def __init__(self, chromium: Any, folder: Path, html: str, **options: Any) -> None:
        self.file = folder / "page.html"
        self.file.write_text(html, encoding="utf-8")
        options.setdefault("viewport", DESKTOP)
        self.context = chromium.new_context(offline=True, **options)
        self.page = self.context.new_page()
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.page.add_init_script(WATCH)
        self.page.on("console", lambda m: self.errors.append(m.text) if m.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.errors.append("dialog"), dialog.dismiss()))
        self.page.on("request", lambda r: self.requests.append(r.url) if not r.url.startswith("data:") else None)
        self.page.goto(self.file.as_uri())

    def clean(self) -> None:
        """No error, no request but for the page, nothing ran."""
        assert not self.errors and self.requests == [self.file.as_uri()]
        assert self.page.evaluate("window.fired") == 0
        self.context.close()

    def until(self, condition: str, seconds: float = 60) -> None:
        """Wait until an expression of the page is true. (`wait_for_function` evaluates its text in the page, which the
        page's policy forbids, unless it is true at once.)"""
        end = time.monotonic() + seconds
        while not self.page.evaluate(condition):
            assert time.monotonic() < end, f"still not true after {seconds} s: {condition}"
            self.page.wait_for_timeout(20)

    def visible(self, selector: str) -> list[str]:
        """The `data-from` of the elements that are shown."""
        return [e.get_attribute("data-from") for e in self.page.query_selector_all(selector) if e.is_visible()]

    def moment(self) -> str:
        return str(self.page.text_content(".r3-controls output"))
