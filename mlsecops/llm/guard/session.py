"""Taint tracking for one conversation with a language model.

untrusted text → `Session.admit` cleans, marks and taints → guarded tools with an effect are denied.
A tool that returns untrusted text taints as it starts. Taint is kept for the whole session: a text
can steer everything that the model says later, and no label on a Python string survives the model.
A nested session also taints the sessions around it.

Tasks of asyncio and `asyncio.to_thread` inherit the session of the block that starts them. A block
in a generator keeps its session in whatever task the next step runs. Other threads have none, and
guarded tools are denied there until the thread calls `Session.join`.

With the user's request, a tool whose arguments all stand in it may run even so: they are the user's
(`provenance`). So may a call that was approved before the untrusted text entered (`approvals`),
with arguments of the user, or identified by a record that the user named (`records`).
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import sys
import threading
import types
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
from mlsecops.llm.guard.approvals import Approvals
from mlsecops.llm.guard.provenance import UserRequest, source_of, texts_of
from mlsecops.llm.guard.records import Identifies, Records, plain
from mlsecops.llm.guard.spotlight import Spotlighting, Spotlit, delimit
from mlsecops.llm.text.canaries import Canary

Effect: TypeAlias = Literal["none", "read", "write", "send", "pay", "execute"]

_LOGGER: Final = logging.getLogger("mlsecops.llm")
_NUMBERS: Final = itertools.count()
_REMEMBERED: Final = 1 << 20  # characters of untrusted texts for their provenance; chosen
_holders: dict[types.FrameType, Session] = {}
"""Frames whose `with` block holds a session open; a generator keeps its frame from step to step."""
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
        provenance: Argument → who wrote it: `"user"`, `"record"` (a record that the user named),
            `"default"`, a source, or `"model"`.
    """

    tool: str
    effect: Effect
    arguments: Mapping[str, Any] = field(repr=False)
    sources: tuple[str, ...]
    provenance: Mapping[str, str] = field(default_factory=dict)


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
        request: What the user asked for. In a tainted session a call whose arguments all stand in
            it runs without confirmation.

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
        request: str | None = None,
    ) -> None:
        self.name = name
        self.request = None if request is None else UserRequest(request)
        self.confirm = confirm
        self.canaries = tuple(canaries)
        self.alarm = alarm
        self._entered: dict[int, str] = {}
        self._texts: list[tuple[str, str]] = []
        self._room = _REMEMBERED
        self._approvals = Approvals()
        self._records = Records()
        self._frame: types.FrameType | None = None
        self._lock = threading.Lock()
        self._parent: Session | None = None
        self._outer: Session | None = None
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
        around = current_session()
        self._parent = around if around is not None and around.open else None
        self._token = _current.set(self)
        self._frame = sys._getframe(1)  # noqa: SLF001 - the frame of the block
        self._outer = _holders.get(self._frame)
        _holders[self._frame] = self
        self._state = "open"
        return self

    def __exit__(self, *_: object) -> None:
        self._state = "closed"
        frame, self._frame = self._frame, None
        if frame is not None and _holders.get(frame) is self:
            if self._outer is None:
                del _holders[frame]
            else:
                _holders[frame] = self._outer
        if self._token is not None:
            with contextlib.suppress(ValueError):  # another task closes the generator it is in
                _current.reset(self._token)
        left = _current.get()
        if left is not None and not left.open:  # two generators ended in the order they began
            _current.set(_open_around(left))

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
            with contextlib.suppress(ValueError):  # another task closes the generator it is in
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
        if text is not None:
            self.remember(source, text)
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

    def remember(self, source: str, result: Any, identifies: Identifies | None = None) -> None:
        """Keep the start of what a tool returned, to know later who wrote an argument.

        Args:
            source: The tool's name.
            result: Text, or lists, mappings, data classes and models of pydantic with texts.
            identifies: Fields of records that name them, and what these identify.
        """
        known = result if isinstance(result, str) else plain(result)
        with self._lock:
            for text in texts_of(known):
                if self._room <= 0:
                    break
                self._texts.append((source, text[: self._room]))
                self._room -= len(text)
            if identifies and self.request is not None:
                self._records.add(known, identifies, self.request)
        if self._parent is not None:
            self._parent.remember(source, known, identifies)

    def approve(self, tool: str, **arguments: Any) -> None:
        """Approve a call before untrusted text enters: one that fits runs without confirmation.

        Args:
            tool: Name of the tool.
            arguments: Its arguments by name: a value, a condition (a function that returns True for
                the values it allows), or `...` for one that may be anything. What is not mentioned
                has to be the user's.

        Raises:
            UsageError: Untrusted text has entered, so that nobody knows whose plan it is.

        Examples:
            >>> session = Session(request="Send Bob a summary of the page.")
            >>> session.approve("send_mail", text=...)
        """
        if self.tainted:
            raise UsageError(
                f"approve: expected a session without untrusted text, got {', '.join(self.sources)}"
                "; approve the plan before anything from outside is read"
            )
        self._approvals.add(tool, arguments)

    def is_approved(
        self, tool: str, arguments: Mapping[str, Any], provenance: Mapping[str, str]
    ) -> bool:
        """Whether a call was approved, once for each approval."""
        with self._lock:
            if self._approvals.take(tool, arguments, provenance):
                return True
        parent = self._parent
        return parent is not None and parent.is_approved(tool, arguments, provenance)

    def provenance(
        self, arguments: Mapping[str, Any], defaults: Mapping[str, Any]
    ) -> dict[str, str]:
        """Who wrote each argument, as in `ToolCall.provenance`."""
        return {name: self._author(name, value, defaults) for name, value in arguments.items()}

    def _author(self, name: str, value: Any, defaults: Mapping[str, Any]) -> str:
        if self.request is not None and self.request.holds(value):
            return "user"
        if self._records.identify(name, value):
            return "record"
        if name in defaults and type(defaults[name]) is type(value) and defaults[name] == value:
            return "default"
        return source_of(value, self._texts)

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
    here = _current.get()
    return (
        here if here is not None and here.open else _holding_frame() or _open_around(here) or here
    )


def _open_around(session: Session | None) -> Session | None:
    """The nearest open session around a closed one."""
    while session is not None and not session.open:
        session = session._parent  # noqa: SLF001 - of this module
    return session


def _holding_frame() -> Session | None:
    """The session of the nearest calling frame whose block holds one open."""
    frame: types.FrameType | None = sys._getframe(1)  # noqa: SLF001 - as above
    while frame is not None:
        found = _holders.get(frame)
        if found is not None:
            return found
        frame = frame.f_back
    return None
