"""How much may a campaign ask for?

Before each request the most that it can cost is set aside, and afterwards what it did cost is
booked: the caps hold with any number of requests at once, as far as the server counts honestly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mlsecops.errors import UsageError

__all__ = ["NOTHING", "Caps", "Ledger", "Usage"]

_MILLION: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """The most that a campaign may use, over every run with the same journal.

    Attributes:
        requests: Requests, those that failed in this run among them; unlimited by default.
        tokens: Tokens, of prompts and answers.
        cost: In the currency of the prices.
        prompt_price: Of a million tokens of prompts.
        answer_price: Of a million tokens of answers.
    """

    requests: int | None = None
    tokens: int | None = None
    cost: float | None = None
    prompt_price: float = 0.0
    answer_price: float = 0.0

    def __post_init__(self) -> None:
        caps = [self.requests, self.tokens, self.cost]
        prices = (self.prompt_price, self.answer_price)
        if any(cap is not None and not cap > 0 for cap in caps) or not min(prices) >= 0:
            raise UsageError(f"expected caps above 0 and prices of at least 0, got {self}")
        if self.cost is not None and not any(prices):
            raise UsageError("a cap on the cost needs a price: give prompt_price or answer_price")


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What requests used.

    Attributes:
        requests: How many there were.
        prompt: Tokens of prompts.
        answer: Tokens of answers.
    """

    requests: int = 0
    prompt: int = 0
    answer: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            requests=self.requests + other.requests,
            prompt=self.prompt + other.prompt,
            answer=self.answer + other.answer,
        )


NOTHING: Final = Usage()


class Ledger:
    """What was used so far, and what requests under way may yet use.

    Args:
        caps: The limits.
    """

    def __init__(self, caps: Caps) -> None:
        self.caps = caps
        self.used = Usage()
        self._aside = Usage()

    def set_aside(self, most: Usage) -> None:
        """Take a request's worst case into account before it is sent.

        Raises:
            UsageError: With it, a cap could be exceeded.
        """
        total = self.used + self._aside + most
        for name, value, cap in (
            ("requests", total.requests, self.caps.requests),
            ("tokens", total.prompt + total.answer, self.caps.tokens),
            ("cost", self._cost(total), self.caps.cost),
        ):
            if cap is not None and value > cap:
                raise UsageError(
                    f"the cap of {cap} on {name} is reached: raise it, and with the same --out "
                    "the attempts that are finished cost nothing"
                )
        self._aside += most

    def book(self, most: Usage, used: Usage) -> None:
        """Replace what was set aside by what was used."""
        self._aside = Usage(
            requests=self._aside.requests - most.requests,
            prompt=self._aside.prompt - most.prompt,
            answer=self._aside.answer - most.answer,
        )
        self.used += used

    def _cost(self, usage: Usage) -> float:
        prompt = usage.prompt * self.caps.prompt_price
        return (prompt + usage.answer * self.caps.answer_price) / _MILLION
