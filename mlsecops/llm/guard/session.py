"""Has text from outside entered this conversation?

A `Session` is one conversation with a model. `Session.admit` cleans and marks text from a document,
a page or a tool, and taints the session; a tool that returns untrusted text (`tools`) taints it as
it starts. A taint stays: what a model read can steer everything that it says later, and no label
on a Python string survives the way through a model. So nothing is followed from text to text here;
the whole session is what is no longer trusted. A session inside another passes its taint outwards.

Tasks of asyncio and `asyncio.to_thread` inherit the session of the block that starts them. A thread
started in another way has none, in which every guarded tool is denied; let it `join`.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeAlias

from mlsecops.errors import UsageError
from mlsecops.llm.guard import telemetry
from mlsecops.llm.guard.alerts import Alarm
from mlsecops.llm.guard.spotlight import Spotlighting, Spotlit, delimit
from mlsecops.llm.text.canaries import Canary

__all__ = ["Confirm", "Effect", "Session", "ToolCall", "UntrustedText", "current_session"]

Effect: TypeAlias = Literal["none", "read", "write", "send", "execute"]

_LOGGER: Final = logging.getLogger("mlsecops.llm")
_NUMBERS: Final = itertools.count()
_current: ContextVar[Session | None] = ContextVar("mlsecops_llm_session", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A call of a tool that somebody has to decide on.

    Attributes:
        tool: Name of the tool.
        effect: What it does to the world.
        arguments: Its arguments by name; they may hold an attacker's text.
        sources: Where the untrusted text of the session is from.
    """

    tool: str
    effect: Effect
    arguments: Mapping[str, Any] = field(repr=False)
    sources: tuple[str, ...]


Confirm: TypeAlias = Callable[[ToolCall], bool | Awaitable[bool]]


class UntrustedText(str):
    """Text that a tool brought from outside; its label dies with the first operation on it.

    Args:
        text: The text.
        source: Which tool brought it.
    """

    __slots__ = ("source",)

    source: str

    def __new__(cls, text: str, *, source: str = "somewhere") -> Self:
        """Label a text."""
        labelled = super().__new__(cls, text)
        labelled.source = source
        return labelled


class Session:
    """One conversation with a model, and whether text from outside has entered it.

    Args:
        name: Name of what is guarded, for alerts.
        confirm: Asked before a tool with an effect runs in a tainted session; it gives True for
            yes, and whatever else it gives or raises is no. Without it the answer is no. It may be
            `async` for tools that are.
        canaries: Secrets that no argument of a tool may hold, in any encoding.
        alarm: Told of denied calls.

    Raises:
        UsageError: A canary is none.
    """

    def __init__(
        self,
        name: str = "chat",
        *,
        confirm: Confirm | None = None,
        canaries: Iterable[Canary] = (),
        alarm: Alarm | None = None,
    ) -> None:
        self.name = name
        self.confirm = confirm
        self.canaries = tuple(canaries)
        self.alarm = alarm
        for canary in self.canaries:
            if not isinstance(canary, Canary):
                raise UsageError(f"canaries: expected Canary, got {type(canary).__name__}")
        self._entered: dict[int, str] = {}
        self._lock = threading.Lock()
        self._parent: Session | None = None
        self._token: Token[Session | None] | None = None
        self._state: Literal["new", "open", "closed"] = "new"

    def __enter__(self) -> Self:
        """Open the session; what the block calls belongs to it.

        Raises:
            UsageError: It was opened before.
        """
        if self._state != "new":
            raise UsageError(f"session {self.name!r} was opened before: make one for each talk")
        self._parent = _current.get()
        self._token = _current.set(self)
        self._state = "open"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._state = "closed"
        if self._token is not None:
            _current.reset(self._token)

    @contextmanager
    def join(self) -> Iterator[Self]:
        """Let the code of another thread belong to this session.

        Raises:
            UsageError: It is not open.
        """
        if not self.open:
            raise UsageError(f"session {self.name!r} is {self._state}: only an open one is joined")
        token = _current.set(self)
        try:
            yield self
        finally:
            _current.reset(token)

    @property
    def open(self) -> bool:
        """Whether its block is running."""
        return self._state == "open"

    @property
    def entered(self) -> dict[int, str]:
        """Number → source of each untrusted text, its outer session's first.

        A number is given once, so that a second text of one source is told from the first.
        """
        outer = {} if self._parent is None else self._parent.entered
        with self._lock:
            return outer | self._entered

    @property
    def sources(self) -> tuple[str, ...]:
        """Where its untrusted text is from, its outer session's first; empty if there is none."""
        return tuple(dict.fromkeys(self.entered.values()))

    @property
    def tainted(self) -> bool:
        """Whether untrusted text has entered it or the session around it."""
        return bool(self.entered)

    def taint(self, source: str, *, text: str | None = None) -> int:
        """Say that untrusted text has entered, or is about to.

        Args:
            source: Where it is from; it appears in messages and in telemetry.
            text: The text; its digest is told, never itself.

        Returns:
            Its number in `entered`.
        """
        number = next(_NUMBERS)
        outermost = self._enter(number, source or "somewhere")
        facts = {} if text is None else {"text_digest": telemetry.digest_of(text)}
        telemetry.tell(
            telemetry.TAINTS,
            {"session": outermost.name},
            event=telemetry.TAINTED,
            source=source,
            **facts,
        )
        return number

    def _enter(self, number: int, source: str) -> Session:
        """Taint this session and those around it; the outermost one comes back."""
        with self._lock:
            self._entered[number] = source
        return self if self._parent is None else self._parent._enter(number, source)  # noqa: SLF001 - of its own class

    def admit(self, text: str, *, source: str, spotlight: Spotlighting = delimit) -> Spotlit:
        """Take in untrusted text: the session is tainted, and the text comes back marked.

        Args:
            text: Text from a document, a page, a mail or a tool.
            source: Where it is from.
            spotlight: How it is marked: `delimit`, `datamark` or `encode`.

        Raises:
            InputRefused: It cannot be marked.
        """
        self.taint(source, text=text if isinstance(text, str) else None)
        return spotlight(text)

    def unsafe_trust(self, *, reason: str) -> None:
        """Forget the taint of this session, not of the one around it, and log who says so.

        Only somebody who knows that the model no longer has the text may say so: a new session is
        nearly always right instead.

        Args:
            reason: Why it is known that nothing untrusted is left.

        Raises:
            UsageError: There is no reason.
        """
        if not reason.strip():
            raise UsageError("unsafe_trust: expected a reason, got none")
        with self._lock:
            dropped, self._entered = self._entered, {}
        _LOGGER.warning(
            "session %r: taint of %d texts dropped: %r", self.name, len(dropped), reason
        )


def current_session() -> Session | None:
    """The session that this code belongs to, or None."""
    return _current.get()
