"""Bills in SPDX 3.0.1: read back by the SPDX project's own model."""

from __future__ import annotations

import io
import json
from typing import Any
from urllib.parse import unquote

import pytest

from mlsecops.reports import spdx_document
from tests.attackers import reports as attack
from tests.reports.releases import Release

spdx = pytest.importorskip("spdx_python_model.bindings.v3_0_1")


@pytest.fixture
def document(release: Release) -> dict[str, Any]:
    return spdx_document(release.bom(license="MIT", supplier="ACME", task="fraud detection"))


def of_type(document: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [each for each in document["@graph"] if each["type"] == kind]


def related(document: dict[str, Any], kind: str) -> set[tuple[str, str]]:
    """Ends of relationships of a kind, by the part of their ids after the serial number."""
    return {
        (unquote(each["from"].partition("#")[2]), unquote(end.partition("#")[2]))
        for each in of_type(document, "Relationship")
        if each["relationshipType"] == kind
        for end in each["to"]
    }


def test_the_projects_own_reader_reads_it_whole(document: dict[str, Any]) -> None:
    objects = spdx.SHACLObjectSet()
    spdx.JSONLDDeserializer().read(io.BytesIO(json.dumps(document).encode()), objects)
    assert not objects.link()
    [model] = objects.foreach_type(spdx.ai_AIPackage)
    assert model.name == "digits"
    assert model.suppliedBy.name == "ACME"


def test_profiles_are_stated_and_what_they_demand_is_there(document: dict[str, Any]) -> None:
    [head] = of_type(document, "SpdxDocument")
    assert {"ai", "dataset"} <= set(head["profileConformance"])
    [model], data = of_type(document, "ai_AIPackage"), of_type(document, "dataset_DatasetPackage")
    demanded = {"suppliedBy", "releaseTime", "software_downloadLocation", "software_packageVersion",
                "software_primaryPurpose"}  # fmt: skip
    assert demanded <= model.keys()
    for each in data:
        assert {"builtTime", "originatedBy", "dataset_datasetType", *demanded} <= each.keys()


def test_the_model_was_trained_on_its_data_and_depends_on_packages(
    document: dict[str, Any], release: Release
) -> None:
    bill = release.bom()
    data = {each["bom-ref"] for each in bill["components"] if each["type"] == "data"}
    assert related(document, "trainedOn") == {("model:digits", each) for each in data}
    needs = {end for start, end in related(document, "dependsOn") if start == "model:digits"}
    assert needs == {each["bom-ref"] for each in bill["components"] if each["type"] == "library"}
    assert ("model:digits", "license:MIT") in related(document, "hasDeclaredLicense")


def test_digests_metrics_and_hyperparameters_are_those_of_the_bill(
    document: dict[str, Any], release: Release
) -> None:
    [model] = of_type(document, "ai_AIPackage")
    assert model["verifiedUsing"][0]["hashValue"] == release.manifest.root.hex
    files = {each["name"]: each for each in of_type(document, "software_File")}
    for entry in release.manifest:
        assert files[entry.name]["verifiedUsing"][0]["hashValue"] == entry.digest.hex
    metrics = {each["key"]: each["value"] for each in model["ai_metric"]}
    assert metrics["robust accuracy, pgd eps=0.1 steps=40"].startswith("0.800000 (0.750000")
    card = attack.model_of(release.bom())["modelCard"]
    assert len(metrics) == len(card["quantitativeAnalysis"]["performanceMetrics"])
    [workflow] = release.bom()["formulation"][0]["workflows"]
    given = [each for value in workflow["inputs"] for each in value.get("parameters", ())]
    told = {(each["key"], each["value"]) for each in model["ai_hyperparameter"]}
    assert told == {(each["name"], str(each["value"])) for each in given}


def test_equal_bills_give_equal_documents(release: Release) -> None:
    assert json.dumps(spdx_document(release.bom())) == json.dumps(spdx_document(release.bom()))


def test_what_nobody_stated_is_said(release: Release) -> None:
    document = spdx_document(release.bom())
    assert "not stated" in {each["name"] for each in of_type(document, "Organization")}
