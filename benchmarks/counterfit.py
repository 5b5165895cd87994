"""One attack of Counterfit through its own `build_attack` and `run_attack`, on our target.

Counterfit 1.1.0 (github.com/Azure/counterfit; the package of that name on PyPI is another's) is
imported from a checkout. Its frameworks for text and pictures (TextAttack, AugLy), its sample
targets and its reports are left out, since they need many more packages of 2022; its core and its
framework for ART, of the version that it demands, are as they are.

Run: `make peers`, `benchmarks/.env-counterfit/bin/pip install --no-deps
adversarial-robustness-toolbox==1.12.1`, then
`PYTHONPATH=. benchmarks/.env-counterfit/bin/python -m benchmarks.counterfit --source CHECKOUT`
"""

from __future__ import annotations

import argparse
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression


def start() -> None:
    """Attack a model of irises, and print what Counterfit says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, required=True, help="folder that holds counterfit/")
    print(attacked(parser.parse_args().source))


def attacked(source: Path) -> dict[str, Any]:
    """Result of HopSkipJump, as Counterfit records it."""
    core, targets = imported(source)
    from mlsecops.integrations.counterfit import target  # noqa: PLC0415 - after Counterfit

    x, y = load_iris(return_X_y=True)
    x = x / x.max(axis=0)
    model = LogisticRegression(max_iter=500, C=10).fit(x, y)
    made = target(model, x, name="irises", output_classes=["0", "1", "2"])
    attack = core.Counterfit.build_attack(made, "hop_skip_jump")
    attack.options.update({"max_iter": 5, "max_eval": 200, "sample_index": [0, 60, 120],
                           "verbose": False})  # fmt: skip
    done = core.Counterfit.run_attack(attack)
    return {
        "a CFTarget": isinstance(made, targets.CFTarget), "run": done,
        "status": attack.attack_status,
        "success": np.asarray(attack.success).tolist(), "from": list(attack.initial_labels),
        "to": list(attack.final_labels), "queries": attack.logger.num_queries,
        "distance": float(np.abs(attack.results - attack.samples).max()),
    }  # fmt: skip


def imported(source: Path) -> tuple[Any, Any]:
    """Counterfit's modules `core` and `targets`, with its framework for ART alone."""
    sys.path.insert(0, str(source))
    package: Any = types.ModuleType("counterfit")
    package.__path__ = [str(source / "counterfit")]
    frameworks: Any = types.ModuleType("counterfit.frameworks")
    frameworks.__path__ = [str(source / "counterfit" / "frameworks")]
    sys.modules |= {"counterfit": package, "counterfit.frameworks": frameworks}
    import counterfit.core.targets as targets  # type: ignore[import-not-found, unused-ignore] # noqa: PLC0415, PLR0402 - from the checkout
    from counterfit.core import attacks, core  # type: ignore[import-not-found, unused-ignore] # noqa: PLC0415 - as above
    from counterfit.core.frameworks import CFFramework  # type: ignore[import-not-found, unused-ignore] # noqa: PLC0415 - as above

    package.CFTarget, package.CFAttack = targets.CFTarget, attacks.CFAttack
    frameworks.CFFramework = CFFramework
    import counterfit.frameworks.art.art  # type: ignore[import-not-found, unused-ignore] # noqa: F401, PLC0415 - registers itself

    return core, targets


if __name__ == "__main__":
    start()
