"""The value of a look: its arithmetic on records worked by hand, what it estimates, and the command."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from seen import Scripted

from r3lab.cli import main
from r3lab.core.arms import FORCED
from r3lab.core.errors import R3labError
from r3lab.evaluate import value
from r3lab.evaluate.run import VALUE, table_of
from r3lab.evaluate.value import disobeyed, misread, noise_like, regrets, rolled, summary, units_of, value_of_looks
from r3lab.models import tiny
from r3lab.models.policy import Policy, save_policy
from r3lab.recipes.lessons import vocabulary
from r3lab.rollout.loop import rollout
from r3lab.show.browser_rows import read_rows
from r3lab.trajectory import Trajectory
from r3lab.vlir.worlds import get_world


def entry(name: str, small: bool | None, **sorts: str) -> dict[str, Any]:
    """A sample by hand: of each sort five answers, the first greedy, as two letters each.

    ``R`` right, ``W`` wrong, ``-`` none; then ``l`` with a look, ``n`` without.
    """
    told = {}
    for sort in ("free", "direct", "look", "noise"):
        answers = sorts[sort].split()
        told[sort] = {
            "score": [float(a[0] == "R") for a in answers],
            "looked": [a[1] == "l" for a in answers],
            "answered": [a[0] != "-" for a in answers],
            "misread": [{"!": True, "=": False}.get(a[2:]) for a in answers],
        }
    return {"id": name, "needs_look": small, "rollouts": told}


NEVER, ALWAYS = "Wn Wn Wn Wn Wn", "Rl Rl Rl Rl Rl"
BY_HAND = [
    # a look solves it, and none is taken
    entry("a", True, free="-n Wn -n Wn Wn", direct="Wn -n -n Wn Wn", look=ALWAYS, noise="Wl Wl Wl Wl Wl"),
    # as right without, and one is always taken
    entry("b", False, free="Rl= Rl! Rl= Rl Rl", direct="Rn Rn Rn Rn Rn", look=ALWAYS, noise=ALWAYS),
    # a look harms, and half of the sampled ones take one
    entry("c", False, free="Wl! Wl! Rn Rn= Wl", direct="Rn Rn Rn Rn Rn", look="Wl Wl Wl Wl -l", noise="Wl Wl Wl Wl Wl"),
    # a look solves it and is taken; one answer of four that sees noise is right
    entry("d", True, free=ALWAYS, direct=NEVER, look=ALWAYS, noise="Wl Rl Wl Wl Wl"),
]
SAMPLED = {
    "all": {
        "right_free": (0 + 1 + 0.5 + 1) / 4,
        "right_direct": 0.5,
        "right_look": 0.75,
        "right_noise": (0 + 1 + 0 + 0.25) / 4,
        "answered_free": (0.75 + 3) / 4,
        "answered_direct": (0.5 + 3) / 4,
        "answered_look": (0.75 + 3) / 4,
        "looked_free": (0 + 1 + 0.5 + 1) / 4,
        "looked_direct": 0,
        "looked_look": 1,
        "needless": (1 + 0.5) / 2,  # of b and c
        "missed": (1 + 0) / 2,  # of a and d
        "regret": (1 + 0 + 0.5 + 0) / 4,
        "regret_most": (1 + 0 + 0.5 + 0) / 4,
        "only_with_looks": 0.5,
        "harmed": 0.25,
        "gain": (1 + 0 - 1 + 1) / 4,
        "gain_of_noise": (0 + 0 - 1 + 0.25) / 4,
        "kept_by_noise": None,  # the gain is not surely above 0
        "misread": (1 / 2 + 1 / 2) / 2,  # b: one of the two that say; c: one of two
    },
    "small print": {"needless": None, "missed": 0.5, "regret": 0.5, "gain": 1, "kept_by_noise": 0.125, "misread": None},
    "large print": {"needless": 0.75, "missed": None, "regret": 0.25, "harmed": 0.5, "only_with_looks": 0},
}
GREEDY = {
    "all": {"right_free": 0.5, "needless": 1, "missed": 0.5, "regret": (1 + 0 + 1 + 0) / 4, "answered_direct": 1},
    "small print": {"kept_by_noise": 0, "only_with_looks": 1, "harmed": 0, "looked_free": 0.5},
    "large print": {"needless": 1, "regret": 0.5, "misread": 0.5, "harmed": 0.5},
}


@pytest.mark.parametrize(("mode", "wanted"), [("sampled", SAMPLED), ("greedy", GREEDY)])
def test_the_measures_worked_by_hand(mode, wanted):
    found = summary(BY_HAND)
    assert (found["n"], found["k"], found["price"]) == (4, 4, 0.05)
    for part, measures in wanted.items():
        own = found[part][mode]
        for name, number in measures.items():
            told = own[name] and own[name]["value"]
            assert told == (None if number is None else pytest.approx(number)), (part, name)
            assert own[name] is None or own[name]["low"] <= own[name]["value"] + 1e-9 <= own[name]["high"] + 1e-6
    assert found["all"]["sampled"]["needless"]["n"] == found["small print"]["greedy"]["regret"]["n"] == 2
    assert {name: v for name, v in units_of(BY_HAND, mode)["harmed"].items() if v} == {"c": 1}
    assert "regret_most" in found["all"]["sampled"] and "regret_most" not in found["all"]["greedy"]


def test_a_look_is_missed_above_its_price_alone():
    """Right in all four with one and in three without: a difference of 0.25."""
    one = entry("e", None, free="Rn Rn Rn Rn Rn", direct="Rn Rn Rn Rn Wn", look=ALWAYS, noise=ALWAYS)
    assert units_of([one], price=0.2)["missed"] == {"e": 1} and units_of([one], price=0.25)["missed"] == {}
    assert units_of([one])["needless"] == {} and units_of([]) == {}
    with pytest.raises(R3labError, match="a sample is valued twice: 'e'"):
        units_of([one, one])


def test_a_policy_that_does_not_obey_is_told_of():
    """Forced to look it looks in three of four, and forced directly it answers in half of the sampled ones."""
    defiant = entry("e", True, free=ALWAYS, direct="Rn -n Rn -n Rn", look="Rl Rl Rn Rl Rl", noise=ALWAYS)
    assert disobeyed(summary([defiant])) == "answers when forced directly in 50.0 %, looks when forced to in 75.0 %"
    looking = entry("e", True, free=ALWAYS, direct="Rl Rl Rn Rn Rn", look=ALWAYS, noise=ALWAYS)
    assert disobeyed(summary([looking])) == "takes no look when forced directly in 75.0 %"
    assert disobeyed(summary([BY_HAND[3]])) == disobeyed(summary([])) == ""
    source = SimpleNamespace(name="badges", title="badges", measures=lambda e: [], remarks=(), reader=None, left_out=0)
    table = table_of(
        [source],
        ["direct"],
        {("badges", "direct"): [], ("badges", VALUE): [defiant, {**defiant, "id": "f", "rollouts": None}]},
    )
    assert table.values["badges"]["n"] == 1 and "It answers when forced directly in 50.0 %" in table.remarks[-1]


def by_name(look: list[float], direct: list[float], share: float) -> float:
    """The regret of a sample as the docstring has it, in loops."""
    k, total = len(look), 0.0
    for i in range(k):
        for j in range(k):
            with_look = sum(look[:i] + look[i + 1 :]) / (k - 1)
            without = sum(direct[:j] + direct[j + 1 :]) / (k - 1)
            best = 1.0 if with_look > without else 0.0 if with_look < without else 0.5
            worth = best * look[i] + (1 - best) * direct[j]
            total += worth - share * look[i] - (1 - share) * direct[j]
    return total / k**2


def test_regret_holds_each_pair_against_all_others():
    """As loops say, whatever the order of the rollouts."""
    rng = np.random.default_rng(0)
    look, direct, share = rng.integers(0, 2, (40, 3)) / 1.0, rng.integers(0, 2, (40, 3)) / 1.0, rng.random(40)
    want = [by_name(list(a), list(b), float(s)) for a, b, s in zip(look, direct, share, strict=True)]
    assert regrets(look, direct, share) == pytest.approx(want)
    mixed = entry("m", None, free="Rl Rl Wn Wn Wn", direct="Rn Wn Rn Rn Wn", look="Wl Rl Rl Wl Rl", noise=NEVER)
    own = units_of([mixed])
    assert own["regret"] == {"m": pytest.approx(by_name([1, 1, 0, 1], [0, 1, 1, 0], 0.25))}
    assert own["regret_most"] == {"m": pytest.approx(0.75 - 0.25 * 0.75 - 0.75 * 0.5)} != own["regret"]
    assert regrets(look[:, ::-1], direct[:, [1, 2, 0]], share) == pytest.approx(want)


@pytest.mark.parametrize(
    ("of_look", "of_direct", "shares", "bias", "of_most"),
    [
        (0.5, 0.5, (0.0, 1.0, 0.3), 0.0, 0.137),  # alike: no regret, where the larger of two means makes some
        (0.95, 0.05, (0.0, 1.0, 0.5), 0.0, 0.0),  # far apart
        (0.7, 0.5, (0.0, 1.0, 0.5), None, 0.05),  # in between a little too small, the same for all choices
    ],
)
def test_what_noise_does_to_regret(of_look, of_direct, shares, bias, of_most):
    """Against the truth: where it is without bias, and differences of policies; how much too large the other is."""
    rng, n = np.random.default_rng(1), 60_000
    look, direct = (rng.random((n, 4)) < p for p in (of_look, of_direct))
    found = np.array([regrets(look * 1.0, direct * 1.0, np.full(n, s)).mean() for s in shares])
    truth = np.array([max(of_look, of_direct) - s * of_look - (1 - s) * of_direct for s in shares])
    assert found - found[0] == pytest.approx(truth - truth[0], abs=0.01)
    assert (found - truth == pytest.approx(bias, abs=0.01)) if bias is not None else np.all(found < truth + 0.005)
    same = entry("e", None, free=NEVER, direct=NEVER, look=NEVER, noise=NEVER)["rollouts"]  # never looks
    entries = [
        {"id": str(i), "rollouts": same | {"look": {**same["look"], "score": [0, *look[i]]}}} for i in range(4000)
    ]
    for i, e in enumerate(entries):
        e["rollouts"]["direct"] = {**same["direct"], "score": [0, *direct[i]]}
    most = np.mean(list(units_of(entries)["regret_most"].values()))
    assert most == pytest.approx(truth[0] + of_most, abs=0.02)


@pytest.mark.parametrize(
    ("text", "differs"),
    [
        ("<think>It shows 7.</think><answer>7</answer>", False),
        ("<think>It shows 7.</think><answer>2</answer>", True),
        ("<think>It shows 1.6. It is large. It shows 1.5. 1.6 - 1.5 = 0.1.</think><answer>0.1</answer>", False),
        ("<think>It shows 26.08.</think><answer>26.08</answer>", False),
        ("<think>It shows jul 18.</think><answer> Jul  18 </answer>", False),
        ("<think>It shows 3. It shows 4.</think><answer>3</answer>", True),  # the last counts
        ("<think>It says yellow square.</think><answer>3</answer>", None),
        ("<answer>3</answer> It shows 4.", None),  # what comes after it decided nothing
        ("<think>It shows 4.", None),
    ],
)
def test_what_was_read_and_what_is_answered(text, differs, samples):
    [t] = script(lambda *_: text)(blank(), samples[:1], numbers=[0], forced="", temperature=0.0)
    assert misread(t) is differs


def test_noise_has_a_crops_statistics():
    """In each channel; the same for the same crop, another for another."""
    rng = np.random.default_rng(0)
    crop = Image.fromarray(rng.normal((90, 120, 160), (5, 20, 30), (56, 84, 3)).clip(0, 255).astype(np.uint8))
    noise = noise_like(crop)
    own, other = np.asarray(crop, float), np.asarray(noise, float)
    assert noise.size == crop.size and noise.mode == "RGB" and np.array_equal(other, np.asarray(noise_like(crop)))
    assert other.mean((0, 1)) == pytest.approx(own.mean((0, 1)), abs=2)
    assert other.std((0, 1)) == pytest.approx(own.std((0, 1)), rel=0.06)
    assert abs(np.corrcoef(own.ravel() - own.mean(), other.ravel())[0, 1]) < 0.8  # channels differ, pixels do not agree
    assert abs(np.corrcoef(own[..., 0].ravel(), other[..., 0].ravel())[0, 1]) < 0.1
    assert not np.array_equal(other, np.asarray(noise_like(crop.rotate(180))))


# ------------------------------------------------------------------ rollouts

BOX = '{"bbox_2d": [100, 100, 500, 500]}'


def blank() -> Policy:
    """A policy of random weights."""
    return tiny.create(vocabulary(), seed=0)


def script(says: Callable[[str, str, bool, int], str], calls: list[dict[str, Any]] | None = None) -> Callable[..., Any]:
    """Stands where `rollout` does: each member is rolled out by the loop and writes what is said for the sample, what
    it is forced into, whether its crops are noise, and its number in its sort (0: greedy)."""

    def answer(
        policy: Policy, items: Any, group: int = 1, *, numbers: Any, forced: Any, **how: Any
    ) -> list[Trajectory]:
        scripted, found = Scripted(policy.model, policy.tokenizer, policy.processor), []
        names = [forced] * group if isinstance(forced, str) else list(forced)
        if calls is not None:
            calls.append({"ids": [item.id for item in items], "numbers": list(numbers), "forced": names, **how})
        for item, number in zip(items, numbers, strict=True):
            for at, name in enumerate(names):
                nth = names[:at].count(name) + (how["temperature"] > 0)
                text = says(item.id, name, "crops" in how, nth)
                scripted.script = iter([*policy.ids(text), policy.tokenizer.eos_token_id])
                found += rollout(scripted, [item], numbers=[number], forced=name, **how)
        return found

    return answer


def test_each_sort_is_rolled_out_and_counted(monkeypatch, samples):
    """Greedy first; words before the answer, noise in the crops of one sort alone; parts of a list change nothing."""
    kept: list[Trajectory] = []

    def says(name: str, forced: str, noisy: bool, nth: int) -> str:
        sample = next(s for s in samples if s.id == name)
        answer = sample.answer if forced == "look" and not noisy or nth == 2 else "x"
        box = BOX if forced == "look" or nth == 1 else '{"bbox_2d": [5, 5, 1, 1]}'
        return f"{box}It shows {sample.answer}.<answer>{answer}</answer>"

    calls: list[dict[str, Any]] = []
    ours = script(says, calls)
    monkeypatch.setattr(value, "rollout", lambda *a, **k: kept.extend(found := ours(*a, **k)) or found)
    found = rolled(blank(), samples[:3], [4, 5, 6], k=2, seed=9, max_new_tokens=80)
    for one in found:
        assert one["free"] == {
            "score": [0, 0, 1],
            "looked": [False, True, False],
            "answered": [True] * 3,
            "misread": [True, True, False],
        }
        assert one["direct"]["score"] == [0, 0, 1] and one["direct"]["looked"] == [False, True, False]
        assert one["look"]["score"] == [1, 1, 1] and one["noise"]["score"] == [0, 0, 1]
        assert one["look"]["looked"] == one["noise"]["looked"] == [True] * 3
    assert [c["temperature"] for c in calls] == [0, 0, 1, 1] and {c["seed"] for c in calls} == {9}
    assert calls[2]["forced"] == ["", "", "direct", "direct", "look", "look"] and calls[2]["numbers"] == [4, 5, 6]
    for t in kept:
        t.check()
        assert t.text.startswith(FORCED.get(t.forced, ""))
    noisy = [t.images[t.looks[0].crop.hash] for t in kept if t.forced == "look"]
    assert len({image.tobytes() for image in noisy}) == 2 * 3  # of each sample its crop, and one noise
    monkeypatch.setattr(value, "ROWS", 1)
    assert rolled(blank(), samples[:3], [4, 5, 6], k=2, seed=9, max_new_tokens=80) == found
    with pytest.raises(R3labError, match="two sampled rollouts of each sort or more, got 1"):
        rolled(blank(), samples[:1], [0], k=1)


def test_looks_are_valued_by_the_loops_own_rollouts(policy, samples):
    """Nothing scripted: a summary a world and of all; the free rollouts are those of a group."""
    asked = [*samples[:2], *(get_world("trails").sample("train", i) for i in range(2))]
    found = value_of_looks(policy, asked, k=2, seed=3, max_new_tokens=30)
    assert {name: one["n"] for name, one in found.items()} == {"badges": 2, "trails": 2, "all": 4}
    group = rollout(policy, asked, 2, seed=3, max_new_tokens=30)
    looked = np.mean([any(look.valid for look in t.looks) for t in group])
    assert found["all"]["all"]["sampled"]["looked_free"]["value"] == pytest.approx(looked)
    json.dumps(found, allow_nan=False)


# ------------------------------------------------------------------ the command


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of random weights."""
    return save_policy(blank(), tmp_path_factory.mktemp("policy") / "random")


def test_eval_values_looks_and_goes_on(folder, tmp_path, monkeypatch, capsys):
    """In table, page and JSON, for each world and all; journalled: nothing is rolled out twice, more goes on."""
    truth = {s.id: s for w in ("badges", "charts") for s in (get_world(w).sample("test", i, 4) for i in range(4))}

    def says(name: str, forced: str, noisy: bool, nth: int) -> str:
        right = forced == "look" and not noisy or not truth[name].needs_look
        return f"{BOX if forced == 'look' else ''}<answer>{truth[name].answer if right else 'x'}</answer>"

    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(value, "rollout", script(says, calls))
    out = tmp_path / "out"
    argv = [
        "eval",
        "--world",
        "badges",
        "charts",
        "--seed",
        "4",
        "--model",
        folder,
        "--out",
        out,
        "--max-new-tokens",
        40,
    ]
    argv = [*map(str, argv), "--value", "2", "--limit"]
    assert main([*argv, "3"]) == 0
    text, record = capsys.readouterr().out, json.loads((out / "table.json").read_text())
    assert set(record["values"]) == {"badges", "charts", "all"} and record["values"]["all"]["n"] == 6
    small = [s for w in ("badges", "charts") for s in [t for t in truth.values() if t.world == w][:3] if s.needs_look]
    for mode in ("sampled", "greedy"):
        own = record["values"]["all"]["small print"][mode]
        assert own["missed"]["value"] == own["regret"]["value"] == own["only_with_looks"]["value"] == 1
        assert own["missed"]["n"] == len(small) and own["kept_by_noise"]["value"] == 0
        assert record["values"]["all"]["large print"][mode]["regret"]["value"] == 0
    for told in (text, (out / "table.md").read_text()):
        assert "Value of looks" in told and "look regret" in told and "small print" in told
        assert "draws needless and missed towards chance" in told and "trained to obey" not in told
    asked = [name for call in calls for name in call["ids"]]
    assert main([*argv, "3"]) == 0 and [name for call in calls for name in call["ids"]] == asked
    assert main([*argv, "4"]) == 0
    assert {name for call in calls for name in call["ids"]} == set(truth)
    assert len([name for call in calls for name in call["ids"]]) == len(asked) * 4 / 3
    assert len(read_rows([out]).rows) == 8 and not read_rows([out]).problems  # the answers alone
    argv[-2] = "3"
    assert main([*argv, "3"]) == 0 and json.loads((out / "table.json").read_text())["values"]["badges"]["k"] == 3
    argv[-3:] = ["--limit"]
    assert main([*argv, "3"]) == 0 and "values" not in json.loads((out / "table.json").read_text())


@pytest.mark.parametrize("wrong", [["--value", "1"], ["--value", "2", "--arm", "direct"]])
def test_what_cannot_be_valued(wrong, folder, tmp_path, capsys):
    assert main(["eval", "--world", "badges", "--model", str(folder), "--out", str(tmp_path / "o"), *wrong]) == 2
    assert "--value takes 2 or more, and the arm interleaved" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()
