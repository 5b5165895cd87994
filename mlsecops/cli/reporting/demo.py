"""Command `mlsecops demo`: seed and framework → pipeline on real data → six deliverables."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from types import FrameType

from mlsecops._repr import printable
from mlsecops.cli.options import option
from mlsecops.cli.terminal import show
from mlsecops.cli.values import seed

EXAMPLE = "mlsecops demo --out demo-out --seed 0"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    option(parser, "--out DIR", "output folder", type=Path, default=Path("demo-out"))
    option(parser, "--seed SEED", "seed of the random numbers", type=seed, default=0)
    option(parser, "--framework", "framework that trains and serves the model",
           choices=("torch", "tensorflow"), default="torch")  # fmt: skip
    option(parser, "--overwrite", "replace the results in DIR")


def run(options: argparse.Namespace) -> int:
    """Run the demo and print the paths of the deliverables."""
    signal.signal(signal.SIGTERM, _interrupt)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from mlsecops.demo import run_demo  # noqa: PLC0415 - after the log level is set

    delivery = run_demo(
        options.out,
        narrator=Printed(),
        seed=options.seed,
        framework=options.framework,
        overwrite=options.overwrite,
    )
    print("\nDeliverables:")
    for name in delivery.files:
        show(f"  {options.out / name}")
    print()
    show(f"Open {options.out / 'index.html'}")
    return 0


class Printed:
    """Narrator that prints each stage and its results."""

    def __init__(self) -> None:
        self._bold, self._dim, self._plain = (
            ("\x1b[1m", "\x1b[2m", "\x1b[0m") if sys.stdout.isatty() else ("", "", "")
        )

    def step(self, number: int, title: str) -> None:
        """Print the start of a stage."""
        print(f"\n{self._bold}[{number}/8] {title}{self._plain}", flush=True)

    def fact(self, label: str, text: str) -> None:
        """Print a result of the stage."""
        print(f"      {label:<17} {printable(text)}", flush=True)

    def done(self, seconds: float) -> None:
        """Print the duration of the stage."""
        print(f"      {self._dim}{seconds:.1f} s{self._plain}", flush=True)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
