"""Nonsense for each argument of the public face: a `UsageError` that names the argument."""

from __future__ import annotations

import enum
import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlsecops
from mlsecops import llm, monitored, monitoring, signing
from mlsecops.access import Rule, acting_as
from mlsecops.errors import MLSecOpsError, UsageError
from mlsecops.robustness import Noise

NONSENSE: dict[str, Any] = {
    "object": object(),
    "text": "non-sense",
    "number": -1.5,
    "list": [object()],
}
# Where the message names the fault otherwise: what a folder, a model or a document has to be.
OTHERWISE = {
    ("detect_poisoning", "model_or_adapter"),
    ("evaluate_robustness", "model_or_adapter"),
    ("evaluate_robustness", "bounds"),  # the model is adapted first
    ("Baseline.drift", "rows_or_profile"),  # a table is called x
}

ROWS = np.random.default_rng(0).random((60, 4)).astype(np.float32)
LABELS = (ROWS[:, 0] > 0.5).astype(int)
ANSWERS = np.stack([1 - ROWS[:, 0], ROWS[:, 0]], axis=1)
CLIENTS = [(ROWS[i::6], ANSWERS[i::6]) for i in range(6)]

Calls = dict[str, tuple[Callable[..., Any], dict[str, Any]]]


def of(call: Callable[..., Any], **given: Any) -> tuple[Callable[..., Any], dict[str, Any]]:
    """A call with its defaults, and the arguments that it needs."""
    own = inspect.signature(call).parameters
    default = {name: each.default for name, each in own.items() if each.default is not each.empty}
    factories = {name for name, value in default.items() if repr(value) == "<factory>"}
    return call, {**{k: v for k, v in default.items() if k not in factories}, **given}


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Calls:
    """One right call of each name of the public face, on a small model folder."""
    m, folder = mlsecops, tmp_path_factory.mktemp("face") / "model"
    folder.mkdir()
    (folder / "w.bin").write_bytes(b"w")
    signer = m.Signer.generate("ed25519")
    policy = m.TrustPolicy(keys=[signer.public_key])
    m.sign(folder, signer)
    manifest, baseline = m.hash_path(folder), m.Baseline.fit(ROWS, ANSWERS)
    registry = m.Registry(folder.parent / "registry", signer=signer, policy=policy)
    finding = m.Finding(rule="r", severity=m.Severity.HIGH, message="m", where="w", artifact="a")
    key = signer.public_key
    return {
        "AccessPolicy": of(m.AccessPolicy, rules=[Rule(subject="a", action="b", resource="c")]),
        "AccessPolicy.load": of(m.AccessPolicy.load, path="x"),
        "AccessPolicy.parse": of(m.AccessPolicy.parse, text=""),
        "acting_as": of(lambda **k: acting_as(**k).__enter__(), subject="ann"),
        "Baseline.fit": of(m.Baseline.fit, x=ROWS, probabilities=ANSWERS),
        "Baseline.load": of(m.Baseline.load, path="x"),
        "Baseline.save": of(baseline.save, path=folder.parent / "b.npz"),
        "Baseline.report": of(baseline.report),
        "Baseline.drift": of(baseline.drift, rows_or_profile=ROWS),
        "Digest": of(m.Digest, algorithm="sha256", value=bytes(32)),
        "Digest.parse": of(m.Digest.parse, text=str(manifest.root)),
        "Digest.of": of(m.Digest.of, data=b"x"),
        "ExtractionDetector.calibrate": of(
            m.ExtractionDetector.calibrate, baseline=baseline, clients=CLIENTS,
            false_positive_rate=0.1,
        ),
        "FGSM": of(m.FGSM, eps=0.1),
        "PGD": of(m.PGD, eps=0.1),
        "Noise": of(Noise, eps=0.1),
        "suite": of(m.suite, profile="quick", eps=0.1),
        "Gate": of(m.Gate, min_accuracy=0.5),
        "Gate.judge": of(m.Gate(min_accuracy=0.5).judge, report=None),
        "Incident.open": of(m.Incident.open, subject=finding, registry=registry),
        "Incident.report": of(
            m.Incident.report, kind="extraction", message="m", registry=registry
        ),
        "Limits": of(m.Limits),
        "Manifest.diff": of(manifest.diff, other=manifest),
        "Manifest.from_sha256sums": of(m.Manifest.from_sha256sums, text=""),
        "Manifest.load": of(m.Manifest.load, path="x"),
        "Manifest.save": of(manifest.save, path=folder.parent / "m.json"),
        "Manifest.verify": of(manifest.verify, data=folder),
        "Playbook.default": of(m.Playbook.default),
        "Playbook.from_cacao": of(m.Playbook.from_cacao, text="{}"),
        "Profile": of(m.Profile, layout=baseline.profile().layout),
        "Profile.merge": of(baseline.profile().merge, other=baseline.profile()),
        "Profile.from_bytes": of(m.Profile.from_bytes, data=b""),
        "PublicKey": of(m.PublicKey, pem=key.pem),
        "PublicKey.load": of(m.PublicKey.load, source=key),
        "PublicKey.verify": of(key.verify, signature=signer.sign(b"x"), data=b"x"),
        "Registry": of(m.Registry, location=folder.parent / "registry", policy=policy),
        "Registry.publish": of(registry.publish, name="a", folder=folder),
        "Registry.promote": of(registry.promote, name="a", version=1, stage="approved"),
        "Registry.resolve": of(registry.resolve, name="a", version=1),
        "Registry.rollback": of(registry.rollback, name="a"),
        "Registry.verify_log": of(registry.verify_log),
        "SecureLoader": of(m.SecureLoader, policy=policy),
        "SecureLoader.load": of(m.SecureLoader(policy).load, path=folder),
        "SecurePipeline": of(m.SecurePipeline, name="n", model=folder, policy=policy),
        "Signer.from_pem": of(m.Signer.from_pem, path="x"),
        "Signer.generate": of(m.Signer.generate),
        "Statement": of(m.Statement, payload=b"{}"),
        "Statement.build": of(m.Statement.build, subjects={}, predicate_type="t", predicate={}),
        "TrustPolicy": of(m.TrustPolicy, keys=[key]),
        "TrustPolicy.load": of(m.TrustPolicy.load, path="x"),
        "build_bom": of(m.build_bom, name="n", manifest=manifest, datasets={}),
        "detect_poisoning": of(m.detect_poisoning, model_or_adapter=None, x=ROWS, y=LABELS),
        "evaluate_robustness": of(
            m.evaluate_robustness, model_or_adapter=None, x=ROWS, y=LABELS, attacks=[m.FGSM(0.1)]
        ),
        "fuzz": of(m.fuzz, target=lambda _: "no", attempts=2),
        "hash_dataset": of(m.hash_dataset, data={"a": ROWS[:, 0]}, name="n"),
        "hash_path": of(m.hash_path, path=folder),
        "monitored": of(m.monitored, name="n"),
        "requires": of(m.requires, action="read", resource="x"),
        "scan": of(m.scan, path=folder),
        "screen_dataset": of(m.screen_dataset, x=ROWS, y=LABELS),
        "sign": of(m.sign, path=folder, signer=signer),
        "protect": of(m.protect, policy=policy),
        "tracked": of(m.tracked, name="n"),
        "training_run": of(m.training_run, name="n"),
        "verify": of(m.verify, path=folder, policy=policy),
        "verify_bom": of(m.verify_bom, bom={}),
    }  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("nonsense", NONSENSE)
def test_nonsense_is_an_error_of_ours(
    calls: Calls, nonsense: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    leaks = []
    for name, (call, given) in calls.items():
        for argument in given:
            try:
                call(**{**given, argument: NONSENSE[nonsense]})
            except UsageError as error:
                unnamed = nonsense == "object" and argument not in str(error)
                if unnamed and (name, argument) not in OTHERWISE:
                    leaks.append(f"{name}({argument}=): {error}")
            except MLSecOpsError:
                pass
            except Exception as error:  # noqa: BLE001 - what the test is about
                leaks.append(f"{name}({argument}=): {type(error).__name__}: {error}")
            else:
                if nonsense == "object" and given[argument] is not None:
                    leaks.append(f"{name}({argument}=): accepted")
    assert leaks == []


FACES = (
    "mlsecops", *(f"mlsecops.{each}" for each in (
        "access", "adapters", "audit", "audit.objects", "audit.tlog", "incident", "llm", "loading",
        "monitoring", "pipeline", "poisoning", "provenance", "registry", "reports", "robustness",
        "signing",
    )),
)  # fmt: skip
PAUSES = inspect.isgeneratorfunction, inspect.iscoroutinefunction, inspect.isasyncgenfunction
NOT_BOUND = {"clopper_pearson", "wilson", "kind_of"}


def is_public_class(one: object) -> bool:
    plain = isinstance(one, type) and not getattr(one, "_is_protocol", False)
    return plain and not issubclass(one, (enum.Enum, Exception, tuple))  # type: ignore[arg-type] # a class


@pytest.mark.parametrize("face", FACES)
def test_an_unknown_argument_is_an_error_of_ours(face: str) -> None:
    home = importlib.import_module(face)
    found = [getattr(home, name) for name in home.__all__]
    classes = [one for one in found if is_public_class(one)]
    calls = [one for one in found if inspect.isfunction(one) and one.__name__ not in NOT_BOUND]
    calls += [one for one in classes if "__init__" in vars(one)]
    calls += [
        getattr(owner, name)
        for owner in classes
        for name, member in inspect.getmembers(owner, inspect.isroutine)
        if not name.startswith("_")
        and str(getattr(member, "__module__", "")).startswith("mlsecops")
    ]
    for call in calls:
        if (
            not any(pauses(inspect.unwrap(call)) for pauses in PAUSES)
            and inspect.signature(call).parameters
        ):
            with pytest.raises(UsageError, match=r"argument"):
                call(no_such_argument=1)
    assert calls


WRONG: tuple[Callable[[], object], ...] = (
    lambda: monitoring.WebhookSink(3),  # type: ignore[arg-type] # all of these are on purpose
    lambda: monitoring.AlertmanagerSink(None),  # type: ignore[arg-type]
    lambda: monitoring.Cusum(None, 1.0),  # type: ignore[arg-type]
    lambda: monitoring.PageHinkley(tolerance="x"),  # type: ignore[arg-type]
    lambda: monitoring.Adwin(delta=None),  # type: ignore[arg-type]
    lambda: monitoring.PradaDetector(memory="x"),  # type: ignore[arg-type]
    lambda: monitoring.LocalHistoryStore(ttl=None),  # type: ignore[arg-type]
    lambda: monitoring.lifespan.around(3),  # type: ignore[arg-type]
    lambda: monitoring.rule_from_dict({"id": 3}),
    lambda: monitored("m")(len).monitor.flush("x"),  # type: ignore[arg-type]
    lambda: llm.Caps(requests="x"),  # type: ignore[arg-type]
    lambda: llm.Canary(value=None),  # type: ignore[arg-type]
    lambda: llm.CallableTarget(len, timeout=None),  # type: ignore[arg-type]
    lambda: llm.ChatEndpoint(3, model="m"),  # type: ignore[arg-type]
    lambda: signing.Verifier(3),  # type: ignore[arg-type]
)


INTEGRATIONS = (
    "art_attacks.ArtAttack", "art_poisoning.art_poisoning", "cloudwatch.CloudWatch",
    "live.LiveDashboard", "mlflow.promote", "mlflow.protect", "mlflow.publish", "mlflow.rollback",
    "pyrit.pyrit_target", "readiness.await_verified",
)  # fmt: skip


@pytest.mark.parametrize("name", INTEGRATIONS)
def test_an_unknown_argument_of_an_integration_is_an_error_of_ours(name: str) -> None:
    module, _, call = name.partition(".")
    home = importlib.import_module(f"mlsecops.integrations.{module}")
    with pytest.raises(UsageError, match="argument"):
        getattr(home, call)(no_such_argument=1)


@pytest.mark.parametrize("call", WRONG)
def test_a_wrong_argument_of_a_sub_face_is_an_error_of_ours(call: Callable[[], object]) -> None:
    with pytest.raises(UsageError, match="expected"):
        call()


@pytest.mark.parametrize("name", ["", "a\nb", "\ud800"])
def test_a_name_that_no_line_can_show_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "w").write_text("w")
    manifest, m = mlsecops.hash_path(tmp_path / "w"), mlsecops
    for call in (
        lambda: m.hash_dataset({"a": LABELS}, name=name),
        lambda: m.training_run(name).__enter__(),
        lambda: m.build_bom(name=name, manifest=manifest, datasets={}),
        lambda: m.sign(tmp_path / "w", m.Signer.generate("ed25519"), name=name),
    ):
        with pytest.raises(UsageError, match="name: expected printable text"):
            call()


def test_every_callable_of_the_public_face_has_a_call(calls: Calls) -> None:
    plain = {
        "__version__",
        "Alert",
        "Finding",
        "Severity",
        "Verdict",
        "Verified",
        "Manifest",
        "adapt",
    }
    called = {name.partition(".")[0] for name in calls} | plain
    errors = {name for name in dir(mlsecops) if name in vars(mlsecops.errors)}
    assert set(dir(mlsecops)) - called - errors == set()
