from __future__ import annotations

import ast
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsecops.findings import Finding, Severity
from mlsecops.reports import judgement_findings, junit_xml, markdown_report, sarif_log
from mlsecops.reports.rules import has_text
from mlsecops.robustness.gate import Judgement
from tests.attackers.reports import MARKUP, SECRETS

ROOT = Path(__file__).parents[2]


def finding(**changes: object) -> Finding:
    values: dict[str, object] = {
        "rule": "pickle-global",
        "severity": Severity.HIGH,
        "message": "os.system is called",
        "where": "offset 12",
        "artifact": "models/a b.pkl",
    }
    return Finding(**{**values, **changes})  # type: ignore[arg-type] # values of a test


FINDINGS = (
    finding(),
    finding(rule="chat-template", severity=Severity.INFO, message="a template", where=""),
    finding(artifact="models/b.pt", severity=Severity.CRITICAL),
)


def test_sarif_has_what_code_scanning_needs() -> None:
    log = sarif_log(FINDINGS)
    run = log["runs"][0]
    assert log["version"] == "2.1.0"
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == [
        "chat-template",
        "pickle-global",
    ]
    for result in run["results"]:
        assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["message"]["text"]
        assert len(result["partialFingerprints"]["mlsecops/v1"]) == 64
    assert [result["level"] for result in run["results"]] == ["note", "error", "error"]


def test_sarif_paths_are_percent_encoded() -> None:
    location = sarif_log([finding()])["runs"][0]["results"][0]["locations"][0]
    assert location["physicalLocation"]["artifactLocation"]["uri"] == "models/a%20b.pkl"


def test_sarif_does_not_depend_on_the_order_of_findings() -> None:
    assert sarif_log(FINDINGS) == sarif_log(FINDINGS[::-1])


def test_sarif_messages_carry_no_link_of_the_attackers() -> None:
    text = sarif_log([finding(message="see [here](https://evil.invalid)")])["runs"][0]["results"][0]
    assert text["message"]["text"] == r"see \[here\](https://evil.invalid)"


def test_an_artifact_name_cannot_become_an_address() -> None:
    log = json.dumps(sarif_log([finding(artifact="https://evil.invalid/x")]))
    assert "https://evil" not in log


def uri(artifact: str) -> str:
    (result,) = sarif_log([finding(artifact=artifact)])["runs"][0]["results"]
    return str(result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"])


def test_sarif_paths_are_relative_below_the_working_folder_and_file_uris_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    assert uri(str(here / "models" / "a b.pkl")) == "models/a%20b.pkl"
    assert uri("./models/a.pkl") == "models/a.pkl"
    assert uri(f"{here}/../{here.name}/a.pkl") == "a.pkl"
    assert uri("../other/a.pkl") == f"file://{tmp_path}/other/a.pkl"
    assert uri(f"{here}-other/a.pkl") == f"file://{here}-other/a.pkl"
    assert uri("//host/share/a.pkl") == "file:////host/share/a.pkl"


def test_every_rule_of_a_scan_has_a_help_text() -> None:
    literal = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
    rules = {
        node.value.value
        for path in (ROOT / "mlsecops" / "loading").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.keyword) and node.arg == "rule"
        and isinstance(node.value, ast.Constant) and literal.fullmatch(str(node.value.value))
    }  # fmt: skip
    assert len(rules) > 8
    assert [rule for rule in sorted(rules) if not has_text(rule)] == []


def test_sarif_says_what_to_do_about_each_rule() -> None:
    for rule in sarif_log(FINDINGS)["runs"][0]["tool"]["driver"]["rules"]:
        assert rule["help"]["text"].endswith(".")
        assert rule["help"]["text"] in rule["help"]["markdown"]
        assert rule["shortDescription"]["text"] in rule["fullDescription"]["text"]


def test_junit_counts_failures_and_passes() -> None:
    root = ET.fromstring(junit_xml(FINDINGS, checked=["clean.safetensors"]))  # noqa: S314 - our own
    assert (root.get("tests"), root.get("failures")) == ("4", "2")
    suites = {suite.get("name"): suite for suite in root}
    assert len(list(suites["clean.safetensors"].iter("testcase"))) == 1
    assert suites["models/a b.pkl"].get("failures") == "1"
    failure = suites["models/b.pt"].find("testcase/failure")
    assert failure is not None
    assert failure.get("type") == "pickle-global"


@given(st.text(max_size=60))
def test_junit_is_well_formed_whatever_a_finding_says(text: str) -> None:
    document = junit_xml([finding(message=text, where=text, artifact=text)])
    ET.fromstring(document)  # noqa: S314 - our own


def test_markdown_shows_markup_as_text() -> None:
    text = markdown_report([finding(message=f"{MARKUP}|x\n# h ![p](https://evil.invalid)")])
    assert "<" not in text
    assert "![" not in text
    assert "https://" not in text
    rows = [line for line in text.splitlines() if line.startswith("| high")]
    assert len(rows) == 1
    assert rows[0].replace("\\|", "").count("|") == 6


def test_markdown_begins_with_the_most_severe() -> None:
    lines = [line for line in markdown_report(FINDINGS).splitlines() if line.startswith("| ")]
    assert [line.split(" | ")[0].strip("| ") for line in lines[1:]] == ["critical", "high", "info"]


def test_markdown_without_findings_says_so() -> None:
    assert "Nothing was found." in markdown_report([])


@pytest.mark.parametrize(("secret", "core"), SECRETS.values(), ids=SECRETS)
def test_no_form_of_a_finding_prints_a_secret(secret: str, core: str) -> None:
    told = finding(message=f"found {secret} in it", where=secret)
    texts = (json.dumps(sarif_log([told])), junit_xml([told]), markdown_report([told]))
    assert all(core not in text for text in texts)


def test_a_judgement_that_is_no_pass_becomes_findings() -> None:
    failed = Judgement(verdict="fail", readings=(), reasons=("pgd: 0.1", "fgsm: 0.2"))
    assert [each.rule for each in judgement_findings(failed, artifact="m")] == [
        "robustness-fail",
        "robustness-fail",
    ]
    passed = Judgement(verdict="pass", readings=(), reasons=())
    assert judgement_findings(passed, artifact="m") == []
