"""Tokens of a request as services report them, and what they cost.

usage of a chat completion, a response or an Anthropic message → `TokenUsage` → cost

Source: OpenAI API reference, "Chat Completions" and "Responses", `usage`; Anthropic API reference,
"Messages", `usage`: there `input_tokens` excludes what the cache gave or took. OpenTelemetry's
conventions for generative AI count cached tokens among the input.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlsecops._choices import number
from mlsecops._repr import concise_repr
from mlsecops.llm.redteam.answers import member

__all__ = ["TokenPrice", "TokenUsage", "read_usage"]

_DETAILS = ("prompt_tokens_details", "input_tokens_details")


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPrice:
    """Price of a model's tokens.

    Attributes:
        input: Price of a million tokens of the prompt, ≥ 0.
        output: Price of a million tokens of the answer, ≥ 0.
        cached: Price of a million tokens of the prompt that the service had cached; that of others
            by default.
        currency: ISO 4217 code.

    Examples:
        >>> TokenPrice(input=2.5, output=10).cost(TokenUsage(input=2000, output=100))
        0.006
    """

    input: float
    output: float
    cached: float | None = None
    currency: str = "USD"

    def __post_init__(self) -> None:
        for name in ("input", "output", "cached"):
            value = getattr(self, name)
            if value is not None:
                number(name, value, "a price from 0 on", lambda each: each >= 0)

    def cost(self, usage: TokenUsage) -> float | None:
        """What a request cost, in the currency; None where the service did not count tokens."""
        if usage.input is None or usage.output is None:
            return None
        cheap = self.input if self.cached is None else self.cached
        plain = usage.input - usage.cached
        total = plain * self.input + usage.cached * cheap + usage.output * self.output
        return round(total / 1e6, 12)


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class TokenUsage:
    """Tokens of a request; None where the service did not say.

    Attributes:
        input: Of the prompt, those of a cache included.
        output: Of the answer, reasoning included.
        cached: Those of the prompt that a cache gave.
    """

    input: int | None = None
    output: int | None = None
    cached: int = 0

    def updated(self, later: TokenUsage) -> TokenUsage:
        """This usage with what a later piece of a stream says."""
        return TokenUsage(
            input=self.input if later.input is None else later.input,
            output=self.output if later.output is None else later.output,
            cached=later.cached or self.cached,
        )


def read_usage(usage: Any) -> TokenUsage:
    """Tokens by a service's `usage`, a mapping or an object; nothing where it makes no sense.

    Examples:
        >>> read_usage({"prompt_tokens": 7, "completion_tokens": 2}).output
        2
    """
    prompt = _count(usage, "prompt_tokens")
    cached = next((each for name in _DETAILS if (each := _cached(member(usage, name)))), 0)
    if prompt is None and (prompt := _count(usage, "input_tokens")) is not None:
        read = _count(usage, "cache_read_input_tokens") or 0
        made = _count(usage, "cache_creation_input_tokens") or 0
        prompt, cached = prompt + read + made, cached or read
    answer = _count(usage, "completion_tokens")
    if answer is None:
        answer = _count(usage, "output_tokens")
    return TokenUsage(input=prompt, output=answer, cached=min(cached, prompt or 0))


def _cached(details: Any) -> int:
    return _count(details, "cached_tokens") or 0


def _count(usage: Any, name: str) -> int | None:
    value = member(usage, name)
    return value if type(value) is int and value >= 0 else None
