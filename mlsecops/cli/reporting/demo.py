"""`mlsecops demo`: the whole pipeline on real data, with its six deliverables."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from types import FrameType

EXAMPLE = "example: mlsecops demo --out demo-out --seed 0"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.epilog = EXAMPLE
    parser.add_argument(
        "--out", type=Path, default=Path("demo-out"), metavar="DIR", help="default demo-out"
    )
    parser.add_argument("--seed", type=_seed, default=0, help="makes the figures repeatable")
    parser.add_argument(
        "--framework", choices=("torch", "tensorflow"), default="torch",
        help="trains and serves the model; default torch",
    )  # fmt: skip
    parser.add_argument("--overwrite", action="store_true", help="replace results in DIR")


def run(options: argparse.Namespace) -> int:
    """Tell the story and print where the deliverables are."""
    signal.signal(signal.SIGTERM, _interrupt)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from mlsecops.demo import run_demo  # noqa: PLC0415 - after the framework's logging is set

    delivery = run_demo(
        options.out,
        narrator=Printed(),
        seed=options.seed,
        framework=options.framework,
        overwrite=options.overwrite,
    )
    print("\nDeliverables:")
    for name in delivery.files:
        print(f"  {options.out / name}")
    print(f"\nOpen {options.out / 'index.html'}")
    return 0


class Printed:
    """Prints the story as it goes."""

    def __init__(self) -> None:
        self._bold, self._dim, self._plain = (
            ("\x1b[1m", "\x1b[2m", "\x1b[0m") if sys.stdout.isatty() else ("", "", "")
        )

    def step(self, number: int, title: str) -> None:
        """A stage begins."""
        print(f"\n{self._bold}[{number}/8] {title}{self._plain}", flush=True)

    def fact(self, label: str, text: str) -> None:
        """A result of the stage."""
        print(f"      {label:<17} {text}", flush=True)

    def done(self, seconds: float) -> None:
        """The stage ended."""
        print(f"      {self._dim}{seconds:.1f} s{self._plain}", flush=True)


def _seed(text: str) -> int:
    value = int(text)
    if not 0 <= value < 2**31:
        raise argparse.ArgumentTypeError(f"expected 0 to 2147483647, got {value}")
    return value


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
