"""Exchange of late labels: the process that gets a label is seldom the one that predicted.

label without a prediction → line in a file of this process → every other process of the service

A label follows its prediction, so a process that predicted has the call in its queue before it
reads the label.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np

from mlsecops._json import parse_json
from mlsecops._platform import CLOEXEC
from mlsecops.monitoring.service.folder import ServiceFolder

_SEGMENT: Final = 2**20  # bytes of a file; chosen: about 10,000 labels
_SEGMENTS: Final = 8  # files of a process; chosen: a process that reads late misses the rest
_LONGEST: Final = 65_536  # bytes of a line; chosen: longer labels are not passed on

LabelLine: TypeAlias = tuple[str, str, Any, float]


class LabelExchange:
    """Labels that this process passes on, and those that others pass on from now on."""

    def __init__(self, folder: ServiceFolder) -> None:
        self.folder = folder
        self._segment = 0
        self._read = {path.name: path.stat().st_size for path in self._others()}

    def offer(self, monitor: str, request_id: str, label: Any, at: float) -> bool:
        """Pass a label on; returns whether it could be, as a text, number or list of them.

        Raises:
            OSError: The folder cannot be written.
        """
        try:
            if np.size(label) > _LONGEST:  # its text would be longer still
                return False
            text = json.dumps([monitor, request_id, np.asarray(label).tolist(), at])
        except (TypeError, ValueError):
            return False
        line = text.encode() + b"\n"
        if len(line) > _LONGEST:
            return False
        path = self._own(self._segment)
        if path.exists() and path.stat().st_size + len(line) > _SEGMENT:
            self._segment += 1
            path = self._own(self._segment)
            self._own(self._segment - _SEGMENTS).unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | CLOEXEC, 0o600)
        try:
            os.write(descriptor, line)
        finally:
            os.close(descriptor)
        return True

    def news(self) -> Iterator[LabelLine]:
        """What other processes passed on since the last look: monitor, request, label, time."""
        paths = self._others()
        for path in paths:
            for line in self._fresh(path).splitlines():
                try:
                    found = parse_json(line, what="label", error=ValueError)
                    monitor, request_id, label, at = found
                    yield str(monitor), str(request_id), label, float(at)
                except (TypeError, ValueError):
                    continue
        present = {path.name for path in paths}
        self._read = {name: place for name, place in self._read.items() if name in present}

    def _others(self) -> list[Path]:
        files = sorted(self.folder.path.glob("mlsecops-*.labels"))
        return [path for path in files if not path.name.startswith(self.folder.name)]

    def _fresh(self, path: Path) -> bytes:
        """Whole lines of a file that were not read yet."""
        start = self._read.get(path.name, 0)
        try:
            if path.stat().st_size <= start:
                return b""
            with path.open("rb") as stream:
                stream.seek(start)
                data = stream.read(_SEGMENT)
        except OSError:
            return b""
        whole = data[: data.rfind(b"\n") + 1]
        self._read[path.name] = start + len(whole)
        return whole

    def _own(self, segment: int) -> Path:
        return self.folder.file(f"-{segment:06d}.labels")
