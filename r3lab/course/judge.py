"""How an answer to an exercise is judged: run it on cases, and print one hint that diagnoses.

An exercise is a table: a reference taken from the library itself, cases, and the mistakes that people make, each as
the function that makes it and a hint that names it. An answer that behaves like a mistake on every case gets that
hint; one that is wrong in a way of its own is told on which input, and in which direction. Simplified: nothing stops a
function that never returns, and two mistakes at once are not told apart.

    check_zoom = Exercise("f(box, source): ...", reference, cases, {"that is a step. ...": [a_step]})
    check_zoom(zoom)                         # prints "not right: that is a step. ..."; False
    judge(None, check_zoom)                  # (False, "not yet: ..."): an unsolved notebook runs through
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..core.errors import shown

Function = Callable[..., Any]
NOT_YET = "not yet: write the function above, run its cell, then run this one again. The folded hint is a way in."
RIGHT = "right"


class Unfit(Exception):
    """A result that `run` cannot judge; the message is the hint."""


@dataclass
class Exercise:
    """What an answer is held against; called with an answer it prints one line and returns whether the answer is right.

    Attributes
    ----------
    task : the function that is asked for, with its arguments, and what it returns
    reference : the right answer, from the library
    cases : arguments, chosen so that no mistake equals the reference on all of them
    mistakes : hint -> the wrong answers that it is given to; the more specific first
    run : how a function is applied to the arguments of a case (`with_gradient` looks at the gradient too)
    """

    task: str
    reference: Function
    cases: tuple[tuple[Any, ...], ...]
    mistakes: Mapping[str, Sequence[Function]]
    run: Callable[[Function, tuple[Any, ...]], Any] = lambda function, arguments: function(*arguments)

    def __post_init__(self) -> None:
        self.__doc__ = f"Check {self.task}"  # what `check_zoom?` shows

    def __call__(self, answer: Any) -> bool:
        passed, words = judge(answer, self)
        print(words)
        return passed


def with_gradient(function: Function, arguments: tuple[Any, ...]) -> Any:
    """The loss followed by its gradient in the first argument; the loss alone where no gradient flows.

    Raises
    ------
    Unfit
        If the loss is not one number.
    """
    new = arguments[0].requires_grad_()
    loss = function(new, *arguments[1:])
    if isinstance(loss, torch.Tensor) and loss.ndim:
        raise Unfit(f"the loss must be one number, a tensor of shape (); yours has the shape {tuple(loss.shape)}")
    if not isinstance(loss, torch.Tensor) or not loss.requires_grad:
        return loss
    (gradient,) = torch.autograd.grad(loss, new)
    return torch.cat([loss.detach()[None], gradient.flatten()])


@dataclass(frozen=True)
class Outcome:
    """What a function did on one case: the numbers it returned with their shape, or what it raised."""

    values: tuple[float, ...] = ()
    shape: tuple[int, ...] | None = None  # None: no numbers
    raised: BaseException | None = None
    nothing: bool = False  # None, or `...`

    def like(self, other: Outcome) -> bool:
        """The same numbers to 1e-6 (NaN equals NaN), or the same kind of error."""
        if self.raised or other.raised or self.nothing or other.nothing:
            return type(self.raised) is type(other.raised) and self.nothing == other.nothing
        same = self.shape is not None and self.shape == other.shape
        return same and bool(np.allclose(self.values, other.values, rtol=1e-6, atol=1e-6, equal_nan=True))


def judge(answer: Any, exercise: Exercise) -> tuple[bool, str]:
    """Whether an answer is right, and the one line that is printed about it."""
    if not callable(answer):
        return False, NOT_YET
    given = [_outcome(answer, exercise, case) for case in exercise.cases]
    if isinstance(given[0].raised, NotImplementedError) or all(o.nothing for o in given):
        return False, NOT_YET
    wanted = [_outcome(exercise.reference, exercise, case) for case in exercise.cases]
    if _alike(given, wanted):
        return True, RIGHT
    for hint, made in exercise.mistakes.items():
        if any(_alike(given, [_outcome(one, exercise, case) for case in exercise.cases]) for one in made):
            return False, f"not right: {hint}"
    at = next(i for i, (g, w) in enumerate(zip(given, wanted, strict=True)) if not g.like(w))
    return False, f"not right: {_difference(exercise, at, given[at], wanted[at])}"


def _alike(given: Sequence[Outcome], other: Sequence[Outcome]) -> bool:
    return all(g.like(o) for g, o in zip(given, other, strict=True))


def _outcome(function: Function, exercise: Exercise, case: tuple[Any, ...]) -> Outcome:
    own = tuple(x.clone() if isinstance(x, torch.Tensor) else list(x) if isinstance(x, list) else x for x in case)
    try:
        value = exercise.run(function, own)
    except Exception as error:  # whatever the student's code does
        return Outcome(raised=error)
    if value is None or value is Ellipsis:
        return Outcome(nothing=True)
    try:
        array = np.asarray(value.detach().cpu() if isinstance(value, torch.Tensor) else value, dtype=np.float64)
    except (TypeError, ValueError, RuntimeError):
        return Outcome()
    return Outcome(tuple(array.ravel().tolist()), array.shape)


def _difference(exercise: Exercise, at: int, given: Outcome, wanted: Outcome) -> str:
    """In which way an unknown wrong answer is wrong, without the right number."""
    names = inspect.signature(exercise.reference).parameters
    told = ", ".join(f"{name}={_told(value)}" for name, value in zip(names, exercise.cases[at], strict=False))
    if isinstance(given.raised, Unfit):
        return str(given.raised)
    if given.raised is not None:
        return f"with {told} your function raises {type(given.raised).__name__}: {shown(str(given.raised))}"
    if given.nothing:
        return f"with {told} your function returns nothing; does every path end in `return`?"
    if given.shape is None:
        return f"with {told} your function does not return numbers"
    if given.shape != wanted.shape:
        return f"with {told} your function returns shape {given.shape}, wanted {wanted.shape} (a number has shape ())"
    i = int(np.argmin(np.isclose(given.values, wanted.values, rtol=1e-6, atol=1e-6)))
    place = f" in entry {tuple(int(k) for k in np.unravel_index(i, given.shape))}" if given.shape else ""
    if not math.isfinite(given.values[i]):
        return f"with {told} your function gives {given.values[i]}{place}"
    way = "large" if given.values[i] > wanted.values[i] else "small"
    return f"with {told} your {given.values[i]:.4g}{place} is too {way}"


def _told(value: Any) -> str:
    return f"a tensor {tuple(value.shape)}" if isinstance(value, torch.Tensor) else shown(value)
