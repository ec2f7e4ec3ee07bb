"""The card of a VLIR data set: samples a source, looks, crop sizes, where regions lie, words; drawn, and as tables.

    card = measure(read_vlir("vlir/kept"))                          # vlir.card
    draw_card(card, "my set")                                       # the last line of a notebook cell
    card_page(card, "my set")                                       # Markdown, for README.md

Names of sources and splits are foreign text: they are escaped and cut. Simplified: at most eleven sources and splits by
name; crop sizes on a logarithmic axis, down to a ten-thousandth of the image; of the heat map, in words, nine parts of
the image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from ..vlir.card import Card, quantiles
from .palette import BODY, LIGHT, LOOKS, SMALL, TITLE, style
from .picture import Picture
from .text import escape, one_line, quoted, table, wrap, write

NAMED = 11  # sources by name; the others together
MOST_LOOKS = 8  # a bar of its own; more together
MARK = "<!-- made by r3lab vlir card -->"  # a page that begins so may be replaced by a newer one
SIDES = (("top", "middle", "bottom"), ("left", "middle", "right"))


def sources(card: Card) -> list[tuple[str, int, str, str, str]]:
    """Of each source name, samples, looks a sample, medians of crop and words; the largest first, those beyond the
    eleventh as one."""
    found = sorted(card.sources.items(), key=lambda one: -one[1].samples)
    rows = []
    for name, part in found[:NAMED]:
        size = percent(float(np.median(np.frombuffer(part.sizes)))) if part.sizes else ""
        medians = (f"{len(part.sizes) / part.samples:.2f}", size, f"{quantiles(part.words, (0.5,))[0]:.0f}")
        rows.append((one_line(name, 60) or "no name", part.samples, *medians))
    rest = [part.samples for _, part in found[NAMED:]]
    return rows + ([(f"{len(rest)} others", sum(rest), "", "", "")] if rest else [])


def looks_counted(card: Card) -> list[tuple[str, int]]:
    """Samples by number of looks from none to the most, nine and more as one."""
    most = max(card.whole.looks, default=0)
    counted = [(str(k), card.whole.looks[k]) for k in range(min(most, MOST_LOOKS) + 1)]
    more = sum(count for k, count in card.whole.looks.items() if k > MOST_LOOKS)
    return counted + ([(f"{MOST_LOOKS + 1}+", more)] if more else [])


def facts(card: Card) -> list[tuple[str, str]]:
    """Name and value of what the card says in figures; ranges are from the 5th to the 95th of a hundred."""
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


def _places(card: Card) -> np.ndarray:
    """(3, 3) rows by columns: the share of the looks that show a place there, as a mean over that ninth."""
    shares, ends = card.heat_shares(4), ((0, 1), (1, 3), (3, 4))
    return np.array([[shares[a:b, c:d].mean() for c, d in ends] for a, b in ends])


def _card_alt(card: Card, title: str = "") -> str:
    """What the drawing of a card shows, in words."""
    said = [f"Card of {quoted(title or 'VLIR samples')}, six parts."]
    said.append("In figures: " + "; ".join(f"{name}: {value}" for name, value in facts(card)) + ".")
    named = [f"{one_line(name, 40)} {count:,}" for name, count, *_ in sources(card)]
    said.append(f"Samples by source: {', '.join(named) or 'none'}.")
    looked = [
        f"{number} look{'' if number == '1' else 's'}: {count:,}" for number, count in looks_counted(card) if count
    ]
    said.append(f"Samples by number of looks: {', '.join(looked) or 'none'}.")
    if card.looks:
        shares = _places(card)
        most = []
        for row, column in (divmod(int(at), 3) for at in np.argsort(-shares, axis=None)[:2]):
            name = "middle" if row == column == 1 else f"{SIDES[0][row]} {SIDES[1][column]}"
            most.append(f"{name} ({percent(float(shares[row, column]))} of the looks show a place there)")
        said.append(f"Looks lie most often at the {' and '.join(most)}.")
    return " ".join(said)


def card_page(card: Card, title: str = "") -> str:
    """A page in Markdown with the drawing (`card.png` beside it) and the figures of it as tables.

    Parameters
    ----------
    card
        From `vlir.card.measure`.
    title
        Name of the data set.
    """
    splits = [(name or "no name", f"{count:,}") for name, count in card.splits.most_common(NAMED)]
    looks = [(number, f"{count:,}") for number, count in looks_counted(card)]
    rows = [(name, f"{count:,}", *more) for name, count, *more in sources(card)]
    heat = [(side, *(percent(float(v)) for v in row)) for side, row in zip(SIDES[0], _places(card), strict=True)]
    tables: list[tuple[str, Sequence[str], Sequence[Sequence[object]]]] = [
        ("In figures", ("", ""), facts(card)),
        ("Samples by source", ("source", "samples", "looks a sample", "median crop", "median words"), rows),
        ("Samples by split", ("split", "samples"), splits),
        ("Samples by number of looks", ("looks", "samples"), looks),
        ("Where the looks lie\n\nThe share of the looks that show a place there.", ("", *SIDES[1]), heat),
    ]
    head = [
        MARK,
        f"# {escape(title or 'VLIR samples', 100)}",
        "Questions on images with rationales in which text and looks alternate (VLIR). Boxes are source pixels; read "
        "it with `r3lab.vlir.sample.read_vlir`.",
        f"![{escape(_card_alt(card, title), 4000)}](card.png)",
    ]
    return "\n\n".join([*head, *(f"## {about}\n\n{table(columns, rows)}" for about, columns, rows in tables)]) + "\n"


# -- the drawing ----------------------------------------------------------------------------------------------------

WIDTH, HEIGHT = 9.6, 5.8  # inches
SIZES = np.logspace(-4, 0, 25)  # edges of the bins of crop sizes, shares of the image
BARS = 24  # of rationale lengths


def draw_card(card: Card, title: str = "") -> Picture:
    """Draw a card.

    Parameters
    ----------
    card
        From `vlir.card.measure`.
    title
        Name of the data set; foreign text.
    """
    charts = (
        ("sources", "Samples by source", _draw_sources, card.samples),
        ("looks", "Samples by number of looks", _draw_looks, card.samples),
        ("sizes", "Looks by share of the image", _draw_sizes, card.looks),
        ("heat", "Where the looks lie", _draw_heat, card.looks),
        ("words", "Samples by words of the rationale", _draw_words, card.samples),
        ("figures", "In figures", _write_facts, card.samples),
    )
    with style():
        spaced = ConstrainedLayoutEngine(w_pad=0.14, h_pad=0.16, wspace=0.02, hspace=0.08)
        figure = Figure(figsize=(WIDTH, HEIGHT), layout=spaced, facecolor=LIGHT.paper)
        head = "\n".join(wrap(title or "VLIR samples", WIDTH - 0.6, TITLE, 2, bold=True))
        figure.suptitle(head, x=0.02, ha="left", fontsize=TITLE, fontweight="bold", color=LIGHT.ink)
        for axes, (gid, name, chart, count) in zip(figure.subplots(2, 3).flat, charts, strict=True):
            axes.set_gid(gid)
            axes.set_title(name, pad=14)
            if count:
                chart(axes, card)
            else:
                axes.set(xticks=[], yticks=[], xlim=(0, 1), ylim=(0, 1))
                write(axes, 0.5, 0.5, "nothing to count", BODY, LIGHT.muted, ha="center", va="center")
    return Picture(figure, _card_alt(card, title))


def _draw_sources(axes: Axes, card: Card) -> None:
    """Bars to the right, the count at each end."""
    names, counts = zip(*((name, count) for name, count, *_ in sources(card)), strict=True)
    bars = axes.barh(range(len(names)), counts, min(0.72, 0.36 + 0.09 * len(names)), color=LOOKS[0])
    axes.bar_label(bars, [f"{count:,}" for count in counts], padding=2, fontsize=SMALL, color=LIGHT.muted)
    axes.set(ylim=(max(len(names), 4) - 0.5, -0.5), xlim=(0, 1.22 * max(counts)), xticks=[])
    axes.set_yticks(range(len(names)), ["".join(wrap(name, 1.5, SMALL, 1)) for name in names], color=LIGHT.ink)
    axes.spines["bottom"].set_visible(False)


def _draw_looks(axes: Axes, card: Card) -> None:
    """Upright bars with their counts."""
    names, counts = zip(*looks_counted(card), strict=True)
    bars = axes.bar(range(len(names)), counts, min(0.72, 0.2 * len(names)), color=LOOKS[0])
    axes.bar_label(bars, [f"{count:,}" for count in counts], padding=1, fontsize=SMALL, color=LIGHT.muted)
    axes.set(xlim=(-0.6, max(len(names), 3) - 0.4), ylim=(0, 1.12 * max(counts)), yticks=[])
    axes.set_xticks(range(len(names)), names)


def _draw_sizes(axes: Axes, card: Card) -> None:
    """Sizes of crops in logarithmic bins."""
    exact = np.frombuffer(card.whole.sizes)
    axes.set(xscale="log", xlim=(SIZES[0], SIZES[-1]))
    axes.set_xticks([1e-4, 1e-3, 1e-2, 0.1, 1], ["0.01 %", "0.1 %", "1 %", "10 %", "100 %"])
    axes.set_xticks([], minor=True)
    sizes = np.clip(exact, SIZES[0], SIZES[-1])
    _bins(axes, SIZES, np.histogram(sizes, SIZES)[0])
    _median(axes, float(np.median(sizes)), percent(float(np.median(exact))))


def _draw_words(axes: Axes, card: Card) -> None:
    """Words of rationales in bins of whole numbers; a long tail is gathered in the last bin."""
    middle, usual = quantiles(card.whole.words, (0.5, 0.95))
    most = max(card.whole.words)
    top = min(most, 2 * max(usual, 1))
    step = max(1, math.ceil((top + 1) / BARS))
    counts = np.zeros(int(top) // step + 1, dtype=int)
    for words, count in card.whole.words.items():
        counts[min(int(words) // step, len(counts) - 1)] += count
    axes.set(xlim=(0, max(len(counts) * step, 4)))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    if top < most:
        write(axes, len(counts) * step, counts[-1], "and more", SMALL, LIGHT.muted, ha="right", va="bottom")
    _bins(axes, np.arange(len(counts) + 1) * step, counts)
    _median(axes, middle + 0.5 * (step == 1), f"{middle:.0f}")


def _bins(axes: Axes, edges: np.ndarray, counts: np.ndarray) -> None:
    """Counts between edges."""
    axes.bar(edges[:-1], counts, np.diff(edges), align="edge", color=LOOKS[0], edgecolor=LIGHT.paper, linewidth=0.5)
    axes.grid(axis="y")
    axes.set_ylim(0, 1.16 * max(1, int(counts.max())))
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))


def _median(axes: Axes, at: float, words: str) -> None:
    axes.axvline(at, color=LOOKS[2], linewidth=1.4, linestyle=(0, (4, 2)), gid="median")
    right = axes.transAxes.inverted().transform(axes.transData.transform((at, 0)))[0] < 0.6
    side = {"transform": axes.get_xaxis_transform(), "ha": "left" if right else "right", "va": "center"}
    write(axes, at, 1.0, f" median {words} ", SMALL, LIGHT.ink, True, **side)


def _draw_heat(axes: Axes, card: Card) -> None:
    """For each place of the image, laid on one square, the share of the looks that show it."""
    shares = card.heat_shares()
    most = float(shares.max())
    colours = LinearSegmentedColormap.from_list("looks", [LIGHT.panel, LOOKS[0]])
    axes.imshow(shares, cmap=colours, vmin=0, vmax=most or 1, extent=(0, 1, 1, 0), interpolation="nearest")
    axes.set_xticks([0, 0.5, 1], ["left", "", "right"])
    axes.set_yticks([0, 0.5, 1], ["top", "", "bottom"])
    scale = axes.inset_axes((1.08, 0, 0.07, 1))
    scale.imshow(np.linspace(1, 0, 64)[:, None], cmap=colours, aspect="auto")
    scale.set_axis_off()
    for y, side, words in ((0, "bottom", "0 %"), (0.5, "center", "of the looks\nshow it"), (1, "top", percent(most))):
        write(axes, 1.18, y, words, SMALL, LIGHT.muted, transform=axes.transAxes, va=side)


def _write_facts(axes: Axes, card: Card) -> None:
    """Names and values, a line each."""
    axes.set_axis_off()
    for line, (name, value) in enumerate(facts(card)):
        write(axes, 0, 1 - 0.12 * line, name, BODY, LIGHT.muted, transform=axes.transAxes)
        write(axes, 0.65, 1 - 0.12 * line, value, BODY, LIGHT.ink, transform=axes.transAxes)
