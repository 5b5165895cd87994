"""SPDX 3.0.1 form of a bill of materials, with the AI and Dataset profiles.

CycloneDX bill → elements and relationships → JSON-LD, equal for equal input

Source: SPDX 3.0.1 specification, profiles Core, Software, SimpleLicensing, AI and Dataset; elements
are made by spdx-python-model, which the SPDX project generates from its model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

from mlsecops._choices import checked
from mlsecops._extras import require
from mlsecops.reports.bom.licenses import is_expression, license_names
from mlsecops.reports.plain_values import well_formed

SPEC_VERSION: Final = "3.0.1"
UNSTATED: Final = "not stated"
"""Name of the supplier that nobody stated; the profiles demand one."""
NO_LOCATION: Final = "NOASSERTION"
"""Download location that nobody stated; the profiles demand one."""
_ALGORITHMS: Final = {
    "SHA-256": "sha256",
    "SHA-384": "sha384",
    "SHA-512": "sha512",
    "BLAKE2b-512": "blake2b512",
    "BLAKE3": "blake3",
}
"""CycloneDX name of a digest algorithm → SPDX name (Core, HashAlgorithm)."""
_PROFILES: Final = ("core", "software", "simpleLicensing", "ai", "dataset")


@checked
def spdx_document(bom: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON-LD document of a bill that `build_bom` made.

    Args:
        bom: The bill, CycloneDX 1.6 or 1.7.

    Raises:
        MissingExtra: The extra `bom` is not installed.
        UsageError: The bill is of another form.

    Source: SPDX 3.0.1.
    """
    bindings = require("spdx_python_model.bindings.v3_0_1")
    with well_formed("bom", "build_bom()"):
        return _Document(bom, bindings).to_dict()


@dataclass(slots=True)
class _Document:
    """Elements of a bill, in the order in which they were made."""

    bom: Mapping[str, Any]
    model: Any
    elements: dict[str, Any] = field(default_factory=dict)
    created: datetime = field(init=False)
    creation: Any = field(init=False)

    def __post_init__(self) -> None:
        self.created = datetime.fromisoformat(self.bom["metadata"]["timestamp"]).astimezone(UTC)
        self.creation = self.model.CreationInfo(_id="_:creation")
        self.creation.created, self.creation.specVersion = self.created, SPEC_VERSION
        [tool] = self.bom["metadata"]["tools"]["components"]
        name = f"{tool['name']} {tool['version']}"
        self.creation.createdBy.append(self.make("SoftwareAgent", "agent", name=name))
        self.creation.createdUsing.append(self.make("Tool", "tool", name=name))

    def to_dict(self) -> dict[str, Any]:
        """The whole document."""
        for component in self.bom["components"]:
            self._component(component)
        for each in self.bom["dependencies"]:
            self._depends(each["ref"], each.get("dependsOn", ()))
        roots = [each["bom-ref"] for each in self.bom["components"] if _is_model(each)]
        root = [self.elements[each] for each in roots]
        listed = list(self.elements.values())
        sbom = self.make("software_Sbom", "sbom", rootElement=root, element=listed)
        sbom.software_sbomType.append(self.model.software_SbomType.build)
        document = self.make(
            "SpdxDocument", "document", name=self.bom["metadata"]["component"]["name"],
            rootElement=[sbom], element=[*listed, sbom],
        )  # fmt: skip
        document.profileConformance.extend(
            getattr(self.model.ProfileIdentifierType, each) for each in _PROFILES
        )
        objects = self.model.SHACLObjectSet([*self.elements.values(), self.creation])
        value: dict[str, Any] = self.model.JSONLDSerializer().serialize_data(objects)
        value["@graph"].sort(key=lambda each: each.get("spdxId", each.get("@id", "")))
        return value

    def make(self, kind: str, reference: str, **fields: Any) -> Any:
        """Make an element; its id is the bill's serial number with the reference."""
        address = f"{self.bom['serialNumber']}#{quote(reference, safe='@:+.-_/')}"
        element = getattr(self.model, kind)(_id=address, creationInfo=self.creation, **fields)
        self.elements[reference] = element
        return element

    def relate(self, kind: str, start: str, ends: Iterable[str]) -> None:
        """Relate an element to others, if there are any."""
        known = [self.elements[each] for each in ends if each in self.elements]
        if known:
            relation = getattr(self.model.RelationshipType, kind)
            self.make(
                "Relationship", f"{kind}:{start}", from_=self.elements[start], to=known,
                relationshipType=relation,
            )  # fmt: skip

    def _component(self, component: Mapping[str, Any]) -> None:
        reference = component["bom-ref"]
        if _is_model(component):
            self._model(component)
        elif component["type"] == "data":
            data = self._package("dataset_DatasetPackage", component, "data")
            data.dataset_datasetType.append(self.model.dataset_DatasetType.noAssertion)
            data.originatedBy.append(self._supplier(component))
            data.builtTime = self.created
        else:
            package = self.make("software_Package", reference, **_named(component))
            package.software_packageUrl = component["purl"]
        self._files(component)
        licenses = list(_licenses(component))
        for text in licenses:
            if f"license:{text}" not in self.elements:
                self.make(
                    "simplelicensing_LicenseExpression", f"license:{text}",
                    simplelicensing_licenseExpression=text,
                )  # fmt: skip
        self.relate("hasDeclaredLicense", reference, (f"license:{each}" for each in licenses))

    def _model(self, component: Mapping[str, Any]) -> None:
        element = self._package("ai_AIPackage", component, "model")
        card = component.get("modelCard", {})
        parameters = card.get("modelParameters", {})
        considered = card.get("considerations", {})
        element.ai_domain.extend(_texts(parameters.get("task")))
        element.ai_typeOfModel.extend(_texts(parameters.get("modelArchitecture")))
        if component.get("description"):
            element.ai_informationAboutApplication = component["description"]
        if considered.get("technicalLimitations"):
            element.ai_limitation = "\n".join(considered["technicalLimitations"])
        for name, value in _hyperparameters(self.bom):
            element.ai_hyperparameter.append(self.model.DictionaryEntry(key=name, value=value))
        for metric in card.get("quantitativeAnalysis", {}).get("performanceMetrics", ()):
            low, high = metric["confidenceInterval"].values()
            element.ai_metric.append(
                self.model.DictionaryEntry(
                    key=f"{metric['type']}, {metric['slice']}",
                    value=f"{metric['value']} ({low} to {high})",
                )
            )

    def _package(self, kind: str, component: Mapping[str, Any], purpose: str) -> Any:
        element = self.make(kind, component["bom-ref"], **_named(component))
        element.verifiedUsing.extend(self._hashes(component))
        element.software_primaryPurpose = getattr(self.model.software_SoftwarePurpose, purpose)
        element.software_downloadLocation = NO_LOCATION
        element.suppliedBy = self._supplier(component)
        element.releaseTime = self.created
        return element

    def _supplier(self, component: Mapping[str, Any]) -> Any:
        name = component.get("supplier", {}).get("name", UNSTATED)
        reference = f"supplier:{name}"
        return self.elements.get(reference) or self.make("Organization", reference, name=name)

    def _files(self, component: Mapping[str, Any]) -> None:
        held = [each for each in component.get("components", ()) if each["type"] == "file"]
        for each in held:
            file = self.make("software_File", each["bom-ref"], name=each["name"])
            file.verifiedUsing.extend(self._hashes(each))
        self.relate("contains", component["bom-ref"], (each["bom-ref"] for each in held))

    def _hashes(self, component: Mapping[str, Any]) -> Iterator[Any]:
        for each in component.get("hashes", ()):
            algorithm = getattr(self.model.HashAlgorithm, _ALGORITHMS[each["alg"]])
            yield self.model.Hash(algorithm=algorithm, hashValue=each["content"])

    def _depends(self, start: str, ends: Iterable[str]) -> None:
        """Relate an element to the data it was trained on, and to what it depends on."""
        if start not in self.elements:
            return
        data = [each for each in ends if each.startswith("data:")]
        self.relate("trainedOn", start, data)
        self.relate("dependsOn", start, (each for each in ends if each not in data))


def _is_model(component: Mapping[str, Any]) -> bool:
    return bool(component["type"] == "machine-learning-model")


def _named(component: Mapping[str, Any]) -> dict[str, str]:
    version = component.get("version")
    return {
        "name": component["name"],
        **({"software_packageVersion": version} if version else {}),
    }


def _texts(text: str | None) -> list[str]:
    return [text] if text else []


def _licenses(component: Mapping[str, Any]) -> Iterator[str]:
    """Licences as SPDX expressions; another name becomes a reference of its own."""
    for text in license_names(component):
        name = re.sub(r"[^A-Za-z0-9.-]+", "-", text).strip("-")
        yield text if is_expression(text) else f"LicenseRef-{name or 'unnamed'}"


def _hyperparameters(bom: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for formula in bom.get("formulation", ()):
        for workflow in formula.get("workflows", ()):
            for given in workflow.get("inputs", ()):
                for each in given.get("parameters", ()):
                    yield each["name"], str(each["value"])
