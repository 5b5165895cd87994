"""Processes of a service: publish the state of this one, read those of the others.

state → publish → file;  files of all processes → read_others → ProcessState of each

Calls that ended after the last publication are in the tallies only. Of a process that ended they
are added as calls that were dropped, since nobody aggregated them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mlsecops.errors import MLSecOpsError
from mlsecops.monitoring.service.folder import ENDED, ServiceFolder, write_whole
from mlsecops.monitoring.service.state import ProcessState
from mlsecops.monitoring.service.tally import OUTCOMES, read_tally
from mlsecops.monitoring.telemetry import metrics as telemetry

_LOG: Final = logging.getLogger("mlsecops.monitoring")
_MOST_ENDED: Final = 8  # files of processes that ended; chosen: more are archived


@dataclass(frozen=True, slots=True, eq=False)
class ServiceProcess:
    """Another process of the service.

    Attributes:
        name: Beginning of the names of its files.
        alive: Whether it still runs.
        state: What it exports.
    """

    name: str
    alive: bool
    state: ProcessState


def publish(folder: ServiceFolder, state: ProcessState) -> None:
    """Write this process's state, whole or not at all.

    Raises:
        OSError: The folder cannot be written.
    """
    write_whole(folder.file(".state"), state.to_bytes())


def read_others(folder: ServiceFolder) -> list[ServiceProcess]:
    """The other processes of the service, and what is archived of those before."""
    with folder.locked():
        archive = _read(folder.file(".state", of=ENDED))
        found = list(_processes(folder, archive))
    if sum(not each.alive for each in found) > _MOST_ENDED:
        archive_ended(folder)
    return [ServiceProcess(ENDED, alive=False, state=archive), *found]


def archive_ended(folder: ServiceFolder) -> None:
    """Join what ended processes left in one file, and remove theirs."""
    with folder.locked(alone=True):
        place = folder.file(".state", of=ENDED)
        archive = _read(place)
        for name in archive.ended:  # left behind by a process that was killed right here
            folder.remove(name)
        ended = [each for each in _processes(folder, ProcessState()) if not each.alive]
        for each in ended:
            archive.add(each.state)
        archive.ended = tuple(each.name for each in ended)
        # From here on these processes are read from the archive, whether or not files are left.
        write_whole(place, archive.to_bytes())
        for each in ended:
            folder.remove(each.name)


def _processes(folder: ServiceFolder, archive: ProcessState) -> Iterator[ServiceProcess]:
    for name, alive in folder.others():
        if name not in archive.ended:
            state = _read(folder.file(".state", of=name))
            count_calls(state, folder.tallies(name), alive=alive)
            yield ServiceProcess(name, alive, state)


def count_calls(state: ProcessState, tallies: list[Path], *, alive: bool) -> None:
    """Add the calls in the tallies of a process that it has not published."""
    ended: dict[str, list[int]] = {}
    for monitor, calls in filter(None, map(read_tally, tallies)):
        known = ended.setdefault(monitor, [0] * len(OUTCOMES))
        ended[monitor] = [before + more for before, more in zip(known, calls, strict=True)]
    for monitor, tallied in ended.items():
        metrics = state.points.setdefault(monitor, {})
        points = metrics.setdefault(telemetry.CALLS.name, {})
        missing = missing_calls(points, tallied)
        for outcome, count in missing.items():
            # A live process will publish errors under their types: a point must not fall again.
            if count and (outcome == "ok" or not alive):
                points[outcome, ""] = points.get((outcome, ""), 0.0) + count
        if not alive and any(missing.values()):
            dropped = metrics.setdefault(telemetry.DROPPED.name, {})
            dropped[()] = dropped.get((), 0.0) + sum(missing.values())


def missing_calls(points: dict[tuple[str, ...], float], calls: list[int]) -> dict[str, float]:
    """Calls by outcome that ended and are not among the points of `mlsecops.inference.calls`."""
    return {
        outcome: max(0.0, ended - sum(v for key, v in points.items() if key[0] == outcome))
        for outcome, ended in zip(OUTCOMES, calls, strict=True)
    }


def _read(path: Path) -> ProcessState:
    """A state; an empty one if the file is not there, or is none."""
    try:
        return ProcessState.from_bytes(path.read_bytes())
    except FileNotFoundError:
        return ProcessState()
    except (OSError, MLSecOpsError) as error:
        _LOG.warning("%s: left out of the numbers: %s", path.name, error)
        return ProcessState()
