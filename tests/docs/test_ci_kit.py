"""Kit for users' pipelines: the action, the template and the script, run step by step."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import jsonschema
import pytest
import yaml

from tests.cli.conftest import Release, made, release, tamper

__all__ = ["made", "release"]
ROOT = Path(__file__).parents[2]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
TEMPLATE = yaml.safe_load((ROOT / "docs" / "ci" / "gitlab.yml").read_text())
GATES = {"scan", "verify", "attack", "bom"}


def conform(value: Any, name: str) -> None:
    """Require a system's own schema."""
    vendor = files("check_jsonschema.builtin_schemas.vendor")
    jsonschema.validate(value, json.loads((vendor / name).read_text()))


def environment(more: dict[str, str]) -> dict[str, str]:
    """A clean environment in which the command is found."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {"PATH": path, "HOME": os.environ.get("HOME", "/"), "CI": "true", **more}


def inputs(release: Release, **more: str) -> dict[str, str]:
    """What a user would write under `with:`, the rest by default."""
    (release.folder / "trust.toml").write_text(f'[[keys]]\npath = "{release.public.name}"\n')
    given = {"model": "model", "policy": "trust.toml", "data": "data.npz", "eps": "0.05",
             "arch": "nets:build", "min-accuracy": "0.2", "bom": "bom.json", "requirement": "",
             **more}  # fmt: skip
    return {name: each.get("default", "") for name, each in ACTION["inputs"].items()} | given


def bill(release: Release) -> None:
    """Write the bill of the model."""
    words = [
        "mlsecops",
        "bom",
        "build",
        "model",
        "--dataset",
        "data.npz=data.npz",
        "--out",
        "bom.json",
        "--key",
        release.public.name,
    ]
    subprocess.run(words, cwd=release.folder, env=environment({}), check=True)


def wanted(condition: str, given: dict[str, str]) -> bool:
    """Whether a step runs, by the few forms of condition that the action uses."""
    terms = condition.removeprefix("${{").removesuffix("}}").split("&&")
    compared = (re.fullmatch(r"inputs\.([a-z-]+) != ''", term.strip()) for term in terms)
    return all(
        given[found[1]] != "" if found else term.strip() == "!cancelled()"
        for found, term in zip(compared, terms, strict=True)
    )


def act(release: Release, given: dict[str, str]) -> dict[str, int]:
    """Run the steps of the action as GitHub does; name → exit status."""
    ended = {}
    for step in ACTION["runs"]["steps"]:
        if not wanted(step.get("if", "!cancelled()"), given):
            continue
        values = {
            name: re.sub(r"\$\{\{ inputs\.([a-z-]+) \}\}", lambda m: given[m[1]], text)
            for name, text in step["env"].items()
        }
        words = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
        run = subprocess.run(
            words, cwd=release.folder, env=environment(values), check=False, capture_output=True
        )
        ended[step["name"]] = run.returncode
    return ended


def test_the_action_and_the_template_conform() -> None:
    conform(ACTION, "github-actions.json")
    conform(TEMPLATE, "gitlab-ci.json")


def test_no_input_is_pasted_into_a_script() -> None:
    for step in ACTION["runs"]["steps"]:
        assert "${{" not in step["run"]


def test_the_action_passes_a_signed_model_and_reports_each_gate(release: Release) -> None:
    bill(release)
    given = inputs(release, attack="fgsm")
    assert set(act(release, given).values()) == {0}
    for gate in GATES:
        log = json.loads((release.folder / "mlsecops-reports" / f"{gate}.sarif").read_text())
        assert log["version"] == "2.1.0"
        levels = {result["level"] for result in log["runs"][0]["results"]}
        assert "error" not in levels, gate


def test_the_action_names_a_changed_file_and_runs_the_other_gates(release: Release) -> None:
    bill(release)
    given = inputs(release)
    tamper(release.model / "model.safetensors")
    ended = act(release, given)
    assert ended == {"Scan": 0, "Verify": 1, "Attack": 1, "Bill of materials": 1}
    log = json.loads((release.folder / "mlsecops-reports" / "verify.sarif").read_text())
    [result] = log["runs"][0]["results"]
    place = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert (result["ruleId"], place) == ("digest-mismatch", "model/model.safetensors")


@pytest.mark.parametrize("text", ["$(touch ran)", '"; touch ran; "', "`touch ran`", "--help"])
def test_an_input_is_never_run(release: Release, text: str) -> None:
    ended = act(release, inputs(release, model=text, policy="", bom=""))
    assert not (release.folder / "ran").exists()
    assert ended["Scan"] in {0, 2} if text == "--help" else ended["Scan"] == 2


def jobs(release: Release, variables: dict[str, str]) -> dict[str, int]:
    """Run the jobs of the template whose rule holds; name → exit status."""
    defaults = {name: str(value) for name, value in TEMPLATE["variables"].items()}
    values = environment({**defaults, "MLSECOPS_REQUIREMENT": "", **variables})
    ended = {}
    for name, job in TEMPLATE.items():
        rules = job.get("rules", []) if name.startswith("mlsecops-") else None
        if rules is None:
            continue
        needed = [term for rule in rules for term in re.findall(r"\$(\w+)", rule["if"])]
        if not all(values.get(term) for term in needed):
            continue
        script = "\n".join([*TEMPLATE[job["extends"]]["before_script"], *job["script"]])
        words = ["bash", "-eo", "pipefail", "-c", script]
        ended[name] = subprocess.run(
            words, cwd=release.folder, env=values, check=False, capture_output=True
        ).returncode
    return ended


@pytest.mark.parametrize("changed", [False, True])
def test_the_jobs_of_the_template(release: Release, *, changed: bool) -> None:
    bill(release)
    inputs(release)
    if changed:
        tamper(release.model / "model.safetensors")
    variables = {"MODEL": "model", "POLICY": "trust.toml", "DATA": "data.npz", "EPS": "0.05",
                 "ARCH": "nets:build", "MIN_ACCURACY": "0.2", "BOM": "bom.json"}  # fmt: skip
    if not changed:
        variables["DATA"] = ""  # the action's test attacks the honest model
    ended = jobs(release, {f"MLSECOPS_{name}": value for name, value in variables.items()})
    failed = {"mlsecops-verify", "mlsecops-attack", "mlsecops-bom"} if changed else set()
    ran = GATES if changed else GATES - {"attack"}
    assert ended == {f"mlsecops-{gate}": int(f"mlsecops-{gate}" in failed) for gate in ran}
    report = ET.parse(release.folder / "mlsecops-verify.xml").getroot()  # noqa: S314 - ours
    assert report.get("failures") == str(int(changed))


def test_jobs_without_their_variables_do_not_run(release: Release) -> None:
    assert jobs(release, {"MLSECOPS_MODEL": "model"}) == {"mlsecops-scan": 0}


@pytest.mark.parametrize("changed", [False, True])
def test_the_script_runs_every_gate_and_fails_if_one_does(
    release: Release, *, changed: bool
) -> None:
    bill(release)
    inputs(release)
    if changed:
        tamper(release.model / "model.safetensors")
    values = {"MODEL": "model", "POLICY": "trust.toml", "DATA": "data.npz", "EPS": "0.05",
              "ARCH": "nets:build", "MIN_ACCURACY": "0.2", "BOM": "bom.json"}  # fmt: skip
    if not changed:
        del values["DATA"]
    words = ["bash", str(ROOT / "docs" / "ci" / "gates.sh")]
    ended = subprocess.run(
        words, cwd=release.folder, env=environment(values), check=False, capture_output=True
    )
    assert ended.returncode == int(changed), ended.stderr
    for gate in GATES if changed else GATES - {"attack"}:
        ET.parse(release.folder / "mlsecops-reports" / f"{gate}.xml")  # noqa: S314 - ours
