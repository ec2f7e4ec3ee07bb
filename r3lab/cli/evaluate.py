"""`r3lab eval`: measure a policy in one or several arms, on a benchmark's local copy or on the worlds.

    r3lab eval --benchmark vstar --data vstar/test.jsonl --model CHECKPOINT --arm interleaved direct --out runs/vstar
    r3lab eval --world badges trails --arm interleaved --arm direct --limit 200 --keep 4 --out runs/worlds

In the folder: `records/journal.jsonl` as it goes, one line an answer; `trajectories/ARM/` with --keep; at the end
`table.md` and `table.json`. The same command again, after a kill, after Ctrl-C, or with more arms, worlds or questions,
goes on and asks for no answer twice. Another model or another way of asking wants another folder.

Where each arm has a policy of its own, as `r3lab train worlds` makes them, {arm} in the model's folder is its name:

    r3lab eval --world all --arm all --model "runs/worlds/rgrpo-{arm}-0" --out runs/arms
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from ..core import arms as armed
from ..core.arms import ARMS, INTERLEAVED
from ..core.errors import R3labError, shown
from ..core.files import Journal, circumstances, shipped_policy, write_whole
from ..core.settings import Amount, Count, Whole
from ..evaluate.benchmarks import BENCHMARKS, get_benchmark
from ..evaluate.scores import OWN as SCORES
from ..vlir import worlds as places
from ..vlir.convert import ConvertError, FrameName, OwnSamples
from ..vlir.worlds import WORLDS
from ..vlir.worlds.material import SPLITS, split_number
from . import LeftOut, as_options

if TYPE_CHECKING:  # these bring torch: seconds, which --help need not wait for
    from ..evaluate.grades import EvaluationTable
    from ..evaluate.run import Source

ALL = "all"  # in place of names
ARM = "{arm}"  # in a model's folder: the name of the arm
SAMPLES, QUICK, TOKENS, QUICK_TOKENS = 500, 40, 512, 224  # of a world, of anything with --quick; of an answer
JOURNAL = Path("records", "journal.jsonl")
BARE = (
    "This policy is asked the bare question, without the prompt of an arm: of an arm that it was not trained in, the "
    "numbers say only what the setting of the loop does to it."
)


def evaluate(
    *,
    benchmark: Annotated[str, ", ".join(BENCHMARKS)] = "",
    data: str = "",
    frame: Annotated[str, ", ".join(one.value for one in FrameName)] = "",
    images: str = "",
    world: Sequence[Annotated[str, ", ".join(WORLDS)]] = (),
    split: Annotated[str, ", ".join(SPLITS)] = "test",
    limit: Count | None = None,
    score: str = "exact",
    arm: Sequence[Annotated[str, "; ".join(f"{one.name} {one.about}" for one in ARMS.values())]] = (),
    model: str = "",
    temperature: Amount = 0.0,
    seed: Whole = 0,
    max_looks: Whole = 8,
    max_new_tokens: Count | None = None,
    batch: Count = 32,
    quick: bool = False,
    keep: Whole = 0,
    value: Whole = 0,
    out: str,
    arguments: Sequence[str] = (),
) -> int:
    """Measure a policy in one or several arms, on a benchmark's local copy or on worlds; killed, the same goes on.

        r3lab eval --world badges --arm interleaved --arm direct --limit 100 --out runs/eval

    Parameters
    ----------
    benchmark : with --data, one of
    data : its file or folder, in its public format; alone, a file of your own with image, question, answer
    frame : of the boxes in a file of your own, where it is open:
    images : folder of the images that it names (default: of --data)
    world : FILE.py:CLASS of your own, all, or some of
    split : of the worlds:
    limit : the first N questions of each (default: all; 500 of a world)
    score : of an answer, of worlds and your own: exact, anls, or FILE.py:FUNCTION of (answer, truth)
    arm : the first is compared with the others; FILE.py:ROW, all, or some of (default: interleaved):
    model : folder of a checkpoint, in which {arm} stands for the arm's name (default: the tiny policy)
    temperature : of the sampling; 0 is greedy
    seed : of the worlds and the sampling
    max_looks : at most; an arm may allow fewer
    max_new_tokens : of an answer with its reasoning (default: 512; 224 with --quick)
    batch : questions answered together
    quick : a first impression: 40 questions of each, short answers
    keep : save the trajectories of the first N questions
    value : what looks are worth to arm interleaved, by N sampled answers without and with one (default: not measured)
    out : folder of the records and the table

    Returns
    -------
    int
        0; 130 after Ctrl-C.

    Raises
    ------
    R3labError
        If something given cannot be used.
    """
    arms = [armed.OWN.use(name) for name in _names(arm or [INTERLEAVED.name], [INTERLEAVED.name, *ARMS])]
    if bool(world) == bool(benchmark or data):
        raise R3labError("Give either --benchmark NAME with --data PATH, or --data PATH of your own, or --world NAME.")
    if benchmark and not data:
        raise R3labError("--benchmark and --data belong together: name the file of its questions.")
    if value == 1 or value and INTERLEAVED not in arms:
        raise R3labError("--value takes 2 or more, and the arm interleaved, whose looks it values.")
    from ..evaluate import run
    from ..models.policy import Policy, check_template

    tokens = max_new_tokens or (QUICK_TOKENS if quick else TOKENS)
    how = {"temperature": temperature, "seed": seed, "max_looks": max_looks, "max_new_tokens": tokens}
    models = {one.name: Path(model.replace(ARM, one.name)) if model else shipped_policy() for one in arms}
    one_each = ARM in model
    known_as = {name: run.fingerprint(path) for name, path in models.items()}
    score = SCORES.pinned(score)
    first = limit or (QUICK if quick else None)
    sources: list[Source] = []
    if benchmark:
        sources.append(run.benchmark_source(get_benchmark(benchmark), data, first, images or None))
    elif data:
        try:
            sources.append(run.own_source(Path(data).stem, OwnSamples("eval", data, frame, images), first, score))
        except ConvertError as error:
            raise as_options(error) from None
    else:
        split_number(split)
        worlds = [places.OWN.use(name) for name in _names(world, WORLDS)]
        sources += [run.world_source(one, split, first or SAMPLES, seed, score) for one in worlds]
    folder = Path(out)
    if (folder / "table.json").exists() and not (folder / JOURNAL).exists():
        raise R3labError(f"{shown(out)} holds a table that is not of `r3lab eval`; give another folder.")
    same = {
        "benchmark": sources[0].name if benchmark else None,
        "data": str(Path(data).resolve()) if data else None,
        "split": None if data else split,
        "score": None if score == "exact" else score,
        "model": model if one_each else known_as[arms[0].name],
        **{name.replace("_", "-"): value for name, value in how.items()},
    }
    with Journal(folder / JOURNAL, same) as journal:
        loaded = {path: Policy.load(path) for path in dict.fromkeys(models.values())}  # seconds: checks came before
        for policy in loaded.values():
            check_template(policy)
        own = {name: (loaded[path], known_as[name] if one_each else "") for name, path in models.items()}
        try:
            found = run.evaluate(own, sources, arms, journal, batch=batch, keep=keep, value=value, **how)
        except KeyboardInterrupt:
            print("\nr3lab eval: interrupted; the same command goes on where it stopped", file=sys.stderr)
            return 130
    untrained = not one_each and policy.bare and any(one is not INTERLEAVED for one in arms)
    table = run.table_of(sources, [one.name for one in arms], found, [BARE] if untrained else [])
    left_out = LeftOut()
    for problem in (one for source in sources if source.reader for one in source.reader.problems):
        left_out(problem)
    graded = [(*place, e["number"]) for place, of in found.items() for e in of if e["outcome"] == run.GRADED]
    lacking = [one for one in graded if one[2] < keep and not run.kept_in(folder, *one).is_dir()]
    if lacking:
        told = f"{len(lacking)} answers were given before --keep wanted their trajectories; a new folder has them all"
        print(told, file=sys.stderr)
    _write(table, folder, arguments, {"arms": [one.name for one in arms], **same})
    return 0


def _names(given: Sequence[str], known: Iterable[str]) -> list[str]:
    """Names as they were given, each once."""
    return list(dict.fromkeys(name for one in given for name in (known if one == ALL else [one])))


def _write(table: EvaluationTable, out: Path, given: Sequence[str], same: dict[str, Any]) -> None:
    """Print the table, and write it as a page and as data."""
    from ..show.effects import scores_page, scores_text  # matplotlib: a second

    record = {**circumstances(shlex.join(["r3lab", "eval", *given])), "settings": same, **table.record()}
    model = same["model"].rpartition(" ")[0] or same["model"]
    title = f"{model}: {', '.join(dict.fromkeys(line.source for line in table.lines))}"
    write_whole(out / "table.md", scores_page(table, title).encode("utf-8"))
    write_whole(out / "table.json", (json.dumps(record, indent=1) + "\n").encode("utf-8"))
    print(f"{scores_text(table)}\n{out / 'table.md'}")
