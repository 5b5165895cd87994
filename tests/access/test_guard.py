"""Access guard of loaders and registries: each call decided, audited, or refused without effect."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlsecops.access import AccessGuard, AccessPolicy, CedarPolicy, DecisionLog, Rule, acting_as
from mlsecops.errors import AccessDenied, RegistryError, UnsafeContent, UsageError
from mlsecops.loading import SecureLoader
from mlsecops.provenance import Digest
from mlsecops.registry import Registry
from mlsecops.signing import Signer, TrustPolicy, sign

save_file = pytest.importorskip("safetensors.numpy").save_file

SIGNER = Signer.generate("ed25519")
TRUST = TrustPolicy(keys=[SIGNER.public_key])
POLICY = AccessPolicy(
    [
        Rule(subject="svc", action="model:load", resource="fraud"),
        Rule(subject="ops", action="model:*", resource="*"),
        Rule(subject="ops", action="registry:*", resource="*"),
        Rule(subject="ops", action="*", resource="payroll", effect="deny"),
    ]
)


class Sink:
    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def append(self, event: Mapping[str, Any]) -> None:
        self.events.append(dict(event))


class Full:
    def append(self, _: Mapping[str, Any]) -> None:
        raise OSError("disk full")


class Broken:
    def decide(self, *_: object, **__: object) -> Any:
        raise TimeoutError("no answer")


@pytest.fixture
def model(tmp_path: Path) -> Callable[..., Path]:
    def build(name: str, number: float = 1.0, place: str = "models") -> Path:
        folder = tmp_path / place / name
        folder.mkdir(parents=True)
        save_file({"w": np.full(3, number)}, folder / "model.safetensors")
        sign(folder, SIGNER)
        return folder

    return build


def test_a_load_is_decided_by_the_signed_name_and_audited(
    model: Callable[..., Path], tmp_path: Path
) -> None:
    with DecisionLog(tmp_path / "log", signer=SIGNER) as log:
        loader = SecureLoader(TRUST, access=AccessGuard(POLICY, subject="svc", audit=log))
        folder = model("fraud")
        loaded = loader.load(folder, framework="numpy")
        assert loaded.model["w"].tolist() == [1.0, 1.0, 1.0]
        with pytest.raises(AccessDenied, match="svc may not model:load payroll"):
            loader.load(model("payroll"))
        renamed = folder.with_name("payroll").rename(folder.with_name("fraud-2"))
        with pytest.raises(AccessDenied, match="payroll"):  # its signature says what it is
            loader.load(renamed, name="payroll")
        log.flush()
        decided = [(each["resource"], each["allowed"]) for each in log.events()]
    assert decided == [("fraud", True), ("payroll", False), ("payroll", False)]


def test_a_denied_model_is_neither_read_nor_scanned(tmp_path: Path) -> None:
    folder = tmp_path / "payroll"
    folder.mkdir()
    (folder / "model.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    sign(folder, SIGNER)
    with pytest.raises(UnsafeContent):
        SecureLoader(TRUST).load(folder)
    loader = SecureLoader(TRUST, access=AccessGuard(POLICY, subject="svc"))
    with pytest.raises(AccessDenied):
        loader.load(folder)
    with pytest.raises(AccessDenied), loader.hold(folder):
        pass


def test_the_subject_of_the_context_is_asked_about(model: Callable[..., Path]) -> None:
    loader, folder = SecureLoader(TRUST, access=AccessGuard(POLICY)), model("fraud")
    with pytest.raises(AccessDenied, match="nobody"):
        loader.load(folder)
    with acting_as("svc"):
        loader.load(folder)


def test_a_condition_names_the_one_model(model: Callable[..., Path]) -> None:
    one, two = model("fraud"), model("fraud", 2.0, "others")
    digest = str(SecureLoader(TRUST).load(one, framework="numpy").digest)
    rule = Rule(subject="svc", action="model:load", resource="*", conditions={"digest": [digest]})
    loader = SecureLoader(TRUST, access=AccessGuard(AccessPolicy([rule]), subject="svc"))
    loader.load(one)
    with pytest.raises(AccessDenied):
        loader.load(two)


def test_cedar_decides_about_loads(model: Callable[..., Path]) -> None:
    pytest.importorskip("cedarpy")
    cedar = CedarPolicy(
        'permit(principal == User::"svc", action, resource == Resource::"fraud");',
        schema="""
entity User;
entity Resource in [Resource];
action "model:load" appliesTo {
    principal: User, resource: Resource, context: { digest: String, version?: Long } };
""",
    )
    loader = SecureLoader(TRUST, access=AccessGuard(cedar, subject="svc"))
    loader.load(model("fraud"))
    with pytest.raises(AccessDenied):
        loader.load(model("payroll"))


def test_a_single_file_is_named_by_its_file(tmp_path: Path) -> None:
    file = tmp_path / "fraud.safetensors"
    save_file({"w": np.ones(2)}, file)
    sign(file, SIGNER)
    sink = Sink()
    guard = AccessGuard(POLICY, subject="ops", audit=sink)
    SecureLoader(TRUST, access=guard).load(file)
    assert sink.events[0]["resource"] == "fraud.safetensors"


@pytest.mark.parametrize(
    "guard",
    [AccessGuard(POLICY, subject="svc", audit=Full()), AccessGuard(Broken(), subject="svc")],
)
def test_what_cannot_be_decided_or_recorded_is_denied(
    guard: AccessGuard, model: Callable[..., Path]
) -> None:
    with pytest.raises(AccessDenied, match=r"disk full|no answer"):
        SecureLoader(TRUST, access=guard).load(model("fraud"))


@pytest.mark.parametrize("options", [{"subject": 7}, {"audit": "log"}, {"policy": "allow"}])
def test_wrong_parts_of_a_guard_are_wrong_use(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        AccessGuard(**{"policy": POLICY, **options})


def test_what_is_no_guard_is_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="access"):
        SecureLoader(TRUST, access=POLICY.decide)  # type: ignore[arg-type] # misuse
    with pytest.raises(UsageError, match="access"):
        Registry(tmp_path / "r", signer=SIGNER, policy=TRUST, access="ops")  # type: ignore[arg-type] # misuse


CALLS: dict[str, Callable[[Registry, Path], object]] = {
    "model:publish": lambda registry, folder: registry.publish("payroll", folder),
    "model:promote": lambda registry, _: registry.promote("payroll", 1, "serving"),
    "model:resolve": lambda registry, _: registry.resolve("payroll", "serving"),
    "model:quarantine": lambda registry, _: registry.quarantine("payroll", "reason"),
    "model:rollback": lambda registry, _: registry.rollback("payroll"),
    "model:raise-floor": lambda registry, _: registry.raise_floor("payroll", 2),
    "registry:rotate-key": lambda registry, _: registry.rotate_key(Signer.generate("ed25519")),
    "model:publish again": lambda registry, folder: registry.replace_signature(
        "payroll", 1, folder
    ),
    "model:resolve files": lambda registry, folder: registry.checkout(
        "payroll", 1, folder.with_name("out")
    ),
}


@pytest.fixture
def open_registry(model: Callable[..., Path], tmp_path: Path) -> Callable[..., Registry]:
    """`payroll` and `fraud`, whose second versions are the same model and serve."""

    def opened(**options: Any) -> Registry:
        return Registry(tmp_path / "registry", signer=SIGNER, policy=TRUST, **options)

    registry = opened()
    shared = model("shared", 3.0)
    for name in ("payroll", "fraud"):
        for folder in (model(name), shared):
            registry.promote(name, registry.publish(name, folder).version, "serving")
    return opened


@pytest.mark.parametrize("action", CALLS)
def test_a_call_on_a_registry_is_decided_and_audited(
    action: str, open_registry: Callable[..., Registry], model: Callable[..., Path]
) -> None:
    size, sink = open_registry().verify_log().size, Sink()
    folder = model("payroll", 1.0 if "again" in action else 9.0, "new")
    with pytest.raises(AccessDenied, match="svc may not"):
        CALLS[action](open_registry(access=AccessGuard(POLICY, subject="svc", audit=sink)), folder)
    assert sink.events[0]["action"] == action.partition(" ")[0]
    assert open_registry().verify_log().size == size
    allowed = AccessPolicy([Rule(subject="boss", action="*", resource="**")])
    CALLS[action](open_registry(access=AccessGuard(allowed, subject="boss", audit=sink)), folder)
    assert sink.events[-1]["allowed"]


def test_a_digest_is_quarantined_by_who_may_quarantine_every_model_that_has_it(
    open_registry: Callable[..., Registry],
) -> None:
    registry = open_registry(access=AccessGuard(POLICY, subject="ops"))
    shared, own = (each.digest for each in reversed(registry.versions("fraud")))
    for target in (shared, str(shared), "fraud"):
        with pytest.raises(AccessDenied, match="payroll"):
            registry.quarantine(target, "reason")
    assert registry.isolations() == {}
    registry.quarantine(Digest.of(b"elsewhere"), "reason")
    with pytest.raises(AccessDenied, match="payroll"):  # the first versions are one model too
        registry.quarantine(own, "reason")


def test_isolation_and_listing_are_open_to_everybody(
    open_registry: Callable[..., Registry],
) -> None:
    """Who is denied a model must still learn that it is isolated."""
    registry = open_registry(access=AccessGuard(AccessPolicy([])))
    digest = registry.versions("fraud")[0].digest
    open_registry().quarantine(digest, "poisoned")
    assert registry.isolated(digest) == "poisoned"
    assert registry.verify_log().size
    with pytest.raises(RegistryError):
        registry.history("absent")
