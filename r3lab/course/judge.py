"""How an answer to an exercise is judged: run it on cases, and print one hint that diagnoses.

An exercise is a right answer, taken from the library itself, cases, and the mistakes that people make: a hint, then the
wrong answers that it names, and so on. An answer that behaves like one of them on every case gets its hint; one that is
wrong in a way of its own is told on which input, and in which direction. Simplified: nothing stops a function that
never returns, and two mistakes at once are not told apart.

    check_zoom = Exercise("f(box, source): ...", zoom_factor, cases, "that is a step. ...", a_step, another_step)
    check_zoom(zoom)                         # prints "not right: that is a step. ..."; False
    judge(None, check_zoom)                  # (False, "not yet: ..."): an unsolved notebook runs through
    check_zoom.chosen(zoom)                  # the answer, right or wrong; the library's where the exercise is skipped

A `Prediction` is a number to commit to before a result is seen; it is recorded, and shown beside the result.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..core.errors import R3labError, shown
from ..run.record import record

Function = Callable[..., Any]
NOT_YET = "not yet: write the function above, run its cell, then run this one again. The folded hint is a way in."
RIGHT = "right"
OURS = "not right: that is the library's own function. Write yours above; what it must do is in the exercise's text."
NAN = (
    "what the mask leaves out can be anything, NaN too, and NaN * 0 is NaN, in the gradient as well. "
    "Take those entries out (`masked_fill`, or by indexing) before you compute with them."
)


class Unfit(Exception):
    """A result that `run` cannot judge; the message is the hint."""


@dataclass(frozen=True)
class Then:
    """A wrong answer: what the right one gives, changed."""

    change: Function

    def of(self, reference: Function) -> Function:
        return lambda *arguments: self.change(reference(*arguments))


Answer = Function | Then
ROUNDED = (Then(np.round), Then(np.trunc), Then(np.ceil))
ROUNDED_BOX = (*ROUNDED, Then(lambda box: (*np.floor(box[:2]), *np.ceil(box[2:]))))
CORNER_AND_SIZE = Then(lambda box: (box[0], box[1], box[2] - box[0], box[3] - box[1]))


class Exercise:
    """What an answer is held against; called with an answer it prints one line and returns whether the answer is right.

    Parameters
    ----------
    task : the function that is asked for, "f(box, source): what it returns"
    reference : the right answer, from the library
    cases : arguments, chosen so that no mistake equals the reference on all of them
    mistakes : a hint, then the wrong answers that it is given to; the next hint ...; the more specific first
    run : how a function is applied to the arguments of a case (`with_gradient` looks at the gradient too)
    edge : a hint, and cases that an answer which is right on all others may still fail
    """

    def __init__(
        self,
        task: str,
        reference: Function,
        cases: Sequence[tuple[Any, ...]],
        *mistakes: str | Answer | tuple[Answer, ...],
        run: Callable[[Function, tuple[Any, ...]], Any] = lambda function, arguments: function(*arguments),
        edge: tuple[str, Sequence[tuple[Any, ...]]] = ("", ()),
    ) -> None:
        self.__doc__ = f"Check {task}"  # what `check_zoom?` shows
        self.names = re.findall(r"\w+", task[2 : task.index(")")])
        self.reference, self.cases, self.run, self.edge = reference, cases, run, edge
        self.mistakes: dict[str, list[Function]] = {}
        for one in mistakes:
            if isinstance(one, str):
                made = self.mistakes[one] = []
            else:
                for answer in one if isinstance(one, tuple) else (one,):
                    made.append(answer.of(reference) if isinstance(answer, Then) else answer)

    def __call__(self, answer: Any) -> bool:
        passed, words = judge(answer, self)
        print(words)
        return passed

    def chosen(self, answer: Any) -> Function:
        """What a lesson goes on with: the answer, right or wrong; the library's where the exercise was skipped."""
        function: Function = self.reference if judge(answer, self)[1] == NOT_YET else answer
        return function


class Prediction:
    """What a student expects to be measured, committed to before the result is shown; `record` keeps it.

    Parameters
    ----------
    name : of the recorded value, behind `guess_`
    guess : a number; None: no guess is made

    Raises
    ------
    R3labError
        If the guess is neither.

    Examples
    --------
    >>> needless = Prediction("needless_looks", None)
    >>> needless.beside(0.07)
    no guess was made; measured: 0.07
    """

    def __init__(self, name: str, guess: float | None) -> None:
        self.name, self.guess = name, guess
        if guess is None:
            return
        if isinstance(guess, bool) or not isinstance(guess, int | float) or not math.isfinite(guess):
            raise R3labError(f"a guess is a number such as 0.4, or None for no guess; got {shown(guess)}")
        record(**{f"guess_{name}": guess})

    def beside(self, measured: float) -> None:
        """Print guess and measurement side by side."""
        if self.guess is None:
            print(f"no guess was made; measured: {measured:.3g}")
            return
        off = self.guess - measured
        side = "exact" if abs(off) < 5e-4 else f"{abs(off):.2g} too {'high' if off > 0 else 'low'}"
        print(f"your guess: {self.guess:.3g}; measured: {measured:.3g} ({side})")


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
    """What a function did on one case: the numbers that it returned, nothing, what it raised, or neither of these."""

    numbers: np.ndarray | None = None
    raised: BaseException | None = None
    nothing: bool = False  # None, or `...`

    def like(self, other: Outcome) -> bool:
        """The same numbers to 1e-6 (NaN equals NaN), or the same kind of error."""
        mine, theirs = self.numbers, other.numbers
        if mine is not None and theirs is not None:
            return mine.shape == theirs.shape and np.allclose(mine, theirs, rtol=1e-6, atol=1e-6, equal_nan=True)
        told = self.nothing or self.raised is not None
        return told and self.nothing == other.nothing and type(self.raised) is type(other.raised)


def judge(answer: Any, exercise: Exercise) -> tuple[bool, str]:
    """Whether an answer is right, and the one line that is printed about it."""
    if not callable(answer):
        return False, NOT_YET
    home = str(getattr(answer, "__module__", ""))
    if answer is exercise.reference or (home.startswith("r3lab.") and not home.startswith(__package__)):
        return False, OURS
    given = _outcomes(answer, exercise)
    if isinstance(given[0].raised, NotImplementedError) or all(o.nothing for o in given):
        return False, NOT_YET
    wanted = _outcomes(exercise.reference, exercise)
    unlike = [i for i, (g, w) in enumerate(zip(given, wanted, strict=True)) if not g.like(w)]
    if not unlike:
        hint, cases = exercise.edge
        ends = ([_outcome(f, exercise, case) for case in cases] for f in (answer, exercise.reference))
        return (True, RIGHT) if all(g.like(w) for g, w in zip(*ends, strict=True)) else (False, f"not right: {hint}")
    for hint, made in exercise.mistakes.items():
        for mistake in made:
            if all(g.like(o) for g, o in zip(given, _outcomes(mistake, exercise), strict=True)):
                return False, f"not right: {hint}"
    at = unlike[0]
    return False, f"not right: {_difference(exercise, at, given[at], wanted[at])}"


def _outcomes(function: Function, exercise: Exercise) -> list[Outcome]:
    return [_outcome(function, exercise, case) for case in exercise.cases]


def _outcome(function: Function, exercise: Exercise, case: tuple[Any, ...]) -> Outcome:
    own = tuple(x.clone() if isinstance(x, torch.Tensor) else list(x) if isinstance(x, list) else x for x in case)
    try:
        value = exercise.run(function, own)
    except Exception as error:  # whatever the student's code does
        return Outcome(raised=error)
    if value is None or value is Ellipsis:
        return Outcome(nothing=True)
    try:
        return Outcome(np.asarray(value.detach().cpu() if isinstance(value, torch.Tensor) else value, np.float64))
    except (TypeError, ValueError, RuntimeError):
        return Outcome()


def _difference(exercise: Exercise, at: int, given: Outcome, wanted: Outcome) -> str:
    """In which way an unknown wrong answer is wrong, without the right number."""
    if isinstance(given.raised, Unfit):
        return str(given.raised)
    told = ", ".join(f"{n}={_told(value)}" for n, value in zip(exercise.names, exercise.cases[at], strict=True))
    yours = f"with {told} your function"
    if given.raised is not None:
        return f"{yours} raises {type(given.raised).__name__}: {shown(str(given.raised))}"
    if given.nothing:
        return f"{yours} returns nothing; does every path end in `return`?"
    if given.numbers is None or wanted.numbers is None:
        return f"{yours} does not return numbers"
    mine, right = given.numbers, wanted.numbers
    if mine.shape != right.shape:
        return f"{yours} returns shape {mine.shape}, wanted {right.shape} (a number has shape ())"
    i = np.unravel_index(np.argmin(np.isclose(mine, right, rtol=1e-6, atol=1e-6)), mine.shape)
    place = f" in entry {tuple(map(int, i))}" if mine.shape else ""
    if not math.isfinite(mine[i]):
        return f"{yours} gives {mine[i]}{place}"
    return f"with {told} your {mine[i]:.4g}{place} is too {'large' if mine[i] > right[i] else 'small'}"


def _told(value: Any) -> str:
    return f"a tensor {tuple(value.shape)}" if isinstance(value, torch.Tensor) else shown(value)
