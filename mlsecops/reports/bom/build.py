"""CycloneDX machine-learning bill of materials, versions 1.6 and 1.7.

manifests, in-toto statements, robustness report → components, model card, dependencies,
formulation → plain dictionary for JSON, equal for equal input
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib import metadata
from typing import Any, Final, Literal, TypeAlias

from mlsecops._choices import checked, printable
from mlsecops.errors import UsageError
from mlsecops.provenance.digest import Digest
from mlsecops.provenance.entry import Entry
from mlsecops.provenance.manifest import Manifest
from mlsecops.provenance.statement import SLSA_PROVENANCE, Statement
from mlsecops.reports.bom.formulation import bom_property, formulation
from mlsecops.reports.bom.licenses import license_choices
from mlsecops.reports.bom.model_card import StatedCard, read_card
from mlsecops.reports.bom.packages import library, package_dependencies, package_descriptors

Bom: TypeAlias = dict[str, Any]
SpecVersion: TypeAlias = Literal["1.6", "1.7"]

LISTED_ENTRIES: Final = 1000  # files; chosen: a larger data set is listed by its root digest alone

ALGORITHMS: Final = {
    "sha256": "SHA-256",
    "sha384": "SHA-384",
    "sha512": "SHA-512",
    "blake2b": "BLAKE2b-512",
    "blake3": "BLAKE3",
}
"""Digest algorithm → its CycloneDX name (1.7, hash algorithm enumeration)."""
_SERIALS: Final = uuid.UUID("5b7e7e9c-6a35-5d0a-9d43-6f2f3f0b8c11")
"""Namespace of serial numbers (RFC 9562, section 5.5, UUID version 5); chosen at random."""


@checked
def build_bom(
    *,
    name: str,
    manifest: Manifest,
    datasets: Mapping[str, Manifest],
    statements: Iterable[Statement] = (),
    robustness: Mapping[str, Any] | None = None,
    signers: Iterable[str] = (),
    version: SpecVersion = "1.7",
    at: datetime | None = None,
    packages: Iterable[Mapping[str, Any]] | None = None,
    description: str | None = None,
    license: str | None = None,  # noqa: A002 - the field's name in the specification
    supplier: str | None = None,
    task: str | None = None,
    architecture: str | None = None,
    card: str | os.PathLike[str] | None = None,
) -> Bom:
    """Build the bill of materials of a model.

    Args:
        name: Name of the model.
        manifest: Files of the model and their digests.
        datasets: Name → manifest of each training data set.
        statements: In-toto statements about the model; SLSA provenance becomes the formulation.
        robustness: Plain values of a robustness report (`robustness.json`).
        signers: Fingerprints or identities of the signers.
        version: Version of the CycloneDX specification.
        at: Timestamp; by default `SOURCE_DATE_EPOCH`, or now if that is unset.
        packages: Resource descriptors with the purl as `uri`; by default those of the provenance,
            or the installed distributions without provenance. Licences and requirements that they
            leave out are those of this environment, if it has the same version.
        description: Purpose of the model.
        license: Licence of the model, at best an SPDX expression.
        supplier: Organisation or person who supplies the model.
        task: Task of the model (`"image classification"`).
        architecture: Name of its architecture (`"ResNet-18"`).
        card: Model card: README.md of a hub, or JSON of a model card toolkit. The options above
            take precedence over it.

    Raises:
        UsageError: The version is unknown, `SOURCE_DATE_EPOCH` is no number of seconds, a package
            has no package URL, or the card cannot be read.
        MissingExtra: The extra `bom` is not installed.

    Source: OWASP CycloneDX 1.6 and 1.7 (ECMA-424), machine-learning-model, modelCard, formulation.
    """
    printable("name", name)
    provenance = [each for each in statements if each.predicate_type == SLSA_PROVENANCE]
    listed = package_descriptors(provenance, packages)
    libraries = [library(each) for each in listed]
    data = [_dataset(each, datasets[each]) for each in sorted(datasets)]
    stated = StatedCard(
        description=description,
        license=license,
        supplier=supplier,
        task=task,
        architecture=architecture,
    )
    stated = stated if card is None else stated.over(read_card(card))
    model = _model(
        name, manifest, data, robustness=robustness, signers=tuple(signers), stated=stated
    )
    bom: Bom = {
        "$schema": f"http://cyclonedx.org/schema/bom-{version}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": version,
        "version": 1,
        "metadata": _metadata(name, moment(at)),
        "components": [model, *data, *libraries],
        "dependencies": [
            *_dependencies(name, model, data, libraries),
            *package_dependencies(listed),
        ],
    }
    if provenance:
        inputs = [each["bom-ref"] for each in data]
        bom["formulation"] = [formulation(provenance, inputs=inputs, output=model["bom-ref"])]
    serial = uuid.uuid5(_SERIALS, json.dumps(bom, sort_keys=True, ensure_ascii=True))
    return {**bom, "serialNumber": f"urn:uuid:{serial}"}


@checked
def bom_text(bom: Mapping[str, Any]) -> str:
    """The bill as indented JSON, in the order of its fields.

    Examples:
        >>> bom_text({"specVersion": "1.7"}).splitlines()[1]
        ' "specVersion": "1.7"'
    """
    return json.dumps(bom, indent=1, ensure_ascii=False) + "\n"


def moment(at: datetime | None) -> datetime:
    """The given time, else that of `SOURCE_DATE_EPOCH`, else now, in UTC.

    Source: Reproducible Builds, SOURCE_DATE_EPOCH Specification.
    """
    if at is not None:
        if at.tzinfo is None:
            raise UsageError(f"at: expected a time with a zone, got {at.isoformat()}")
        return at.astimezone(UTC)
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if epoch is None:
        return datetime.now(UTC)
    try:
        return datetime.fromtimestamp(int(epoch), UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError("SOURCE_DATE_EPOCH: expected whole seconds since 1970") from error


def hash_of(digest: Digest) -> dict[str, str]:
    """A digest in CycloneDX form."""
    return {"alg": ALGORITHMS[digest.algorithm], "content": digest.hex}


def _metadata(name: str, at: datetime) -> dict[str, Any]:
    tool = {
        "type": "application",
        "name": "mlsecops-sdk",
        "publisher": "mlsecops-sdk",
        "version": _own_version(),
    }
    return {
        "timestamp": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "lifecycles": [{"phase": "post-build"}],
        "tools": {"components": [tool]},
        "component": {"type": "application", "bom-ref": f"release:{name}", "name": name},
    }


def _own_version() -> str:
    """Version of this library; "0" if it runs without being installed."""
    try:
        return metadata.version("mlsecops-sdk")
    except metadata.PackageNotFoundError:
        return "0"


def _model(
    name: str,
    manifest: Manifest,
    data: list[dict[str, Any]],
    *,
    robustness: Mapping[str, Any] | None,
    signers: tuple[str, ...],
    stated: StatedCard,
) -> dict[str, Any]:
    reference = f"model:{name}"
    licenses = license_choices([stated.license] if stated.license else [])
    return {
        "type": "machine-learning-model",
        "bom-ref": reference,
        "name": name,
        "version": manifest.root.short,
        **stated.component_fields(),
        **({"licenses": licenses} if licenses else {}),
        "hashes": [hash_of(manifest.root)],
        "components": [_file(reference, entry) for entry in manifest.entries],
        "modelCard": {
            "bom-ref": f"card:{name}",
            "modelParameters": {
                **stated.parameters(),
                "datasets": [{"ref": each["bom-ref"]} for each in data],
            },
            **_analysis(robustness),
            **stated.considerations(),
        },
        "properties": [
            *_identity(manifest),
            *(bom_property("signer", signer) for signer in signers),
        ],
    }


def _identity(manifest: Manifest) -> list[dict[str, str]]:
    return [
        bom_property("digest", manifest.root),
        bom_property("digest:method", "sha256 over the parts' raw digests in code point order"),
        bom_property("parts", len(manifest.entries)),
    ]


def _file(owner: str, entry: Entry) -> dict[str, Any]:
    return {
        "type": "file",
        "bom-ref": f"{owner}/{entry.name}",
        "name": entry.name,
        "hashes": [hash_of(entry.digest)],
        **({} if entry.size is None else {"properties": [bom_property("bytes", entry.size)]}),
    }


def _dataset(name: str, manifest: Manifest) -> dict[str, Any]:
    reference = f"data:{name}"
    parts = manifest.entries if len(manifest.entries) <= LISTED_ENTRIES else ()
    return {
        "type": "data",
        "bom-ref": reference,
        "name": name,
        "version": manifest.root.short,
        "hashes": [hash_of(manifest.root)],
        "data": [{"type": "dataset", "name": name}],
        "properties": _identity(manifest),
        **({"components": [_file(reference, each) for each in parts]} if parts else {}),
    }


def _analysis(robustness: Mapping[str, Any] | None) -> dict[str, Any]:
    if robustness is None:
        return {}
    return {
        "quantitativeAnalysis": {"performanceMetrics": performance_metrics(robustness)},
        "properties": report_properties(robustness),
    }


def report_properties(robustness: Mapping[str, Any]) -> list[dict[str, str]]:
    """What a robustness report is about: verdict, number of samples, seed and digests."""
    about = ("verdict", "n", "seed", "model_digest", "data_digest")
    known = {key: robustness[key] for key in about if robustness.get(key) is not None}
    return [bom_property(f"robustness:{key}", value) for key, value in known.items()]


def performance_metrics(robustness: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The accuracies of a robustness report as CycloneDX performance metrics.

    Source: CycloneDX 1.7, modelCard.quantitativeAnalysis.performanceMetrics.
    """
    robust = [(_attack_slice(attack), attack) for attack in robustness["attacks"]]
    if "worst" in robustness:
        robust.append(("worst of all attacks", robustness["worst"]))
    clean = _metric("accuracy", "clean", robustness["clean"])
    return [clean, *(_metric("robust accuracy", part, figure) for part, figure in robust)]


def _attack_slice(attack: Mapping[str, Any]) -> str:
    params = attack.get("params") or {}
    return " ".join([str(attack["name"]), *(f"{key}={params[key]}" for key in sorted(params))])


def _metric(kind: str, part: str, figure: Mapping[str, Any]) -> dict[str, Any]:
    low, high = figure["interval"]
    return {
        "type": kind,
        "slice": part,
        "value": f"{figure['accuracy']:.6f}",
        "confidenceInterval": {"lowerBound": f"{low:.6f}", "upperBound": f"{high:.6f}"},
    }


def _dependencies(
    name: str,
    model: dict[str, Any],
    data: list[dict[str, Any]],
    libraries: list[dict[str, Any]],
) -> list[dict[str, Any]]:
    needs = [each["bom-ref"] for each in [*data, *libraries]]
    return [
        {"ref": f"release:{name}", "dependsOn": [model["bom-ref"]]},
        {"ref": model["bom-ref"], "dependsOn": needs},
        *({"ref": each["bom-ref"]} for each in data),
    ]
