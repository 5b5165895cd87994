"""Table of the alerts that fire in a service, so that only one process reports each.

id of an alert → processes in which it fires, each until a time → whether to report it

An alert is reported by the process in which it fires first, and as resolved by the one in which it
fires last. What fired in processes that died is resolved by another one when its time is over.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, TypeVar

from mlsecops._json import parse_object
from mlsecops.monitoring.service.folder import ServiceFolder, write_whole

R = TypeVar("R")

_LOG: Final = logging.getLogger("mlsecops.monitoring")
_FILE: Final = "mlsecops.alerts"
_LOCK: Final = "mlsecops.alerts.lock"
_MOST: Final = 10_000  # alerts; chosen: as many as a monitor remembers

Plain: TypeAlias = dict[str, Any]


@dataclass(slots=True)
class _Row:
    monitor: str
    alert: Plain
    until: dict[str, float] = field(default_factory=dict)


Rows: TypeAlias = "dict[str, _Row]"


class AlertTable:
    """The alerts of all processes that use a folder; a failure to use it reports an alert twice."""

    def __init__(self, folder: ServiceFolder) -> None:
        self._folder = folder

    def begin(self, id_: str, monitor: str, alert: Plain, until: float) -> bool:
        """Note that an alert fires here until a Unix time; returns whether to report it."""

        def change(rows: Rows) -> bool:
            known = id_ in rows
            rows.setdefault(id_, _Row(monitor, alert)).until[self._folder.name] = until
            if len(rows) > _MOST:
                del rows[next(iter(rows))]
            return not known

        return self._use(change, failed=True)

    def end(self, id_: str) -> bool:
        """Note that an alert no longer fires here; returns whether to report it as resolved."""

        def change(rows: Rows) -> bool:
            row = rows.get(id_)
            if row is None:
                return True
            row.until.pop(self._folder.name, None)
            if not row.until:
                del rows[id_]
            return not row.until

        return self._use(change, failed=True)

    def orphans(self, monitor: str, now: float) -> list[Plain]:
        """Remove and return a monitor's alerts whose processes are silent at a Unix time."""

        def change(rows: Rows) -> list[Plain]:
            silent = [
                id_
                for id_, row in rows.items()
                if row.monitor == monitor and max(row.until.values(), default=0.0) < now
            ]
            return [rows.pop(id_).alert for id_ in silent]

        if not (self._folder.path / _FILE).exists():
            return []
        return self._use(change, failed=[])

    def firing(self, monitor: str) -> list[Plain]:
        """A monitor's alerts that fire in any process."""
        path = self._folder.path / _FILE
        try:
            rows = _parse(path.read_bytes())
        except OSError:
            return []
        return [row.alert for row in rows.values() if row.monitor == monitor]

    def _use(self, change: Callable[[Rows], R], *, failed: R) -> R:
        """Change the table, alone, and write it; `failed` if the folder cannot be used."""
        path = self._folder.path / _FILE
        try:
            with self._folder.locked(_LOCK, alone=True):
                rows = _parse(path.read_bytes()) if path.exists() else {}
                result = change(rows)
                write_whole(path, _written(rows))
                return result
        except OSError as error:
            _LOG.warning("%s: alerts are reported by each process: %s", _FILE, error)
            return failed


def _parse(data: bytes) -> dict[str, _Row]:
    try:
        plain = parse_object(data, what=_FILE, error=ValueError)
        return {
            str(id_): _Row(
                str(row["monitor"]),
                dict(row["alert"]),
                {str(name): float(until) for name, until in dict(row["until"]).items()},
            )
            for id_, row in plain.items()
        }
    except (AttributeError, KeyError, TypeError, ValueError):
        return {}


def _written(rows: dict[str, _Row]) -> bytes:
    plain = {
        id_: {"monitor": row.monitor, "alert": row.alert, "until": row.until}
        for id_, row in rows.items()
    }
    return json.dumps(plain).encode()
