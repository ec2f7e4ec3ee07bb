"""Boxes and frames: every conversion comes back, nothing leaves the image, Qwen's resize number for number."""

from __future__ import annotations

import math
import random
import subprocess
import sys
from pathlib import Path

import pytest

from r3lab.core import geometry as g
from r3lab.core.errors import R3labError
from r3lab.core.geometry import Box, Frame, Size

NAN, INF = math.nan, math.inf


def sizes(rng: random.Random) -> Size:
    return rng.randint(1, 5000), rng.randint(1, 5000)


def box_in(rng: random.Random, size: Size) -> Box:
    """A box with sides above zero inside an image, of any scale."""
    x1, x2 = sorted((rng.uniform(0, size[0]), rng.uniform(0, size[0])))
    y1, y2 = sorted((rng.uniform(0, size[1]), rng.uniform(0, size[1])))
    if rng.random() < 0.3:
        x2, y2 = x1 + (x2 - x1) * rng.random() ** 4, y1 + (y2 - y1) * rng.random() ** 4
    return (x1, y1, max(x2, math.nextafter(x1, INF)), max(y2, math.nextafter(y1, INF)))


@pytest.mark.parametrize("frame", Frame)
def test_every_frame_comes_back_to_the_source(frame: Frame) -> None:
    rng = random.Random(1)
    for _ in range(500):
        source, overview = sizes(rng), sizes(rng)
        box = box_in(rng, source)
        there = g.from_source(box, frame, source, overview)
        assert g.to_source(there, frame, source, overview) == pytest.approx(box, rel=1e-12, abs=1e-12)
        back = g.to_source(box, frame, source, overview)
        assert g.from_source(back, frame, source, overview) == pytest.approx(box, rel=1e-12, abs=1e-12)


def test_frames_by_hand() -> None:
    box = (100.0, 200.0, 300.0, 400.0)
    assert g.from_source(box, Frame.SOURCE, (1000, 800), (500, 200)) == box
    assert g.from_source(box, Frame.OVERVIEW, (1000, 800), (500, 200)) == (50, 50, 150, 100)
    assert g.from_source(box, Frame.RELATIVE, (1000, 800), (500, 200)) == (100, 250, 300, 500)
    assert g.to_source((0, 0, 1000, 1000), Frame.RELATIVE, (640, 480), (1, 1)) == (0, 0, 640, 480)


@pytest.mark.parametrize("step", [1, 5, 10, 28])
def test_a_written_box_is_near_never_empty_stays_inside_and_is_stable(step: int) -> None:
    rng = random.Random(step)
    side = step * 100
    for _ in range(1000):
        box = box_in(rng, (side, side))
        x1, y1, x2, y2 = written = g.write_ints(box, step)
        assert all(isinstance(v, int) and v % step == 0 for v in written)
        assert 0 <= x1 < x2 <= side and 0 <= y1 < y2 <= side
        for a, b, low, high in ((box[0], box[2], x1, x2), (box[1], box[3], y1, y2)):
            reach = step / 2 if b - a >= step else step
            assert abs(a - low) <= reach + 1e-9 and abs(b - high) <= reach + 1e-9
        assert g.write_ints(written, step) == written


def test_halves_go_up_not_to_even() -> None:
    assert g.write_ints((0.5, 1.5, 2.5, 3.5)) == (1, 2, 3, 4)
    assert g.write_ints((5, 15, 25, 35), 10) == (10, 20, 30, 40)


@pytest.mark.parametrize(
    ("box", "step"),
    [
        ((5, 0, 4, 1), 1),
        ((NAN, 0, 1, 1), 1),
        ((0, 0, INF, 1), 1),
        ((0, 0, 1, 1), 0),
    ],
)
def test_what_cannot_be_written_is_refused(box: Box, step: int) -> None:
    with pytest.raises(R3labError, match="Cannot write"):
        g.write_ints(box, step)


def test_overlaps_equal_counting_pixels() -> None:
    rng = random.Random(2)

    def pixels(box: Box) -> set[tuple[int, int]]:
        return {(x, y) for x in range(int(box[0]), int(box[2])) for y in range(int(box[1]), int(box[3]))}

    for _ in range(300):
        a, b = (g.write_ints(box_in(rng, (12, 12))) for _ in range(2))
        pa, pb = pixels(a), pixels(b)
        assert g.area(a) == len(pa)
        assert g.intersection(a, b) == len(pa & pb)
        assert g.iou(a, b) == pytest.approx(len(pa & pb) / len(pa | pb))
        assert g.iou(a, b) == g.iou(b, a)
        assert g.coverage(a, b) == pytest.approx(len(pa & pb) / len(pb))


def test_overlap_of_nothing_is_nothing() -> None:
    box, empty, inverted = (0.0, 0.0, 4.0, 4.0), (2.0, 2.0, 2.0, 3.0), (3.0, 3.0, 1.0, 1.0)
    assert g.iou(box, box) == 1.0 and g.coverage(box, box) == 1.0
    assert g.iou(box, (4.0, 0.0, 8.0, 4.0)) == 0.0  # half-open: touching is not overlapping
    for nothing in (empty, inverted):
        assert g.area(nothing) == g.iou(box, nothing) == g.iou(nothing, nothing) == g.coverage(box, nothing) == 0
    assert g.iou((0, 0, 1e200, 1e200), (0, 0, 1e200, 1e200)) == 0.0  # overflow is not a perfect match


def test_redundancy_looks_at_the_last_box_only() -> None:
    a, b, half = (0, 0, 10, 10), (20, 20, 30, 30), (0, 0, 10, 5)
    assert g.redundancy([]) == g.redundancy([a]) == 0.0
    assert g.redundancy([a, b]) == 0.0
    assert g.redundancy([a, b, a]) == 1.0
    assert g.redundancy([a, a, b]) == 0.0
    assert g.redundancy([b, a, half]) == 0.5


def test_a_clipped_box_is_inside_is_stable_and_loses_nothing_inside() -> None:
    rng = random.Random(3)
    for _ in range(500):
        w, h = size = sizes(rng)
        x, y = sorted(rng.uniform(-2 * w, 3 * w) for _ in range(2)), sorted(rng.uniform(-h, 2 * h) for _ in range(2))
        box = (x[0], y[0], x[1], y[1])
        clipped = g.clip(box, size)
        assert 0 <= clipped[0] <= clipped[2] <= w and 0 <= clipped[1] <= clipped[3] <= h
        assert g.clip(clipped, size) == clipped
        assert g.area(clipped) == pytest.approx(g.intersection(box, (0, 0, w, h)))


PROBLEMS = [
    ((10, 10, 50, 50), ""),
    ((0, 0, 100, 200), ""),  # the whole image
    ((-1, -2, 101, 202), ""),  # 1 % over on every side is rounding
    ((0, 0, 1, 1), ""),
    ((10, 10, 10, 50), "x2 <= x1"),
    ((50, 10, 10, 50), "x2 <= x1"),
    ((10, 50, 50, 10), "y2 <= y1"),
    ((NAN, 0, 10, 10), "a number is not finite"),
    ((0, 0, INF, 10), "a number is not finite"),
    ((-1e308, 0, 1e308, 10), "a number is not finite"),  # the width overflows
    ((100, 0, 120, 50), "outside the image"),  # half-open: it begins where the image ends
    ((99.5, 0, 120, 50), "outside the image"),  # less than a pixel of it is inside
    ((-1.1, 0, 50, 50), "reaches outside the image"),
    ((-1e300, 0, 50, 50), "reaches outside the image"),
    ((10, 10, 10.5, 50), "smaller than 1 pixel"),
]


@pytest.mark.parametrize(("box", "why"), PROBLEMS)
def test_problem_says_what_is_wrong(box: Box, why: str) -> None:
    assert g.problem(box, (100, 200)) == why


def test_problem_of_a_strip_and_of_a_wanted_side() -> None:
    assert g.problem((0, 0, 1000, 5), (1000, 1000)) == ""
    assert g.problem((0, 0, 1000, 4.9), (1000, 1000)) == "a side is over 200 times the other"
    assert g.problem((0, 0, 3, 3), (100, 100), min_side=4) == "smaller than 4 pixels"


def test_a_box_without_a_problem_can_always_be_cut() -> None:
    rng, usable = random.Random(4), 0
    for _ in range(3000):
        source = sizes(rng)
        box = box_in(rng, (source[0] + 20, source[1] + 20))
        box = (box[0] - 10, box[1] - 10, box[2] - 10, box[3] - 10)
        if rng.random() < 0.3:  # strips, at the limit of what Qwen's resize accepts
            box = (box[0], box[1], box[2], box[1] + (box[2] - box[0]) / rng.uniform(150, 201))
        if g.problem(box, source):
            continue
        usable += 1
        inside = g.clip(box, source)
        assert min(inside[2] - inside[0], inside[3] - inside[1]) >= 1 - 1e-6
        zoom, size = g.crop_size(box, source, 28, 4, 1024)
        assert 1 <= zoom <= 2 and min(size) >= 28 and size[0] % 28 == size[1] % 28 == 0
    assert usable > 500


@pytest.mark.parametrize(
    ("share", "zoom"), [(0.001, 2), (0.125, 2), (0.3125, 1.5), (0.40625, 1.25), (0.5, 1), (0.75, 1), (1, 1)]
)
def test_zoom_is_the_papers(share: float, zoom: float) -> None:
    assert g.zoom_factor((0, 0, 1000 * share, 1000), (1000, 1000)) == pytest.approx(zoom)


def test_a_larger_box_is_never_zoomed_more() -> None:
    zooms = [g.zoom_factor((0, 0, side, 100), (200, 100)) for side in range(1, 201)]
    assert zooms == sorted(zooms, reverse=True) and max(zooms) == 2 and min(zooms) == 1


def test_fit_tokens_is_transformers_smart_resize() -> None:
    original = pytest.importorskip("transformers.models.qwen2_vl.image_processing_pil_qwen2_vl").smart_resize
    rng, refused = random.Random(5), 0
    for _ in range(4000):
        w, h = (int(10 ** rng.uniform(0, 4)) for _ in range(2))
        factor, low = rng.choice([14, 16, 28, 32]), rng.choice([1, 4, 16, 64])
        high = low * rng.choice([1, 2, 16, 256])
        try:
            expected = original(h, w, factor, low * factor**2, high * factor**2)
        except ValueError:
            refused += 1
            with pytest.raises(R3labError, match="200 times"):
                g.fit_tokens((w, h), factor, low, high)
        else:
            assert g.fit_tokens((w, h), factor, low, high) == expected[::-1]
    assert 10 < refused < 1000


def test_fit_tokens_keeps_budget_multiples_and_aspect() -> None:
    rng = random.Random(6)
    for _ in range(1000):
        w, h = rng.randint(1, 4000), rng.randint(1, 4000)
        if max(w, h) > 8 * min(w, h):
            continue
        fw, fh = g.fit_tokens((w, h), 28, 16, 1024)
        assert fw % 28 == fh % 28 == 0
        assert 16 <= fw * fh // 28**2 <= 1024
        assert abs(math.log((fw / fh) / (w / h))) < 0.8  # a side of few tokens rounds coarsely


@pytest.mark.parametrize(
    "call",
    [
        lambda: g.fit_tokens((0, 10), 28, 4, 16),
        lambda: g.fit_tokens((10, 10), 28, 16, 4),
        lambda: g.fit_tokens((10, 10), 28, 0, 4),
        lambda: g.fit_tokens((201, 1), 28, 4, 16),
        lambda: g.crop_size((200, 0, 300, 50), (100, 100), 28, 4, 16),
        lambda: g.to_source((0, 0, 1, 1), Frame.OVERVIEW, (10, 10), (0, 10)),
        lambda: g.source_to_crop((0, 0, 1, 1), (5, 5, 5, 9), (10, 10)),
        lambda: g.crop_to_source((0, 0, 1, 1), (5, 5, 6, 9), (0, 10)),
        lambda: g.box_of_cell((4, 0), (10, 10), (4, 4)),
    ],
)
def test_impossible_input_is_an_error_of_one_line(call) -> None:
    with pytest.raises(R3labError) as caught:
        call()
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 250


def test_cells_tile_the_image() -> None:
    for source, grid in (((1000, 700), (7, 3)), ((333, 500), (13, 11)), ((5, 5), (9, 9)), ((1, 1), (1, 1))):
        boxes = [g.box_of_cell((c, r), source, grid) for r in range(grid[1]) for c in range(grid[0])]
        assert sum(map(g.area, boxes)) == pytest.approx(source[0] * source[1])
        assert all(g.intersection(a, b) == 0 for a, b in zip(boxes, boxes[1:], strict=False))


def test_the_crop_frame_comes_back_and_the_crop_fills_it() -> None:
    rng = random.Random(8)
    for _ in range(500):
        source, crop = sizes(rng), sizes(rng)
        shows = g.write_ints(box_in(rng, source))
        box = box_in(rng, source)
        there = g.source_to_crop(box, shows, crop)
        assert g.crop_to_source(there, shows, crop) == pytest.approx(box, rel=1e-9, abs=1e-6)
        assert g.source_to_crop(shows, shows, crop) == pytest.approx((0, 0, *crop))
        assert g.crop_to_source((0, 0, *crop), shows, crop) == pytest.approx(shows)


def test_geometry_and_protocol_need_neither_arrays_nor_images() -> None:
    code = (
        "import sys, r3lab.core.geometry, r3lab.core.protocol\n"
        "print([m for m in ('numpy', 'torch', 'PIL', 'transformers') if m in sys.modules])"
    )
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
