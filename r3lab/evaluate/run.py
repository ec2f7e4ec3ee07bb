"""An evaluation: every arm answers the questions of every source, and each answer is in a journal once it is graded.

    source = benchmark_source(get_benchmark("vstar"), "vstar/test.jsonl", limit=100)
    source = world_source(get_world("badges"), "test", count=500)
    with Journal("runs/eval/records/journal.jsonl", {"model": "tiny"}) as journal:
        found = evaluate({"direct": (policy, "")}, [source], [get_arm("direct")], journal, max_looks=8)
    found["badges", "direct"]                   # [entry, ...]; again after a kill: it goes on
    table_of([source], ["direct"], found).lines[0].interval     # Interval(value=0.86, low=0.82, high=0.89, n=500, ...)

An entry of the journal is known by everything that the answer depends on: the arm's setting, the question, its image.
One that is there is never asked for again. The arms answer a batch one after the other, so that an interrupted run has
got equally far in all of them, and an overview is encoded once for all. Simplified: a kill loses the batch in progress;
a question without an image is left out and counted; the differences are those of the first arm to each of the others.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..core.arms import INTERLEAVED, Arm
from ..core.errors import R3labError
from ..core.files import Journal, first_interrupt
from ..core.images import content_hash
from ..core.records import ForeignError
from ..models.checkpoint import checkpoint_folder
from ..models.policy import Features, Policy
from ..train.log import facts
from ..trajectory import save
from ..vlir.convert import OwnSamples
from ..vlir.sample import Sample, of_split
from ..vlir.worlds import World
from .benchmarks import Benchmark, BenchmarkReader
from .grades import Difference, EvaluationTable, Grade, Measure, ScoreRow, difference, interval, published, units
from .legibility import Item, ask, refusals
from .scores import OWN, Score, graded
from .value import disobeyed, rolled, summary

Entry = Mapping[str, Any]  # what is written down of an answer; see `evaluate`
Found = dict[tuple[str, str], list[Entry]]  # by source and arm
GRADED, VALUED, SKIPPED = "graded", "valued", "skipped"  # what became of a question
VALUE = "value of looks"  # stands for the arm where it is not one arm's answer that is asked for
NO_IMAGE, NOT_ASKED = "no image", "cannot be asked of this policy"  # why a question is skipped
HOW_VALUED = (
    "Value of looks: answers forced without a look and with one, sampled at temperature 1 and greedily. Whether a look "
    "helps in a sample is told by its own few sampled answers, which draws needless and missed towards chance."
)
NOT_OBEYED = (
    "what is said here of looks that help, are needless or missed holds of no policy that was not trained to obey the "
    "words by which it is forced, and this one does not always."
)
KEPT_TEXT = 4000  # characters of the question, and of what was written, that an entry keeps
KEPT_FACTS = ("needs_look", "iou", "looks", "valid", "tokens")


@dataclass(frozen=True)
class Graded(Item):
    """A question of a source, and the grade of an answer as the loop read it, None if there is none."""

    grade: Callable[[str | None], Grade] = field(compare=False, repr=False)


@dataclass(frozen=True)
class Source:
    """Where questions come from, and how their answers are scored.

    Attributes
    ----------
    name, title : short, for folders and tables; in print
    items : the questions, read once
    measures : the source's numbers, from the entries of graded answers
    count : questions, None where that shows at the end
    remarks : what a reader of its numbers must know
    reader : of a file: what it left out, and why
    """

    name: str
    title: str
    items: Iterable[Graded]
    measures: Callable[[Sequence[Entry]], list[Measure]]
    count: int | None = None
    remarks: Sequence[str] = ()
    reader: BenchmarkReader | OwnSamples | None = None

    @property
    def left_out(self) -> int:
        """Records that could not be read so far."""
        return 0 if self.reader is None else self.reader.skipped


def benchmark_source(
    benchmark: Benchmark, path: str | Path, limit: int | None = None, images: str | Path | None = None
) -> Source:
    """The first `limit` questions of a benchmark's local copy, or all.

    Parameters
    ----------
    benchmark, path, images : see `Benchmark.read` (`images` is its `root`)
    limit : most questions

    Raises
    ------
    ForeignError
        If there is no such file, or nothing in it fits the benchmark.
    """
    title, reader = benchmark.title, benchmark.read(path, images)
    remarks = [f"{title}: {benchmark.source}.", *filter(None, [benchmark.remark])]
    if limit is not None:
        remarks.append(f"{title}: at most the first {limit:,} questions, so not the benchmark's own number.")
    records = islice(reader, limit)
    first = next(records, None)  # a file of something else is found out before anything else is done
    if first is None:
        raise ForeignError(f"None of the {reader.skipped:,} records fits {title}; the first: {reader.problems[0]}")
    items = (
        Graded(r.id, r.question, r.image, {"answer": r.answer}, partial(benchmark.grade, r))
        for r in chain([first], records)
    )

    def measures(entries: Sequence[Entry]) -> list[Measure]:
        return benchmark.measures([Grade(e["id"], e["score"], e["groups"]) for e in entries])

    return Source(benchmark.name, title, items, measures, None, remarks, reader)


def world_source(world: World, split: str, count: int, seed: int = 0, score: str = "exact") -> Source:
    """The first `count` samples of a world's split, each answer scored by `scores.OWN`'s function of that name."""
    samples = of_split((world.sample(split, index, seed) for index in range(count)), split)
    return sample_source(world.name, f"{world.name}, {split} split", samples, count, score)


def own_source(name: str, samples: OwnSamples, limit: int | None = None, score: str = "exact") -> Source:
    """Somebody's own samples, at most `limit`, the first read here; what they do not say is not measured."""
    every = islice(samples, limit)
    made = sample_source(name, name, chain([next(every)], every), None, score)

    def measures(entries: Sequence[Entry]) -> list[Measure]:
        if any(e["needs_look"] is not None for e in entries):
            return made.measures(entries)
        known = [e for e in entries if e["iou"] is not None]
        looked = Measure("look_rate", (units(Grade(e["id"], float(e["valid"] > 0)) for e in entries),))
        return [made.measures(entries)[0], Measure("iou", (units(Grade(e["id"], e["iou"]) for e in known),)), looked]

    return replace(made, measures=measures, reader=samples)


def sample_source(name: str, title: str, samples: Iterable[Sample], count: int | None, score: str) -> Source:
    """Samples, each answer scored by that name; the others as of `Source`."""
    how = OWN.use(score)
    items = (Graded(s.id, s.question, s.image, s.truth, partial(_graded, s, how, score)) for s in samples)
    measures = partial(world_measures, name=score.rpartition(":")[2].partition("@")[0])
    return Source(name, title, items, measures, count)


def _graded(sample: Sample, score: Score, where: str, answer: str | None) -> Grade:
    return Grade(sample.id, graded(score, answer, sample.answer, where))


def world_measures(entries: Sequence[Entry], name: str = "exact") -> list[Measure]:
    """Right answers, of all and where a look is needed; IoU of the deciding look; who looks, needed and not.

    They have the names of `train.log.summary`; the first two that of the score.
    """
    needed = [e for e in entries if e["needs_look"]]
    free = [e for e in entries if e["needs_look"] is False]

    def measure(name: str, of: Sequence[Entry], value: Callable[[Entry], float]) -> Measure:
        return Measure(name, (units(Grade(e["id"], value(e)) for e in of),))

    return [
        measure(name, entries, lambda e: e["score"]),
        measure(f"{name}_needed", needed, lambda e: e["score"]),
        measure("iou", [e for e in needed if e["iou"] is not None], lambda e: e["iou"]),
        measure("look_rate_needed", needed, lambda e: float(e["valid"] > 0)),
        measure("look_rate_unneeded", free, lambda e: float(e["valid"] > 0)),
    ]


def evaluate(
    policies: Mapping[str, tuple[Policy, str]],
    sources: Sequence[Source],
    arms: Sequence[Arm],
    journal: Journal,
    *,
    batch: int = 32,
    keep: int = 0,
    value: int = 0,
    **how: Any,
) -> Found:
    """Have every question answered by every arm that the journal has no entry of.

    Parameters
    ----------
    policies
        By the arm's name, each with what it is known by: its `fingerprint`, or "" where the journal is of one policy
        for all arms.
    sources, arms
        Each name once.
    journal
        Its folder's parent gets the trajectories that are kept: `trajectories/ARM/SOURCE-NUMBER`.
    batch
        Questions that are answered together.
    keep
        Of so many questions, the first of each source, the trajectories are saved.
    value
        Sampled rollouts of each sort by which looks are valued in the arm `interleaved` (`value.rolled`); 0: none.
        Their entries are those of `VALUE`, in the place of an arm.
    how
        Settings of `rollout`: temperature, seed, max_looks, max_new_tokens.

    Returns
    -------
    dict
        The entries of all questions by source and arm, in the order of the questions, without their text and what was
        written; those that were settled before as well.

    Raises
    ------
    R3labError
        If a source is broken or a trajectory cannot be saved; what was answered before is in the journal.
    KeyboardInterrupt
        After Ctrl-C, when the batch in progress is in the journal; a second one drops that batch.
    """
    asked_in = {arm.name: arm for arm in arms} | ({VALUE: INTERLEAVED} if value else {})
    places: dict[tuple[str, str], list[str]] = {(source.name, name): [] for source in sources for name in asked_in}
    counts = [source.count for source in sources]
    total = None if None in counts else sum(n for n in counts if n is not None) * len(asked_in)
    with first_interrupt() as stop, tqdm(total=total, desc="eval", unit=" answers", disable=None, mininterval=1) as bar:
        for source in sources:
            numbered = enumerate(source.items)
            while some := list(islice(numbered, batch)):
                questions = [_question(source, item) for _, item in some]
                shared: dict[str, Features] = {}
                for name, arm in asked_in.items():
                    own, known_as = policies[arm.name]
                    asked = [json.dumps([name, value, q]) for q in questions] if name == VALUE else questions
                    keys = [_key(question, arm, known_as) for question in asked]
                    places[source.name, name] += keys
                    new = [(key, n, item) for key, (n, item) in zip(keys, some, strict=True) if key not in journal]
                    if name == VALUE:
                        _value(own, source, new, journal, value, **how)
                    else:
                        features = {} if known_as else shared
                        _answer(own, source, arm, new, journal, keep, **how, features=features)
                    bar.update(len(some))
                    if stop.is_set():
                        raise KeyboardInterrupt
    wanted = {key for keys in places.values() for key in keys}
    lines = {
        e["key"]: {k: v for k, v in e.items() if k not in ("question", "text")} for e in journal if e["key"] in wanted
    }
    return {place: [lines[key] for key in keys] for place, keys in places.items()}


def kept_in(out: Path, source: str, arm: str, number: int) -> Path:
    """The folder of a trajectory that is kept."""
    return out / "trajectories" / arm / f"{source}-{number:05d}"


def _question(source: Source, item: Graded) -> str:
    """What a question is known by: its source, its image's pixels, its words and its truth."""
    hashes = [content_hash(item.image)] if item.image else []
    return json.dumps([source.name, item.id, hashes, item.question, item.truth])


def _key(question: str, arm: Arm, known_as: str) -> str:
    """What a journal knows an answer by; an arm that has come to mean something else is another, and so is an arm's own
    policy, known as that, of other weights."""
    told = [asdict(replace(arm, about="")), question, *([known_as] if known_as else [])]
    return hashlib.sha256(json.dumps(told).encode("ascii")).hexdigest()[:32]


def _answer(
    policy: Policy,
    source: Source,
    arm: Arm,
    asked: Sequence[tuple[str, int, Graded]],
    journal: Journal,
    keep: int,
    **how: Any,
) -> None:
    """Answer questions (key, number in the source, item); an entry each, also of those that cannot be asked."""
    items, numbers = [item for _, _, item in asked], [number for _, number, _ in asked]
    answers = ask(policy, items, numbers, arm=arm, **how)
    for (key, number, item), t in zip(asked, answers, strict=True):
        question = item.question[:KEPT_TEXT]
        head = {"source": source.name, "arm": arm.name, "id": item.id, "number": number, "question": question}
        if isinstance(t, str):
            reason, detail = (NOT_ASKED, t) if item.image else (NO_IMAGE, "")
            journal.append(key, {**head, "outcome": SKIPPED, "reason": reason, "detail": detail})
            continue
        if number < keep:
            save(t, kept_in(journal.path.parent.parent, source.name, arm.name, number))
        grade, counted = item.grade(t.answer), facts(t)
        entry = {
            "outcome": GRADED,
            "score": grade.score,
            "groups": grade.groups,
            "answer": t.answer,
            "truth": item.truth["answer"],
            "finish": t.finish,
            **{name: counted[name] for name in KEPT_FACTS},
            "text": t.response_text[:KEPT_TEXT],
        }
        journal.append(key, head | entry)


def _value(
    policy: Policy,
    source: Source,
    asked: Sequence[tuple[str, int, Graded]],
    journal: Journal,
    k: int,
    **how: Any,
) -> None:
    """Value looks at questions (key, number in the source, item); an entry each, also of those that cannot be asked."""
    whys = refusals(policy, [item for _, _, item in asked])
    able = [one for one, why in zip(asked, whys, strict=True) if not why]
    items, numbers = [item for _, _, item in able], [number for _, number, _ in able]
    how = {name: setting for name, setting in how.items() if name != "temperature"}  # both: greedy, and sampled at 1
    found = iter(rolled(policy, items, numbers, k, score=lambda item, t: item.grade(t.answer).score, **how))
    for (key, number, item), why in zip(asked, whys, strict=True):
        entry = {"source": source.name, "arm": VALUE, "id": item.id, "number": number, "outcome": VALUED}
        entry |= {"needs_look": item.truth.get("needs_look"), "rollouts": None if why else next(found)}
        journal.append(key, entry)


def fingerprint(folder: Path) -> str:
    """A checkpoint by name and content: its files' names and sizes, and the first and last megabyte of each.

    Raises
    ------
    R3labError
        If there is no such folder, or it holds no weights.
    """
    folder = checkpoint_folder(folder, fetch=False)
    files = sorted(path for path in folder.glob("*") if path.suffix in (".json", ".safetensors") and path.is_file())
    if not any(path.suffix == ".safetensors" for path in files):
        raise R3labError(f"There are no *.safetensors weights in {folder}; give the folder of a checkpoint.")
    found = hashlib.sha256()
    for path in files:
        size = path.stat().st_size
        found.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            found.update(file.read(1 << 20))
            file.seek(max(0, size - (1 << 20)))
            found.update(file.read())
    return f"{folder.resolve().name} {found.hexdigest()[:16]}"


def table_of(
    sources: Sequence[Source], arms: Sequence[str], found: Found, remarks: Sequence[str] = ()
) -> EvaluationTable:
    """The numbers of what was answered.

    Parameters
    ----------
    sources
        After they were read, in the order of the table.
    arms
        Names; the first is the one that the others are compared with.
    found
        Of `evaluate`.
    remarks
        What else a reader must know; the sources' own follow.
    """
    table = EvaluationTable(remarks=list(remarks))
    for source in sources:
        measured: dict[str, list[Measure]] = {}
        for arm in arms:
            entries = found[source.name, arm]
            graded = [e for e in entries if e["outcome"] == GRADED]
            left_out = source.left_out + len(entries) - len(graded)
            looks = sum(e["valid"] for e in graded) / len(graded) if graded else None
            measured[arm] = source.measures(graded)
            table.lines.extend(ScoreRow(source.name, arm, m.name, interval(m), looks, left_out) for m in measured[arm])
        for second in arms[1:]:
            others = {m.name: m for m in measured[second]}
            for m in measured[arms[0]]:
                delta = difference(m, others[m.name]) if m.name in others else None
                if delta is not None and (between := interval(delta)) is not None:
                    table.differences.append(Difference(source.name, arms[0], second, m.name, between))
        why = Counter(e["reason"] for e in found[source.name, arms[0]] if e["outcome"] == SKIPPED)
        told = [f"{count:,} {reason}" for reason, count in why.most_common()]  # the same for every arm
        told += [f"{source.left_out:,} cannot be read"] if source.left_out else []
        table.remarks.extend(source.remarks)
        table.remarks.extend([f"{source.title}: questions left out: {', '.join(told)}."] if told else [])
        table.published.extend(published("rows", source.name))
    valued = {s.name: [e for e in found.get((s.name, VALUE), ()) if e["rollouts"]] for s in sources}
    table.values.update({name: summary(entries) for name, entries in valued.items() if entries})
    if table.values:
        table.remarks.append(HOW_VALUED)
        not_done = ((name, disobeyed(own)) for name, own in table.values.items())
        table.remarks.extend(f"{name}: {NOT_OBEYED} It {told}." for name, told in not_done if told)
    if len(table.values) > 1:
        table.values["all"] = summary([entry for entries in valued.values() for entry in entries])
    return table
