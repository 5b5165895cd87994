from __future__ import annotations

import json
from datetime import datetime
from typing import Any, Literal

import pytest

from mlsecops.errors import UsageError
from mlsecops.provenance import Digest, Statement
from mlsecops.provenance.lineage import SLSA_PROVENANCE
from mlsecops.reports import bom_text, lint_bom
from tests.attackers import reports as attack
from tests.reports.releases import AT, Release


@pytest.mark.parametrize("version", ["1.6", "1.7"])
def test_a_built_bill_passes_the_schema_and_every_rule(
    release: Release, version: Literal["1.6", "1.7"]
) -> None:
    bom = release.bom(version=version)
    assert bom["specVersion"] == version
    assert lint_bom(bom) == []


def test_equal_input_gives_an_equal_bill_and_serial_number(release: Release) -> None:
    assert bom_text(release.bom()) == bom_text(release.bom())


def test_another_model_gives_another_serial_number(release: Release) -> None:
    other = release.bom(manifest=release.data)
    assert other["serialNumber"] != release.bom()["serialNumber"]


def test_every_file_of_the_model_stands_in_the_bill_with_its_digest(release: Release) -> None:
    listed = {
        part["name"]: part["hashes"][0]["content"]
        for part in attack.model_of(release.bom())["components"]
    }
    assert listed == {entry.name: entry.digest.hex for entry in release.manifest}


def test_the_root_digest_is_that_of_the_manifest(release: Release) -> None:
    model = attack.model_of(release.bom())
    assert {"name": "mlsecops:digest", "value": str(release.manifest.root)} in model["properties"]
    assert model["hashes"] == [{"alg": "SHA-256", "content": release.manifest.root.hex}]


def test_accuracies_are_quoted_with_their_bounds(release: Release) -> None:
    analysis = attack.model_of(release.bom())["modelCard"]["quantitativeAnalysis"]
    assert analysis["performanceMetrics"][2] == {
        "type": "robust accuracy",
        "slice": "pgd eps=0.1 steps=40",
        "value": "0.800000",
        "confidenceInterval": {"lowerBound": "0.750000", "upperBound": "0.820000"},
    }


def test_the_packages_of_the_provenance_stand_in_the_bill(release: Release) -> None:
    bom = release.bom(packages=None)
    libraries = [each for each in bom["components"] if each["type"] == "library"]
    numpy = next(each for each in libraries if each["name"] == "numpy")
    assert numpy["purl"] == f"pkg:pypi/numpy@{numpy['version']}"
    assert numpy["properties"][0]["name"] == "mlsecops:sha256-of:RECORD"


def test_without_provenance_the_installed_packages_stand_in_the_bill(release: Release) -> None:
    bom = release.bom(packages=None, statements=())
    assert "numpy" in {each["name"] for each in bom["components"]}
    assert lint_bom(bom) == []


def test_given_packages_replace_those_of_the_provenance(release: Release) -> None:
    bom = release.bom(packages=[{"uri": "pkg:pypi/torch@2.13.0+cpu"}])
    libraries = [each for each in bom["components"] if each["type"] == "library"]
    assert [each["version"] for each in libraries] == ["2.13.0+cpu"]
    assert lint_bom(bom) == []


def test_the_formulation_names_statement_data_and_model(release: Release) -> None:
    workflow = release.bom()["formulation"][0]["workflows"][0]
    facts = {each["name"]: each["value"] for each in workflow["properties"]}
    assert facts["mlsecops:provenance:statement"] == str(Digest.of(release.statement.payload))
    assert workflow["inputs"][0] == {"resource": {"ref": "data:train"}}
    assert workflow["outputs"][0]["resource"] == {"ref": "model:digits"}


def test_a_secret_hyperparameter_is_left_out(release: Release) -> None:
    hyperparameters = {
        "api_key": "x1",
        "url": attack.SECRETS["password in an address"][0],
        "lr": 0.1,
    }
    statement = _provenance({"hyperparameters": hyperparameters, "entryPoint": "train"})
    text = bom_text(release.bom(statements=[statement], packages=()))
    assert "hunter2" not in text
    assert '"x1"' not in text
    assert text.count("[redacted]") == 2


@pytest.mark.parametrize("definition", [None, [], "x", {"resolvedDependencies": [1, {"name": []}]}])
def test_provenance_of_another_shape_is_still_a_valid_bill(
    release: Release, definition: Any
) -> None:
    statement = Statement.build(
        subjects={"model": release.manifest.root},
        predicate_type=SLSA_PROVENANCE,
        predicate={"buildDefinition": definition, "runDetails": [definition]},
    )
    assert lint_bom(release.bom(statements=[statement])) == []


def test_source_date_epoch_sets_the_time(release: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    bom = release.bom(at=None)
    assert bom["metadata"]["timestamp"] == "1970-01-02T00:00:00Z"
    assert release.bom()["metadata"]["timestamp"] == "2026-01-02T03:04:05Z"


def test_a_source_date_epoch_that_is_no_number_is_refused(
    release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    with pytest.raises(UsageError, match="SOURCE_DATE_EPOCH"):
        release.bom(at=None)


def test_a_time_without_a_zone_is_refused(release: Release) -> None:
    with pytest.raises(UsageError, match="zone"):
        release.bom(at=datetime(2026, 1, 1))  # noqa: DTZ001 - the time without a zone is the attack


def test_an_unknown_version_is_refused(release: Release) -> None:
    with pytest.raises(UsageError, match=r"1\.6 or 1\.7"):
        release.bom(version="1.5")


def test_the_text_of_a_bill_is_json_that_ends_in_a_newline(release: Release) -> None:
    bom = release.bom(at=AT)
    assert json.loads(bom_text(bom)) == bom
    assert bom_text(bom).endswith("}\n")


def _provenance(external: dict[str, Any]) -> Statement:
    return Statement.build(
        subjects={"model": Digest.of(b"")},
        predicate_type=SLSA_PROVENANCE,
        predicate={"buildDefinition": {"externalParameters": external}},
    )
