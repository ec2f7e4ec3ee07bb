"""The card of a VLIR data set in words: its figures, the alt text of its drawing, and a page with all of it as tables.

    page = card_page(measure(read_vlir("vlir/kept")), "my set", picture="card.png")      # Markdown, for README.md

Names of sources and splits are foreign text: they are escaped and cut. Simplified: at most eleven sources and splits by
name; of the heat map, nine parts of the image.
"""

from __future__ import annotations

import math
from collections import Counter

import numpy as np

from ..vlir.card import Card, Part, quantiles
from .lettering import one_line, quoted
from .markdown import escape, table

NAMED = 11  # sources by name; the others together
MOST_LOOKS = 8  # a bar of its own; more together
MARK = "<!-- made by r3lab vlir card -->"  # a page that begins so may be replaced by a newer one
AT = (0.05, 0.25, 0.5, 0.75, 0.95)


def largest_sources(card: Card) -> list[tuple[str, int]]:
    """Sources with their samples, the largest first; those beyond the eleventh as one."""
    found = sorted(((name, part.samples) for name, part in card.sources.items()), key=lambda one: -one[1])
    rest = found[NAMED:]
    named = [(one_line(name, 60) or "no name", count) for name, count in found[:NAMED]]
    return named + ([(f"{len(rest)} others", sum(count for _, count in rest))] if rest else [])


def looks_counted(card: Card) -> list[tuple[str, int]]:
    """Samples by number of looks from none to the most, nine and more as one."""
    most = max(card.whole.looks, default=0)
    counted = [(str(k), card.whole.looks[k]) for k in range(min(most, MOST_LOOKS) + 1)]
    more = sum(count for k, count in card.whole.looks.items() if k > MOST_LOOKS)
    return counted + ([(f"{MOST_LOOKS + 1}+", more)] if more else [])


def facts(card: Card) -> list[tuple[str, str]]:
    """Name and value of what the card says in figures."""
    with_look = card.samples - card.whole.looks[0]
    share = f"{with_look:,} ({percent(with_look / card.samples)})" if card.samples else "0"
    needs = {True: "yes", False: "no", None: "not known"}
    said = [f"{card.needs[key]:,} {word}" for key, word in needs.items() if card.needs[key]]
    found = [
        ("samples", f"{card.samples:,}"),
        ("pictures", f"{card.images:,}"),
        ("sources", f"{len(card.sources):,}"),
        ("samples with a look", share),
        ("looks", f"{card.looks:,}"),
        ("a look is needed", ", ".join(said) or "not known"),
    ]
    if card.looks:
        low, middle, high = np.quantile(np.frombuffer(card.whole.sizes), (0.05, 0.5, 0.95))
        found.append(("crop, share of the image", f"{percent(middle)} ({percent(low)} to {percent(high)})"))
    if card.samples:
        few, median, many = quantiles(card.whole.words)
        found.append(("words of a rationale", f"{median:.0f} ({few:.0f} to {many:.0f})"))
    return found


def percent(share: float) -> str:
    """A share with two digits that mean something: 1.7 %, 0.062 %, 43 %."""
    value = 100 * share
    digits = 0 if value >= 9.95 or value == 0 else max(0, 1 - math.floor(math.log10(value)))
    return f"{value:.{min(digits, 6)}f} %"


def card_alt(card: Card, title: str = "") -> str:
    """What the drawing of a card shows, in words."""
    said = [f"Card of {quoted(title or 'VLIR samples')}, six parts."]
    said.append("In figures: " + "; ".join(f"{name}: {value}" for name, value in facts(card)) + ".")
    named = [f"{one_line(name, 40)} {count:,}" for name, count in largest_sources(card)]
    said.append(f"Samples by source: {', '.join(named) or 'none'}.")
    looked = [
        f"{number} look{'' if number == '1' else 's'}: {count:,}" for number, count in looks_counted(card) if count
    ]
    said.append(f"Samples by number of looks: {', '.join(looked) or 'none'}.")
    if card.looks:
        parts, shares = _places(card.heat_shares(4))
        order = np.argsort(-shares)[:2]
        most = " and ".join(f"{parts[i]} ({percent(float(shares[i]))} of the looks show a place there)" for i in order)
        said.append(f"Looks lie most often at the {most}.")
    return " ".join(said)


def _places(shares: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Names of nine parts of an image, row by row, and for each the mean of `shares` (4, 4) at its middle."""
    rows, columns = ("top", "middle", "bottom"), ("left", "middle", "right")
    names = ["middle" if r == c == "middle" else f"{r} {c}" for r in rows for c in columns]
    ends = ((0, 1), (1, 3), (3, 4))
    return names, np.array([shares[a:b, c:d].mean() for a, b in ends for c, d in ends])


def card_page(card: Card, title: str = "", picture: str = "card.png") -> str:
    """A page in Markdown with the drawing and every figure of it as a table.

    Parameters
    ----------
    card
        From `vlir.card.measure`.
    title
        Name of the data set.
    picture
        File name of the drawing beside the page, our own.
    """
    name = escape(title or "VLIR samples", 100)
    sections = [
        MARK,
        f"# {name}",
        "Questions on images with rationales in which text and looks alternate (VLIR). Boxes are source pixels; read "
        "it with `r3lab.vlir.sample.read_vlir`.",
        f"![{escape(card_alt(card, title), 4000)}]({picture})",
        "## In figures\n\n" + table(("", ""), facts(card)),
        "## Samples by source\n\n" + _sources(card),
        "## Samples by split\n\n" + table(("split", "samples"), _named(card.splits)),
        "## Samples by number of looks\n\n"
        + table(("looks", "samples"), [(k, f"{n:,}") for k, n in looks_counted(card)]),
        "## Looks by share of the image\n\n" + table(("at most", "share of the looks"), _sizes(card)),
        "## Where the looks lie\n\nThe share of the looks that show a place there.\n\n" + _heat(card),
        "## Samples by words of the rationale\n\n" + table(("at most", "share of the samples"), _words(card)),
    ]
    return "\n\n".join(sections) + "\n"


def _named(counts: Counter[str]) -> list[tuple[str, str]]:
    return [(name or "no name", f"{count:,}") for name, count in counts.most_common(NAMED)]


def _sources(card: Card) -> str:
    rows = []
    for name, part in sorted(card.sources.items(), key=lambda one: -one[1].samples)[:NAMED]:
        rows.append((one_line(name, 60) or "no name", f"{part.samples:,}", *_means(part)))
    if len(card.sources) > NAMED:
        name, count = largest_sources(card)[-1]
        rows.append((name, f"{count:,}", "", "", ""))
    return table(("source", "samples", "looks a sample", "median crop", "median words"), rows)


def _means(part: Part) -> tuple[str, str, str]:
    size = percent(float(np.median(np.frombuffer(part.sizes)))) if part.sizes else ""
    return f"{len(part.sizes) / part.samples:.2f}", size, f"{quantiles(part.words, (0.5,))[0]:.0f}"


def _sizes(card: Card) -> list[tuple[str, str]]:
    found = np.quantile(np.frombuffer(card.whole.sizes), AT) if card.looks else np.zeros(0)
    return [(percent(float(size)), percent(share)) for size, share in zip(found, AT, strict=False)]


def _words(card: Card) -> list[tuple[str, str]]:
    found = quantiles(card.whole.words, AT)
    return [(f"{words:.0f}", percent(share)) for words, share in zip(found, AT, strict=False)]


def _heat(card: Card) -> str:
    _, shares = _places(card.heat_shares(4))
    rows = [
        [side, *(percent(float(v)) for v in row)]
        for side, row in zip(("top", "middle", "bottom"), shares.reshape(3, 3), strict=True)
    ]
    return table(("", "left", "middle", "right"), rows)
