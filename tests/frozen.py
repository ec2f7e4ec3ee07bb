"""Record what the commands do, to compare it after a change that must not change it.

    python tests/frozen.py record BEFORE                                    # in the checkout before the change
    python tests/frozen.py record AFTER --checkpoints BEFORE/checkpoints    # in the one after it
    python tests/frozen.py compare BEFORE AFTER                             # a table; 1 if anything differs
    python tests/frozen.py record AFTER --only family-qwen3_vl --only ask   # some items, beside what is there

It drives the checkout in the current folder by its command line alone and reads the files that commands write, so
modules may move. Seeds are fixed and there is one thread, so two records of one commit on one machine are equal; on
another machine, or with another torch, bits differ. Left out: times, memory, dates, styles and scripts of pages (their
text and pictures are compared, pictures by pixel). `--help` is recorded too; where it differs the table says "changed",
which is no failure. What the commands wrote stays under FOLDER/work to be looked at.
"""

from __future__ import annotations

import argparse
import base64
import csv
import difflib
import hashlib
import html.parser
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.numpy import load_file

SECONDS = 600  # a command may take
FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "smolvlm", "idefics3")
QUESTIONS = {
    "badges": "Which digit is on the blue square?",
    "documents": "What is in the field Room?",
    "charts": "What is the value of the largest bar?",
    "trails": "Start at the purple triangle. Which digit is at the end of the trail?",
}
SMALL = "--prompts 3 --group 4 --max-new-tokens 48 --learning-rate 0.001 --save-every 1 --show-every 1 --seed 3"
OBJECTIVES = {  # two steps of the shipped cold start with each
    "dapo": "--redraws 1 --overlong mask",
    "grpo": "--cooldown 2 --arm full-image-again",
    "gspo": "--reward paper --kl-weight 0.05",
    "cispo": "--reward official-code --epochs 2",
    "dr-grpo": "--lora-rank 4 --data checkpoints/vlir",
    "rloo": "--entropy-weight 0.01 --credit-box 2 --pass-groups 1 --checkpointing 1",
    "reinforce++-baseline": "--world trails --arm one-look --no-freeze-vision",
}
COMMANDS = (
    "", "ask", "explain", "run", "course", "sweep", "worlds", "eval", "report", "browse", "dashboard", "gallery",
    "doctor", "train", "train tiny", "train sft", "train rgrpo", "train ablations", "train worlds", "train further",
    "vlir", "vlir build", "vlir rationale", "vlir filter", "vlir card", "vlir convert",
)  # fmt: skip
FORGOTTEN = re.compile(r"second|memory|date|machine|^place$|^key$|^pieces$")  # names of fields
VOLATILE = re.compile(  # in texts: durations, sizes, speeds, dates, versions
    r"\b\d+(\.\d+)? (s|min|h|MB|MiB|GB|GiB|samples a second)\b|\b\d{4}-\d\d-\d\d\b|(?<=torch )\S+"
)
MINIATURES = """
import importlib, pathlib, re, sys
def find(name):  # wherever it lives
    for path in sorted(pathlib.Path("r3lab").rglob("*.py")):
        if re.search(rf"^def {name}\\(", path.read_text("utf-8"), re.M):
            module = ".".join(path.with_suffix("").parts).removesuffix(".__init__")
            return getattr(importlib.import_module(module), name)
    sys.exit(f"no function {name} in r3lab")
for family in sys.argv[2:]:
    made = find("miniature")(family, find("vocabulary")(), seed=0, plain=False)
    find("save_policy")(made, f"{sys.argv[1]}/random/{family}")
"""


class Failed(Exception):
    """A command ended badly; the message is kept in the item's place."""


class Bench:
    """A folder in which commands of a checkout run: FOLDER/work, with `assets` and `checkpoints` linked into it."""

    def __init__(self, root: Path, folder: Path, checkpoints: Path) -> None:
        self.root, self.work = root, folder / "work"
        self.work.mkdir(parents=True, exist_ok=True)
        for name, target in (("assets", root / "assets"), ("checkpoints", checkpoints)):
            (self.work / name).unlink(missing_ok=True)
            (self.work / name).symlink_to(target)
        threads = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        fixed = {"HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "PASSIVE", "PYTHONHASHSEED": "0", "COLUMNS": "100"}
        gone = ("R3LAB_ASSETS", "CUDA_VISIBLE_DEVICES")
        self.env = {name: value for name, value in os.environ.items() if name not in gone}
        self.env |= threads | fixed | {"PYTHONPATH": str(root), "CUDA_VISIBLE_DEVICES": ""}

    def start(self, command: str) -> subprocess.Popen[str]:
        """`python -m r3lab COMMAND`, with what it says on pipes."""
        words, pipe = [sys.executable, "-m", "r3lab", *shlex.split(command)], subprocess.PIPE
        return subprocess.Popen(words, cwd=self.work, env=self.env, stdout=pipe, stderr=pipe, text=True)

    def __call__(self, command: str) -> list[str]:
        """What a command says on stdout, line by line; Failed if it ends badly or takes too long."""
        process = self.start(command)
        try:
            said, complaint = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise Failed(f"r3lab {command}: longer than {SECONDS} s") from None
        if process.returncode:
            raise Failed(f"r3lab {command}: code {process.returncode}: {complaint.strip()[-600:]}")
        return [plain(line.replace(str(self.root), "ROOT")) for line in said.splitlines()]

    def read(self, path: str) -> Any:
        """What a file or folder below the work folder holds; see `content`."""
        return content(self.work / path)


def plain(value: Any) -> Any:
    """JSON without what differs between two runs of the same commit."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items() if not FORGOTTEN.search(key)}
    if isinstance(value, list):
        return [plain(one) for one in value]
    return VOLATILE.sub("#", value) if isinstance(value, str) else value


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def content(path: Path) -> Any:
    """What a reader would see in a file, or in all files of a folder, as JSON."""
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file())
        return {str(p.relative_to(path)): content(p) for p in files}
    kind = path.suffix
    if kind == ".safetensors":
        return {name: digest(t.tobytes() + str((t.dtype, t.shape)).encode()) for name, t in load_file(path).items()}
    if kind == ".npz":
        with np.load(path) as arrays:
            return {name: [list(arrays[name].shape), digest(arrays[name].tobytes())] for name in arrays.files}
    if kind in (".png", ".jpg"):
        return picture(path.read_bytes(), thumb=not re.fullmatch(r"[0-9a-f]{64}", path.stem))
    text = path.read_text("utf-8")
    if kind == ".json":
        return plain(json.loads(text))
    if kind == ".jsonl":
        return [plain(json.loads(line)) for line in text.splitlines()]
    if kind == ".csv":
        return [plain(row) for row in csv.DictReader(io.StringIO(text))]
    return page(text) if kind == ".html" else [plain(line) for line in text.splitlines()]


def picture(data: bytes, thumb: bool = True) -> dict[str, Any]:
    """Size and hash of the decoded pixels, and a grey thumbnail of 64 x 64, a row of hexadecimal digits a line."""
    with Image.open(io.BytesIO(data)) as image:
        pixels = image.convert("RGBA")
    found: dict[str, Any] = {"size": list(pixels.size), "pixels": digest(pixels.tobytes())}
    if thumb:
        small = np.asarray(pixels.convert("L").resize((64, 64), Image.Resampling.BOX))
        found["thumb"] = [row.tobytes().hex() for row in small]
    return found


class _Visible(html.parser.HTMLParser):
    """Texts of a page, and of its images, outside scripts and styles."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.said = 0, list[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.hidden += tag in ("script", "style")
        self.said += [" ".join(value.split()) for name, value in attrs if name in ("alt", "aria-label") and value]

    def handle_endtag(self, tag: str) -> None:
        self.hidden -= tag in ("script", "style")

    def handle_data(self, data: str) -> None:
        if not self.hidden and data.strip():
            self.said.append(" ".join(data.split()))


def page(text: str) -> dict[str, Any]:
    """Visible text of a page in order, and all pictures embedded anywhere in it, as a sorted list of hashes."""
    reader = _Visible()
    reader.feed(text)
    embedded = re.findall(r"data:image/(?:png|jpeg|webp);base64,([A-Za-z0-9+/=]+)", text)
    pictures = {picture(base64.b64decode(data), thumb=False)["pixels"] for data in embedded}
    return {"text": [plain(line) for line in reader.said], "pictures": sorted(pictures)}


# Items: each runs commands below a folder of its own name, and returns what shall be compared.


def run_of(bench: Bench, folder: str) -> dict[str, Any]:
    """Log, weights and rollouts of a training run."""
    at = bench.work / folder
    found: dict[str, Any] = {"log": content(at / "log.jsonl")}
    found["weights"] = {file.name: content(file) for file in sorted(at.glob("policy/*.safetensors"))}
    return found | {name: content(at / name) for name in ("rollouts", "river") if (at / name).is_dir()}


def family(bench: Bench, name: str) -> dict[str, Any]:
    """Two steps of SFT; five of R-GRPO, in one go, and killed after the third and resumed."""
    item, model, found = f"family-{name}", "", dict[str, Any]()
    if name != "shipped":
        model = f"--model checkpoints/{name}/policy"
        bench(f"train sft {model} --data checkpoints/vlir --steps 2 --batch 4 --out {item}/sft")
        found["sft"] = run_of(bench, f"{item}/sft")
    command = f"train rgrpo {model} {SMALL} --steps 5 --out {item}"
    bench(f"{command}/whole")
    whole = found["rgrpo"] = run_of(bench, f"{item}/whole")
    process, begin = bench.start(f"{command}/killed"), time.monotonic()
    while process.poll() is None and time.monotonic() - begin < SECONDS:
        if (bench.work / item / "killed/checkpoints/step-000003").is_dir():
            break
        time.sleep(0.005)
    process.kill()
    process.communicate()
    bench(f"{command}/killed --resume")
    resumed = run_of(bench, f"{item}/killed")
    for run in (whole, resumed):  # the first row holds the settings
        run["log"] = [row for row in run["log"] if "step" in row]
    found["killed and resumed, equal"] = equal = {key: whole[key] == resumed[key] for key in whole}
    if not all(equal.values()):
        print(f"  {item}: the run that was killed and resumed is another one: {equal}")
    return found


def objectives(bench: Bench) -> dict[str, Any]:
    """Two steps with each of several objectives and settings."""
    for name, options in OBJECTIVES.items():
        bench(f"train rgrpo --objective {name} {SMALL} --steps 2 {options} --out objectives/{name}")
    return {name: run_of(bench, f"objectives/{name}") for name in OBJECTIVES}


def vlir(bench: Bench) -> dict[str, Any]:
    """A small set of all worlds, built, filtered, described, and converted there and back."""
    said = [
        bench("vlir build --count 24 --seed 3 --spread 0.2 --needless 0.3 --hasty 0.1 --out vlir/raw"),
        bench("vlir filter vlir/raw --out vlir/kept"),
        bench("vlir card vlir/kept"),
        bench("vlir convert vlir/kept vlir/official --to vlm-r3-sft"),
        bench("vlir convert vlir/official vlir/back --to vlir"),
    ]
    return {"said": said, "files": bench.read("vlir")}


def ask(bench: Bench) -> dict[str, Any]:
    """The four shipped pictures."""
    asked = {name: f"assets/pictures/{name}.png {shlex.quote(question)}" for name, question in QUESTIONS.items()}
    said = {name: bench(f"ask {words} --out ask/{name}") for name, words in asked.items()}
    return {"said": said, "files": bench.read("ask")}


def explain(bench: Bench) -> dict[str, Any]:
    """A fresh record, one of several looks quickly, and the shipped one with the pictures that it does not carry."""
    after(bench, "ask")
    said = [
        bench("explain ask/badges --others ask/documents ask/charts --out explain/fresh"),
        bench("explain ask/trails --quick --out explain/quick"),
    ]
    asked = f"assets/pictures/badges.png {shlex.quote(QUESTIONS['badges'])} --model assets/tiny/rgrpo"
    said.append(bench(f"ask {asked} --out explain/shipped"))
    shipped = json.loads((bench.root / "assets/records/explained/trajectory.json").read_text("utf-8"))
    shipped["images"] = sorted(path.stem for path in (bench.work / "explain/shipped/images").iterdir())
    (bench.work / "explain/shipped/trajectory.json").write_text(json.dumps(shipped), "utf-8")
    said.append(bench("explain explain/shipped --model assets/tiny/rgrpo --out explain/again"))
    return {"said": said, "files": {name: bench.read(f"explain/{name}") for name in ("fresh", "quick", "again")}}


def evaluate(bench: Bench) -> dict[str, Any]:
    """Two arms on a world, with some trajectories kept."""
    said = bench("eval --world badges --arm interleaved --arm direct --limit 20 --keep 4 --out eval/badges")
    return {"said": said, "files": bench.read("eval/badges")}


def pages(bench: Bench) -> dict[str, Any]:
    """`report`, `browse`, `dashboard`, and the contact sheet of the worlds."""
    after(bench, "explain")
    after(bench, "eval")
    log = "assets/tiny/logs/rgrpo-0.jsonl"
    said = [
        bench("report ask/charts explain/fresh -o pages/report.html"),
        bench("browse checkpoints/vlir eval/badges -o pages/browse.html"),
        bench(f"dashboard {log} -o pages/dashboard.html --png pages/dashboard.png"),
        bench("worlds --sheet --out pages/worlds.png --count 8"),
    ]
    return {"said": said, "files": bench.read("pages")}


def gallery(bench: Bench) -> dict[str, Any]:
    """Every picture of the gallery; its pages by text and pictures."""
    return {"said": bench("gallery -o gallery/all"), "files": bench.read("gallery/all")}


def sweep(bench: Bench) -> dict[str, Any]:
    """The table of two points of a notebook."""
    book = shlex.quote(str(bench.root / "notebooks/02_rgrpo.ipynb"))
    points = "-p seed=0,1 -p steps=2 -p samples=12 --quick"
    bench(f"sweep {book} {points} --jobs 1 --threads 1 --retries 0 -o sweep/two")
    return {"table": bench.read("sweep/two/table.csv")}


def readme(bench: Bench) -> dict[str, Any]:
    """The tables between the markers of README and RESULTS."""
    text = "".join((bench.root / name).read_text("utf-8") for name in ("README.md", "RESULTS.md"))
    blocks = re.findall(r"<!-- results: (\w+) -->\n(.*?)<!-- end -->", text, re.S)
    return {name: block.splitlines() for name, block in blocks}


def helps(bench: Bench) -> dict[str, Any]:
    """`--help` of every command."""
    found: dict[str, Any] = {}
    for command in COMMANDS:
        try:
            found[f"r3lab {command}".strip()] = bench(f"{command} --help")
        except Failed as failure:
            found[f"r3lab {command}".strip()] = [str(failure)]
    return found


ITEMS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    **{f"family-{name}": partial(family, name=name) for name in (*FAMILIES, "shipped")},
    **{"objectives": objectives, "vlir": vlir, "ask": ask, "explain": explain, "eval": evaluate, "pages": pages},
    **{"gallery": gallery, "sweep": sweep, "readme": readme, "help": helps},
}


def after(bench: Bench, name: str) -> None:
    """What item `name` writes, made if it is not there."""
    if not (bench.work / name).is_dir():
        ITEMS[name](bench)


def make_checkpoints(bench: Bench) -> None:
    """Checkpoints of every family that have learned the protocol a little, and the samples they learned it from."""
    folder = bench.work / "checkpoints"
    if (folder / "done").is_file():
        return
    call = [sys.executable, "-c", MINIATURES, str(folder.resolve()), *FAMILIES]
    subprocess.run(call, cwd=bench.root, env=bench.env, check=True, timeout=SECONDS)
    bench("vlir build --world badges --count 96 --spread 0.2 --needless 0.3 --hasty 0.1 --out checkpoints/vlir")
    how = "--data checkpoints/vlir --steps 100 --batch 8 --learning-rate 0.004"
    for name in FAMILIES:
        bench(f"train sft --model checkpoints/random/{name} {how} --out checkpoints/{name}")
    (folder / "done").touch()


def record(folder: Path, checkpoints: Path | None, only: list[str]) -> int:
    """Run the items in the checkout of the current folder; 1 if one failed."""
    root, folder = Path.cwd(), folder.resolve()
    checkpoints = (checkpoints or folder / "checkpoints").resolve()
    checkpoints.mkdir(parents=True, exist_ok=True)
    (folder / "items").mkdir(parents=True, exist_ok=True)
    bench = Bench(root, folder, checkpoints)
    look = [sys.executable, "-c", "import r3lab; print(r3lab.__file__)"]
    used = subprocess.run(look, cwd=folder, env=bench.env, capture_output=True, text=True).stdout.strip()
    if Path(used).parent.parent != root:
        sys.exit(f"run it in the root of a checkout: here r3lab would be {used or 'missing'}")
    make_checkpoints(bench)
    bad = 0
    for name in only or ITEMS:
        begin = time.monotonic()
        shutil.rmtree(bench.work / name, ignore_errors=True)
        try:
            found = ITEMS[name](bench)
        except (Failed, OSError, ValueError, KeyError) as failure:
            bad, found = 1, {"failed": f"{type(failure).__name__}: {failure}"}
        (folder / "items" / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")
        print(f"{name:22}{time.monotonic() - begin:6.1f} s  {found.get('failed', 'recorded')}", flush=True)
    return bad


def differences(a: Any, b: Any, at: str = "") -> Iterator[tuple[str, str]]:
    """Every place where two recorded values differ, with what stands there."""
    if isinstance(a, dict) and isinstance(b, dict):
        if "thumb" in a and "thumb" in b:
            if (a["size"], a["pixels"]) != (b["size"], b["pixels"]):
                yield at, f"{located(a['thumb'], b['thumb'])}; size {a['size']} -> {b['size']}"
            return
        for key in [*a, *(key for key in b if key not in a)]:
            place = f"{at} / {key}" if at else str(key)
            if key not in a or key not in b:
                yield place, f"only {'before' if key in a else 'after'}"
            else:
                yield from differences(a[key], b[key], place)
    elif isinstance(a, list) and isinstance(b, list):
        if len(a) != len(b) and all(isinstance(one, str) for one in (*a, *b)):
            for word, i, j, k, m in difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
                if word != "equal":
                    yield f"{at}[{i}]", f"{word}: {str(a[i:j])[:80]} -> {str(b[k:m])[:80]}"
            return
        if len(a) != len(b):
            yield at, f"{len(a)} entries -> {len(b)}"
        for number, (one, other) in enumerate(zip(a, b, strict=False)):
            yield from differences(one, other, f"{at}[{number}]")
    elif a != b and isinstance(a, float) and isinstance(b, float):
        yield at, f"{a!r} -> {b!r}, {abs(a - b) / max(abs(a), abs(b)):.1e} of it"
    elif a != b or type(a) is not type(b):
        yield at, f"{str(a)[:80]!r} -> {str(b)[:80]!r}"


def located(a: list[str], b: list[str]) -> str:
    """Where two thumbnails differ, in hundredths of width and height."""
    one, other = (np.array([list(bytes.fromhex(row)) for row in thumb], int) for thumb in (a, b))
    off = abs(one - other)
    if off.max() < 2:
        return "pixels differ, by less than the thumbnail shows"
    (top, bottom), (left, right) = ((100 * at.min() // 64, 100 * (at.max() + 1) // 64) for at in np.nonzero(off > 1))
    return f"pixels differ within x {left}-{right} %, y {top}-{bottom} %, by up to {off.max()} of 255"


def compare(before: Path, after_: Path, most: int) -> int:
    """Print a table of the items; 1 if one differs, failed or is missing."""
    names = {path.stem for folder in (before, after_) for path in (folder / "items").glob("*.json")}
    bad = 0
    for name in sorted(names, key=[*ITEMS, *sorted(names)].index):
        paths = [folder / "items" / f"{name}.json" for folder in (before, after_)]
        missing = [str(path) for path in paths if not path.is_file()]
        if missing:
            print(f"{name:22}MISSING  {missing[0]}")
            bad = 1
            continue
        a, b = (json.loads(path.read_text("utf-8")) for path in paths)
        found = [("", one["failed"]) for one in (a, b) if "failed" in one] or list(differences(a, b))
        word = (
            "equal" if not found else "changed" if name == "help" else "FAILED" if "failed" in {*a, *b} else "DIFFERS"
        )
        bad |= word in ("FAILED", "DIFFERS")
        print(f"{name:22}{word:9}{f'{len(found)} places' if found else ''}")
        for place, what in found[: most or None]:
            print(f"    {place}: {what}")
    if not names:
        sys.exit(f"nothing is recorded in {before} and {after_}")
    return int(bad)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="step", required=True)
    writes = steps.add_parser("record")
    writes.add_argument("folder", type=Path)
    writes.add_argument(
        "--checkpoints", type=Path, help="those of another record, so that both begin with the same bytes"
    )
    writes.add_argument("--only", action="append", default=[], choices=list(ITEMS), help="these items alone")
    holds = steps.add_parser("compare")
    holds.add_argument("before", type=Path)
    holds.add_argument("after", type=Path)
    holds.add_argument("--most", type=int, default=5, help="places shown of an item; 0: all (default 5)")
    args = parser.parse_args()
    if args.step == "compare":
        return compare(args.before, args.after, args.most)
    return record(args.folder, args.checkpoints, args.only)


if __name__ == "__main__":
    sys.exit(main())
