"""The report: trajectories, one or many, as one HTML file that opens from disk, without a network.

It begins with a table of all; then each has its player, its reward, its explanation where there is one, and its tokens.
Pictures are held once each and share a budget, so that twenty trajectories stay under 10 MB. Nothing is fetched and no
script runs but ours (`page`). Simplified: at most 500 trajectories; tokens are shown where at most 1,200 have text.

    save_report([Entry(trajectory)], "report.html", "First looks")
    save_report(read_entries(["runs/ask"]), "report.html")
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import R3labError, shown
from ..core.files import write_whole
from ..explain.explanation import RECORD, Explanation
from ..trajectory import MANY, ONE, Kind, Trajectory, load
from .explanation import attention_maps
from .page import BUDGET, page
from .palette import VERDICTS
from .player import badge, labels, stage
from .ribbon import measures_of, rules, tokens
from .story import verdict
from .text import html_line, html_words

MOST, TOKENS = 500, 1200
LOOKS, REASONS = 64, 12  # of an explanation that are told
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
        ``trajectories.jsonl``, in the order of their names.

    Raises
    ------
    R3labError
        If a path holds none, one cannot be read, or there are more than 500.
    """
    found: list[Entry] = []
    for path in map(Path, paths):
        files = [path] if path.is_file() else _held(path)
        if not files:
            missing = "does not exist" if not path.exists() else f"holds no {ONE} or {MANY}"
            raise R3labError(f"{shown(str(path))} {missing}; name a saved trajectory, or a folder of some.")
        for file in files:
            held = load(file)
            one = [held] if isinstance(held, Trajectory) else held
            explanation = explanation_beside(file) if isinstance(held, Trajectory) else None
            found += [Entry(t, explanation, str(file.parent)) for t in one]
            _check(len(found))
    if not found:
        raise R3labError(f"{', '.join(shown(str(p)) for p in paths)}: there is no trajectory in these files.")
    return found


def _held(folder: Path) -> list[Path]:
    """Files of trajectories anywhere in a folder; a hidden folder is one that is still being written."""
    found = (f for name in (ONE, MANY) for f in folder.rglob(name))
    return sorted(f for f in found if not any(part.startswith(".") for part in f.relative_to(folder).parts))


def explanation_beside(path: str | Path) -> Explanation | None:
    """The explanation in the folder of a saved trajectory (its file, or the folder); None if there is none.

    Raises
    ------
    R3labError
        Naming the file and what is wrong, if an explanation is there that cannot be read.
    """
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    return Explanation.load(folder) if (folder / RECORD).is_file() else None


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
    parts = [f"<h1>{html_words(name, 300)}</h1>", f'<p class="r3-facts">{_summary(entries, count)}</p>']
    if len(entries) > 1:
        parts.append(_table(entries))
    for number, entry in enumerate(entries, start=1):
        parts.append(_section(entry, number, budget, alone=len(entries) == 1 and not title))
    return page(name, "\n".join(parts), rules())


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
    looked = sum(any(look.valid for look in e.t.looks) for e in entries)
    said.append(f"{looked} with a look")
    models = list(dict.fromkeys(e.t.model for e in entries if e.t.model))
    if models:
        said.append(f"polic{'y' if len(models) == 1 else 'ies'} {', '.join(html_line(m, 60) for m in models[:6])}")
    return "; ".join(said)


def _table(entries: Sequence[Entry]) -> str:
    rows = []
    for number, entry in enumerate(entries, start=1):
        t, ending = entry.t, verdict(entry.t)
        given = "no answer" if ending.answer is None else html_line(ending.answer, 60)
        reward = f"{sum(t.rewards.values()):.2f}" if t.rewards else ""
        asked = f'<a href="#t{number}">{html_line(t.question, 140)}</a>'
        rows.append(
            f'<tr><td class="number">{number}</td><td class="r3-asked">{asked}</td>'
            f"<td>{given}</td><td>{badge(*VERDICTS[ending.state])}</td>"
            f'<td class="number">{len(t.looks)}</td><td class="number">{reward}</td></tr>'
        )
    head = '<th class="number">#</th><th>question</th><th>answer</th><th></th><th class="number">looks</th>'
    return (
        f'<div class="r3-scroll"><table><thead><tr>{head}<th class="number">reward</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _section(entry: Entry, number: int, budget: int, alone: bool) -> str:
    t = entry.t
    found = entry.explanation
    attention = attention_maps(found)[: len(labels(t))] if found else ()
    head = "" if alone else f"<h2>{number}. {html_words(t.question, 2000)}</h2>"
    facts = [html_line(t.sample_id, 80), f"policy {html_line(t.model, 60)}" if t.model else ""]
    facts.append("greedy" if t.temperature == 0 else f"temperature {t.temperature:g}")
    facts.append("" if t.arm == "interleaved" else f"arm {html_line(t.arm, 40)}")
    facts.append(f"{len(t.ids)} tokens, {sum(t.sampled_mask)} sampled")
    facts.append(html_line(entry.place, 200) if entry.place else "")
    return (
        f'<section class="r3-one" id="t{number}">{head}<p class="r3-facts">{" · ".join(f for f in facts if f)}</p>'
        f"{stage(t, f't{number}', attention, budget=budget)}{_explained(found)}{_reward(t)}{_tokens(t)}</section>"
    )


def _explained(found: Explanation | None) -> str:
    if found is None:
        return ""
    looks = "".join(f"<li>{html_words(one.sentence, 3000)}</li>" for one in found.looks[:LOOKS])
    reasons = "".join(f"<li>{html_words(one, 400)}</li>" for one in found.verdict.reasons[:REASONS])
    because = f"<details><summary>What it rests on</summary><ul>{reasons}</ul></details>" if reasons else ""
    kind = html_line(f"{found.verdict.kind} ({found.verdict.confidence:.0%})", 80)
    return (
        f"<h3>Why it looked there, and whether it mattered: {kind}</h3>"
        f"<p>{html_words(found.sentence, 3000)}</p>{f'<ul>{looks}</ul>' if looks else ''}{because}"
    )


def _reward(t: Trajectory) -> str:
    if not t.rewards:
        return ""
    cells = "".join(f'<th class="number">{html_line(name, 40)}</th>' for name in list(t.rewards)[:12])
    values = "".join(f'<td class="number">{value:.2f}</td>' for value in list(t.rewards.values())[:12])
    more = f'<td class="number">{sum(t.rewards.values()):.2f}</td>'
    head = f'{cells}<th class="number">reward</th>'
    if t.advantage is not None:
        head += '<th class="number">advantage</th>'
        more += f'<td class="number">{t.advantage:+.2f}</td>'
    return (
        f'<h3>Reward</h3><div class="r3-scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody><tr>{values}{more}</tr></tbody></table></div>"
    )


def _tokens(t: Trajectory) -> str:
    written = sum(kind not in (Kind.OVERVIEW, Kind.CROP, Kind.PAD) for kind in t.kinds)
    summary = f"<summary>Tokens ({len(t.ids)})</summary>"
    if written > TOKENS:
        many = f"{written} tokens with text are too many for a report; draw their ribbon."
        return f"<details>{summary}<p>{many}</p></details>"
    return f"<details>{summary}{tokens(t, measures_of(t), images=False)}</details>"
