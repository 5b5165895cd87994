"""What every stage of the demo shares, and how it tells people what happens."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mlsecops.demo.digits import Digits
from mlsecops.demo.network import Network
from mlsecops.errors import MLSecOpsError
from mlsecops.signing import KeySigner, TrustPolicy


class Narrator(Protocol):
    """Whoever tells the story (the command line, a notebook, a test)."""

    def step(self, number: int, title: str) -> None:
        """A stage begins."""

    def fact(self, label: str, text: str) -> None:
        """A result of the stage."""

    def done(self, seconds: float) -> None:
        """The stage ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoContext:
    """What stays the same through the whole demo.

    Attributes:
        out: Folder that everything is written into.
        seed: Makes the figures repeatable.
        network: The model's framework.
        digits: The data.
        signer: The release key, in memory only.
        policy: Trusts that key alone.
        narrator: Told of every result.
    """

    out: Path
    seed: int
    network: Network
    digits: Digits
    signer: KeySigner
    policy: TrustPolicy
    narrator: Narrator

    @contextmanager
    def step(self, number: int, title: str) -> Iterator[Callable[[str, str], None]]:
        """Tell of a stage's beginning and end; gives the call that tells a fact."""
        begun = time.perf_counter()
        self.narrator.step(number, title)
        yield self.narrator.fact
        self.narrator.done(time.perf_counter() - begun)

    def brief(self, error: MLSecOpsError, *, most: int = 100) -> str:
        """Kind and beginning of an error, on one line, with paths below the demo's folder."""
        text = f"{type(error).__name__}: {error}".replace(f"{self.out}{os.sep}", "")
        return text if len(text) <= most else f"{text[: most - 1]}…"


class NotRefused(MLSecOpsError):
    """An attack that must be refused went through: the demo stops, because a control failed."""


def refusal(attack: str, action: Callable[[], object]) -> MLSecOpsError:
    """Run an attack and give the error that refused it.

    Raises:
        NotRefused: Nothing refused it.
    """
    try:
        action()
    except MLSecOpsError as error:
        return error
    raise NotRefused(f"{attack} was not refused: a control is broken; please report this")
