from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from mlsecops.audit import AuditLog
from mlsecops.errors import EvidenceError, IncidentError, UsageError
from mlsecops.findings import Alert
from mlsecops.incident import Incident, Playbook, evidence
from mlsecops.incident.evidence import pack
from mlsecops.registry import Registry
from mlsecops.signing import Signer, TrustPolicy
from tests.attackers import incident as attack
from tests.attackers.audit import FOREIGN_SCHEMAS, edit_entry, run_script
from tests.incident.conftest import AT


@pytest.fixture
def handled(incident: Incident) -> Incident:
    Playbook.default().run(incident)
    return incident


def test_evidence_holds_what_was_known(handled: Incident) -> None:
    read = handled.evidence.read
    assert json.loads(read("subject.json"))["client"] == "mallory"
    assert json.loads(read("monitor.json")) == {"calls": 7}
    assert json.loads(read("history-fraud.json"))[0]["type"] == "published"
    assert b"resolvedDependencies" in read("statement-fraud-2-0.json")
    assert read("checkpoint.txt").startswith(b"mlsecops-log/")
    assert json.loads(read("custody.json"))[0]["type"] == "opened"


def test_every_changed_byte_of_the_tar_is_noticed(handled: Incident, policy: TrustPolicy) -> None:
    path = handled.evidence.path
    size = path.stat().st_size
    for offset in {*range(0, size, max(1, size // 40)), size - 1}:
        attack.change_byte(path, offset)
        with pytest.raises(EvidenceError):
            handled.evidence.verify(policy=policy)
        attack.change_byte(path, offset)
    handled.evidence.verify(policy=policy)


def test_what_is_read_is_what_was_verified(
    handled: Incident, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tar is exchanged right after it was verified."""
    known = evidence._check_contents

    def exchanged(data: bytes, path: Path) -> None:
        known(data, path)
        path.unlink()
        path.write_bytes(pack({"subject.json": b'{"client": "somebody else"}'}))

    monkeypatch.setattr(evidence, "_check_contents", exchanged)
    assert json.loads(handled.evidence.read("subject.json"))["client"] == "mallory"


def test_evidence_that_grew_without_end_is_not_read(handled: Incident) -> None:
    handled.evidence.path.chmod(0o600)
    os.truncate(handled.evidence.path, 1 << 40)
    with pytest.raises(EvidenceError, match="larger than"):
        handled.evidence.verify()


def test_evidence_that_nobody_could_fetch_is_not_sealed(
    incident: Incident, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence, "_MOST_BYTES", 1000)
    with pytest.raises(EvidenceError, match="smaller snapshot"):
        incident.evidence.seal({"subject.json": b"{}"})


def test_a_changed_signature_is_noticed(handled: Incident, policy: TrustPolicy) -> None:
    attack.change_byte(handled.evidence.bundle, handled.evidence.bundle.stat().st_size // 2)
    with pytest.raises(EvidenceError):
        handled.evidence.verify(policy=policy)


@pytest.mark.parametrize("name", ["evidence.tar", "evidence.tar.sig", "custody.sqlite"])
def test_missing_evidence_is_noticed(handled: Incident, name: str) -> None:
    (handled.folder / name).unlink()
    with pytest.raises(EvidenceError):
        handled.evidence.verify()


def test_evidence_exchanged_by_somebody_trusted_is_noticed(
    handled: Incident, signer: Signer, policy: TrustPolicy
) -> None:
    attack.exchange_evidence(handled.evidence.path, pack({"subject.json": b"{}"}), signer)
    with pytest.raises(EvidenceError, match="exchanged"):
        handled.evidence.verify(policy=policy)
    with pytest.raises(IncidentError, match="exchanged"):
        Playbook.default().run(handled)


def test_a_policy_that_does_not_trust_the_registry_refuses(handled: Incident) -> None:
    with pytest.raises(EvidenceError):
        handled.evidence.verify(policy=TrustPolicy(keys=[Signer.generate("p256").public_key]))


def test_evidence_and_custody_are_the_owner_s_alone(handled: Incident) -> None:
    places = (handled.folder, *handled.folder.iterdir())
    modes = {place.name: stat.S_IMODE(place.stat().st_mode) for place in places}
    assert modes == {
        handled.id: 0o700,
        "custody.sqlite": 0o600,
        "evidence.tar": 0o400,
        "evidence.tar.sig": 0o400,
        "lock": 0o600,
    }


def _exchange(handled: Incident, tmp_path: Path, how: str) -> None:
    """Tamper with the copy of the chain of custody."""
    custody = handled.folder / "custody.sqlite"
    if how in FOREIGN_SCHEMAS:
        run_script(custody, FOREIGN_SCHEMAS[how])
    elif how == "edited":
        edit_entry(custody, 1, b"{}")
    else:
        size = len(handled.events())
        forged = AuditLog(
            tmp_path / "forged.sqlite",
            signer=handled.registry.signer,
            origin=f"mlsecops-incident/{handled.id}",
        )
        for _ in range(size):
            forged.append({"type": "playbook", "steps": []})
        custody.write_bytes((tmp_path / "forged.sqlite").read_bytes())


@pytest.mark.parametrize(
    "how", ["endless view", "trigger besides", "virtual table", "edited", "written by the signer"]
)
def test_a_copy_of_the_chain_of_custody_that_was_changed_is_noticed_and_changes_nothing(
    handled: Incident, tmp_path: Path, how: str
) -> None:
    before = handled.steps
    _exchange(handled, tmp_path, how)
    assert handled.steps == before
    with pytest.raises(EvidenceError, match="does not verify"):
        handled.evidence.verify()
    with pytest.raises(IncidentError):
        Playbook.default().run(handled)
    (handled.folder / "custody.sqlite").unlink()
    Playbook.default().run(handled)
    handled.evidence.verify()


def test_an_older_copy_of_the_chain_of_custody_is_noticed_and_brought_up_to_date(
    incident: Incident,
) -> None:
    custody = incident.folder / "custody.sqlite"
    older = custody.read_bytes()
    Playbook.default().run(incident)
    custody.write_bytes(older)
    with pytest.raises(EvidenceError, match="older or another copy"):
        incident.evidence.verify()
    Playbook.default().run(incident)
    incident.evidence.verify()


def test_an_unknown_document_is_said(handled: Incident) -> None:
    with pytest.raises(EvidenceError, match=r"subject\.json"):
        handled.evidence.read("../custody.sqlite")


def test_the_tar_depends_on_its_contents_alone(tmp_path: Path) -> None:
    one = pack({"b": b"2", "a": b"1"})
    assert one == pack({"a": b"1", "b": b"2"})
    assert one != pack({"a": b"1", "b": b"3"})
    assert str(tmp_path).encode() not in one


def test_a_document_that_the_archive_holds_in_two_versions_is_refused(
    incident: Incident, policy: TrustPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def twofold(contents: dict[str, bytes]) -> bytes:
        return attack.with_second_entry(pack(contents), "subject.json", b'{"client": "nobody"}')

    monkeypatch.setattr("mlsecops.incident.evidence.pack", twofold)
    incident.evidence.seal({"subject.json": b'{"client": "mallory"}'})
    with pytest.raises(EvidenceError, match=r"unexpected entry 'subject\.json'"):
        incident.evidence.verify(policy=policy)


@pytest.mark.parametrize(
    ("packed", "says"),
    [
        (attack.archive, r"expected a manifest\.json, got none"),
        (
            lambda contents: pack(contents).replace(b'"mallory"', b'"nobody!"'),
            "differ from its manifest",
        ),
        (lambda contents: attack.archive({**contents, "manifest.json": b"{}"}), "differ from its"),
        (lambda _: b"no tar at all" * 1000, "expected a tar"),
        (lambda contents: pack(contents)[:700], "expected a tar"),
        (lambda contents: attack.archive(contents, link="subject.json"), "unexpected entry"),
    ],
)
def test_evidence_that_an_operator_sealed_with_a_program_of_his_own_is_checked_as_any(
    incident: Incident,
    monkeypatch: pytest.MonkeyPatch,
    packed: Callable[[dict[str, bytes]], bytes],
    says: str,
) -> None:
    """Signature and log agree with the bytes; what they hold is wrong."""
    monkeypatch.setattr("mlsecops.incident.evidence.pack", packed)
    incident.evidence.seal({"incident.json": b"{}", "subject.json": b'{"client": "mallory"}'})
    with pytest.raises(EvidenceError, match=says):
        incident.evidence.verify()
    with pytest.raises(EvidenceError, match=says):
        incident.evidence.read("subject.json")


def test_a_reader_seals_no_evidence(incident: Incident) -> None:
    reader = Registry(incident.registry.location, policy=incident.registry.policy)
    seen = Incident(incident.id, registry=reader, clock=lambda: AT)
    with pytest.raises(UsageError, match="registry with a signer, got none"):
        seen.evidence.seal({"subject.json": b"{}"})
    assert not seen.evidence.path.exists()


def test_a_folder_in_the_place_of_the_evidence_is_an_error_of_the_library(
    incident: Incident,
) -> None:
    (incident.evidence.path / "planted").mkdir(parents=True)
    with pytest.raises(EvidenceError, match="cannot be written"):
        incident.evidence.seal({"subject.json": b"{}"})
    assert incident.evidence.sealed is None


def test_a_file_in_the_place_of_the_incidents_is_an_error_of_the_library(
    registry: Registry, alert: Alert
) -> None:
    assert isinstance(registry.location, Path)
    (registry.location / "incidents").write_text("planted")
    with pytest.raises(IncidentError, match="cannot make"):
        Incident.open(alert, registry=registry)


def test_evidence_before_it_is_sealed_does_not_hold(incident: Incident) -> None:
    assert incident.evidence.sealed is None
    with pytest.raises(EvidenceError):
        incident.evidence.verify()
