"""Records of other projects in and out: coordinates worked by hand, round trips, hostile records, bounded memory."""

from __future__ import annotations

import itertools
import json
import random
import time
from pathlib import Path

import pytest
from hostile import JUNK, spoiled
from PIL import Image

from r3lab.core.errors import R3labError
from r3lab.core.images import content_hash
from r3lab.core.protocol import answer_of
from r3lab.core.records import Refused
from r3lab.vlir.convert import WRITTEN, detect, read, write
from r3lab.vlir.convert.formats import _said as said_by
from r3lab.vlir.convert.formats import spelled
from r3lab.vlir.convert.source import (
    BUDGET,
    ConvertError,
    FrameName,
    FrameNeeded,
    from_declared,
    from_source,
    to_source,
)
from r3lab.vlir.dialogue import MAX_REPLY, MAX_STEP, read_reply
from r3lab.vlir.rationale import sentences
from r3lab.vlir.sample import Rationale, Sample, read_vlir

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


def one(path: Path, **options) -> tuple[Sample, Rationale | None]:
    """The only record, strictly."""
    (pair,) = read(path, strict=True, **options)
    return pair


def swapped(record: dict, old: str, new: str) -> dict:
    """A record with a piece of its JSON in the place of another."""
    return json.loads(json.dumps(record).replace(old, new))


HALF = pytest.approx((500, 375, 750, 562.5))  # of SIZE: what 504, 378, 756, 567 of the resized image is
SMALL = swapped(SFT, "[504, 378, 756, 567]", "[252, 182, 504, 364]")
ALONE = LLAVA | {"image": ["a.jpg", "a.jpg"]}
SHARE, EDGE, INSIDE = [0.5, 0.5, 0.75, 0.8], [0.5, 0.5, 1, 1], [400, 300, 500, 400]
UNMARKED = {"format": "viscot-llava"}
# a record, what is asked for, and the regions by hand: boxes of the resized image; with at most 256 tokens 1000 x 750
# becomes 504 x 364; of the declared image of half the size; padded by 125 above, and not; shares, pixels and the border
REGIONS = [
    (SFT, {}, HALF),
    (SFT, {"frame": "source"}, (504, 378, 756, 567)),
    (SMALL, {"budget": (4, 256)}, pytest.approx((500, 375, 1000, 750))),
    (RAW, {}, (500, 375, 750, 562.5)),
    (LLAVA, {}, (500, 375, 750, 562)),
    (LLAVA, {"frame": "square-padded"}, (500, 375, 750, 562)),
    (ALONE, UNMARKED | {"frame": "square-padded"}, pytest.approx((500, 375, 750, 563))),
    (ALONE, UNMARKED | {"frame": "relative-1"}, pytest.approx((500, 375, 750, 516))),
    (pixel(SHARE), {}, pytest.approx((500, 375, 750, 600))),
    (pixel(SHARE), {"frame": "source"}, pytest.approx((500, 375, 750, 600))),
    (pixel(INSIDE), {"frame": "source"}, (400, 300, 500, 400)),
    (pixel(EDGE), {"frame": "relative-1"}, (500, 375, 1000, 750)),
]


@pytest.mark.parametrize("number", range(len(REGIONS)))
def test_boxes_are_read_in_the_frame_of_their_format(number: int, folder: Path) -> None:
    record, options, wanted = REGIONS[number]
    sample, rationale = one(save(folder, "x.json", [record]), **options)
    assert sample.regions == (wanted,) and sample.image.size == SIZE
    assert rationale is None or rationale.boxes == sample.regions


REFUSED = [  # a record that does not fit, what is asked for, and why not
    (RAW | {"height": 500}, {}, "other proportions"),
    (LLAVA, {"frame": "relative-1"}, "disagree"),
    (swapped(LLAVA, "[0.500, 0.500, 0.750, 0.688]", "[0.500, 0.300, 0.750, 0.688]"), {}, "disagree"),
    (ALONE, UNMARKED, r"line \d+.*frame='square-padded'.*frame='relative-1'"),
    (pixel(EDGE), {}, "frame='source'"),
    (pixel(INSIDE), {}, "frame='source'"),
    (pixel([0.1, 0.1, 0.2, 0.2], target=2), {}, "crop of a crop"),
    (DEEPEYES, {}, r"x.json line \d.*frame='source'.*frame='resized-28'"),
    (swapped(DEEPEYES, "[504, 378, 756, 567]", "[5040, 378, 7560, 1e308]"), {}, "line 2 .*: a box that does not fit"),
    (SFT, {"frame": "resized28"}, "Did you mean 'resized-28'"),
    (RL, {"frame": "source"}, "takes none"),
    (RL, {"images": "nowhere"}, "images="),
    (RL, {"budget": (9, 3)}, "positive numbers"),
    (RL, {"boxes": "x"}, "leave boxes= out"),
    (RL, {"format": "vscot"}, "Did you mean 'viscot'"),
]


@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_what_does_not_fit_or_is_open_is_told(number: int, folder: Path) -> None:
    """A frame is asked for only where it matters: of an open one, everywhere; see below for images that settle it."""
    record, options, words = REFUSED[number]
    with pytest.raises(R3labError, match=words):
        one(save(folder, "x.json", [record]), **options)
    assert "frame='" not in words or pytest.raises(FrameNeeded, list, read(folder / "x.json", **options))


def test_an_image_whose_size_settles_the_frame_is_not_asked_about(folder: Path) -> None:
    """A square needs no padding; 1008 x 756 is a multiple of 28, so that the resized image is the file."""
    Image.new("RGB", (1000, 1000)).save(folder / "a.jpg")
    sample, _ = one(save(folder, "x.json", [ALONE]), format="viscot-llava")
    assert sample.regions == (pytest.approx((500, 500, 750, 688)),)
    Image.new("RGB", (1008, 756)).save(folder / "a.jpg")
    assert one(save(folder, "x.json", [DEEPEYES]))[1].boxes == ((504, 378, 756, 567),)


def test_padding_is_whole_pixels_on_either_side() -> None:
    """501 x 1000 is padded by 249 on the left (499 // 2), as the published script does."""
    assert to_source((0.249, 0, 0.75, 1), FrameName.PADDED, (501, 1000)) == pytest.approx((0, 0, 501, 1000))
    assert to_source((0, 0.25, 1, 0.75), FrameName.PADDED, (1000, 500)) == pytest.approx((0, 0, 1000, 500))


@pytest.mark.parametrize("declared", [(0, 75), (100, 0), (-100, -75), (0, 0)])
def test_a_declared_size_without_area_is_refused(declared: tuple[float, float]) -> None:
    with pytest.raises(Refused, match="not positive"):
        from_declared((1, 2, 3, 4), declared, (1000, 750))


def test_texts_answers_and_names_are_those_of_the_file(folder: Path) -> None:
    """The text behind an official box follows the crop; the example of a system prompt is no look; the source is kept
    for the choice of a scorer."""
    sample, rationale = one(save(folder, "x.json", [SFT]))
    said = ("<think>The sign is small. ", HALF, "\nIt says stop.</think><answer>stop</answer>")
    assert rationale.parts == said and (sample.question, sample.answer) == (SFT["question"], "stop")
    sample, rationale = one(save(folder, "x.json", [RL]))
    assert (sample.answer, sample.world, rationale, sample.regions) == ("stop", "textvqa", None, ())
    sample, _ = one(save(folder, "x.json", [LLAVA]))
    assert (sample.id, sample.question) == ("x-7", "What is on the table?")
    sample, rationale = one(save(folder, "x.json", [DEEPEYES]), frame="resized-28")
    assert rationale.boxes == (HALF,) and sample.regions == ()
    assert rationale.parts[0] == "<think>It is small.</think>" and sample.question == "What colour is the cup?"
    assert one(save(folder, "x.json", [DEEPEYES | {"prompt": DEEPEYES["prompt"][:2]}]))[1] is None
    sample, rationale = one(save(folder, "x.json", [pixel(SHARE)]))
    assert sample.answer == "dark {red}" == answer_of("".join(rationale.texts))


def test_regions_come_from_scene_graphs_and_from_recognised_words(folder: Path, tmp_path: Path) -> None:
    """Of GQA the objects of the question, once each, in order, xywh of a graph of half the size; of TextVQA the words
    that spell the most frequent answer, shares; of DocVQA polygons in the units of the page, twice the file's."""
    graphs, words, pages = save(tmp_path, "g.json", GRAPHS), save(tmp_path, "w.json", WORDS), folder / "ocr"
    pages.mkdir()
    save(pages, "xnbl0037_1.json", PAGE)
    gqa, text, page = (save(folder, f"{k}.json", q) for k, q in enumerate((GQA, TEXTVQA, DOCVQA)))
    sample, _ = one(gqa, boxes=graphs)
    assert sample.regions == ((500, 374, 600, 454), (0, 400, 1000, 750)) and sample.id == "02930152"
    assert one(gqa)[0].regions == ()
    with pytest.raises(ConvertError, match="file of boxes does not have"):
        one(gqa, boxes=save(tmp_path, "g.json", {"1": GRAPHS["2407890"]}))
    sample, _ = one(text, boxes=words)
    assert sample.answer == "nokia" and sample.regions == (pytest.approx((250, 300, 350, 315)),)
    assert [w["text"] for w in sample.meta["ocr"]] == ["NOKIA", "MIA"] and sample.split == "train"
    sample, _ = one(page, boxes=pages)
    assert sample.regions == ((199, 51, 300, 80),) and sample.id == "2-337"


def test_an_answer_spelled_twice_or_never_has_no_region() -> None:
    """Nothing is guessed; a run of words is one region."""
    a, b, c = ((float(i), 0.0, i + 1.0, 1.0) for i in range(3))
    assert spelled("New York", [("new", a), ("York,", b), ("New", c)]) == (0, 0, 2, 1)
    assert spelled("york", [("York", a), ("york", b)]) is None
    assert spelled("boston", [("York", a)]) is None and spelled("...", [("...", a)]) is None


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
    with pytest.raises(ConvertError, match="its fields are 'image_path', .*give format=NAME, one of vlm-r3-sft, "):
        detect(path)
    with pytest.raises(ConvertError, match="Did you mean 'parquet'"):
        write([], folder / "o", "parket")
    with pytest.raises(ConvertError, match="no records"):
        detect(save(folder, "y.json", []))
    with pytest.raises(ConvertError, match="2 data files"):
        read(folder)
    for missing in ("nothing.json", "a.jpg"):
        with pytest.raises(ConvertError):
            detect(folder / missing)


def samples(seed: int, count: int) -> list[tuple[Sample, Rationale | None]]:
    """Pairs with random sizes, boxes of at least three pixels, and one to three looks."""
    rng, made = random.Random(seed), []
    for i in range(count):
        w, h = rng.randint(30, 400), rng.randint(30, 400)
        boxes = []
        for _ in range(rng.randint(1, 3)):
            x, y = rng.uniform(0, w - 3), rng.uniform(0, h - 3)
            boxes.append((x, y, rng.uniform(x + 3, w), rng.uniform(y + 3, h)))
        parts = ["<think>start "] + list(itertools.chain(*((b, f" seen {k} ") for k, b in enumerate(boxes))))
        image, needs = Image.new("RGB", (w, h), (i % 256, 7, 9)), rng.choice([True, False, None])
        sample = Sample(f"r{i}", image, f"What, {SCRIPT}?", str(i), tuple(boxes), needs, "d", "train")
        made.append((sample, Rationale((*parts, f"</think><answer>{i}</answer>"))))
    return made


def test_sft_round_trip_keeps_boxes_within_half_a_unit(tmp_path: Path) -> None:
    """Write then read: text as it was, and every coordinate at most half a pixel of the resized image off."""
    originals = samples(1, 20)
    path = write(originals, tmp_path / "out", "vlm-r3-sft")
    assert detect(path) == "vlm-r3-sft"
    for (back, said), (sample, rationale) in zip(read(path, strict=True), originals, strict=True):
        assert (back.question, back.answer, said.texts) == (sample.question, sample.answer, rationale.texts)
        for got, was in zip(back.regions, sample.regions, strict=True):
            units = zip(*(from_source(b, FrameName.RESIZED, sample.image.size) for b in (got, was)), strict=True)
            assert max(abs(a - b) for a, b in units) <= 0.5 + 1e-6
        assert content_hash(back.image) == content_hash(sample.image)
    written = json.loads(path.read_text())
    assert all(type(r["img_crop_list"]) is list and set(r) == set(SFT) for r in written)
    assert all((path.parent / crop).is_file() for r in written for crop in r["img_crop_list"])


@pytest.mark.parametrize("frame", FrameName)
def test_every_frame_is_undone_exactly(frame: FrameName) -> None:
    """to_source(from_source(box)) is the box, in any image and frame."""
    for sample, _ in samples(2, 20):
        for box in sample.regions:
            there = from_source(box, frame, sample.image.size, BUDGET)
            assert to_source(there, frame, sample.image.size, BUDGET) == pytest.approx(box, abs=1e-9)


@pytest.mark.parametrize("format_name", ["parquet", "vlir"])
def test_tables_and_vlir_round_trip_exactly(format_name: str, tmp_path: Path) -> None:
    """Every field, boxes to the last bit, pixels; more records than fit in one batch."""
    if format_name != "vlir":
        pytest.importorskip("pyarrow", reason="pip install pyarrow")
    originals = samples(3, 40)
    if format_name != "vlir":  # a sample without rationale is fine in a table
        originals[5] = Sample("lone", originals[5][0].image, "Why?", "so"), None
    path = write(originals, tmp_path / f"out.{format_name}", format_name)
    back = list(read(path, strict=True))
    assert back == originals
    assert [content_hash(b.image) for b, _ in back] == [content_hash(o.image) for o, _ in originals]
    if format_name == "vlir":
        assert list(read_vlir(path.parent)) == originals


def test_a_foreign_format_is_read_from_parquet(folder: Path) -> None:
    """DeepEyes as it is published: image bytes in the row."""
    arrow = pytest.importorskip("pyarrow", reason="pip install pyarrow")
    from pyarrow import parquet

    row = DEEPEYES | {"images": [{"bytes": (folder / "a.jpg").read_bytes(), "path": None}]}
    parquet.write_table(arrow.Table.from_pylist([row]), folder / "d.parquet")
    assert detect(folder / "d.parquet") == "deepeyes"
    assert one(folder / "d.parquet", frame="source")[0].image.size == SIZE


@pytest.mark.parametrize("format_name", WRITTEN)
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
    ((good, lesson),) = samples(8, 1)
    told: list[str] = []
    for parts in (None, ('a {"bbox_2d": [1, 2, 3, 4]} <answer>0</answer>',), ("<answer>1</answer>",)):
        bad = Sample("b", good.image, "Why?", "0"), parts and Rationale(parts)
        with pytest.raises(Refused, match="record 'b'"):
            write([(good, lesson), bad], tmp_path / "out", "vlm-r3-sft")
        with pytest.raises(ConvertError, match="No record is left"):
            write([bad], tmp_path / "out", "vlm-r3-sft", told.append)
    assert list(tmp_path.iterdir()) == [] and len(told) == 3
    path = write([bad, (good, lesson)], tmp_path / "out", "vlm-r3-sft", told.append)
    assert len(list(read(path))) == 1 and len(told) == 4 and len(list((path.parent / "images").iterdir())) == 1


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
ROW = {"id": "t", "image": "a.jpg", "question": "What is it?", "answer": "stop", "regions": [[10, 10, 60, 60]]}
PARTS = [
    {"text": "<think>Small.", "box": None},
    {"text": None, "box": [10, 10, 60, 60]},
    {"text": "<answer>stop</answer>"},
]
PLAIN["parquet"] = ROW | {"rationale": PARTS, "needs_look": True, "dataset": "w", "split": "train"}
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
    records, where = [], []
    for pair in reading:
        records.append(pair)
        where.append(int(reading.where.rpartition(" ")[2]))
    assert set(range(2, 2 * COUNT + 1, 2)) <= set(where)
    assert len(refused) == sum(reading.skipped.values()) == 2 * COUNT - len(records) > COUNT / 4
    for message in refused:
        assert message.startswith("bulk.jsonl line ") and message.isprintable() and len(message) < 600
    assert len(reading.skipped) < 80
    for sample, rationale in records:
        w, h = sample.image.size
        for x1, y1, x2, y2 in (*sample.regions, *(rationale.boxes if rationale else ())):
            assert 0 <= x1 < x2 <= w and 0 <= y1 < y2 <= h
        assert 0 < len(sample.question) <= 4000 and 0 < len(sample.answer) <= 2000
        assert sample.image.size == SIZE  # never the secret's
    assert listing(tmp_path) == before


def test_script_in_text_stays_text(folder: Path, tmp_path: Path) -> None:
    """It comes back letter for letter from every written format; nothing treats it as anything else."""
    pair = one(save(folder, "rl.jsonl", [RL | {"question": SCRIPT, "answer": SCRIPT, "source": SCRIPT}]))
    back = one(write([pair], tmp_path / "out", "vlm-r3-rl"))
    for sample, _ in (pair, back):
        assert (sample.question, sample.answer, sample.world) == (SCRIPT,) * 3


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
    assert [reading.where for _ in reading] == ["x.json line 2 (record 1)", "x.json line 5 (record 3)"]
    assert "x.json line 4 (record 2)" in messages[0]
    with pytest.raises(ConvertError, match=BROKEN_ELEMENTS[element]):
        list(read(folder / "x.json", strict=True))


def test_an_image_that_exif_turns_is_refused_where_boxes_belong_to_it(folder: Path) -> None:
    """Boxes could be of the stored or the turned image; without boxes the upright size counts."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", SIZE).save(folder / "a.jpg", exif=exif)
    with pytest.raises(ConvertError, match="EXIF"):
        one(save(folder, "sft.jsonl", [SFT]))
    assert one(save(folder, "rl.jsonl", [RL]))[0].image.size == (750, 1000)


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
