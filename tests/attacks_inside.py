"""Attacks on what all commands go through, thousands of times: what a model writes, image files, pages of the course.

`python tests/attacks.py outputs images pages` runs them.
"""

from __future__ import annotations

import io
import itertools
import math
import os
import random
import shutil
import sys
import time
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import nbformat
from attacking import ROOT, TINY, Tally, must, outcome
from chromium import MISSING, WATCH, executable
from PIL import Image
from seen import Scripted, hostile

from r3lab.cli.ask import Steps
from r3lab.core.arms import ARMS
from r3lab.core.errors import R3labError
from r3lab.core.images import MAX_PIXELS, content_hash, open_image, resize
from r3lab.models.policy import Policy
from r3lab.rollout.loop import rollout
from r3lab.rollout.sequence import begin, prompt_ids
from r3lab.rollout.state import RolloutState
from r3lab.show.filmstrip import filmstrip
from r3lab.show.player import Entry, save_report
from r3lab.train.rewards import PRESETS, score
from r3lab.trajectory import ImageRef, load, save
from r3lab.vlir.worlds import get_world


def outputs(folder: Path, rounds: int, rng: random.Random) -> Tally:
    """Texts that no model should write, token by token through the loop's state in every arm: a record that holds its
    invariants, that is paid, printed and saved; a few also through the loop itself, with the same record."""
    tally, policy = Tally(), Policy.load(TINY)
    scripted = Scripted(policy.model, policy.tokenizer, policy.processor)
    sample = get_world("badges").sample("train", 0)
    reference, size = ImageRef(content_hash(sample.image), *sample.image.size), policy.overview_size(sample.image.size)
    tokens = math.prod(size) // policy.layout.factor**2
    sampled = sorted({*range(len(policy.tokenizer))} - {*policy.forbidden})
    prompts = {arm: prompt_ids(policy, sample.question, size, tokens, arm) for arm in ARMS.values()}
    marks = sorted({mark for arm in ARMS.values() for mark in (arm.marks.open, arm.marks.close) if mark})
    box, whole = '{"bbox_2d": [10, 20, 300, 400]}', [f"{arm.marks.open}7{arm.marks.close}" for arm in ARMS.values()]
    parts = [
        *marks, *(mark[:-1] for mark in marks), *whole, *[box] * 6, '{"bbox_2d": [', "]}", "{", "}", '"bbox_2d"', "7",
        '{"bbox_2d": [900, 900, 100, 100]}', '{"bbox_2d": [1e999, 0, NaN, 1]}', "<think>", "</think>", "[" * 60,
        "{" * 60, "9" * 60, "\n", "\x1b[2J\x1b]0;x\x07", "\u202e", "<script>alert(1)</script>", " é😀",
    ]  # fmt: skip
    ended: Counter[str] = Counter()
    for turn in range(rounds):
        arm = rng.choice(list(ARMS.values()))
        ids = policy.ids("".join(rng.choices(parts, k=rng.randint(0, 12))))
        if turn % 3 == 0:  # at random, among all that can be sampled
            ids = rng.choices(sampled, k=rng.randint(0, 60))
        ids = [token for token in ids if token not in policy.forbidden]
        most = {"max_looks": rng.randint(0, 3), "max_new_tokens": rng.randint(1, 400)}
        tally.tried += 1
        begun, printed = time.monotonic(), io.StringIO()
        try:
            record = begin(policy, sample, reference, prompts[arm], arm)
            state = RolloutState(policy, record, position=len(record.ids), **most)
            script = [*ids, policy.tokenizer.eos_token_id]
            for token in script:
                state.take(token, -1.0, 0.5)
                if not state.pending:
                    break
                state.pending, state.pending_positions, state.crop = [], [], None
            t = state.trajectory
            t.check()
            ended[t.finish] += 1
            steps = Steps(printed.write)
            steps(t)
            steps.end()
            paid = [value for name in PRESETS for value in score(t, name).values()]
            wrong = "" if all(map(math.isfinite, paid)) else f"paid {paid}"
            if bad := {c for c in printed.getvalue() if unicodedata.category(c)[0] == "C" and c != "\n"}:
                wrong = f"printed {bad}"
            if turn % 100 == 0:
                save(t, folder / "saved")
                if load(folder / "saved") != t:
                    wrong = "comes back otherwise from the disk"
                filmstrip(t).save(folder / "strip.png")
                save_report([Entry(t)], folder / "report.html")
                shutil.rmtree(folder / "saved")
            if turn % 400 == 0:
                scripted.script = iter(script)
                [again] = rollout(scripted, [sample], temperature=0.0, arm=arm, **most)
                if (again.ids, again.finish, again.answer, again.looks) != (t.ids, t.finish, t.answer, t.looks):
                    wrong = "the loop makes another record"
        except Exception as error:
            wrong = f"{type(error).__name__}: {str(error)[:200]}"
        if wrong or time.monotonic() - begun > 20:
            tally.fault(f"{policy.tokenizer.decode(ids)!r} in {arm.name}, {most}: {wrong or 'over 20 s'}")
    print(f"  ends: {dict(ended)}", flush=True)
    if rounds >= 1000 and set(ended) != {"answered", "malformed", "length", "looks"}:
        tally.fault("some end of a text was never reached")
    return tally


def images(folder: Path, rounds: int, rng: random.Random) -> Tally:
    """Files that claim to be images, of nine formats, cut, flipped, spliced, with sizes that lie: upright RGB that the
    policy can be shown, or one line; every 40th through `ask`."""
    tally, policy = Tally(), Policy.load(TINY)
    os.chdir(folder)
    small = Image.open(ROOT / "assets" / "pictures" / "badges.png").convert("RGB").resize((90, 60))
    whole = []
    for mode, forms in {
        "RGB": "PNG JPEG WEBP TIFF BMP PPM GIF ICO TGA", "L": "PNG JPEG TIFF BMP", "P": "PNG GIF BMP", "LA": "PNG TIFF",
        "RGBA": "PNG WEBP TIFF ICO", "CMYK": "JPEG TIFF", "I;16": "PNG TIFF", "1": "PNG TIFF", "F": "TIFF",
    }.items():  # fmt: skip
        for form in forms.split():
            held, exif = io.BytesIO(), Image.Exif()
            exif[0x0112] = 6
            more: dict[str, Any] = {"exif": exif} if form in ("PNG", "JPEG", "WEBP") else {}
            moving = [small.rotate(90).convert(mode)] if form in ("GIF", "WEBP") else []
            source = small.convert("L").convert("I;16") if mode == "I;16" else small.convert(mode)
            source.save(held, form, **more, **({"save_all": True, "append_images": moving} if moving else {}))
            whole.append((form.lower(), held.getvalue()))
    read = 0
    for turn in range(rounds):
        form, data = rng.choice(whole)
        way = rng.choice(["cut", "flips", "head", "sizes", "splice", "zeros", "noise", "none"])
        raw = bytearray(data)
        if way == "cut":
            raw = raw[: rng.randrange(len(raw))]
        elif way in ("flips", "head"):
            for _ in range(rng.randint(1, 20)):
                raw[rng.randrange(len(raw) if way == "flips" else min(80, len(raw)))] = rng.randrange(256)
        elif way == "sizes":  # wherever the true size stands, another
            for side in small.size:
                for order, width in itertools.product(("big", "little"), (4, 2)):
                    lie = rng.choice([0, 1, 2 ** (8 * width) - 1, 2 ** (8 * width - 1), 40_000])
                    raw = raw.replace(side.to_bytes(width, order), lie.to_bytes(width, order))  # type: ignore[arg-type]
        elif way == "splice":
            other = rng.choice(whole)[1]
            raw = raw[: rng.randrange(len(raw))] + other[rng.randrange(len(other)) :]
        elif way == "zeros":
            at = rng.randrange(len(raw))
            raw[at : at + 200] = bytes(len(raw[at : at + 200]))
        elif way == "noise":
            raw = raw[: rng.randrange(40)] + rng.randbytes(rng.randrange(4000))
        path = folder / f"image.{form}"
        path.write_bytes(raw)
        tally.tried += 1
        begun, wrong = time.monotonic(), ""
        try:
            image = open_image(path)
            read += 1
            if image.mode != "RGB" or image.info or image.width * image.height > MAX_PIXELS:
                wrong = f"became {image.mode}, {image.size}, {image.info}"
            resize(image, policy.overview_size(image.size))
        except R3labError as error:
            if "\n" in str(error) or not str(error).isprintable():
                wrong = f"told as {str(error)[:200]!r}"
        except Exception as error:
            wrong = f"{type(error).__name__}: {str(error)[:200]}"
        if not wrong and turn % 40 == 0:
            wrong = outcome(["ask", path.name, "Which digit is on the blue square?", "--out", "asked"])
            shutil.rmtree("asked", ignore_errors=True)
        if wrong or time.monotonic() - begun > 30:
            path.rename(folder / f"fault-{turn}.{form}")
            tally.fault(f"{form} {way}, fault-{turn}.{form}: {wrong or 'over 30 s'}")
    print(f"  {read} of {tally.tried} could be read", flush=True)
    return tally


SCRIPTS = (
    "<script>window.fired=1</script>", "<img src=x onerror=window.fired=1>", "<svg onload=window.fired=1></svg>",
    "</pre></code></script></style></title></textarea><script>window.fired=1</script>",
    "\"'><b autofocus tabindex=1 onfocus=window.fired=1>x</b>", "--><script>window.fired=1</script><!--",
    "\x1b[31m<script>window.fired=1</script>\x1b[0m", "$<img src=x onerror=window.fired=1>$",
    "]]><script>window.fired=1</script>",
    "<iframe srcdoc='<script>parent.fired=1</script>'></iframe>", "&lt;script&gt;window.fired=1&lt;/script&gt;",
    "<details open ontoggle=window.fired=1>x</details>",
    "<math><mtext></mtext><mglyph><style><img src=x onerror=window.fired=1>",
)  # fmt: skip
SHOWN = (
    """
import logging
import sys
from pathlib import Path

import ipywidgets
import r3lab
from IPython.display import display
from PIL import Image
from r3lab.trajectory import load
from r3lab.vlir.sample import Sample

script = Path("{script}").read_text("utf-8")
t = load("{records}")
print(script)
print(script, file=sys.stderr)
logging.warning(script)
display(script, {{script: [script]}}, t, r3lab.play(t), r3lab.ribbon(t), r3lab.group_view([t, t]), r3lab.browse([t, t]))
display(r3lab.Picture(Image.new("RGB", (9, 9)), script), ipywidgets.Text(script), ipywidgets.Label(script))
""",
    "r3lab.filmstrip(t)",
    "raise ValueError(script)",
)  # the last cell may fail


def pages(folder: Path, rounds: int, rng: random.Random) -> Tally:
    """A course whose cells print, show and raise script, and show records that hold it, as `course --site` makes it:
    each page opened in Chromium, nothing of it runs."""
    tally, path = Tally(), executable()
    if path is None:
        sys.exit(MISSING)
    from playwright.sync_api import sync_playwright

    (folder / "course").mkdir()
    for number in range(rounds):
        held = folder / f"script-{number}.txt"
        held.write_text(SCRIPTS[number % len(SCRIPTS)], "utf-8")
        save(hostile(held.read_text("utf-8")), folder / f"records-{number}")
        nb, told = nbformat.v4.new_notebook(), SHOWN[0].format(script=held, records=folder / f"records-{number}")
        head = f"# {number:02} · Script\n**In short**: what is shown is not run\n**Time**: 1 minutes to read and run."
        nb.cells = [nbformat.v4.new_markdown_cell(head)]
        nb.cells.append(nbformat.v4.new_code_cell("quick = True  # small", metadata={"tags": ["parameters"]}))
        nb.cells += [nbformat.v4.new_code_cell(source) for source in (told, *SHOWN[1:])]
        nb.cells[-1].metadata["tags"] = ["raises-exception"]
        nbformat.write(nb, folder / "course" / f"{number:02}_script.ipynb")
    must("course course --out runs --site site", folder)
    made = sorted([*folder.glob("site/*.html"), *folder.glob("runs/**/*.html")])
    with sync_playwright() as run:
        browser = run.chromium.launch(executable_path=path, args=["--no-sandbox"], headless=True)
        for file in made:
            html = file.read_text("utf-8")
            for name, text in (("as made", html), ("without a policy", html.replace("Content-Security-Policy", "x"))):
                tally.tried += 1
                context = browser.new_context(offline=True)
                page, wrong = context.new_page(), list[str]()
                page.add_init_script(WATCH)
                page.on("dialog", lambda dialog, wrong=wrong: (wrong.append("dialog"), dialog.dismiss()))
                page.on(
                    "request", lambda r, w=wrong: w.append(r.url) if r.url.startswith(("http", "javascript")) else None
                )
                (folder / "page.html").write_text(text, "utf-8")
                page.goto((folder / "page.html").as_uri())
                for one in page.query_selector_all("summary, .r3-controls button, .r3-open")[:12]:
                    if one.is_visible():
                        one.click(force=True)
                        page.keyboard.press("Escape")
                page.wait_for_timeout(200)
                if page.evaluate("window.fired") or wrong:
                    tally.fault(f"{file.relative_to(folder)}, {name}: {page.evaluate('window.fired')} ran, {wrong[:3]}")
                if "fired=1" not in page.content() and "script" in file.name:
                    tally.fault(f"{file.relative_to(folder)}: does not show what it should")
                context.close()
        browser.close()
    return tally
