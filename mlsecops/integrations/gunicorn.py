"""Server hooks of gunicorn: a worker that ends loses neither alerts nor numbers.

    gunicorn -c python:mlsecops.integrations.gunicorn app:app

In a configuration file of your own, `from mlsecops.integrations.gunicorn import *` at its top, or
call these functions in hooks of the same names.

Source: gunicorn, "Settings", Server Hooks; prometheus_client, "Multiprocess Mode".
"""

from __future__ import annotations

import os
from typing import Any, Final

from mlsecops.monitoring.process_end import finish
from mlsecops.monitoring.service.folder import VARIABLE

__all__ = ["child_exit", "on_starting", "worker_abort", "worker_exit"]

_ABORTED: Final = 1.0  # seconds; chosen: gunicorn kills a worker that hangs soon after its abort


def on_starting(server: Any) -> None:
    """Say so if the workers' numbers would be of each worker alone."""
    workers = getattr(server.cfg, "workers", 1)
    if workers > 1 and not os.environ.get(VARIABLE):
        server.log.warning(
            "%s is not set: each scrape of the metrics sees one of %d workers", VARIABLE, workers
        )


def worker_exit(server: Any, worker: Any) -> None:
    """Finish the monitors of a worker before it exits, within half its grace period."""
    if not finish(server.cfg.graceful_timeout / 2):
        worker.log.warning("monitoring: not everything was aggregated and delivered")


def worker_abort(worker: Any) -> None:
    """Finish what can be finished of a worker that hangs."""
    if not finish(_ABORTED):
        worker.log.warning("monitoring: not everything was aggregated and delivered")


def child_exit(_server: Any, worker: Any) -> None:
    """Tell prometheus_client that a worker ended, as its own gauges need it."""
    if os.environ.get(VARIABLE):
        try:
            from prometheus_client import multiprocess  # noqa: PLC0415 - an optional package
        except ImportError:
            return
        multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call] # theirs
