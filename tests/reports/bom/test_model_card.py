from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mlsecops.errors import UsageError
from mlsecops.reports import lint_bom
from tests.attackers import reports as attack
from tests.reports.releases import Release

README = """---
license: apache-2.0
pipeline_tag: image-classification
model_type: resnet
author: Example Lab
co2_eq_emissions:
  emissions: 12.5
  energy_consumed: 0.04
---
# Digits

A small network that reads handwritten digits.

## Intended uses
Teaching.

## Limitations and risks
Grey pictures of 8 by 8 pixels only.

## Bias and ethical considerations
Trained on digits from one country.

## Fairness
Left-handed writers are rare in the data.
"""

TOOLKIT = {
    "model_details": {
        "overview": "Reads digits.",
        "licenses": [{"identifier": "MIT"}],
        "owners": [{"name": "Example Lab"}],
    },
    "model_parameters": {"model_architecture": "ResNet-18"},
    "considerations": {
        "users": [{"description": "Teachers"}],
        "use_cases": [{"description": "Teaching"}],
        "limitations": [{"description": "Small pictures"}],
        "ethical_considerations": [{"name": "One country", "mitigation_strategy": "More data"}],
    },
}


def card_of(release: Release, **options: Any) -> dict[str, Any]:
    bom = release.bom(**options)
    assert lint_bom(bom) == []
    return attack.model_of(bom)


@pytest.mark.parametrize("version", ["1.6", "1.7"])
def test_a_readme_of_a_hub_fills_the_card(release: Release, tmp_path: Path, version: str) -> None:
    (tmp_path / "README.md").write_text(README)
    model = card_of(release, card=tmp_path / "README.md", version=version)
    assert model["licenses"][0]["license"]["id"] == "Apache-2.0"
    assert model["description"] == "A small network that reads handwritten digits."
    assert model["supplier"] == {"name": "Example Lab"}
    assert model["externalReferences"] == [{"type": "model-card", "url": "README.md"}]
    parameters = model["modelCard"]["modelParameters"]
    assert (parameters["task"], parameters["modelArchitecture"]) == (
        "image-classification", "resnet",
    )  # fmt: skip
    considerations = model["modelCard"]["considerations"]
    assert considerations["useCases"] == ["Teaching."]
    assert considerations["technicalLimitations"] == ["Grey pictures of 8 by 8 pixels only."]
    assert considerations["fairnessAssessments"][0]["harms"].startswith("Left-handed")
    energy = considerations["environmentalConsiderations"]["energyConsumptions"][0]
    assert energy["activityEnergyCost"] == {"value": 0.04, "unit": "kWh"}


@pytest.mark.parametrize("version", ["1.6", "1.7"])
def test_a_card_and_what_was_measured_pass_nine_checks_of_ai_readiness(
    release: Release, tmp_path: Path, version: str
) -> None:
    """Source: sbom-tools, scoring profile ai-readiness, checks AI-001 to AI-009."""
    (tmp_path / "README.md").write_text(README)
    model = card_of(release, card=tmp_path / "README.md", version=version)
    card = model["modelCard"]
    considered = card["considerations"]
    checks = {
        "AI-001 model-card URL": [
            each["url"] for each in model["externalReferences"] if each["type"] == "model-card"
        ],
        "AI-002 architecture family": card["modelParameters"]["architectureFamily"],
        "AI-003 training datasets": card["modelParameters"]["datasets"],
        "AI-004 quantitative analysis": card["quantitativeAnalysis"]["performanceMetrics"],
        "AI-005 fairness assessments": considered["fairnessAssessments"],
        "AI-006 energy consumption": considered["environmentalConsiderations"][
            "energyConsumptions"
        ],
        "AI-007 use cases": considered["useCases"],
        "AI-008 known limitations": considered["technicalLimitations"],
        "AI-009 ethical considerations": considered["ethicalConsiderations"],
    }
    assert len(checks) == 9
    assert [name for name, found in checks.items() if not found] == []


def test_a_card_of_the_toolkit_fills_the_card(release: Release, tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text(json.dumps(TOOLKIT))
    model = card_of(release, card=tmp_path / "card.json")
    assert model["licenses"][0]["license"]["id"] == "MIT"
    parameters = model["modelCard"]["modelParameters"]
    assert parameters["architectureFamily"] == "ResNet"
    assert parameters["modelArchitecture"] == "ResNet-18"
    assert model["modelCard"]["considerations"]["users"] == ["Teachers"]


def test_options_take_precedence_over_the_card(release: Release, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(README)
    model = card_of(release, card=tmp_path / "README.md", description="Ours.", license="MIT")
    assert model["description"] == "Ours."
    assert model["licenses"][0]["license"]["id"] == "MIT"
    assert model["supplier"] == {"name": "Example Lab"}


@pytest.mark.parametrize(
    "text",
    ['{"a": 1}', "{", "---\na: [\n---\n", "---\n!!python/object/apply:os.system [x]\n---\n"],
)
def test_what_is_no_card_is_refused_with_its_path(
    release: Release, tmp_path: Path, text: str
) -> None:
    (tmp_path / "card").write_text(text)
    with pytest.raises(UsageError, match=r"card .*card"):
        release.bom(card=tmp_path / "card")


def test_a_card_that_is_not_there_is_refused(release: Release, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        release.bom(card=tmp_path / "absent.md")


def test_a_card_without_statements_asserts_nothing(release: Release, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("")
    model = card_of(release, card=tmp_path / "README.md")
    assert "description" not in model
    assert "considerations" not in model["modelCard"]
