"""Benchmarks from local files: each public format, hostile records, and memory that does not grow with the file.

The files are written here, tiny, with the public field names; images are 8 x 6 pixels.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from benchmark_files import ANSWER, PNG, SIZE, TEXT64, TRUE, png, with_paths

from r3lab.core.errors import R3labError
from r3lab.core.records import ForeignError
from r3lab.evaluate import benchmarks
from r3lab.evaluate.benchmarks import BENCHMARKS, Record, get_benchmark

KINDS = ("lines", "list", "parquet")


def read(name: str, path: Path) -> list[Record]:
    """All records of a file of which none is left out."""
    reading = get_benchmark(name).read(path)
    found = list(reading)
    assert (reading.skipped, reading.problems) == (0, [])
    return found


def parquet(path: Path, records: list[dict[str, Any]]) -> Path:
    arrow = pytest.importorskip("pyarrow", reason="pip install -e '.[test]' brings it")
    pytest.importorskip("pyarrow.parquet").write_table(arrow.Table.from_pylist(records), path)
    return path


# ------------------------------------------------------------------ every format


GROUPS = {  # of the one record
    "hallusionbench": {"category", "subcategory", "set_id", "figure_id", "question_id"},
    "vstar": {"category"},
    "mmvp": {"pair"},
    "cv-bench": {"source"},
    "hr-bench": {"category", "cycle"},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", TRUE)
def test_every_benchmark_in_every_format(name, kind, tmp_path):
    """The one record, with its image and answer; a full score for the true answer and none for another."""
    folder = tmp_path / "data"
    folder.mkdir()
    if kind == "parquet":
        parquet(folder / "test-00000-of-00001.parquet", [TRUE[name]])
    elif kind == "list":
        (folder / "test.json").write_text(json.dumps([with_paths(name, folder)], indent=2))
    else:
        text = "\ufeff" + json.dumps(with_paths(name, folder)) + "\n\n"
        (folder / "test.jsonl").write_text(text, encoding="utf-8")
    [record] = read(name, folder)
    benchmark = BENCHMARKS[name]
    assert record.answer == ANSWER[name] and set(record.groups) == GROUPS.get(name, set())
    assert record.image is not None and record.image.size == SIZE and record.image.mode == "RGB"
    grade = benchmark.grade(record, ANSWER[name])
    assert grade.score == 1 and grade.groups == record.groups
    assert name == "mathvista" or benchmark.grade(record, "qqq").score == 0
    assert benchmark.grade(record, None).score == benchmark.grade(record, "").score == 0


def test_hr_bench_tsv(tmp_path):
    """As pandas writes it: every cell text, base64 images, quotes round cells with quotes, tabs and line ends."""
    names = ["index", "question", "answer", "category", "A", "B", "C", "D", "cycle_category", "image"]
    first = dict(TRUE["hr-bench"], question='"What is "the"\tsign?\nSay it."')
    second = dict(TRUE["hr-bench"], index="1", D="")  # an empty cell: three options

    def cell(value: Any) -> str:
        text = str(value)
        return '"' + text.replace('"', '""') + '"' if set(text) & set('"\t\n') else text

    lines = ["\t".join(names), *("\t".join(cell(r[n]) for n in names) for r in (first, second))]
    path = tmp_path / "hr_bench_4k.tsv"
    path.write_text("\r\n".join(lines), newline="")
    one, two = read("HR-Bench", path)
    assert one.question == '"What is "the"\tsign?\nSay it."\nA. cat\nB. dog\nC. cow\nD. owl'
    assert two.choices == ("cat", "dog", "cow") and two.image is not None and two.image.size == SIZE
    assert one.groups == {"category": "single", "cycle": "0"} and one.id == "0/0"


def test_mmvp_csv_with_the_public_header(tmp_path):
    """Questions.csv beside "MMVP Images", with the header that begins with a small L."""
    (tmp_path / "MMVP Images").mkdir()
    for index in (2, 99):
        (tmp_path / "MMVP Images" / f"{index}.jpg").write_bytes(PNG)
    rows = ['2,"Is it, say, open?",(a) Yes (b) No,(a)', "99,Long or short tusks?,(a) Long (b) Short,(a)"]
    path = tmp_path / "Questions.csv"
    path.write_text("\n".join(["lndex,Question,Options,Correct Answer", *rows]))
    first, second = read("mmvp", path)
    assert first.question == "Is it, say, open?\nA. Yes\nB. No" and first.groups == {"pair": "1"}
    assert second.groups == {"pair": "50"}


def test_json_objects_of_records(tmp_path):
    """MathVista's testmini.json and ScienceQA's problems.json are objects by id, DocVQA's has a list under "data"."""
    first = with_paths("mathvista", tmp_path)
    free = {"pid": "2", "choices": None, "question_type": "free_form", "answer_type": "float", "precision": 1.0}
    (tmp_path / "a.json").write_text(json.dumps({"1": first, "2": first | free | {"answer": "2.3"}}))
    one, two = read("mathvista", tmp_path / "a.json")
    assert (one.id, two.id) == ("1", "2") and get_benchmark("mathvista").grade(two, "2.26").score == 1

    folder = tmp_path / "images" / "test" / "77"
    folder.mkdir(parents=True)
    (folder / "image.png").write_bytes(PNG)
    problem = {k: v for k, v in TRUE["scienceqa"].items() if k != "image"} | {"split": "test"}
    (tmp_path / "b.json").write_text(
        json.dumps({"77": problem | {"image": "image.png"}, "78": problem | {"image": None}})
    )
    one, two = read("scienceqa", tmp_path / "b.json")
    assert (one.id, two.id, two.image) == ("77", "78", None) and one.image is not None
    assert one.question == "Context: Rocks are hard.\nWhich is a rock?\nA. wood\nB. granite"

    question = with_paths("docvqa", tmp_path)
    wrapped = {"dataset_name": "docvqa", "data": [question, question | {"questionId": 338}], "dataset_version": 1.0}
    (tmp_path / "c.json").write_text(json.dumps(wrapped))
    assert [r.id for r in read("docvqa", tmp_path / "c.json")] == ["337", "338"]


# ------------------------------------------------------------------ records that do not fit

LONG = "x" * 5_000_000
SCRIPT = "<script>alert(1)</script>\x1b[2J\u202e"
HOSTILE: dict[str, tuple[str, dict[str, Any], str]] = {
    "climbs out": ("vstar", {"image": "../secret.png"}, "leaves the data folder"),
    "absolute, no dot": ("vstar", {"image": "/etc/passwd"}, "neither base64 nor a path"),
    "windows": ("vstar", {"image": "..\\..\\secret.png"}, "a path with a backslash"),
    "drive": ("vstar", {"image": "C:secret.png"}, "leaves the data folder"),
    "null in the path": ("vstar", {"image": "a\0.png"}, "or a control character"),
    "link out": ("vstar", {"image": "link.png"}, "leaves the data folder: 'link.png' is a link out of it"),
    "in a dict": ("vstar", {"image": {"bytes": None, "path": "../secret.png"}}, "leaves the data folder"),
    "filename": ("hallusionbench", {"filename": "./../secret.png"}, "leaves the data folder"),
    "a url": ("vstar", {"image": "https://example.org/x.png"}, "does not exist"),
    "a folder": ("vstar", {"image": "./."}, "is a folder"),
    "a path of megabytes": ("vstar", {"image": LONG + ".png"}, "5,000,004 characters, over 1024"),
    "a long name": ("vstar", {"image": "x" * 300 + ".png"}, "cannot be read"),
    "not base64": ("vstar", {"image": "%%%"}, "neither base64 nor a path"),
    "base64 of text": ("vstar", {"image": base64.b64encode(b"hello there").decode()}, "not an image"),
    "image is a number": ("vstar", {"image": 7}, "must be bytes, base64 or a path, got 7"),
    "image missing": ("docvqa", {"image": None}, "the image is missing"),
    "megabytes of text": ("vstar", {"text": LONG}, "text of at most 4000 characters"),
    "a million choices": ("cv-bench", {"choices": ["a"] * 1_000_000}, "choices has 1,000,000 members"),
    "one choice": ("cv-bench", {"choices": ["a"], "answer": "A"}, "has 1 choices"),
    "question of white space": ("docvqa", {"question": " \n "}, "question is empty"),
    "broken unicode": ("docvqa", {"question": "a\ud800"}, "not valid Unicode"),
    "answers empty": ("docvqa", {"answers": []}, "answers is empty"),
    "answer of the test split": ("mathvista", {"answer": ""}, "the answer is empty"),
    "answer true": ("scienceqa", {"answer": True}, "answer must be a whole number from 0, got True"),
    "answer past the choices": ("scienceqa", {"answer": 2}, "answer is 'C', but the choices end at B"),
    "letter past the choices": ("mathvision", {"answer": "C"}, "answer is 'C', but the choices end at B"),
    "source unknown": ("cv-bench", {"source": "LAION"}, "source must be ADE20K, COCO or Omni3D, got 'LAION'"),
    "type unknown": ("mathvista", {"question_type": "essay"}, "question_type must be"),
    "no precision": ("mathvista", {"question_type": "free_form", "answer_type": "float"}, "precision is missing"),
    "precision nan": ("mathvista", {"precision": float("nan")}, "precision must be a whole number from 0 to 10"),
    "truth neither yes nor no": ("hallusionbench", {"gt_answer": "2"}, "gt_answer must be 0 or 1, got '2'"),
    "index 0": ("mmvp", {"Index": 0}, "Index must be a whole number from 1, got 0"),
    "options without letters": ("mmvp", {"Options": "open or closed"}, "Options must be like"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_record_that_does_not_fit_is_left_out_and_named(case, tmp_path):
    name, changes, words = HOSTILE[case]
    (tmp_path / "secret.png").write_bytes(PNG)
    folder = tmp_path / "data"
    folder.mkdir()
    os.symlink(tmp_path / "secret.png", folder / "link.png")
    good = with_paths(name, folder)
    bad = good | changes
    good |= {"pid": "9", "Index": 9} if name in ("mathvista", "mmvp") else {}
    path = folder / "test.jsonl"
    path.write_text(json.dumps(bad) + "\n" + json.dumps(good) + "\n")
    before = sorted(tmp_path.rglob("*"))
    reading = get_benchmark(name).read(path)
    assert len(list(reading)) == 1 and reading.skipped == 1
    [problem] = reading.problems
    assert problem.startswith("test.jsonl line 1: ") and words in problem
    assert len(problem) < 400 and problem.isprintable()
    assert sorted(tmp_path.rglob("*")) == before  # nothing was written


@pytest.mark.parametrize("name", TRUE)
def test_every_wanted_field_is_missed_and_every_wrong_type_refused(name, tmp_path):
    path, true = tmp_path / "test.jsonl", with_paths(name, tmp_path)
    for field in BENCHMARKS[name].wanted:
        records = [true | {field: wrong} for wrong in ({}, None, 1.5, [[]], {"a": 1})]
        records.insert(0, {k: v for k, v in true.items() if k != field})
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
        reading = get_benchmark(name).read(path)
        assert not list(reading) and reading.skipped == 6
        assert f"line 1: the field '{field}' is missing" in reading.problems[0]
        for problem in reading.problems[1:]:
            assert f": {field}" in problem and " must be " in problem


def test_a_thousand_hostile_lines_are_counted_and_fifty_kept(tmp_path):
    good = json.dumps(with_paths("vstar", tmp_path))
    bad = ["{", "[]", "null", "[" * 5000, '{"a": 1, "a": 2}', '"text"', '{"text": NaN}', "\\x00", good[:-9], "9" * 9999]
    path = tmp_path / "test.jsonl"
    path.write_bytes("\n".join([*(bad * 100), good]).encode() + b"\n\xff\xfe{}\n")
    reading = get_benchmark("vstar").read(path)
    assert len(list(reading)) == 1 and (reading.skipped, len(reading.problems)) == (1001, 50)
    assert all(p.startswith(f"test.jsonl line {i}: ") and p.isprintable() for i, p in enumerate(reading.problems, 1))
    path.write_text(good + "\n" + good)
    reading = get_benchmark("vstar").read(path)
    assert len(list(reading)) == 1
    assert "line 2: the question 'direct_attributes/0' was given before" in reading.problems[0]


def test_a_bomb_and_a_huge_file_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    bomb = base64.b64encode(png((400, 300))).decode()
    path = tmp_path / "test.jsonl"
    path.write_text(json.dumps(TRUE["vstar"] | {"image": bomb}))
    with monkeypatch.context() as patch:
        patch.setattr(benchmarks, "open_image", partial(benchmarks.open_image, max_pixels=100_000))
        reading = get_benchmark("vstar").read(path)
        assert list(reading) == [] and "400 x 300 = 120,000 pixels, over 100,000" in reading.problems[0]
    monkeypatch.setattr("r3lab.core.images.MAX_BYTES", 50)
    (tmp_path / "1.png").write_bytes(PNG)
    for image in (TEXT64, "1.png"):
        path.write_text(json.dumps(TRUE["vstar"] | {"image": image}))
        reading = get_benchmark("vstar").read(path)
        assert list(reading) == [] and "over" in reading.problems[0]


def test_a_bad_row_of_a_table_is_named_and_the_next_is_read(tmp_path):
    path = tmp_path / "t.tsv"
    good = f"Q? (A) wax (B) tin\tx\tB\t{TEXT64}"
    lines = ["question_id\ttext\tcategory\tlabel\timage", f"0\t{good}", "1\tshort", f'2\t"a"b\tx\tB\t{TEXT64}']
    lines.append(f"2b\t{good}\tone more")
    path.write_bytes("\n".join([*lines, f"3\t{good}", ""]).encode() + b"4\t\xff\tx\tB\tx\n" + f"5\t{good}\n".encode())
    reading = get_benchmark("vstar").read(path)
    assert [r.id for r in reading] == ["x/0", "x/3", "x/5"]
    assert [p.split(":")[0] for p in reading.problems] == [f"t.tsv line {n}" for n in (3, 4, 5, 7)]
    assert "5 fields as in the header, got 2" in reading.problems[0] and "got 6" in reading.problems[2]


@pytest.mark.parametrize(
    ("file", "data", "words"),
    [
        ("x.json", b"", "is empty"),
        ("x.json", b"[] []", "is not JSON"),
        ("x.json", b"[]", "no records"),
        ("x.json", b'{"version": 1}', "no records"),
        ("x.jsonl", b"\n\n", "no records"),
        ("x.tsv", b"a\ta\n", "must name each column once"),
        ("x.tsv", b'a\tb\n"1\t2\n', "quoted field has no end"),
        ("x.csv", b"\xff\xfe", "line 1"),
        ("x.parquet", b"PAR1 this is none PAR1", "cannot be read"),
        ("x.parquet", b"", "cannot be read"),
    ],
)
def test_a_damaged_file_is_one_clear_line(file, data, words, tmp_path):
    if file.endswith("parquet"):
        pytest.importorskip("pyarrow", reason="pip install -e '.[test]' brings it")
    (tmp_path / file).write_bytes(data)
    with pytest.raises(ForeignError, match=words) as caught:
        list(get_benchmark("vstar").read(tmp_path / file))
    assert file in str(caught.value) or "no records" in words
    assert len(str(caught.value)) < 400 and str(caught.value).isprintable()


def test_a_parquet_file_that_is_cut_or_scrambled_is_one_clear_line(tmp_path):
    path = parquet(tmp_path / "x.parquet", [TRUE["vstar"] | {"question_id": str(i)} for i in range(50)])
    whole = path.read_bytes()
    assert len(read("vstar", path)) == 50
    for step in range(60):
        data = bytearray(whole)
        data[step * len(whole) // 60] ^= 0xFF
        path.write_bytes(bytes(data) if step % 2 else whole[: step * len(whole) // 60])
        try:
            list(get_benchmark("vstar").read(path))
        except ForeignError as error:
            assert len(str(error)) < 400


def test_a_place_without_a_file_is_named(tmp_path, monkeypatch):
    """And a format that needs a package names it."""
    benchmark = get_benchmark("docvqa")
    for path, words in ((tmp_path / "none.json", "There is no file"), (tmp_path, "holds no single data file")):
        with pytest.raises(ForeignError, match=words):
            benchmark.read(path)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(ForeignError, match="pip install 'pyarrow"):
        list(benchmark.read(tmp_path))
    (tmp_path / "b.tsv").touch()
    with pytest.raises(ForeignError, match=r"a.parquet, b.tsv.*name the file"):
        benchmark.read(tmp_path)


def test_names_are_forgiving_and_unknown_ones_near():
    assert set(BENCHMARKS) == set(TRUE)
    for name in ("MathVista", "math_vista", "CV-Bench", "cvbench", "HR Bench", "V*", "Hallusion-Bench"):
        assert get_benchmark(name).name in BENCHMARKS
    with pytest.raises(R3labError, match="Unknown benchmark 'mathvist'. Did you mean 'mathvista'?"):
        get_benchmark("mathvist")
    with pytest.raises(R3labError, match="There are mathvista, mathvision"):
        get_benchmark("\x1b[2Jzzzz" * 1000)


# ------------------------------------------------------------------ bounded memory


@contextmanager
def holding_less_than(limit: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < limit, f"{peak:,} bytes held"


@pytest.mark.parametrize("kind", [".json", ".tsv"])
def test_memory_does_not_grow_with_the_file(kind, tmp_path):
    """Ten megabytes: 2,000 records with 5 kB that no benchmark wants, and their images."""
    record = TRUE["vstar"] | {"image": TEXT64, "noise": "n" * 5000}
    records = [record | {"question_id": str(i)} for i in range(2000)]
    path = tmp_path / f"large{kind}"
    if kind == ".json":
        path.write_text("[" + ",\n".join(map(json.dumps, records)) + "]")
    else:
        cells = [record, *(one.values() for one in records)]
        path.write_text("\n".join("\t".join(f'"{cell}"' for cell in row) for row in cells))
    del records
    found = iter(get_benchmark("vstar").read(path))
    next(found)
    with holding_less_than(4_000_000):
        assert sum(1 for _ in found) == 1999


@pytest.mark.parametrize("kind", [".jsonl", ".json"])
def test_one_endless_record_is_left_out_without_being_held(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(benchmarks, "MAX_RECORD", 100_000)
    good, path = json.dumps(TRUE["vstar"] | {"image": TEXT64}), tmp_path / f"x{kind}"
    line, listed = '{"text": "' + "x" * 5_000_000 + '"}\n', '[{"text": [' + '"xxxxx", ' * 120_000 + '""]},'
    path.write_text(line + good if kind == ".jsonl" else listed + good + "]")
    with holding_less_than(4_000_000):
        reading = get_benchmark("vstar").read(path)
        assert len(list(reading)) == reading.skipped == 1 and "over 100,000 bytes" in reading.problems[0]


def test_one_endless_value_of_a_document_ends_the_reading_without_being_held(tmp_path, monkeypatch):
    """Unlike a line: the parser cannot step over it."""
    monkeypatch.setattr(benchmarks, "MAX_RECORD", 100_000)
    good = json.dumps(TRUE["vstar"] | {"image": TEXT64})
    (tmp_path / "x.json").write_text(f"[{good},\n" + '{"text": "' + "x" * 8_000_000 + '"}]')
    with holding_less_than(4_000_000):
        records = iter(get_benchmark("vstar").read(tmp_path / "x.json"))
        next(records)
        with pytest.raises(ForeignError, match=r"x.json line 2 .*a single value of over 100,000 bytes.*\.jsonl"):
            next(records)
