"""Records of other projects in and out: coordinates worked by hand, round trips, hostile records, bounded memory."""

from __future__ import annotations

import itertools
import json
import random
import sys
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hostile import JUNK, spoiled
from PIL import Image

from r3lab.core.errors import R3labError
from r3lab.core.images import content_hash
from r3lab.core.protocol import answer_of
from r3lab.core.records import Refused
from r3lab.core.rows import rows
from r3lab.vlir.convert import FORMATS, detect, read, write
from r3lab.vlir.convert.frames import BUDGET, ConvertError, FrameName, FrameNeeded, from_source, to_source
from r3lab.vlir.convert.rationales import _said as said_by
from r3lab.vlir.convert.record import Record
from r3lab.vlir.convert.regions import spelled
from r3lab.vlir.rationale import sentences
from r3lab.vlir.sample import Rationale, Sample, read_vlir
from r3lab.vlir.teacher.dialogue import MAX_REPLY, MAX_STEP, read_reply

SIZE = (1000, 750)  # smart_resize with factor 28 makes 1008 x 756 of it
SCRIPT = "<script>alert(1)</script><img src=x onerror=alert(1)>{{7*7}}${jndi:ldap://x}'; DROP TABLE entry; --\x1b[2J"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder with one image under the names that the fixtures use."""
    data = tmp_path / "data"
    names = ("a.jpg", "crop.jpg", "cot/gqa/a.jpg", "documents/xnbl0037_1.png", "2407890.jpg", "0054c91397f2fe05.jpg")
    for name in names:
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", SIZE, "white").save(data / name)
    return data


# Records as the formats' authors publish them. LLAVA's padded box has 125 pixels of padding above: (375 + 125) / 1000.
FOREIGN = json.loads((Path(__file__).parent / "foreign.json").read_text("utf-8"))
SFT, RL, RAW, LLAVA, DEEPEYES = (FOREIGN[name] for name in ("SFT", "RL", "RAW", "LLAVA", "DEEPEYES"))
GQA, GRAPHS, TEXTVQA, WORDS, DOCVQA, PAGE = (
    FOREIGN[name] for name in ("GQA", "GRAPHS", "TEXTVQA", "WORDS", "DOCVQA", "PAGE")
)


def said(**pieces: str) -> dict[str, str | None]:
    """One piece of a Pixel-Reasoner message: the data set stores all three keys."""
    return {"text": None, "image": None, "video": None} | pieces


def pixel(box: list[float], target: int = 1) -> dict:
    """A Pixel-Reasoner record with one look."""
    call = {"name": "crop_image_normalized", "arguments": {"bbox_2d": box, "target_image": target}}
    return {
        "qid": "vs-3",
        "message_list": [
            {"role": "system", "content": [said(text="tools")]},
            {"role": "user", "content": [said(text="What colour is the cup?"), said(image="a.jpg")]},
            {"role": "assistant", "content": [said(text=f"Zoom.\n<tool_call>{json.dumps(call)}</tool_call>")]},
            {"role": "user", "content": [said(image="crop.jpg")]},
            {"role": "assistant", "content": [said(text="It is red, \\boxed{dark {red}}")]},
        ],
    }


def save(folder: Path, name: str, content: object) -> Path:
    """A file of records: a list, an object, or JSON lines by its extension."""
    path = folder / name
    if name.endswith(".jsonl") and isinstance(content, list):
        path.write_text("".join(json.dumps(r) + "\n" for r in content))
    else:
        path.write_text(json.dumps(content, indent=1))
    return path


def one(path: Path, **options) -> Record:
    """The only record, strictly."""
    (record,) = read(path, strict=True, **options)
    return record


def test_official_sft_boxes_are_of_the_resized_image(folder: Path) -> None:
    """504 of 1008 is 500 of 1000, 378 of 756 is 375 of 750; the text behind the box follows the crop."""
    record = one(save(folder, "sft.json", [SFT]))
    assert record.rationale == Rationale(
        (
            "<think>The sign is small. ",
            pytest.approx((500, 375, 750, 562.5)),
            "\nIt says stop.</think><answer>stop</answer>",
        )
    )
    assert (record.question, record.answer, record.size) == (SFT["question"], "stop", SIZE)
    assert record.sample().image.size == SIZE
    assert one(folder / "sft.json", frame="source").regions == ((504, 378, 756, 567),)
    with pytest.raises(ConvertError, match="Did you mean 'resized-28'"):
        read(folder / "sft.json", frame="resized28")


def test_the_token_budget_decides_the_resized_frame(folder: Path) -> None:
    """With at most 256 tokens 1000 x 750 becomes 504 x 364 (18 x 13 tokens), worked by hand from smart_resize."""
    assert to_source((252, 182, 504, 364), FrameName.RESIZED, SIZE, (4, 256)) == (500, 375, 1000, 750)
    small = json.loads(json.dumps(SFT).replace("[504, 378, 756, 567]", "[252, 182, 504, 364]"))
    assert one(save(folder, "sft.json", [small]), budget=(4, 256)).regions == (pytest.approx((500, 375, 1000, 750)),)


def test_official_rl_has_samples_only(folder: Path) -> None:
    """No box, no rationale; the source is kept for the choice of a scorer."""
    record = one(save(folder, "rl.json", [RL]))
    assert (record.answer, record.dataset, record.rationale, record.regions) == ("stop", "textvqa", None, ())
    with pytest.raises(Refused, match="no rationale"):
        record.pair()
    with pytest.raises(ConvertError, match="takes none"):
        read(folder / "rl.json", frame="source")


def test_visual_cot_raw_boxes_are_of_the_declared_image(folder: Path) -> None:
    """The record says 500 x 375, the file has twice that; other proportions are refused."""
    record = one(save(folder, "cot.jsonl", [RAW]))
    assert record.regions == ((500, 375, 750, 562.5),)
    with pytest.raises(ConvertError, match="other proportions"):
        one(save(folder, "cot.jsonl", [RAW | {"height": 500}]))


def test_visual_cot_llava_boxes_lose_the_square_padding(folder: Path) -> None:
    """Both boxes must agree, the padded one within its three decimals (0.688 * 1000 - 125 = 563); pixels are kept."""
    record = one(save(folder, "llava.json", [LLAVA]))
    assert record.regions == ((500, 375, 750, 562),) and record.id == "llava-7"
    assert record.question == "What is on the table?"
    assert one(folder / "llava.json", frame="square-padded").regions == record.regions
    with pytest.raises(ConvertError, match="disagree"):
        one(folder / "llava.json", frame="relative-1")
    wrong = json.loads(json.dumps(LLAVA).replace("[0.500, 0.500, 0.750, 0.688]", "[0.500, 0.300, 0.750, 0.688]"))
    with pytest.raises(ConvertError, match="disagree"):
        one(save(folder, "llava.json", [wrong]))


def test_a_padded_box_without_its_witness_needs_a_frame(folder: Path) -> None:
    """Alone it can be padded (bottom 563) or not (516); the message names both, and a square image settles it."""
    alone = LLAVA | {"image": ["a.jpg", "a.jpg"]}
    path = save(folder, "llava.json", [alone])
    for frame, bottom in (("square-padded", 563), ("relative-1", 516)):
        (region,) = one(path, format="viscot-llava", frame=frame).regions
        assert region[3] == pytest.approx(bottom)
    with pytest.raises(FrameNeeded, match=r"line \d+.*frame='square-padded'.*frame='relative-1'"):
        list(read(path, format="viscot-llava"))
    Image.new("RGB", (1000, 1000)).save(folder / "a.jpg")
    assert one(path, format="viscot-llava").regions == (pytest.approx((500, 500, 750, 688)),)


def test_padding_is_whole_pixels_on_either_side() -> None:
    """501 x 1000 is padded by 249 on the left (499 // 2), as the published script does."""
    assert to_source((0.249, 0, 0.75, 1), FrameName.PADDED, (501, 1000)) == pytest.approx((0, 0, 501, 1000))
    assert to_source((0, 0.25, 1, 0.75), FrameName.PADDED, (1000, 500)) == pytest.approx((0, 0, 1000, 500))


def test_gqa_regions_are_the_objects_of_the_question(folder: Path, tmp_path: Path) -> None:
    """xywh of the graph's 500 x 375 on an image of twice that; each object once, in order."""
    questions, graphs = save(folder, "q.json", GQA), save(tmp_path, "g.json", GRAPHS)
    record = one(questions, boxes=graphs)
    assert record.regions == ((500, 374, 600, 454), (0, 400, 1000, 750)) and record.id == "02930152"
    assert one(questions).regions == ()
    with pytest.raises(ConvertError, match="file of boxes does not have"):
        one(questions, boxes=save(tmp_path, "g.json", {"1": GRAPHS["2407890"]}))


def test_textvqa_regions_are_where_the_answer_is_spelled(folder: Path, tmp_path: Path) -> None:
    """Shares of the image; the most frequent answer counts."""
    questions, words = save(folder, "q.json", TEXTVQA), save(tmp_path, "w.json", WORDS)
    record = one(questions, boxes=words)
    assert record.answer == "nokia" and record.regions == (pytest.approx((250, 300, 350, 315)),)
    assert [w["text"] for w in record.meta["ocr"]] == ["NOKIA", "MIA"] and record.split == "train"


def test_docvqa_polygons_are_in_the_units_of_the_page(folder: Path) -> None:
    """The page was recognised at 2000 x 1500, the file has half of that."""
    pages = folder / "ocr"
    pages.mkdir()
    save(pages, "xnbl0037_1.json", PAGE)
    record = one(save(folder, "q.json", DOCVQA), boxes=pages)
    assert record.regions == ((199, 51, 300, 80),) and record.id == "q-337"


def test_an_answer_spelled_twice_or_never_has_no_region() -> None:
    """Nothing is guessed; a run of words is one region."""
    a, b, c = ((float(i), 0.0, i + 1.0, 1.0) for i in range(3))
    assert spelled("New York", [("new", a), ("York,", b), ("New", c)]) == (0, 0, 2, 1)
    assert spelled("york", [("York", a), ("york", b)]) is None
    assert spelled("boston", [("York", a)]) is None and spelled("...", [("...", a)]) is None


def test_deepeyes_needs_a_frame_where_file_and_resized_image_differ(folder: Path) -> None:
    """1000 x 750 is no multiple of 28; 1008 x 756 is, and needs no answer. The system prompt's example is no look."""
    path = save(folder, "de.jsonl", [DEEPEYES])
    with pytest.raises(FrameNeeded, match=r"de.jsonl line 1.*frame='source'.*frame='resized-28'"):
        list(read(path))
    record = one(path, frame="resized-28")
    assert record.rationale.boxes == (pytest.approx((500, 375, 750, 562.5)),) and record.regions == ()
    assert record.rationale.parts[0] == "<think>It is small.</think>" and record.question == "What colour is the cup?"
    assert one(path, frame="source").rationale.boxes == ((504, 378, 756, 567),)
    nowhere = json.loads(json.dumps(DEEPEYES).replace("[504, 378, 756, 567]", "[5040, 378, 7560, 1e308]"))
    with pytest.raises(ConvertError, match="line 1: a box that does not fit"):
        one(save(folder, "nowhere.jsonl", [nowhere]))
    Image.new("RGB", (1008, 756)).save(folder / "a.jpg")
    assert one(path).rationale.boxes == ((504, 378, 756, 567),)
    published = DEEPEYES | {"prompt": DEEPEYES["prompt"][:2]}
    assert one(save(folder, "de.jsonl", [published])).rationale is None


def test_pixel_reasoner_shares_are_read_and_ones_are_asked_about(folder: Path) -> None:
    """Below 1 a share; from 1 on the published tool reads pixels, and the image's border looks the same."""
    record = one(save(folder, "pr.jsonl", [pixel([0.5, 0.5, 0.75, 0.8])]))
    assert record.regions == (pytest.approx((500, 375, 750, 600)),) and record.answer == "dark {red}"
    assert answer_of("".join(p for p in record.rationale.parts if isinstance(p, str))) == "dark {red}"
    for box in ([0.5, 0.5, 1, 1], [400, 300, 500, 400]):
        with pytest.raises(FrameNeeded, match="frame='source'"):
            list(read(save(folder, "pr.jsonl", [pixel(box)])))
    mixed = save(folder, "pr.jsonl", [pixel([0.5, 0.5, 0.75, 0.8]), pixel([400, 300, 500, 400])])
    first, second = read(mixed, frame="source")
    assert first.regions == record.regions and second.regions == ((400, 300, 500, 400),)
    (full,) = read(save(folder, "pr.jsonl", [pixel([0.5, 0.5, 1, 1])]), frame="relative-1")
    assert full.regions == ((500, 375, 1000, 750),)
    with pytest.raises(ConvertError, match="crop of a crop"):
        one(save(folder, "pr.jsonl", [pixel([0.1, 0.1, 0.2, 0.2], target=2)]))


FIXTURES = {
    "vlm-r3-sft": [SFT],
    "vlm-r3-rl": [RL],
    "viscot": [RAW],
    "viscot-llava": [LLAVA],
    "gqa": GQA,
    "textvqa": TEXTVQA,
    "docvqa": DOCVQA,
    "deepeyes": [DEEPEYES],
    "pixel-reasoner": [pixel([0.1, 0.1, 0.2, 0.2])],
}


@pytest.mark.parametrize("name", FIXTURES)
def test_every_format_is_told_by_its_fields(name: str, folder: Path) -> None:
    """From a list, an object, a single line, and behind rows that are broken; reading needs no format then."""
    content = FIXTURES[name]
    assert detect(save(folder, "x.json", content)) == name
    (folder / "x.json").write_text(json.dumps(content))
    assert detect(folder / "x.json") == name
    if isinstance(content, list):
        (folder / "x.jsonl").write_text('{"a": 1}\nbroken\n' + json.dumps(content[0]) + "\n")
        assert detect(folder / "x.jsonl") == name
    assert read(folder / "x.json").format == name


def test_unknown_formats_and_names_are_explained(folder: Path) -> None:
    """The message shows the fields there are and the known formats, or the nearest name."""
    path = save(folder, "x.json", [{"image_path": "a.jpg", "question": "?", "response_lst": [], "img_crop_list": []}])
    with pytest.raises(ConvertError, match="its fields are 'image_path', .*give format=, one of vlm-r3-sft, "):
        detect(path)
    with pytest.raises(ConvertError, match="Did you mean 'viscot'"):
        read(path, format="vscot")
    with pytest.raises(ConvertError, match="Did you mean 'parquet'"):
        write([], folder / "o", "parket")
    with pytest.raises(ConvertError, match="no records"):
        detect(save(folder, "y.json", []))
    with pytest.raises(ConvertError, match="2 data files"):
        read(folder)
    for missing in ("nothing.json", "a.jpg"):
        with pytest.raises(ConvertError):
            detect(folder / missing)


def samples(seed: int, count: int) -> list[Record]:
    """Records with random sizes, boxes of at least three pixels, and one to three looks."""
    rng, made = random.Random(seed), []
    for i in range(count):
        w, h = rng.randint(30, 400), rng.randint(30, 400)
        boxes = []
        for _ in range(rng.randint(1, 3)):
            x, y = rng.uniform(0, w - 3), rng.uniform(0, h - 3)
            boxes.append((x, y, rng.uniform(x + 3, w), rng.uniform(y + 3, h)))
        parts = ["<think>start "] + list(itertools.chain(*((b, f" seen {k} ") for k, b in enumerate(boxes))))
        rationale = Rationale((*parts, f"</think><answer>{i}</answer>"))
        image = Image.new("RGB", (w, h), (i % 256, 7, 9))
        needs = rng.choice([True, False, None])
        made.append(
            Record(f"r{i}", image, (w, h), f"What, {SCRIPT}?", str(i), tuple(boxes), rationale, needs, "d", "train")
        )
    return made


def joined(record: Record) -> tuple:
    """What must survive of a rationale: boxes, and text between them (neighbouring texts are one)."""
    texts = [""]
    for part in record.rationale.parts:
        if isinstance(part, str):
            texts[-1] += part
        else:
            texts.append("")
    return tuple(texts)


def test_sft_round_trip_keeps_boxes_within_half_a_unit(tmp_path: Path) -> None:
    """Write then read: text as it was, and every coordinate at most half a pixel of the resized image off."""
    originals = samples(1, 20)
    path = write(originals, tmp_path / "out", "vlm-r3-sft")
    assert detect(path) == "vlm-r3-sft"
    for back, original in zip(read(path, strict=True), originals, strict=True):
        assert (back.question, back.answer, joined(back)) == (original.question, original.answer, joined(original))
        for got, was in zip(back.regions, original.regions, strict=True):
            units = zip(*(from_source(b, FrameName.RESIZED, original.size) for b in (got, was)), strict=True)
            assert max(abs(a - b) for a, b in units) <= 0.5 + 1e-6
        assert content_hash(back.sample().image) == content_hash(original.source)
    written = json.loads(path.read_text())
    assert all(type(r["img_crop_list"]) is list and set(r) == set(SFT) for r in written)
    assert all((path.parent / crop).is_file() for r in written for crop in r["img_crop_list"])


@pytest.mark.parametrize("frame", FrameName)
def test_every_frame_is_undone_exactly(frame: FrameName) -> None:
    """to_source(from_source(box)) is the box, in any image and frame."""
    for record in samples(2, 20):
        for box in record.regions:
            there = from_source(box, frame, record.size, BUDGET)
            assert to_source(there, frame, record.size, BUDGET) == pytest.approx(box, abs=1e-9)


@pytest.mark.parametrize("format_name", ["parquet", "vlir"])
def test_tables_and_vlir_round_trip_exactly(format_name: str, tmp_path: Path) -> None:
    """Every field, boxes to the last bit, pixels; more records than fit in one batch."""
    if format_name != "vlir":
        pytest.importorskip("pyarrow", reason="pip install pyarrow")
    originals = samples(3, 20)
    if format_name != "vlir":  # a sample without rationale is fine in a table
        originals[5] = Record("lone", originals[5].source, originals[5].size, "Why?", "so")
    path = write(originals, tmp_path / f"out.{format_name}", format_name)
    back = list(read(path, strict=True))
    assert back == originals
    assert [content_hash(b.sample().image) for b in back] == [content_hash(o.source) for o in originals]
    if format_name == "vlir":
        assert [s.id for s, _ in read_vlir(path.parent)] == [o.id for o in originals]


def test_a_foreign_format_is_read_from_parquet(folder: Path) -> None:
    """DeepEyes as it is published: image bytes in the row."""
    arrow = pytest.importorskip("pyarrow", reason="pip install pyarrow")
    from pyarrow import parquet

    row = DEEPEYES | {"images": [{"bytes": (folder / "a.jpg").read_bytes(), "path": None}]}
    parquet.write_table(arrow.Table.from_pylist([row]), folder / "d.parquet")
    assert detect(folder / "d.parquet") == "deepeyes"
    assert one(folder / "d.parquet", frame="source").sample().image.size == SIZE


def test_without_pyarrow_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An optional package, a clear message, nothing left behind."""
    for name in [n for n in sys.modules if n.split(".")[0] == "pyarrow"] + ["pyarrow", "pyarrow.parquet"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConvertError, match=r"pip install 'pyarrow"):
        write(samples(6, 1), tmp_path / "x.parquet", "parquet")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("format_name", [n for n, f in FORMATS.items() if f.write])
def test_output_appears_whole_or_not_at_all(format_name: str, tmp_path: Path) -> None:
    """A failure in the middle leaves neither the output nor a part of it; a taken place is not overwritten."""
    if format_name == "parquet":
        pytest.importorskip("pyarrow", reason="pip install pyarrow")

    def broken():
        yield from samples(7, 12)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(broken(), tmp_path / "out", format_name)
    assert list(tmp_path.iterdir()) == []
    write(samples(7, 3), tmp_path / "out", format_name)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    if format_name != "parquet":
        with pytest.raises(R3labError, match="exists already"):
            write(samples(7, 3), tmp_path / "out", format_name)


def test_what_would_be_read_back_otherwise_is_not_written(tmp_path: Path) -> None:
    """No rationale, a box inside a text, an answer that is another: refused, nothing on disk."""
    (good,) = samples(8, 1)
    for parts in (None, ('a {"bbox_2d": [1, 2, 3, 4]} <answer>0</answer>',), ("<answer>1</answer>",)):
        bad = Record("b", good.source, good.size, "Why?", "0", (), parts and Rationale(parts))
        with pytest.raises(Refused, match="record 'b'"):
            write([good, bad], tmp_path / "out", "vlm-r3-sft")
    assert list(tmp_path.iterdir()) == []


# --- hostile records


@pytest.fixture
def trap(folder: Path) -> Path:
    """The data folder with a secret beside it, and links that lead there."""
    Image.new("RGB", (50, 50)).save(folder.parent / "secret.png")
    (folder / "link.png").symlink_to(folder.parent / "secret.png")
    (folder / "away").symlink_to(folder.parent)
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "text.png").write_text("no image")
    (folder / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\x0f\xff\xff\0\x0f\xff\xff\x08\2\0\0\0")
    return folder


PATHS = {
    "../secret.png": "leaves",
    "x/../../secret.png": "leaves",
    "a.jpg/../../secret.png": "leaves",
    "/etc/passwd": "leaves",
    "//etc/passwd": "leaves",
    "C:/secret.png": "leaves",
    "C:secret.png": "leaves",
    "..\\secret.png": "backslash",
    "\\\\host\\share": "backslash",
    "a.jpg\0.png": "control",
    "\u202egpj.a": "control",
    "link.png": "link out of it",
    "away/secret.png": "link out of it",
    "loop": "not a path",
    "x" * 5000: "not a path",
    "é" * 500: "not a path",
    "": "not a path",
    ".": "no such file",
    "~/secret.png": "no such file",
    "file:///etc/passwd": "no such file",
    "http://localhost/a.jpg": "no such file",
    "text.png": "not an image",
    "bomb.png": "too large|not an image",
}


@pytest.mark.parametrize("name", PATHS, ids=range(len(PATHS)))
def test_a_path_that_leaves_the_folder_is_refused(name: str, trap: Path) -> None:
    """However it is written; the message names file and line, on one line that a terminal can show."""
    path = save(trap, "rl.jsonl", [RL, RL | {"image_path": name}])
    messages: list[str] = []
    assert len(list(read(path, on_skip=messages.append))) == 1
    (message,) = messages
    assert message.startswith("rl.jsonl line 2: ") and message.isprintable() and len(message) < 400
    with pytest.raises(ConvertError, match=f"line 2: .*({PATHS[name]})"):
        list(read(path, strict=True))
    for field, value in (("image_path", name), ("img_crop_list", [name])):
        reading = read(save(trap, "sft.jsonl", [SFT | {field: value}]), format="vlm-r3-sft")
        read_anyway = name in ("text.png", "bomb.png") and field == "img_crop_list"  # a crop is found, not opened
        assert len(list(reading)) == read_anyway


PLAIN = {  # one record of each format
    name: content[0] if isinstance(content, list) else next(iter(content.get("data", list(content.values()))))
    for name, content in FIXTURES.items()
}
COUNT = 120  # records of each format: two thousand in all


def listing(folder: Path) -> set[tuple]:
    """Every file with its size and time of change."""
    return {(p, p.lstat().st_size, p.lstat().st_mtime_ns) for p in folder.rglob("*") if not p.is_symlink()}


@pytest.mark.parametrize("name", PLAIN)
def test_thousands_of_hostile_records_are_refused_with_their_line(name: str, trap: Path, tmp_path: Path) -> None:
    """Each is read as data or refused by line: never another exception, never a file, never a good neighbour lost."""
    rng = random.Random(f"hostile {name}")
    good, lines = PLAIN[name], []
    for _ in range(COUNT):
        lines += [json.dumps(spoiled(good, rng, JUNK)), json.dumps(good)]
    path = trap / "bulk.jsonl"
    path.write_text("\n".join(lines) + "\n")
    asked = {"deepeyes": "source", "pixel-reasoner": "relative-1", "viscot-llava": "square-padded"}
    options = {"frame": asked[name]} if name in asked else {}
    if name in ("gqa", "textvqa"):
        options["boxes"] = save(tmp_path, "boxes.json", GRAPHS if name == "gqa" else WORDS)
    if name == "docvqa":
        (trap / "ocr").mkdir()
        save(trap / "ocr", "xnbl0037_1.json", PAGE)
        options["boxes"] = trap / "ocr"
    before, refused = listing(tmp_path), []
    reading = read(path, format=name, on_skip=refused.append, **options)
    records = list(reading)
    where = [int(r.where.rpartition(" ")[2]) for r in records]
    assert set(range(2, 2 * COUNT + 1, 2)) <= set(where)
    assert len(refused) == sum(reading.skipped.values()) == 2 * COUNT - len(records) > COUNT / 4
    for message in refused:
        assert message.startswith("bulk.jsonl line ") and message.isprintable() and len(message) < 600
    assert len(reading.skipped) < 80
    for record in records:
        w, h = record.size
        looks = record.rationale.boxes if record.rationale else ()
        for x1, y1, x2, y2 in (*record.regions, *looks):
            assert 0 <= x1 < x2 <= w and 0 <= y1 < y2 <= h
        assert 0 < len(record.question) <= 4000 and 0 < len(record.answer) <= 2000
        assert record.source.resolve().is_relative_to(trap.resolve())
    assert listing(tmp_path) == before


def test_script_in_text_stays_text(folder: Path, tmp_path: Path) -> None:
    """It comes back letter for letter from every written format; nothing treats it as anything else."""
    record = one(save(folder, "rl.jsonl", [RL | {"question": SCRIPT, "answer": SCRIPT, "source": SCRIPT}]))
    assert (record.question, record.answer, record.dataset) == (SCRIPT,) * 3
    back = one(write([record], tmp_path / "out", "vlm-r3-rl"))
    assert (back.question, back.answer, back.dataset) == (SCRIPT,) * 3


BROKEN_LINES = {
    b"{": "not valid JSON",
    b"\xff\xfe": "not UTF-8",
    b"[1, 2]": "not a JSON object",
    b'{"a": 1, "a": 2}': "not valid JSON",
    b"[" * 100_000: "not valid JSON",
    b'{"a": ' + b"[" * 200 + b"]" * 200 + b"}": "nested too deeply",
    b'{"a": ' + b"9" * 10_000 + b"}": "not valid JSON",
}


@pytest.mark.parametrize("line", BROKEN_LINES, ids=range(len(BROKEN_LINES)))
def test_a_broken_line_loses_only_itself(line: bytes, folder: Path) -> None:
    """With a blank line and a byte order mark before it, the numbers are still those of an editor."""
    good = json.dumps(RL).encode()
    (folder / "x.jsonl").write_bytes(b"\xef\xbb\xbf" + good + b"\n\n" + line + b"\r\n" + good)
    messages: list[str] = []
    reading = read(folder / "x.jsonl", on_skip=messages.append)
    assert [r.where for r in reading] == ["x.jsonl line 1", "x.jsonl line 4"]
    assert len(messages) == 1 and f"line 3: {BROKEN_LINES[line]}" in messages[0].replace("a record that is ", "")


BROKEN_ELEMENTS = {
    b'{"a": 1, "a": 2}': "given twice",
    b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}": "nested too deeply",
    b'{"a": [' + b"0," * 300_000 + b"0]}": "too large",
}


@pytest.mark.parametrize("element", BROKEN_ELEMENTS, ids=range(len(BROKEN_ELEMENTS)))
def test_a_bad_element_of_a_list_loses_only_itself(element: bytes, folder: Path) -> None:
    """And has its line, in a list that is written over several."""
    good = json.dumps(RL).encode()
    (folder / "x.json").write_bytes(b"[\n" + good + b",\n\n" + element + b",\n" + good + b"\n]\n")
    messages: list[str] = []
    reading = read(folder / "x.json", on_skip=messages.append)
    assert [r.where for r in reading] == ["x.json line 2 (record 1)", "x.json line 5 (record 3)"]
    assert "x.json line 4 (record 2)" in messages[0]
    with pytest.raises(ConvertError, match=BROKEN_ELEMENTS[element]):
        list(read(folder / "x.json", strict=True))


@pytest.mark.parametrize(
    "tail", [b'{"a": NaN}]', b'{"a": ', b"", b"]]", b"[" * 100_000, b"9" * 5000 + b"]", b"1e999]", b'"\xff"]']
)
def test_a_broken_document_ends_the_run_and_says_where(tail: bytes, folder: Path) -> None:
    """What came before the fault is given; nothing after it is guessed, strict or not."""
    (folder / "x.json").write_bytes(b"[\n" + json.dumps(RL).encode() + b",\n" + tail)
    reading, got = read(folder / "x.json", format="vlm-r3-rl"), []
    with pytest.raises(ConvertError, match=r"x.json line [23] .*whole records.*\.jsonl"):
        for record in reading:
            got.append(record)
    assert len(got) == 1


def test_an_image_that_exif_turns_is_refused_where_boxes_belong_to_it(folder: Path) -> None:
    """Boxes could be of the stored or the turned image; without boxes the upright size counts."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", SIZE).save(folder / "a.jpg", exif=exif)
    with pytest.raises(ConvertError, match="EXIF"):
        one(save(folder, "sft.jsonl", [SFT]))
    record = one(save(folder, "rl.jsonl", [RL]))
    assert record.size == record.sample().image.size == (750, 1000)


# --- time and memory


def test_many_records_pass_in_bounded_memory(folder: Path) -> None:
    """From a file of over 12 MB that is a single list on a single line.

    Tracing costs four times the reading, so that only the beginning is traced, where a reader could take in the file,
    and the last quarter, where none may grow by even 100 bytes a record.
    """
    count, path = 12_000, folder / "x.json"
    record = json.dumps(RL | {"more": "x" * 1000})
    path.write_text("[" + ", ".join([record] * count) + "]")
    assert path.stat().st_size > 12_000_000
    with traced() as begin:
        reading = read(path)
        assert sum(1 for _ in itertools.islice(reading, 1000)) == 1000
    assert begin[0] < 8_000_000
    assert sum(1 for _ in itertools.islice(reading, count - 5000)) == count - 5000
    with traced() as end:
        assert sum(1 for _ in reading) == 4000
    assert reading.taken == count and end[0] < 400_000


@contextmanager
def traced() -> Iterator[list[int]]:
    """Afterwards, the most bytes that were held at once."""
    peak: list[int] = []
    tracemalloc.start()
    try:
        yield peak
        peak.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()


def test_a_value_without_end_is_not_gathered(folder: Path) -> None:
    """A string of 4 MB in a list ends the run, where records of one may be held."""
    (folder / "x.json").write_text('[{"a": "' + "x" * 4_000_000 + '"}]')
    with pytest.raises(ConvertError, match="single value of over 1,000,000 bytes"):
        list(rows(folder / "x.json", limit=1_000_000))


DELIMITERS = ["<tool_call>", "</tool_call>", "\\boxed{", "<answer>", '{"bbox_2d": ', "<think>", "< ", "{"]


@pytest.mark.parametrize("text", DELIMITERS)
def test_foreign_text_of_nothing_but_delimiters_is_read_in_linear_time(text: str) -> None:
    """Up to a megabyte of another project, as a rationale and as a lesson of ours; and a teacher's
    reply, as long as one may be, as it came and as the text of its steps."""
    turn, start = text * 80_000, time.process_time()
    with pytest.raises(Refused):
        said_by([turn], lambda call: (0.0, 0.0, 9.0, 9.0))
    sentences(Rationale((turn,)))
    assert time.process_time() - start < 10  # a quadratic reader takes minutes
    asked, start = Sample("s", Image.new("RGB", (9, 9)), "What?", "7", (), True), time.process_time()
    steps = json.dumps({"steps": [{"text": turn[:MAX_STEP]}] * 15, "answer": "7"})
    assert MAX_REPLY * 0.7 < len(steps) <= MAX_REPLY
    for reply in (turn[:MAX_REPLY], steps):
        with pytest.raises(Refused):
            read_reply(reply, asked)
    assert time.process_time() - start < 1  # here it takes seconds


def test_errors_are_ours(folder: Path) -> None:
    """What a person can mend is one R3labError on one line."""
    with pytest.raises(R3labError, match="images="):
        read(save(folder, "rl.jsonl", [RL]), images=folder / "nowhere")
    with pytest.raises(R3labError, match="positive numbers"):
        read(folder / "rl.jsonl", budget=(9, 3))
    with pytest.raises(R3labError, match="leave boxes= out"):
        read(folder / "rl.jsonl", boxes=folder / "rl.jsonl")
