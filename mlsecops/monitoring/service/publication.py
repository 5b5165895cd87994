"""Publication of this process's state, for the other processes of its service.

worker, after a round → Publication → file of the process
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

from mlsecops.monitoring.service.folder import service_folder
from mlsecops.monitoring.service.processes import publish
from mlsecops.monitoring.service.state import ProcessState, WindowState
from mlsecops.monitoring.telemetry.exporter import Series, all_series

_LOG: Final = logging.getLogger("mlsecops.monitoring")
_REST: Final = 50.0  # times as long as a publication took; chosen: 2 % of a core at most


class Publication:
    """Publishes soon after something changed, and for at most 2 % of the time.

    Attributes:
        dirty: Whether something changed since the last publication.
    """

    def __init__(self) -> None:
        self.dirty = False
        self._next = 0.0
        self._lock = threading.Lock()

    def publish(self, *, now: bool = False) -> None:
        """Publish what changed, if it is time, or at once; a failure is logged."""
        folder = service_folder()
        if folder is None:
            self.dirty = False
            return
        if not now and (not self.dirty or time.monotonic() < self._next):
            return
        with self._lock:  # what another thread is publishing is published when this returns
            if not self.dirty:
                return
            began = time.monotonic()
            self.dirty = False
            series = all_series()
            state = ProcessState.of(series)
            state.windows = {each.monitor: window for each in series if (window := newest(each))}
            try:
                publish(folder, state)
            except OSError as error:
                _LOG.warning("%s: not published: %s", folder.path, error)
            ended = time.monotonic()
            self._next = ended + _REST * (ended - began)


def newest(series: Series) -> WindowState | None:
    """Recent traffic of the newest monitor of a name, or None if all are closed."""
    return series.sources[-1].shared() if series.sources else None
