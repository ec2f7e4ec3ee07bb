"""A sample's own question answered in full: its steps as facts, which know where in the picture each word is seen.

Statements teach what can be read and where; what comes after what has been read (the next sign, the second value, the
sum) is learned from whole answers alone. They are those of an exact teacher, so that a lesson can point; how samples of
an imperfect one are answered, in which arm, is left to the cold start.

    whole = whole_of(sample, scene_of(sample))
    whole.steps        # (Fact("The red circle", ...), Fact("The blue square", ...))
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..vlir.sample import Sample
from ..vlir.worlds.charts import LARGEST, NOUNS
from .facts import Fact, Saying, Scene


@dataclass(frozen=True)
class Whole:
    """A question, the steps to its answer, and the answer."""

    question: str
    steps: tuple[Fact | Saying, ...]
    answer: str


def whole_of(sample: Sample, scene: Scene) -> Whole:
    """The steps of a sample's question, in the words of its world's rationale; `scene` is that of the sample."""
    if sample.world == "charts":
        steps = _chart(sample.meta, sample.answer, scene)
    elif sample.world == "trails":
        steps = tuple(_about(scene, f"The {name}") for name in sample.meta["trail"])
    else:
        steps = (next(f for f in scene.facts if f.question == sample.question),)
    return Whole(sample.question, steps, sample.answer)


def _about(scene: Scene, subject: str) -> Fact:
    return next(fact for fact in scene.facts if fact.subject == subject)


def _chart(meta: dict[str, Any], answer: str, scene: Scene) -> tuple[Fact | Saying, ...]:
    kind, noun = meta["kind"], NOUNS[meta["chart"]]
    asked = [meta["marks"][k] for k in meta["asked"]]
    names = [f"the {mark['colour']} {noun}" for mark in asked]
    if kind == "label":
        return (_about(scene, f"The label of {names[0]}"),)
    values = [_about(scene, f"The value of {name}") for name in names]
    if kind == "value":
        return (values[0],)
    if kind == "difference":
        return (*values, ("", f"{asked[0]['said']} - {asked[1]['said']} = {answer}.", None))
    if kind == "largest":
        return next(saying for saying in scene.sayings if saying[0] == f"The {LARGEST[noun]} is"), *values
    found = f" {asked[0]['label']} is {names[0]}."
    return next(f for f in scene.facts if f.subject == "The legend" and f.said.endswith(found)), *values
