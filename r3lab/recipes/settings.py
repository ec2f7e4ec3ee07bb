"""The settings of what makes the shipped policies and the ablations: every number, with its default.

Nothing here loads torch, so that `--help` is quick.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..core.arms import ARMS
from ..core.settings import Count, Whole, setting


@dataclass(frozen=True)
class Recipe:
    """Every number that the shipped policy of badges depends on.

    r3lab train tiny --seeds 1
    """

    work: str = setting("runs/tiny", "folder for stages in progress; finished ones are not repeated")
    out: str = setting("", "where the result goes (default: the assets folder)")
    seeds: int = setting(3, "repetitions of cold start and R-GRPO")
    base_seed: int = setting(0, "seed of the weights, the lessons and the base")
    cold_start_steps: int = setting(100, "cold start: steps of 32 VLIR samples")
    cold_start_rate: float = setting(6e-4, "its peak learning rate")
    cold_start_spread: float = setting(0.2, "how far the teacher's boxes miss, as a part of their sides")
    needless: float = setting(0.3, "share of samples in which the teacher looks although nothing needs it")
    hasty: float = setting(0.5, "share of samples in which the teacher takes no look although one is needed")
    rgrpo_steps: int = setting(
        400, "R-GRPO: steps of the shipped policy; its other settings are the defaults of train rgrpo"
    )
    rgrpo_cooldown: int = setting(150, "last of these steps, over which the learning rate falls towards 0")
    test_samples: int = setting(500, "held-out samples an arm and seed is measured on")


@dataclass(frozen=True)
class Taught:
    """Cold start and R-GRPO in several worlds."""

    cold_start_steps: int = setting(150, "cold start: steps of 32 VLIR samples")
    cold_start_rate: float = setting(6e-4, "its peak learning rate (AdamW)")
    cold_start_spread: float = setting(0.1, "how far the teacher's boxes miss, as a part of their sides")
    needless: float = setting(0.3, "share of samples in which the teacher looks although nothing needs it")
    hasty: float = setting(0.5, "share of samples in which the teacher takes no look although one is needed")
    rgrpo_steps: int = setting(100, "R-GRPO: steps")
    rgrpo_rate: float = setting(5e-5, "its learning rate, before it falls")
    rgrpo_cooldown: int = setting(30, "its last steps, over which the rate falls to 0; at most all of them")
    prompts: int = setting(12, "its prompts a step, of the worlds in turn")
    new_tokens: int = setting(224, "tokens that a rollout may sample: a trail of four hops takes some 170")


@dataclass(frozen=True)
class FurtherRecipe(Taught):
    """Every number that the policy depends on that has learned a further world.

    r3lab train further --seeds 1
    """

    world: str = setting("diagrams", "the world; lessons are known of diagrams")
    base: str = setting("", "the policy to begin with (default: the shipped cold start of four worlds)")
    work: str = setting("runs/further", "folder for what is finished; it is not repeated")
    out: str = setting("", "where the results go (default: the assets folder)")
    seeds: int = setting(3, "repetitions of cold start and R-GRPO")
    lessons: int = setting(1800, "steps of lessons in the world, before the cold start")
    corners: int = setting(700, "further steps, in which heads are told to find a side by the letters at its ends")
    others: float = setting(
        0.3, "share of these lessons, of the cold start's samples and of R-GRPO's in the four worlds"
    )
    split: str = setting("test", "measured on: validation to decide, test once")
    test_samples: int = setting(1000, "samples of the split")
    test_seed: int = setting(20261125, "their seed")


@dataclass(frozen=True)
class WorldRecipe(Taught):
    """Every number that the policy of four worlds depends on.

    r3lab train worlds --arms interleaved --seeds 1
    """

    work: str = setting("runs/worlds", "folder for what is finished; it is not repeated")
    badges: str = setting("", "a policy of badges to begin with (default: the shipped cold start)")
    base: str = setting("", "a base of four worlds that is there already (default: make one)")
    out: str = setting("", "where results and the first seed go (default: the assets folder)")
    arms: str = setting(",".join(ARMS), "arms, with commas between")
    seeds: int = setting(3, "repetitions of cold start and R-GRPO")
    marks_steps: int = setting(
        300, "further steps of the cold start of an arm whose marks of an answer the base has never written"
    )
    test_samples: int = setting(200, "held-out samples of each world")


@dataclass(frozen=True)
class Budget:
    """What every variant may use.

    Attributes
    ----------
    lessons : updates of the cold start, 32 VLIR samples each
    steps : steps of R-GRPO, 96 rollouts and two updates each
    test : held-out samples each is measured on
    """

    lessons: Count = 100
    steps: Count = 50
    test: Count = 300


@dataclass(frozen=True)
class AblationSettings:
    """The paper's ablations in miniature.

    r3lab train ablations --only "full,without R-GRPO" --seeds 1 --out /tmp/ablations.json

    Attributes
    ----------
    base : the base to start from; `r3lab train tiny` makes it on its way
    work : folder for what is finished; it is not repeated
    out : file of results (default: assets/results/ablations.json)
    only : variants, with commas between (default: all)
    seeds : repetitions of each
    grounding : samples of the grounding curve of each seed of the whole method; 0: none
    """

    budget: Budget
    base: str = "runs/tiny/grounding-4"
    work: str = "runs/ablations"
    out: str = ""
    only: str = ""
    seeds: Count = 5
    grounding: Whole = 200


@dataclass(frozen=True)
class WhenSettings:
    """The rules for when to look, compared.

    r3lab train when --only "label,value,exact teacher" --seeds 1 --out /tmp/when.json

    Attributes
    ----------
    model : the cold start that all begin with (default: the shipped one of badges)
    worlds : in turn, with commas between
    work : folder for what is finished; it is not repeated
    out : file of results (default: assets/results/when.json)
    only : ways, with commas between (default: all)
    seeds : repetitions of each
    steps : of R-GRPO; supervised ways make as many updates
    learning_rate : of R-GRPO
    cooldown : its last steps, over which the rate falls to 0
    prompts : samples a step
    group : rollouts a sample
    new_tokens : that a rollout may sample
    samples : of each world a point is measured on
    rollouts : of each sort and sample, by which the value of looks is measured; 2 or more
    final : measure the finished points on the test split, each once, instead of the validation split
    """

    model: str = ""
    worlds: str = "badges"
    work: str = "runs/when"
    out: str = ""
    only: str = ""
    seeds: Count = 5
    steps: Count = 100
    learning_rate: float = 1.5e-4
    cooldown: Whole = 0
    prompts: Count = 12
    group: Count = 8
    new_tokens: Count = 96
    samples: Count = 300
    rollouts: Count = 4
    final: bool = False
