"""Failures of a model's service, by what a further request can change.

status and description of an error → `"blocked"` (a content filter), `"permanent"` (quota, key,
address, parameter), `"transient"` or `"other"`. `FailureLimit` ends a run after permanent ones.

Source: OpenAI API reference, "Error codes"; Azure OpenAI, "Content filtering"; Anthropic API
reference, "Errors".
"""

from __future__ import annotations

import re
from typing import Any, Final, Literal, TypeAlias

from mlsecops.errors import UsageError
from mlsecops.llm.redteam.answers import member

__all__ = ["FailureKind", "FailureLimit", "kind_of", "printable_start"]

FailureKind: TypeAlias = Literal["blocked", "permanent", "transient", "other"]

TRANSIENT: Final = frozenset({408, 425, 429, 500, 502, 503, 504, 529})
WRONG_REQUEST: Final = frozenset({401, 403, 404, 405})  # a wrong key, model or address
_UNPAID: Final = 402  # HTTP status; RFC 9110, section 15.5.3
_BUSY: Final = 429  # HTTP status; RFC 6585, section 4
_BAD_REQUEST: Final = frozenset({400, 413, 422})
_FAILED: Final = 400  # HTTP status; from here on an error
_MOST: Final = 3  # permanent failures in a row that end a run; the contract's number
_SHOWN: Final = 160  # characters of a server's message that are shown; chosen
_FILTER: Final = re.compile(
    r"content.?filter|content.?(?:management.?)?polic|responsible.?ai|guardrail|moderation"
    r"|\bflagged\b|safety.(?:system|filter|setting|polic|reason|check)|jailbreak|prompt.?injection"
    r"|harmful|content_blocked|prompt_blocked",
    flags=re.IGNORECASE,
)
_QUOTA: Final = re.compile(
    r"insufficient.?(?:quota|funds|balance|credit)|billing|credit.?balance|out of credits"
    r"|exceeded your current quota|payment.?required|hard.?limit",
    flags=re.IGNORECASE,
)
_WRONG: Final = re.compile(
    r"unsupported|not.supported|unrecogni[sz]ed|unknown.(?:parameter|field|argument|name|model)"
    r"|invalid.(?:parameter|field|argument|value|type|model|api.?key|authentication)|missing"
    r"|extra.(?:inputs|fields|forbidden)|not.permitted|not.allowed|does.not.(?:exist|support)"
    r"|model.not.found|deprecated|decommissioned|field.required|must.be|should.be|expected"
    r"|authentication|permission|not_found",
    flags=re.IGNORECASE,
)
_OF_THIS_PROMPT: Final = re.compile(
    r"context.?(?:length|window)|too.long|maximum.context|too many tokens", flags=re.IGNORECASE
)


def kind_of(status: int, error: Any, *, retry_after: bool = False) -> FailureKind:
    """What a failure means for further requests.

    Args:
        status: HTTP status, ≥ 400.
        error: The service's description: mapping, object or text.
        retry_after: Whether the service says when to come back.

    Examples:
        >>> kind_of(500, {"code": "content_filter"})
        'blocked'
        >>> kind_of(429, {"code": "insufficient_quota"}), kind_of(429, {})
        ('permanent', 'transient')
    """
    names, words = _described(error)
    if status >= _FAILED and (_FILTER.search(names) or _FILTER.search(words)):
        return "blocked"
    if status in WRONG_REQUEST or status == _UNPAID:
        return "permanent"
    if status == _BUSY:
        unpaid = _QUOTA.search(names) or (not retry_after and _QUOTA.search(words))
        return "permanent" if unpaid else "transient"
    if status in _BAD_REQUEST:
        if _OF_THIS_PROMPT.search(names) or _OF_THIS_PROMPT.search(words):
            return "other"
        wrong = member(error, "param") or any(
            known.search(text) for known in (_WRONG, _QUOTA) for text in (names, words)
        )
        return "permanent" if wrong else "other"
    return "transient" if status in TRANSIENT else "other"


def _described(error: Any) -> tuple[str, str]:
    """Names (codes and types) and words of an error."""
    if isinstance(error, str) or error is None:
        return "", (error or "")[:2000]
    inner = member(error, "innererror")
    named = [member(error, "code"), member(error, "type"), member(inner, "code")]
    said = member(error, "message") or member(error, "detail") or ""
    return " ".join(str(each) for each in named if each), str(said)[:2000]


def printable_start(text: str) -> str:
    """The start of a server's words, without what could steer a terminal."""
    return "".join(each if each.isprintable() else " " for each in text)[:_SHOWN].strip()


class FailureLimit:
    """End of a run after permanent failures: at once before anything worked, or the third in a row.

    Examples:
        >>> limit = FailureLimit("the model")
        >>> limit.failed("answered 429 (no quota)"), limit.failed("answered 429 (no quota)")
        (None, None)
        >>> try:
        ...     limit.failed("answered 429 (no quota)")
        ... except UsageError as error:
        ...     print(str(error).partition(":")[0])
        the model answered 429 (no quota), 3 times in a row
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._row = 0
        self._error: UsageError | None = None
        self.worked = False

    def check(self) -> None:
        """Raise the error that ended the run, if it has ended."""
        if self._error is not None:
            raise self._error

    def succeeded(self) -> None:
        """Note a request that was served."""
        self.worked, self._row = True, 0

    def failed(self, what: str, *, at_once: bool = False) -> None:
        """Note a permanent failure; raises `UsageError` if it ends the run."""
        self._row += 1
        if self._row < _MOST and not (at_once and not self.worked):
            return
        times = "" if self._row < _MOST else f", {self._row} times in a row"
        self._error = self._error or UsageError(f"{self._name} {what}{times}: {_advice(what)}")
        raise self._error


def _advice(what: str) -> str:
    words = what.lower()
    if "max_tokens" in words or "max_completion_tokens" in words:
        return (
            'give the parameter that the model takes: --body \'{"max_tokens": null, '
            '"max_completion_tokens": 512}\''
        )
    if "temperature" in words:
        return "leave it out: --body '{\"temperature\": null}'"
    if _QUOTA.search(what):
        return "no further request can succeed; raise the quota and run it again"
    return "check the address, the model and the key"
