"""Taint tracking for one conversation with a language model.

untrusted text → `Session.admit` cleans, marks and taints → guarded tools with an effect are denied.
A tool that returns untrusted text taints as it starts. Taint is kept for the whole session: a text
can steer everything that the model says later, and no label on a Python string survives the model.
A nested session also taints the sessions around it.

Tasks of asyncio and `asyncio.to_thread` inherit the session of the block that starts them. Other
threads have none, and guarded tools are denied there until the thread calls `Session.join`.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Self, TypeAlias

from mlsecops._choices import checked
from mlsecops._repr import concise_repr
from mlsecops.errors import UsageError
from mlsecops.llm.guard import telemetry
from mlsecops.llm.guard.alerts import Alarm
from mlsecops.llm.guard.spotlight import Spotlighting, Spotlit, delimit
from mlsecops.llm.text.canaries import Canary

Effect: TypeAlias = Literal["none", "read", "write", "send", "execute"]

_LOGGER: Final = logging.getLogger("mlsecops.llm")
_NUMBERS: Final = itertools.count()
_current: ContextVar[Session | None] = ContextVar("mlsecops_llm_session", default=None)


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A tool call that needs confirmation.

    Attributes:
        tool: Name of the tool.
        effect: Kind of its effect.
        arguments: Its arguments by name; an attacker may have written them.
        sources: Sources of the untrusted text in the session.
    """

    tool: str
    effect: Effect
    arguments: Mapping[str, Any] = field(repr=False)
    sources: tuple[str, ...]


Confirm: TypeAlias = Callable[[ToolCall], bool | Awaitable[bool]]


class UntrustedText(str):
    """Text that a tool (`source`) returned from outside; any operation on it drops the label.

    Examples:
        >>> UntrustedText("Hello", source="mail").source
        'mail'
    """

    __slots__ = ("source",)

    source: str

    def __new__(cls, text: str, *, source: str = "somewhere") -> Self:
        """Label a text."""
        labelled = super().__new__(cls, text)
        labelled.source = source
        return labelled


@concise_repr("name", "_state", "_entered", "canaries")
class Session:
    """A conversation with a model, and the untrusted text in it.

    Args:
        name: Name of the guarded application, for alerts.
        confirm: Called before a tool with an effect runs in a tainted session. Only True allows the
            call; any other result, an exception and no `confirm` deny it. It may be `async` for
            tools that are.
        canaries: Secrets that no argument of a tool may contain, in any encoding.
        alarm: Raises an alert for each denied call.

    Raises:
        UsageError: A canary is not a `Canary`.

    Examples:
        >>> with Session() as session:
        ...     _ = session.admit("Great hotel.", source="review")
        ...     print(session.tainted, session.sources)
        True ('review',)
    """

    @checked
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
        self._entered: dict[int, str] = {}
        self._lock = threading.Lock()
        self._parent: Session | None = None
        self._token: Token[Session | None] | None = None
        self._state: Literal["new", "open", "closed"] = "new"

    def __enter__(self) -> Self:
        """Open the session for the calls of the block.

        Raises:
            UsageError: It was opened before.
        """
        if self._state != "new":
            raise UsageError(
                f"session {self.name!r}: expected a new one, got one that was opened before; make "
                "one for each conversation"
            )
        self._parent = _current.get()
        self._token = _current.set(self)
        self._state = "open"
        return self

    def __exit__(self, *_: object) -> None:
        self._state = "closed"
        if self._token is not None:
            _current.reset(self._token)

    @contextmanager
    def join(self) -> Iterator[Self]:
        """Enter the open session in another thread.

        Raises:
            UsageError: It is not open.
        """
        if not self.open:
            raise UsageError(f"session {self.name!r}: expected an open one, got {self._state}")
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
        """Unique number → source of each untrusted text, those of outer sessions first."""
        outer = {} if self._parent is None else self._parent.entered
        with self._lock:
            return outer | self._entered

    @property
    def sources(self) -> tuple[str, ...]:
        """Sources of its untrusted text, those of outer sessions first."""
        return tuple(dict.fromkeys(self.entered.values()))

    @property
    def tainted(self) -> bool:
        """Whether untrusted text has entered it or a session around it."""
        return bool(self.entered)

    def taint(self, source: str, *, text: str | None = None) -> int:
        """Record that untrusted text has entered, or is about to; returns its number in `entered`.

        Args:
            source: Its source, which appears in messages and telemetry.
            text: The text; telemetry gets its digest alone.
        """
        number = next(_NUMBERS)
        outermost = self._enter(number, source or "somewhere")
        facts = {} if text is None else {"text_digest": telemetry.digest_of(text)}
        telemetry.record(
            telemetry.TAINTS,
            {"session": outermost.name},
            event=telemetry.TAINTED,
            source=source,
            **facts,
        )
        return number

    def _enter(self, number: int, source: str) -> Session:
        with self._lock:
            self._entered[number] = source
        return self if self._parent is None else self._parent._enter(number, source)  # noqa: SLF001 - the same class

    def admit(self, text: str, *, source: str, spotlight: Spotlighting = delimit) -> Spotlit:
        """Taint the session with untrusted text, and return it marked by `spotlight`.

        Raises:
            InputRefused: The text cannot be marked.
        """
        self.taint(source, text=text if isinstance(text, str) else None)
        return spotlight(text)

    def unsafe_trust(self, *, reason: str) -> None:
        """Clear the taint of this session, not of those around it, and log the reason.

        Use it only if the model no longer has the text; a new session is nearly always better. The
        reason is evidence that no untrusted text is left.

        Raises:
            UsageError: The reason is empty.
        """
        if not reason.strip():
            raise UsageError("unsafe_trust: expected a reason, got none; say why nothing is left")
        with self._lock:
            dropped, self._entered = self._entered, {}
        _LOGGER.warning(
            "session %r: taint of %d texts dropped: %r", self.name, len(dropped), reason
        )


def current_session() -> Session | None:
    """The open session of the calling code, or None."""
    return _current.get()
