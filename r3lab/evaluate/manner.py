"""How a task of lmms-eval wants its questions answered: temperature, tokens, where an answer ends.

    Manner.of({"max_new_tokens": 16, "temperature": 0, "until": ["\\n\\n"]}, least=512)      # 512 tokens, greedy
    Manner.of({"num_beams": 4}, least=512)                                          # R3labError: cannot be had

Simplified: of what Hugging Face's `generate` takes, the loop knows these; a task that asks for beams, or for sampling
from a part of the distribution, is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import R3labError, shown

# What the loop cannot do, with the values under which a task does not ask for it.
_ONLY: dict[str, tuple[Any, ...]] = {"num_beams": (None, 1)}
_ONLY_SAMPLED: dict[str, tuple[Any, ...]] = {"top_p": (None, 1), "top_k": (None, 0, -1)}


@dataclass(frozen=True)
class Manner:
    """How a task wants its questions answered.

    Attributes
    ----------
    temperature : 0 is greedy
    max_new_tokens : sampled tokens that a rollout may have
    until : texts at which an answer ends
    """

    temperature: float = 0.0
    max_new_tokens: int = 512
    until: tuple[str, ...] = ()

    @classmethod
    def of(cls, wanted: Mapping[str, Any], least: int) -> Manner:
        """Read a task's `generation_kwargs`; names that mean nothing to the loop are passed over.

        Parameters
        ----------
        wanted
            `temperature`, `do_sample`, `max_new_tokens`, `until`; of others the default alone can be had.
        least
            Tokens that a rollout may have, whatever the task says.

        Raises
        ------
        R3labError
            For beams, or for sampling from a part of the distribution, and for values that are none.
        """
        temperature = wanted.get("temperature")
        if temperature is None:
            temperature = 1.0 if wanted.get("do_sample") else 0.0
        if wanted.get("do_sample") is False:
            temperature = 0.0
        tokens = wanted.get("max_new_tokens")
        if not _number(temperature):
            raise R3labError(f"temperature must be a number from 0, got {shown(temperature)}.")
        if not (tokens is None or _number(tokens)):
            raise R3labError(f"max_new_tokens must be a whole number from 0, got {shown(tokens)}.")
        for name, plain in {**_ONLY, **(_ONLY_SAMPLED if temperature else {})}.items():
            if wanted.get(name) not in plain:
                value, give = shown(wanted[name]), f"give --gen_kwargs {name}={plain[-1]}"
                raise R3labError(f"{name} {value} cannot be had: the loop samples one token at a time of all; {give}.")
        until = wanted.get("until") or []
        ends = [until] if isinstance(until, str) else until
        if not (isinstance(ends, list | tuple) and all(isinstance(end, str) for end in ends)):
            raise R3labError(f"until must be text or a list of texts, got {shown(until)}.")
        return cls(float(temperature), max(least, int(tokens or 0)), tuple(end for end in ends if end))

    def ended(self, answer: str | None) -> str:
        """An answer up to the first text that ends it; "" for none."""
        ends = [at for end in self.until if (at := (answer or "").find(end)) >= 0]
        return (answer or "")[: min(ends)] if ends else answer or ""


def _number(value: object) -> bool:
    return type(value) in (int, float) and 0 <= value < math.inf  # type: ignore[operator]
