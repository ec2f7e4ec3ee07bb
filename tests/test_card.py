"""A card's numbers are right, its drawing and its tables show them, and foreign text on it does nothing."""

from __future__ import annotations

import html
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from nbconvert.filters import markdown2html
from PIL import Image

from r3lab.core.geometry import Box
from r3lab.show.card import MARK, card_page, draw_card, facts, looks_counted, percent
from r3lab.show.text import escape, one_line, table
from r3lab.vlir.card import CELLS, OTHER, SOURCES, Card, measure, quantiles
from r3lab.vlir.sample import Rationale, Sample

HOSTILE = {
    "markup": "<script>alert(1)</script><img src=x onerror=alert(1)> --> ]]>",
    "link": "[x](javascript:alert(1)) <javascript:alert(1)> ![y](http://evil.example/z.png)",
    "bare link": "http://evil.example www.evil.example a@evil.example #12 @someone",
    "table": "a | b\n| --- | --- |\n| c | d |",
    "blocks": "\n\n# head\n\n```\ncode\n```\n\n---\n\n1. one\n\n> said",
    "entity": "&lt;b&gt; &#60;i&#62; &copy; \\<u\\> \\| \\",
    "math": "$x$ $$\\frac{1}{0}$$ `code` **b** __b__ ~~s~~ <b",
    "ansi": "\x1b[31mred\x1b[0m \x1b]0;title\x07 \u202eevil\u202c",
    "scripts": "\u4e2d\u6587 \u0e44\u0e17\u0e22 e" + "\u0301" * 400,
    "megabyte": "A<" * 500_000,
}


def pairs(count: int = 30, seed: int = 0) -> list[tuple[Sample, Rationale]]:
    """Samples of three sources with random boxes, some beyond the border by a pixel, and random words."""
    rng, found = np.random.default_rng(seed), []
    images = [Image.new("RGB", (120 + 40 * k, 90), (40 * k, 0, 0)) for k in range(4)]
    for i in range(count):
        image = images[int(rng.integers(4))]
        parts: list[str | Box] = ["<think>" + "word " * int(rng.integers(1, 30))]
        for _ in range(int(rng.integers(0, 4))):
            x, y, w, h = rng.uniform((0, 0, 4, 4), (80, 60, 40, 30.5))
            parts += [(float(x), float(y), float(x + w), float(y + h)), "It shows 7."]
        parts.append("</think><answer>7</answer>")
        needs = (True, False, None)[int(rng.integers(3))]
        sample = Sample(f"s-{i}", image, "?", "7", (), needs, "abc"[int(rng.integers(3))], "train")
        found.append((sample, Rationale(tuple(parts))))
    return found


PAIRS = pairs()
CARD = measure(iter(PAIRS))


def test_the_numbers_are_those_of_the_samples() -> None:
    """Against a count by hand; the samples are given as an iterator, so that one pass must do."""
    boxes = [(b, s.image.size) for s, r in PAIRS for b in r.boxes]
    assert (CARD.samples, CARD.looks, CARD.images) == (
        30,
        len(boxes),
        len({s.image.getpixel((0, 0)) for s, _ in PAIRS}),
    )
    assert CARD.whole.looks == Counter(len(r.boxes) for _, r in PAIRS)
    sizes = [(b[2] - b[0]) * (min(b[3], h) - b[1]) / (w * h) for b, (w, h) in boxes]
    assert np.allclose(CARD.whole.sizes, sizes)
    assert CARD.needs == Counter(s.needs_look for s, _ in PAIRS)
    assert {name: part.samples for name, part in CARD.sources.items()} == Counter(s.world for s, _ in PAIRS)
    assert sum(len(part.sizes) for part in CARD.sources.values()) == len(boxes)
    said = [
        len(
            re.findall(
                r"\w+", " ".join(p for p in r.parts if isinstance(p, str)).replace("think", "").replace("answer", "")
            )
        )
        for _, r in PAIRS
    ]
    assert CARD.whole.words == Counter(said)
    assert quantiles(CARD.whole.words, (0.5,))[0] == sorted(said)[14]


def test_the_heat_map_is_where_the_boxes_are() -> None:
    """Its mean is the mean size of a look; and it equals what painting the boxes finely gives."""
    shares = CARD.heat_shares()
    assert shares.shape == (CELLS, CELLS) and shares.mean() == pytest.approx(np.mean(CARD.whole.sizes))
    fine = np.zeros((960, 960))
    middle = (np.arange(960) + 0.5) / 960
    for sample, rationale in PAIRS:
        w, h = sample.image.size
        for x1, y1, x2, y2 in rationale.boxes:
            fine += np.outer((middle * h > y1) & (middle * h < y2), (middle * w > x1) & (middle * w < x2))
    painted = fine.reshape(CELLS, 30, CELLS, 30).mean(axis=(1, 3)) / CARD.looks
    assert np.abs(shares - painted).max() < 0.02
    assert CARD.heat_shares(4).shape == (4, 4) and CARD.heat_shares(4).mean() == pytest.approx(shares.mean())
    corner = measure([(PAIRS[0][0], Rationale(("a", (0.0, 0.0, 10.0, 9.0), "b")))])
    assert corner.heat_shares()[0, 0] == 1 and corner.heat_shares()[-1].max() == 0


def test_sources_are_told_apart_up_to_a_bound() -> None:
    card, rationale, image = Card(), PAIRS[0][1], Image.new("RGB", (8, 8))
    for i in range(SOURCES + 50):
        card.add(Sample("s", image, "?", "7", (), None, f"source {i}", f"split {i}"), rationale)
    assert len(card.sources) == SOURCES + 1 and card.sources[OTHER].samples == 50
    assert len(card.splits) <= SOURCES + 1 and sum(card.splits.values()) == SOURCES + 50


@pytest.mark.parametrize(
    ("share", "words"),
    [(0, "0 %"), (0.00062, "0.062 %"), (0.0171, "1.7 %"), (0.0996, "10 %"), (0.434, "43 %"), (1, "100 %")],
)
def test_shares_have_two_digits_that_mean_something(share: float, words: str) -> None:
    assert percent(share) == words


def written(figure: Figure) -> list[str]:
    """Every text in a figure."""
    return [t.get_text() for t in figure.findobj(Text) if t.get_text()]


def test_the_drawing_shows_the_numbers(tmp_path: Path) -> None:
    """Bars are as long as their counts; figures stand as text; the file carries the alt text."""
    drawn = draw_card(CARD, "a set")
    figure, alt = drawn.figure, drawn.alt
    [looks], [sources] = ([a for a in figure.axes if a.get_gid() == gid] for gid in ("looks", "sources"))
    assert [round(p.get_height()) for p in looks.patches] == [count for _, count in looks_counted(CARD)]
    by_size = sorted((part.samples for part in CARD.sources.values()), reverse=True)
    assert [round(p.get_width()) for p in sources.patches] == by_size
    for gid in ("sizes", "words"):
        [axes] = [a for a in figure.axes if a.get_gid() == gid]
        assert sum(round(p.get_height()) for p in axes.patches) == (CARD.looks if gid == "sizes" else CARD.samples)
    [heat] = [a for a in figure.axes if a.get_gid() == "heat"]
    assert np.array_equal(heat.images[0].get_array(), CARD.heat_shares())
    assert {"a set", *(value for _, value in facts(CARD))} <= set(written(figure))
    with Image.open(drawn.save(tmp_path / "card.png")) as image:
        assert image.info["Description"] == alt and image.width > 900
    assert f"samples: {CARD.samples}" in alt and f"looks: {CARD.looks}" in alt


def test_nothing_one_and_a_long_tail_can_be_drawn(tmp_path: Path) -> None:
    """No sample, samples without a look, one sample, one endless rationale among many: text stays on the sheet."""
    sample, bare = PAIRS[0][0], Rationale(("<think>a b</think><answer>7</answer>",))
    endless = Rationale(("word " * 50_000,))
    many = [
        (Sample("s", sample.image, "?", "7", (), None, f"a rather long name of a source, number {i}"), bare)
        for i in range(40)
    ]
    for i, some in enumerate(([], [(sample, bare)], PAIRS[:1], [*PAIRS, *many, (sample, endless)])):
        card = measure(some)
        drawn = draw_card(card, "t" * 300)
        drawn.save(tmp_path / f"{i}.png", dpi=40)
        figure = drawn.figure
        for text in figure.findobj(Text):
            if text.get_text() and text.get_visible():
                box = text.get_window_extent()
                assert box.x0 > -5 and box.x1 < figure.bbox.width + 5, text.get_text()
        assert card_page(card).startswith(MARK) and len(card_page(card)) < 10_000


class Page(HTMLParser):
    """Tags with their attributes, and the text of every cell."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.cells: list[str] = []
        self._open = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("td", "h1"):
            self.cells.append("")
        self._open = tag in ("td", "h1")

    def handle_endtag(self, tag: str) -> None:
        self._open = self._open and tag not in ("td", "h1")

    def handle_data(self, data: str) -> None:
        if self._open:
            self.cells[-1] += data


@pytest.mark.parametrize("case", HOSTILE)
def test_foreign_text_on_the_page_is_text(case: str) -> None:
    """Rendered with raw HTML allowed: only our own tags, one picture, no link, each name letter for letter."""
    name, (sample, rationale) = HOSTILE[case], PAIRS[1]
    card = measure([(Sample(name, sample.image, name, name, (), None, name, name), rationale)] * 2)
    text = card_page(card, name)
    page = Page(markdown2html(text))
    allowed = {"h1", "h2", "p", "img", "code", "table", "thead", "tbody", "tr", "th", "td"}
    tags = {tag for tag, _ in page.tags}
    links = [a["href"] for tag, a in page.tags if tag == "a"]
    assert tags <= allowed | {"a"} and all(href.startswith("#") for href in links)  # anchors of our own headings
    assert [a["src"] for tag, a in page.tags if tag == "img"] == ["card.png"]
    assert not any(
        key.startswith("on") or key == "style" and tag not in ("td", "th") for tag, a in page.tags for key in a
    )
    assert [c for c in page.cells if c == one_line(name, 60)], page.cells[:3]
    assert sum(tag == "tr" for tag, _ in page.tags) == sum(line.startswith("| ") for line in text.splitlines()) - 5
    assert all(part.isprintable() for part in text.splitlines()) and len(text) < 20_000
    drawn = draw_card(card, name)
    for one in written(drawn.figure):
        assert all(c.isprintable() or c == "\n" for c in one)
    assert drawn.alt.isprintable()


def test_escaping_is_undone_by_reading_and_leaves_plain_words_plain() -> None:
    for plain in ("badges", "0.68 % (0.21 % to 2.0 %)", "samples: 240.", "a-b, c; d's", "\u4e2d\u6587"):
        assert escape(plain) == plain
    for text in HOSTILE.values():
        assert html.unescape(escape(text, 500)) == one_line(text, 500)
    assert table(("a", "n"), [("x|y", 12), ("z", 3)]).splitlines() == [
        "| a | n |",
        "| --- | ---: |",
        "| x&#124;y | 12 |",
        "| z | 3 |",
    ]


def test_the_tables_hold_what_is_drawn() -> None:
    """Samples by source and looks, in the page as in the numbers."""
    cells = Page(markdown2html(card_page(CARD, "a set"))).cells
    rows = "\n".join(cells)
    for name, part in CARD.sources.items():
        assert f"{name}\n{part.samples}\n{len(part.sizes) / part.samples:.2f}" in rows
    for number, count in looks_counted(CARD):
        assert f"{number}\n{count}" in rows
    assert all(value in cells for _, value in facts(CARD))
