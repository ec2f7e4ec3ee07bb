"""Shares of attention are those of the rows, an even policy has once the even share, lines meet at the box."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from r3lab.core.errors import R3labError
from r3lab.core.files import assets_dir
from r3lab.core.stats import Interval
from r3lab.explain.maps import CROPS, AlignedMean, align, percentile, shares
from r3lab.explain.rows import OVERVIEW, rows
from r3lab.models.policy import Policy
from r3lab.show.explanation import persistence
from r3lab.train.sft import taught
from r3lab.trajectory import Kind
from r3lab.vlir.worlds import get_world


@pytest.fixture(scope="module")
def read():
    """The shipped policy, and a record with one look that it need not have written itself."""
    policy, world = Policy.load(assets_dir() / "tiny" / "rgrpo"), get_world("badges")
    sample = next(s for s in (world.sample("test", i) for i in range(40)) if s.needs_look)
    return policy, taught(policy, sample, world.rationale(sample))


def test_shares_are_those_of_the_rows(read):
    """Mass of each written token, its even share by hand, no crop before it is there, and the fork behind the box."""
    policy, t = read
    found = shares(policy, t)
    assert [t.kinds[i] for i in found.tokens] == [Kind.SAMPLED] * t.kinds.count(Kind.SAMPLED)
    look = t.looks[0]
    assert found.tokens[found.fork] >= look.crop_span[1] > look.span[1] > found.tokens[found.fork - 1]
    for number in (0, found.fork, len(found.tokens) - 1):
        token = int(found.tokens[number])
        own = rows(policy, t, at=[token])
        for image, span in ((OVERVIEW, OVERVIEW), (CROPS, "crop 1")):
            if image == CROPS and token < look.crop_span[0]:
                assert np.isnan(found.mass[image][number]) and np.isnan(found.times(image)[number])
                continue
            a, b = own.spans[span]
            assert found.mass[image][number] == pytest.approx(float(own.on(span).mean((0, 1)).sum()), abs=1e-5)
            assert found.even[image][number] == pytest.approx((b - a) / token)


def test_attention_without_preference_is_the_even_share(read):
    """With queries of zero every token in sight gets the same: once the even share, at every word, for every image."""
    _, t = read
    policy = Policy.load(assets_dir() / "tiny" / "rgrpo")
    with torch.no_grad():
        for name, weight in policy.model.named_parameters():
            if "q_proj" in name and "visual" not in name:
                weight.zero_()
    found = shares(policy, t)
    for image in (OVERVIEW, CROPS):
        times = found.times(image)
        np.testing.assert_allclose(times[np.isfinite(times)], 1.0, rtol=1e-4)
        assert np.isfinite(times[found.fork :]).all()


def test_words_are_counted_from_the_box():
    """Two chains whose boxes end at different words meet at 0; what too few have is left out, and so is NaN."""
    a, b = np.array([1.0, 2.0, 10.0, 20.0]), np.array([2.0, 30.0, np.nan, 5.0])
    line = align([a, b, a], [2, 1, None], least=2)
    assert line.at == (-1, 0)
    assert [m.value for m in line.mean] == [2.0, 20.0]
    assert [m.n for m in line.mean] == [2, 2]
    assert align([a, b], [2, 1], least=1).at == (-2, -1, 0, 1, 2)
    with pytest.raises(R3labError, match="no word has values of 3"):
        align([a, b], [2, 1], least=3)
    with pytest.raises(R3labError, match="2 rows of values and 1 forks"):
        align([a, b], [2])


def test_equal_ones_count_half():
    """The null of a box on a flat map is one half; above all is 1, below all 0."""
    assert percentile(0.2, [0.2, 0.2]) == 0.5
    assert percentile(3, [1, 2]) == 1.0
    assert percentile(0, [1, 2]) == 0.0
    assert percentile(2, [1, 2, 3, 4]) == pytest.approx(0.375)


def line(*values):
    return AlignedMean(tuple(range(-1, len(values) - 1)), tuple(Interval(v, v - 0.1, v + 0.1, 9) for v in values))


def test_a_name_has_one_colour_in_every_panel():
    """As many lines as were given, each as high as its means; the words say first, fork and last of each."""
    panels = {"mass": {"crop": line(0.2, 0.4, 0.3), "overview": line(0.5, 0.6)}, "times": {"overview": line(0.9, 2.5)}}
    first, second = persistence(panels, {"times": 1.0}).figure.axes
    drawn = {one.get_label(): one for one in first.lines if not one.get_label().startswith("_")}
    assert set(drawn) == {"crop", "overview"}
    assert list(drawn["crop"].get_ydata()) == [0.2, 0.4, 0.3]
    again = next(one for one in second.lines if one.get_label() == "overview")
    assert again.get_color() == drawn["overview"].get_color() != drawn["crop"].get_color()
    assert any(list(one.get_ydata()) == [1.0, 1.0] for one in second.lines), "the even share is marked"
    told = persistence(panels).alt
    assert "crop: 0.20 (0.10 to 0.30) at -1, 0.40 (0.30 to 0.50) at +0, 0.30 (0.20 to 0.40) at +1" in told
    with pytest.raises(R3labError, match="0 lines cannot be drawn"):
        persistence({"mass": {}})
    with pytest.raises(R3labError, match="7 lines cannot be drawn"):
        persistence({"mass": {str(n): line(0.1, 0.2) for n in range(7)}})
