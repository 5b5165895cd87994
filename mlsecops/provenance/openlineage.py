"""OpenLineage events for data catalogues: the start and the end of each finished run.

    runs of a `Lineage` → START and COMPLETE or FAIL events, plain values for JSON

Source: OpenLineage specification 2-0-2, RunEvent; facets ParentRunFacet 1-2-0 and
DatasetVersionDatasetFacet 1-0-1.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

from mlsecops.errors import UsageError
from mlsecops.provenance.graph import LineageRun, Node

PRODUCER: Final = "urn:mlsecops"
SCHEMA: Final = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
_PARENT: Final = "https://openlineage.io/spec/facets/1-2-0/ParentRunFacet.json"
_VERSION: Final = "https://openlineage.io/spec/facets/1-0-1/DatasetVersionDatasetFacet.json"


def openlineage_events(steps: Iterable[LineageRun], *, namespace: str) -> list[dict[str, Any]]:
    """START event of each run, and its COMPLETE or FAIL event, with digests as data sets' versions.

    Raises:
        UsageError: A statement has no time of its run, without which there is no valid event.
    """
    known = list(steps)
    names = {step.id: step.name for step in known}
    return [
        event
        for step in known
        for event in (
            _event(step, namespace, names, "START", step.started),
            _event(step, namespace, names, "FAIL" if step.failed else "COMPLETE", step.at),
        )
    ]


def _event(
    step: LineageRun, namespace: str, names: dict[str, str], kind: str, at: str
) -> dict[str, Any]:
    facets: dict[str, Any] = {}
    if step.parent is not None:
        facets["parent"] = {
            "_producer": PRODUCER,
            "_schemaURL": _PARENT,
            "run": {"runId": _run_id(step.parent)},
            "job": {"namespace": namespace, "name": names.get(step.parent, "unknown")},
        }
    return {
        "eventType": kind,
        "eventTime": _time(at, step),
        "producer": PRODUCER,
        "schemaURL": SCHEMA,
        "run": {"runId": _run_id(step.id), "facets": facets},
        "job": {"namespace": namespace, "name": step.name},
        "inputs": [_dataset(node, namespace) for node in step.inputs],
        "outputs": [] if kind == "START" else [_dataset(node, namespace) for node in step.outputs],
    }


def _run_id(identity: str) -> str:
    """The id if it is a UUID, which the schema demands; else one made of it."""
    try:
        return str(uuid.UUID(identity))
    except ValueError:
        return str(uuid.uuid5(uuid.NAMESPACE_URL, identity))


def _time(at: str, step: LineageRun) -> str:
    """A time as the schema demands it (RFC 3339)."""
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise UsageError(
            f"run {step.name or step.id!r}: expected startedOn or finishedOn with a time zone in "
            f"its provenance, got {at!r}; leave this run out"
        )
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _dataset(node: Node, namespace: str) -> dict[str, Any]:
    version = {
        "_producer": PRODUCER,
        "_schemaURL": _VERSION,
        "datasetVersion": str(node.digest),
    }
    return {"namespace": namespace, "name": node.name, "facets": {"version": version}}
