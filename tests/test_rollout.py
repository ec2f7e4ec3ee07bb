"""The loop's invariants, on every family: what is trained is what was sampled, and the cache changes nothing."""

from __future__ import annotations

import math

import pytest
import torch
from PIL import Image, ImageOps

from r3lab.core.arms import FORCED, get_arm
from r3lab.core.errors import R3labError
from r3lab.core.geometry import coverage, zoom_factor
from r3lab.core.images import content_hash, resize
from r3lab.explain.interventions import with_question
from r3lab.explain.trials import try_prompts
from r3lab.models import tiny
from r3lab.models.decoder import fits
from r3lab.models.families import patchify, tiles
from r3lab.models.policy import Features, Policy, Row
from r3lab.recipes.lessons import vocabulary
from r3lab.rollout.loop import rollout
from r3lab.rollout.resume import common, resume
from r3lab.rollout.sequence import row_of
from r3lab.train.update import packed_logprobs
from r3lab.trajectory import Kind, load, save


@torch.no_grad()
def fresh_logprobs(policy: Policy, trajectory, temperature: float = 1.0) -> list[float]:
    """Log-probabilities of the sampled tokens from one plain forward over the whole row, no cache, no batch."""
    logits = policy.logits(policy.hidden(policy.rows([row_of(policy, trajectory, {})])))[0]
    logp = torch.log_softmax(logits / temperature, dim=-1)
    return [float(logp[i - 1, trajectory.ids[i]]) for i, k in enumerate(trajectory.kinds) if k == Kind.SAMPLED]


def test_rollouts_are_ragged_enough_to_test_anything(ragged):
    """Every case that the tests below are for occurs."""
    valid = {sum(look.valid for look in t.looks) for t in ragged}
    assert {0, 1} <= valid, valid
    assert any(not look.valid for t in ragged for look in t.looks)
    assert {"answered", "length"} <= {t.finish for t in ragged}


def test_logprobs_equal_a_fresh_forward(family_policy, ragged):
    """Sampling log-probabilities, through cache, batch and crops, are those of a plain forward (fp32, 1e-5)."""
    worst = 0.0
    for t in ragged:
        recorded = [p for p in t.logprobs if p is not None]
        fresh = fresh_logprobs(family_policy, t)
        assert len(recorded) == len(fresh) > 0
        worst = max([worst, *(abs(a - b) for a, b in zip(recorded, fresh, strict=True))])
    assert worst < 1e-5


def test_an_internvl_on_qwen2_samples_what_a_fresh_forward_gives(samples, monkeypatch):
    """The row's other text model (that of the tiny checkpoint is Qwen3), in the loop and in an update's packed rows."""
    text, vision = tiny.SIZES["internvl"]
    monkeypatch.setitem(tiny.SIZES, "internvl", (text | {"model_type": "qwen2"}, vision))
    policy, store = tiny.miniature("internvl", vocabulary(), plain=False), {}
    assert policy.model.config.text_config.model_type == "qwen2" and fits(policy)
    found = rollout(policy, samples[:3], 3, seed=3, max_new_tokens=12, features=store)
    for t in found:
        assert [p for p in t.logprobs if p is not None] == pytest.approx(fresh_logprobs(policy, t), abs=1e-5)
    with torch.no_grad():
        packed = packed_logprobs(policy, found, store, 1.0)
    assert float(((packed.new - packed.old) * packed.mask).abs().max()) < 1e-5


def test_records_hold_their_own_invariants(family_policy, ragged):
    """`check`, image tokens as many as features, no vision id sampled, log-probabilities and entropies in range."""
    vocabulary = family_policy.model.config.get_text_config().vocab_size
    for t in ragged:
        t.check()
        row = row_of(family_policy, t, {})
        assert t.ids.count(family_policy.image_id) == sum(len(f.tokens) for f in row.images)
        seen = [i for i, kind in enumerate(t.kinds) if kind in (Kind.OVERVIEW, Kind.CROP)]
        assert seen == [i for i, token in enumerate(t.ids) if token == family_policy.image_id]
        sampled = {i for i, k in zip(t.ids, t.kinds, strict=True) if k == Kind.SAMPLED}
        assert not sampled & set(family_policy.forbidden)
        for p, e in zip(t.logprobs, t.entropies, strict=True):
            assert p is None or (p <= 0 and 0 <= e <= math.log(vocabulary) + 1e-4)


def test_the_end_is_where_it_is_said_to_be(ragged):
    """Nothing after the answer; a length end has all its tokens; an invalid box brings a message and no image."""
    for t in ragged:
        count = t.kinds.count(Kind.SAMPLED)
        assert count <= 44
        if t.finish == "answered":
            assert t.answer is not None and t.text.endswith("</answer>") and t.kinds[-1] == Kind.SAMPLED
        if t.finish == "length":
            assert count == 44 and t.answer is None
        for look in t.looks:
            assert look.valid == (look.crop_span is not None) == (not look.reason)
            if not look.valid and t.finish != "looks":
                assert t.kinds[look.span[1]] == Kind.ENVIRONMENT


def test_crops_are_cut_from_the_source(family_policy, ragged):
    """A crop's pixels are those of its own box in the source, at the size that the crop rule gives."""
    looked = [(t, look) for t in ragged for look in t.looks if look.valid]
    assert looked
    for t, look in looked:
        source = t.images[t.image.hash]
        expected = source.resize((look.crop.width, look.crop.height), Image.Resampling.BICUBIC, box=look.box)
        assert content_hash(expected) == look.crop.hash == content_hash(t.images[look.crop.hash])
        assert look.zoom == zoom_factor(look.box, source.size)
        assert coverage(look.box, (0, 0, *source.size)) <= 1
        span = look.crop_span
        assert {t.kinds[i] for i in range(*span)} == {Kind.CROP}
        factor = family_policy.layout.factor
        assert span[1] - span[0] == (look.crop.width // factor) * (look.crop.height // factor)


def test_greedy_tokens_do_not_depend_on_the_batch(family_policy, samples):
    """Alone, in a batch, and with other neighbours: the same greedy tokens."""
    together = rollout(family_policy, samples, temperature=0, max_new_tokens=44)
    for sample, t in zip(samples[::2], together[::2], strict=True):
        assert rollout(family_policy, [sample], temperature=0, max_new_tokens=44)[0].ids == t.ids


def test_seeds(policy, samples):
    """The same seed gives the same trajectories, another seed others, and group members differ."""
    first = rollout(policy, samples[:3], group=3, seed=5, max_new_tokens=30)
    again = rollout(policy, samples[:3], group=3, seed=5, max_new_tokens=30)
    other = rollout(policy, samples[:3], group=3, seed=6, max_new_tokens=30)
    assert first == again
    assert [t.ids for t in first] != [t.ids for t in other]
    assert len({tuple(t.ids) for t in first[:3]}) > 1


def test_a_look_past_the_limit_is_refused_once_then_ends_the_row(policy, samples):
    """With no look allowed every box is answered with a message, and a second one ends the trajectory."""
    for t in rollout(policy, samples, group=3, seed=1, max_looks=0, max_new_tokens=80):
        assert not any(look.valid for look in t.looks)
        assert Kind.CROP not in t.kinds
        refused = [look for look in t.looks if look.reason == "no look left"]
        assert len(refused) <= 2
        assert (t.finish == "looks") == (len(refused) == 2)


def test_trajectories_survive_the_disk(ragged, tmp_path):
    """load(save(t)) == t, with images."""
    assert load(save(ragged[:3], tmp_path / "many")) == ragged[:3]


def test_temperature_is_in_the_log_probabilities(policy, samples):
    """At temperature 0.5 the recorded log-probabilities are those of the sharpened distribution."""
    t = rollout(policy, samples[:1], temperature=0.5, max_new_tokens=20)[0]
    recorded = [p for p in t.logprobs if p is not None]
    assert recorded == pytest.approx(fresh_logprobs(policy, t, 0.5), abs=1e-5)


def test_patches_equal_those_of_transformers(family_policy, samples):
    """Our patch layout is the one of transformers' own image processor."""
    from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
    from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

    layout = family_policy.layout
    own: dict = {"image_mean": layout.mean, "image_std": layout.std}
    if family_policy.family.model_type == "internvl":  # as its own files say, resizing included
        theirs = GotOcr2ImageProcessorPil.from_pretrained(family_policy.folder, crop_to_patches=False)
        wanted = theirs([s.image for s in samples[:2]], return_tensors="np")["pixel_values"]
        ours = tiles([resize(s.image, family_policy.overview_size(s.image.size)) for s in samples[:2]], layout)
        assert ours.shape == wanted.shape == (2, 3, layout.tile, layout.tile)
        assert torch.allclose(ours, torch.tensor(wanted), atol=1e-6)
        return
    if family_policy.family.tiles:
        side = layout.tile
        edges = {"max_image_size": {"longest_edge": side}, "size": {"longest_edge": side}}
        theirs = SmolVLMImageProcessorPil(do_image_splitting=False, **edges, **own)
        images = [s.image.resize((side, side)) for s in samples[:2]]
        for image, ours in zip(images, tiles(images, layout), strict=True):
            assert torch.allclose(
                ours[None], torch.tensor(theirs([image], return_tensors="np")["pixel_values"][0]), atol=1e-6
            )
        return
    own |= {"patch_size": layout.patch, "merge_size": layout.merge, "temporal_patch_size": layout.temporal}
    theirs = Qwen2VLImageProcessorPil(do_resize=False, **own)
    images = [samples[0].image.resize((64, 96)), samples[1].image.resize((128, 16))]
    pixels, grids = patchify(images, layout)
    for image, part, grid in zip(images, pixels.split((grids[:, 1] * grids[:, 2]).tolist()), grids, strict=True):
        wanted = theirs([image], return_tensors="np")
        assert torch.allclose(part, torch.tensor(wanted["pixel_values"]), atol=1e-6)
        assert wanted["image_grid_thw"].tolist() == [grid.tolist()]


def test_positions_equal_those_of_transformers(family_policy, ragged):
    """M-RoPE positions of rows with crops are those of the model's own get_rope_index."""
    policy = family_policy
    for t in [t for t in ragged if any(look.valid for look in t.looks)][:6]:
        row = row_of(policy, t, {})
        if policy.family.tiles:
            assert torch.equal(policy.positions(row), torch.arange(len(row.ids)).expand(3, -1))
            continue
        grids = torch.tensor(
            [(1, f.grid[1] * policy.layout.merge, f.grid[0] * policy.layout.merge) for f in row.images]
        )
        ids = torch.tensor([row.ids])
        kinds = (ids == policy.image_id).int()
        wanted, _ = policy.model.model.get_rope_index(ids, mm_token_type_ids=kinds, image_grid_thw=grids)
        assert torch.equal(policy.positions(row), wanted[:, 0])


@pytest.mark.parametrize("arm", ["interleaved", "boxes-as-text", "full-image-again"])
def test_records_go_on_from_where_they_stand(family_policy, samples, arm):
    """As their arm: cut off behind a crop, after a word, or in the middle of a box, greedily the
    same end, all in one batch."""
    begun, want = [], []
    for t in rollout(family_policy, samples[:2], temperature=0.0, max_new_tokens=44, arm=get_arm(arm)):
        places = [i for i, kind in enumerate(t.kinds) if kind == Kind.SAMPLED][1:-1]
        ends = [look.crop_span[1] + len(family_policy.vision_end) for look in t.looks if look.crop_span]
        for at in sorted({places[0], places[len(places) // 2], places[-1], *ends}):
            begun.append(t.until(at))
            want.append(t)
    kept = [list(t.ids) for t in begun]
    for t, end in zip(resume(family_policy, begun, max_new_tokens=44), want, strict=True):
        assert (t.ids, t.kinds, t.answer, t.finish, t.arm) == (end.ids, end.kinds, end.answer, end.finish, arm)
        assert [look.span for look in t.looks] == [look.span for look in end.looks]
        t.check()
    assert [t.ids for t in begun] == kept
    with pytest.raises(R3labError, match="does not carry its image"):
        begun[0].images.clear()
        resume(family_policy, begun[:1])


def test_what_records_begin_with_alike_is_read_once(policy, samples):
    """Up to the first token or image that differs, never into an image, never all of a row."""
    t = next(t for t in rollout(policy, samples, 4, max_new_tokens=44) if any(look.crop for look in t.looks))
    store = {}
    row = row_of(policy, t, store)
    crop = next(look.crop_span for look in t.looks if look.crop_span)
    assert common([row, row], policy.image_id) == (len(row.ids) - 1, len(row.images))
    assert common([row, row], policy.image_id, most=crop[1] + 1) == (crop[1] + 1, 2)
    assert common([row, row], policy.image_id, most=crop[1] - 1) == (crop[0], 1)
    other = Row(row.ids, [row.images[0], *(Features(f.tokens + 1, f.deep, f.grid) for f in row.images[1:])])
    assert common([row, other], policy.image_id) == (crop[0], 1)
    short = Row(row.ids[: crop[1] - 1], row.images[:2])
    assert common([row, short], policy.image_id) == (crop[0], 1)
    changed = Row([*row.ids[:3], -1, *row.ids[4:]], row.images)
    assert common([row, changed], policy.image_id)[0] == 3


# ------------------------------------------------------------------ rollouts forced into an arm


class Deaf(Policy):
    """Every token is as likely as any other, whatever it read: what is drawn tells the random numbers alone."""

    def logits(self, hidden):
        """All alike."""
        return torch.zeros_like(super().logits(hidden))


def test_forced_members_read_the_words_first_and_sample_as_they_would_have(family_policy, samples, tmp_path):
    """Words after the shared prompt, of the environment; the log-probabilities are those of a fresh forward, also in an
    update's packed rows; free members are as in a free group; records survive the disk and go on."""
    policy, kinds, store = family_policy, ["", "direct", "look", "look"], {}
    found = rollout(policy, samples, 4, seed=2, max_looks=2, max_new_tokens=44, forced=kinds, features=store)
    free = rollout(policy, samples, 4, seed=2, max_looks=2, max_new_tokens=44)
    assert [t.forced for t in found] == kinds * 6 and {t.forced for t in free} == {""}
    assert [t.ids for t in found[::4]] == [t.ids for t in free[::4]]
    for t in found:
        t.check()
        start, words = t.prompt_length, policy.ids(FORCED.get(t.forced, ""))
        assert t.ids[start : start + len(words)] == words and t.text.startswith(FORCED.get(t.forced, ""))
        assert t.kinds[start : start + len(words) + 1] == [Kind.ENVIRONMENT] * len(words) + [Kind.SAMPLED]
        assert [p for p in t.logprobs if p is not None] == pytest.approx(fresh_logprobs(policy, t), abs=1e-5)
    assert any(look.valid for t in found if t.forced for look in t.looks)
    with torch.no_grad():
        packed = packed_logprobs(policy, found, store, 1.0)
    assert float(((packed.new - packed.old) * packed.mask).abs().max()) < 1e-4
    assert load(save(found, tmp_path)) == found
    greedy = rollout(policy, samples[:2], 2, temperature=0, max_new_tokens=44, forced=("direct", "look"))
    cuts = [(t.prompt_length, t.sampled_mask.index(True) + 2) for t in greedy]  # before the words, and behind them
    begun = [t.until(cut) for t, both in zip(greedy, cuts, strict=True) for cut in both]
    for t, end in zip(resume(policy, begun, max_new_tokens=44), [t for t in greedy for _ in range(2)], strict=True):
        assert (t.ids, t.kinds, t.forced) == (end.ids, end.kinds, end.forced)


def test_forced_members_draw_the_random_numbers_of_free_ones(policy, samples):
    """The stream is that of (seed, sample, member), whatever is put before it."""
    deaf = Deaf(policy.model, policy.tokenizer, policy.processor)
    free, look, mixed = (
        [[i for i, own in zip(t.ids, t.sampled_mask, strict=True) if own] for t in found]
        for found in (
            rollout(deaf, samples[:2], 2, seed=7, max_new_tokens=8, forced=f) for f in ("", "look", ("", "direct"))
        )
    )
    assert free == look == mixed and len({tuple(ids) for ids in free}) == 4


@pytest.mark.parametrize(
    ("forced", "wanted"),
    [
        (("lok",), "cannot be forced into 'lok'; known: direct, look. Did you mean 'look'"),
        ("a glance", "cannot be forced into 'a glance'"),
        (("", "look", "look"), "3 names for a group of 2; give one, or one for each"),
        ((), "0 names for a group of 2"),
    ],
)
def test_what_a_group_cannot_be_forced_into(policy, samples, forced, wanted):
    with pytest.raises(R3labError, match=wanted):
        rollout(policy, samples[:1], 2, forced=forced)


def test_a_replay_of_a_forced_rollout_is_forced(policy, samples):
    """The first box anew is that of the record, and another question keeps the words."""
    tried = 0
    free = rollout(policy, samples, temperature=0, max_new_tokens=44)
    for t, other in zip(rollout(policy, samples, temperature=0, max_new_tokens=44, forced="look"), free, strict=True):
        asked = with_question(policy, t, "Which letter?")
        asked.check()
        assert asked.text == t.text and asked.forced == "look" and asked.ids != t.ids
        boxes = [[look.box for look in one.looks if look.crop][:1] for one in (t, other)]
        if boxes[0] and boxes[0] != boxes[1]:
            tried += 1
            assert try_prompts(policy, t, {}, {})[0] == boxes[0][0]
    assert tried


def test_another_picture_in_the_place_of_a_crop(family_policy, samples):
    """What the record holds is what was read; all else is as it would have been up to the first crop."""

    def inverted(crop: Image.Image) -> Image.Image:
        return ImageOps.invert(crop)

    settings = {"group": 4, "seed": 4, "max_looks": 2, "max_new_tokens": 44}
    plain, changed = (
        rollout(family_policy, samples, **settings),
        rollout(family_policy, samples, crops=inverted, **settings),
    )
    looked = [(a, b) for a, b in zip(plain, changed, strict=True) if any(look.crop for look in a.looks)]
    assert looked
    for a, b in looked:
        b.check()
        (first, other) = (next(look for look in t.looks if look.crop) for t in (a, b))
        assert b.ids[: first.crop_span[1]] == a.ids[: first.crop_span[1]] and first.crop != other.crop
        assert (
            content_hash(inverted(a.images[first.crop.hash]))
            == other.crop.hash
            == content_hash(b.images[other.crop.hash])
        )
        assert [p for p in b.logprobs if p is not None] == pytest.approx(fresh_logprobs(family_policy, b), abs=1e-5)
    assert [a.ids for a, b in looked] != [b.ids for a, b in looked]
