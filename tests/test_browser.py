"""Views in a real browser, from disk and without a network: they move, they fit, and hostile text runs nothing.

Skipped where there is no Chromium or no Playwright. R3LAB_CHROMIUM names another browser.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from chromium import MISSING, executable
from seen import ATTACK, hostile, hostile_explanation
from test_show import SIZE, SPOT, trajectory
from test_views import CELLS, looks, stream

from r3lab.show import palette
from r3lab.show.player import Entry, play, report
from r3lab.show.ribbon import ribbon
from r3lab.show.rollouts import river
from r3lab.train.river import river_of

pytestmark = pytest.mark.browser
DESKTOP, PHONE = {"width": 1200, "height": 800}, {"width": 375, "height": 740}
WATCH = "window.fired = 0; for (const f of ['alert', 'confirm', 'prompt']) window[f] = () => { window.fired = 99; };"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A browser without a window."""
    playwright = pytest.importorskip("playwright.sync_api", reason="no Playwright: pip install -e '.[test]' brings it")
    path = executable()
    if path is None:
        pytest.skip(MISSING)
    with playwright.sync_playwright() as run:
        browser = run.chromium.launch(executable_path=path, args=["--no-sandbox"], headless=True)
        yield browser
        browser.close()


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

    def visible(self, selector: str) -> list[str]:
        """The `data-from` of the elements that are shown."""
        return [e.get_attribute("data-from") for e in self.page.query_selector_all(selector) if e.is_visible()]

    def moment(self) -> str:
        return str(self.page.text_content(".r3-controls output"))


@pytest.fixture()
def opened(chromium: Any, tmp_path: Path) -> Any:
    """Opens a page."""
    return lambda html, **options: Opened(chromium, tmp_path, html, **options)


# Moving through.


def test_slider_buttons_and_keys_move_the_player(opened: Any) -> None:
    one = opened(report([Entry(looks(3)), Entry(looks(1))]))
    page = one.page
    player_of = "#t1 .r3-player"
    assert one.moment() == "Answer" and one.visible("#t1 g.look") == ["1", "2", "3"]
    page.focus(f"{player_of} input[type=range]")
    for wanted, boxes in (("Look 3", ["1", "2", "3"]), ("Look 2", ["1", "2"]), ("Look 1", ["1"]), ("Overview", [])):
        page.keyboard.press("ArrowLeft")
        assert one.moment() == wanted and one.visible("#t1 g.look") == boxes
        assert one.visible("#t1 .r3-seen figure") == [str(len(boxes))]
        assert one.visible("#t1 .r3-text li") == [str(i) for i in range(len(boxes) + 1)]
    assert page.is_disabled(f"{player_of} [data-go=back]")
    page.click(f"{player_of} [data-go=forward]")
    assert one.moment() == "Look 1"
    page.keyboard.press("End")
    assert one.moment() == "Answer" and page.is_visible("#t1 .r3-answer")
    page.click(f"{player_of} [data-go=start]")
    assert one.moment() == "Overview" and not page.is_visible("#t1 .r3-answer")
    assert page.text_content("#t2 .r3-controls output") == "Answer"  # the other one did not move
    page.fill(f"{player_of} input[type=range]", "2")
    assert one.moment() == "Look 2"
    one.clean()


def test_keys_move_the_player_in_view_before_anything_has_the_focus(opened: Any) -> None:
    one = opened(report([Entry(looks(1)), Entry(looks(2))]))
    one.page.evaluate("document.querySelector('#t2 .r3-player').scrollIntoView({block: 'center'})")
    one.page.keyboard.press("ArrowLeft")
    assert one.page.text_content("#t2 .r3-controls output") == "Look 2" and one.moment() == "Answer"
    one.clean()


def test_a_region_stands_where_it_lies_and_older_ones_fade(opened: Any) -> None:
    one = opened(
        play(trajectory("a", (10.0, 20.0, 60.0, 70.0), "b", SPOT, "c", (300.0, 50.0, 400.0, 90.0), "d")).to_page()
    )
    photo = one.page.query_selector(".r3-photo svg").bounding_box()
    scale = photo["width"] / SIZE[0]
    assert photo["height"] / SIZE[1] == pytest.approx(scale, rel=0.01)
    box = one.page.query_selector("g.look[data-from='2'] .edge rect:nth-child(2)").bounding_box()
    found = [(box["x"] - photo["x"]) / scale, (box["y"] - photo["y"]) / scale]
    found += [found[0] + box["width"] / scale, found[1] + box["height"] / scale]
    assert found == pytest.approx(SPOT, abs=4)  # the line has a width
    faint = "document.querySelector(`g.look[data-from='${n}'] .edge`)"
    opacity = [one.page.evaluate(f"(n) => Number(getComputedStyle({faint}).opacity)", n) for n in (1, 2, 3)]
    assert opacity[0] < opacity[1] < opacity[2] == 1
    # Pixels: the red block of the photograph is red on the screen, that of the overview too.
    for switched in (False, True):
        if switched:
            one.page.check("[data-switch=saw]")
        x, y = photo["x"] + scale * (SPOT[0] + SPOT[2]) / 2, photo["y"] + scale * (SPOT[3] - 10)  # below the path
        shot = one.page.screenshot(clip={"x": x - 2, "y": y - 2, "width": 4, "height": 4})
        assert colour(shot) == pytest.approx((255, 0, 0), abs=8)
    one.clean()


def colour(png: bytes) -> tuple[float, ...]:
    """Mean colour of a picture."""
    import io

    import numpy as np
    from PIL import Image

    with Image.open(io.BytesIO(png)) as image:
        return tuple(np.asarray(image.convert("RGB"), dtype=float).mean((0, 1)))


def test_attention_darkens_what_was_not_read(opened: Any) -> None:
    one = opened(play(looks(1), [None, CELLS]).to_page())
    one.page.press(".r3-player", "ArrowLeft")
    photo = one.page.query_selector(".r3-photo svg").bounding_box()
    corner = {"x": photo["x"] + photo["width"] - 14, "y": photo["y"] + photo["height"] - 14, "width": 8, "height": 8}
    middle = {**corner, "x": photo["x"] + photo["width"] * 0.6, "y": photo["y"] + 12}
    before = [sum(colour(one.page.screenshot(clip=clip))) for clip in (corner, middle)]
    one.page.check("[data-switch=attend]")
    after = [sum(colour(one.page.screenshot(clip=clip))) for clip in (corner, middle)]
    assert after[0] == pytest.approx(before[0], rel=0.02) and after[1] < 0.6 * before[1]
    one.page.keyboard.press("ArrowLeft")  # the overview has no map
    assert sum(colour(one.page.screenshot(clip=middle))) == pytest.approx(before[1], rel=0.02)
    one.clean()


def test_the_river_moves_over_its_steps(opened: Any) -> None:
    one = opened(river(river_of(stream())).to_page())
    assert one.moment() == "Step 30" and set(one.visible(".r3-river svg g.only")) == {"3"}
    one.page.press(".r3-player", "Home")
    assert (
        one.moment() == "Step 0" and len(one.visible(".r3-river svg g.only")) == 2
    )  # the first sample has no look yet
    assert set(one.visible(".r3-said span.only")) == {"0"} and "0%" in one.page.inner_text(".r3-lines")
    one.clean()


def test_tokens_tell_their_numbers_and_change_their_colours(opened: Any) -> None:
    t = looks(1)
    t.advantage = 0.5
    one = opened(ribbon(t).to_page())
    token = one.page.query_selector_all(".r3-tokens i")[t.sampled_mask.index(True)]
    token.hover()
    assert "log-probability -0.5; entropy 0.1; advantage 0.5" in one.page.inner_text(".r3-readout")
    background = "e => getComputedStyle(e).backgroundColor"
    seen = {token.evaluate(background)}
    for label in ("entropy", "advantage"):
        one.page.check(f"text={label}")
        seen.add(token.evaluate(background))
    assert len(seen) == 3 and one.page.locator(".r3-scale [data-measure]:visible").count() == 1
    one.page.focus(".r3-tokens")
    one.page.keyboard.press("ArrowRight")
    one.page.keyboard.press("ArrowLeft")
    assert one.page.inner_text(".r3-readout").startswith(f"token {t.sampled_mask.index(True)},")
    one.clean()


def test_four_thousand_tokens_stay_fluid(opened: Any) -> None:
    t = looks(1)
    for name in ("ids", "kinds", "pieces", "logprobs", "entropies"):
        own = getattr(t, name)
        own += [own[t.kinds.index(2)]] * (4000 - len(own))
    one = opened(ribbon(t).to_page())
    spent = one.page.evaluate(
        "() => { const all = [...document.querySelectorAll('.r3-measures input')]; const start = performance.now();"
        " for (const one of all) { one.click(); document.querySelector('.r3-tokens').offsetHeight; }"
        " return (performance.now() - start) / all.length; }"
    )
    assert spent < 1000, f"{spent:.0f} ms a change of colour"
    one.clean()


# Nothing runs, nothing is fetched, everything fits.


def test_hostile_text_runs_nothing(opened: Any) -> None:
    """Escaping holds by itself: the page's policy is taken away."""
    t = hostile(ATTACK)
    asked = {n: row for n, row in stream(2, 2).items()}
    for row in asked.values():
        for one in row:
            one.question = one.answer = ATTACK
    pages = [report([Entry(t, hostile_explanation(ATTACK), ATTACK)], ATTACK), ribbon(t).to_page()]
    pages += [river(river_of(asked)).to_page()]
    for html in pages:
        one = opened(html.replace("Content-Security-Policy", "no-policy", 1))
        for key in ("Home", "ArrowRight", "ArrowRight", "End"):
            one.page.keyboard.press(key)
        for summary in one.page.query_selector_all("summary"):
            summary.click()
        for token in one.page.query_selector_all(".r3-tokens i")[:8]:
            token.hover()
        one.page.wait_for_timeout(100)
        assert "onerror='window.fired=2'" in one.page.inner_text("body") or "onerror='window" in one.page.content()
        assert not one.page.query_selector_all("main img, main script, main iframe, main [onerror], main [onload]")
        one.clean()


def test_the_policy_of_a_page_stops_what_escaping_would_miss(opened: Any) -> None:
    html = report([Entry(looks(1))]).replace(
        "</main>", "<img src=x onerror='window.fired=1'><script>window.fired=2</script></main>"
    )
    one = opened(html)
    assert one.page.evaluate("window.fired") == 0 and any("Content Security Policy" in e for e in one.errors)
    one.context.close()


@pytest.mark.parametrize("width", [320, 768])
def test_pages_fit_their_width(width: int, opened: Any) -> None:
    t = hostile("W" * 3000)
    many = trajectory(*[p for i in range(16) for p in (f"text {i} " * 9, (9.0 + i, 9.0, 99.0 + i, 80.0))])
    for html in (report([Entry(t), Entry(many)]), ribbon(t).to_page(), river(river_of(stream())).to_page()):
        one = opened(html, viewport={"width": width, "height": 700})
        assert one.page.evaluate("document.documentElement.scrollWidth") <= width
        for button in one.page.query_selector_all(".r3-controls button"):
            box = button.bounding_box()
            assert box["height"] >= 30 and box["x"] >= 0 and box["x"] + box["width"] <= width
        one.clean()


def test_a_page_follows_the_readers_dark_mode(opened: Any) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    for scheme, chosen in (("light", palette.LIGHT), ("dark", palette.DARK)):
        one = opened(report([Entry(looks(1))]), color_scheme=scheme)
        wanted = "rgb({}, {}, {})".format(*(int(chosen.paper[i : i + 2], 16) for i in (1, 3, 5)))
        assert one.page.evaluate(background) == wanted
        one.clean()


def test_without_script_and_in_print_every_moment_stands_on_the_page(opened: Any) -> None:
    html = report([Entry(looks(3))])
    still = opened(html, java_script_enabled=False)
    printed = opened(html)
    printed.page.keyboard.press("Home")
    printed.page.emulate_media(media="print")
    for one in (still, printed):
        assert one.visible(".r3-seen figure") == ["0", "1", "2", "3"] and one.visible("g.look") == ["1", "2", "3"]
        assert one.visible(".r3-text li")[-1] == "4" and not one.page.is_visible(".r3-controls")
    still.context.close()
    printed.clean()
    flow = opened(river(river_of(stream())).to_page(), java_script_enabled=False)
    assert set(flow.visible(".r3-river svg g.only")) == {"3"}
    flow.context.close()


# Notebooks, and Plotly.


def executed(outputs: list[dict[str, str]]) -> str:
    """A notebook whose cells showed these bundles, exported as the course exports them."""
    from nbconvert import HTMLExporter

    cells = [
        nbformat.v4.new_code_cell("x", outputs=[nbformat.v4.new_output("execute_result", data=dict(one), metadata={})])
        for one in outputs
    ]
    return str(HTMLExporter(template_name="lab").from_notebook_node(nbformat.v4.new_notebook(cells=cells))[0])


def test_an_exported_notebook_moves_offline_and_has_its_pictures_without_script(opened: Any) -> None:
    html = executed([play(looks(2))._repr_mimebundle_(), play(hostile(ATTACK))._repr_mimebundle_()])
    one = opened(html)
    assert one.page.locator(".r3-player").count() == 2 and one.moment() == "Answer"
    one.page.click(".r3-player [data-go=back]")
    assert one.moment() == "Look 2" and one.page.evaluate("window.fired") == 0
    assert not [e for e in one.errors if "r3" in e]
    one.context.close()
    still = opened(html, java_script_enabled=False)
    pictures = still.page.query_selector_all(".r3 > img")
    assert len(pictures) == 2 and "Look 2: region" in pictures[0].get_attribute("alt")
    assert pictures[0].evaluate("e => e.naturalWidth") > 900 and pictures[0].is_visible()
    still.context.close()
