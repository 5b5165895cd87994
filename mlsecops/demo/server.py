"""A second server: another process that serves the same registry, and asks it at every call.

It answers each line of standard input, ``predict`` with ``ok DIGIT`` or ``refused ERROR``, until
its input ends. Started by :class:`SecondServer`, or by hand::

    python -m mlsecops.demo.server REGISTRY KEY.pub.pem FRAMEWORK IMAGES.npz
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlsecops.demo.network import network
from mlsecops.demo.release_stage import NAME
from mlsecops.errors import MLSecOpsError
from mlsecops.loading import SecureLoader
from mlsecops.monitoring import IsolationGuard, monitored
from mlsecops.registry import Registry
from mlsecops.signing import TrustPolicy

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from mlsecops.adapters.base import Array


class SecondServer:
    """The other process, for the length of a ``with`` block."""

    def __init__(self, registry: Path, key: Path, framework: str, images: Path) -> None:
        words = [str(registry), str(key), framework, str(images)]
        self._process = subprocess.Popen(  # noqa: S603 - this very interpreter
            [sys.executable, "-m", "mlsecops.demo.server", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def ask(self) -> str:
        """Ask for a prediction; gives its answer (``ok 3`` or ``refused …``)."""
        if self._process.stdin is None or self._process.stdout is None:
            return "refused: no pipe"
        self._process.stdin.write("predict\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip() or "refused: the server ended"


def main(arguments: Sequence[str]) -> None:
    """Serve until standard input ends."""
    location, key, framework, images = arguments
    policy = TrustPolicy(keys=[Path(key)])
    registry = Registry(location, policy=policy)
    version = registry.resolve(NAME, "serving")
    if version.path is None:
        raise SystemExit("the registry gave no folder")
    net = network(framework)
    loaded = net.load(SecureLoader(policy, isolation=registry), version.path)
    adapter = net.adapter(loaded.model)
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
        print(" ".join(answer.split()), flush=True)  # noqa: T201 - this is its protocol


if __name__ == "__main__":
    main(sys.argv[1:])
