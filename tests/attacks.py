"""Attack r3lab: kills, spoiled files, hostile checkpoints, texts, outputs, images and pages. A table says what held.

    python tests/attacks.py                       # everything, hours on two cores
    python tests/attacks.py --small               # everything, a tenth of it
    python tests/attacks.py kills --rounds 20     # one part; --rounds says how hard
    python tests/attacks.py own --rounds 200 --seed 3

What counts as a fault: a traceback, a failure without a line that says why, more seconds or memory than a part allows,
a final result that differs from the undisturbed one, something lost that was kept before, or hostile input that is run.
Kills, own, checkpoints and text drive commands alone: modules may move. Faults keep their folder and are named at the
end.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
from attacking import ROOT, TINY, Tally, environment, must, outcome, start
from attacks_inside import images, outputs, pages
from hostile import JUNK, spoiled

from r3lab.course.building_vlir import Loopback

QUICK = "--prompts 2 --group 2 --max-new-tokens 24 --save-every 1 --show-every 1 --seed 3"


def fingerprint(folder: Path) -> dict[str, str]:
    """Hash of what a finished run must leave the same: weights by their bytes, tables and logs without times."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if not path.is_file() or "checkpoints" in name or path.suffix in (".ipynb", ".html", ".png", ".log", ".lock"):
            continue
        data = path.read_bytes()
        if path.suffix in (".json", ".jsonl"):
            rows = (
                [json.loads(line) for line in data.decode().splitlines()]
                if path.suffix == ".jsonl"
                else json.loads(data)
            )
            rows = _timeless(rows)
            if path.name == "journal.jsonl":  # in the order in which replies came
                rows = sorted(rows, key=lambda row: json.dumps(row, sort_keys=True))
            data = json.dumps(rows, sort_keys=True).encode()
        elif path.suffix == ".csv":
            continue
        found[name] = hashlib.sha256(data).hexdigest()[:12]
    return found


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        gone = ("second", "memory", "date", "machine", "place", "out", "started", "ended", "command", "host", "pid")
        return {key: _timeless(one) for key, one in value.items() if not any(word in key for word in gone)}
    return [_timeless(one) for one in value] if isinstance(value, list) else value


def little_notebooks(folder: Path) -> None:
    """Two notebooks that train nothing: runs of them cost what starting a kernel does."""
    folder.mkdir()
    for name in ("00_little", "01_little"):
        nb = nbformat.v4.new_notebook()
        nb.cells = [
            nbformat.v4.new_code_cell("seed = 0", metadata={"tags": ["parameters"]}),
            nbformat.v4.new_code_cell("import time\n\ntime.sleep(1)"),
            nbformat.v4.new_code_cell("from r3lab.run.record import record\n\nrecord(double=2 * seed)"),
        ]
        nbformat.write(nb, folder / f"{name}.ipynb")


# Kills


class Slow(Loopback):
    """The endpoint of the course, which takes its time."""

    def act(self, question: str) -> Any:
        time.sleep(0.2)
        return super().act(question)


def kills(folder: Path, rounds: int, rng: random.Random) -> Tally:
    """SIGKILL at random moments, the same command again until it is done: nothing lost, and finals as if undisturbed.

    Lost is what a command had kept before an attempt and no longer keeps after it (`kept`).
    """
    tally = Tally()
    must("vlir build --world badges --count 24 --seed 3 --out vlir", folder)
    little_notebooks(folder / "course")
    teacher = Slow()  # outlives every attempt
    asked = f"--base-url {teacher.url} --model loopback --concurrency 2 --timeout 20"
    commands = {  # the command, and what is added when it goes on
        "rgrpo": (f"train rgrpo --steps 4 {QUICK} --out OUT", "--resume"),
        "sft": (f"train sft --model {TINY} --data vlir --steps 12 --batch 4 --save-every 2 --out OUT", "--resume"),
        "base": ("base OUT", ""),
        "eval": ("eval --world badges --arm interleaved --limit 24 --keep 4 --out OUT", ""),
        "filter": ("vlir filter vlir --out OUT", ""),
        "rationale": (f"vlir rationale --data vlir/vlir.jsonl --out OUT {asked}", ""),
        "sweep": ("sweep course/00_little.ipynb -p seed=0,1 --jobs 1 --threads 1 -o OUT", ""),
        "course": ("course course --out OUT --resume", ""),
    }
    with teacher:
        for name, (command, again) in commands.items():
            if KILLED and name not in KILLED:
                continue
            tally.tried += killed(name, command, again, folder, rounds, rng, tally)
    return tally


def killed(name: str, command: str, again: str, folder: Path, rounds: int, rng: random.Random, tally: Tally) -> int:
    """Kill a command so often, as it goes on or begins anew; returns how many attempts that took."""
    begin = time.monotonic()
    must(command.replace("OUT", f"whole-{name}"), folder)
    whole = time.monotonic() - begin
    wanted, out = fingerprint(folder / f"whole-{name}"), folder / f"killed-{name}"
    kills = attempts = ended = most = 0
    before: dict[str, float] = {}
    while attempts < rounds * 5 and not (kills >= rounds and ended):
        more = again if (out / "checkpoints").exists() else ""
        process = subprocess.Popen(
            start(f"{command.replace('OUT', out.name)} {more}"), cwd=folder, env=environment(),
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        timer = threading.Timer(whole * rng.uniform(0.3, 1.1), lambda p=process: os.killpg(p.pid, signal.SIGKILL))
        if kills < rounds:
            timer.start()
        begin = time.monotonic()
        _, said = process.communicate()
        timer.cancel()
        attempts += 1
        now = kept(out)
        if lost := sorted(thing for thing, far in before.items() if now.get(thing, 0) < far):
            tally.fault(f"{name}: lost after {kills} kills: {lost[:3]}")
        before, most = now, max(most, len(now))
        if process.returncode == -signal.SIGKILL:
            kills, ended = kills + 1, 0
        elif process.returncode:
            tally.fault(f"{name}: after {kills} kills code {process.returncode}: {said.strip()[-300:]}")
            break
        else:
            whole = min(whole, time.monotonic() - begin)
            ended, got = ended + 1, fingerprint(out)
            if got != wanted:
                differ = sorted(key for key in got.keys() | wanted if got.get(key) != wanted.get(key))
                tally.fault(f"{name}: after {kills} kills other finals: {differ[:5]}")
            if left := [path for path in out.rglob(".*") if path.name.endswith(("-old", "-part"))]:
                tally.fault(f"{name}: left behind {left[:3]}")
            if kills < rounds:  # done before enough kills: once more from the start
                shutil.rmtree(out)
                before = {}
    if kills < rounds or not ended:
        tally.fault(f"{name}: only {kills} kills in {attempts} attempts, or no end")
    print(
        f"  {name}: {kills} kills in {attempts} attempts; up to {most} things kept, {len(wanted)} finals compared",
        flush=True,
    )
    return attempts


def kept(out: Path) -> dict[str, float]:
    """How far a command is, of each thing that it need not do again: 1 for a settled line of a journal and a finished
    run or point, the step of a run's newest checkpoint, more than any step for a finished policy."""
    found: dict[str, float] = {str(path): 1 for path in out.rglob("result.json") if _stays(path)}
    for journal in (*out.rglob("journal.jsonl"), *out.rglob("answers.jsonl")):
        found |= dict.fromkeys(journal.read_text("utf-8").split("\n")[:-1], 1)
    for path in out.rglob("checkpoints/step-*"):
        name = str(path.parents[1]).removesuffix(".run")
        found[name] = max(found.get(name, 0), int(path.name.removeprefix("step-")))
    return found | {str(path.parent): math.inf for path in out.rglob("config.json") if _stays(path)}


def _stays(path: Path) -> bool:
    """Whether a file is no part of something in progress."""
    return not any(part == "checkpoints" or part.startswith(".") or part.endswith(".run") for part in path.parts)


# Own files, edited or torn


def own(folder: Path, rounds: int, rng: random.Random) -> Tally:
    """Each file that r3lab wrote itself, torn or edited in one place: a line that says which file and what to do."""
    tally = Tally()
    must("vlir build --world badges --count 8 --seed 3 --out vlir", folder)
    must(f"train rgrpo --steps 2 {QUICK} --out rgrpo", folder)
    must(f"train sft --model {TINY} --data vlir --steps 2 --batch 2 --out sft", folder)
    must("eval --world badges --arm interleaved --limit 4 --keep 2 --out eval", folder)
    must(f"ask {ROOT}/assets/pictures/badges.png digit? --out ask", folder)
    must("explain ask --quick", folder)
    little_notebooks(folder / "course")
    must("sweep course/00_little.ipynb -p seed=0 --jobs 1 -o sweep", folder)
    readers = {  # commands that read what a folder holds; after a colon those that load a policy, every fifth time
        "rgrpo": ["dashboard rgrpo/log.jsonl -o d.html", f":train rgrpo --steps 2 {QUICK} --out rgrpo --resume"],
        "sft": ["dashboard sft/log.jsonl -o d.html", ":eval --model sft/policy --world badges --limit 1 --out e"],
        "eval": ["browse eval -o b.html", ":eval --world badges --arm interleaved --limit 4 --keep 2 --out eval"],
        "ask": ["report ask -o r.html", ":explain ask --quick --out x"],
        "vlir": ["vlir filter vlir --out f", "vlir card vlir", "browse vlir -o b.html"],
        "sweep": [":sweep course/00_little.ipynb -p seed=0 --jobs 1 --retries 0 -o sweep"],
    }
    pristine = folder / "pristine"
    pristine.mkdir()
    for name in readers:
        shutil.copytree(folder / name, pristine / name)
    os.chdir(folder)
    for _turn in range(rounds):
        dear = rng.random() < 1 / 5
        name = rng.choice([name for name in readers if name != "sweep"] * 4 + ["sweep"] * dear)
        read = "**/*" if dear else {"rgrpo": "log.jsonl", "sft": "log.jsonl"}.get(name, "**/*")
        files = [path for path in sorted((folder / name).glob(read)) if path.is_file() and path.stat().st_size]
        path = rng.choice(files)
        how = spoil(path, rng)
        for command in (command.lstrip(":") for command in readers[name] if dear or command[0] != ":"):
            tally.tried += 1
            if wrong := outcome(command.split()):
                tally.fault(f"{path.relative_to(folder)} {how}; {command.split(' --')[0]}: {wrong}")
        for made in ("d.html", "b.html", "r.html", "e", "f", "x", name):
            target = folder / made
            shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)
        shutil.copytree(pristine / name, folder / name)
    return tally


def spoil(path: Path, rng: random.Random) -> str:
    """Tear or edit one file; returns what was done."""
    data = path.read_bytes()
    ways = ["cut", "empty", "flip", "zeros"] + (["edit"] * 6 if path.suffix in (".json", ".jsonl") else [])
    way = rng.choice(ways)
    if way == "cut":
        data = data[: rng.randrange(len(data))]
    elif way == "empty":
        data = b""
    elif way == "zeros":
        data = bytes(len(data))
    elif way == "flip":
        at = rng.randrange(len(data))
        data = data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
    elif path.suffix == ".json":
        data = json.dumps(spoiled(json.loads(data), rng, JUNK)).encode("utf-8", "surrogatepass")
    else:
        lines = data.decode().splitlines()
        at = rng.randrange(len(lines))
        lines[at] = json.dumps(spoiled(json.loads(lines[at]), rng, JUNK))
        data = "\n".join([*lines, ""]).encode("utf-8", "surrogatepass")
    path.write_bytes(data)
    return way


# Checkpoints


def checkpoints(folder: Path, rounds: int, rng: random.Random) -> Tally:
    """Checkpoint folders that lie, are huge, or want to run code: one line each, in seconds, in bounded memory."""
    tally = Tally()
    os.chdir(folder)
    ask = ["ask", str(ROOT / "assets" / "pictures" / "badges.png"), "Which digit is it?"]
    import transformers.models.qwen3_vl.modeling_qwen3_vl  # noqa: F401  # once, before processes are forked

    import r3lab.models.families  # noqa: F401

    for index, (name, change) in enumerate(hostile_checkpoints()):
        target = folder / f"{index:02}-{name}"
        shutil.copytree(TINY, target)
        change(target)
        tally.tried += 1
        wrong, seconds, memory = forked([*ask, "--model", target.name, "--out", f"asked-{index}"])
        if wrong:
            tally.fault(f"{target.name}: {wrong}")
        if memory > 6 << 30:
            tally.fault(f"{target.name}: {memory / 2**30:.1f} GiB")
        for pwned in (folder / "pwned", target / "pwned"):
            if pwned.exists():
                tally.fault(f"{target.name}: ran its code")
                pwned.unlink()
        print(f"  {target.name}: {seconds:.1f} s, {memory / 2**20:.0f} MiB", flush=True)
    return tally


def forked(arguments: list[str], seconds: float = 30.0) -> tuple[str, float, int]:
    """`outcome` in a forked process whose every question is answered "y": what went wrong, seconds, bytes of memory."""
    begin = time.monotonic()
    child = os.fork()
    if not child:
        yes, answers = os.pipe()
        os.write(answers, b"y\n" * 50)
        os.dup2(yes, 0)
        sys.stdin = os.fdopen(0)
        resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))
        Path("said").write_text(outcome(arguments, seconds), "utf-8", "replace")
        os._exit(0)
    timer = threading.Timer(seconds + 5, lambda: os.kill(child, signal.SIGKILL))  # C code hears no alarm
    timer.start()
    _, status, used = os.wait4(child, 0)
    timer.cancel()
    wrong = (
        Path("said").read_text("utf-8")
        if not status
        else f"ended by signal {os.WTERMSIG(status)} (no end in {seconds:g} s?)"
    )
    return wrong, time.monotonic() - begin, used.ru_maxrss * 1024


def hostile_checkpoints() -> Iterator[tuple[str, Callable[[Path], None]]]:
    """Names and changes; each is made to a copy of the tiny policy."""

    def config(*path: str, value: Any, file: str = "config.json") -> Callable[[Path], None]:
        def change(at: Path) -> None:
            whole = json.loads((at / file).read_text("utf-8"))
            inner = whole
            for key in path[:-1]:
                inner = inner[key]
            inner[path[-1]] = value
            (at / file).write_text(json.dumps(whole), "utf-8")

        return change

    def template(text: str) -> Callable[[Path], None]:
        return lambda at: (at / "chat_template.jinja").write_text(text, "utf-8") and None

    def code(at: Path) -> None:
        (at / "evil.py").write_text("open('pwned', 'w').write('x')\n", "utf-8")
        config("model_type", value="evil")(at)
        config("auto_map", value={"AutoConfig": "evil.C", "AutoModelForImageTextToText": "evil.M"})(at)

    def pickled(at: Path) -> None:
        for path in at.glob("*.safetensors"):
            path.rename(path.with_name("pytorch_model.bin"))

    yield "runs-code", code
    yield "pickle-only", pickled
    text, vision = ("text_config",), ("vision_config",)
    for key, values in {
        "num_hidden_layers": (10**6, 0, -1, "3", None, [], 10**30), "num_attention_heads": (0, -2, 10**9, 7),
        "hidden_size": (0, 10**9, -8, {}), "vocab_size": (0, 10**12, 5), "num_key_value_heads": (0, 3, 10**6),
        "head_dim": (0, 10**8), "intermediate_size": (0, 10**11), "rope_parameters": ([], "x", {"rope_type": "evil"}),
    }.items():  # fmt: skip
        for value in values:
            yield f"text-{key}-{str(value)[:6].strip('[]{}') or type(value).__name__}", config(*text, key, value=value)
    for key, values in {
        "patch_size": (0, -1, 10**6), "depth": (10**6, 0), "spatial_merge_size": (0, 10**5), "hidden_size": (0, 10**9),
        "num_heads": (0,), "temporal_patch_size": (0,), "deepstack_visual_indexes": ([10**9], "x"),
    }.items():  # fmt: skip
        for value in values:
            yield (
                f"vision-{key}-{str(value)[:6].strip('[]{}') or type(value).__name__}",
                config(*vision, key, value=value),
            )
    for name, said in {
        "loops": "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
        "long": "{{ 'A' * 10**10 }}",
        "raises": "{{ raise_exception('no') }}",
        "attribute": "{{ messages.x.y.z }}",
        "escape": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "broken": "{% if %}",
        "silent": "",
        "doubling": "{% set n = namespace(s='A') %}{% for i in range(40) %}{% set n.s=n.s*2 %}{% endfor %}{{ n.s }}",
    }.items():
        yield f"template-{name}", template(said)
    image = "preprocessor_config.json"
    for value in ({"shortest_edge": 10**13, "longest_edge": 10**13}, 0, "x", {"shortest_edge": -1, "longest_edge": -1}):
        yield "image-size", config("size", value=value, file=image)


# Text


def text(folder: Path, rounds: int, rng: random.Random) -> Tally:
    """Records of data sets and questions spoiled at random, through every command that reads foreign data."""
    tally = Tally()
    must("vlir build --world badges --count 6 --seed 3 --out vlir", folder)
    for form in ("vlm-r3-sft", "vlm-r3-rl"):
        must(f"vlir convert vlir {form} --to {form}", folder)
    os.chdir(folder)
    for _turn in range(rounds):
        source = rng.choice(["vlir", "vlm-r3-sft", "vlm-r3-rl"])
        shutil.copytree(folder / source, folder / "spoiled")
        files = [path for path in (folder / "spoiled").rglob("*") if path.suffix in (".json", ".jsonl")]
        how = spoil(rng.choice(files), rng)
        for command in (
            "vlir convert spoiled back --to vlir",
            "vlir filter spoiled --out kept",
            "browse spoiled -o b.html",
        ):
            tally.tried += 1
            if wrong := outcome(command.split()):
                tally.fault(f"{source} {how}; {command}: {wrong}")
        for made in ("spoiled", "back", "kept"):
            shutil.rmtree(folder / made, ignore_errors=True)
    if (folder / "pwned").exists():
        tally.fault("a record ran code")
    return tally


KILLED: list[str] = []  # of the commands that are killed these alone; empty: all
PARTS: dict[str, tuple[Callable[[Path, int, random.Random], Tally], int]] = {
    "kills": (kills, 20), "own": (own, 1360), "checkpoints": (checkpoints, 1), "text": (text, 3000),
    "outputs": (outputs, 10_000), "images": (images, 2000), "pages": (pages, 13),
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], default=[])
    parser.add_argument("--rounds", type=int, default=0, help="kills a command, or files to spoil (0: the part's own)")
    parser.add_argument("--only", nargs="+", default=[], help="of the commands that are killed these alone")
    parser.add_argument("--small", action="store_true", help="a tenth of each part's own rounds")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    KILLED.extend(given.only)
    tallies = {}
    for name in given.parts or PARTS:
        attack, rounds = PARTS[name]
        folder, here = Path(tempfile.mkdtemp(prefix=f"attack-{name}-")), Path.cwd()
        print(f"{name}, in {folder}", flush=True)
        tallies[name] = attack(
            folder, given.rounds or max(1, rounds // (10 if given.small else 1)), random.Random(given.seed)
        )
        os.chdir(here)
        if not tallies[name].faults:
            shutil.rmtree(folder)
    print(f"\n{'part':<14}{'tried':>8}{'faults':>8}")
    for name, tally in tallies.items():
        print(f"{name:<14}{tally.tried:>8}{len(tally.faults):>8}")
    return 1 if any(tally.faults for tally in tallies.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
