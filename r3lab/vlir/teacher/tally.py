"""What a teacher's runs into one folder have brought and cost: outcomes with their reasons, requests, tokens, money.

tally = Tally(Prices(prompt=0.15, completion=0.6))
for line in journal:
    tally.add(line)
print(tally)                        # 118 accepted, 9 rejected, 0 failed; 151,204 + 20,310 tokens, cost 0.0349
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

ACCEPTED, REJECTED, FAILED = "accepted", "rejected", "failed"
OUTCOMES = (ACCEPTED, REJECTED, FAILED)


@dataclass(frozen=True)
class Prices:
    """What a million tokens of the prompt and of the completion cost, in any currency; None if unknown."""

    prompt: float | None = None
    completion: float | None = None


@dataclass
class Tally:
    """Counts over the lines of a journal; of a question that was settled twice, the last outcome and the whole cost.

    Attributes
    ----------
    prices : of the tokens
    last : outcome and reason of each question, by its key
    requests : that were sent
    retries : of them, those after a question's first one
    tokens : of all prompts and of all completions, as the endpoint counted them
    unmetered : replies for which it did not count
    """

    prices: Prices = field(default_factory=Prices)
    last: dict[str, tuple[str, str]] = field(default_factory=dict)
    requests: int = 0
    retries: int = 0
    tokens: tuple[int, int] = (0, 0)
    unmetered: int = 0
    _counts: Counter[str] = field(default_factory=Counter)

    def add(self, line: dict[str, Any]) -> None:
        """Count a line of the journal."""
        if line["key"] in self.last:
            self._counts[self.last[line["key"]][0]] -= 1
        self.last[line["key"]] = (line["outcome"], line["reason"])
        self._counts[line["outcome"]] += 1
        self.requests += line["tries"]
        self.retries += max(0, line["tries"] - 1)
        if line["tokens"]:
            self.tokens = (self.tokens[0] + line["tokens"][0], self.tokens[1] + line["tokens"][1])
        elif line["tries"] and line["outcome"] != FAILED:
            self.unmetered += 1

    def outcome(self, key: str) -> str:
        """The last outcome of a question; "" if it was never settled."""
        return self.last.get(key, ("", ""))[0]

    def count(self, outcome: str) -> int:
        """Questions with that last outcome."""
        return self._counts[outcome]

    @property
    def cost(self) -> float | None:
        """Of all tokens that were counted; None without prices."""
        if self.prices.prompt is None or self.prices.completion is None:
            return None
        return (self.tokens[0] * self.prices.prompt + self.tokens[1] * self.prices.completion) / 1e6

    def __str__(self) -> str:
        counts = ", ".join(f"{self.count(outcome):,} {outcome}" for outcome in OUTCOMES)
        cost = "" if self.cost is None else f", cost {self.cost:,.4f}"
        return f"{counts}; {self.tokens[0]:,} + {self.tokens[1]:,} tokens{cost}"

    def record(self) -> dict[str, Any]:
        """As JSON, with the reasons counted."""
        reasons = {
            outcome: dict(Counter(why for last, why in self.last.values() if last == outcome).most_common())
            for outcome in (REJECTED, FAILED)
        }
        return {
            **{outcome: self.count(outcome) for outcome in OUTCOMES},
            "reasons": reasons,
            "requests": self.requests,
            "retries": self.retries,
            "tokens": {"prompt": self.tokens[0], "completion": self.tokens[1], "unmetered replies": self.unmetered},
            "price of a million tokens": {"prompt": self.prices.prompt, "completion": self.prices.completion},
            "cost": self.cost,
        }
