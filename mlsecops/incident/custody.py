"""Chain of custody: the events of one incident in the registry's signed log.

event → document of the registry + entry of its log, which names the document's digest → events

The log holds no client's name, which stands in the documents. Each event has a number, which one
event alone can have, so that two responders do not both act on one state. A signed copy lies in
the incident's folder, to be handed over with the evidence.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from mlsecops._files import private_folder
from mlsecops._json import parse_object
from mlsecops.audit import AuditLog
from mlsecops.errors import EvidenceError, IncidentError
from mlsecops.provenance import Digest
from mlsecops.registry import Registry

__all__ = ["Custody", "is_local", "local_folder"]

_NUMBERED: Final = ("incident", "number")
_COPY: Final = "custody.sqlite"


def local_folder(registry: Registry, incident: str) -> Path:
    """Folder of an incident's files on this machine: in a local registry, else the user's own.

    The user's own is `$XDG_STATE_HOME/mlsecops`, by default `~/.local/state/mlsecops`.

    Source: XDG Base Directory Specification 0.8, "Environment variables", XDG_STATE_HOME.
    """
    place = registry.location
    if isinstance(place, Path):
        return place / "incidents" / incident
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    where = Digest.of(place.encode()).hex[:16]
    return Path(state) / "mlsecops" / "incidents" / where / incident


def is_local(registry: Registry) -> bool:
    """Whether a registry is a folder of this machine."""
    return isinstance(registry.location, Path)


class Custody:
    """The events of one incident.

    Args:
        incident: Id of the incident.
        registry: Registry whose log has the events.
    """

    def __init__(self, incident: str, registry: Registry) -> None:
        self._incident = incident
        self._registry = registry
        self._known: dict[str, dict[str, Any]] = {}

    def events(self) -> tuple[dict[str, Any], ...]:
        """The verified events, oldest first.

        Raises:
            RegistryError: The registry cannot be read.
            VerificationError: Its log or a document was changed.
        """
        return tuple(
            self._document(str(entry.detail["record"]))
            for entry in self._registry.recorded("incident.")
            if entry.detail.get("incident") == self._incident and "record" in entry.detail
        )

    def add(self, event: Mapping[str, Any], *, number: int, **named: str | None) -> bool:
        """Add an event as the one of its number.

        Args:
            event: JSON values; its `type` names the entry of the log.
            number: Number of events before it.
            named: Values that the log itself shows.

        Returns:
            Whether it has the number; False where another event has it.

        Raises:
            RegistryError: It cannot be written.
        """
        record = self._registry.keep(_canonical(event))
        shown = {key: value for key, value in named.items() if value is not None}
        detail = {"incident": self._incident, "number": number, "record": str(record), **shown}
        return self._registry.record_once(f"incident.{event['type']}", detail, unique=_NUMBERED)

    def copy(self) -> None:
        """Bring the signed copy in the incident's folder up to date.

        Raises:
            IncidentError: The folder cannot be made.
            EvidenceError: The copy cannot be written.
            VerificationError: The copy was changed.
        """
        events, copy = self.events(), self._copy()
        try:
            private_folder(copy.path.parent, shared=True)
        except OSError as error:
            raise IncidentError(
                f"incident {self._incident}: cannot make {copy.path.parent}: {error.strerror}; "
                "give write permission for its folder"
            ) from error
        try:
            known = len(copy.events())
        except EvidenceError:  # absent, or begun by a process that was killed
            known = 0
        for number in range(known, len(events)):
            copy.try_append(events[number], size=number)

    def require_copy(self) -> None:
        """Demand that the copy, where there should be one, begins as the chain of custody does.

        Raises:
            EvidenceError: It is missing in a local registry, or was changed or exchanged.
        """
        copy = self._copy()
        if not copy.path.exists() and not is_local(self._registry):
            return
        copied = copy.events()
        if copied != self.events():
            raise EvidenceError(
                f"{copy.path}: expected the {len(self.events())} events of the registry's log, got "
                f"{len(copied)} that are not; an older or another copy was put there: delete it, "
                "and the next step writes it anew"
            )

    def _copy(self) -> AuditLog:
        return AuditLog(
            local_folder(self._registry, self._incident) / _COPY,
            signer=self._registry.signer,
            keys=self._registry.log_keys,
            origin=f"mlsecops-incident/{self._incident}",
        )

    def _document(self, digest: str) -> dict[str, Any]:
        if digest not in self._known:
            what = f"incident {self._incident}: event"
            data = self._registry.kept(Digest.parse(digest))
            self._known[digest] = parse_object(data, what=what, error=IncidentError)
        return self._known[digest]


def _canonical(event: Mapping[str, Any]) -> bytes:
    return json.dumps(
        dict(event), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()
