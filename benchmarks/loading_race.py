"""Race of SecureLoader against a writer that changes a model file without rest.

The writer swaps, overwrites, truncates, appends to, renames and relinks the file, and puts the true
bytes back after each, while it is loaded 1,000 times in each tier. A load may be refused; one that
succeeds must give the true tensors, and once the writer stops the next load must succeed.

Run: ``python -m benchmarks loading_race``
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import save_file

from mlsecops import SecureLoader, Signer, TrustPolicy, sign
from mlsecops.errors import MLSecOpsError
from mlsecops.loading.snapshot_tiers import TIERS, Tier
from tests.attackers.racing import racing

TRUE: Final = 7.0
FALSE: Final = -1.0


def main() -> int:
    """Race in each tier and each format; 1 if a false byte was loaded."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loads", type=int, default=1000, help="in each tier and format")
    loads = parser.parse_args().loads
    print(f"{'format':12} {'tier':13} {'loaded':>7} {'false':>6} {'refused':>8}  refusals")
    false = 0
    for suffix in (".safetensors", ".pt"):
        for tier in TIERS:
            outcomes = race(suffix, tier, loads)
            refused = {k: v for k, v in outcomes.items() if k not in {"loaded", "false"}}
            kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(refused.items()))
            print(
                f"{suffix[1:]:12} {tier:13} {outcomes['loaded']:7} {outcomes['false']:6} "
                f"{sum(refused.values()):8}  {kinds}"
            )
            false += outcomes["false"]
    return 1 if false else 0


def race(suffix: str, tier: Tier, loads: int) -> Counter[str]:
    """Outcomes of so many loads under a racing writer."""
    outcomes: Counter[str] = Counter(loaded=0, false=0)
    signer = Signer.generate("p256")
    loader = SecureLoader(TrustPolicy(keys=[signer.public_key]), tier=tier)
    with tempfile.TemporaryDirectory() as folder:
        file, other = Path(folder, f"model{suffix}"), Path(folder, f"false{suffix}")
        write(file, TRUE)
        write(other, FALSE)
        sign(file, signer)
        with racing(file, other.read_bytes(), seed=len(tier)):
            for _ in range(loads):
                outcomes[attempt(loader, file)] += 1
        if attempt(loader, file) != "loaded":
            raise SystemExit("the clean retry was refused")
    return outcomes


def attempt(loader: SecureLoader, file: Path) -> str:
    """Load once: loaded, false, or the kind of refusal."""
    try:
        weights: Any = loader.load(file).model
    except MLSecOpsError as error:
        return type(error).__name__
    return "loaded" if all(bool((t == TRUE).all()) for t in weights.values()) else "false"


def write(file: Path, value: float) -> None:
    """A model whose every weight is the value; files of one format are equally long."""
    weights = {f"layer.{n}": torch.full((256, 1024), value) for n in range(4)}
    if file.suffix == ".safetensors":
        save_file(weights, file)
    else:
        torch.save(weights, file)


if __name__ == "__main__":
    sys.exit(main())
