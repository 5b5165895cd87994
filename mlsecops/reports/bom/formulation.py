"""CycloneDX formulation of a model: the training runs.

SLSA provenance → workflows; hyperparameters that may be secrets are redacted
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mlsecops._secrets import without_secrets
from mlsecops.provenance.digest import Digest
from mlsecops.provenance.statement import Statement


def bom_property(name: str, value: object) -> dict[str, str]:
    """A property in the namespace `mlsecops:`.

    Examples:
        >>> bom_property("bytes", 5)
        {'name': 'mlsecops:bytes', 'value': '5'}
    """
    return {"name": f"mlsecops:{name}", "value": str(value)}


def formulation(
    provenance: Iterable[Statement], *, inputs: Iterable[str], output: str
) -> dict[str, Any]:
    """The formulation: one workflow for each SLSA provenance, with `bom-ref`s of data and model.

    Source: CycloneDX 1.6 and 1.7, formulation; SLSA specification v1.0, Provenance.
    """
    workflows = [
        _workflow(index, statement, list(inputs), output)
        for index, statement in enumerate(provenance)
    ]
    return {"bom-ref": "formulation", "workflows": workflows}


def resolved_dependencies(statement: Statement) -> list[dict[str, Any]]:
    """Resource descriptors of the inputs of a build."""
    found = inner(statement.predicate, "buildDefinition").get("resolvedDependencies")
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def inner(value: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """The nested object under the keys; an empty one if a key is absent or holds something else.

    Examples:
        >>> inner({"a": {"b": {"c": 1}}}, "a", "b")
        {'c': 1}
    """
    current: Any = value
    for key in keys:
        current = current.get(key) if isinstance(current, Mapping) else None
    return dict(current) if isinstance(current, Mapping) else {}


def _workflow(index: int, statement: Statement, inputs: list[str], output: str) -> dict[str, Any]:
    about = inner(statement.predicate, "runDetails", "metadata")
    external = inner(statement.predicate, "buildDefinition", "externalParameters")
    parameters = [
        {"name": str(key), "value": without_secrets(str(key), value)}
        for key, value in sorted(inner(external, "hyperparameters").items())
    ]
    resources: list[dict[str, Any]] = [{"resource": {"ref": each}} for each in inputs]
    times = {"timeStart": about.get("startedOn"), "timeEnd": about.get("finishedOn")}
    return {
        "bom-ref": f"workflow:{index}",
        "uid": str(about.get("invocationId", f"run-{index}")),
        "name": str(external.get("entryPoint", "training")),
        "taskTypes": ["build"],
        "inputs": [*resources, *([{"parameters": parameters}] if parameters else [])],
        "outputs": [{"type": "artifact", "resource": {"ref": output}}],
        **{key: str(value) for key, value in times.items() if value},
        "properties": [
            bom_property(f"provenance:{key}", value) for key, value in _facts(statement)
        ],
    }


def _facts(statement: Statement) -> Iterator[tuple[str, str]]:
    yield "predicateType", statement.predicate_type
    yield "statement", str(Digest.of(statement.payload))
    builder = inner(statement.predicate, "runDetails", "builder").get("id")
    if builder is not None:
        yield "builder", str(builder)
    for each in resolved_dependencies(statement):
        if each.get("name") == "code":
            yield from _code(each)


def _code(descriptor: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if "uri" in descriptor:
        yield "code", str(descriptor["uri"])
    commit = inner(descriptor, "digest").get("gitCommit")
    if commit is not None:
        yield "code:commit", str(commit)
    dirty = inner(descriptor, "annotations").get("dirty")
    if dirty is not None:
        yield "code:dirty", str(dirty).lower()
