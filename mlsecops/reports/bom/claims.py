"""Claims of a bill of materials compared with signed SLSA provenance.

bill, signed statement → for each kind of claim (packages, licences, dependencies, data sets,
training run) whether the bill states it, and every difference

Source: SLSA provenance v1; CycloneDX 1.6 and 1.7, components, dependencies, formulation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mlsecops.errors import UsageError
from mlsecops.provenance.distributions import normalized
from mlsecops.provenance.statement import Statement
from mlsecops.reports.bom.formulation import formulation, inner, resolved_dependencies
from mlsecops.reports.bom.nodes import BomNode, called, walk
from mlsecops.reports.bom.packages import library, package_dependencies, parsed_purl
from mlsecops.reports.redaction import shown

_STATEMENT: Final = "mlsecops:provenance:statement"
_RUN_FIELDS: Final = ("name", "uid", "timeStart", "timeEnd")


@dataclass(frozen=True, slots=True)
class Difference:
    """One contradiction between the bill and the signed provenance."""

    rule: str
    message: str
    where: str


@dataclass(slots=True)
class Claims:
    """Comparison of one kind of claim.

    Attributes:
        name: Name of the field (`"packages"`).
        stated: Whether the bill states it.
        signed: Whether the signed provenance states it.
        differences: What differs.
    """

    name: str
    stated: bool
    signed: bool
    differences: list[Difference] = field(default_factory=list)


def compared_claims(
    components: list[BomNode], bom: Mapping[str, Any], statement: Statement, *, output: str
) -> list[Claims]:
    """The claims of a bill compared with those of the model's signed provenance.

    Args:
        components: All components of the bill.
        bom: Parsed JSON of the bill.
        statement: Signed SLSA provenance.
        output: `bom-ref` of the model.
    """
    listed = [each for each in resolved_dependencies(statement) if _is_package(each)]
    libraries = {purl: node for node in components if (purl := _purl(node.value.get("purl")))}
    return [
        _packages(libraries, _signed_libraries(listed)),
        _licenses(libraries, _signed_libraries(listed)),
        _graph(bom, libraries, listed),
        _datasets([each for each in components if _is_data(each)], statement),
        *_runs(bom, statement, output),
    ]


def _is_package(descriptor: Mapping[str, Any]) -> bool:
    return _purl(descriptor.get("uri")) is not None


def _is_data(node: BomNode) -> bool:
    return node.value.get("type") == "data"


def _purl(value: Any) -> str | None:
    if not isinstance(value, str) or not value.startswith("pkg:"):
        return None
    try:
        return str(parsed_purl(value).to_string())
    except UsageError:
        return None


def _signed_libraries(listed: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    return {each["purl"]: each for each in map(library, listed)}


def _packages(libraries: dict[str, BomNode], signed: dict[str, dict[str, Any]]) -> Claims:
    claims = Claims("packages", bool(libraries), bool(signed))
    if not signed:
        return claims
    of_name = {_name(each): each for each in signed.values()}
    named = {_name(node.value) for node in libraries.values()}
    for purl, node in libraries.items():
        if purl in signed:
            claims.differences += _digests(node, signed[purl])
            continue
        other = of_name.get(_name(node.value))
        if other is None:
            message = f"package {called(node.value)}: the signed provenance does not list it"
            claims.differences.append(Difference("package-unsigned", message, node.path))
        else:
            versions = f"expected {shown(other['version'])}, got {shown(node.value.get('version'))}"
            message = f"package {called(node.value)}: {versions}; the provenance was signed with it"
            claims.differences.append(Difference("package-mismatch", message, node.path))
    for each in of_name.values():
        if _name(each) not in named:
            message = f"package {shown(each['name'])} {shown(each['version'])} of the signed"
            text = f"{message} provenance is not in the bill; build the bill again"
            claims.differences.append(Difference("package-unlisted", text, "components"))
    return claims


def _name(component: Mapping[str, Any]) -> tuple[str, str]:
    purl = _purl(component.get("purl")) or ""
    kind = purl.partition("/")[0]
    return kind, normalized(str(component.get("name")))


def _digests(node: BomNode, signed: Mapping[str, Any]) -> Iterator[Difference]:
    versions = (str(node.value.get("version")), str(signed["version"]))
    names = (normalized(str(node.value.get("name"))), normalized(str(signed["name"])))
    if versions[0] != versions[1] or names[0] != names[1]:
        message = f"package {called(node.value)} {shown(versions[0])}: its package URL and the"
        text = f"{message} signed provenance say {shown(signed['name'])} {shown(versions[1])}"
        yield Difference("package-mismatch", text, node.path)
    for key in ("hashes", "properties"):
        if _rows(signed.get(key)) - _rows(node.value.get(key)):
            message = f"package {called(node.value)}: its digest is not that of the signed"
            yield Difference("package-mismatch", f"{message} provenance", f"{node.path}.{key}")


def _rows(value: Any) -> set[str]:
    rows = value if isinstance(value, list) else []
    return {str(sorted(row.items())) for row in rows if isinstance(row, Mapping)}


def _licenses(libraries: dict[str, BomNode], signed: dict[str, dict[str, Any]]) -> Claims:
    stated = [node for node in libraries.values() if node.value.get("licenses")]
    known = {purl: each for purl, each in signed.items() if each.get("licenses")}
    claims = Claims("packages.licenses", bool(stated), bool(known))
    for purl, each in known.items():
        node = libraries.get(purl)
        if node is not None and node.value.get("licenses") != each["licenses"]:
            message = f"package {called(node.value)}: its licence is not that of the signed"
            claims.differences.append(
                Difference("license-mismatch", f"{message} provenance", f"{node.path}.licenses")
            )
    return claims


def _graph(
    bom: Mapping[str, Any], libraries: dict[str, BomNode], listed: list[dict[str, Any]]
) -> Claims:
    requires = [each for each in listed if "requires" in inner(each, "annotations")]
    stated = _edges(bom.get("dependencies"), libraries)
    claims = Claims("packages.dependencies", any(stated.values()), bool(requires))
    known = {str(row["ref"]): set(row.get("dependsOn", ())) for row in package_dependencies(listed)}
    for each in requires:
        purl = _purl(each["uri"]) or ""
        if purl in libraries and stated.get(purl, set()) != known[purl]:
            message = f"package {shown(purl)}: its dependencies are not those of the signed"
            claims.differences.append(
                Difference("dependency-mismatch", f"{message} provenance", "dependencies")
            )
    return claims


def _edges(value: Any, libraries: dict[str, BomNode]) -> dict[str, set[str]]:
    purl_of = {str(node.value.get("bom-ref")): purl for purl, node in libraries.items()}
    rows = value if isinstance(value, list) else []
    found: dict[str, set[str]] = {}
    for row in rows:
        if isinstance(row, Mapping) and str(row.get("ref")) in purl_of:
            needs = row.get("dependsOn")
            targets = needs if isinstance(needs, list) else []
            purls = {purl_of.get(str(each), str(each)) for each in targets}
            found.setdefault(purl_of[str(row["ref"])], set()).update(purls)
    return found


def _datasets(nodes: list[BomNode], statement: Statement) -> Claims:
    signed = {
        str(each.get("name")): {str(value) for value in inner(each, "digest").values()}
        for each in resolved_dependencies(statement)
        if not _is_package(each) and each.get("name") != "code" and inner(each, "digest")
    }
    claims = Claims("datasets", bool(nodes), bool(signed))
    all_signed: set[str] = set().union(*signed.values()) if signed else set()
    listed: set[str] = set()
    for node in nodes:
        digests = _contents(node.value)
        listed |= digests
        named = signed.get(str(node.value.get("name")))
        if named is not None and named.isdisjoint(digests):
            message = f"data set {called(node.value)}: the signed provenance has another digest"
            claims.differences.append(Difference("provenance-mismatch", message, node.path))
        elif named is None and all_signed.isdisjoint(digests):
            message = f"data set {called(node.value)}: the signed provenance does not name it"
            claims.differences.append(Difference("dataset-unsigned", message, node.path))
    for name, digests in signed.items():
        if digests.isdisjoint(listed) and not any(node.value.get("name") == name for node in nodes):
            message = f"data set {shown(name)} of the signed provenance is not in the bill; add it"
            claims.differences.append(Difference("dataset-unlisted", message, "components"))
    return claims


def _contents(component: Mapping[str, Any]) -> set[str]:
    listed = component.get("hashes")
    rows = listed if isinstance(listed, list) else []
    return {str(row.get("content")).lower() for row in rows if isinstance(row, Mapping)}


def _runs(bom: Mapping[str, Any], statement: Statement, output: str) -> Iterator[Claims]:
    [expected] = formulation([statement], inputs=(), output=output)["workflows"]
    own = _properties(expected)[_STATEMENT]
    found = [
        node
        for node in walk(bom.get("formulation"), "formulation")
        if own in _values(node.value, _STATEMENT)
    ]
    run = Claims("training-run", bool(found), signed=True)
    parameters = Claims("hyperparameters", any(map(_has_parameters, found)), signed=True)
    for node in found:
        run.differences += _run_differences(node, expected)
        parameters.differences += _parameter_differences(node, _parameters(expected))
    yield run
    yield parameters


def _run_differences(node: BomNode, expected: Mapping[str, Any]) -> Iterator[Difference]:
    for key in _RUN_FIELDS:
        if node.value.get(key) != expected.get(key):
            yield _differs(node, key, expected.get(key), node.value.get(key))
    known, stated = _properties(expected), _properties(node.value)
    for name in sorted(known.keys() | stated.keys()):
        if known.get(name) != stated.get(name) or len(_values(node.value, name)) > 1:
            yield _differs(node, name, known.get(name), stated.get(name))


def _parameter_differences(
    node: BomNode, expected: Mapping[str, list[str]]
) -> Iterator[Difference]:
    stated = _parameters(node.value)
    for name in sorted(expected.keys() | stated.keys()):
        if expected.get(name) != stated.get(name):
            known, got = expected.get(name), stated.get(name)
            difference = _differs(node, f"hyperparameter {shown(name)}", known, got)
            yield Difference("hyperparameter-mismatch", difference.message, difference.where)


def _differs(node: BomNode, what: str, expected: Any, got: Any) -> Difference:
    message = f"{shown(what)}: the signed provenance has {shown(expected)}, the bill {shown(got)}"
    return Difference("provenance-mismatch", message, node.path)


def _has_parameters(node: BomNode) -> bool:
    return bool(_parameters(node.value))


def _parameters(workflow: Mapping[str, Any]) -> dict[str, list[str]]:
    inputs = workflow.get("inputs")
    found: dict[str, list[str]] = {}
    for each in inputs if isinstance(inputs, list) else ():
        rows = each.get("parameters") if isinstance(each, Mapping) else None
        for row in rows if isinstance(rows, list) else ():
            if isinstance(row, Mapping):
                found.setdefault(str(row.get("name")), []).append(str(row.get("value")))
    return found


def _properties(value: Mapping[str, Any]) -> dict[str, str]:
    rows = value.get("properties")
    return {
        str(row.get("name")): str(row.get("value"))
        for row in (rows if isinstance(rows, list) else ())
        if isinstance(row, Mapping)
    }


def _values(value: Mapping[str, Any], name: str) -> list[str]:
    rows = value.get("properties")
    rows = rows if isinstance(rows, list) else []
    return [
        str(row.get("value"))
        for row in rows
        if isinstance(row, Mapping) and row.get("name") == name
    ]
