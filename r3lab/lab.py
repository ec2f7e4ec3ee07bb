"""The verbs of the front door: load a policy, draw samples, roll out, train, compare, explain, report.

    policy = load("cold-start")
    train(policy, "badges", steps=100, log=live())

Each is a thin call of the room that does the work, with the defaults of the course. What they return is shown by a
notebook: a trajectory as its filmstrip, an explanation as its picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from .core import arms
from .core.errors import R3labError, nearest
from .explain.explain import explain as explain_looks
from .explain.explanation import Explanation
from .explain.trials import QUICK, Settings
from .models.checkpoint import checkpoint_folder
from .models.policy import Policy
from .rollout.loop import rollout
from .show.dashboard import LiveDashboard
from .show.explanation import show_explanation
from .show.filmstrip import before_after, filmstrip
from .show.picture import Picture
from .show.player import Entry, save_report
from .train.log import summary
from .train.own_rewards import use_reward
from .train.rgrpo import train_rgrpo
from .train.settings import RgrpoSettings
from .trajectory import Trajectory
from .vlir.sample import Sample
from .vlir.worlds import World, Worlds, drawn, sample_batches, world_batches

ROWS = 64  # rolled out at once: memory grows with them, and beyond it speed hardly does


class Rollouts(list[Trajectory]):
    """Trajectories of one set of samples, the members of a group next to each other; a list with a summary.

    Examples
    --------
    >>> policy.rollout(samples[:2], group=2).summary()["n"]
    4
    """

    def summary(self) -> dict[str, float | int | None]:
        """Means over the trajectories, as of `r3lab.summary`: right answers, looks, IoU; None where there is none."""
        return summary(self)


class LabPolicy(Policy):
    """A policy that answers samples by itself; `load` makes one.

    Examples
    --------
    >>> policy = r3lab.load("cold-start")
    >>> policy.rollout(samples[:2]).summary()["n"]
    2
    """

    def rollout(self, samples: Sequence[Sample], group: int = 1, temperature: float = 0.0, **named: Any) -> Rollouts:
        """Answer each sample `group` times, looking again where the policy wants to.

        Parameters
        ----------
        samples : questions on images
        group : answers a sample (G of R-GRPO)
        temperature : 0 (the default) is greedy
        named : further arguments of `rollout.loop.rollout`: seed, max_looks, max_new_tokens, features, arm, forced ...

        Returns
        -------
        Rollouts
            len(samples) * group trajectories, the members of a group next to each other.
        """
        named = {"max_new_tokens": RgrpoSettings().max_new_tokens, "progress": True, **named}
        shown, numbers = named.pop("progress"), named.pop("numbers", None) or range(len(samples))
        size, found = max(1, ROWS // group), Rollouts()
        with tqdm(total=len(samples) * group, desc="rollout", disable=not shown, mininterval=1) as bar:
            for at in range(0, len(samples), size):
                part = {"temperature": temperature, "numbers": numbers[at : at + size], **named}
                found += rollout(self, samples[at : at + size], group, **part)
                bar.update(len(found) - bar.n)
        return found


def load(name: str | Path = "worlds", device: str | torch.device | None = None) -> LabPolicy:
    """Load a policy.

    Parameters
    ----------
    name
        A checkpoint folder, a shipped name (``worlds``: all four worlds, after R-GRPO; ``worlds-cold-start``; ``rgrpo``
        and ``cold-start``: badges alone, which the lessons take apart), or ``owner/name`` on the hub.
    device
        By default a GPU where there is one.

    Raises
    ------
    R3labError
        If it is none of them, or cannot be read.

    Examples
    --------
    >>> policy = r3lab.load("cold-start")
    >>> policy.rollout(samples[:4], temperature=1.0, seed=1).summary()["n"]
    4
    """
    _show_in_notebooks()
    found = LabPolicy.load(checkpoint_folder(name), device=None if device is None else str(device))
    assert isinstance(found, LabPolicy)
    return found


def samples(world: Worlds = "badges", n: int = 100, split: str = "test", seed: int = 0, start: int = 0) -> list[Sample]:
    """Draw samples of a world: questions on images, with the truth known.

    Parameters
    ----------
    world : badges, documents, charts or trails; several with weights, "badges,trails:2"; one of your own, as an object
        or "FILE.py:CLASS"
    n : how many; some 200 to 400 a second
    split : train, validation or test, which share no photograph, handwriting, layout or name
    seed, start : of the draw; the same (world, split, seed, index) is the same sample everywhere

    Raises
    ------
    R3labError
        If there is no such world or split, or `n` is below 1.

    Examples
    --------
    >>> [s.question for s in r3lab.samples("badges", 2)] == [s.question for s in samples[:2]]
    True
    """
    if n < 1:
        raise R3labError(f"n must be at least 1, got {n}")
    numbers = tqdm(range(start, start + n), desc=f"samples of {world}", disable=n < 500, mininterval=1)
    return list(drawn(world, split, seed, numbers))


def train(
    policy: Policy,
    data: Worlds | Sequence[Sample],
    steps: int = 100,
    log: Callable[[dict[str, Any]], None] = lambda row: None,
    reward: str | Callable[[Trajectory], Any] | None = None,
    advantage: Callable[[torch.Tensor], torch.Tensor] | None = None,
    loss: Callable[..., torch.Tensor] | None = None,
    watch: Callable[[int, list[Trajectory]], None] = lambda step, trajectories: None,
    progress: bool = True,
    **settings: Any,
) -> None:
    """Train a policy in place by R-GRPO.

    Parameters
    ----------
    policy
        Changed in place, and its name says so: "cold-start after 100 steps of R-GRPO".
    data
        A world, several worlds in turn or by weight, or your own samples (each with question, image and answer).
    steps
        Of rollout and update; about a second each for the tiny policy on two cores.
    log
        Called with a row of metrics a step, as `live()`.
    reward
        The name of a preset, "FILE.py:FUNCTION", or your own: trajectory -> {name: number} or a number.
    advantage
        Your own: rewards (N, G) of N groups -> advantages (N, G).
    loss
        Your own: see `r3lab.train.rgrpo.train_rgrpo`.
    watch
        Called with the number of each step and its scored trajectories.
    settings
        Any other of `RgrpoSettings`: prompts, group, learning_rate, seed ...; as `arm` an `Arm` too.

    Raises
    ------
    R3labError
        If a setting does not exist or cannot be, or there are fewer samples than a step takes.

    Examples
    --------
    >>> log = r3lab.live()
    >>> r3lab.train(policy, "badges", steps=1, prompts=2, group=2, log=log, progress=False)
    """
    known = {f.name for f in fields(RgrpoSettings)}
    for name in settings:
        if name not in known:
            raise R3labError(f"unknown setting {name!r} of R-GRPO.{nearest(name, known)}")
    named: dict[str, Any] = {"reward": reward} if isinstance(reward, str) else {}
    if "arm" in settings:
        settings["arm"] = arms.OWN.use(settings["arm"]).name
    own: dict[str, Any] = {"reward": use_reward(reward) if callable(reward) else None}
    own |= {"advantage": advantage, "loss": loss}
    chosen = RgrpoSettings(steps=steps, **named, **settings)
    given = {key: value for key, value in own.items() if value is not None}
    name = policy.name

    def named_and_watched(step: int, trajectories: list[Trajectory]) -> None:
        policy.name = f"{name} after {step + 1} step{'s' * (step > 0)} of R-GRPO"  # records say who wrote them
        watch(step, trajectories)

    train_rgrpo(policy, batches_of(data, chosen), chosen, log, progress, named_and_watched, **given)


def batches_of(data: Worlds | Sequence[Sample], settings: RgrpoSettings) -> Iterator[Sequence[Sample]]:
    """Endless batches of training samples: of worlds, or drawn without replacement from a list."""
    if isinstance(data, str | World) or (data and all(isinstance(one, str | World) for one in data)):
        return world_batches(data, settings.prompts, settings.seed)  # type: ignore[arg-type]
    if len(data) < settings.prompts:
        raise R3labError(f"{len(data)} samples are fewer than the {settings.prompts} of a step; give prompts=...")
    return sample_batches(data, settings.prompts, settings.seed)  # type: ignore[arg-type]


def live(*keys: str, then: Callable[[dict[str, Any]], None] | None = None) -> LiveDashboard:
    """A log that draws itself in a notebook while a run goes on; outside of one it keeps the rows.

    Parameters
    ----------
    keys : measures to draw; by default all
    then : called with each row too, as `JsonlLog("runs/rgrpo/log.jsonl")`

    Examples
    --------
    >>> log = r3lab.live("reward", "exact")
    >>> log({"step": 1, "reward": 0.4, "exact": 0.5}); len(log.rows)
    1
    """
    return LiveDashboard(keys or None, then=then)


def compare(before: Sequence[Trajectory], after: Sequence[Trajectory], count: int = 3) -> Picture:
    """Two policies' answers to the same questions, drawn one above the other: first those that became right.

    Parameters
    ----------
    before, after : trajectories, which are paired by sample
    count : questions at most

    Raises
    ------
    R3labError
        If the two share no sample.

    Examples
    --------
    >>> r3lab.compare(trajectories, trajectories, count=1).save(folder / "both.png").name
    'both.png'
    """
    return before_after(before, after, count)


def explain(
    policy: Policy,
    trajectory: Trajectory,
    others: Sequence[Trajectory] | None = None,
    settings: Settings = QUICK,
    **named: Any,
) -> Explanation:
    """Why each look of a trajectory was taken, and whether it mattered.

    Parameters
    ----------
    policy : the one that wrote it
    trajectory : with its images
    others : trajectories on other photographs, which lend their crops (default: the records that ship)
    settings : how much is tried; `Settings()` is about twice as much
    named : further arguments of `r3lab.explain.explain.explain`: look, features, progress

    Returns
    -------
    Explanation
        Shown by a notebook as a picture; `.sentence` says it in words.

    Examples
    --------
    >>> why = r3lab.explain(policy, trajectories[0], others=trajectories[1:])
    >>> bool(why.sentence)
    True
    """
    return explain_looks(policy, trajectory, others, settings=settings, **named)


def report(
    trajectories: Sequence[Trajectory], path: str | Path, explanations: Sequence[Explanation] = (), title: str = ""
) -> Path:
    """Write trajectories as one HTML file that opens from disk, each with its explanation where one is given.

    Parameters
    ----------
    trajectories : 1 to 500
    path : ends in .html
    explanations : of some of them, in any order
    title : over the page

    Raises
    ------
    R3labError
        If there are none or too many, or the name ends otherwise, or the disk refuses.

    Examples
    --------
    >>> r3lab.report(trajectories[:2], folder / "first.html").name
    'first.html'
    """
    told = {id(one.trajectory): one for one in explanations}
    return save_report([Entry(t, told.get(id(t))) for t in trajectories], path, title)


def _show_in_notebooks() -> None:
    """Have IPython show a trajectory as its filmstrip and an explanation as its picture; elsewhere do nothing."""
    try:
        from IPython.core.getipython import get_ipython
    except ImportError:
        return
    shell = get_ipython()  # type: ignore[no-untyped-call]
    if shell is None or shell.display_formatter is None:
        return
    formatter = shell.display_formatter.mimebundle_formatter
    formatter.for_type(Trajectory, lambda t, **_: filmstrip(t)._repr_mimebundle_())
    formatter.for_type(Explanation, lambda e, **_: show_explanation(e)._repr_mimebundle_())


def documented() -> dict[str, Any]:
    """Every name of the front door with what holds its docstring: of a room that is a verb, the verb."""
    package = import_module("r3lab")
    return {name: globals()[name] if name in package.VERBS else getattr(package, name) for name in package.NAMES}
