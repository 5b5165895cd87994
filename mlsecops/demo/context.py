"""Context of the demo's stages, and the narrator of their results."""

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
    """Receiver of steps and results (the command line, a notebook, a test)."""

    def step(self, number: int, title: str) -> None:
        """A stage begins."""

    def fact(self, label: str, text: str) -> None:
        """A result of the stage."""

    def done(self, seconds: float) -> None:
        """The stage ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoContext:
    """Values that all stages share; the release key is in memory only."""

    out: Path
    seed: int
    network: Network
    digits: Digits
    signer: KeySigner
    policy: TrustPolicy
    narrator: Narrator

    @contextmanager
    def step(self, number: int, title: str) -> Iterator[Callable[[str, str], None]]:
        """Report the start and end of a stage; yields the function that reports a fact."""
        begun = time.perf_counter()
        self.narrator.step(number, title)
        yield self.narrator.fact
        self.narrator.done(time.perf_counter() - begun)

    def brief(self, error: MLSecOpsError) -> str:
        """Type and first words of an error, with paths relative to the demo's folder."""
        text = f"{type(error).__name__}: {error}".replace(f"{self.out}{os.sep}", "")
        return text if len(text) <= 100 else f"{text[:99]}…"  # noqa: PLR2004 - one line


class NotRefused(MLSecOpsError):
    """An attack was not refused: the demo stops, because a control failed."""


def refusal(attack: str, action: Callable[[], object]) -> MLSecOpsError:
    """Run an attack and return the error that refused it, or raise `NotRefused`."""
    try:
        action()
    except MLSecOpsError as error:
        return error
    raise NotRefused(f"{attack} was not refused: a control is broken; please report this")
