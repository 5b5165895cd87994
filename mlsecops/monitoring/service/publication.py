"""Publication of this process's state, for the other processes of its service.

worker, after a round → Publication → file of the process
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

from mlsecops.monitoring.service.folder import ServiceFolder, service_folder
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
        self._failure = ""
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
            self._report(folder)
            ended = time.monotonic()
            self._next = ended + _REST * (ended - began)

    def _report(self, folder: ServiceFolder) -> None:
        """Write the state; a failure is logged once, until it is another one or is over."""
        failure = ""
        try:
            series = all_series()
            state = ProcessState.of(series)
            state.windows = {each.monitor: window for each in series if (window := newest(each))}
            publish(folder, state)
        except Exception as error:  # noqa: BLE001 - the worker's thread must not end by it
            failure = f"{type(error).__name__}: {error}"
            if failure != self._failure:
                _LOG.warning("%s: not published: %s", folder.path, failure)
        self._failure = failure


def newest(series: Series) -> WindowState | None:
    """Recent traffic of the newest monitor of a name, or None if all are closed."""
    return series.sources[-1].shared() if series.sources else None
