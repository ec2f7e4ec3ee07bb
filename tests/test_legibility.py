"""What a policy reads behind the true regions' crops, and without any."""

from __future__ import annotations

import pytest

from r3lab.core.files import assets_dir
from r3lab.core.geometry import iou
from r3lab.evaluate.legibility import legibility, shown_the_truth
from r3lab.models import tiny
from r3lab.models.policy import Policy
from r3lab.recipes.facts import words
from r3lab.recipes.lessons import vocabulary
from r3lab.trajectory import Kind
from r3lab.vlir.worlds import WORLDS, get_world


@pytest.fixture(scope="module")
def policy() -> Policy:
    return Policy.load(assets_dir() / "tiny" / "rgrpo")


@pytest.mark.parametrize("world", WORLDS)
def test_the_record_has_looked_at_the_true_regions_and_said_nothing_of_the_last(world: str) -> None:
    """In any world and its words; the last thing it holds is what the loop put behind the last crop."""
    fresh = tiny.create([*vocabulary(), *words()], seed=0)
    samples = [s for s in (get_world(world).sample("test", i) for i in range(8)) if s.needs_look]
    for sample in samples:
        t = shown_the_truth(fresh, sample)
        assert t.answer is None and all(look.valid and look.crop_span for look in t.looks)
        assert t.kinds[-1] == Kind.ENVIRONMENT and t.kinds[t.looks[-1].crop_span[1] - 1] == Kind.CROP
        assert max(iou(t.looks[-1].box, region) for region in sample.regions) > 0.5


def test_badges_are_legible_to_the_shipped_policy_and_the_overview_alone_is_not(policy: Policy) -> None:
    """A digit guessed is right in a tenth of the cases."""
    found = legibility(policy, [get_world("badges").sample("test", i) for i in range(60)])
    assert found["n_needed"] > 30
    assert found["legible"] > 0.95 and found["overview_alone"] < 0.15


def test_read_together_as_read_alone(policy: Policy) -> None:
    """Records of other images do not share what they begin with."""
    samples = [s for s in (get_world("badges").sample("test", i) for i in range(12)) if s.needs_look]
    alone = [legibility(policy, [s])["legible"] for s in samples]
    assert legibility(policy, samples)["legible"] == pytest.approx(sum(alone) / len(alone), abs=1e-4)


def test_nothing_to_read(policy: Policy) -> None:
    easy = [s for s in (get_world("badges").sample("test", i) for i in range(20)) if not s.needs_look]
    assert legibility(policy, easy) == {"legible": None, "overview_alone": None, "n_needed": 0}
