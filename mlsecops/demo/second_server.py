"""Client of the second server process (`server`)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from mlsecops.registry import Registry


class SecondServer:
    """The server process, for the duration of a `with` block."""

    def __init__(self, registry: Registry, key: Path, framework: str, images: Path) -> None:
        pinned = str(registry.verify_log())
        words = [str(registry.location), str(key), framework, str(images), pinned]
        self._process = subprocess.Popen(  # noqa: S603 - this very interpreter
            [sys.executable, "-m", "mlsecops.demo.server", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C reaches the demo only, which ends this process
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def ask(self) -> str:
        """Request a prediction; return the answer (`ok 3` or `refused …`)."""
        if self._process.stdin is None or self._process.stdout is None:
            return "refused: no pipe"
        self._process.stdin.write("predict\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip() or "refused: the server ended"
