"""OpenLineage events for data catalogues: one for each finished run.

    runs of a `Lineage` → plain values for JSON

Source: OpenLineage specification 2-0-2, RunEvent; facets ParentRunFacet 1-0-1 and
DatasetVersionDatasetFacet 1-0-1.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from mlsecops.provenance.graph import LineageRun, Node

PRODUCER: Final = "urn:mlsecops"
SCHEMA: Final = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
_PARENT: Final = "https://openlineage.io/spec/facets/1-0-1/ParentRunFacet.json"
_VERSION: Final = "https://openlineage.io/spec/facets/1-0-1/DatasetVersionDatasetFacet.json"


def openlineage_events(steps: Iterable[LineageRun], *, namespace: str) -> list[dict[str, Any]]:
    """COMPLETE or FAIL event of each run, with digests as the data sets' versions."""
    known = list(steps)
    names = {step.id: step.name for step in known}
    return [_event(step, namespace, names) for step in known]


def _event(step: LineageRun, namespace: str, names: dict[str, str]) -> dict[str, Any]:
    facets: dict[str, Any] = {}
    if step.parent is not None:
        facets["parent"] = {
            "_producer": PRODUCER,
            "_schemaURL": _PARENT,
            "run": {"runId": step.parent},
            "job": {"namespace": namespace, "name": names.get(step.parent, "unknown")},
        }
    return {
        "eventType": "FAIL" if step.failed else "COMPLETE",
        "eventTime": step.at,
        "producer": PRODUCER,
        "schemaURL": SCHEMA,
        "run": {"runId": step.id, "facets": facets},
        "job": {"namespace": namespace, "name": step.name},
        "inputs": [_dataset(node, namespace) for node in step.inputs],
        "outputs": [_dataset(node, namespace) for node in step.outputs],
    }


def _dataset(node: Node, namespace: str) -> dict[str, Any]:
    version = {
        "_producer": PRODUCER,
        "_schemaURL": _VERSION,
        "datasetVersion": str(node.digest),
    }
    return {"namespace": namespace, "name": node.name, "facets": {"version": version}}
