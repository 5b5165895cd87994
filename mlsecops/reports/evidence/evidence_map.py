"""Evidence of each requirement in the files of a delivery, with its digest and status.

framework + name → content of files → rows: verified, asserted or absent → dictionary for JSON

A field that is missing, null or empty is absent. One in a file whose content lies under the model's
signature is verified; any other is asserted by somebody.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from mlsecops._choices import checked
from mlsecops._json import parse_json
from mlsecops.reports.evidence.frameworks import FrameworkRow, read_framework

Status: TypeAlias = Literal["verified", "asserted", "absent"]


@dataclass(frozen=True, slots=True)
class EvidenceField:
    """A field of a delivered file.

    Attributes:
        file: Relative path of a JSON file.
        field: JSON pointer (RFC 6901); `{model}` stands for the model's component of the bill, and
            `{dataset}` for the first data set of the provenance.
        added: Whether the delivery adds the field to signed content; no signature covers it then.
    """

    file: str
    field: str
    added: bool = False


_CARD: Final = "{model}/modelCard"
_BUILD: Final = "/predicate/buildDefinition"
EVIDENCE: Final = {
    "name": EvidenceField("signing/verified.json", "/name"),
    "version": EvidenceField("signing/verified.json", "/version"),
    "files": EvidenceField("signing/verified.json", "/digest"),
    "signers": EvidenceField("signing/verified.json", "/signers"),
    "builder": EvidenceField("signing/provenance.json", "/predicate/runDetails/builder/id"),
    "training": EvidenceField("signing/provenance.json", "/predicate/runDetails"),
    "platform": EvidenceField("signing/provenance.json", f"{_BUILD}/internalParameters"),
    "packages": EvidenceField("signing/provenance.json", f"{_BUILD}/resolvedDependencies"),
    "datasets": EvidenceField(
        "signing/provenance.json",
        f"{_BUILD}/resolvedDependencies/{{dataset}}",
    ),
    "hyperparameters": EvidenceField(
        "signing/provenance.json",
        f"{_BUILD}/externalParameters/hyperparameters",
    ),
    "clean": EvidenceField("robustness.json", "/clean"),
    "worst": EvidenceField("robustness.json", "/worst"),
    "attacks": EvidenceField("robustness.json", "/attacks"),
    "checks": EvidenceField("robustness.json", "/checks"),
    "verdict": EvidenceField("robustness.json", "/verdict", added=True),
    "test_data": EvidenceField("robustness.json", "/data_digest"),
    "campaign": EvidenceField("campaign.json", "/classes"),
    "components": EvidenceField("bom.cdx.json", "/components"),
    "dependencies": EvidenceField("bom.cdx.json", "/dependencies"),
    "description": EvidenceField("bom.cdx.json", "{model}/description"),
    "licences": EvidenceField("bom.cdx.json", "{model}/licenses"),
    "task": EvidenceField("bom.cdx.json", f"{_CARD}/modelParameters/task"),
    "architecture": EvidenceField(
        "bom.cdx.json",
        f"{_CARD}/modelParameters/modelArchitecture",
    ),
    "use_cases": EvidenceField("bom.cdx.json", f"{_CARD}/considerations/useCases"),
    "limitations": EvidenceField(
        "bom.cdx.json",
        f"{_CARD}/considerations/technicalLimitations",
    ),
    "ethics": EvidenceField("bom.cdx.json", f"{_CARD}/considerations/ethicalConsiderations"),
    "fairness": EvidenceField("bom.cdx.json", f"{_CARD}/considerations/fairnessAssessments"),
    "energy": EvidenceField(
        "bom.cdx.json",
        f"{_CARD}/considerations/environmentalConsiderations",
    ),
    "panels": EvidenceField("dashboard.json", "/panels"),
    "playbook": EvidenceField("playbook.json", "/steps"),
}
"""Name → field that answers requirements."""


@checked
def evidence_map(
    framework: str,
    delivered: Mapping[str, bytes],
    *,
    digest: str,
    signed: Collection[str] = (),
) -> dict[str, Any]:
    """Rows of a framework's requirements with their evidence.

    Args:
        framework: One of `FRAMEWORKS`.
        delivered: Relative path → content of each file of the delivery.
        digest: `"sha256:<hex>"` of the model.
        signed: Files whose content was verified under the model's signature.

    Returns:
        `{"framework", "digest", "rows": [{"number", "requirement", "file", "field", "digest",
        "status"}]}`; `digest` of a row is the file's SHA-256; file, field and digest of an absent
        row are null.

    Raises:
        UsageError: The framework is unknown.
    """
    values = {name: _parsed(content) for name, content in delivered.items()}
    rows = [
        _row(requirement, delivered, values, signed)
        for requirement in read_framework(framework).requirements
    ]
    return {"framework": framework, "digest": digest, "rows": rows}


def _row(
    requirement: FrameworkRow,
    delivered: Mapping[str, bytes],
    values: Mapping[str, Any],
    signed: Collection[str],
) -> dict[str, Any]:
    row: dict[str, Any] = {"number": requirement.number, "requirement": requirement.text}
    for name in requirement.evidence:
        each = EVIDENCE[name]
        value = values.get(each.file)
        field = each.field.format(model=_model_pointer(value), dataset=_dataset_index(value))
        if _empty(resolve(value, field)):
            continue
        found = hashlib.sha256(delivered[each.file]).hexdigest()
        covered = each.file in signed and not each.added
        status: Status = "verified" if covered else "asserted"
        return {
            **row, "file": each.file, "field": field, "digest": f"sha256:{found}", "status": status
        }  # fmt: skip
    return {**row, "file": None, "field": None, "digest": None, "status": "absent"}


def _empty(value: object) -> bool:
    return value is None or value in ("", [], {})


def resolve(value: Any, pointer: str) -> Any:
    """Value at a JSON pointer, or None.

    Examples:
        >>> resolve({"a": [{"b/c": 1}]}, "/a/0/b~1c")
        1

    Source: RFC 6901.
    """
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict):
            value = value.get(key)
        elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        else:
            return None
    return value


def _model_pointer(bom: Any) -> str:
    components = bom.get("components") if isinstance(bom, dict) else None
    for number, each in enumerate(components if isinstance(components, list) else ()):
        if isinstance(each, dict) and each.get("type") == "machine-learning-model":
            return f"/components/{number}"
    return "/components/-"


def _dataset_index(provenance: Any) -> str:
    listed = resolve(provenance, f"{_BUILD}/resolvedDependencies")
    for number, each in enumerate(listed if isinstance(listed, list) else ()):
        if resolve(each, "/annotations/kind") == "dataset":
            return str(number)
    return "-"


def _parsed(content: bytes) -> Any:
    try:
        return parse_json(content, what="delivered file", error=ValueError)
    except ValueError:  # a page, a picture, a bundle of another form
        return None
