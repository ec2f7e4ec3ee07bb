"""Rules for when to look: numbers on groups made by hand, what holds for any group, the tokens that choose, a run."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

import r3lab
from r3lab.cli import call
from r3lab.core.errors import R3labError
from r3lab.core.geometry import Frame
from r3lab.course.tables import when_table
from r3lab.models.policy import Policy
from r3lab.recipes import stages
from r3lab.recipes import when as compared
from r3lab.recipes.settings import WhenSettings
from r3lab.rollout.loop import rollout
from r3lab.show.curves import panels_of
from r3lab.show.effects import draw_when
from r3lab.show.logs import log_of
from r3lab.train import credit as applied
from r3lab.train.credit import choices_of, decision_of, facts_of, judged, look_worth, paying
from r3lab.train.log import read_log
from r3lab.train.objective import advantages, policy_loss, token_credit
from r3lab.train.own_rewards import use_reward
from r3lab.train.presets import OBJECTIVES
from r3lab.train.rewards import right, score
from r3lab.train.rgrpo import train_rgrpo
from r3lab.train.settings import RgrpoSettings, UpdateSettings
from r3lab.train.update import Alone, update
from r3lab.train.when import DIRECT, FREE, LOOK, PRICED, RULES, Choices, Credit, Rule, get_rule, told, values_of
from r3lab.trajectory import ImageRef, Kind, Look, Trajectory, load, save
from r3lab.vlir.worlds import get_world, world_batches

HALF = (FREE,) * 4 + (DIRECT,) * 2 + (LOOK,) * 2


def of(right: str, looks: str, forced: tuple[str, ...] | None = None, **more) -> Choices:
    """One group: a digit a rollout."""
    numbers = ([[float(c) for c in right]], [[int(c) for c in looks]])
    return Choices(*numbers, None if forced is None else [forced], **more)


def given(rule: str, c: Choices, part: str) -> list[float]:
    """A part of what a rule gives to the first group."""
    return np.broadcast_to(getattr(get_rule(rule).credit(c), part), c.right.shape)[0].tolist()


E2 = float(np.exp(-2 * (5 / 6) ** 2))  # of one look of six, as at-grpo counts
E0 = float(np.exp(-2))  # of none
NUMBERS = [
    # rule, right, looks, forced, part, by hand
    ("none", "1011", "1100", None, "reward", [0, 0, 0, 0]),
    # both kinds right: only looks cost
    ("visionthink", "1011", "1100", None, "reward", [-0.1, 0, 0, 0]),
    # one of six right answers came without a look, under a fifth: luck
    ("visionthink", "1111110", "1111100", None, "reward", [-0.1] * 6 + [0]),
    # one of five is no luck
    ("visionthink", "111110", "111100", None, "reward", [-0.1] * 4 + [0, 0]),
    # three quarters looked: 1.2 + 0.5 - 0.75 for these, half as much off if wrong; 1.2 + 0.5 - 0.25 for the other
    ("autotool", "1011", "1110", None, "reward", [0.95, -0.475, 0.95, 1.45]),
    ("autotool", "1010", "1110", None, "reward", [0.95, -0.475, 0.95, 0.0]),
    # right ones took 2, 1 and 0 looks: e = 1/3, 1/2, 1, of mean 11/18 and variance 13/108
    ("hdpo", "1011", "2910", None, "advantage", [0.15 * (e / 18) / (13 / 108) ** 0.5 for e in (-5, 0, -2, 7)]),
    # right ones took 1, 0 and 0 looks: e = 1/2, 1, 1
    ("hdpo", "1011", "1100", None, "advantage", [-0.15 * 2 / 3**0.5, 0, 0.15 / 3**0.5, 0.15 / 3**0.5]),
    ("hdpo", "1000", "1100", None, "advantage", [0, 0, 0, 0]),
    ("hdpo", "1111", "1111", None, "advantage", [0, 0, 0, 0]),
    # looks: 2 of 2 right, direct: 1 of 2
    ("at-grpo", "1110", "1100", None, "reward", [0.3 * E2, 0.3 * E2, 0.3 * E0, 0.3 * E0]),
    ("at-grpo", "1111", "1111", None, "reward", [0, 0, 0, 0]),
    # direct is right as often: right ones are paid and charged, the wrong one not
    ("by-value", "1011", "1100", None, "advantage", [-0.5, 0, 0.5, 0.5]),
    ("by-value", "1110", "1100", None, "advantage", [0, 0, 0, 0]),
    ("by-value", "1111", "1100", None, "advantage", [-0.5, -0.5, 0.5, 0.5]),
    ("by-value", "0000", "1100", None, "advantage", [0, 0, 0, 0]),
    ("by-value", "1111", "1111", None, "advantage", [0, 0, 0, 0]),
    # small print: 4 looks all right, 4 without all wrong; V = (4 + 0.5) / 5 and 0.5 / 5
    ("value", "11000011", "11000011", HALF, "decision", [0.8] * 2 + [-0.8] * 2 + [0.0] * 4),
    # large print: all right: nothing between the values, the price alone
    ("value", "11111111", "11000011", HALF, "decision", [-0.5] * 2 + [0.5] * 2 + [0.0] * 4),
    # no free rollout looked, and looking would have helped: V(look) = (2 + 0.25) / 3, V(direct) = (0 + 0.25) / 7
    ("value", "00000011", "00000011", HALF, "decision", [-(0.75 - 0.25 / 7)] * 4 + [0.0] * 4),
    ("value", "00000000", "11000011", HALF, "decision", [0.0] * 8),
    ("value", "10101010", "11111111", HALF, "decision", [0.0] * 8),
]  # fmt: skip


@pytest.mark.parametrize("case", range(len(NUMBERS)))
def test_what_rules_give_by_hand(case):
    rule, right_, looks, forced, part, wanted = NUMBERS[case]
    assert given(rule, of(right_, looks, forced), part) == pytest.approx(wanted, abs=1e-5)


def test_a_look_gets_what_it_changed():
    """Of two looks the first misled and the second mended; no other part is touched."""
    worth = [[[-1.0, 1.0], [], [1.0], [0.0]]]
    found = get_rule("difference").credit(of("1011", "2011", worth=worth))
    assert list(found.looks) == worth and found.reward == found.advantage == found.decision == 0.0


def test_what_comes_after_the_choice_is_compared_with_the_same_choice():
    """Small print: those that looked and were wrong are below those that looked and were right; whoever answered at
    once is neither, and a forced rollout without a chance moves nobody. Large print: only the wrong one stands out."""
    value = get_rule("value").credit
    rewards = torch.tensor([[1.0, 0, 0, 0, 0, 0, 1, 1], [1.0, 1, 0, 1, 1, 1, 1, 1]], dtype=torch.float64)
    looks = np.array([[1, 1, 0, 0, 0, 0, 1, 1], [1, 1, 0, 0, 0, 0, 1, 1]])
    credit = value(Choices(rewards.numpy(), looks, [HALF, HALF]))
    found = credit.advantages(rewards, lambda r: r - r.mean(1, keepdim=True))
    assert found[0] == pytest.approx([0.25, -0.75, 0, 0, 0, 0, 0.25, 0.25])
    assert found[1] == pytest.approx([0, 0, -0.75, 0.25, 0.25, 0.25, 0, 0])
    hopeless = rewards.clone()
    hopeless[:, 4:6] = 0.0
    same = value(Choices(hopeless.numpy(), looks, [HALF, HALF])).advantages(
        hopeless, lambda r: r - r.mean(1, keepdim=True)
    )
    assert same[0, :4] == pytest.approx(found[0, :4]) and same[:, :2] == pytest.approx(found[:, :2])


@pytest.mark.parametrize("lucky", "01")
def test_who_disobeys_is_paid_nothing_and_counts_for_neither_kind(lucky):
    c = of(f"10{lucky}0{lucky}1", "102001", (FREE, FREE, DIRECT, DIRECT, LOOK, LOOK))
    assert c.obeyed.tolist() == [[True, True, False, True, False, True]]
    look, direct, both = values_of(c)
    assert look.item() == 1.0 and direct.item() == 0.0 and both.item(), "two of either kind, of the other four"
    towards, _, _ = values_of(c, prior=1.0)
    assert towards.item() == pytest.approx((2 + 0.5) / 3), "and so the group's mean"
    given_out = given("at-grpo", c, "reward")
    assert given_out[2] == given_out[4] == 0.0 != given_out[5]
    assert get_rule("value").credit(c).peers.tolist() == [[1, 0, 0, 0, 1, 1]], "compared with what it was told"


def test_forced_parts_of_a_group_have_a_baseline_of_their_own():
    """at-grpo: free rollouts are compared with free ones, however the forced ones fare."""
    for end in ([0.0, 0, 1, 1], [1.0, 1, 0, 0], [0.0, 1, 0, 1]):
        rewards = torch.tensor([[1.0, 1, 0, 0, *end]], dtype=torch.float64)
        peers = get_rule("at-grpo").credit(Choices(rewards.numpy(), np.zeros((1, 8), int), [HALF])).peers
        found = Credit(peers=peers).advantages(rewards, lambda r: r - r.mean(1, keepdim=True))[0]
        assert found[:4] == pytest.approx([0.5, 0.5, -0.5, -0.5])
        assert found[4:6].sum() == pytest.approx(0) == pytest.approx(found[6:].sum())


def groups(seed: int, count: int = 64, forced: bool = True) -> Choices:
    """Groups at random, the one-sided among them: nobody looked, all did, all right, all wrong."""
    rng = np.random.default_rng(seed)
    right_, looks = (
        (rng.random((count, 8)) < rng.choice([0, 0.3, 0.8, 1], (count, 1))).astype(float),
        rng.integers(0, 4, (count, 8)),
    )
    looks *= rng.random((count, 8)) < rng.choice([0, 0.5, 1], (count, 1))
    if not forced:
        return Choices(right_, looks)
    looks[:, 4:6], looks[:, 6:] = 0, np.maximum(looks[:, 6:], 1)
    return Choices(right_, looks, [HALF] * count, [[[0.0] * n for n in row] for row in looks.tolist()])


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.name)
@pytest.mark.parametrize("forced", [False, True])
def test_what_holds_for_any_group(rule: Rule, forced: bool):
    """Nothing is NaN; a group stands for itself (but for shares of the step, `autotool`); order within it is no matter;
    only decisions of free rollouts are credited; no input holds a label."""
    for seed in range(3):
        c = groups(seed, forced=forced)
        c = replace(c, worth=[[[1.0] * n for n in row] for row in c.looks.tolist()])
        found = rule.credit(c)
        parts = {
            name: np.broadcast_to(getattr(found, name), c.right.shape) for name in ("reward", "advantage", "decision")
        }
        rewards = torch.tensor(c.right + parts["reward"])
        parts["values"] = np.asarray(found.advantages(rewards, advantages))
        assert all(np.isfinite(part).all() for part in parts.values())
        assert not parts["decision"][~c.free].any()
        order = np.random.default_rng(seed).permutation(8)
        turned = Choices(
            c.right[:, order], c.looks[:, order], c.forced[:, order], [[row[i] for i in order] for row in c.worth]
        )
        again = rule.credit(turned)
        for name in ("reward", "advantage", "decision"):
            assert np.broadcast_to(getattr(again, name), c.right.shape) == pytest.approx(parts[name][:, order])
        if rule.name != "autotool":
            alone = rule.credit(Choices(c.right[5:6], c.looks[5:6], c.forced[5:6], c.worth[5:6]))
            for name in ("reward", "advantage", "decision"):
                assert np.broadcast_to(getattr(alone, name), (1, 8))[0] == pytest.approx(parts[name][5])
    assert not {"label", "needs_look"} & set(Choices.__dataclass_fields__)


def test_a_price_turns_no_right_rollouts_advantage_negative():
    """In `value` the price is on the decision alone, and the rest of a right rollout is never below that of a wrong one
    of its kind, nor below zero; by-value does turn some, which is what the rule above avoids."""
    turned = 0
    for seed in range(5):
        c = groups(seed)
        rewards = torch.tensor(c.right)
        values = np.asarray(get_rule("value").credit(c).advantages(rewards, advantages))
        assert (values[c.right == 1] >= -1e-9).all() and (values[c.right == 0] <= 1e-9).all()
        turned += int(
            (np.asarray(get_rule("by-value").credit(c).advantages(rewards, advantages))[c.right == 1] < -1e-9).sum()
        )
    assert turned


def test_a_group_that_varies_in_no_channel_gets_nothing_at_all():
    for c in (of("00000000", "11000011", HALF), of("11111111", "11111111", HALF)):
        credit = get_rule("value").credit(c)
        assert not np.any(credit.decision) and not np.any(credit.advantages(torch.tensor(c.right), advantages))


def test_what_a_log_says_of_a_step():
    """Two groups: looks are worth 1 in the first and nothing in the second; in a third nobody could compare."""
    c = Choices(
        [[1, 1, 0, 0, 0, 0, 1, 1], [1, 1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1, 1, 1]],
        [[1, 1, 0, 0, 0, 0, 1, 2], [1, 1, 0, 0, 0, 0, 1, 1], [1] * 8],
        [HALF] * 3,
    )
    assert told(c) == {
        "value_of_look": 0.5,
        "needless_by_value": 0.5,
        "looks/free": round(8 / 12, 5),
        "looks/direct": round(2 / 6, 5),
        "looks/look": round(7 / 6, 5),
    }
    assert told(of("11", "11")) == {"value_of_look": None, "needless_by_value": None, "looks/free": 1.0}


def test_names_and_shares():
    assert get_rule("value").forced(8) == HALF and get_rule("hdpo").forced(8) == ("",)
    assert [get_rule("value").forced(g).count(FREE) for g in (4, 5, 6, 12)] == [2, 3, 2, 6]
    with pytest.raises(R3labError, match="forces 2 of a group and leaves 2 free; group is 3"):
        get_rule("value").forced(3)
    with pytest.raises(R3labError, match="unknown when 'vlaue'.*Did you mean 'value'"):
        RgrpoSettings(when="vlaue").rule()
    with pytest.raises(R3labError, match="must be \\(N, G\\)"):
        Choices([1.0, 0.0], [1, 0])
    assert RgrpoSettings().when == "label" == next(iter(RULES))


# -- on rollouts -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rolled(taught_folder, samples) -> tuple[Policy, list[list[Trajectory]], dict]:
    """Groups of eight, half of them forced, and the store of their features."""
    policy, store = Policy.load(taught_folder), {}
    found = rollout(policy, samples[:4], 8, seed=3, max_new_tokens=60, features=store, forced=HALF)
    return policy, [found[i : i + 8] for i in range(0, len(found), 8)], store


def written(text: str, forced: str = FREE) -> Trajectory:
    """A record of one letter a token behind a prompt of two: "[" opens a box, "<" an answer, capitals forced it."""
    opened = [i + 2 for i, c in enumerate(text) if c == "["]
    kinds = [int(Kind.PROMPT)] * 2 + [int(Kind.ENVIRONMENT if c.isupper() else Kind.SAMPLED) for c in text]
    looks = [Look((i, i + 2), (9.0, 9.0, 1.0, 1.0), None, False, "empty") for i in opened]
    pieces = ["", ""] + [{"<": "<answer>"}.get(c, c) for c in text]
    ids, image = [1, 2, *map(ord, text)], ImageRef("0" * 64, 8, 8)
    return Trajectory("s", "?", image, (8, 8), Frame.RELATIVE, ids, kinds, pieces, looks=looks, forced=forced)


@pytest.mark.parametrize(
    ("texts", "wanted"),
    [
        # "small[": the two part at the second letter; who looked chose from there to the box
        (["is[]r<7", "il<7"], ["s[", "l"]),
        # from the nearest of the others; a box is chosen where it opens, and not taken by the next letter there
        (["isx[]r<7", "il<7", "isxr<7"], ["[", "l", "r"]),
        # who answered at once chose with the token that opens the answer
        (["[]r<7", "<7"], ["[", "<"]),
        # nobody did otherwise: all that was written up to the box, or to the answer; of a rollout cut off, all
        (["is[]r[]<7", "ix[]<7"], ["is[", "ix["]),
        (["ilr<7", "ilrs", "<7"], ["ilr<", "ilrs", "<"]),
        # what forced a rollout is not its own, and forced ones are nobody's measure
        (["is[]<7", "Bil<7"], ["is[", None]),
        (["ilr<7", "Bs[]<7"], ["ilr<", None]),
    ],
)
def test_the_decision_is_where_those_that_looked_part_from_those_that_did_not(texts, wanted):
    group = [written(text, DIRECT if text[0].isupper() else FREE) for text in texts]
    for t, choice in zip(group, wanted, strict=True):
        begin, end = decision_of(t, group)
        assert choice is None or "".join(map(chr, t.ids[begin:end])) == choice


def test_of_real_rollouts_it_is_sampled_and_ends_with_the_box_or_the_answer(rolled):
    for t, group in [(t, own) for own in rolled[1] for t in own if not t.forced]:
        begin, end = decision_of(t, group)
        assert begin < end and set(t.kinds[begin:end]) == {int(Kind.SAMPLED)}
        assert end == t.looks[0].span[0] + 1 if t.looks else end <= len(t.ids)


def test_credit_of_tokens_is_added_to_their_advantage_and_to_no_others(rolled):
    """The loss with credit is that of advantages token by token; what forced a rollout has no loss; the record of a
    trajectory keeps its credit, and older ones without it are read."""
    policy, groups_, store = rolled
    found = [copy.copy(t) for t in groups_[0][:3]]
    for t, a in zip(found, (0.5, 0.0, -1.0), strict=True):
        t.advantage, t.credit = a, []
    assert token_credit(found) is None
    at = [i for i, kind in enumerate(found[0].kinds) if kind == Kind.SAMPLED]
    found[0].credit = [(at[1], at[3], 2.0), (at[2], at[2] + 1, 0.25)]
    extra = token_credit(found)
    assert extra[0, :4].tolist() == [0.0, 2.0, 2.25, 0.0] and not extra[1:].any() and not extra[0, 4:].any()
    new, old = torch.randn(3, extra.shape[1]) * 0.1, torch.zeros(3, extra.shape[1])
    mask, a = torch.ones(extra.shape, dtype=torch.bool), torch.tensor([t.advantage for t in found])
    for objective in OBJECTIVES.values():
        loss, _ = policy_loss(new, old, a, mask, objective, credit=extra)
        parts = [policy_loss(new, old, torch.zeros(3), mask, objective, credit=a[:, None] + extra)[0]]
        assert loss == pytest.approx(float(parts[0]), abs=1e-6)
        assert loss != policy_loss(new, old, a, mask, objective)[0]


def test_an_update_moves_by_the_credit_of_tokens_alone(rolled):
    """Rollouts without an advantage but with credit are not left out; a loss that takes no credit is refused."""
    policy, groups_, store = rolled
    t = next(t for group in groups_ for t in group if t.forced)
    words = next(i for i, kind in enumerate(t.kinds) if kind == Kind.ENVIRONMENT)
    first = t.kinds.index(Kind.SAMPLED)
    assert words < first
    for span, moves in (((words, first, 1.0), False), ((first, first + 1, 1.0), True)):
        learner = copy.deepcopy(policy)
        before = [p.detach().clone() for p in learner.text_parameters()]
        one = copy.copy(t)
        one.advantage, one.credit = 0.0, [span]
        update(learner, [one], store, torch.optim.SGD(learner.text_parameters(), lr=0.1), UpdateSettings())
        still = all(torch.equal(a, b) for a, b in zip(before, learner.text_parameters(), strict=True))
        assert still != moves, "words of the environment carry no loss"
    optimiser = torch.optim.SGD(policy.text_parameters(), lr=0.1)
    with pytest.raises(R3labError, match="takes `credit`"):
        update(policy, [one], store, optimiser, UpdateSettings(), loss=lambda new, old, a, mask: new.sum())


def test_records_keep_their_credit(rolled, tmp_path):
    t = copy.copy(rolled[1][0][0])
    t.credit = [(t.prompt_length, t.prompt_length + 2, -0.5)]
    again = load(save(t, tmp_path))
    assert again == t and again.credit == t.credit and not t.until(9).credit
    path = tmp_path / "trajectory.json"
    path.write_text(path.read_text().replace(f'"credit": [[{t.prompt_length}, {t.prompt_length + 2}, -0.5]], ', ""))
    assert load(path).credit == []


def test_what_a_look_changed_is_measured_by_answering_without_it(rolled, monkeypatch):
    """One forced answer a group; of a rollout with two looks, one more, from behind the first; the last is its own."""
    policy, groups_, store = rolled
    group = [*next(g for g in groups_ if any(t.looks for t in g)), twice := written("a[]b[]r<1")]
    twice.truth = {"answer": "1"}
    asked = []

    def answered(policy, begun, **how):
        asked.extend((len(t.looks), t.forced, t.kinds[-1], how.get("max_looks")) for t in begun)
        return [replace(t, answer=t.truth["answer"], finish="answered") for t in begun]

    monkeypatch.setattr(applied, "resume", answered)
    worth = look_worth(policy, group, store, 60)
    assert asked[0][:2] == (0, "direct") and all(0 < k == n for n, _, _, k in asked[1:]) and len(asked) > 1
    for t, found in zip(group, worth, strict=True):
        assert len(found) == len(t.looks)
        assert not found or found == [0.0] * (len(found) - 1) + [float(right(t)) - 1.0]


@pytest.mark.parametrize("rule", ["value", "at-grpo"])
@pytest.mark.parametrize(
    ("forced", "text", "paid"),
    [(FREE, "ab<c", 1), (FREE, "a[b<c", 1), (DIRECT, "<c", 1), (LOOK, "[b<c", 1), (DIRECT, "[b<c", 0), (LOOK, "<c", 0)],
)
def test_a_rule_pays_what_did_as_it_was_told(rule: str, forced: str, text: str, paid: int):
    def named(t: Trajectory) -> dict[str, float]:
        return {"accuracy": 1.0, "format": 0.5, PRICED: -0.2}

    t = written(text, forced)
    assert t.forced == forced and bool(t.looks) == ("[" in text)
    assert paying(named, get_rule(rule))(t) == {"accuracy": 1.0 * paid, "format": 0.5 * paid}
    assert paying(lambda _: 1.0, get_rule(rule))(t) == paid
    assert paying(named, get_rule("label"))(t) == named(t), "it forces nothing, and its price is a part of the reward"


def test_what_a_rule_may_know_of_a_rollout_is_no_label(rolled):
    """Labels flipped, every rule that reads none gives the same; the price by label is paid by `label` alone."""
    policy, groups_, store = rolled
    numbered = dict(enumerate(groups_))
    for rule in RULES.values():
        if rule.branches:
            continue
        reward = paying(lambda t: score(t, "grounded without region"), rule)
        found = []
        for flip in (False, True):
            for t in (t for g in groups_ for t in g):
                t.truth["needs_look"] = t.truth["needs_look"] != flip
            credit, row = judged(rule, numbered, policy, store, 60)
            decisions = np.broadcast_to(credit.decision, (4, 8)).tolist()
            found.append(
                (decisions, row, [t.credit for g in groups_ for t in g], [reward(t) for g in groups_ for t in g])
            )
        for t in (t for g in groups_ for t in g):  # as they were
            t.truth["needs_look"] = not t.truth["needs_look"]
        assert (found[0] == found[1]) == (rule.name != "label")
        assert ("look cost" in found[0][3][0]) == (rule.name == "label")
    assert paying(lambda t: 3, get_rule("none"))(written("abc")) == 3, "a reward without parts is as it is"


def test_several_processes_give_what_one_does(rolled):
    """Each has some of the groups and hears of the others as JSON; shares of the step (`autotool`) are those of all."""
    policy, groups_, store = rolled
    numbered = dict(enumerate(groups_))
    for rule in (get_rule(name) for name in RULES if not get_rule(name).branches):
        whole, row = judged(rule, numbered, policy, store, 60)
        credits = [t.credit for g in groups_ for t in g]
        rest = [(n, [facts_of(t) for t in numbered[n]], []) for n in (0, 2)]

        class Second(Alone):
            def gather(self, value, rest=rest):
                return json.loads(json.dumps([rest, value]))

        found, same = judged(rule, {n: numbered[n] for n in (1, 3)}, policy, store, 60, Second())
        assert same == row and [t.credit for g in groups_ for t in g] == credits
        for name in ("reward", "advantage", "decision"):
            assert np.array_equal(getattr(found, name), getattr(whole, name))


# -- in training ------------------------------------------------------------------------------------------------------


def trained(folder, **settings) -> tuple[list[dict], list[list[Trajectory]], torch.Tensor]:
    """Log, rollouts and weights of two steps."""
    policy, rows, seen = Policy.load(folder), [], []
    given = RgrpoSettings(**{"steps": 2, "prompts": 2, "group": 8, "max_new_tokens": 60, **settings})
    batches = world_batches("badges", given.prompts, given.seed)
    train_rgrpo(policy, batches, given, rows.append, False, lambda step, found: seen.append(found))
    return rows, seen, policy.model.lm_head.weight.detach().clone()


def test_value_trains_with_half_of_each_group_forced(taught_folder):
    """Forced rollouts occur, their words have no loss, choices of free ones have credit, the log says what looks were
    worth, and its other columns are of who was free."""
    rows, seen, weights = trained(taught_folder, when="value", reward="grounded without region")
    credited = 0
    for row, found in zip(rows, seen, strict=True):
        assert [t.forced for t in found] == list(HALF) * 2
        choices = choices_of([[facts_of(t) for t in found[i : i + 8]] for i in (0, 8)])
        assert {key: row[key] for key in told(choices)} == told(choices)
        free = [t for t in found if not t.forced]
        assert row["exact"] == pytest.approx(sum(map(right, free)) / len(free), abs=1e-4)
        look, direct, both = values_of(choices, 1.0)
        for n, t in enumerate(found):
            assert "look cost" not in t.rewards and not (t.forced and t.credit)
            words = [k for k in t.kinds if k == Kind.ENVIRONMENT]
            assert not t.forced or words
            for begin, end, a in t.credit:
                credited += 1
                assert set(t.kinds[begin:end]) == {int(Kind.SAMPLED)} and abs(a) <= 1.5
                assert both[n // 8]
    assert credited
    drawn = [panel.title for panel in panels_of([log_of(rows)])]
    assert {"Value of a look, in right answers", "Looks a rollout, forced to: direct"} <= set(drawn)
    assert not torch.equal(weights, trained(taught_folder, when="none", reward="grounded without region")[2])


@pytest.mark.parametrize("rule", [name for name in RULES if name not in ("label", "value", "none")])
def test_every_rule_trains(rule, taught_folder):
    rows, seen, _ = trained(taught_folder, when=rule, steps=1, prompts=2, group=4)
    assert len(rows) == 1 and "looks/free" in rows[0] and np.isfinite(rows[0].get("grad_norm", 0.0))
    assert {t.forced for t in seen[0]} == ({FREE, DIRECT, LOOK} if rule == "at-grpo" else {FREE})


def test_the_front_door_takes_the_rule(policy):
    """By its setting; a forced group and a credit reach whoever watches."""
    seen: list[Trajectory] = []
    named = {"steps": 1, "prompts": 1, "group": 4, "max_new_tokens": 40, "when": "value"}
    r3lab.train(policy, "badges", progress=False, watch=lambda step, found: seen.extend(found), **named)
    assert [t.forced for t in seen] == [FREE, FREE, DIRECT, LOOK]
    with pytest.raises(R3labError, match="known rules: label, none"):
        r3lab.train(policy, "badges", when="valuable")


def test_label_is_what_was_before(taught_folder):
    """Rewards with their price, advantages of them, no credit, no new column: bit for bit without the rule's part."""
    rows, seen, weights = trained(taught_folder, group=4)
    for found in seen:
        parts = [score(t, "grounded") for t in found]
        assert [t.rewards for t in found] == parts and not any(t.credit or t.forced for t in found)
        rewards = torch.tensor([sum(p.values()) for p in parts], dtype=torch.float64).view(2, 4)
        assert [t.advantage for t in found] == advantages(rewards).flatten().tolist()
    assert not {"value_of_look", "looks/free"} & set(rows[0])
    assert torch.equal(weights, trained(taught_folder, group=4)[2])
    with pytest.raises(R3labError, match="group is 3"):
        trained(taught_folder, when="value", group=3)


# -- the comparison ---------------------------------------------------------------------------------------------------

SMALL = {"steps": 1, "prompts": 2, "group": 4, "new_tokens": 48, "samples": 2, "rollouts": 2, "seeds": 1}


def test_all_ways_make_as_many_updates_and_rollouts():
    """Every rule has a way; what is not under comparison is the same for all of them."""
    s = WhenSettings()
    assert set(RULES) < set(compared.WAYS)
    for way in compared.WAYS.values():
        settings = compared.settings_of(way, 3, s)
        assert settings.prompts * settings.group == 96 and settings.steps == 100 and settings.seed == 3
        assert settings.rule() and use_reward(settings.reward)
    plain = [compared.settings_of(compared.WAYS[name], 0, s) for name in RULES]
    assert {replace(one, when="label") for one in plain} == {replace(plain[0], when="label")}
    with pytest.raises(R3labError, match="unknown way 'valu'.*Did you mean 'value'"):
        compared.get_way("valu")


def test_the_best_of_a_group_alone_is_supervised():
    """One rollout of a group that has a right answer; none of one that has not. Its loss is that of a lesson."""
    rewards = torch.tensor([[0.5, 1.5, 1.5, 0.0], [0.5, 0.0, 0.5, 0.5]], dtype=torch.float64)
    found = compared.best_of_group(rewards)
    assert found.tolist() == [[0, 1, 0, 0], [0, 0, 0, 0]]
    new, old, mask = -torch.rand(4, 3), -torch.rand(4, 3), torch.ones(4, 3, dtype=torch.bool)
    mask[1, 2] = False
    loss, _ = compared._supervised(new, old, found[0].float(), mask, rows=1)
    assert loss == pytest.approx(-float(new[1, :2].mean()))


def test_lessons_are_those_of_a_teacher_that_errs_as_it_is_said():
    [exact] = islice(compared.lessons("badges", compared.EXACT, 0, 40), 1)
    [modest] = islice(compared.lessons("badges", compared.MODEST, 0, 40), 1)
    for (sample, right_), (same, other) in zip(exact, modest, strict=True):
        assert sample.id == same.id and sample.id.startswith("badges-train-")
        assert len(right_.boxes) == sample.needs_look and other.parts[-1].endswith(f"<answer>{sample.answer}</answer>")
    assert sum(len(r.boxes) for _, r in modest) < sum(len(r.boxes) for _, r in exact)
    assert any(r.boxes and not s.needs_look for s, r in modest)


def test_the_pull_of_a_rule_is_what_free_rollouts_that_looked_get_more():
    """By hand, from advantages and the credit of tokens; forced ones do not count, a group of one kind says nothing."""
    group = [written("a[]b<1"), written("ab<1"), written("ab<2"), written("Ba[]<1", LOOK)]
    group[0].credit, group[1].credit = [(3, 4, 0.5), (4, 6, 0.25)], [(3, 4, -1.0)]
    values = np.array([[0.25, 0.5, -0.5, 9.0]] * 2)
    found = compared.pull(values, get_rule("value"), [group, [group[1]] * 3 + [group[3]]])
    assert found[0] == pytest.approx(1.0 - -0.5) and np.isnan(found[1])


@pytest.fixture(scope="module")
def comparison(taught_folder, tmp_path_factory) -> tuple[Path, list[str]]:
    """A work folder with three points of the taught policy, and the command that made it."""
    at = tmp_path_factory.mktemp("when")
    ways = "value,best of the group,exact teacher"
    command = [
        "--model",
        str(taught_folder),
        "--work",
        str(at / "work"),
        "--out",
        str(at / "when.json"),
        "--only",
        ways,
    ]
    command += [word for key, value in SMALL.items() for word in (f"--{key.replace('_', '-')}", str(value))]
    assert call("train when", command) == 0
    return at, command


def test_points_are_made_once_on_the_validation_split(comparison, monkeypatch):
    at, command = comparison
    result = json.loads((at / "when.json").read_text())
    rows = result["rows"]
    assert [row["way"] for row in rows] == ["cold start", "value", "best of the group", "exact teacher"]
    assert {row["split"] for row in rows} == {"validation"} and {row["n"] for row in rows} == {2}
    assert all(0 <= row["value"]["all"]["right_direct"]["value"] <= 1 for row in rows)
    assert [c["way"] for c in result["curves"]] == ["value", "best of the group"]
    assert [c["rule"] for c in result["credit"]] == list(RULES) and result["recipe"]["group"] == 4
    log = read_log(at / "work" / "value-0.jsonl")
    assert len(log) == 1 and "looks/direct" in log[0]
    assert len(read_log(at / "work" / "exact-teacher-0.jsonl")) == 2, "as many updates"
    picture = draw_when(rows, result["curves"])
    assert "value: right" in picture.alt and "cold start: right" in picture.alt and "validation" in picture.alt
    table = when_table(result)
    [line] = [one for one in result["intervals"] if one["way"] == "value"]
    assert line["right"]["value"] == pytest.approx(rows[1]["exact"]) and "each" not in rows[1]
    assert table.count("\n| ") == 5 and "| value | " in table and "validation split (badges)" in table
    monkeypatch.setattr(stages, "train_rgrpo", None)
    monkeypatch.setattr(stages, "cold_start", None)
    assert call("train when", command) == 0 and json.loads((at / "when.json").read_text())["rows"] == rows
    with pytest.raises(R3labError, match="made with steps 1, not 2"):
        call("train when", [*command, "--steps", "2"])


def test_the_test_split_is_read_of_finished_points_once(comparison, monkeypatch):
    """With samples that nothing else draws; what is not trained is not trained for it; again, nothing is measured."""
    at, command = comparison
    with pytest.raises(R3labError, match="not trained yet; give the command without --final first"):
        call("train when", [*command, "--final", "--seeds", "2"])
    asked: list[str] = []
    whole = stages.measured

    def noted(policy, samples, **how):
        asked.extend(sample.id for sample in samples)
        return whole(policy, samples, **how)

    monkeypatch.setattr(stages, "measured", noted)
    for count in (4, 0):
        asked.clear()
        final = [*command, "--final", "--out", str(at / "final.json")]
        assert call("train when", final) == 0 and len(asked) == 2 * count
        assert all(name.startswith("badges-test-20261-") for name in asked)
        assert {row["split"] for row in json.loads((at / "final.json").read_text())["rows"]} == {"test"}
    train = [get_world("badges").sample("train", 0)]
    monkeypatch.setattr(compared, "drawn", lambda worlds, split, seed, numbers: train)
    with pytest.raises(R3labError, match="badges-train-0-0' is of the split 'train', not of 'test'"):
        compared.asked(WhenSettings(), "test")


def test_what_cannot_be_compared_is_said_before_anything_is_made(tmp_path):
    for message, given_ in {
        "no cold start at": ["--model", str(tmp_path / "nothing")],
        "unknown way 'vlaue'": ["--only", "vlaue"],
        "group is 3": ["--group", "3"],
    }.items():
        with pytest.raises(R3labError, match=message):
            call("train when", [*given_, "--work", str(tmp_path / "work")])
    assert not (tmp_path / "work").exists()
