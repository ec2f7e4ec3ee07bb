"""Updates: passes change memory alone and fit it, what is not finite changes nothing, one's own functions serve."""

from __future__ import annotations

import copy
import gc
import weakref
from dataclasses import replace

import pytest
import torch

import r3lab.train.run as outside
import r3lab.train.update as inside
from r3lab.core.arms import get_arm
from r3lab.core.errors import R3labError
from r3lab.models.adapters import add_lora
from r3lab.models.policy import Policy, checkpointed
from r3lab.rollout.loop import rollout
from r3lab.train.devices import SAFE, Footprint, footprint_of, packed_length, readable, room, saved
from r3lab.train.objective import advantages, policy_loss, span_weights, spans
from r3lab.train.presets import OBJECTIVES, SPANS, Objective
from r3lab.train.rewards import score
from r3lab.train.rgrpo import draw, reward_groups, train_rgrpo
from r3lab.train.run import Run
from r3lab.train.settings import RgrpoSettings, UpdateSettings
from r3lab.train.update import packed_logprobs, passes, update
from r3lab.trajectory import Kind, load
from r3lab.vlir.worlds import world_batches


@pytest.fixture()
def scored(policy, samples):
    """Three groups of four with made-up advantages, one group without, and the store of features."""
    store = {}
    found = rollout(policy, samples[:3], group=4, seed=9, max_new_tokens=50, features=store)
    for i, t in enumerate(found):
        t.advantage = 0.0 if i // 4 == 1 else (1.0, -0.5, 0.7, -1.2)[i % 4]
    return found, store


def stepped(policy, scored, settings: UpdateSettings, rate: float = 0.1, **more):
    """Metrics, and weights of the text model, after one update of a copy; SGD shows the gradient itself."""
    learner = copy.deepcopy(policy)
    trained = learner.text_parameters()
    metrics = update(learner, scored[0], scored[1], torch.optim.SGD(trained, lr=rate), settings, **more)
    for number, count in enumerate(metrics.pop("log_ratio_counts", ())):  # flat, so that `approx` compares them too
        metrics[f"log ratio, bin {number}"] = count
    return metrics, [p.detach() for p in trained], learner


def test_the_published_objective_is_the_default():
    """Names choose the objective, clips may be set apart from it, an unknown name is refused with the nearest."""
    assert RgrpoSettings().as_objective() == Objective(length=96)
    for name, known in OBJECTIVES.items():
        assert UpdateSettings(objective=name).as_objective().ratio == known.ratio
    assert UpdateSettings(objective="gspo", clip_high=0.5).as_objective().clip_low == OBJECTIVES["gspo"].clip_low
    assert UpdateSettings(objective="gspo", clip_high=0.5).as_objective().clip_high == 0.5
    with pytest.raises(R3labError, match="Did you mean 'gspo'"):
        UpdateSettings(objective="gpso").as_objective()


def test_an_update_is_at_the_temperature_of_the_sampling(policy, samples):
    """Of the policy that sampled, all numbers are those that were recorded: ratios of 1, the reference, the entropy."""
    store, seen = {}, []
    found = rollout(policy, samples[:2], group=3, temperature=0.6, seed=2, max_new_tokens=30, features=store)
    for t in found:
        t.advantage = 1.0

    def loss(new, old, a, mask, reference, entropy):
        spread = torch.tensor([e for t in found for e in t.entropies if e is not None])
        seen.extend(float((x[mask] - y).detach().abs().max()) for x, y in (
            (new, old[mask]), (reference, old[mask]), (entropy, spread)
        ))  # fmt: skip
        return -(new * mask).sum()

    settings = UpdateSettings(temperature=0.6, kl_weight=0.1)
    stepped(policy, (found, store), settings, rate=0.0, reference=policy.frozen(), loss=loss)
    assert len(seen) == 3 and max(seen) < 1e-4


@pytest.mark.parametrize("objective", ["r-grpo", "dapo"])
def test_passes_change_nothing_but_memory(policy, scored, objective):
    """One group a pass, and all at once: the same step, aggregated by rows or by tokens, with KL and entropy."""
    settings = {"objective": objective, "kl_weight": 0.1, "entropy_weight": 0.01, "max_grad_norm": 1e9}
    learner = copy.deepcopy(policy)
    with torch.no_grad():
        learner.model.lm_head.weight.mul_(1.05)  # apart from the reference and from the sampling policy
    reference = policy.frozen()
    whole, weights, _ = stepped(learner, scored, UpdateSettings(**settings), reference=reference)
    parts, same, _ = stepped(learner, scored, UpdateSettings(**settings, pass_groups=1), reference=reference)
    assert [len(p) for p in passes(scored[0], 2)] == [8, 4]
    assert whole["kl"] > 0 and whole["entropy_bonus"] > 0
    with pytest.raises(ValueError, match="reference"):
        stepped(learner, scored, UpdateSettings(**settings))
    assert whole == pytest.approx(parts, rel=1e-3, abs=1e-6)
    for a, b in zip(weights, same, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)


def test_checkpointing_keeps_less_and_changes_nothing(family_policy, samples):
    """In every family: the same step to 1e-5; less is kept for the backward pass with every layer that is computed
    again, and not half as much with all."""
    store: dict = {}
    found = rollout(family_policy, samples[:2], group=3, seed=9, max_new_tokens=24, features=store)
    for i, t in enumerate(found):
        t.advantage = (1.0, -0.5, 0.7)[i % 3]
    results = []
    for count in range(len(family_policy.text.layers) + 1):
        held: dict[int, int] = {}

        def note(tensor, held=held):
            if not isinstance(tensor, torch.nn.Parameter):
                held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        settings = UpdateSettings(checkpointing=count, max_grad_norm=1e9)
        with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
            metrics, weights, _ = stepped(family_policy, (found, store), settings)
        results.append((metrics, weights, sum(held.values())))
    (plain, first, much), *others = results
    kept = [much, *(little for _, _, little in others)]
    assert kept == sorted(set(kept), reverse=True) and kept[-1] < 0.5 * much
    for metrics, weights, _ in others:
        assert plain == pytest.approx(metrics, rel=1e-4, abs=1e-6)
        for a, b in zip(first, weights, strict=True):
            torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


def test_a_pass_that_does_not_fit_is_halved_and_nothing_else_changes(policy, scored, monkeypatch):
    """Memory for one group only: the same step, and what is left is said; no memory at all is a clear error."""
    import r3lab.train.update as module

    found, store = scored
    for t in found[4:8]:
        t.advantage = 0.5
    whole, weights, _ = stepped(policy, scored, UpdateSettings(max_grad_norm=1e9))
    ordinary = module.packed_logprobs

    def short(policy, part, store, temperature, graph=False):
        if len(part) > room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return ordinary(policy, part, store, temperature, graph)

    monkeypatch.setattr(module, "packed_logprobs", short)
    room = 4
    parts, same, _ = stepped(policy, scored, UpdateSettings(max_grad_norm=1e9))
    assert parts.pop("pass_groups") == 1 and whole == pytest.approx(parts, rel=1e-3, abs=1e-6)
    for a, b in zip(weights, same, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)
    room = 3
    with pytest.raises(R3labError, match="one group does not fit"):
        stepped(policy, scored, UpdateSettings())


def test_what_is_not_finite_changes_nothing_and_a_run_of_it_stops(policy, scored, tmp_path, monkeypatch):
    """A NaN in the recorded log-probabilities: the update is left out, and the weights are as before. After
    `max_skipped` of them in a row the run ends; the rollouts of each are kept."""
    import r3lab.train.rgrpo as rgrpo

    found, store = scored
    at = found[0].kinds.index(Kind.SAMPLED)
    found[0].logprobs[at] = float("nan")
    before = [p.detach().clone() for p in policy.model.parameters()]
    metrics, _, learner = stepped(policy, (found, store), UpdateSettings())
    assert metrics == {"skipped": 1.0}
    assert all(torch.equal(a, b) for a, b in zip(before, learner.model.parameters(), strict=True))
    monkeypatch.setattr(rgrpo, "update", lambda *_: metrics)
    settings = RgrpoSettings(steps=9, prompts=2, group=2, minibatches=1, max_new_tokens=8)
    with pytest.raises(R3labError, match="3 updates in a row were not finite"):
        batches, run = world_batches("badges", 2, 0), Run(tmp_path, settings)
        train_rgrpo(policy, batches, settings, lambda row: None, False, run=run)
    kept = sorted(folder.name for folder in tmp_path.glob("not-finite-*"))
    assert kept == [f"not-finite-{n}-0" for n in (1, 2, 3)] and len(load(tmp_path / kept[0])) == 4


def test_every_sampled_token_has_a_span(policy, samples):
    """Boxes are those of the looks; the answer begins with its tag; the factors stand where the spans do."""
    found = rollout(policy, samples, group=4, seed=5, max_new_tokens=96)
    seen = set()
    for t in found:
        own = spans(t)
        sampled = [i for i, k in enumerate(t.kinds) if k == Kind.SAMPLED]
        assert len(own) == len(sampled)
        boxed = [i for i, name in zip(sampled, own, strict=True) if name == "box"]
        assert boxed == [i for look in t.looks for i in range(*look.span) if t.kinds[i] == Kind.SAMPLED]
        text = "".join(t.pieces[i] for i, name in zip(sampled, own, strict=True) if name == "answer")
        assert not text or text.startswith("<answer>")
        assert bool(text) == ("<answer>" in t.response_text)
        seen.update(own)
    assert seen == set(SPANS)
    assert span_weights(found, dict.fromkeys(SPANS, 1.0)) is None
    weights = span_weights(found, {"reason": 0.0, "box": 2.0, "answer": 3.0})
    assert weights.shape == (len(found), max(t.kinds.count(Kind.SAMPLED) for t in found))
    for row, t in zip(weights.tolist(), found, strict=True):
        assert row[: len(spans(t))] == [{"reason": 0.0, "box": 2.0, "answer": 3.0}[name] for name in spans(t)]


@pytest.mark.parametrize(
    ("arm", "text"),
    [
        ("staged-llava-cot", "<CONCLUSION>7</CONCLUSION>"),
        ("staged-mulberry", "### The final answer is: 7"),
        ("direct", "<answer>7</answer>"),
    ],
)
def test_the_answer_has_its_credit_in_every_arm(policy, samples, arm, text):
    """From the first token of the mark that opens it in that arm, also where the mark is several tokens."""
    (t,) = rollout(policy, samples[:1], group=1, seed=5, max_new_tokens=2, arm=get_arm(arm))
    at = [i for i, kind in enumerate(t.kinds) if kind == Kind.SAMPLED][-1]
    words = ["It is ", *(text[i : i + 3] for i in range(0, len(text), 3))]
    for name, value in {"kinds": int(Kind.SAMPLED), "logprobs": -1.0, "entropies": 0.5, "ids": 5}.items():
        getattr(t, name)[at + 1 :] = [value] * len(words)
    t.pieces[at + 1 :] = words
    assert spans(t)[-len(words) :] == ["reason", *["answer"] * (len(words) - 1)]


def test_credit_moves_only_its_span(policy, samples, scored):
    """With all the credit on the boxes, rollouts that end before one do not move the policy; others do."""
    store = {}
    short = rollout(policy, samples[:1], group=2, seed=5, max_new_tokens=3, features=store)
    short[0].advantage, short[1].advantage = 1.0, -1.0
    settings = UpdateSettings(credit_reason=0.0, credit_answer=0.0)
    visual = {id(p) for p in policy.model.model.visual.parameters()}
    start = [p for p in policy.model.parameters() if id(p) not in visual]
    for rollouts, still in (((short, store), True), (scored, False)):
        _, weights, _ = stepped(policy, rollouts, settings)
        assert all(torch.equal(a, b) for a, b in zip(start, weights, strict=True)) == still


def test_groups_without_a_signal_are_drawn_anew(policy, monkeypatch):
    """Rewards made equal for the first samples: they are replaced by later ones, at most `redraws` times, and each
    attempt draws from random numbers of its own."""
    import r3lab.train.rgrpo as rgrpo

    seeds, whole = [], rgrpo.rollout

    def noted(*given, **settings):
        seeds.append(settings["seed"])
        return whole(*given, **settings)

    def equal_at_first(trajectories, group, name, kind="grpo"):
        rewards = reward_groups(trajectories, group, name, kind)
        for i, t in enumerate(trajectories):
            number = int(t.sample_id.rsplit("-", 1)[1])
            rewards[i // group, i % group] = 1.0 if number < 3 else float(i % 2)
        return rewards

    monkeypatch.setattr(rgrpo, "reward_groups", equal_at_first)
    monkeypatch.setattr(rgrpo, "rollout", noted)
    for redraws, wanted, anew in ((0, [0, 1], 0), (1, [2, 3], 2), (2, [4, 3], 3)):
        settings = RgrpoSettings(prompts=2, group=2, max_new_tokens=8, redraws=redraws)
        found, count = draw(policy, world_batches("badges", 2, 0), settings, 0, {})
        drawn = [int(group[0].sample_id.rsplit("-", 1)[1]) for group in found.values()]
        assert drawn == wanted and count == anew
        assert len(seeds) == redraws + 1 == len(set(seeds))
        seeds.clear()


def test_overlong_rollouts_can_be_left_out(policy):
    """`mask` takes the advantage from what was cut off, whatever it was; an unknown way is refused."""
    seen, kept = [], []
    own = {"reward": lambda t: sum(p for p in t.logprobs if p is not None)}  # apart from each other
    settings = RgrpoSettings(steps=1, prompts=2, group=3, max_new_tokens=4, overlong="mask")
    before = [p.detach().clone() for p in policy.model.parameters()]
    batches = world_batches("badges", 2, 0)
    train_rgrpo(policy, batches, settings, lambda r: None, False, lambda s, t: seen.extend(t), **own)
    assert {t.finish for t in seen} == {"length"} and not any(t.advantage for t in seen)
    assert all(torch.equal(a, b) for a, b in zip(before, policy.model.parameters(), strict=True))
    both = replace(settings, kl_weight=0.5, entropy_weight=0.1)
    train_rgrpo(policy, world_batches("badges", 2, 0), both, lambda r: None, False, **own)
    assert all(torch.equal(a, b) for a, b in zip(before, policy.model.parameters(), strict=True)), "by nothing at all"
    keep, learner = replace(settings, overlong="keep"), copy.deepcopy(policy)
    train_rgrpo(learner, world_batches("badges", 2, 0), keep, lambda r: None, False, lambda s, t: kept.extend(t), **own)
    assert all(t.advantage for t in kept)
    with pytest.raises(R3labError, match="overlong"):
        bad = RgrpoSettings(overlong="drop")
        train_rgrpo(policy, iter([]), bad, lambda r: None, False)


def run_with(policy: Policy, **own) -> tuple[dict[str, torch.Tensor], list[dict]]:
    """Weights and log of two steps with functions of one's own."""
    learner, rows = copy.deepcopy(policy), []
    settings = RgrpoSettings(steps=2, prompts=3, group=4, max_new_tokens=40, pass_groups=1, learning_rate=1e-3)
    train_rgrpo(learner, world_batches("badges", 3, 0), settings, rows.append, False, **own)
    return learner.model.state_dict(), [{k: v for k, v in r.items() if not k.startswith("seconds")} for r in rows]


def test_functions_of_ones_own_make_the_method(policy):
    """Handed over, the library's own functions give the same weights, bit for bit; the plainest form of each, written
    by hand, gives them but for rounding."""

    def plain(new, old, a, mask):
        ratio = torch.where(mask, new - old, torch.zeros_like(new)).exp()
        each = torch.minimum(ratio * a[:, None], ratio.clamp(0.8, 1.28) * a[:, None])
        return -((each * mask).sum(1) / mask.sum(1)).mean()

    def compared(rewards):
        return (rewards - rewards.mean(1, keepdim=True)) / (rewards.std(1, keepdim=True) + 1e-4)

    weights, rows = run_with(policy)
    theirs = {"reward": lambda t: score(t, "grounded"), "advantage": advantages, "loss": policy_loss}
    same, logged = run_with(policy, **theirs)
    assert logged == rows and all(torch.equal(same[name], value) for name, value in weights.items())
    near, logged = run_with(policy, reward=lambda t: sum(score(t, "grounded").values()), advantage=compared, loss=plain)
    assert logged[0]["grad_norm"] == pytest.approx(rows[0]["grad_norm"], rel=1e-3) and "reward/reward" in logged[0]
    assert logged[0]["ratio_mean"] == pytest.approx(rows[0]["ratio_mean"], rel=1e-4)
    moved = max(float((weights[name] - value).abs().max()) for name, value in policy.model.state_dict().items())
    assert max(float((near[name] - value).abs().max()) for name, value in weights.items()) < 0.1 * moved


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"reward": lambda t: float("nan")}, "a reward must be finite"),
        ({"reward": lambda t: None}, "a reward must be a number"),
        ({"advantage": lambda r: r.mean(1)}, r"\(N, G\) as the rewards, got the shape \(3,\)"),
        ({"advantage": lambda r: r / 0}, "must be finite"),
        ({"loss": lambda new, old, a, mask: (new - old) * a[:, None]}, r"one number .* got \(8, "),
        ({"loss": lambda new, old, a, mask: float(new.detach().mean())}, "got float"),
        ({"loss": lambda new, old, a, mask: old.mean()}, "with a gradient"),
    ],
)
def test_a_function_of_ones_own_that_gives_something_else_is_told(own, said, policy):
    with pytest.raises(R3labError, match=said):
        run_with(policy, **own)


def rolled(policy, samples, group=4, seed=1):
    """Rollouts with their features; one look at most."""
    store = {}
    return rollout(policy, samples, group, seed=seed, max_new_tokens=40, max_looks=1, features=store), store


def kept(policy, found, store, checkpointing=0):
    """Bytes that autograd really keeps of a packed pass."""
    with checkpointed(policy, checkpointing), saved(policy) as bytes_of:
        packed_logprobs(policy, found, store, 1.0)
    return sum(bytes_of.values())


@pytest.mark.parametrize("checkpointing", [0, 1, 2])
def test_the_backward_pass_is_foreseen(family_policy, samples, checkpointing):
    """From rows of 64 and 192 tokens to real groups with images, other lengths, and several rows."""
    settings = RgrpoSettings(checkpointing=checkpointing)
    footprint = footprint_of(family_policy, settings)
    for count, group in ((1, 8), (3, 3)):
        found, store = rolled(family_policy, samples[:count], group)
        groups = [found[i : i + group] for i in range(0, len(found), group)]
        length = max(packed_length(members) for members in groups)
        sampled = sum(t.kinds.count(Kind.SAMPLED) for t in found)
        foreseen = footprint.of_pass(count, length, sampled)
        seen = kept(family_policy, found, store, checkpointing)
        if checkpointing:  # one layer is made anew at a time; autograd does not keep it
            seen += kept(family_policy, found, store) / len(family_policy.text.layers)
        assert foreseen == pytest.approx(seen, rel=0.15), (count, group, length)


def test_a_large_vocabulary_is_read_in_blocks(policy, samples, monkeypatch):
    """Of 70 tokens at a time: the same numbers and gradients, kept bytes of no distribution, and that is foreseen."""
    found, store = rolled(policy, samples[:1], 8)
    sampled, vocabulary = sum(t.kinds.count(Kind.SAMPLED) for t in found), policy.model.lm_head.out_features
    assert sampled > 150

    def passed():
        policy.model.zero_grad(set_to_none=True)
        told = packed_logprobs(policy, found, store, 0.7)
        (told.new * told.mask - 0.1 * told.entropy).sum().backward()
        return told, {k: p.grad.clone() for k, p in policy.model.named_parameters() if p.grad is not None}

    (whole, gradients), held = passed(), kept(policy, found, store)
    monkeypatch.setattr(inside, "CELLS", 70 * vocabulary + 1)
    (parts, again), less = passed(), kept(policy, found, store)
    assert torch.allclose(whole.new, parts.new, atol=1e-5) and torch.allclose(whole.entropy, parts.entropy, atol=1e-5)
    assert gradients.keys() == again.keys()
    for name, one in gradients.items():
        assert torch.allclose(one, again[name], atol=1e-5 * float(one.abs().max()) + 1e-7), name
    assert held - less > 2 * 4 * vocabulary * sampled
    footprint = footprint_of(policy, RgrpoSettings())
    assert footprint.block == 70
    foreseen = footprint.of_pass(1, packed_length(found), sampled)
    assert foreseen == pytest.approx(less + 70 * footprint.sampled, rel=0.15)


def test_what_is_always_held(policy):
    """Weights, gradients and optimiser are bytes that can be counted; KL holds a copy, but not beside LoRA, which
    trains a small part."""
    footprint = footprint_of(policy, RgrpoSettings())
    weights = sum(p.nbytes for p in policy.model.parameters())
    trained = sum(p.nbytes for p in policy.text_parameters())
    assert (footprint.weights, footprint.gradients, footprint.optimiser) == (weights, trained, 2 * trained)
    assert footprint.reference == 0
    assert footprint_of(policy, RgrpoSettings(kl_weight=0.1)).reference == weights
    add_lora(policy, 4, 8.0, 0)
    adapted = footprint_of(policy, RgrpoSettings(kl_weight=0.1, lora_rank=4))
    assert 0 < adapted.gradients < footprint.gradients / 4
    assert adapted.reference == 0


def test_what_was_measured_is_let_go(policy):
    """What autograd kept to be counted is freed with the policy: a leak would grow by a policy with every training."""
    learner = copy.deepcopy(policy)
    footprint_of(learner, RgrpoSettings(checkpointing=1))
    weights = [weakref.ref(p) for p in learner.model.parameters()]
    del learner
    gc.collect()
    assert not any(ref() is not None for ref in weights)


def test_passes_hold_what_fits(policy, samples):
    """As many groups as the room allows: all, some, and one where even that is too much."""
    found, _ = rolled(policy, samples[:4])
    footprint = footprint_of(policy, RgrpoSettings())
    length = max(packed_length(found[i : i + 4]) for i in range(0, 16, 4))
    most = max(sum(t.kinds.count(Kind.SAMPLED) for t in found[i : i + 4]) for i in range(0, 16, 4))
    one = footprint.of_pass(1, length, most)
    assert footprint.groups_that_fit(found, room(policy.device)) == 0
    assert footprint.groups_that_fit(found, (footprint.fixed + 2.5 * one) / 0.8) == 2
    assert footprint.groups_that_fit(found, 0.0) == 1
    assert footprint.groups_that_fit([], 0.0) == 0


def test_a_run_keeps_to_its_room(policy, monkeypatch, capsys):
    """Where not even one group fits the passes are of one, of which as few layers as it takes are computed again, at
    most all; the gradient is that of a run with room."""
    sizes, again, rows, found, plain, ordinary = [], [], [], [], inside.passes, inside.checkpointed
    monkeypatch.setattr(inside, "passes", lambda part, groups: sizes.append(groups) or plain(part, groups))
    monkeypatch.setattr(inside, "checkpointed", lambda policy, on: again.append(on) or ordinary(policy, on))
    settings = RgrpoSettings(steps=1, prompts=3, group=4, minibatches=1, max_new_tokens=40)

    def run_in(size):
        monkeypatch.setattr(outside, "room", lambda device: size)
        own, batches = copy.deepcopy(policy), world_batches("badges", 3, 0)
        train_rgrpo(own, batches, settings, rows.append, False, lambda step, own: found.append(own))

    run_in(1e12)
    layers = len(policy.text.layers)
    wanted = [footprint_of(policy, replace(settings, checkpointing=n)) for n in range(layers + 1)]
    run_in((wanted[0].fixed + sum(wanted[n].of_group(found[0]) for n in (layers - 2, layers - 1)) / 2) / SAFE)
    run_in(0.0)
    assert sizes[0] > 1 and sizes[1:] == [1, 1] and again == [0, layers - 1, layers] and layers > 2
    told = capsys.readouterr().out
    assert [f"from here on {n} of {layers} layers" in told for n in range(layers + 1)] == [0] * (layers - 1) + [1, 1]
    assert rows[0]["grad_norm"] > 0
    assert [row["grad_norm"] for row in rows] == pytest.approx([rows[0]["grad_norm"]] * 3, rel=1e-4)
    with pytest.raises(R3labError, match=f"checkpointing must be 0 to {layers}, the layers of the text, got 99"):
        replace(settings, checkpointing=99).check(policy)


def test_it_is_said_in_plain_words():
    """One line with the whole and its parts; parts of nothing are left out."""
    footprint = Footprint(2**30, 2**29, 2**30, 0, 1000.0, 40_000.0, 1.0, 10_000.0)
    line = footprint.told(RgrpoSettings(prompts=4, group=8, minibatches=2), prompt=400, completion=300)
    assert line.startswith("memory for 32 rollouts of 300 tokens after 400: about 2.")
    assert "weights 1.0 GiB, gradients 512 MiB" in line
    assert "reference" not in line
    assert (readable(1), readable(5 * 2**20), readable(3 * 2**30)) == ("1 MiB", "5 MiB", "3.0 GiB")


def test_storages_are_counted_once_and_weights_never(policy):
    """Two views of a storage are one; what the weights hold is not kept for the backward pass alone."""
    gc.collect()
    x = torch.ones(1000, requires_grad=True)
    with saved(policy) as found:
        y = x * 2
        (y[:10] * y[10:20]).sum()
    assert sum(found.values()) == y.nbytes
    weight = next(p for p in policy.model.parameters() if p.ndim == 2)
    with saved(policy) as found:
        (torch.ones(1, weight.shape[1], requires_grad=True) @ weight.T).sum()
    assert sum(found.values()) == weight.shape[1] * 4
