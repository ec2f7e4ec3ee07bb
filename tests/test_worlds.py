"""The world and its VLIR samples: deterministic, disjoint, true; read back as written; bad records are refused."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from r3lab.core.errors import R3labError
from r3lab.core.geometry import coverage, iou
from r3lab.core.images import content_hash
from r3lab.core.protocol import scan
from r3lab.vlir.rationale import imperfect, jitter
from r3lab.vlir.sample import SampleError, read_vlir, write_vlir
from r3lab.vlir.worlds import get_world
from r3lab.vlir.worlds.badges import COLOURS, DIRECTIONS, LARGE, SIDE, Badge, neighbour
from r3lab.vlir.worlds.material import SPLITS, handwriting, other_hand, photos

WORLD = get_world("badges")
SAMPLES = [WORLD.sample("test", i) for i in range(60)]


def badges_of(sample) -> tuple[Badge, ...]:
    """The scene's badges, as objects."""
    return tuple(Badge(**{**b, "box": tuple(b["box"])}) for b in sample.meta["badges"])


def test_same_index_same_sample():
    """Question, truth and pixels depend on (split, index, seed) alone, whatever was drawn before."""
    for i in (0, 7, 31):
        again = WORLD.sample("test", i)
        assert again == SAMPLES[i] and content_hash(again.image) == content_hash(SAMPLES[i].image)
    assert content_hash(WORLD.sample("test", 0, seed=1).image) != content_hash(SAMPLES[0].image)


def test_splits_share_no_photograph_and_no_handwriting():
    """Names, pixels of photographs, and bitmaps of digits are disjoint; every split has every digit."""
    names = [{n for n, _ in photos(s)} for s in SPLITS]
    pixels = [{a.tobytes() for _, a in photos(s)} for s in SPLITS]
    assert all(names) and sum(map(len, names)) == len(set.union(*names)) == len(set.union(*pixels))
    bitmaps = [{b.tobytes() for b in handwriting(s)[0]} for s in SPLITS]
    for i in range(3):
        assert set(handwriting(SPLITS[i])[1].tolist()) == set(range(10))
        for j in range(i):
            assert not bitmaps[i] & bitmaps[j]


def test_unknown_names_are_named():
    """A wrong world or split is an error that says what there is."""
    with pytest.raises(R3labError, match="Did you mean 'badges'"):
        get_world("badge")
    with pytest.raises(R3labError, match="train, validation, test"):
        WORLD.sample("held-out", 0)


def test_the_question_has_one_answer():
    """Names are unique in a scene, relations hold for exactly one badge, and the region is the asked badge's box."""
    relations = 0
    for s in SAMPLES:
        badges = badges_of(s)
        assert len({b.name for b in badges}) == len(badges)
        words = s.meta["asked"]
        if words.startswith("badge "):
            relations += 1
            direction = next(d for d in DIRECTIONS if words.startswith(f"badge {d} the "))
            anchor = next(b for b in badges if words.endswith(f"the {b.name}"))
            target = neighbour(badges, anchor, direction)
            dx, dy = DIRECTIONS[direction]
            ahead = [
                b
                for b in badges
                if b is not anchor
                and (b.x - anchor.x) * dx + (b.y - anchor.y) * dy
                > abs((b.x - anchor.x) * dy) + abs((b.y - anchor.y) * dx)
            ]
            assert ahead == [target]
            off = math.degrees(
                math.atan2(
                    abs((target.x - anchor.x) * dy) + abs((target.y - anchor.y) * dx),
                    (target.x - anchor.x) * dx + (target.y - anchor.y) * dy,
                )
            )
            assert off < 37  # plainly in that direction
        else:
            target = next(b for b in badges if b.name == words)
        assert s.regions == (target.box,) and s.answer == str(target.digit)
        assert s.needs_look == (target.diameter < LARGE[0])
    assert 5 < relations < 40
    assert 8 < sum(not s.needs_look for s in SAMPLES) < 32


def test_badges_do_not_touch_and_stay_inside():
    """Boxes lie inside the image and do not overlap; the badge's colour fills the middle of its box's edge region."""
    for s in SAMPLES[:25]:
        badges, pixels = badges_of(s), np.asarray(s.image, dtype=np.float32)
        for k, b in enumerate(badges):
            assert 0 <= b.box[0] < b.box[2] <= SIDE and 0 <= b.box[1] < b.box[3] <= SIDE
            assert all(iou(b.box, o.box) == 0 for o in badges[:k])
            y = round(b.box[3] - 0.2 * (b.box[3] - b.box[1])) if b.shape == "triangle" else round(b.y)
            x = round(b.box[0] + 0.2 * (b.box[2] - b.box[0]))
            assert np.abs(pixels[y, x] - COLOURS[b.colour]).max() < 60, (s.id, b)


def test_rationales_follow_the_protocol():
    """The exact lesson looks where and when it must, and its text holds the answer and nothing that parses as a box."""
    for s in SAMPLES:
        r = WORLD.rationale(s)
        assert r.boxes == (s.regions if s.needs_look else ())
        text = "".join(p for p in r.parts if isinstance(p, str))
        (event,) = scan(text)
        assert (event.kind, event.text) == ("answer", s.answer)


def test_a_hasty_teacher_answers_without_the_look_it_needs():
    """In the share asked for; the text then says nothing of a box, holds the true answer and no other sentence."""
    rng, needed = np.random.default_rng(3), [s for s in SAMPLES if s.needs_look]
    made = [(s, imperfect(s, WORLD.rationale(s), 0.2, 0.0, rng, hasty=0.5)) for s in needed * 10]
    assert np.mean([not r.boxes for _, r in made]) == pytest.approx(0.5, abs=0.08)
    for sample, rationale in made:
        text = "".join(p for p in rationale.parts if isinstance(p, str))
        assert ("too small" in text) == bool(rationale.boxes) != (" is large. It shows" in text)
        assert text.endswith(f"It shows {sample.answer}.</think><answer>{sample.answer}</answer>")


def test_an_imperfect_teacher_errs_as_much_as_it_says():
    """Spread 0 changes nothing; spread 0.3 lowers the IoU; needless looks happen at the stated share."""
    rng = np.random.default_rng(0)
    needed = [s for s in SAMPLES if s.needs_look]
    for s in needed:
        assert iou(imperfect(s, WORLD.rationale(s), 0.0, 0.0, rng).boxes[0], s.regions[0]) > 0.999
    missed = [iou(imperfect(s, WORLD.rationale(s), 0.3, 0.0, rng).boxes[0], s.regions[0]) for s in needed * 5]
    assert 0.2 < np.mean(missed) < 0.7
    easy = [s for s in SAMPLES if not s.needs_look]
    looked = [bool(imperfect(s, WORLD.rationale(s), 0.3, 0.5, rng).boxes) for s in easy * 20]
    assert 0.4 < np.mean(looked) < 0.6
    for _ in range(300):  # never empty, never outside, even at the border
        box = jitter((470.0, 0.0, 512.0, 42.0), (512, 512), 1.0, rng)
        assert 0 <= box[0] < box[2] <= 512 and 0 <= box[1] < box[3] <= 512 and coverage(box, (0, 0, 512, 512)) > 0


def test_vlir_is_read_back_as_written(tmp_path):
    """Samples and rationales survive the disk, pixels included."""
    pairs = [(s, WORLD.rationale(s)) for s in SAMPLES[:8]]
    write_vlir(tmp_path, pairs)
    back = list(read_vlir(tmp_path))
    assert back == pairs
    assert [content_hash(s.image) for s, _ in back] == [content_hash(s.image) for s, _ in pairs]


def test_an_interrupted_write_leaves_nothing_half(tmp_path):
    """A failure in the middle leaves the earlier file as it was."""
    pairs = [(s, WORLD.rationale(s)) for s in SAMPLES[:3]]
    path = write_vlir(tmp_path, pairs)
    before = path.read_bytes()

    def broken():
        yield pairs[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_vlir(tmp_path, broken())
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir() if "part" in p.name] == []


BAD = {
    "not json": (lambda r: "{", "line 1: not valid JSON"),
    "list": (lambda r: [r], "not a JSON object"),
    "version": (lambda r: {**r, "version": 9}, "has version 9; this r3lab reads 1"),
    "traversal": (lambda r: {**r, "image": "../../etc/passwd"}, "image must be 64 digits"),
    "no question": (lambda r: {**r, "question": "  "}, "question must be text of 1 to"),
    "answer of number": (lambda r: {**r, "answer": 7}, "answer must be text"),
    "three numbers": (lambda r: {**r, "regions": [[1, 2, 3]]}, "regions[0] must be a list of 4"),
    "infinite": (lambda r: {**r, "regions": [[1, 2, 1e999, 4]]}, "regions[0][2] must be a finite number"),
    "truth value": (lambda r: {**r, "regions": [[True, 2, 3, 4]]}, "regions[0][0] must be a finite number"),
    "outside": (lambda r: {**r, "regions": [[600, 600, 700, 700]]}, "outside"),
    "turned": (lambda r: {**r, "regions": [[50, 10, 20, 40]]}, "x2"),
    "needs_look": (lambda r: {**r, "needs_look": "yes"}, "needs_look must be true or false"),
    "no rationale": (lambda r: {**r, "rationale": []}, "at least one part"),
    "strange part": (lambda r: {**r, "rationale": [{"html": "<script>"}]}, "rationale[0] must be {"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_records_are_refused_with_their_line(case, tmp_path):
    """Each broken field is named with the line it stands on."""
    spoil, message = BAD[case]
    path = write_vlir(tmp_path, [(SAMPLES[0], WORLD.rationale(SAMPLES[0]))])
    record = spoil(json.loads(path.read_text()))
    path.write_text(record if isinstance(record, str) else json.dumps(record))
    with pytest.raises(SampleError, match="line 1") as error:
        list(read_vlir(tmp_path))
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_changed_image_is_noticed(tmp_path):
    """The hash in a record stands for its pixels."""
    write_vlir(tmp_path, [(SAMPLES[0], WORLD.rationale(SAMPLES[0]))])
    (image,) = (tmp_path / "images").iterdir()
    SAMPLES[1].image.save(image)
    with pytest.raises(SampleError, match="was changed"):
        list(read_vlir(tmp_path))


def test_another_hand_writes_the_same_digit():
    """Mixed of two hands, turned and slanted: another picture, the same digit, the same for the same random state."""
    bitmaps, labels = handwriting("train")
    means = np.stack([bitmaps[labels == digit].mean(0).ravel() for digit in range(10)])
    means = means - means.mean(1, keepdims=True)
    rng, own, nearest = np.random.default_rng(0), [], []
    for row in range(0, 600, 3):
        written = other_hand(bitmaps, labels, row, rng)
        assert written.shape == (8, 8) and written.min() >= 0 and written.max() <= 1
        assert np.abs(written - bitmaps[row]).max() > 0.05
        for picture, found in ((bitmaps[row], own), (written, nearest)):
            flat = picture.ravel() - picture.mean()
            found.append(int((means @ flat / np.linalg.norm(means, axis=1)).argmax()) == labels[row])
    assert np.mean(own) > 0.85 and np.mean(nearest) > np.mean(own) - 0.03
    again = [other_hand(bitmaps, labels, 5, np.random.default_rng(7)) for _ in range(2)]
    assert np.array_equal(*again)
