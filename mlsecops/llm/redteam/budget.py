"""Budget of a campaign: caps on requests, tokens and cost.

request → reserve its worst case → send → replace the reservation by the actual usage. So the caps
hold with any number of concurrent requests, if the server reports its usage honestly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mlsecops._choices import checked
from mlsecops._repr import concise_repr
from mlsecops.errors import UsageError

_MILLION: Final = 1_000_000  # tokens; the unit of prices


@concise_repr()
@checked
@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """Most that a campaign may use, over all runs with the same journal.

    Attributes:
        requests: Requests, with those that failed in this run; None is unlimited.
        tokens: Tokens of prompts and answers; None is unlimited.
        cost: Cost in the currency of the prices; None is unlimited.
        prompt_price: Price of a million prompt tokens.
        answer_price: Price of a million answer tokens.

    Raises:
        UsageError: A cap or a price is out of range, or a cost has no price.
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
            raise UsageError(f"caps: expected caps above 0 and prices of at least 0, got {self}")
        if self.cost is not None and not any(prices):
            raise UsageError("cost: expected a price, got none; give prompt_price or answer_price")


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Requests, and the tokens of their prompts and answers."""

    requests: int = 0
    prompt: int = 0
    answer: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            requests=self.requests + other.requests,
            prompt=self.prompt + other.prompt,
            answer=self.answer + other.answer,
        )


class Ledger:
    """Usage so far, and reservations of requests in flight.

    Examples:
        >>> ledger, once = Ledger(Caps(requests=1)), Usage(requests=1)
        >>> ledger.reserve(once)
        >>> ledger.settle(once, once)
        >>> ledger.used.requests
        1
    """

    def __init__(self, caps: Caps) -> None:
        self.caps = caps
        self.used = Usage()
        self._reserved = Usage()

    def reserve(self, most: Usage) -> None:
        """Reserve the worst case of a request; raises `UsageError` if it could exceed a cap."""
        total = self.used + self._reserved + most
        for name, value, cap in (
            ("requests", total.requests, self.caps.requests),
            ("tokens", total.prompt + total.answer, self.caps.tokens),
            ("cost", self._cost(total), self.caps.cost),
        ):
            if cap is not None and value > cap:
                raise UsageError(
                    f"the cap of {cap} on {name} is reached: raise it; with the same --out, "
                    "finished attempts are not repeated"
                )
        self._reserved += most

    def settle(self, most: Usage, used: Usage) -> None:
        """Replace the reservation of a request by its usage."""
        self._reserved = Usage(
            requests=self._reserved.requests - most.requests,
            prompt=self._reserved.prompt - most.prompt,
            answer=self._reserved.answer - most.answer,
        )
        self.used += used

    def _cost(self, usage: Usage) -> float:
        prompt = usage.prompt * self.caps.prompt_price
        return (prompt + usage.answer * self.caps.answer_price) / _MILLION
