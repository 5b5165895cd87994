"""What is done about a prompt that looks like an attack?

What a prompt looks like (`injection`: a `Detection`) and what is done about it (`Policy`: pass,
flag or refuse) are kept apart. By default a prompt is only flagged, since detection misses what is
worded anew and strikes what is innocent. `prompt_guard` joins both to a guard of the shape that
`monitored(guards=…)` takes: it counts, raises alerts of prompt injection and refuses; it keeps
no text and tells none, unless `record` asks for it. What it cannot read it refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeAlias

from mlsecops.errors import InputRefused, UsageError
from mlsecops.findings import Severity, Sink
from mlsecops.llm.guard import telemetry
from mlsecops.llm.guard.alerts import Alarm
from mlsecops.llm.guard.injection_detector import THRESHOLD, Detection, detect_injection

__all__ = ["Action", "Policy", "PromptGuard", "Record", "prompt_guard"]

Action: TypeAlias = Literal["pass", "flag", "refuse"]
Record: TypeAlias = Callable[[str, Detection, Action], object]

_LONGEST: Final = 100_000
_DEEPEST: Final = 8
_LABELS: Final = frozenset({"role", "type", "name", "id"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """From what a prompt looks like to what is done about it.

    Attributes:
        flag: Score from which on a prompt is flagged, above 0, at most 1.
        refuse: Score from which on it is refused; None never refuses for its score.
        refuse_signals: Names of signals that refuse whatever the score is (`"concealed"`).

    Raises:
        UsageError: A score is out of its range.
    """

    flag: float = THRESHOLD
    refuse: float | None = None
    refuse_signals: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for name, score in (("flag", self.flag), ("refuse", self.refuse)):
            if score is not None and not 0 < score <= 1:
                raise UsageError(f"{name}: expected a score above 0, at most 1, got {score}")

    def action(self, detection: Detection) -> Action:
        """What is done about it."""
        named = any(signal.name in self.refuse_signals for signal in detection.signals)
        if named or (self.refuse is not None and detection.score >= self.refuse):
            return "refuse"
        return "flag" if detection.score >= self.flag else "pass"


class PromptGuard:
    """Looks at prompts before the model does; made by `prompt_guard`."""

    control: Final = "Prompt injection"

    def __init__(
        self, *, policy: Policy, alarm: Alarm, record: Record | None, longest: int, name: str
    ) -> None:
        self._policy = policy
        self._alarm = alarm
        self._record = record
        self._longest = longest
        self._name = name

    def check(self, client: str | None, inputs: Any) -> None:
        """Let a prompt pass, flag it, or refuse it.

        Args:
            client: Who calls, or None.
            inputs: Text, messages (mappings with `content`), or a list of either.

        Raises:
            InputRefused: The policy refuses it, or it is no text, too long or too deeply nested.
        """
        try:
            text = self._read(inputs)
            detection = detect_injection(text, threshold=self._policy.flag)
            action = self._policy.action(detection)
        except InputRefused:
            self._count("error")
            raise
        except Exception as error:
            self._count("error")
            raise InputRefused(
                f"prompt: it could not be looked at ({type(error).__name__}), and what is not "
                "looked at is refused"
            ) from error
        self._told(client, text, detection, action)
        if action == "refuse":
            raise InputRefused(
                f"prompt: it looks like an injection (score {detection.score:.2f}: "
                f"{_named(detection)}); word it as a question about the matter itself"
            )

    def _told(self, client: str | None, text: str, detection: Detection, action: Action) -> None:
        """Count, and of what did not pass tell everybody who wants to know."""
        if action == "pass":
            self._count(action)
            return
        self._count(
            action,
            event=telemetry.FLAGGED,
            text_digest=telemetry.digest_of(text),
            injection_score=detection.score,
            injection_signals=tuple(signal.name for signal in detection.signals),
        )
        self._alarm.raise_(
            f"a prompt looks like an injection ({_named(detection)}), text "
            f"{telemetry.digest_of(text)}",
            client=client,
            reading=detection.score,
            threshold=self._policy.flag,
            severity=Severity.HIGH if action == "refuse" else Severity.MEDIUM,
        )
        if self._record is not None:
            try:
                self._record(text, detection, action)
            except Exception:  # noqa: BLE001 - a record that fails decides nothing
                self._count("record-failed")

    def _count(self, outcome: str, *, event: str | None = None, **facts: Any) -> None:
        labels = {"monitor": self._name, "outcome": outcome}
        telemetry.tell(telemetry.CHECKS, labels, event=event, **facts)

    def _read(self, inputs: Any) -> str:
        parts, size = [], 0
        for text in _texts(inputs, _DEEPEST):
            parts.append(text)
            size += len(text) + 1
            if size > self._longest + 1:
                raise InputRefused(
                    f"prompt: at most {self._longest} characters are looked at, got more; "
                    "shorten it, or raise longest"
                )
        return "\n".join(parts)


def prompt_guard(
    *,
    policy: Policy | None = None,
    name: str = "chat",
    sinks: Iterable[Sink] = (),
    digest: str | None = None,
    quiet: float = 60.0,
    record: Record | None = None,
    longest: int = _LONGEST,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> PromptGuard:
    """A guard for prompts: `monitored("chat", guards=(prompt_guard(),))`.

    Args:
        policy: What is done about what; by default prompts are flagged and none is refused.
        name: Value of `monitor` in alerts and metrics.
        sinks: Callables that take an `Alert` of each flagged or refused prompt.
        digest: `"sha256:<hex>"` of the model, so that an incident can isolate it.
        quiet: Seconds in which a client raises one alert, ≥ 0.
        record: Takes text, detection and action of what did not pass; with it you keep what users
            wrote.
        longest: Most characters of a prompt; more is refused, since it would not be looked at.
        clock: Gives the time of alerts, timezone-aware.

    Raises:
        UsageError: A number is out of its range.
    """
    if longest < 1:
        raise UsageError(f"longest: expected at least 1 character, got {longest}")
    alarm = Alarm(name, sinks=sinks, digest=digest, quiet=quiet, clock=clock)
    return PromptGuard(
        policy=policy or Policy(), alarm=alarm, record=record, longest=longest, name=name
    )


def _named(detection: Detection) -> str:
    return ", ".join(signal.name for signal in detection.signals)


def _texts(inputs: Any, deepest: int) -> Iterator[str]:
    """Every text of a prompt, in order; of messages all roles, for a client may forge them."""
    if isinstance(inputs, str):
        yield inputs
    elif deepest <= 0:
        raise InputRefused("prompt: its messages are nested too deeply")
    elif isinstance(inputs, Mapping):
        told = [value for key, value in inputs.items() if key not in _LABELS]
        held = [value for value in told if isinstance(value, (str, Mapping, list, tuple))]
        if not held:
            raise InputRefused("prompt: a message has no text")
        for value in held:
            yield from _texts(value, deepest - 1)
    elif isinstance(inputs, (list, tuple)):
        for each in inputs:
            yield from _texts(each, deepest - 1)
    elif hasattr(inputs, "content"):
        yield from _texts(inputs.content, deepest - 1)
    else:
        raise InputRefused(f"prompt: expected text or messages, got {type(inputs).__name__}")
