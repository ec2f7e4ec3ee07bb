"""`r3lab worlds` and `r3lab vlir`: build samples of the worlds, have rationales written, filter, describe, convert.

Every step reads one folder or file and makes a new one, which appears whole or not at all, also after Ctrl-C. A record
that does not fit is left out with its line and the reason, or ends the run with `--strict`. `rationale` alone goes on
where it was stopped or killed; the key of a hosted service is read from the environment (`OPENAI_API_KEY`, or the
variable that --key-variable names), never from the command line.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from tqdm import tqdm

from ..core.errors import R3labError, shown
from ..core.files import whole_file, write_whole
from ..core.settings import Amount, Count, Share, Whole, at_least
from ..vlir.card import measure
from ..vlir.convert import BUDGET, FORMATS, WRITTEN, ConvertError, FrameName, OwnSamples, read, write
from ..vlir.filters import FILTERS, Judge, filter_folder
from ..vlir.filters import OWN as ALL_FILTERS
from ..vlir.rules import Limits
from ..vlir.sample import Sample
from ..vlir.teacher import EndpointSettings, teach
from ..vlir.worlds import OWN as ALL_WORLDS
from ..vlir.worlds import WORLDS, drawn, drawn_pairs
from ..vlir.worlds.material import SPLITS, split_number
from . import LeftOut, as_options

World = Annotated[str, f"{', '.join(WORLDS)}, or FILE.py:CLASS"]
Split = Annotated[str, ", ".join(SPLITS)]
Readable = Annotated[str, ", ".join(FORMATS)]
Writable = Annotated[str, ", ".join(WRITTEN)]
Frame = Annotated[str, ", ".join(one.value for one in FrameName)]
Filter = Annotated[
    str, "; ".join(f"{name}: {one.about}" for name, one in FILTERS.items()) + "; or FILE.py:FUNCTION of your own"
]
SHEET = 400  # samples on one sheet
T = TypeVar("T")


def worlds(
    *,
    sheet: bool = False,
    world: World = "",
    split: Split = "train",
    count: Annotated[int, at_least(1, int, SHEET)] = 24,
    seed: Whole = 0,
    out: str = "",
) -> int:
    """List the worlds, or draw samples of them with their true regions.

        r3lab worlds --sheet --out runs/worlds.png

    Parameters
    ----------
    sheet : draw a contact sheet
    world : one alone (default: all, in turn) of
    split : one of
    count : samples
    seed : of the samples
    out : where to: .png, .svg or .pdf (default: runs/worlds.png or runs/NAME.png)

    Raises
    ------
    R3labError
        If the world, the split or the file's ending is unknown.
    """
    chosen = [ALL_WORLDS.use(world)] if world else list(WORLDS.values())
    split_number(split)
    if not sheet and not out:
        for one in WORLDS.values():
            print((sys.modules[type(one).__module__].__doc__ or "").strip().partition("\n")[0])
        for name, package in ALL_WORLDS.offered().items():
            print(f"`{name}`: offered by the package {package}.")
        return 0
    from ..show.gallery import sheet as draw_sheet  # matplotlib: a second
    from ..show.picture import FORMATS as PICTURES

    names = [one.name for one in chosen]
    path = Path(out or f"runs/{names[0] if world else 'worlds'}.png")
    if path.suffix.lower().removeprefix(".") not in PICTURES:
        raise R3labError(f"Cannot draw into {shown(str(path))}: end its name in .{', .'.join(PICTURES)}.")
    samples = sorted(drawn(chosen, split, seed, range(count)), key=lambda sample: names.index(sample.world))
    print(draw_sheet(samples, f"{', '.join(names)}; {split} split, seed {seed}").save(path))
    return 0


def build(
    *,
    world: Sequence[World] = tuple(WORLDS),
    count: Count = 1000,
    seed: Whole = 0,
    split: Split = "train",
    spread: Amount = 0.0,
    needless: Share = 0.0,
    hasty: Share = 0.0,
    out: str,
) -> int:
    """Write samples of the worlds with a teacher's rationales.

        r3lab vlir build --count 1000 --spread 0.2 --needless 0.3 --hasty 0.1 --out vlir/raw

    Parameters
    ----------
    world : in turn, of
    count : samples in all
    seed : of samples and teacher
    split : one of
    spread : boxes miss by this share of their sides
    needless : share that looks where nothing needs it
    hasty : share that answers without the look it needs
    out : folder to make
    """
    pairs = drawn_pairs(world, split, seed, count, spread, needless, hasty)
    path = write(_bar(pairs, "build", count), out, "vlir")
    print(f"{path}: {count:,} samples")
    return 0


def sift(
    folder: str,
    limits: Limits,
    *,
    out: str,
    filters: Sequence[Filter] = (),
    judge_model: str = "",
    judge: Sequence[Literal["support", "necessity"]] = (),
    seed: Whole = 0,
    strict: bool = False,
) -> int:
    """Keep the samples that pass all filters; say why the others do not.

        r3lab vlir filter vlir/raw --out vlir/kept --judge-model runs/cold-start/policy

    Parameters
    ----------
    folder : VLIR folder
    out : folder to make: what is kept, rejected.jsonl, filter.txt
    filters : these alone (default: all that ship); all, or some of
    judge_model : checkpoint folder, or name, of a policy that judges in place of rules
    judge : the filters that it judges (default: both)
    seed : of its answers
    strict : end at the first line that cannot be read
    """
    names = [name for one in filters or ["all"] for name in (FILTERS if one == "all" else [one])]
    for name in names:  # all are looked at before anything is loaded
        ALL_FILTERS.use(name)
    judged = judge or ("support", "necessity")
    judges: dict[str, Judge] = {}
    if judge_model:
        if not set(judged) & set(names):
            raise R3labError(f"--judge-model judges {' and '.join(judged)}, which --filters leaves out.")
        from ..evaluate.legibility import policy_judges  # torch: seconds
        from ..models.policy import Policy

        bound = policy_judges(Policy.load(judge_model), seed)
        judges = {name: bound[name] for name in judged if name in names}
    report = filter_folder(folder, out, limits, judges, names, strict, sys.stderr.isatty())
    print(f"{report}\n{out}: vlir.jsonl, rejected.jsonl, filter.txt")
    return 0


def card(folder: str, *, out: str = "", title: str = "", strict: bool = False) -> int:
    """Draw and tabulate what a VLIR folder holds.

        r3lab vlir card vlir/kept

    Parameters
    ----------
    folder : VLIR folder
    out : where README.md and card.png go (default: into the folder)
    title : over the card (default: the folder's name)
    strict : end at the first line that cannot be read
    """
    from ..show.card import MARK, card_page, draw_card  # matplotlib: a second

    place = Path(out or folder)
    page = place / "README.md"
    if page.exists() and not page.read_text(encoding="utf-8", errors="replace").startswith(MARK):
        raise R3labError(f"{shown(str(page))} is not one of our cards; choose another folder with --out.")
    title = title or Path(folder).resolve().name
    left_out = LeftOut()
    reading = read(folder, "vlir", strict=strict, on_skip=left_out)
    found = measure((sample, told) for sample, told in _bar(reading, "card") if told is not None)
    if not found.samples:
        raise R3labError(f"{shown(folder)} holds no sample that can be read ({left_out.count:,} left out).")
    text = card_page(found, title)
    picture = draw_card(found, title).save(place / "card.png")
    with whole_file(page) as partial:
        partial.write_text(text, encoding="utf-8")
    print(f"{reading.summary}\n{page}\n{picture}")
    return 0


def convert(
    source: str,
    target: str,
    *,
    from_: Readable = "",
    to: Writable,
    frame: Frame = "",
    images: str = "",
    boxes: str = "",
    budget: tuple[int, int] = BUDGET,
    strict: bool = False,
) -> int:
    """Write records of one format in another.

        r3lab vlir convert vlir/kept vlir/official --to vlm-r3-sft

    Parameters
    ----------
    source : file or folder to read
    target : folder to make; for parquet, a file
    from_ : the format (default: told by the fields):
    to : the format:
    frame : of the boxes, where the file leaves it open:
    images : folder that image paths are relative to (default: of the source)
    boxes : scene graphs of gqa, OCR of textvqa (file) or docvqa (folder)
    budget : tokens of an image, least and most, when resized-28 boxes were written
    strict : end at the first record that does not fit
    """
    left_out, lacking = LeftOut(), LeftOut()
    told = {"format": from_, "frame": frame, "images": images, "boxes": boxes}
    known = {name: value for name, value in told.items() if value}

    def leave_out(why: str) -> None:
        if strict:
            raise ConvertError(f"{reading.where}: {why}")
        lacking(f"{reading.where}: {why}")

    try:
        reading = read(source, strict=strict, budget=budget, on_skip=left_out, **known)
        path = write(_bar(reading, "convert"), target, to, leave_out)
    except ConvertError as error:  # the names of arguments in a message are the command's options
        raise as_options(error, "from") from None
    print(f"{path}: {reading.taken - lacking.count:,} records, from {reading.format} to {to}")
    print(reading.summary + (f"; {lacking.count:,} of them cannot be written as {to}" if lacking.count else ""))
    return 0


def rationale(
    endpoint: EndpointSettings,
    *,
    world: World = "",
    split: Split = "train",
    count: Count = 100,
    seed: Whole = 0,
    data: str = "",
    format: Readable = "",
    frame: Frame = "",
    images: str = "",
    out: Path,
    limit: Whole | None = None,
    retry_rejected: bool = False,
) -> int:
    """Have interleaved rationales written by a model behind any OpenAI-compatible endpoint (vLLM, Ollama, hosted).

        r3lab vlir rationale --data train.json --base-url http://127.0.0.1:8000/v1 --model NAME --out vlir/raw

    The same command goes on after a kill; the key is read from the environment and never written anywhere.

    Parameters
    ----------
    world : draw the samples from one of
    split : of the world:
    count : samples of the world
    seed : of the world
    data : read the samples from a file or folder of any format that can be read
    format : of --data (default: told by its fields):
    frame : coordinate frame of the boxes in --data, where it is open:
    images : folder of the images of --data (default: beside it)
    out : VLIR folder, new or to go on with
    limit : ask at most N questions in this run; 0: only write
    retry_rejected : ask again where the reply was rejected

    Returns
    -------
    int
        0; 1 if some questions got no reply, or none was accepted, and 130 after Ctrl-C.
    """
    if bool(world) == bool(data):
        raise R3labError("give either --world NAME or --data FILE")
    samples: Iterable[Sample]
    try:
        if world:
            samples = drawn(world, split, seed, range(count))
        else:
            samples = OwnSamples("vlir rationale", data, frame, images, format, LeftOut())
        tally = teach(iter(samples), endpoint, out, limit, retry_rejected)
    except ConvertError as error:
        raise as_options(error) from None
    except KeyboardInterrupt:
        what = "interrupted; the same command goes on where it stopped, asking nothing twice"
        print(f"\nr3lab vlir rationale: {what}", file=sys.stderr)
        return 130
    print(f"{out / 'vlir.jsonl'}: {tally.report}")
    return int(not tally.good)


def annotate(folder: str) -> int:
    """Draw boxes and write questions on your own pictures, in JupyterLab.

        r3lab annotate photos

    Every change is in FOLDER/annotations.jsonl, which `r3lab ask`, `eval` and `train rgrpo` take as --data.

    Parameters
    ----------
    folder : of pictures; a notebook, annotate.ipynb, is put beside them and opened
    """
    from nbformat import v4, writes

    from ..show.annotate import Annotations

    place = Path(folder).resolve()
    Annotations(place)  # what is wrong with the folder is said here, not in a cell
    notebook = place / "annotate.ipynb"
    if not notebook.exists():
        code = f"from r3lab.show.annotate import annotate\n\nannotate({str(place)!r})"
        kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}  # else Lab asks
        page = v4.new_notebook(cells=[v4.new_code_cell(code)], metadata={"kernelspec": kernel})
        write_whole(notebook, writes(page).encode("utf-8"))
    print(f"{notebook}: run its cell; Ctrl-C here ends JupyterLab, what was written stays")
    return subprocess.call([sys.executable, "-m", "jupyterlab", str(notebook)])


def _bar(things: Iterable[T], doing: str, count: int | None = None) -> Iterable[T]:
    """The things, with a bar on a terminal."""
    bar: Iterable[T] = tqdm(things, desc=doing, total=count, unit=" samples", disable=None, mininterval=1)
    return bar
