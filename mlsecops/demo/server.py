"""Second server process: it serves the same registry and checks it at every call.

    line of standard input → `ok DIGIT` or `refused ERROR`, until the input ends

Arguments: REGISTRY KEY.pub.pem FRAMEWORK IMAGES.npz CHECKPOINT

The checkpoint of the registry's log comes from who starts the server: an older log is refused.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlsecops.adapters import adapt
from mlsecops.demo.network import network
from mlsecops.demo.release_stage import NAME
from mlsecops.errors import MLSecOpsError
from mlsecops.loading import SecureLoader
from mlsecops.monitoring import IsolationGuard, monitored
from mlsecops.registry import Registry
from mlsecops.signing import TrustPolicy

if TYPE_CHECKING:
    from mlsecops.adapters.base import Array


def main(arguments: Sequence[str]) -> None:
    """Serve until standard input ends."""
    location, key, framework, images, pinned = arguments
    policy = TrustPolicy(keys=[Path(key)])
    registry = Registry(location, policy=policy, pinned=pinned)
    version = registry.resolve(NAME, "serving")
    if version.path is None:
        raise SystemExit("registry: expected a folder of the serving version, got none")
    net = network(framework)
    loaded = net.load(SecureLoader(policy, isolation=registry), version.path)
    adapter = adapt(loaded.model)
    image = np.load(images)["x"][:1]
    guard = IsolationGuard(loaded.digest, registry, refresh=0.0)

    @monitored("digits-second", guards=[guard], digest=loaded.digest)
    def predict(batch: Array) -> Array:
        return adapter.predict(batch)

    for _ in sys.stdin:
        try:
            answer = f"ok {predict(image).argmax()}"
        except MLSecOpsError as error:
            answer = f"refused {type(error).__name__}: {error}"
        print(" ".join(answer.split()), flush=True)  # noqa: T201 - the protocol


if __name__ == "__main__":
    main(sys.argv[1:])
