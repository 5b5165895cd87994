"""Evidence maps: every number has a row, and none claims what the files do not hold."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from mlsecops.errors import UsageError
from mlsecops.reports import FRAMEWORKS, evidence_map, evidence_page, evidence_template
from mlsecops.reports.evidence.evidence_map import EVIDENCE, resolve
from mlsecops.reports.evidence.frameworks import read_framework

DIGEST = "sha256:" + "0" * 64
ANNEX = [*(f"1({each})" for each in "abcdefgh"), *(f"2({each})" for each in "abcdefgh"),
         *map(str, range(3, 10))]  # fmt: skip
FUNCTIONS = {"GOVERN": 19, "MAP": 18, "MEASURE": 22, "MANAGE": 13}


def json_bytes(value: Any) -> bytes:
    return json.dumps(value).encode()


def delivered() -> dict[str, bytes]:
    """Files in which every field of `EVIDENCE` has a value."""
    files: dict[str, Any] = {each.file: {} for each in EVIDENCE.values()}
    files["signing/provenance.json"] = {
        "predicate": {
            "buildDefinition": {
                "externalParameters": {"hyperparameters": {"lr": 1}},
                "internalParameters": {"python": "3"},
                "resolvedDependencies": [{"uri": "pkg:a"}, {"annotations": {"kind": "dataset"}}],
            },
            "runDetails": {"builder": {"id": "b"}},
        }
    }
    card = {"modelParameters": {"task": "t", "modelArchitecture": "m"}}
    files["bom.cdx.json"] = {
        "components": [
            {"type": "data"},
            {"type": "machine-learning-model", "description": "d", "modelCard": card},
        ],
        "dependencies": [{"ref": "a"}],
    }
    files["robustness.json"] = {"clean": {"accuracy": 0.0}, "attacks": []}
    return {name: json_bytes(value) for name, value in files.items()}


def test_every_point_of_annex_iv_has_a_row() -> None:
    numbers = [each.number for each in read_framework("eu-ai-act").requirements]
    assert [each.removeprefix("Annex IV ") for each in numbers if "Annex" in each] == ANNEX
    assert [each for each in numbers if "Art." in each] == [f"Art. 15({n})" for n in (1, 3, 4, 5)]


def test_every_subcategory_and_control_has_a_row() -> None:
    numbers = [each.number for each in read_framework("nist-ai-rmf").requirements]
    counts = {name: sum(each.startswith(f"{name} ") for each in numbers) for name in FUNCTIONS}
    assert counts == FUNCTIONS
    controls = [each.number for each in read_framework("iso-42001").requirements]
    assert len(controls) == 38
    assert all(re.fullmatch(r"A\.\d+(\.\d+){1,2}", each) for each in controls)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_numbers_are_unique_and_evidence_is_known(framework: str) -> None:
    requirements = read_framework(framework).requirements
    assert len({each.number for each in requirements}) == len(requirements)
    assert {name for each in requirements for name in each.evidence} <= set(EVIDENCE)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_what_a_row_claims_is_there(framework: str) -> None:
    files = delivered()
    value = evidence_map(framework, files, digest=DIGEST, signed=["signing/provenance.json"])
    for row in value["rows"]:
        if row["status"] == "absent":
            assert row["file"] is row["field"] is row["digest"] is None
            continue
        content = files[row["file"]]
        assert resolve(json.loads(content), row["field"]) not in (None, "", [], {})
        assert row["digest"] == f"sha256:{hashlib.sha256(content).hexdigest()}"
        signed = row["file"] == "signing/provenance.json"
        assert row["status"] == ("verified" if signed else "asserted")
    assert {"verified", "asserted", "absent"} == {row["status"] for row in value["rows"]}


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_nothing_is_claimed_of_files_without_content(framework: str) -> None:
    for files in ({}, dict.fromkeys(delivered(), b"{}"), {"robustness.json": b"\xff"}):
        value = evidence_map(framework, files, digest=DIGEST, signed=list(files))
        assert {row["status"] for row in value["rows"]} == {"absent"}


def test_provenance_without_data_sets_is_no_evidence_of_data() -> None:
    files = delivered()
    provenance = json.loads(files["signing/provenance.json"])
    del provenance["predicate"]["buildDefinition"]["resolvedDependencies"][1]
    files["signing/provenance.json"] = json_bytes(provenance)
    rows = evidence_map("eu-ai-act", files, digest=DIGEST)["rows"]
    assert {row["number"]: row["status"] for row in rows}["Annex IV 2(d)"] == "absent"


def test_a_verdict_that_the_delivery_adds_to_a_signed_report_is_not_verified() -> None:
    files = {"robustness.json": json_bytes({"clean": {"accuracy": 0.9}, "verdict": "pass"})}
    rows = evidence_map("nist-ai-rmf", files, digest=DIGEST, signed=list(files))["rows"]
    found = {row["field"]: row["status"] for row in rows if row["field"]}
    assert found == {"/clean": "verified", "/verdict": "asserted"}


def test_the_template_has_a_heading_for_each_absent_row_and_the_page_links_to_it() -> None:
    value = evidence_map("eu-ai-act", delivered(), digest=DIGEST)
    absent = [row["number"] for row in value["rows"] if row["status"] == "absent"]
    template = evidence_template(value)
    assert re.findall(r"^## (.*)$", template, flags=re.MULTILINE) == absent
    page = evidence_page(value, model="<b>m</b>")
    assert 'href="evidence-to-write.md"' in page
    assert "<b>m</b>" not in page


def test_a_page_with_anything_absent_or_asserted_is_not_shown_as_good() -> None:
    value = evidence_map("eu-ai-act", delivered(), digest=DIGEST, signed=list(delivered()))
    assert {"verified", "absent"} <= {row["status"] for row in value["rows"]}
    assert 'class="verdict warn"' in evidence_page(value, model="m")


def test_an_unknown_framework_is_refused() -> None:
    with pytest.raises(UsageError, match="framework: expected eu-ai-act"):
        evidence_map("gdpr", {}, digest=DIGEST)


def test_texts_of_the_frameworks_name_their_source() -> None:
    for name in FRAMEWORKS:
        assert read_framework(name).source.startswith("https://")
    assert (Path(__file__).parents[3] / "docs" / "deliverables.md").read_text().count("eu-ai-act")
