"""The player: step through a trajectory, its looks, crops and text; and the report, which holds many of them, with
rewards, explanations and tokens, in one HTML file that opens from disk, without a network.

    play(trajectory)                                    # last line of a cell
    play(trajectory, attention=maps).save("one.html")   # a map a moment: the overview, then each look
    save_report([Entry(trajectory)], "report.html", "First looks")
    save_report(read_entries(["runs/ask"]), "report.html")

Every moment is in the markup: the overview, each look, the answer. A small script (`page.js`) shows one of them and
moves with slider, buttons and arrow keys; without it, and in print, all of them stand side by side. It opens at the
answer, with the whole path in view. Each picture is held once, within a budget, so that twenty trajectories stay under
10 MB. Simplified: of more than 16 looks the first 16 are shown; a report has at most 500 trajectories, and tokens where
at most 1,200 have text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from ..core.errors import R3labError, shown
from ..core.files import write_whole
from ..core.geometry import clip, intersection, iou
from ..explain.explanation import RECORD, Explanation, HeatMap
from ..explain.verdict import profile
from ..trajectory import MANY, ONE, Kind, Trajectory, load
from .canvas import spots, within
from .explanation import attention_maps, checked, spotlight_uri
from .filmstrip import SHOWN_LOOKS, filmstrip
from .palette import VERDICTS
from .picture import Embedded, Picture, View, embed, page, render
from .ribbon import measures_of, rules, tokens
from .steps import Step, facts, photograph, source_box, source_size, steps, told, true_regions, verdict, where_in
from .text import html_line, one_line

BUDGET = 1_200_000  # characters of all pictures of one trajectory
TEXT = 6000  # characters of one stretch of text
SHARES = (0.4, 0.15, 0.45)  # of the budget: photograph, overview, all crops


def play(t: Trajectory, attention: Sequence[HeatMap | None] = ()) -> View:
    """A trajectory to step through, for a notebook or a page.

    Parameters
    ----------
    t
        With its images; where they are missing it says so.
    attention
        Maps (`explain.maps.heat_map`), in order of the moments (the overview, then each look); None for none.

    Raises
    ------
    R3labError
        If the maps do not fit.

    Examples
    --------
    >>> r3lab.play(trajectories[0]).save(folder / "player.html").name
    'player.html'
    """
    names = [t.image.hash, t.question, *(look.crop.hash for look in t.looks if look.crop)]
    prefix = "p" + hashlib.sha256("\n".join(names).encode("utf-8", "replace")).hexdigest()[:12]
    body = stage(t, prefix, attention)
    return View(t.question, body, Picture(filmstrip(t), f"Player of a rollout. {told(t, SHOWN_LOOKS)}"))


def stage(t: Trajectory, prefix: str, attention: Sequence[HeatMap | None] = (), budget: int = BUDGET) -> str:
    """The player's markup.

    Parameters
    ----------
    t
        A trajectory; what it does not carry is said to be missing.
    prefix
        Of ids; one that nothing else on the page has, letters and digits.
    attention
        Maps, in order of the moments (the overview, then each look); None where there is none.
    budget
        Characters of its pictures.

    Raises
    ------
    R3labError
        If the maps do not fit.
    """
    walk, source, ending = steps(t)[: SHOWN_LOOKS + 1], source_box(t), verdict(t)
    names = ["Overview", *(f"Look {step.number}" for step in walk[1:]), "Answer"]
    maps, held = checked(attention, len(names)), _held(walk, budget)
    granted = {step.look.valid for step in walk if step.look is not None and step.look.box is not None}
    signs = [("solid", "looked at")] * (True in granted) + [("dashed", "refused")] * (False in granted)
    return render(
        "player.html",
        **{"t": t, "prefix": prefix, "walk": walk, "names": names, "last": len(walk), "held": held, "ending": ending},
        source=source,
        seen=next((name for name in ("overview", "photo") if name in held), ""),  # what stands for the overview
        spots=spots([(step.number, step.look.box, step.look.valid) for step in walk if step.look], source_size(t)),
        truths=[box for region in true_regions(t) if (box := within(region, source)) is not None],
        maps=[(moment, heat.box, spotlight_uri(heat)) for moment, heat in enumerate(maps) if heat is not None],
        signs=[*signs, *[("truth", "true region")] * bool(true_regions(t))],
        text=TEXT,
        left_out=len(t.looks) - len(walk) + 1,
        verdicts=VERDICTS,
        **{"place": _place, "clip": clip, "intersection": intersection},
    )


def _held(walk: Sequence[Step], budget: int) -> dict[str, Embedded]:
    """The images of a trajectory by name, within a budget; an overview as large as the photograph is not held twice."""
    source, first = photograph(walk[0].t), walk[0].image
    held = {} if source is None else {"photo": embed(source, round(SHARES[0] * budget))}
    if first is not None and not (held and first.width >= held["photo"].width):
        held["overview"] = embed(first, round(SHARES[1] * budget))
    each = round(SHARES[2] * budget / max(1, sum(step.size is not None for step in walk[1:])))
    crops = {f"crop-{step.number}": step.image for step in walk[1:]}
    return held | {name: embed(crop, each) for name, crop in crops.items() if crop is not None}


def _place(step: Step) -> Markup:
    """Where a look was, and how well it met the true region."""
    look, regions = step.look, true_regions(step.t)
    assert look is not None
    if look.box is None or not look.valid:
        return Markup(f"asked for a region; {html_line(': '.join(step.without), 160)}")
    numbers = ", ".join(f"{v:.0f}" for v in look.box)
    said = f"looked at [{numbers}], {where_in(look.box, source_size(step.t))}"
    return Markup(said + (f"; IoU with the true region {iou(look.box, regions[-1]):.2f}" if regions else ""))


# -- reports -----------------------------------------------------------------------------------------------------------

MOST, TOKENS = 500, 1200
ALL, LEAST = 6_400_000, 60_000  # characters: of the pictures of all trajectories together, of one at least


@dataclass(frozen=True)
class Entry:
    """A trajectory of a report, its explanation, and where it was read; `place` is foreign text."""

    t: Trajectory
    explanation: Explanation | None = None
    place: str = ""


def read_entries(paths: Iterable[str | Path]) -> list[Entry]:
    """Read trajectories: files, folders of one, or folders that hold such folders.

    Parameters
    ----------
    paths
        In order; what is named twice comes twice. A folder is searched for ``trajectory.json`` and
        ``trajectories.jsonl``, in the order of their names; a hidden one is still being written. What `explain` wrote
        beside a trajectory comes with it.

    Raises
    ------
    R3labError
        If a path holds none, one cannot be read, or there are more than 500.
    """
    found: list[Entry] = []
    for path in map(Path, paths):
        held = (file for name in (ONE, MANY) for file in path.rglob(name))
        left_out = (".", EXPLAINED)  # still being written; an explanation, which is shown beside its trajectory
        whole = sorted(f for f in held if not any(part.startswith(left_out) for part in f.relative_to(path).parts))
        files = [path] if path.is_file() else whole
        if not files:
            missing = "does not exist" if not path.exists() else f"holds no {ONE} or {MANY}"
            raise R3labError(f"{shown(str(path))} {missing}; name a saved trajectory, or a folder of some.")
        for file in files:
            read = load(file)
            if isinstance(read, Trajectory):
                found.append(Entry(read, explanation_beside(file), str(file.parent)))
            else:
                found += [Entry(t, explanation_beside(file, n), str(file.parent)) for n, t in enumerate(read, 1)]
            _check(len(found))
    if not found:
        raise R3labError(f"{', '.join(shown(str(p)) for p in paths)}: there is no trajectory in these files.")
    return found


EXPLAINED = "explained-"  # folder beside a file of trajectories, with the number of one


def explained_name(number: int) -> str:
    """The folder, beside a file of trajectories, that holds the explanation of one, counted from 1."""
    return f"{EXPLAINED}{number}"


def explanation_beside(path: str | Path, number: int = 1) -> Explanation | None:
    """The explanation that `explain` wrote beside a saved trajectory (its file, or the folder), or in the same folder;
    None if there is none.

    Parameters
    ----------
    number : of a file of many, from 1

    Raises
    ------
    R3labError
        Naming the file and what is wrong, if an explanation is there that cannot be read.
    """
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    places = folder / explained_name(number), folder
    return next((Explanation.load(place) for place in places if (place / RECORD).is_file()), None)


def _check(count: int) -> None:
    if not 1 <= count <= MOST:
        raise R3labError(f"A report shows 1 to {MOST} trajectories, got {count}; name fewer.")


def report(entries: Sequence[Entry], title: str = "") -> str:
    """The report as the text of an HTML file.

    Parameters
    ----------
    entries
        1 to 500.
    title
        Foreign text; by default it counts the trajectories.

    Raises
    ------
    R3labError
        If there are none, or too many.
    """
    _check(len(entries))
    count = f"{len(entries)} trajector{'y' if len(entries) == 1 else 'ies'}"
    name = title or (entries[0].t.question if len(entries) == 1 else count)
    budget = min(BUDGET, max(LEAST, ALL // len(entries)))

    def player(entry: Entry, number: int) -> str:
        maps = attention_maps(entry.explanation) if entry.explanation else []
        moments = min(len(entry.t.looks), SHOWN_LOOKS) + 2
        return stage(entry.t, f"t{number}", maps[:moments], budget)

    body = render(
        "report.html",
        **{"name": name, "summary": _summary(entries, count), "entries": entries},
        alone=len(entries) == 1 and not title,
        **{"player": player, "tokens": _tokens, "facts": _facts},
        **{"verdict": verdict, "verdicts": VERDICTS, "profile": profile},
    )
    return page(name, body, rules())


def save_report(entries: Sequence[Entry], path: str | Path, title: str = "") -> Path:
    """Write the report; the file appears whole or not at all.

    Raises
    ------
    R3labError
        As of `report`; if the name ends otherwise than in .html, or the disk refuses.
    """
    if Path(path).suffix.lower() not in (".html", ".htm"):
        raise R3labError(f"Cannot write a report to {shown(str(path))}: end its name in .html.")
    return write_whole(path, report(entries, title).encode("utf-8"))


def _summary(entries: Sequence[Entry], count: str) -> str:
    states = [verdict(e.t).state for e in entries]
    known = len(states) - states.count("unknown")
    said = [count]
    if known:
        said.append(f"{states.count('right')} of {known} with a known answer are right")
    said.append(f"{sum(any(look.valid for look in e.t.looks) for e in entries)} with a look")
    models = list(dict.fromkeys(e.t.model for e in entries if e.t.model))
    if models:
        said.append(f"polic{'y' if len(models) == 1 else 'ies'} {', '.join(one_line(m, 60) for m in models[:6])}")
    return "; ".join(said)


def _facts(entry: Entry) -> list[str]:
    found = [*facts(entry.t), f"{len(entry.t.ids)} tokens, {sum(entry.t.sampled_mask)} sampled", entry.place]
    return [fact for fact in found if fact]


def _tokens(t: Trajectory) -> str:
    written = sum(kind not in (Kind.OVERVIEW, Kind.CROP, Kind.PAD) for kind in t.kinds)
    if written > TOKENS:
        return f"<p>{written} tokens with text are too many for a report; draw their ribbon.</p>"
    return tokens(t, measures_of(t), images=False)
