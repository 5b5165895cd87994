"""Six kinds of incidents, reported and handled, killed at writes and resumed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mlsecops.errors import IncidentError, Revoked, UsageError
from mlsecops.findings import Severity
from mlsecops.incident import Incident, Playbook, sign_again
from mlsecops.incident.guidance import KINDS, Kind
from mlsecops.provenance import Digest
from mlsecops.registry import Registry
from mlsecops.registry.listing import remove_folder
from mlsecops.signing import Signer, TrustPolicy, sign
from tests.attackers import incident as attack
from tests.incident.conftest import AT


@pytest.fixture(scope="module")
def keys() -> dict[str, Signer]:
    return {name: Signer.generate("ed25519") for name in ("leaked", "good", "new", "operator")}


@pytest.fixture(scope="module")
def template(keys: dict[str, Signer]) -> Iterator[Path]:
    """`fraud` with versions by two keys, of which the newer serves; `churn` and `risk` beside."""
    shared = Path("/dev/shm")
    parent = shared if os.access(shared, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=parent, ignore_cleanup_errors=True) as place:
        registry = opened(Path(place) / "template", keys)
        for number, (name, key) in enumerate(
            (("fraud", "good"), ("fraud", "leaked"), ("risk", "leaked"), ("churn", "good"))
        ):
            folder = Path(place) / str(number) / name
            folder.mkdir(parents=True)
            (folder / "weights.bin").write_bytes(bytes([number]))
            (folder / "shared.txt").write_text("the same everywhere")
            sign(folder, keys[key])
            version = registry.publish(name, folder)
            registry.promote(name, version.version, "serving")
        yield Path(place) / "template"


def opened(place: Path, keys: dict[str, Signer]) -> Registry:
    models = TrustPolicy(keys=[keys[name].public_key for name in ("leaked", "good", "new")])
    operator = keys["operator"]
    return Registry(
        place, signer=operator, policy=models, log_keys=[operator.public_key], clock=lambda: AT
    )


@pytest.fixture
def registry(template: Path, keys: dict[str, Signer]) -> Iterator[Registry]:
    place = template.with_name("working")
    shutil.copytree(template, place)
    yield opened(place, keys)
    remove_folder(place)


def about(kind: Kind, registry: Registry, keys: dict[str, Signer]) -> Digest:
    if kind == "leaked-key":
        return Digest.parse(f"sha256:{keys['leaked'].public_key.fingerprint}")
    return registry.versions("fraud")[1].digest


def handle(kind: Kind, registry: Registry, keys: dict[str, Signer]) -> Incident:
    digest = about(kind, registry, keys)
    incident = Incident.report(
        kind, digest=digest, message="it was noticed", registry=registry, clock=lambda: AT
    )
    playbook = Playbook.default(
        remediate=sign_again(keys["new"]) if kind == "leaked-key" else lambda _: None,
        validate=lambda _, version: version is not None,
    )
    playbook.run(incident, approve=lambda _: True)
    return incident


def end_state(incident: Incident) -> dict[str, Any]:
    incident.evidence.verify()
    registry = incident.registry
    names = ("fraud", "risk", "churn")
    return {
        **incident.to_dict(),
        "serving": {name: registry.resolve(name, "serving").version for name in names},
        "isolated": dict(registry.isolations()),
        "signers": [registry.claim("risk", 1).signers, registry.claim("churn", 1).signers],
        "opened": len(registry.recorded("incident.opened")),
    }


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_handled_to_its_end_while_others_serve(
    kind: Kind, registry: Registry, keys: dict[str, Signer]
) -> None:
    incident = handle(kind, registry, keys)
    state = end_state(incident)
    assert (state["state"], state["kind"]) == ("closed", kind)
    assert state["serving"] == {"fraud": 1, "risk": 1, "churn": 1}
    assert registry.isolated(about(kind, registry, keys)) is not None
    before = registry.verify_log()
    assert handle(kind, registry, keys).id == incident.id
    assert registry.verify_log() == before


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_is_killed_at_a_write_and_resumed_ends_the_same(
    kind: Kind, template: Path, keys: dict[str, Signer]
) -> None:
    def fresh() -> Callable[[], Incident]:
        place = template.with_name("killed")
        remove_folder(place)
        shutil.copytree(template, place)
        return lambda: handle(kind, opened(place, keys), keys)

    expected = end_state(fresh()())
    assert expected["state"] == "closed"
    killed = 0
    # A sample; benchmarks/incidents.py kills at every write.
    for number in range(1 + 7 * KINDS.index(kind), 1000, 45):
        run = fresh()
        if not attack.kill_at_write(number, run):
            break
        killed += 1
        assert end_state(run()) == expected, f"killed before write {number}"
    assert killed > 5


def test_a_leaked_key_is_revoked_listed_and_replaced(
    registry: Registry, keys: dict[str, Signer]
) -> None:
    digest = about("leaked-key", registry, keys)
    incident = Incident.report("leaked-key", digest=digest, message="on a forum", registry=registry)
    Playbook.default().run(incident)
    with pytest.raises(Revoked):
        registry.resolve("risk", "serving")
    assert registry.resolve("churn", "serving").version == 1
    assert registry.resolve("fraud", "serving").version == 1
    found = incident.step("assess").result
    assert found is not None
    assert (found["versions"], found["covered"]) == (["fraud 2", "risk 1"], [])
    assert (found["serving"], found["log_key"]) == (["fraud 2", "risk 1"], False)
    assert "risk waits for a new signature of version 1" in incident.step("rollback").note
    with pytest.raises(UsageError, match="leaked one"):
        sign_again(keys["leaked"])(incident)
    sign_again(keys["new"])(incident)
    assert registry.resolve("risk", "serving").version == 1
    assert registry.claim("fraud", 2).signers == (keys["new"].public_key.fingerprint,)


def test_of_several_touched_models_the_first_by_name_is_validated(
    registry: Registry, keys: dict[str, Signer]
) -> None:
    digest = about("leaked-key", registry, keys)
    incident = Incident.report("leaked-key", digest=digest, message="on a forum", registry=registry)
    seen: list[tuple[str, int] | None] = []
    playbook = Playbook.default(
        remediate=sign_again(keys["new"]),
        validate=lambda _, version: seen.append(version and (version.name, version.version)),
    )
    playbook.run(incident, approve=lambda _: True)
    assert seen == [("fraud", 1)]


def test_a_version_that_another_key_signed_too_is_covered_and_serves_on(
    registry: Registry, keys: dict[str, Signer], tmp_path: Path
) -> None:
    folder = tmp_path / "both"
    folder.mkdir()
    (folder / "weights.bin").write_bytes(b"both")
    sign(folder, [keys["leaked"], keys["good"]])
    registry.publish("both", folder)
    registry.promote("both", 1, "serving")
    digest = about("leaked-key", registry, keys)
    incident = Incident.report("leaked-key", digest=digest, message="on a forum", registry=registry)
    Playbook.default().run(incident)
    found = incident.step("assess").result
    assert found is not None
    assert found["versions"] == ["both 1", "fraud 2", "risk 1"]
    assert (found["covered"], found["unverified"]) == (["both 1"], ["fraud 2", "risk 1"])
    assert "the key signed 3 versions, other keys cover 1" in incident.step("assess").note
    assert registry.resolve("both", "serving").version == 1
    before = registry.verify_log().size
    sign_again(keys["new"])(incident)
    again = [event.name for event in registry.recorded("signed-again")]
    assert sorted(again) == ["fraud", "risk"]
    assert registry.verify_log().size == before + 2


def test_what_was_published_after_the_leak_is_not_signed_again(
    registry: Registry, keys: dict[str, Signer]
) -> None:
    digest = about("leaked-key", registry, keys)
    incident = Incident.report("leaked-key", digest=digest, message="on a forum", registry=registry)
    Playbook.default(remediate=sign_again(keys["new"], before=AT - timedelta(seconds=1))).run(
        incident, approve=lambda _: True
    )
    with pytest.raises(Revoked):
        registry.resolve("risk", "serving")


def test_the_log_s_own_key_is_named(registry: Registry, keys: dict[str, Signer]) -> None:
    digest = f"sha256:{keys['operator'].public_key.fingerprint}"
    incident = Incident.report("leaked-key", digest=digest, message="on a forum", registry=registry)
    Playbook.default().run(incident)
    found = incident.step("assess").result
    assert found is not None
    assert found["log_key"]
    assert "rotate-key" in incident.step("assess").note


def test_every_place_that_holds_tampered_bytes_is_found(registry: Registry) -> None:
    digest = registry.files("fraud", 2)["shared.txt"]
    assert isinstance(registry.location, Path)
    blob = next(registry.location.rglob(f"*{digest.hex}*"))
    blob.chmod(0o600)
    blob.write_bytes(b"tampered with")
    incident = Incident.report(
        "tampered-artifact", digest=digest, message="another hash", registry=registry
    )
    Playbook.default().run(incident)
    found = incident.step("assess").result
    assert found is not None
    every = ["churn 1", "fraud 1", "fraud 2", "risk 1"]
    assert found["versions"] == every
    assert incident.step("assess").note == (
        "4 versions have this digest, 0 more share its data, 4 places hold its files"
    )
    assert found["places"] == {f"{each}: shared.txt": "damaged: shared.txt" for each in every}
    assert incident.step("rollback").state == "manual"


def test_a_report_says_what_it_is_about(registry: Registry, keys: dict[str, Signer]) -> None:
    digest = about("extraction", registry, keys)
    one, two = (
        Incident.report(
            "extraction", digest=digest, message="m", registry=registry, client=client,
            severity=Severity.LOW,
        )
        for client in ("ann", "bob")
    )  # fmt: skip
    assert one.id != two.id
    assert (one.subject["client"], one.subject["severity"]) == ("ann", "low")
    with pytest.raises(UsageError, match="kind"):
        Incident.report("flood", message="m", registry=registry)  # type: ignore[arg-type] # misuse
    with pytest.raises(UsageError, match="message"):
        Incident.report("extraction", message=" ", registry=registry)
    with pytest.raises(UsageError, match="digest"):
        Incident.report("extraction", digest="sha256:12", message="m", registry=registry)


def test_remediation_of_a_leaked_key_is_for_leaked_keys(
    registry: Registry, keys: dict[str, Signer]
) -> None:
    incident = Incident.report("extraction", message="m", registry=registry)
    with pytest.raises(IncidentError, match="leaked key"):
        sign_again(keys["new"])(incident)
    with pytest.raises(UsageError, match="a time with a timezone"):
        sign_again(keys["new"], before=datetime(2026, 3, 1))  # noqa: DTZ001 - the misuse
