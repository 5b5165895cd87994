"""Required claims: what a policy demands is verified from statements in the signed bundle."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from mlsecops import SecureLoader, Statement, errors, hash_path, training_run
from mlsecops.provenance import Digest, Entry, Manifest
from mlsecops.robustness import Square, evaluate_robustness
from mlsecops.signing import (
    KeySigner,
    Requirement,
    RobustnessFloor,
    Signer,
    TrustPolicy,
    Verifier,
    sign,
    sign_detached,
    sign_manifest,
    verify,
)

DATA = "sha256:" + "ab" * 32
BUILDER = "https://github.com/corp/fraud/.github/workflows/train.yml@refs/heads/main"
SLSA = "https://slsa.dev/provenance/v1"
ROBUSTNESS = "urn:mlsecops:robustness:1"


def about(model: Path, kind: str, predicate: dict[str, Any]) -> Statement:
    return Statement.build(
        subjects={"model": hash_path(model).root}, predicate_type=kind, predicate=predicate
    )


def provenance(
    *, dirty: object = False, data: str = DATA, builder: Any = BUILDER
) -> dict[str, Any]:
    return {
        "buildDefinition": {
            "resolvedDependencies": [
                {"name": "data", "digest": {"sha256": data.removeprefix("sha256:")}},
                {
                    "name": "code",
                    "digest": {"gitCommit": "ab" * 20},
                    "annotations": {"dirty": dirty},
                },
            ]
        },
        "runDetails": {"builder": {"id": builder}},
    }


def report(
    accuracy: float = 0.9, low: float = 0.8, *, eps: float = 0.1, check: str = "pass"
) -> dict[str, Any]:
    figure = {"accuracy": accuracy, "interval": [low, 1.0]}
    return {
        "n": 200,
        "clean": figure,
        "worst": figure,
        "attacks": [{"name": "fgsm", "params": {"eps": eps}, **figure}],
        "checks": [{"name": "gradients", "outcome": check}],
    }


@pytest.fixture
def demand(model: Path, signer: KeySigner) -> Callable[..., None]:
    """Sign the model with statements, and verify it under a requirement."""

    def check(required: Requirement, *statements: tuple[str, dict[str, Any]]) -> None:
        made = [about(model, kind, predicate) for kind, predicate in statements]
        sign(model, signer, statements=made, replace=True)
        verify(model, policy=TrustPolicy(keys=[signer.public_key], require=required))

    return check


ALL = Requirement(
    statements=["slsa", "robustness"],
    clean_tree=True,
    datasets=[DATA],
    builders=["https://github.com/corp/*"],
    robustness={"attack": "fgsm", "min_accuracy": 0.7, "eps": 0.1, "samples": 100},
)


def test_statements_that_say_enough_satisfy_the_policy(demand: Callable[..., None]) -> None:
    demand(ALL, (SLSA, provenance()), (ROBUSTNESS, report()))
    demand(Requirement())
    demand(Requirement(statements=["cyclonedx"]), ("https://cyclonedx.org/bom/v1.6", {}))
    demand(
        Requirement(statements=["https://corp.example/audit"]), ("https://corp.example/audit", {})
    )


@pytest.mark.parametrize(
    ("slsa", "measured", "missing"),
    [
        (provenance(dirty=True), report(), "clean_tree"),
        (provenance(dirty="false"), report(), "clean_tree"),
        (provenance(data="sha256:" + "cd" * 32), report(), f"data set {DATA}"),
        (provenance(builder="https://github.com/evil/x"), report(), r"https://github\.com/evil/x"),
        (provenance(builder=None), report(), "a builder"),
        ({}, report(), "clean_tree.*data set.*builder"),
        ({"buildDefinition": [], "runDetails": 3}, report(), "clean_tree"),
        (provenance(), report(0.6, 0.5), "fgsm of at least 0.7"),
        (provenance(), report(0.9, 0.69), "interval"),
        (provenance(), report(eps=0.01), "no report of that"),
        (provenance(), report(check="fail"), "self-check 'gradients'"),
        (provenance(), {**report(), "n": 20}, "100 samples"),
        (provenance(), {**report(), "attacks": []}, "no report of that"),
        (provenance(), {**report(), "attacks": "fgsm", "checks": 3}, "no report of that"),
        (provenance(), {**report(), "model_digest": "sha256:" + "0" * 64}, "no report of that"),
    ],
)  # fmt: skip
def test_what_says_less_is_refused_and_named(
    demand: Callable[..., None], slsa: dict[str, Any], measured: dict[str, Any], missing: str
) -> None:
    with pytest.raises(errors.PolicyError, match=missing):
        demand(ALL, (SLSA, slsa), (ROBUSTNESS, measured))


def test_every_missing_claim_is_named(demand: Callable[..., None]) -> None:
    with pytest.raises(errors.PolicyError, match=r"slsa.*robustness.*provenance.*fgsm"):
        demand(ALL)


def test_one_bad_provenance_among_several_is_refused(demand: Callable[..., None]) -> None:
    with pytest.raises(errors.PolicyError, match="clean_tree"):
        demand(ALL, (SLSA, provenance()), (SLSA, provenance(dirty=True)), (ROBUSTNESS, report()))


def test_a_statement_about_one_of_the_files_says_nothing_of_the_model(
    model: Path, signer: KeySigner
) -> None:
    part = Statement.build(
        subjects={"config.json": hash_path(model / "config.json").entries[0].digest},
        predicate_type=SLSA,
        predicate=provenance(),
    )
    sign(model, signer, statements=[part])
    policy = TrustPolicy(keys=[signer.public_key], require=Requirement(statements=["slsa"]))
    with pytest.raises(errors.PolicyError, match="about some of its files"):
        verify(model, policy=policy)
    whole = {
        entry.name: entry.digest for entry in hash_path(model).entries if entry.name != "model.sig"
    }
    every = Statement.build(subjects=whole, predicate_type=SLSA, predicate=provenance())
    sign(model, signer, statements=[every])
    verify(model, policy=policy)


def test_a_detached_signature_makes_no_claims(model: Path) -> None:
    signer = Signer.generate("rsa")
    file = model / "layers-1.bin"
    sign_detached(file, signer)
    verify(file, policy=TrustPolicy(keys=[signer.public_key]))
    required = Requirement(statements=["slsa"])
    with pytest.raises(errors.PolicyError, match="slsa"):
        verify(file, policy=TrustPolicy(keys=[signer.public_key], require=required))


def test_a_real_run_and_a_real_report_satisfy_a_policy_file(
    tmp_path: Path, signer: KeySigner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLSECOPS_BUILDER_ID", "https://ci.corp.example/trainer/7")
    model = tmp_path / "model"
    model.mkdir()
    with training_run("fit") as run:
        np.savez(model / "w.npz", w=np.eye(3))
        run.add_output(model)
    generator = np.random.default_rng(0)
    y = generator.integers(0, 3, 400)
    x = np.eye(3)[y] * 0.8 + generator.uniform(0, 0.1, (400, 3))
    classifier = LogisticRegression().fit(x, y)
    measured = evaluate_robustness(
        classifier, x, y, [Square(eps=0.01, queries=5)], model_digest=hash_path(model).root
    )
    sign(model, signer, statements=[run.statement(), measured.statement()])
    (tmp_path / "key.pem").write_text(signer.public_key.pem)

    def policy(floor: float) -> TrustPolicy:
        (tmp_path / "trust.toml").write_text(
            f"""
            [[keys]]
            path = "key.pem"
            [require]
            statements = ["slsa", "robustness"]
            builders = ["https://ci.corp.example/*"]
            robustness = {{attack = "clean", min_accuracy = {floor}}}
            """
        )
        return TrustPolicy.load(tmp_path / "trust.toml")

    assert SecureLoader(policy(0.9)).load(model).model
    with pytest.raises(errors.PolicyError, match=r"clean of at least 0\.9999"):
        SecureLoader(policy(0.9999)).load(model)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"statements": "slsa"}, "list"),
        ({"statements": ["sbom"]}, "sbom"),
        ({"datasets": ["abc"]}, "digest"),
        ({"clean_tree": 1}, "clean_tree"),
        ({"builders": [1]}, "builders"),
        ({"robustness": {"attack": "fgsm"}}, "no min_accuracy"),
        ({"robustness": {"attack": "fgsm", "min_accuracy": 0.5, "steps": 1}}, "steps"),
        ({"robustness": {"attack": "fgsm", "min_accuracy": 70}}, "share"),
        ({"robustness": {"attack": "fgsm", "min_accuracy": 0.5, "eps": 0}}, "radius"),
        ({"robustness": "fgsm"}, "list"),
    ],
)
def test_a_requirement_of_another_form_is_refused(words: dict[str, Any], message: str) -> None:
    with pytest.raises(errors.UsageError, match=message):
        Requirement(**words)


def test_an_unknown_requirement_in_a_policy_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "trust.toml").write_text("[require]\nclean = true\n")
    with pytest.raises(errors.UsageError, match="clean"):
        TrustPolicy.load(tmp_path / "trust.toml")
    floor = RobustnessFloor(attack="pgd", min_accuracy=0.5)
    assert Requirement(robustness=[floor]).robustness == (floor,)
    assert json.dumps(repr(floor))


def test_many_statements_about_many_files_take_linear_time(signer: KeySigner) -> None:
    def steps(count: int) -> int:
        entries = tuple(Entry(f"{n:04}.bin", Digest.of(str(n).encode())) for n in range(count))
        manifest = Manifest(name="model", algorithm="sha256", entries=entries)
        claims = [
            Statement.build(subjects={"model": manifest.root}, predicate_type=SLSA, predicate={})
        ] * count
        data = sign_manifest(manifest, signer, statements=claims).to_bytes()
        policy = TrustPolicy(keys=[signer.public_key], require=Requirement(statements=["slsa"]))
        calls = 0

        def count_call(_frame: Any, _event: str, _argument: Any) -> None:
            nonlocal calls
            calls += 1

        sys.setprofile(count_call)
        try:
            Verifier(policy).open(data, where="bundle")
        finally:
            sys.setprofile(None)
        return calls

    assert steps(400) < 5 * steps(100)
