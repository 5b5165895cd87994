from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mlsecops.access import AccessPolicy
from mlsecops.errors import AccessDenied
from mlsecops.findings import Alert, Finding, Severity
from mlsecops.incident import Playbook
from mlsecops.monitoring import LogSink
from mlsecops.reports import junit_xml, markdown_report, sarif_log
from mlsecops.signing import Signer, sign
from tests.attackers.lines import FORGED, NAMES
from tests.cli.conftest import Command

HOSTILE = b"cbuiltins\nprint\n(S'x'\ntR."


def printable(text: str) -> bool:
    return all(line.isprintable() for line in text.split("\n"))


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_name_is_one_line_of_a_scan(command: Command, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(HOSTILE)
    outcome = command("scan", tmp_path)
    assert outcome.status == 1
    assert not any(line.startswith(("passed", "1 file scanned: 0")) for line in
                   outcome.out.splitlines())  # fmt: skip
    assert printable(outcome.out)
    outcome = command("scan", tmp_path, "--format", "json")
    assert printable(outcome.out)
    [verdict] = json.loads(outcome.out)["verdicts"]
    assert verdict["path"] == str(tmp_path / name)


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_name_is_one_line_of_other_commands(command: Command, tmp_path: Path, name: str) -> None:
    model, key = tmp_path / "model", Signer.generate("p256")
    model.mkdir()
    (model / "weights.bin").write_bytes(b"w")
    public = tmp_path / "key.pub.pem"
    public.write_text(key.public_key.pem)
    sign(model, key)
    (model / name).write_bytes(b"late")
    verified = command("verify", model, "--key", public, "--ignore-unsigned")
    assert FORGED not in verified.out.splitlines()
    assert printable(verified.out)
    refused = command("verify", model, "--key", public)
    assert refused.status == 1
    assert printable(refused.said)
    hashed = command("hash", model / name)
    assert printable(hashed.out)
    assert printable(command("hash", model, "--format", "json").out)


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_an_error_is_one_line_of_a_log(name: str) -> None:
    with pytest.raises(AccessDenied) as caught:
        AccessPolicy().require(name, "read", "m")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_an_alert_is_one_line_of_a_log(caplog: pytest.LogCaptureFixture, name: str) -> None:
    alert = Alert(
        rule="query-rate", monitor=name, client=name, message=name, digest="sha256:00",
        reading=1.0, threshold=0.5, window="last minute", severity=Severity.HIGH,
        atlas="AML.T0034", at=datetime.now(UTC),
    )  # fmt: skip
    with caplog.at_level(logging.DEBUG):
        LogSink()(alert)
    [record] = caplog.records
    assert record.getMessage().replace("\x7f", "").isprintable()


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_finding_is_one_line_of_each_report(name: str) -> None:
    finding = Finding(rule="r", severity=Severity.HIGH, message=name, where=name, artifact=name)
    for text in (
        junit_xml([finding]),
        markdown_report([finding], title="Findings"),
        json.dumps(sarif_log([finding])),
    ):
        assert printable(text)
        assert not any(line.startswith("passed") for line in text.splitlines())
    for step in Playbook.default().to_markdown().splitlines():
        assert step.isprintable()
