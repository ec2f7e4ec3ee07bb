"""Rows of a browser from disk: a VLIR folder, the folder of an evaluation, saved trajectories; told by what is in them.

What does not fit is counted and told, and costs only itself. An index is made without opening a picture; the line of a
record is kept, packed, so that opening it needs no second reading. ``PATH#17`` names one record, as a browser does.
Simplified: a VLIR image is checked when its record is opened.

    found = read_rows(["vlir/raw", "runs/eval"])
    found.rows, found.left_out, found.problems           # [Row, ...], 2, ["vlir.jsonl line 7: ...", ...]
"""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from PIL import Image

from ..core import records as schema
from ..core.errors import R3labError, shown
from ..core.geometry import Box, Size, intersection, iou
from ..core.images import cut
from ..core.protocol import CLOSE, OPEN
from ..core.records import Row as Line
from ..core.rows import json_lines
from ..train.rewards import deciding_iou, same_answer
from ..trajectory import FORMAT as ROLLOUTS
from ..trajectory import MANY, ONE, Trajectory, TrajectoryError, from_record, load
from ..vlir import sample as vlir
from ..vlir.sample import Rationale, Sample, SampleError
from . import marks
from .page import Embedded, embed
from .palette import VERDICTS
from .player import SHOWN_LOOKS, TEXT, badge, chip, controls, stage
from .story import ended, photograph, true_regions, verdict, where_in
from .text import html_line, html_words, one_line

# What is seen when a record of a browser is opened: a VLIR sample to step through, an answer without its trajectory.
#
# A sample is played like a rollout (`stage`): the question on its image, each region of the rationale with its crop
# and
# the text that follows, the answer. The slider is brought to life by `page.js`. Simplified: of more than 16 regions
# the
# first 16 are shown, and what the policy would see first is not drawn, since a sample belongs to no policy.
#
#     sample_stage(sample, rationale, "8", "r1", 200_000)         # markup; ids begin with the prefix

TIMES = "\N{MULTIPLICATION SIGN}"
PHOTO = 0.6  # of the budget; the crops share the rest
LEAST = 6000  # characters of one crop
_THINK = re.compile(r"</?think>")


def headed(question: str, facts: str, body: str) -> str:
    """An opened record: its question, where it comes from, and what there is to see."""
    head = html_words(question, 2000) if one_line(question) else "The question was not written down"
    return f"<h2>{head}</h2>{facts}{body}"


def facts_line(said: Sequence[str]) -> str:
    """Foreign facts in one line; empty ones are left out."""
    return f'<p class="r3-facts">{" · ".join(html_line(one, 160) for one in said if one)}</p>'


def answer_sheet(
    given: str | None,
    truth: str | None,
    result: tuple[str, str, str],
    wrote: str,
    numbers: Sequence[str],
    ending: str,
    why: str,
) -> str:
    """An answer whose trajectory was not kept: what is known of it in words.

    Parameters
    ----------
    given, truth
        The answers; None where there is none, or it is not known.
    result
        Colour, mark and word.
    wrote
        What the policy wrote.
    numbers
        Facts such as "2 looks".
    ending, why
        How it ended without an answer ("ran out of tokens"), and why it was not asked; "" otherwise.
    """
    answer = "no answer" if given is None else html_line(given, 300)
    size = "r3-given long" if len(given or "") > 30 else "r3-given"
    notes = [f"true answer: {html_line(truth, 300)}" if truth is not None else "the true answer is not recorded"]
    notes += [f"it {html_line(ending, 60)}" if ending else "", html_line(why, 300) if why else ""]
    text = f'<h3>What it wrote</h3><p class="r3-wrote">{html_words(wrote, TEXT)}</p>' if wrote.strip() else ""
    return (
        f'<p><strong class="{size}">{answer}</strong> {badge(*result)}</p>'
        f'<p class="r3-note">{"; ".join(note for note in notes if note)}</p>{facts_line(numbers)}{text}'
        '<p class="r3-note">There is nothing to play: its trajectory was not kept; r3lab eval --keep N keeps those of '
        "the first N questions of each source.</p>"
    )


# -- a sample --------------------------------------------------------------------------------------------------------


def sample_stage(sample: Sample, rationale: Rationale, given: str | None, prefix: str, budget: int) -> str:
    """A VLIR sample to step through.

    Parameters
    ----------
    given
        The answer that its rationale ends in; None if it has none.
    prefix
        Of ids; letters and digits.
    budget
        Characters of its pictures, about.
    """
    boxes, texts = _parts(rationale)
    size, last = sample.image.size, len(boxes[:SHOWN_LOOKS]) + 1
    photo = embed(sample.image, round(PHOTO * budget))
    crops = _crops(sample, boxes, round((1 - PHOTO) * budget))
    found = marks.spots([(i, box, True) for i, box in enumerate(boxes[:SHOWN_LOOKS], start=1)], size)
    inside = marks.use(f"{prefix}-photo", (0.0, 0.0, float(size[0]), float(size[1])), photo.hard)
    inside += "".join(marks.truth_mark(region, size) for region in sample.regions)
    for before, after in zip(found, found[1:], strict=False):
        inside += marks.path_mark(before, after, _moment(after.number))
    inside += "".join(marks.look_mark(spot, size, _moment(spot.number)) for spot in found)
    label = f"The image, {size[0]} by {size[1]} pixels, {_count(len(sample.regions), 'true region')}, "
    picture = marks.svg((0, 0, *size), inside, f"{label}{_count(len(boxes), 'numbered region')} of the rationale.")
    names = ["Question", *(f"Region {i + 1}" for i in range(last - 1)), "Answer"]
    store = [(f"{prefix}-photo", photo.uri)] + [(f"{prefix}-crop-{i}", c.uri) for i, c in enumerate(crops, start=1)]
    seen = "".join(_crop(sample, boxes[i - 1], crop, i, last, prefix) for i, crop in enumerate(crops, start=1))
    return (
        f'<div class="r3-player" role="group" aria-label="Player of a sample" tabindex="0" data-at="{last}" '
        f'data-labels="{"|".join(names)}">{marks.store(store)}'
        f"{controls(last, last, 'Moment of the rationale')}"
        f'<div class="r3-stage"><figure class="r3-photo">{picture}<figcaption>{_key(sample, boxes)}</figcaption>'
        f'</figure><div class="r3-seen">{seen or _nothing()}</div>'
        f'<ol class="r3-text" role="list">{_texts(sample, boxes, texts, given, last)}</ol></div></div>'
    )


def _nothing() -> str:
    return '<p class="r3-missing">this rationale looks at no region</p>'


def _parts(rationale: Rationale) -> tuple[list[Box], list[str]]:
    """The regions, and the text before the first and after each of them, without tags."""
    boxes: list[Box] = []
    texts = [""]
    for part in rationale.parts:
        if isinstance(part, str):
            texts[-1] += part
        else:
            boxes.append(part)
            texts.append("")
    return boxes, [_THINK.sub(" ", text.partition(OPEN)[0]).strip() for text in texts]


def _crops(sample: Sample, boxes: Sequence[Box], budget: int) -> list[Embedded]:
    shown = boxes[:SHOWN_LOOKS]
    each = max(LEAST, budget // max(1, len(shown)))
    sizes = [(max(1, round(x2 - x1)), max(1, round(y2 - y1))) for x1, y1, x2, y2 in shown]
    return [embed(cut(sample.image, box, size), each) for box, size in zip(shown, sizes, strict=True)]


def _crop(sample: Sample, box: Box, crop: Embedded, number: int, last: int, prefix: str) -> str:
    size: Size = sample.image.size
    inside = marks.use(f"{prefix}-crop-{number}", box, crop.hard)
    inside += "".join(marks.truth_mark(r, size) for r in sample.regions if intersection(r, box) > 0)
    when = _moment(number, last if number == last - 1 else number)
    caption = f"Region {number}, {round(box[2] - box[0])} {TIMES} {round(box[3] - box[1])} pixels of the image"
    picture = marks.svg(box, inside, f"Region {number} of the rationale.", "r3-crop")
    return f"<figure{when}>{picture}<figcaption>{caption}</figcaption></figure>"


def _key(sample: Sample, boxes: Sequence[Box]) -> str:
    said = [f"Image, {sample.image.width} {TIMES} {sample.image.height} pixels"]
    said += ['<span class="r3-sign solid"></span>looked at'] if boxes else []
    said += ['<span class="r3-sign truth"></span>true region'] if sample.regions else []
    return " ".join(f'<span class="r3-key">{one}</span>' for one in said)


def _texts(sample: Sample, boxes: Sequence[Box], texts: Sequence[str], given: str | None, last: int) -> str:
    items = []
    for number, text in enumerate(texts[: SHOWN_LOOKS + 1]):
        head = "" if number == 0 else f'<p class="r3-look">{chip(number)} {_place(sample, boxes[number - 1])}</p>'
        wrote = f'<p class="r3-wrote">{html_words(text, TEXT)}</p>' if text else ""
        if head or wrote:
            items.append(f"<li{_moment(number)}>{head}{wrote}</li>")
    if len(boxes) > SHOWN_LOOKS:
        items.append(f"<li{_moment(last)}>{len(boxes) - SHOWN_LOOKS} more regions are not shown.</li>")
    state = "unknown" if given is None else "right" if same_answer(given, sample.answer) else "wrong"
    size = "r3-given long" if len(sample.answer) > 30 else "r3-given"
    note = {
        "right": f"{badge(*VERDICTS[state])}: the rationale ends in it",
        "wrong": f"{badge(*VERDICTS[state])}: the rationale ends in {html_line(given, 200)}",
        "unknown": "the rationale ends in no answer",
    }[state]
    answer = f'<p><strong class="{size}">{html_line(sample.answer, 300)}</strong></p><p class="r3-note">{note}</p>'
    return "".join([*items, f'<li class="r3-answer"{_moment(last)}>{answer}</li>'])


def _place(sample: Sample, box: Box) -> str:
    numbers = ", ".join(f"{v:.0f}" for v in box)
    said = f"looked at [{numbers}], {where_in(box, sample.image.size)}"
    best = max((iou(box, region) for region in sample.regions), default=None)
    return said + (f"; IoU with a true region {best:.2f}" if best is not None else "")


def _count(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"


def _moment(first: int, last: int | None = None) -> str:
    return f' data-from="{first}"' + (f' data-to="{last}"' if last is not None else "")


# A record as a line of a browser: VLIR samples, answers of an evaluation, rollouts; each opens into its player.
#
# A `Row` holds what one filters and sorts by, bounded and harmless; what is seen when it is opened, its pictures
# above
# all, is made by `Row.open`, and only then read. Simplified: the text that is searched is the beginning of the
# question,
# both answers and the name.
#
#     row = row_of_sample(sample, rationale)
#     row.world, row.looks, row.open().markup("r1", 200_000)

SAMPLE, ANSWER, ROLLOUT = "sample", "answer", "rollout"  # what a row can be
NEEDS = {True: "yes", False: "no", None: "not known"}
GREY = VERDICTS["unknown"][0]
RESULTS = {  # colour, mark, word
    **VERDICTS,
    "partly": (GREY, "\N{ALMOST EQUAL TO}", "partly right"),
    "skipped": (GREY, "\N{EN DASH}", "not asked"),
}


@dataclass(frozen=True)
class Opened:
    """What is seen when a row is opened.

    Attributes
    ----------
    image : for the thumbnail; None where there is none
    markup : from a prefix of ids and a budget in characters of pictures; foreign text in it is escaped
    """

    image: Image.Image | None
    markup: Callable[[str, int], str]


@dataclass(frozen=True)
class Row:
    """One record; all its text is foreign.

    Attributes
    ----------
    kind : SAMPLE, ANSWER or ROLLOUT
    name, question, world, split, arm : text
    given, truth : answers; None where there is none, or it is not known
    result : a key of `RESULTS`
    needs_look : None where this is not known
    looks, reward, score, iou : None where there is no such number
    open : reads what is seen; raises `R3labError` if that cannot be read
    pictured : whether it has a picture
    file, number : where it was read from: the path as it was given, and its place there from 1
    """

    kind: str
    name: str
    question: str
    open: Callable[[], Opened] = field(compare=False, repr=False)
    world: str = ""
    split: str = ""
    arm: str = ""
    given: str | None = None
    truth: str | None = None
    result: str = "unknown"
    needs_look: bool | None = None
    looks: int | None = None
    reward: float | None = None
    score: float | None = None
    iou: float | None = None
    pictured: bool = True
    file: str = ""
    number: int = 0

    def facts(self) -> str:
        """Where it comes from, as markup."""
        need = {True: "a look is needed", False: "no look is needed", None: ""}[self.needs_look]
        found = [self.name, self.world, f"{self.split} split" if self.split else "", self.arm and f"arm {self.arm}"]
        return facts_line([*found, need])


# -- samples ---------------------------------------------------------------------------------------------------------


def answer_in(text: str) -> str | None:
    """What stands in the last `<answer>...</answer>`; None if there is none."""
    before, opened, rest = text.rpartition(OPEN)
    answer, closed, _ = rest.partition(CLOSE)
    return answer.strip() if opened and closed else None


def row_of_sample(sample: Sample, rationale: Rationale, **place: Any) -> Row:
    """A VLIR sample; its result says whether the rationale ends in the true answer."""
    text = "".join(p for p in rationale.parts if isinstance(p, str))
    known = (sample.id, sample.question, sample.answer, sample.world, sample.split, sample.needs_look)
    return sample_row(known, text, len(rationale.boxes), lambda: (sample, rationale), **place)


def sample_row(
    known: tuple[str, str, str, str, str, bool | None],
    text: str,
    looks: int,
    pair: Callable[[], tuple[Sample, Rationale]],
    **place: Any,
) -> Row:
    """A VLIR sample that is read when it is opened.

    Parameters
    ----------
    known
        Name, question, answer, world, split, whether a look is needed.
    text
        Of its rationale.
    looks
        Boxes of its rationale.
    pair
        Reads it.
    place
        `file` and `number` of the row.
    """
    name, question, answer, world, split, needs = known
    given = answer_in(text)

    def opened() -> Opened:
        sample, rationale = pair()

        def markup(prefix: str, budget: int) -> str:
            return headed(question, row.facts(), sample_stage(sample, rationale, given, prefix, budget))

        return Opened(sample.image, markup)

    row = Row(
        SAMPLE,
        name,
        question,
        opened,
        world,
        split,
        given=given,
        truth=answer,
        result="unknown" if given is None else "right" if same_answer(given, answer) else "wrong",
        needs_look=needs,
        looks=looks,
        **place,
    )
    return row


# -- rollouts --------------------------------------------------------------------------------------------------------


def row_of_trajectory(t: Trajectory, again: Callable[[], Trajectory] | None = None, **place: Any) -> Row:
    """A rollout.

    Parameters
    ----------
    t
        With its images, or without where `again` reads it once more with them.
    """
    ending = verdict(t)
    needs = t.truth.get("needs_look")

    read = again if again is not None else lambda: t

    def opened() -> Opened:
        whole = read()
        body = played(whole)
        return Opened(
            photograph(whole), lambda prefix, budget: headed(whole.question, row.facts(), body(prefix, budget))
        )

    row = Row(
        ROLLOUT,
        t.sample_id,
        t.question,
        opened,
        text_or_nothing(t.truth.get("world")),
        text_or_nothing(t.truth.get("split")),
        t.arm,
        given=ending.answer,
        truth=ending.truth,
        result=ending.state,
        needs_look=needs if isinstance(needs, bool) else None,
        looks=len(t.looks),
        reward=math.fsum(t.rewards.values()) if t.rewards else None,
        iou=_overlap(t),
        **place,
    )
    return row


def played(t: Trajectory, score: float | None = None) -> Callable[[str, int], str]:
    """The player of a trajectory, with what it was paid; a score is what an evaluation gave it."""
    said = [f"score {score:g}"] if score is not None else []
    if t.rewards:
        parts = " + ".join(f"{name} {value:.2f}" for name, value in list(t.rewards.items())[:12])
        said.append(f"reward {math.fsum(t.rewards.values()):.2f} = {parts}")
    said.append(f"advantage {t.advantage:+.2f}" if t.advantage is not None else "")
    said.append(f"policy {t.model}" if t.model else "")
    said.append("greedy" if t.temperature == 0 else f"temperature {t.temperature:g}")
    return lambda prefix, budget: stage(t, prefix, budget=budget) + facts_line(said)


def _overlap(t: Trajectory) -> float | None:
    """IoU of the deciding look with the true region, where the truth holds one that is a box."""
    regions = true_regions(t)
    return deciding_iou(replace(t, truth={"regions": [list(regions[-1])]})) if regions else None


def text_or_nothing(value: object) -> str:
    """Text as it is, anything else as nothing."""
    return value if isinstance(value, str) else ""


# Answers of an evaluation as rows of a browser: what `r3lab eval` wrote into its journal, each with its trajectory.
#
# An entry is checked field by field, since a journal may come from anywhere. Simplified: a trajectory that was kept
# is
# read when its row is opened; one of another question is an error then.
#
#     row = row_of_entry({"source": "badges", "arm": "direct", "id": "badges-test-0-0", "outcome": "graded", ...})
#     row.result, row.score                    # "right", 1.0


class EntryError(R3labError):
    """An entry that does not fit; the message names the field, what it holds and what was wanted."""


def row_of_entry(
    entry: Mapping[str, Any],
    split: str = "",
    kept: Callable[[], Trajectory] | None = None,
    where: str = "The entry",
    **place: Any,
) -> Row:
    """An entry of an evaluation's journal (`evaluate.run`).

    Parameters
    ----------
    split
        That was asked.
    kept
        Reads its trajectory, where one was kept.
    where
        Begins the message of an error.

    Raises
    ------
    EntryError
        If a field is missing or wrong.
    """

    def need(name: str, wanted: str, fits: Callable[[Any], bool]) -> Any:
        if not fits(entry.get(name)):
            raise EntryError(f"{where}: field {name!r} must be {wanted}, got {shown(entry.get(name))}.")
        return entry.get(name)

    def maybe(name: str, wanted: str, fits: Callable[[Any], bool]) -> Any:
        return need(name, f"{wanted} or null", lambda value: value is None or fits(value))

    for name in ("source", "arm", "id"):
        need(name, "text", _is_text)
    outcome = need("outcome", "'graded' or 'skipped'", lambda value: value in ("graded", "skipped"))
    graded = outcome == "graded"
    score = float(need("score", "a number", _is_number)) if graded else None
    truth = maybe("truth", "text", lambda value: _is_text(value) or _is_number(value))
    answer, question = maybe("answer", "text", _is_text), maybe("question", "text", _is_text)
    needs, iou = maybe("needs_look", "true, false", lambda v: isinstance(v, bool)), maybe("iou", "a number", _is_number)
    looks = maybe("looks", "a count", lambda value: type(value) is int and 0 <= value < 1 << 31)
    wrote = maybe("text", "text", _is_text) or ""
    ending = ended(text_or_nothing(entry.get("finish"))) if answer is None and graded else ""
    why = "" if graded else f"{text_or_nothing(entry.get('reason'))} {text_or_nothing(entry.get('detail'))}".strip()

    def opened() -> Opened:
        t = kept() if kept is not None else None
        if t is not None and t.sample_id != entry["id"]:
            raise EntryError(f"{where}: the trajectory kept for {shown(entry['id'])} is of {shown(t.sample_id)}.")
        head = question or (t.question if t is not None else "")
        if t is not None:
            body = played(t, score)
            return Opened(photograph(t), lambda prefix, budget: headed(head, row.facts(), body(prefix, budget)))
        sheet = answer_sheet(answer, row.truth, RESULTS[row.result], wrote, _numbers(row), ending, why)
        return Opened(None, lambda prefix, budget: headed(head, row.facts(), sheet))

    row = Row(
        ANSWER,
        entry["id"],
        question or "",
        opened,
        entry["source"],
        split,
        entry["arm"],
        given=answer,
        truth=None if truth is None else str(truth),
        result=_result(score),
        needs_look=needs,
        looks=looks,
        score=score,
        iou=None if iou is None else float(iou),
        pictured=kept is not None,
        **place,
    )
    return row


def _result(score: float | None) -> str:
    if score is None:
        return "skipped"
    return "right" if score >= 1 else "wrong" if score <= 0 else "partly"


def _numbers(row: Row) -> list[str]:
    found = [f"score {row.score:g}" if row.score is not None else ""]
    found.append(f"{row.looks} look{'' if row.looks == 1 else 's'}" if row.looks is not None else "")
    return [*found, f"IoU of the deciding look {row.iou:.2f}" if row.iou is not None else ""]


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_number(value: object) -> bool:
    try:
        return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]
    except OverflowError:  # an integer past the largest float
        return False


JOURNALS = "r3lab.journal"
JOURNAL = Path("records", "journal.jsonl")  # in the folder of an evaluation
TOLD = 100  # problems that are kept in words


@dataclass
class Found:
    """What was read.

    Attributes
    ----------
    rows : records
    left_out : records that do not fit
    problems : of the first hundred of them, place and reason
    """

    rows: list[Row] = field(default_factory=list)
    left_out: int = 0
    problems: list[str] = field(default_factory=list)

    def leave_out(self, message: str) -> None:
        """Count a record that does not fit."""
        self.left_out += 1
        if len(self.problems) < TOLD:
            self.problems.append(message)


def read_rows(paths: Iterable[str | Path], limit: int | None = None) -> Found:
    """Read records.

    Parameters
    ----------
    paths
        In order: a VLIR folder or its `vlir.jsonl`; the folder of `r3lab eval` or its journal; trajectories, or a
        folder that holds such. ``PATH#N`` is the N-th record of a path.
    limit
        The first so many records of each path.

    Raises
    ------
    R3labError
        If a path holds no records, the limit is less than 1, or not one record fits.
    """
    if limit is not None and limit < 1:
        raise R3labError(f"The limit must be at least 1, got {limit}.")
    found, names = Found(), [str(path) for path in paths]
    for name in names:
        path, number = _named(name)
        read, files = _reader(path)
        if number is not None:
            one = next((row for row in read(files, str(path), Found()) if row.number >= number), None)
            if one is None or one.number != number:
                raise R3labError(f"{shown(str(path))} has no record {number:,} that can be read; name another.")
            found.rows.append(one)
        else:
            found.rows += islice(read(files, str(path), found), limit)
    if not found.rows:
        why = f" ({found.left_out:,} do not fit; the first: {found.problems[0]})" if found.left_out else ""
        raise R3labError(f"There is no record to show in {', '.join(map(shown, names)) or 'nothing'}{why}.")
    return found


def _named(name: str) -> tuple[Path, int | None]:
    """A path, and the record of it that is asked for."""
    head, mark, number = name.rpartition("#")
    if mark and number.isascii() and number.isdigit() and len(number) < 12 and not _exists(Path(name)):
        return Path(head), int(number)
    return Path(name), None


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name too long, a null character
        return False


Read = Callable[[Sequence[Path], str, Found], Iterator[Row]]


def _reader(path: Path) -> tuple[Read, list[Path]]:
    """How a path is read, and the files in it."""
    if not _exists(path):
        raise R3labError(f"{shown(str(path))} does not exist; name a folder of records.")
    if not path.is_dir():
        return _told_by_content(path), [path]
    for name, read in ((Path(vlir.LINES), _samples), (JOURNAL, _answers), (Path(JOURNAL.name), _answers)):
        if (path / name).is_file():
            return read, [path / name]
    files = sorted(f for name in (ONE, MANY) for f in path.rglob(name))
    files = [f for f in files if not any(part.startswith(".") for part in f.relative_to(path).parts)]  # half written
    if not files:
        raise R3labError(
            f"{shown(str(path))} holds no {vlir.LINES}, no {JOURNAL} and no saved trajectory; name a VLIR folder, the "
            "folder of `r3lab eval`, or one of trajectories."
        )
    return _rollouts, files


def _told_by_content(path: Path) -> Read:
    """How a file is read, by the format that its first record names."""
    if path.suffix == ".json":
        return _rollouts
    kinds: dict[str, Read] = {vlir.FORMAT: _samples, JOURNALS: _answers, ROLLOUTS: _rollouts}
    first = next((row.data["format"] for row in _lines(path) if row.data.get("format") in list(kinds)), None)
    if first is None:
        raise R3labError(f"{shown(str(path))} holds no VLIR sample, no journal and no trajectory; name another file.")
    return kinds[first]


def _pack(data: dict[str, Any]) -> bytes:
    return zlib.compress(json.dumps(data).encode("ascii"), 1)


def _unpack(packed: bytes) -> Any:
    return json.loads(zlib.decompress(packed))


def _lines(path: Path) -> Iterator[Line]:
    try:
        yield from json_lines(path)
    except OSError as error:
        raise R3labError(f"Cannot read {shown(str(path))}: {error.strerror or error}; check the path.") from error


def _fitting(path: Path, found: Found) -> Iterator[Line]:
    """The lines of a file that are objects; of the others it is told."""
    for line in _lines(path):
        if line.problem is not None:
            found.leave_out(f"{line.where}: {line.problem}")
        else:
            yield line


# -- samples ---------------------------------------------------------------------------------------------------------


def _samples(files: Sequence[Path], name: str, found: Found) -> Iterator[Row]:
    """VLIR samples; images are opened with the records."""
    for line in _fitting(files[0], found):
        try:
            known, text, looks = _sample_fields(line)
        except R3labError as error:
            found.leave_out(str(error))
            continue
        pair = partial(_pair, _pack(line.data), files[0].parent, line.where)
        yield sample_row(known, text, looks, pair, file=name, number=line.number)


def _pair(packed: bytes, folder: Path, where: str) -> tuple[Sample, Rationale]:
    return vlir.from_record(_unpack(packed), folder, where)


def _sample_fields(line: Line) -> tuple[tuple[str, str, str, str, str, bool | None], str, int]:
    """What a row says of a sample, its text, its looks; all but the boxes and the image is checked."""
    data, where = line.data, line.where
    if data.get("format") != vlir.FORMAT or data.get("version") != vlir.VERSION:
        raise SampleError(f"{where}: wanted format {vlir.FORMAT!r} version {vlir.VERSION}, got {shown(data)}")
    for key in ("id", "question", "answer", "world", "split", "image"):
        if not isinstance(data.get(key), str):
            raise SampleError(f"{where}: field {key!r} must be text, got {shown(data.get(key))}")
    needs, parts = data.get("needs_look"), data.get("rationale")
    if needs is not None and not isinstance(needs, bool):
        raise SampleError(f"{where}: field 'needs_look' must be true, false or null, got {shown(needs)}")
    if not isinstance(parts, list) or not parts or not all(isinstance(part, dict) for part in parts):
        raise SampleError(f"{where}: field 'rationale' must be a list with at least one part")
    if not isinstance(data.get("regions"), list):
        raise SampleError(f"{where}: field 'regions' must be a list of boxes")
    text = "".join(part["text"] for part in parts if isinstance(part.get("text"), str))
    known = (data["id"], data["question"], data["answer"], data["world"], data["split"], needs)
    return known, text, sum("box" in part for part in parts)


# -- answers ---------------------------------------------------------------------------------------------------------


def _answers(files: Sequence[Path], name: str, found: Found) -> Iterator[Row]:
    """Entries of an evaluation's journal; of several with one key the last counts."""
    split, lines = "", {}
    for line in _fitting(files[0], found):
        if line.data.get("format") == JOURNALS:
            same = line.data.get("same")
            asked = same.get("split") if isinstance(same, dict) else None
            split = asked if isinstance(asked, str) else ""
        else:
            lines[str(line.data.get("key", line.number))] = (line.where, line.number, _pack(line.data))
    out = files[0].parent.parent
    for where, number, packed in sorted(lines.values(), key=lambda one: one[1]):
        entry = _unpack(packed)
        try:
            kept = _kept(out, entry)
            if kept is not None and not isinstance(entry.get("question"), str):  # journals did not always hold it
                entry["question"] = _one(kept).question
            read = partial(_one, kept, True) if kept is not None else None
            yield row_of_entry(entry, split, read, where, file=name, number=number)
        except R3labError as error:
            found.leave_out(str(error))


def _kept(out: Path, entry: dict[str, Any]) -> Path | None:
    """The file of the trajectory that was kept of an answer, as `evaluate.run.kept_in` names it; None without one."""
    source, arm, number = entry.get("source"), entry.get("arm"), entry.get("number")
    if not (isinstance(source, str) and isinstance(arm, str) and type(number) is int and 0 <= number < 1 << 31):
        return None
    home, path = out / "trajectories", out / "trajectories" / arm / f"{source}-{number:05d}" / ONE
    try:
        inside = path.resolve().is_relative_to(home.resolve())  # a name that leads out of the folder is no name
        return path if inside and path.is_file() else None
    except (OSError, ValueError):
        return None


def _one(path: Path, images: bool = False) -> Trajectory:
    """A trajectory from a file that holds one."""
    try:
        if images:
            held = load(path)
            assert isinstance(held, Trajectory)
            return held
        return from_record(schema.parse(path.read_text(encoding="utf-8"), path.name), path.name)
    except (OSError, UnicodeDecodeError, schema.SchemaError) as error:
        raise TrajectoryError(f"Cannot read {shown(str(path))}: {shown(str(error))}.") from error


# -- rollouts --------------------------------------------------------------------------------------------------------


def _rollouts(files: Sequence[Path], name: str, found: Found) -> Iterator[Row]:
    """Saved trajectories, numbered through all files."""
    number = 0
    for path in files:
        if path.suffix != ".jsonl":
            number += 1
            try:
                yield row_of_trajectory(_one(path), partial(_one, path, True), file=name, number=number)
            except R3labError as error:
                found.leave_out(f"{path.parent.name}/{path.name}: {error}")
            continue
        before = number
        for line in _lines(path):
            number = before + line.number
            try:
                if line.problem is not None:
                    raise TrajectoryError(f"{line.where}: {line.problem}")
                t = from_record(line.data, line.where)
            except R3labError as error:
                found.leave_out(str(error))
                continue
            again = partial(_again, _pack(line.data), line.where, path.parent)
            yield row_of_trajectory(t, again, file=name, number=number)


def _again(packed: bytes, where: str, folder: Path) -> Trajectory:
    return from_record(_unpack(packed), where, folder)
