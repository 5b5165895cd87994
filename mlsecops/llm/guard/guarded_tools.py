"""Guarded tools of a language model: allowed, confirmed or denied by the taint of the session.

call → permit (session, effect, arguments) → tool → result, labelled as untrusted text

In a tainted session (`session`) a tool with an effect is denied or has to be confirmed; outside of
a session every call is denied. Each call is checked at its start, and a generator before each step.

This keeps honest code to a policy. It does not cover a tool whose declared effect is too low, nor
code that calls the function underneath.

Source: Debenedetti et al., "Defeating Prompt Injections by Design" (2025), for tools with effects
as the place to defend; Beurer-Kellner et al., "Design Patterns for Securing LLM Agents against
Prompt Injections" (2025).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, Literal, NamedTuple, ParamSpec, TypeVar, cast

from mlsecops._callables import (
    Hooks,
    arguments_by_name,
    async_steps,
    called_first,
    name_of,
    signature_of,
    steps,
    wrap,
)
from mlsecops._choices import checked
from mlsecops.errors import AccessDenied, UsageError
from mlsecops.findings import Severity
from mlsecops.llm.guard import telemetry
from mlsecops.llm.guard.records import Identifies, fields_of, is_plain_value
from mlsecops.llm.guard.session import Effect, Session, ToolCall, UntrustedText, current_session

_P = ParamSpec("_P")
_R = TypeVar("_R")

_HARMLESS: Final = frozenset({"none", "read"})
_DEEPEST: Final = 12  # levels; chosen: arguments nested deeper are denied


@called_first('@guarded_tool(effect="read")')
@checked
def guarded_tool(
    *,
    effect: Effect,
    returns: Literal["untrusted", "values", "trusted"] = "untrusted",
    tainted: Literal["confirm", "deny"] = "confirm",
    name: str | None = None,
    identifies: Identifies | None = None,
) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Make a function a tool of a model, to be called within a session.

    Args:
        effect: `"none"` computes; `"read"` reads what the asking user may see; the others have an
            effect: `"write"` changes something, `"send"` sends something out (a mail, or any
            request whose address the model chooses), `"pay"` moves money, `"execute"` runs code.
        returns: `"untrusted"` if the result can hold text of other people. The session is then
            tainted when the tool starts, because its errors can hold such text too. `"values"` if
            it is numbers, dates and single words of at most 32 characters, which is checked: any
            other result, and an error, taints.
        tainted: Rule for a tool with an effect in a tainted session: `"confirm"` asks the
            session's `confirm`, `"deny"` denies without asking.
        name: Name of the tool; that of the function by default.
        identifies: Fields by which the user names a record of the result, with what it then
            identifies in approved calls: `{"filename": {"file_id": "id"}}` lets an argument
            `file_id` be the `id` of the one record whose `filename` stands in the request. State
            fields that strangers cannot write: names of the user's own files or contacts, not
            subjects of mails.

    Returns:
        The decorator, for every kind of callable. The decorated function raises `AccessDenied`
        when a call is denied.

    Raises:
        UsageError: A value is unknown or of another form, or the decorated object is no function.

    Examples:
        >>> from mlsecops.llm import Session
        >>> @guarded_tool(effect="read")
        ... def invoice(number: int): return f"invoice {number}"
        >>> with Session(): invoice(311)
        'invoice 311'
    """
    known_fields = fields_of(identifies)

    def hooks(function: Callable[..., Any]) -> Hooks:
        known = name or name_of(function)
        rules = _Rules(known, effect, returns, tainted, _defaults(function), known_fields)
        attributes = {"guarded_effect": effect, "guarded_name": known}
        named = arguments_by_name(function)

        def permit(args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Permit:
            return _Permit(rules, named(args, kwargs))

        def asked(args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Permit:
            held = permit(args, kwargs)
            held.ask()
            return held

        async def asked_async(args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Permit:
            held = permit(args, kwargs)
            await held.ask_async()
            return held

        return replace(
            _STEPS,
            before=asked,
            before_async=asked_async,
            before_steps=permit,
            attributes=attributes,
        )

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
        return cast("Callable[_P, _R]", wrap(function, hooks, decorator="guarded_tool"))

    return decorate


class _Rules(NamedTuple):
    name: str
    effect: Effect
    returns: str
    tainted: str
    defaults: Mapping[str, Any]
    identifies: Identifies

    @property
    def untrusted(self) -> bool:
        """Whether a call taints as it starts."""
        return self.returns == "untrusted"


def _defaults(function: Callable[..., Any]) -> dict[str, Any]:
    signature = signature_of(function)
    parameters = {} if signature is None else signature.parameters
    return {
        name: each.default
        for name, each in parameters.items()
        if each.default is not inspect.Parameter.empty
    }


class _Permit:
    """Permission of one call, checked at its start and before each further step."""

    def __init__(self, rules: _Rules, arguments: Mapping[str, Any]) -> None:
        self._rules = rules
        self._arguments = arguments
        self._session = current_session()
        self._known: frozenset[int] = frozenset()  # texts at the last permission
        self._seen: frozenset[int] = frozenset()  # texts at the last check
        self._confirmed = False
        self._approved = False
        self._begun = False
        self._inspect()

    def ask(self) -> None:
        call = self._judged()
        if call is not None:
            self._answered(self._asked(call))
        self._go()

    async def ask_async(self) -> None:
        """As `ask`, with a session's `confirm` that may be awaited."""
        call = self._judged()
        if call is not None:
            answer = self._asked(call)
            if inspect.isawaitable(answer):
                try:
                    answer = await answer
                except Exception as error:
                    raise self._denied(f"confirm failed ({type(error).__name__})") from error
            self._answered(answer)
        self._go()

    def result(self, value: Any) -> Any:
        if self._rules.returns != "trusted" or self._rules.identifies:
            for each in self._sessions():
                each.remember(self._rules.name, value, self._rules.identifies)
        if self._rules.returns == "values" and not is_plain_value(value):
            self._taint()
        if self._rules.untrusted and type(value) is str:
            return UntrustedText(value, source=self._rules.name)
        return value

    def failed(self, _error: BaseException) -> None:
        """Taint for the text of an error, which nobody checked."""
        if self._rules.returns == "values":
            self._taint()

    def _taint(self) -> None:
        own = [each.taint(self._rules.name) for each in self._sessions()]
        self._known |= frozenset(own)  # the text of a tool does not stop its own next step

    def _sessions(self) -> list[Session]:
        here = current_session()
        return [each for each in dict.fromkeys((self._session, here)) if each is not None]

    def _inspect(self) -> None:
        """Deny arguments with a canary, and taint the sessions with untrusted arguments."""
        sessions = self._sessions()
        try:
            texts = list(_texts(self._arguments, _DEEPEST))
            leaks = any(
                canary.find(text) for each in sessions for canary in each.canaries for text in texts
            )
        except Exception as error:
            raise self._denied(f"its arguments cannot be read ({type(error).__name__})") from error
        if leaks:
            raise self._denied("an argument holds a secret of the system prompt")
        for text in texts:
            if isinstance(text, UntrustedText):
                for each in sessions:
                    each.taint(text.source, text=text)

    def _judged(self) -> ToolCall | None:
        """The call if it has to be confirmed, or None."""
        sessions = self._sessions()
        if self._session is None or not all(each.open for each in sessions):
            raise self._denied("it was called outside of an open session, where nothing is known")
        entered = {key: source for each in sessions for key, source in each.entered.items()}
        self._seen, sources = frozenset(entered), tuple(dict.fromkeys(entered.values()))
        if self._rules.effect in _HARMLESS or (not self._seen - self._known and self._begun):
            return None
        provenance = self._session.provenance(self._arguments, self._rules.defaults)
        if self._is_the_users(provenance) or not self._seen - self._known:
            self._known |= self._seen
            return None
        call = ToolCall(
            tool=self._rules.name,
            effect=self._rules.effect,
            arguments=self._arguments,
            sources=sources,
            provenance=provenance,
        )
        if self._rules.tainted == "deny" or self._session.confirm is None:
            raise self._denied(f"untrusted text has entered the session ({', '.join(sources)})")
        return call

    def _is_the_users(self, provenance: Mapping[str, str]) -> bool:
        """Whether the user asked for this very call, or approved it before.

        An approval is used up by the first call that it fits, tainted or not, so that none is left
        for an attacker.
        """
        session = self._session
        if session is None:
            return False
        if not self._begun and session.is_approved(self._rules.name, self._arguments, provenance):
            self._approved = True
        authors = set(provenance.values())
        asked_for = session.request is not None and "user" in authors
        if self._rules.tainted == "deny":
            return False
        return self._approved or (asked_for and authors <= {"user", "default"})

    def _asked(self, call: ToolCall) -> Any:
        confirm = self._session.confirm if self._session is not None else None
        try:
            return None if confirm is None else confirm(call)
        except Exception as error:
            raise self._denied(f"confirm failed ({type(error).__name__})") from error

    def _answered(self, answer: Any) -> None:
        if answer is not True:
            if inspect.iscoroutine(answer):
                answer.close()
                raise self._denied("confirm is async, and this tool is not")
            raise self._denied("it was not confirmed")
        self._confirmed = True
        self._known |= self._seen

    def _go(self) -> None:
        if self._begun:
            return
        self._begun = True
        self._count("confirmed" if self._confirmed else "allowed")
        if self._rules.untrusted:
            self._taint()

    def _count(self, outcome: str, *, event: str | None = None, **facts: Any) -> None:
        labels = {"tool": self._rules.name, "effect": self._rules.effect, "outcome": outcome}
        telemetry.record(telemetry.TOOL_CALLS, labels, event=event, **facts)

    def _denied(self, why: str) -> AccessDenied:
        rules, session = self._rules, self._session
        self._count("denied", event=telemetry.TOOL_DENIED, reason=why)
        if session is not None and session.alarm is not None:
            session.alarm.raise_(
                f"tool {rules.name} (effect: {rules.effect}) was denied: {why}",
                client=None,
                reading=1.0,
                threshold=1.0,
                severity=Severity.HIGH,
            )
        return AccessDenied(
            f"tool {rules.name} (effect: {rules.effect}) is denied: {why}; give the session a "
            "confirm that a person answers, or call the tool in a session without untrusted text"
        )


def _result(held: _Permit, value: Any) -> Any:
    """The result; a generator or coroutine as result is checked at each of its steps."""
    if inspect.isasyncgen(value):
        return async_steps(value, held, _STEPS)
    if inspect.isgenerator(value):
        return steps(value, held, _STEPS)
    if inspect.iscoroutine(value):
        return _awaited(value, held)
    return held.result(value)


async def _awaited(value: Any, held: _Permit) -> Any:
    try:
        await held.ask_async()
    except BaseException:
        value.close()
        raise
    return _result(held, await value)


_STEPS: Final = Hooks(
    at_call=True,
    step=_Permit.ask,
    step_async=_Permit.ask_async,
    item=_Permit.result,
    after=_result,
    failed=_Permit.failed,
)


def _texts(value: Any, deepest: int) -> Iterator[str]:
    if deepest < 0:
        raise UsageError("arguments are nested too deeply")
    if isinstance(value, str):
        yield value
    elif isinstance(value, (bytes, bytearray, memoryview)):
        yield bytes(value).decode("utf-8", errors="replace")
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _texts(key, deepest - 1)
            yield from _texts(each, deepest - 1)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for each in value:
            yield from _texts(each, deepest - 1)
    elif value is not None and not isinstance(value, (int, float, complex)):
        yield str(value)
