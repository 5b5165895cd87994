"""Evidence for required claims: what the statements of a signed bundle say about its model.

Requirement, signed claim → statements about the whole model → PolicyError with what is missing

Source: SLSA provenance v1 (`resolvedDependencies`, `runDetails.builder.id`); the robustness
predicate is `robustness.json`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, TypeGuard

from mlsecops.errors import PolicyError
from mlsecops.provenance.digest import Digest
from mlsecops.provenance.statement import SLSA_PROVENANCE, Statement
from mlsecops.signing.oms import ModelClaim
from mlsecops.signing.requirements.requirement import (
    KINDS,
    RED_TEAM,
    ROBUSTNESS,
    Requirement,
    RobustnessFloor,
)
from mlsecops.signing.scope import matches_pattern


def require_claims(requirement: Requirement, claim: ModelClaim, *, where: str) -> None:
    """Demand that the statements of a signed claim make every required claim.

    Args:
        requirement: The required claims.
        claim: A claim of trusted signers.
        where: Path of the bundle, for messages.

    Raises:
        PolicyError: One is missing, or says less; the message names each.
    """
    if not requirement:
        return
    files = frozenset(entry.digest for entry in claim.manifest)
    roots = frozenset({claim.subject, claim.manifest.root})
    whole = [each for each in claim.statements if _covers(each, roots, files)]
    missing = [*_absent(requirement, whole, claim)]
    missing += _provenance(requirement, [_slsa(each) for each in whole if _is(each, "slsa")])
    reports = [each.predicate for each in whole if _is(each, ROBUSTNESS)]
    names = {None, *map(str, roots | files)}  # a report names no other model than its statement
    reports = [each for each in reports if _name(each.get("model_digest")) in names]
    for floor in requirement.robustness:
        missing += _robustness(floor, reports)
    if missing:
        raise PolicyError(
            f"{where}: the policy requires what the signed statements do not say: "
            f"{'; '.join(missing)}; sign the model with such statements, or get a release that is"
        )


def _covers(statement: Statement, roots: AbstractSet[Digest], files: AbstractSet[Digest]) -> bool:
    """Whether a statement is about the model's root, or about each of its files."""
    said = set(statement.subjects.values())
    return bool(said & roots) or files <= said


def _is(statement: Statement, kind: str) -> bool:
    types = KINDS.get(kind, (kind,))
    said = statement.predicate_type
    return any(said == each or (kind in KINDS and said.startswith(f"{each}/")) for each in types)


def _absent(
    requirement: Requirement, whole: Sequence[Statement], claim: ModelClaim
) -> Iterator[str]:
    for kind in requirement.statements:
        found = [each for each in whole if _is(each, kind)]
        if any(
            not _is(each, RED_TEAM) or each.predicate.get("verdict") == "pass" for each in found
        ):
            continue
        if found:
            yield f"a {kind} statement whose verdict is a pass"
            continue
        partial = any(_is(each, kind) for each in claim.statements)
        yield f"a {kind} statement" + (
            " about the whole model (the one there is about some of its files)" if partial else ""
        )


def _slsa(statement: Statement) -> dict[str, Any]:
    """Inputs and builder of a provenance; what has another form counts as absent."""
    definition = _table(statement.predicate.get("buildDefinition"))
    found = definition.get("resolvedDependencies")
    inputs = [_table(each) for each in found] if isinstance(found, list) else []
    details = _table(statement.predicate.get("runDetails"))
    return {"inputs": inputs, "builder": _table(details.get("builder")).get("id")}


def _provenance(requirement: Requirement, said: Sequence[dict[str, Any]]) -> Iterator[str]:
    demanded = requirement.clean_tree or requirement.datasets or requirement.builders
    if demanded and not said:
        yield f"provenance ({SLSA_PROVENANCE}) of the whole model"
        return
    if requirement.clean_tree and not all(_is_clean(each["inputs"]) for each in said):
        yield "code of a commit without changes (clean_tree)"
    named = {digest for each in said for item in each["inputs"] for digest in _digests(item)}
    for dataset in requirement.datasets:
        if dataset not in named:
            yield f"the data set {dataset} among the inputs"
    for each in said if requirement.builders else ():
        if not any(
            matches_pattern(str(each["builder"]), pattern) for pattern in requirement.builders
        ):
            patterns = " or ".join(requirement.builders)
            yield f"a builder {patterns} (it says {each['builder']!r})"


def _is_clean(inputs: Sequence[dict[str, Any]]) -> bool:
    """Whether there is code, and all of it is a commit whose tree is known to be unchanged."""
    marks = [_table(each.get("annotations")) for each in inputs]
    dirty = [mark["dirty"] for mark in marks if "dirty" in mark]
    return bool(dirty) and all(each is False for each in dirty)


def _digests(item: dict[str, Any]) -> Iterator[Digest]:
    for algorithm, text in _table(item.get("digest")).items():
        try:
            yield Digest.parse(f"{algorithm}:{text}")
        except ValueError:
            continue  # of another algorithm, such as a commit


def _robustness(floor: RobustnessFloor, reports: Sequence[dict[str, Any]]) -> Iterator[str]:
    wanted = f"accuracy under {floor.attack} of at least {floor.min_accuracy:g}"
    if floor.eps is not None:
        wanted += f" at eps {floor.eps:g} or more"
    figures = [(report, each) for report in reports for each in _figures(report, floor)]
    if not figures:
        yield f"{wanted} (no report of that)"
    for report, figure in figures:
        failed = [each.get("name") for each in _tables(report.get("checks"))
                  if each.get("outcome") != "pass"]  # fmt: skip
        samples, bounds = report.get("n"), figure.get("interval")
        low = bounds[0] if isinstance(bounds, list) and bounds else None
        if not _number(samples) or samples < floor.samples:
            yield f"{wanted} on {floor.samples} samples (the report has {samples})"
        elif failed and floor.attack not in {"clean", "certified"}:  # no attack could be too weak
            yield f"{wanted} (its self-check {failed[0]!r} failed)"
        elif not _number(low) or low < floor.min_accuracy:
            yield f"{wanted} (the report says {figure.get('accuracy')}, interval {bounds})"


def _name(value: object) -> str | None:
    return value if isinstance(value, str) or value is None else ""


def _figures(report: dict[str, Any], floor: RobustnessFloor) -> Iterator[dict[str, Any]]:
    """Figures that a floor is about; of an attack with a smaller radius, none."""
    if floor.attack in {"clean", "worst", "certified"}:
        named = [_table(report.get(floor.attack))] if floor.attack in report else []
    else:
        named = [
            each for each in _tables(report.get("attacks")) if each.get("name") == floor.attack
        ]
    for figure in named:
        eps = _table(figure.get("params")).get("eps")
        if floor.eps is None or (_number(eps) and eps >= floor.eps):
            yield figure


def _number(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _tables(value: object) -> list[dict[str, Any]]:
    return [_table(each) for each in value] if isinstance(value, list) else []


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
