"""The card of a VLIR data set: samples a source, looks, crop sizes, where regions lie, words; drawn, and as tables.

    card = measure(read_vlir("vlir/kept"))                          # vlir.card
    draw_card(card, "my set")                                       # the last line of a notebook cell
    card_page(card, "my set", picture="card.png")                   # Markdown, for README.md

Names of sources and splits are foreign text: they are escaped and cut. Simplified: at most eleven sources and splits by
name; crop sizes on a logarithmic axis, down to a ten-thousandth of the image; of the heat map, in words, nine parts of
the image.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import MaxNLocator

from ..vlir.card import Card, quantiles
from .canvas import Canvas
from .palette import BODY, HEADING, LIGHT, LOOKS, SMALL, TITLE, style
from .picture import Picture
from .text import escape, height, one_line, quoted, table, text_width, wrap, write

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


def _card_alt(card: Card, title: str = "") -> str:
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
    sizes = np.quantile(np.frombuffer(card.whole.sizes), AT) if card.looks else np.zeros(0)
    words = [f"{count:.0f}" for count in quantiles(card.whole.words, AT)]
    _, heat = _places(card.heat_shares(4))
    heat_rows = [[percent(float(v)) for v in row] for row in heat.reshape(3, 3)]
    tables: list[tuple[str, Sequence[str], Sequence[Sequence[object]]]] = [
        ("In figures", ("", ""), facts(card)),
        ("Samples by source", ("source", "samples", "looks a sample", "median crop", "median words"), _sources(card)),
        ("Samples by split", ("split", "samples"), _counted(card.splits.most_common(NAMED))),
        ("Samples by number of looks", ("looks", "samples"), _counted(looks_counted(card))),
        ("Looks by share of the image", ("at most", "share of the looks"), _at_most(map(percent, sizes))),
        ("Where the looks lie\n\nThe share of the looks that show a place there.", ("", "left", "middle", "right"),
         [[side, *row] for side, row in zip(("top", "middle", "bottom"), heat_rows, strict=True)]),
        ("Samples by words of the rationale", ("at most", "share of the samples"), _at_most(words)),
    ]  # fmt: skip
    head = [
        MARK,
        f"# {escape(title or 'VLIR samples', 100)}",
        "Questions on images with rationales in which text and looks alternate (VLIR). Boxes are source pixels; read "
        "it with `r3lab.vlir.sample.read_vlir`.",
        f"![{escape(_card_alt(card, title), 4000)}]({picture})",
    ]
    return "\n\n".join([*head, *(f"## {about}\n\n{table(columns, rows)}" for about, columns, rows in tables)]) + "\n"


def _counted(counts: Sequence[tuple[str, int]]) -> list[tuple[str, str]]:
    return [(name or "no name", f"{count:,}") for name, count in counts]


def _at_most(values: Iterable[str]) -> list[tuple[str, str]]:
    """The values that shares of all do not exceed; none of nothing."""
    return [(value, percent(share)) for value, share in zip(values, AT, strict=False)]


def _sources(card: Card) -> list[tuple[str, ...]]:
    """A row a source: samples, looks a sample, medians of crop and words."""
    rows: list[tuple[str, ...]] = []
    for name, part in sorted(card.sources.items(), key=lambda one: -one[1].samples)[:NAMED]:
        size = percent(float(np.median(np.frombuffer(part.sizes)))) if part.sizes else ""
        medians = (f"{len(part.sizes) / part.samples:.2f}", size, f"{quantiles(part.words, (0.5,))[0]:.0f}")
        rows.append((one_line(name, 60) or "no name", f"{part.samples:,}", *medians))
    if len(card.sources) > NAMED:
        name, count = largest_sources(card)[-1]
        rows.append((name, f"{count:,}", "", "", ""))
    return rows


# -- the drawing ----------------------------------------------------------------------------------------------------

MARGIN, WIDE, HIGH, GAP_X, GAP_Y = 0.3, 2.5, 1.75, 0.55, 0.9  # inches: of the sheet, of a chart, between charts
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
    width = 2 * MARGIN + 3 * WIDE + 2 * GAP_X + 0.35
    label = max((text_width(_short(name), SMALL) for name, _ in largest_sources(card)), default=0.0) - 0.25
    with style(LIGHT):
        canvas = Canvas(width, None, LIGHT)
        words = title or "VLIR samples"
        top = canvas.text(MARGIN, MARGIN * 0.8, words, width - 2 * MARGIN, TITLE, 2, bold=True) + 0.2 * MARGIN + 0.42
        places = [(MARGIN + 0.35 + (WIDE + GAP_X) * (k % 3), top + (HIGH + GAP_Y) * (k // 3)) for k in range(6)]
        for (x, y), (gid, words, left, wide, chart, count) in zip(
            places,
            (
                ("sources", "Samples by source", max(0.0, label), WIDE, _draw_sources, card.samples),
                ("looks", "Samples by number of looks", 0.0, WIDE, _draw_looks, card.samples),
                ("sizes", "Looks by share of the image", 0.0, WIDE, _draw_sizes, card.looks),
                ("heat", "Where the looks lie", 0.0, HIGH, _draw_heat, card.looks),
                ("words", "Samples by words of the rationale", 0.0, WIDE, _draw_words, card.samples),
            ),
            strict=False,
        ):
            place = ((x + left) / width, 1 - (y + HIGH) / canvas.height, (wide - left) / width, HIGH / canvas.height)
            axes = canvas.figure.add_axes(place, gid=gid)
            canvas.line(x - 0.35, y - 0.34, words, HEADING, LIGHT.ink, bold=True)
            if count:
                chart(axes, card)
            else:
                axes.set(xticks=[], yticks=[], xlim=(0, 1), ylim=(0, 1))
                write(axes, 0.5, 0.5, "nothing to count", BODY, LIGHT.muted, ha="center", va="center")
        x, y = places[5]
        x -= 0.35
        canvas.line(x, y - 0.34, "In figures", HEADING, LIGHT.ink, bold=True)
        for name, value in facts(card):
            canvas.line(x, y + 0.02, name, BODY, LIGHT.muted)
            canvas.line(x + 1.5, y + 0.02, value, BODY, LIGHT.ink)
            y += height(1, BODY) + 0.07
        figure = canvas.cut(top + 2 * HIGH + GAP_Y + 0.62)
    return Picture(figure, _card_alt(card, title))


def _short(name: str) -> str:
    return "".join(wrap(name, 1.5, SMALL, 1))


def _draw_sources(axes: Axes, card: Card) -> None:
    """Bars to the right, the count at each end."""
    rows = largest_sources(card)
    most = max(count for _, count in rows)
    bars = axes.barh(range(len(rows)), [n for _, n in rows], min(0.72, 0.36 + 0.09 * len(rows)), color=LOOKS[0])
    axes.bar_label(bars, [f"{count:,}" for _, count in rows], padding=2, fontsize=SMALL, color=LIGHT.muted)
    for i, (name, _) in enumerate(rows):
        write(axes, -0.02 * most, i, _short(name), SMALL, LIGHT.ink, ha="right", va="center")
    axes.set(ylim=(max(len(rows), 4) - 0.5, -0.5), xlim=(0, 1.22 * most), xticks=[], yticks=[])
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
