"""Attack r3lab by its command line: kills, spoiled files, hostile checkpoints, hostile text. A table says what held.

    python tests/attacks.py                       # everything, hours on two cores
    python tests/attacks.py kills --rounds 20     # one part; --rounds says how hard
    python tests/attacks.py own --rounds 200 --seed 3

What counts as a fault: a traceback, a failure without a line that says why, more seconds or memory than a part allows,
a final result that differs from the undisturbed one, or a file made by hostile input. The parts drive commands alone:
modules may move. Faults keep their folder and are named at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
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
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
from hostile import JUNK, spoiled

from r3lab.cli import main as r3lab

ROOT = Path(__file__).resolve().parents[1]
TINY = ROOT / "assets" / "tiny" / "rgrpo"
QUICK = "--prompts 2 --group 2 --max-new-tokens 24 --save-every 1 --show-every 1 --seed 3"


@dataclass
class Tally:
    """What a part tried, and what did not hold."""

    tried: int = 0
    faults: list[str] = field(default_factory=list)

    def fault(self, what: str) -> None:
        self.faults.append(what)
        print(f"  FAULT {what}", flush=True)


class Late(BaseException):
    """No error that anything catches."""


def outcome(arguments: list[str], seconds: float = 60.0) -> str:
    """Run a command in this process: "" if it held, what went wrong otherwise.

    A command holds if it ends in time with code 0, or with one line that begins with "r3lab: ".
    """

    def late(*_: object) -> None:
        raise Late(f"longer than {seconds:g} s")

    out, err = io.StringIO(), io.StringIO()
    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = r3lab(arguments)
    except SystemExit as left:
        code = 2 if left.code else 0
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        where = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {str(error)[:200]} ({Path(where.filename).name}:{where.lineno})"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    said = err.getvalue()
    if "Traceback (most recent call last)" in said:
        return f"a traceback on stderr: {said.strip().splitlines()[-1][:200]}"
    if code and not [line for line in said.splitlines() if line.startswith(("r3lab: ", "usage: "))]:
        return f"code {code} without a line that says why: {said[-200:]!r}"
    if "errno" in said.lower():
        return f"a number of the system in the place of advice: {said.strip()[-200:]}"
    return ""


def must(command: str, folder: Path) -> None:
    """Run a command that prepares an attack, in its own process."""
    done = subprocess.run(start(command), cwd=folder, capture_output=True, text=True, check=False, env=environment())
    if done.returncode:
        sys.exit(f"preparing failed: r3lab {command}\n{done.stderr[-2000:]}")


def start(command: str) -> list[str]:
    return [sys.executable, "-m", "r3lab", *command.split()]


def environment() -> dict[str, str]:
    fixed = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    return os.environ | fixed


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
            data = json.dumps(_timeless(rows), sort_keys=True).encode()
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


def kills(folder: Path, rounds: int, rng: random.Random) -> Tally:
    """SIGKILL at random moments, the same command again until it is done: finals as if undisturbed."""
    tally = Tally()
    must("vlir build --world badges --count 24 --seed 3 --out vlir", folder)
    little_notebooks(folder / "course")
    commands = {  # the command, and what is added when it goes on
        "rgrpo": (f"train rgrpo --steps 4 {QUICK} --out OUT", "--resume"),
        "sft": (f"train sft --model {TINY} --data vlir --steps 12 --batch 4 --save-every 2 --out OUT", "--resume"),
        "eval": ("eval --world badges --arm interleaved --limit 24 --keep 4 --out OUT", ""),
        "filter": ("vlir filter vlir --out OUT", ""),
        "sweep": ("sweep course/00_little.ipynb -p seed=0,1 --jobs 1 --threads 1 -o OUT", ""),
    }
    for name, (command, again) in commands.items():
        begin = time.monotonic()
        must(command.replace("OUT", f"whole-{name}"), folder)
        whole = time.monotonic() - begin
        wanted, killed = fingerprint(folder / f"whole-{name}"), 0
        for _turn in range(rounds * 5):
            out = folder / f"killed-{name}"
            more = again if (out / "checkpoints").exists() else ""
            process = subprocess.Popen(
                start(f"{command.replace('OUT', out.name)} {more}"), cwd=folder, env=environment(),
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
            )  # fmt: skip
            timer = threading.Timer(whole * rng.uniform(0.3, 1.1), lambda p=process: os.killpg(p.pid, signal.SIGKILL))
            if killed < rounds:
                timer.start()
            _, said = process.communicate()
            timer.cancel()
            tally.tried += 1
            if process.returncode == -signal.SIGKILL:
                killed += 1
            elif process.returncode:
                tally.fault(f"{name}: after {killed} kills code {process.returncode}: {said.strip()[-300:]}")
                break
            else:
                got = fingerprint(out)
                if got != wanted:
                    differ = sorted(key for key in got.keys() | wanted if got.get(key) != wanted.get(key))
                    tally.fault(f"{name}: after {killed} kills other finals: {differ[:5]}")
                if killed >= rounds:
                    break
                shutil.rmtree(out)  # done before enough kills: once more from the start
        print(f"  {name}: {killed} kills", flush=True)
        if left := [path for path in folder.rglob(".*") if path.name.endswith(("-old", "-part"))]:
            tally.fault(f"{name}: left behind {left[:3]}")
    return tally


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
    readers = {
        "rgrpo": [f"train rgrpo --steps 2 {QUICK} --out rgrpo --resume", "dashboard rgrpo/log.jsonl -o d.html"],
        "sft": ["dashboard sft/log.jsonl -o d.html", "eval --model sft/policy --world badges --limit 1 --out e"],
        "eval": ["eval --world badges --arm interleaved --limit 4 --keep 2 --out eval", "browse eval -o b.html"],
        "ask": ["report ask -o r.html", "explain ask --quick --out x"],
        "vlir": ["vlir filter vlir --out f", "vlir card vlir", "browse vlir -o b.html"],
        "sweep": ["sweep course/00_little.ipynb -p seed=0 --jobs 1 --retries 0 -o sweep"],
    }
    pristine = folder / "pristine"
    pristine.mkdir()
    for name in readers:
        shutil.copytree(folder / name, pristine / name)
    os.chdir(folder)
    for _turn in range(rounds):
        name = rng.choice([name for name in readers if name != "sweep"] * 4 + ["sweep"])
        files = [path for path in sorted((folder / name).rglob("*")) if path.is_file() and path.stat().st_size]
        path = rng.choice(files)
        how = spoil(path, rng)
        for command in readers[name]:
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


PARTS: dict[str, tuple[Callable[[Path, int, random.Random], Tally], int]] = {
    "kills": (kills, 20), "own": (own, 700), "checkpoints": (checkpoints, 1), "text": (text, 1000),
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], default=[])
    parser.add_argument("--rounds", type=int, default=0, help="kills a command, or files to spoil (0: the part's own)")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    tallies = {}
    for name in given.parts or PARTS:
        attack, rounds = PARTS[name]
        folder, here = Path(tempfile.mkdtemp(prefix=f"attack-{name}-")), Path.cwd()
        print(f"{name}, in {folder}", flush=True)
        tallies[name] = attack(folder, given.rounds or rounds, random.Random(given.seed))
        os.chdir(here)
        if not tallies[name].faults:
            shutil.rmtree(folder)
    print(f"\n{'part':<14}{'tried':>8}{'faults':>8}")
    for name, tally in tallies.items():
        print(f"{name:<14}{tally.tried:>8}{len(tally.faults):>8}")
    return 1 if any(tally.faults for tally in tallies.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
