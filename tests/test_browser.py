"""The browser of records shows each that fits and tells of each that does not; in a real browser, without a network, it
and the other pages move, fit, and run nothing that is hostile.

What needs a real browser is skipped where there is no Chromium or no Playwright; R3LAB_CHROMIUM names another one.
"""

from __future__ import annotations

import io
import json
import random
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from chromium import Opened
from hostile import spoiled
from PIL import Image
from seen import ATTACK, CELLS, KINDS, SIZE, SPOT, Seen, hostile, hostile_explanation, looks, stream, trajectory

from r3lab.cli import call
from r3lab.cli import main as cli
from r3lab.core.errors import R3labError
from r3lab.core.files import Journal
from r3lab.evaluate.run import kept_in
from r3lab.show import palette
from r3lab.show.browser import LEAST, PER, as_script, browse, hold, open_row
from r3lab.show.browser import command as shown_by
from r3lab.show.browser_rows import read_rows, row_of_entry
from r3lab.show.picture import View
from r3lab.show.player import Entry, play, report
from r3lab.show.ribbon import ribbon
from r3lab.show.rollouts import river
from r3lab.train.river import river_of
from r3lab.trajectory import save
from r3lab.vlir.sample import Rationale, Sample, read_vlir, write_vlir
from r3lab.vlir.worlds import get_world

Pair = tuple[Sample, Rationale]


def pairs(count: int, world: str = "badges") -> list[Pair]:
    one = get_world(world)
    found = [one.sample("train", i) for i in range(count)]
    return [(sample, one.rationale(sample)) for sample in found]


@pytest.fixture(scope="module")
def vlir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five samples of badges, three of trails; the second ends in a wrong answer, the third in none."""
    folder, found = tmp_path_factory.mktemp("vlir"), pairs(5)
    found[1] = (found[1][0], Rationale(("<think>Hm.</think><answer>no digit at all</answer>",)))
    found[2] = (found[2][0], Rationale(("I do not know.", SPOT)))
    write_vlir(folder, [*found, *pairs(3, "trails")])
    return folder


def entry(number: int = 0, **fields: Any) -> dict[str, Any]:
    """An entry of an evaluation's journal."""
    known = {"source": "badges", "arm": "interleaved", "id": f"badges-test-0-{number}", "number": number}
    known |= {"outcome": "graded", "score": float(number % 2), "answer": str(number % 10), "truth": "1"}
    known |= {"question": f"Which digit is on badge {number}?", "text": f"<think>I see {number}.</think>"}
    known |= {"needs_look": number % 3 == 0, "iou": None if number % 4 else number % 10 / 10, "looks": number % 4}
    return {**known, "groups": {}, "finish": "answered", "valid": 0, "tokens": 20, **fields}


def evaluation(out: Path, entries: list[dict[str, Any]], split: str = "validation") -> Path:
    with Journal(out / "records" / "journal.jsonl", {"split": split}) as journal:
        for i, one in enumerate(entries):
            journal.append(f"key{i}", one)
    return out


def markup_of(view: View) -> dict[int, str]:
    """What is seen of each record that the page holds."""
    found = re.findall(r'<script type="application/json" class="r3-held" data-row="(\d+)">(.*?)</script>', view.body)
    return {int(row): json.loads(text) for row, text in found}


def index(view: View) -> dict[str, Any]:
    [text] = re.findall(r'<script type="application/json" class="r3-index">(.*?)</script>', view.body)
    return dict(json.loads(text))


# Reading.


def test_samples_are_read_as_they_stand(vlir: Path) -> None:
    found, held = read_rows([vlir]), list(read_vlir(vlir))
    assert [row.name for row in found.rows] == [sample.id for sample, _ in held] and not found.problems
    assert [row.result for row in found.rows] == ["right", "wrong", "wrong", *["right"] * 5]
    for row, (sample, rationale) in zip(found.rows, held, strict=True):
        known = (sample.question, sample.answer, sample.world, "train")
        assert (row.question, row.truth, row.world, row.split) == known
        assert (row.looks, row.needs_look) == (len(rationale.boxes), sample.needs_look)
        seen = Seen(open_row(row, "r1", LEAST)[0])
        seen.check()
        assert sample.question in seen.words and sample.answer in seen.words
        assert len(seen.of("g", kind="truth")) >= len(sample.regions)
        assert len(seen.of("g", kind="look")) == len(rationale.boxes) == len(seen.of("svg", kind="r3-crop"))


def test_lines_that_do_not_fit_are_counted_and_cost_only_themselves(vlir: Path, tmp_path: Path) -> None:
    lines = (vlir / "vlir.jsonl").read_bytes().splitlines()
    bad = [b'{"format": [{}]}', b"{", b"[1]", b"\xff\xfe", b'{"format": "r3lab.vlir"}']
    bad.append(lines[0].replace(b'"rationale"', b'"rational"'))
    file = tmp_path / "vlir.jsonl"
    file.write_bytes(b"\n".join([bad[0], lines[0], *bad[1:], lines[1]]) + b"\n")
    (tmp_path / "images").symlink_to(vlir / "images")
    found = read_rows([tmp_path])
    assert [row.number for row in found.rows] == [2, 8]
    assert [int(re.search(r"line (\d+)", told)[1]) for told in found.problems] == [1, 3, 4, 5, 6, 7]  # type: ignore[index]
    view = browse(tmp_path)
    assert "6 records do not fit" in Seen(view.to_page()).words


def test_spoiled_records_end_nothing(vlir: Path, tmp_path: Path) -> None:
    rng = random.Random(0)
    junk = [None, 0, -1, 1e400, True, "", "x" * 300, ATTACK, [], {}, [[]], "\ud800", 10**400]
    plain = json.loads((vlir / "vlir.jsonl").read_text().splitlines()[0])
    (tmp_path / "images").symlink_to(vlir / "images")
    records = [spoiled(plain, rng, junk) for _ in range(80)] + [plain]
    (tmp_path / "vlir.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records))
    out = tmp_path / "eval"
    evaluation(out, [entry(), *(spoiled(entry(1), rng, junk) for _ in range(80))])
    view, answers = browse(tmp_path, budget=200_000), browse(out, budget=200_000)
    for one, count in ((view, 81), (answers, 81)):
        left = re.search(r"<summary>([\d,]+) records? do", one.body)
        assert left is not None and int(left[1]) > 0
        assert len(index(one)["columns"]["question"]) + int(left[1]) == count
        Seen(one.to_page()).check()


def test_an_image_that_is_missing_costs_one_record(vlir: Path, tmp_path: Path) -> None:
    (tmp_path / "vlir.jsonl").write_bytes((vlir / "vlir.jsonl").read_bytes())
    (tmp_path / "images").mkdir()
    for image in sorted((vlir / "images").iterdir())[1:]:
        (tmp_path / "images" / image.name).symlink_to(image)
    view = browse(tmp_path)
    [(gone, why)] = index(view)["failed"].items()
    assert "does not exist" in why and sorted([int(gone), *markup_of(view)]) == list(range(8))
    assert "1 record cannot be opened" in Seen(view.to_page()).words


def test_answers_are_read_with_the_trajectories_that_were_kept(tmp_path: Path) -> None:
    kept = trajectory("It is small.", SPOT, "It says 7.", sample_id="badges-test-0-0")
    save(kept, kept_in(tmp_path, "badges", "interleaved", 0))
    save(replace(kept, sample_id="another"), kept_in(tmp_path, "badges", "interleaved", 1))
    old = entry(0, score=1.0, question=None)
    skipped = {**entry(3), "outcome": "skipped", "reason": "no image", "detail": ""}
    evaluation(tmp_path, [old, entry(1), entry(2, score=0.4), skipped])
    found = read_rows([tmp_path])
    assert [row.result for row in found.rows] == ["right", "right", "partly", "skipped"]
    assert [row.score for row in found.rows] == [1.0, 1.0, 0.4, 1.0]
    assert {row.split for row in found.rows} == {"validation"}
    view = browse(tmp_path)
    seen = markup_of(view)
    assert 'class="r3-player"' in seen[0] and f"<bdi>{kept.question}</bdi></h2>" in seen[0]
    assert "It is small." in seen[0] and "score 1" in seen[0]
    assert "of another question" in index(view)["failed"]["1"]  # its trajectory is not shown for this one
    assert "r3-player" not in seen[3] and "no image" in seen[3] and "I see 2." in seen[2]
    assert set(index(view)["thumbs"]) == {"0"}


def test_names_in_a_journal_lead_nowhere_outside_its_folder(tmp_path: Path) -> None:
    save(trajectory("secret", sample_id="x"), tmp_path / "private" / "badges-00000")
    out = evaluation(tmp_path / "out", [entry(0, arm="../../private", id="x"), entry(0, source="../x", id="x")])
    (out / "trajectories").mkdir()
    for row in read_rows([out]).rows:
        assert row.read is None and "secret" not in open_row(row, "r1", LEAST)[0]


def test_trajectories_of_many_files_are_numbered_through(tmp_path: Path) -> None:
    many = [trajectory("a", SPOT, "b", sample_id=f"s{i}", rewards={"accuracy": 1.0, "cost": -0.25}) for i in range(3)]
    path = save(many, tmp_path / "a")
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], "{}", *lines[1:]]) + "\n")
    save(trajectory("c", answer=None, sample_id="s3"), tmp_path / "b")
    save(trajectory("d", sample_id="hidden"), tmp_path / ".part")
    found = read_rows([tmp_path])
    assert [(row.name, row.number) for row in found.rows] == [("s0", 1), ("s1", 3), ("s2", 4), ("s3", 5)]
    assert len(found.problems) == 1 and found.rows[0].reward == 0.75 and found.rows[0].iou == 1.0
    assert (found.rows[3].given, found.rows[3].result, found.rows[3].looks) == (None, "wrong", 0)
    assert "reward 0.75 = accuracy 1.00 + cost -0.25" in open_row(found.rows[2], "r1", LEAST)[0]
    [one] = read_rows([f"{tmp_path}#4"]).rows
    assert one.name == "s2"


def test_a_number_behind_the_path_names_one_record(vlir: Path) -> None:
    [row] = read_rows([f"{vlir}#6"]).rows
    assert (row.name, row.number) == ("trails-train-0-0", 6)
    for wrong in (f"{vlir}#0", f"{vlir}#9"):
        with pytest.raises(R3labError, match="has no record"):
            read_rows([wrong])


@pytest.mark.parametrize("name", ["vlir/raw", "my set", "it's", "a#b", "$(touch x)", "--help", "t\u202eest\x1b[1m"])
def test_the_command_that_a_page_tells_names_the_record(name: str) -> None:
    words = shlex.split(f"{shown_by(name)}17")
    assert words[:4] == ["r3lab", "browse", "-o", "one.html"]
    wanted = name if name != "--help" else "./--help"  # which is no option
    assert words[4:] == [f"{wanted}#17" if name.isprintable() else "PATH#17"]


def test_what_is_not_there_is_told(tmp_path: Path, vlir: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"format": "r3lab.journal", "version": 1, "same": {}}\n')
    (tmp_path / "y.jsonl").write_text("{}\n")
    for paths, wanted in (
        ([tmp_path / "no"], "does not exist"),
        ([tmp_path], "holds no vlir.jsonl"),
        ([tmp_path / "x.jsonl"], "no record to show"),
        ([tmp_path / "y.jsonl"], "holds no vlir.jsonl"),
        ([], "no record to show"),
        (["a\0b"], "does not exist"),
    ):
        with pytest.raises(R3labError, match=wanted):
            browse(paths)
    with pytest.raises(R3labError, match="at least 1"):
        read_rows([vlir], 0)


def test_records_in_memory(vlir: Path) -> None:
    held = list(read_vlir(vlir))
    found: list[Any] = [*held[:2], held[2][0], trajectory("a"), entry(0), entry(1, score="high"), entry(2)]
    view = browse(found, title="mixed")
    columns = index(view)["columns"]
    assert columns["kind"] == ["sample"] * 3 + ["rollout", "answer", "answer"] and "1 record does not fit" in view.body
    assert index(view)["files"] == [["", None]] and columns["number"] == [1, 2, 3, 4, 5, 7]
    for wrong in ([3], [("a", "b")], []):
        with pytest.raises(R3labError):
            browse(wrong)


# What the page carries.


def test_a_budget_is_kept_and_shared_by_what_one_filters_for(vlir: Path, tmp_path: Path) -> None:
    rows = sorted(read_rows([vlir]).rows * 4, key=lambda row: (row.world, row.result))  # one kind after the other
    every = hold(rows, 10**9, "b")
    assert len(every.markups) == len(rows)
    budget = 500_000
    some = hold(rows, budget, "b")
    spent = sum(map(len, some.markups.values())) + sum(map(len, some.thumbs.values()))
    assert 0.6 * budget < spent <= budget and 6 <= len(some.markups) < len(rows)
    kinds = {(rows[i].world, rows[i].result) for i in some.markups}
    assert kinds == {(row.world, row.result) for row in rows}
    assert not hold(rows, 1000, "b").markups
    wordy = [row_of_entry(entry(i)) for i in range(300)]
    both = hold([*rows, *wordy], budget, "b")  # neither takes all
    assert sum(i < len(rows) for i in both.markups) > 3 and sum(i >= len(rows) for i in both.markups) > 3


def test_the_index_of_thousands_of_records_is_small() -> None:
    view = browse([entry(i, text="w" * 4000) for i in range(2000)], budget=50_000)
    assert len(index(view)["columns"]["question"]) == 2000 and len(view.body) < 600_000


def test_as_script_ends_no_element() -> None:
    text = as_script({"a": "</script><!--<script>\u2028"})
    assert "<" not in text and json.loads(text) == {"a": "</script><!--<script>\u2028"}


def test_hostile_text_stays_text_and_is_bounded() -> None:
    records = [record for text in KINDS.values() for record in attacks(text)]
    view = browse(records, title=ATTACK, budget=10**8)
    assert len(view.body) < 300_000 * len(records)
    page = view.to_page()
    Seen(page).check()
    held = markup_of(view)
    assert len(held) == len(records) and page.count("<script") == 2 + len(held)  # ours, the index, and one a record
    for markup in held.values():
        Seen(markup).check()
        assert len(re.sub(r"data:image/[^\"]*", "", markup)) < 120_000
    for name in ("question", "name", "given", "truth"):
        for text in index(view)["columns"][name]:
            assert text is None or (len(text) <= 240 and text.isprintable())


def attacks(text: str) -> list[Any]:
    """A record of each kind with this text wherever one can be."""
    sample, rationale = pairs(1)[0]
    parts = [f"{text}<answer>{text}</answer>" if isinstance(part, str) else part for part in rationale.parts]
    changed = replace(sample, id=text, question=text, answer=text, world=text, split=text)
    written = entry(0, source=text, arm=text, id=text, question=text, answer=text, truth=text, text=text, finish=text)
    skipped = {**written, "outcome": "skipped", "reason": text, "detail": text}
    return [(changed, Rationale(tuple(parts))), hostile(text), written, skipped]


def test_a_picture_and_a_table_stand_where_no_script_runs(vlir: Path) -> None:
    view = browse(vlir)
    [image] = Seen(view.to_html().partition("<script>")[0]).of("img")
    assert "Browser of 8 samples" in image["alt"] and index(view)["columns"]["question"][0] in image["alt"]
    table = Seen(view.body.partition('class="r3-first"')[2])
    table.check()
    assert table.words.count("\u2713") == 6 and len(table.of("tr")) == 9
    long = Seen(browse([entry(i) for i in range(60)]).body.partition('class="r3-first"')[2])
    assert len(long.of("tr")) == 26 and "The first 25 of 60 records" in long.words


def test_the_command_writes_a_page(vlir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "a.html"
    assert cli(["browse", str(vlir), "-o", str(out), "--limit", "4", "--title", "Four"]) == 0
    said = capsys.readouterr().out
    assert "4 records, " in said and f"{out.stat().st_size / 1e6:.1f} MB" in said
    text = out.read_text("utf-8")
    assert "<title>Four</title>" in text and text.count('class="r3-held"') == 4
    assert call("browse", [str(vlir), "-o", str(out), "--budget", "0.3"]) == 0
    assert "of them can be played in it" in capsys.readouterr().out
    for wrong in (["-o", "a.txt"], ["--budget", "nan"], ["--limit", "0"]):
        assert cli(["browse", str(vlir), *wrong]) == 2
        assert capsys.readouterr().err.startswith(("r3lab: error: ", "r3lab browse: error: "))


# The browser of records, in a browser.


@pytest.fixture(scope="module")
def answers() -> str:
    """A page of 500 answers, five of them with trajectories."""
    rollouts: list[Any] = [trajectory("It is small.", SPOT, f"It says {i}.", sample_id=f"kept-{i}") for i in range(5)]
    return browse([*rollouts, *(entry(i) for i in range(495))], title="answers", budget=10_000_000).to_page()


def count(one: Opened) -> str:
    return str(one.page.inner_text(".r3-count"))


def names(one: Opened) -> list[str]:
    return [str(text) for text in one.page.locator("tbody .r3-open").all_inner_texts()]


def hash_of(one: Opened) -> str:
    return str(one.page.evaluate("location.hash"))


@pytest.mark.browser
def test_filters_count_sort_and_stay_in_the_address(opened: Any, answers: str) -> None:
    one = opened(answers)
    page = one.page
    assert count(one) == "500 records" and len(names(one)) == PER and not page.is_visible(".r3-first")
    page.select_option("select[name=result]", label="wrong (248)")
    assert count(one) == "248 of 500"
    page.fill("[aria-label='Looks, least']", "2")
    assert count(one) == "124 of 500" and "Filters (2 set)" in page.inner_text(".r3-filters summary")
    page.fill("input[type=search]", "BADGE 12 digit")
    wanted = [i for i in range(495) if i % 4 == 2 and "12" in str(i)]  # every word, anywhere
    assert wanted and count(one) == f"{len(wanted)} of 500"
    page.fill("input[type=search]", "")
    page.select_option("select[name=sort]", "-looks")
    page.click("[data-turn='1']")
    assert page.inner_text(".r3-where") == "Page 2 of 3"
    assert hash_of(one) == "#result=wrong&looks-least=2&sort=-looks&page=2"
    before = names(one)
    page.reload()
    one.requests.pop()
    assert names(one) == before and count(one) == "124 of 500"
    assert page.input_value("[aria-label='Looks, least']") == "2" and page.input_value("select[name=sort]") == "-looks"
    senseless = "world=nowhere&looks-least=x&page=-7&sort=__proto__&open=1e9&kind=rollout&__proto__=1&1=2"
    page.evaluate(f"location.hash = '{senseless}'")
    one.until("document.querySelector('.r3-count').textContent.startsWith('5 ')")
    page.click("text=Clear")  # a form empties its fields after the event that says so
    one.until("document.querySelector('.r3-count').textContent === '500 records'")
    assert hash_of(one) in ("", "#")
    page.fill("input[type=search]", "no such words")
    assert page.is_visible("text=No record fits") and not page.is_visible("tbody")
    one.clean()


@pytest.mark.browser
def test_only_filters_that_tell_records_apart_are_offered(opened: Any, vlir: Path) -> None:
    """A score that is 0 or 1 says what the result says; a filter of hundreds of values is none."""
    for records, offered, heads in (
        (vlir, {"world", "result", "looks-least", "looks-most"}, ["World", "Answer", "Looks"]),
        ([entry(i) for i in range(8)], {"result", "needs_look", "looks-least", "iou-least", "iou-most"}, []),
        ([entry(i, score=i / 8) for i in range(8)], {"score-least"}, ["Answer", "Looks", "Score", "IoU"]),
        ([entry(i, source=f"world {i}") for i in range(300)], {"result"}, []),
    ):
        one = opened(browse(records, budget=400_000).to_page())
        fields = {field.get_attribute("name") for field in one.page.query_selector_all(".r3-fields [name]")}
        assert offered <= fields and not {"kind", "file", "split", "arm"} & fields, fields
        assert ("score-least" in offered) == ("score-least" in fields) and ("world" in offered) == ("world" in fields)
        assert heads in ([], one.page.locator(".r3-browser thead th").all_inner_texts()[-len(heads) :])


@pytest.mark.browser
def test_keys_walk_through_records_and_play_one(opened: Any, answers: str) -> None:
    one = opened(answers)
    page, keys = one.page, one.page.keyboard
    here = "document.activeElement.closest('tr').dataset.row"
    page.focus("input[type=search]")
    keys.press("ArrowDown")
    assert page.evaluate(here) == "0"
    for key, row in (("ArrowDown", "1"), ("End", "49"), ("ArrowDown", "50"), ("ArrowUp", "49"), ("Home", "0")):
        keys.press(key)
        assert page.evaluate(here) == row
    keys.press("PageDown")
    assert page.evaluate(here) == "50" and page.inner_text(".r3-where") == "Page 2 of 10"
    keys.press("PageUp")
    keys.press("ArrowDown")
    keys.press("Enter")
    assert page.is_visible("dialog .r3-player") and hash_of(one) == "#open=2"
    assert page.inner_text("dialog h2") == "Which digit?" and one.moment() == "Answer"
    shown = page.query_selector("dialog figure:not(.gone) .r3-crop").bounding_box()
    assert shown["width"] > 40 and shown["height"] > 40
    keys.press("ArrowLeft")
    keys.press("ArrowLeft")
    assert one.moment() == "Overview" and one.visible("dialog g.look") == []
    keys.press("ArrowRight")
    assert one.moment() == "Look 1" and one.visible("dialog g.look") == ["1"]
    page.click("[data-step='1']")
    assert hash_of(one) == "#open=3" and "It says 2." in page.inner_text("dialog")
    keys.press("Escape")
    for _ in range(100):  # a dialog's end is an event, and the page's policy lets nothing else wait for it
        if page.evaluate("document.activeElement.closest('tr')?.dataset.row") == "2":
            break
        page.wait_for_timeout(50)
    assert page.evaluate(here) == "2"
    assert not page.is_visible("dialog") and hash_of(one) in ("", "#")
    page.click("tbody tr >> nth=7")  # anywhere on the row
    assert "I see 2." in page.inner_text("dialog") and "was not kept" in page.inner_text("dialog")
    page.click("[data-step='0']")
    assert not page.is_visible("dialog")
    one.clean()


@pytest.mark.browser
def test_ten_thousand_records_stay_fluid(opened: Any) -> None:
    """On an idle core a change takes some 30 ms with its layout; this says no more than that it is no wait."""
    one = opened(browse([entry(i) for i in range(10_000)], budget=200_000).to_page())
    spent = one.page.evaluate(
        "() => { const field = document.querySelector('input[type=search]'), found = [];"
        " for (const q of ['b', 'ba', 'badge', 'badge 7', 'badge 77', '', 'digit', 'no', 'zzz']) {"
        " const start = performance.now(); field.value = q; field.dispatchEvent(new Event('input', {bubbles: true}));"
        " document.body.offsetHeight; found.push(performance.now() - start); }"
        " return found.sort((a, b) => a - b); }"
    )
    assert spent[len(spent) // 2] < 600, spent
    one.page.fill("input[type=search]", "badge 99")
    assert count(one) == f"{sum('99' in str(i) for i in range(10_000))} of 10,000"
    one.clean()


@pytest.mark.browser
def test_hostile_records_run_nothing(opened: Any) -> None:
    """Escaping holds by itself: the page's policy is taken away."""
    for budget in (4_000_000, 0):
        html = browse(attacks(ATTACK), title=ATTACK, budget=budget).to_page()
        one = opened(html.replace("Content-Security-Policy", "no-policy", 1))
        for row in range(4):
            one.page.click(f"tbody .r3-open >> nth={row}")
            assert "onerror='window.fired=2'" in one.page.inner_text("dialog")
            for key in ("Home", "ArrowRight", "End", "Escape"):
                one.page.keyboard.press(key)
        for facet in one.page.query_selector_all("form select"):
            for option in facet.query_selector_all("option"):
                facet.select_option(value=option.get_attribute("value"))
        one.page.evaluate("text => { location.hash = `q=${encodeURIComponent(text)}&world=${text}`; }", ATTACK)
        one.page.wait_for_timeout(100)
        assert one.page.input_value("input[type=search]") == ATTACK
        assert not one.page.query_selector_all("main iframe, main [onerror], main [onload], main a, main [onfocus]")
        one.clean()


@pytest.mark.browser
def test_a_record_that_the_page_does_not_hold_says_how_it_is_played(opened: Any, vlir: Path) -> None:
    one = opened(browse(vlir, budget=0).to_page())
    one.page.click("tbody .r3-open >> nth=5")
    said = one.page.inner_text("dialog code")
    assert shlex.split(said) == ["r3lab", "browse", "-o", "one.html", f"{vlir}#6"]
    assert "holds 0 of its 8 records" in one.page.inner_text("dialog")
    one.clean()


@pytest.mark.browser
@pytest.mark.parametrize("width", [320, 768])
def test_it_fits_its_width(width: int, opened: Any, answers: str) -> None:
    mixed = browse([*attacks("W" * 3000), *attacks("many words " * 300), entry(1, score=0.5)]).to_page()
    for html, rows in ((answers, 1), (mixed, 4)):
        one = opened(html, viewport={"width": width, "height": 700})
        wide = "document.documentElement.scrollWidth"
        assert one.page.evaluate(wide) <= width
        if width < 700:
            assert one.page.evaluate("document.querySelector('.r3-scroll').scrollWidth") <= width
            assert not one.page.is_visible(".r3-fields")
            one.page.click(".r3-filters summary")
            assert one.page.is_visible(".r3-fields") and one.page.evaluate(wide) <= width
        for row in range(rows):
            one.page.click(f"tbody .r3-open >> nth={row}")
            dialog = one.page.query_selector("dialog")
            assert dialog.evaluate("e => e.scrollWidth - e.clientWidth") <= 0
            box = one.page.query_selector("[data-step='0']").bounding_box()
            assert box["height"] >= 30 and box["x"] >= 0 and box["x"] + box["width"] <= width
            one.page.keyboard.press("Escape")
        one.clean()


@pytest.mark.browser
def test_without_script_there_is_a_table(opened: Any, vlir: Path) -> None:
    one = opened(browse(vlir).to_page(), java_script_enabled=False)
    assert one.page.locator("table tbody tr").count() == 8 and one.page.is_visible("table")
    one.context.close()


# Players, rivers and tokens, in a browser.


@pytest.mark.browser
def test_slider_buttons_and_keys_move_the_player(opened: Any) -> None:
    one = opened(report([Entry(looks(3)), Entry(looks(1))]))
    page = one.page
    player_of = "#t1 .r3-player"
    assert one.moment() == "Answer" and one.visible("#t1 g.look") == ["1", "2", "3"]
    page.focus(f"{player_of} input[type=range]")
    for wanted, boxes in (("Look 3", ["1", "2", "3"]), ("Look 2", ["1", "2"]), ("Look 1", ["1"]), ("Overview", [])):
        page.keyboard.press("ArrowLeft")
        assert one.moment() == wanted and one.visible("#t1 g.look") == boxes
        assert one.visible("#t1 .r3-seen figure") == [str(len(boxes))]
        assert one.visible("#t1 .r3-text li") == [str(i) for i in range(len(boxes) + 1)]
    assert page.is_disabled(f"{player_of} [data-go=back]")
    page.click(f"{player_of} [data-go=forward]")
    assert one.moment() == "Look 1"
    page.keyboard.press("End")
    assert one.moment() == "Answer" and page.is_visible("#t1 .r3-answer")
    page.click(f"{player_of} [data-go=start]")
    assert one.moment() == "Overview" and not page.is_visible("#t1 .r3-answer")
    assert page.text_content("#t2 .r3-controls output") == "Answer"  # the other one did not move
    page.fill(f"{player_of} input[type=range]", "2")
    assert one.moment() == "Look 2"
    one.clean()


@pytest.mark.browser
def test_keys_move_the_player_in_view_before_anything_has_the_focus(opened: Any) -> None:
    one = opened(report([Entry(looks(1)), Entry(looks(2))]))
    one.page.evaluate("document.querySelector('#t2 .r3-player').scrollIntoView({block: 'center'})")
    one.page.keyboard.press("ArrowLeft")
    assert one.page.text_content("#t2 .r3-controls output") == "Look 2" and one.moment() == "Answer"
    one.clean()


@pytest.mark.browser
def test_a_region_stands_where_it_lies_and_older_ones_fade(opened: Any) -> None:
    t = trajectory("a", (10.0, 20.0, 60.0, 70.0), "b", SPOT, "c", (300.0, 50.0, 400.0, 90.0), "d")
    one = opened(play(t).to_page())
    photo = one.page.query_selector(".r3-photo svg").bounding_box()
    scale = photo["width"] / SIZE[0]
    assert photo["height"] / SIZE[1] == pytest.approx(scale, rel=0.01)
    box = one.page.query_selector("g.look[data-from='2'] .edge rect:nth-child(2)").bounding_box()
    found = [(box["x"] - photo["x"]) / scale, (box["y"] - photo["y"]) / scale]
    found += [found[0] + box["width"] / scale, found[1] + box["height"] / scale]
    assert found == pytest.approx(SPOT, abs=4)  # the line has a width
    faint = "document.querySelector(`g.look[data-from='${n}'] .edge`)"
    opacity = [one.page.evaluate(f"(n) => Number(getComputedStyle({faint}).opacity)", n) for n in (1, 2, 3)]
    assert opacity[0] < opacity[1] < opacity[2] == 1
    # Pixels: the red block of the photograph is red on the screen, that of the overview too.
    for switched in (False, True):
        if switched:
            one.page.check("[data-switch=saw]")
        x, y = photo["x"] + scale * (SPOT[0] + SPOT[2]) / 2, photo["y"] + scale * (SPOT[3] - 10)  # below the path
        shot = one.page.screenshot(clip={"x": x - 2, "y": y - 2, "width": 4, "height": 4})
        assert colour(shot) == pytest.approx((255, 0, 0), abs=8)
    one.clean()


def colour(png: bytes) -> tuple[float, ...]:
    """Mean colour of a picture."""
    with Image.open(io.BytesIO(png)) as image:
        return tuple(np.asarray(image.convert("RGB"), dtype=float).mean((0, 1)))


@pytest.mark.browser
def test_attention_darkens_what_was_not_read(opened: Any) -> None:
    one = opened(play(looks(1), [None, CELLS]).to_page())
    one.page.press(".r3-player", "ArrowLeft")
    photo = one.page.query_selector(".r3-photo svg").bounding_box()
    corner = {"x": photo["x"] + photo["width"] - 14, "y": photo["y"] + photo["height"] - 14, "width": 8, "height": 8}
    middle = {**corner, "x": photo["x"] + photo["width"] * 0.6, "y": photo["y"] + 12}
    before = [sum(colour(one.page.screenshot(clip=clip))) for clip in (corner, middle)]
    one.page.check("[data-switch=attend]")
    after = [sum(colour(one.page.screenshot(clip=clip))) for clip in (corner, middle)]
    assert after[0] == pytest.approx(before[0], rel=0.02)
    assert 0.5 * before[1] < after[1] < 0.75 * before[1], "darker, and still to be seen"
    one.page.keyboard.press("ArrowLeft")  # the overview has no map
    assert sum(colour(one.page.screenshot(clip=middle))) == pytest.approx(before[1], rel=0.02)
    one.clean()


@pytest.mark.browser
def test_the_river_moves_over_its_steps(opened: Any) -> None:
    one = opened(river(river_of(stream())).to_page())
    assert one.moment() == "Step 30" and set(one.visible(".r3-river svg g.only")) == {"3"}
    one.page.press(".r3-player", "Home")
    assert one.moment() == "Step 0"
    assert len(one.visible(".r3-river svg g.only")) == 2  # the first sample has no look yet
    assert set(one.visible(".r3-said span.only")) == {"0"} and "0%" in one.page.inner_text(".r3-lines")
    one.clean()


@pytest.mark.browser
def test_tokens_tell_their_numbers_and_change_their_colours(opened: Any) -> None:
    t = looks(1)
    t.advantage = 0.5
    one = opened(ribbon(t).to_page())
    token = one.page.query_selector_all(".r3-tokens i")[t.sampled_mask.index(True)]
    token.hover()
    assert "log-probability -0.5; entropy 0.1; advantage 0.5" in one.page.inner_text(".r3-readout")
    background = "e => getComputedStyle(e).backgroundColor"
    seen = {token.evaluate(background)}
    for label in ("entropy", "advantage"):
        one.page.check(f"text={label}")
        seen.add(token.evaluate(background))
    assert len(seen) == 3 and one.page.locator(".r3-scale [data-measure]:visible").count() == 1
    one.page.focus(".r3-tokens")
    one.page.keyboard.press("ArrowRight")
    one.page.keyboard.press("ArrowLeft")
    assert one.page.inner_text(".r3-readout").startswith(f"token {t.sampled_mask.index(True)},")
    one.clean()


# Nothing runs, nothing is fetched, everything fits.


@pytest.mark.browser
def test_hostile_text_runs_nothing(opened: Any) -> None:
    """Escaping holds by itself: the page's policy is taken away."""
    t = hostile(ATTACK)
    asked = {n: row for n, row in stream(2, 2).items()}
    for row in asked.values():
        for one in row:
            one.question = one.answer = ATTACK
    pages = [report([Entry(t, hostile_explanation(ATTACK), ATTACK)], ATTACK), ribbon(t).to_page()]
    pages += [river(river_of(asked)).to_page()]
    for html in pages:
        one = opened(html.replace("Content-Security-Policy", "no-policy", 1))
        for key in ("Home", "ArrowRight", "ArrowRight", "End"):
            one.page.keyboard.press(key)
        for summary in one.page.query_selector_all("summary"):
            summary.click()
        for token in one.page.query_selector_all(".r3-tokens i")[:8]:
            token.hover()
        one.page.wait_for_timeout(100)
        assert "onerror='window.fired=2'" in one.page.inner_text("body") or "onerror='window" in one.page.content()
        assert not one.page.query_selector_all("main img, main script, main iframe, main [onerror], main [onload]")
        one.clean()


@pytest.mark.browser
def test_the_policy_of_a_page_stops_what_escaping_would_miss(opened: Any) -> None:
    html = report([Entry(looks(1))]).replace(
        "</main>", "<img src=x onerror='window.fired=1'><script>window.fired=2</script></main>"
    )
    one = opened(html)
    assert one.page.evaluate("window.fired") == 0 and any("Content Security Policy" in e for e in one.errors)
    one.context.close()


@pytest.mark.browser
@pytest.mark.parametrize("width", [320, 768])
def test_pages_fit_their_width(width: int, opened: Any) -> None:
    t = hostile("W" * 3000)
    many = trajectory(*[p for i in range(16) for p in (f"text {i} " * 9, (9.0 + i, 9.0, 99.0 + i, 80.0))])
    for html in (report([Entry(t), Entry(many)]), ribbon(t).to_page(), river(river_of(stream())).to_page()):
        one = opened(html, viewport={"width": width, "height": 700})
        assert one.page.evaluate("document.documentElement.scrollWidth") <= width
        for button in one.page.query_selector_all(".r3-controls button"):
            box = button.bounding_box()
            assert box["height"] >= 30 and box["x"] >= 0 and box["x"] + box["width"] <= width
        one.clean()


@pytest.mark.browser
def test_a_page_follows_the_readers_dark_mode(opened: Any) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    for scheme, chosen in (("light", palette.LIGHT), ("dark", palette.DARK)):
        one = opened(report([Entry(looks(1))]), color_scheme=scheme)
        wanted = "rgb({}, {}, {})".format(*(int(chosen.paper[i : i + 2], 16) for i in (1, 3, 5)))
        assert one.page.evaluate(background) == wanted
        one.clean()


@pytest.mark.browser
def test_without_script_and_in_print_every_moment_stands_on_the_page(opened: Any) -> None:
    html = report([Entry(looks(3))])
    still = opened(html, java_script_enabled=False)
    printed = opened(html)
    printed.page.keyboard.press("Home")
    printed.page.emulate_media(media="print")
    for one in (still, printed):
        assert one.visible(".r3-seen figure") == ["0", "1", "2", "3"] and one.visible("g.look") == ["1", "2", "3"]
        assert one.visible(".r3-text li")[-1] == "4" and not one.page.is_visible(".r3-controls")
    still.context.close()
    printed.clean()
    flow = opened(river(river_of(stream())).to_page(), java_script_enabled=False)
    assert set(flow.visible(".r3-river svg g.only")) == {"3"}
    flow.context.close()


# In an exported notebook.


def executed(outputs: list[dict[str, str]]) -> str:
    """A notebook whose cells showed these bundles, exported as the course exports them."""
    from nbconvert import HTMLExporter

    cells = [
        nbformat.v4.new_code_cell("x", outputs=[nbformat.v4.new_output("execute_result", data=dict(one), metadata={})])
        for one in outputs
    ]
    return str(HTMLExporter(template_name="lab").from_notebook_node(nbformat.v4.new_notebook(cells=cells))[0])


@pytest.mark.browser
def test_an_exported_notebook_moves_offline_and_has_its_pictures_without_script(opened: Any, vlir: Path) -> None:
    players, tables = [play(looks(2)), play(hostile(ATTACK))], [browse(vlir), browse(attacks(ATTACK))]
    html = executed([view._repr_mimebundle_() for view in (*players, *tables)])
    one = opened(html)
    page = one.page
    assert page.locator(".r3-player").count() == 2 and one.moment() == "Answer"
    page.click(".r3-player [data-go=back]")
    assert one.moment() == "Look 2"
    assert page.locator(".r3-count").all_inner_texts() == ["8 records", "4 records"]
    page.locator("input[type=search]").nth(0).fill("trail")
    page.locator("tbody .r3-open").nth(0).click()
    assert page.inner_text("dialog[open] .r3-controls output") == "Answer" and page.url == one.file.as_uri()
    page.keyboard.press("Escape")
    page.locator(".r3-browser").nth(1).locator(".r3-open").nth(1).click()
    page.keyboard.press("Home")
    assert page.evaluate("window.fired") == 0 and not [e for e in one.errors if "r3" in e]
    one.context.close()
    still = opened(html, java_script_enabled=False)
    pictures = still.page.query_selector_all(".r3 > img")
    assert len(pictures) == 4 and "Look 2: region" in pictures[0].get_attribute("alt")
    assert pictures[0].evaluate("e => e.naturalWidth") > 900 and pictures[0].is_visible()
    still.context.close()
