"""Every view in a real JupyterLab with a kernel: drawn, moved, played, and nothing of ours on the console.

One Lab is started on loopback, with folders, settings and a token of its own, and Chromium resolves no other host. What
a bare Lab writes to the console is measured with an empty notebook, and only that is forgiven. Skipped where there is
no Chromium or no Playwright.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import pytest
from chromium import MISSING, executable

from r3lab.core.geometry import crop_size
from r3lab.vlir.sample import Sample
from r3lab.vlir.worlds import get_world

pytestmark = [pytest.mark.browser, pytest.mark.notebook, pytest.mark.slow]
ROOT = Path(__file__).resolve().parent.parent
LIMIT = 300  # seconds that anything may take on a machine that is busy
SETTINGS = {
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},  # cells out of sight stay on the page
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
}
PICKED = (False, True)  # whether the samples of the game need a look, in order
CELLS = """
from r3lab.core.files import assets_dir
from r3lab.models.policy import Policy
from r3lab.show.browser import browse
from r3lab.show.dashboard import dashboard
from r3lab.show.explanation import attention_maps, show_explanation
from r3lab.show.filmstrip import filmstrip
from r3lab.show.play import be_the_policy
from r3lab.show.player import play
from r3lab.show.gallery import load_records
from r3lab.show.ribbon import ribbon
from r3lab.show.rollouts import group_view, river
from r3lab.show.explanation import draw_value
from r3lab.vlir.worlds import get_world
found = load_records()
one, value = found.explained, found.value
---
filmstrip(one)
---
play(one, attention_maps(found.explanation))
---
group_view(found.group)
---
river(found.river)
---
ribbon(one, {"attention received": found.tokens.attention})
---
spot = (one, value.look, value.values, value.best, value.regret)
draw_value(*spot)
---
show_explanation(found.explanation)
---
browse(found.trajectories)
---
dashboard(assets_dir() / "tiny" / "logs" / "rgrpo-0.jsonl")
---
picked = [get_world("badges").sample("test", i) for i in NUMBERS]
be_the_policy(Policy.load(assets_dir() / "tiny" / "rgrpo"), picked, turns=2)
"""

GAME = CELLS.count("---")  # number of the last cell


def picked() -> dict[int, Sample]:
    """Number and sample: the first that needs no look, the first that needs one."""
    world = get_world("badges")
    found: dict[int, Sample] = {}
    for needed in PICKED:
        number = next(n for n in range(100) if n not in found and world.sample("test", n).needs_look is needed)
        found[number] = world.sample("test", number)
    return found


@dataclass
class Lab:
    """A page of a running JupyterLab, with all that it wrote to the console."""

    page: Any
    url: str
    token: str
    console: list[str] = field(default_factory=list)
    bare: set[str] = field(default_factory=set)  # of an empty notebook
    hosts: set[str] = field(default_factory=set)

    def open(self, name: str) -> None:
        """Open a notebook and wait for its kernel."""
        self.page.goto(f"{self.url}lab/tree/{name}?token={self.token}&reset", timeout=LIMIT * 1000)
        panel = "window.jupyterapp?.shell.currentWidget"
        ready = f"{panel}?.sessionContext?.isReady && {panel}.sessionContext.session?.kernel?.status === 'idle'"
        self.page.wait_for_selector(".jp-NotebookPanel .jp-Cell", timeout=LIMIT * 1000)
        self.page.wait_for_function(ready, timeout=LIMIT * 1000)

    def run(self) -> None:
        """Start all cells."""
        self.page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")

    def cell(self, number: int) -> Any:
        """Outputs of a cell, from 0."""
        return self.page.locator(".jp-NotebookPanel .jp-CodeCell").nth(number).locator(".jp-OutputArea-output")


def plain(message: str) -> str:
    """A console message without what differs from page to page, and from one slow start of Lab's plugins to another."""
    if re.match(r"Plugin \S+ .*(taking too long to activate|ms to activate)", message):
        return "a plugin was slow"
    return re.sub(r"[0-9a-f]{8,}|\d+|https?://\S+", "_", message)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Address and token of a JupyterLab with nothing of this machine's settings."""
    pytest.importorskip("playwright.sync_api", reason="no Playwright: pip install -e '.[test]' brings it")
    if executable() is None:
        pytest.skip(MISSING)
    root = tmp_path_factory.mktemp("lab")
    work = root / "work"
    for name in ("work", "config", "data", "runtime", "ipython", "settings", "workspaces", "user"):
        (root / name).mkdir()
    (root / "settings" / "overrides.json").write_text(json.dumps(SETTINGS))
    numbers = list(picked())
    cells = [part.strip().replace("NUMBERS", str(numbers)) for part in CELLS.split("---")]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    for name, sources in (("views", cells), ("empty", ["1"])):
        nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(s) for s in sources], metadata=kernel)
        nbformat.write(nb, work / f"{name}.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token, url = secrets.token_hex(16), f"http://127.0.0.1:{port}/"
    env = {**os.environ, "PYTHONPATH": str(ROOT), "JUPYTER_NO_CONFIG": "1", "JUPYTER_PLATFORM_DIRS": "0"}
    for name in ("config", "data", "runtime"):
        env[f"JUPYTER_{name.upper()}_DIR"] = str(root / name)
    env["IPYTHONDIR"] = str(root / "ipython")
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--expose-app-in-browser"]
    command += [f"--IdentityProvider.token={token}", "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}"]
    command += ["--ServerApp.port_retries=0", f"--ServerApp.root_dir={work}", "--LabApp.extension_manager=readonly"]
    command += [f"--LabApp.{name}_dir={root / folder}" for name, folder in
                (("app_settings", "settings"), ("workspaces", "workspaces"), ("user_settings", "user"))]  # fmt: skip
    with open(root / "server.log", "wb") as log:
        running = subprocess.Popen(command, cwd=work, env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + LIMIT
        while not answers(f"{url}api/status?token={token}"):
            ended = running.poll() is not None
            if ended or time.monotonic() > deadline:
                pytest.fail(f"JupyterLab did not start:\n{(root / 'server.log').read_text(errors='replace')[-3000:]}")
            time.sleep(0.1)
        yield url, token
    finally:
        running.send_signal(signal.SIGTERM)
        try:
            running.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()


def answers(url: str) -> bool:
    """Whether a server answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


@pytest.fixture(scope="module")
def lab(server: tuple[str, str]) -> Iterator[Lab]:
    """The notebook with every view, run to its end."""
    from playwright.sync_api import sync_playwright

    alone = "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"
    with sync_playwright() as run:
        browser = run.chromium.launch(executable_path=executable(), args=["--no-sandbox", alone], headless=True)
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(LIMIT * 1000)
        one = Lab(page, *server)
        page.on("console", lambda m: one.console.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: one.console.append(str(error)))
        page.on("request", lambda r: one.hosts.add(r.url.split("/")[2]) if r.url.startswith("http") else None)
        one.open("empty.ipynb")
        one.bare = {plain(text) for text in one.console}
        one.console.clear()
        one.open("views.ipynb")
        one.run()
        one.cell(GAME).locator(".r3-board svg").wait_for()
        yield one
        browser.close()


def test_every_view_is_drawn_with_words(lab: Lab) -> None:
    for number, alt in ((1, "Question:"), (3, "rollouts"), (6, "Value map"), (7, "")):
        image = lab.cell(number).locator("img").first
        assert alt in image.get_attribute("alt") and len(image.get_attribute("alt")) > 100
        assert image.evaluate("e => e.naturalWidth") > 500 and image.bounding_box()["width"] > 300
    for number, part in ((2, ".r3-player.r3-on"), (4, ".r3-player.r3-on .r3-river"), (5, ".r3-ribbon.r3-on")):
        assert lab.cell(number).locator(part).count() == 1
    assert lab.page.locator(".jp-NotebookPanel [data-mime-type='application/vnd.jupyter.error']").count() == 0


def test_the_players_slider_moves_it(lab: Lab) -> None:
    player = lab.cell(2).locator(".r3-player")
    said, slider = player.locator(".r3-controls output"), player.locator("input[type=range]")
    assert said.inner_text() == "Answer"
    rail = slider.bounding_box()
    slider.scroll_into_view_if_needed()
    rail = slider.bounding_box()
    lab.page.mouse.click(rail["x"] + 4, rail["y"] + rail["height"] / 2)
    assert said.inner_text() == "Overview" and player.locator("g.look:visible").count() == 0
    slider.press("ArrowRight")
    assert said.inner_text() == "Look 1" and player.locator("g.look:visible").count() == 1
    assert player.locator(".r3-seen figure:visible").count() == 1


def test_a_click_in_the_browser_plays_a_record_and_filters_keep_what_they_say(lab: Lab) -> None:
    browser = lab.cell(8).locator(".r3-browser.r3-on")
    rows = browser.locator("tbody tr[data-row]")
    count = rows.count()
    assert count >= 3
    rows.first.locator(".r3-open").click()
    record = lab.page.locator(".r3-player.r3-on:visible").last
    record.locator("input[type=range]").press("Home")
    assert record.locator(".r3-controls output").inner_text() == "Overview"
    lab.page.keyboard.press("Escape")
    assert rows.count() == count and rows.first.is_visible()


def test_the_dashboard_is_a_picture_with_its_words(lab: Lab) -> None:
    image = lab.cell(9).locator("img:visible").first
    image.scroll_into_view_if_needed()
    assert image.get_attribute("alt").startswith("Training of 1 run") and image.bounding_box()["width"] > 500


def test_a_person_is_the_policy(lab: Lab) -> None:
    samples = {sample.question: sample for sample in picked().values()}
    game, page = lab.cell(GAME).locator(".r3-game"), lab.page
    board, note = game.locator(".r3-board"), game.locator("[role=status]")
    game.scroll_into_view_if_needed()
    assert page.locator("[id^=r3-play-]:visible").count() == 0  # the picture for pages without a kernel

    # No look needed.
    sample = samples[game.locator(".r3-title").first.inner_text().strip()]
    assert game.locator(".r3-bar").inner_text().startswith("Sample 1 of 2")
    assert game.locator(".r3-box").count() == 0 and game.get_by_text("Take this look").is_disabled()
    game.get_by_text("No look needed").click()
    game.locator(".r3-wrote").wait_for()
    assert "You said that no look is needed." in note.inner_text()
    assert game.locator(".r3-found img").count() == 0 and sample.answer
    at(game, "truth", sample.regions[-1], sample.image.size)
    game.locator(".r3-map img").wait_for()  # the value map is measured
    assert game.locator(".r3-board .r3-box-best").count() == 1 and "Best window" in game.locator("table").inner_text()
    board.press("Enter")

    # A box that is too small is refused, with words; one that is drawn brings a crop and an answer.
    game.get_by_text("Sample 2 of 2").wait_for()
    game.get_by_text("No look needed").wait_for()
    sample = samples[game.locator(".r3-title").first.inner_text().strip()]
    size, region = sample.image.size, sample.regions[-1]
    game.scroll_into_view_if_needed()
    drag(page, board, size, (100, 100, 102, 102))
    board.press("Enter")
    game.locator(".r3-refused").wait_for()
    assert "at least" in note.inner_text() and game.locator(".r3-wrote").count() == 0
    drawn = (region[0] - 6, region[1] - 5, region[2] + 4, region[3] + 7)
    drag(page, board, size, drawn)
    at(game, "you", drawn, size)
    before = box_of(game, "you", size)
    for key, moved in (("ArrowRight", (8, 0, 8, 0)), ("ArrowUp", (0, -8, 0, -8)), ("Shift+ArrowDown", (0, 0, 0, 8))):
        board.press(key)
        after = box_of(game, "you", size)
        assert after == pytest.approx([a + b for a, b in zip(before, moved, strict=True)], abs=0.1), key
        before = after
    board.press("Enter")
    game.locator(".r3-wrote").wait_for()
    crop = game.locator(".r3-found img")
    crop.wait_for()
    zoom, wanted = crop_size(tuple(before), size, 16, 4, 64)
    natural = crop.evaluate("e => [e.naturalWidth, e.naturalHeight]")
    assert f"{natural[0]} by {natural[1]} pixels" in game.locator(".r3-found figcaption").inner_text()
    assert natural[0] / natural[1] == pytest.approx(wanted[0] / wanted[1], rel=0.3) and zoom == 2
    assert game.locator(".r3-wrote").inner_text().strip()
    row = game.locator("tr.r3-you td").all_inner_texts()
    assert row[0] == "You" and re.fullmatch(r"look, IoU 0\.\d\d", row[1]) and re.fullmatch(r"-?\d+\.\d\d", row[3])
    at(game, "you", before, size)
    at(game, "truth", region, size)

    # The table at the end.
    end = game.locator(".r3-end")
    assert end.locator("tbody tr").count() == 2 and "You" in end.inner_text()
    for question in samples:
        assert question in end.inner_text()
    game.locator(".r3-map img").wait_for()
    assert lab.page.locator("[id^=r3-play-] table").count() == 1  # what stays when the kernel is gone


def drag(page: Any, board: Any, size: tuple[int, int], box: Any) -> None:
    """Draw a box with the mouse, source pixels."""
    frame = board.locator("svg").bounding_box()
    scale = frame["width"] / size[0]
    places = [(frame["x"] + x * scale, frame["y"] + y * scale) for x, y in (box[:2], box[2:])]
    page.mouse.move(*places[0])
    page.mouse.down()
    page.mouse.move(*places[1], steps=4)
    page.mouse.up()


def box_of(game: Any, name: str, size: tuple[int, int]) -> list[float]:
    """Where a box stands on the picture, source pixels, by its element."""
    line = game.locator(f".r3-board .r3-box-{name} rect").first
    x, y, w, h = (float(line.get_attribute(key)) for key in ("x", "y", "width", "height"))
    return [x, y, x + w, y + h]


def at(game: Any, name: str, box: Any, size: tuple[int, int]) -> None:
    """A box stands where it should, on the screen too."""
    assert box_of(game, name, size) == pytest.approx(list(box), abs=2.5)
    frame = game.locator(".r3-board svg").bounding_box()
    seen = game.locator(f".r3-board .r3-box-{name} rect").nth(1).bounding_box()
    scale = frame["width"] / size[0]
    corner = [(seen["x"] - frame["x"]) / scale, (seen["y"] - frame["y"]) / scale]
    assert corner == pytest.approx(list(box[:2]), abs=6)  # the line has a width


def test_nothing_of_ours_is_on_the_console_and_nothing_left_loopback(lab: Lab) -> None:
    forgiven = lab.bare | {"a plugin was slow"}  # on a busy machine
    ours = [text for text in lab.console if plain(text) not in forgiven]
    assert ours == []
    assert {host.split(":")[0] for host in lab.hosts} == {"127.0.0.1"}
