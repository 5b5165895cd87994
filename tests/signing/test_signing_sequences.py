"""Generated sequences of signing, adding and replacing: nobody's signature is lost in silence."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mlsecops import Statement, errors, hash_path
from mlsecops.cli import main
from mlsecops.signing import Bundle, KeySigner, Signer, TrustPolicy, sign, verify
from mlsecops.signing.oms import read_payload

SEQUENCES = 200
KINDS = ("urn:test:a", "urn:test:b")


@pytest.fixture(scope="module")
def people() -> list[KeySigner]:
    return [Signer.generate(kind) for kind in ("p256", "ed25519", "p384")]


@dataclass
class Held:
    """What a bundle holds: fingerprints whose signatures hold, and kinds of its statements."""

    data: bytes
    root: str = ""
    signers: frozenset[str] = frozenset()
    kinds: Counter[str] = field(default_factory=Counter)


def held(place: Path, people: list[KeySigner]) -> Held:
    data = place.read_bytes() if place.exists() else b""
    if not data:
        return Held(data)
    bundle = Bundle.from_bytes(data)
    made = set()
    for person in people:
        for signature in bundle.envelope.signatures:
            try:
                person.public_key.verify(signature.value, bundle.envelope.signed_bytes)
            except errors.SignatureInvalid:
                continue
            made.add(person.public_key.fingerprint)
    claim = read_payload(bundle.envelope.payload, where="bundle")
    kinds = Counter(each.predicate_type for each in claim.statements)
    return Held(data, str(claim.manifest.root), frozenset(made), kinds)


@pytest.mark.parametrize("seed", range(0, SEQUENCES, 20))
def test_no_sequence_loses_a_signature_or_statement_in_silence(
    tmp_path: Path, people: list[KeySigner], seed: int
) -> None:
    lost = refused = 0
    for number in range(seed, seed + 20):
        chance = random.Random(number)  # noqa: S311 - repeatable
        model = tmp_path / str(number)
        model.mkdir()
        (model / "w.bin").write_bytes(b"weights")
        for step in range(6):
            if chance.random() < 0.15:
                (model / "w.bin").write_bytes(f"weights {step}".encode())
            before = held(model / "model.sig", people)
            signers = chance.sample(people, chance.choice((1, 1, 2)))
            kinds = chance.sample(KINDS, chance.choice((0, 0, 1, 2)))
            root = hash_path(model, ignore=("model.sig",)).root
            claims = [
                Statement.build(subjects={"model": root}, predicate_type=kind, predicate={})
                for kind in kinds
            ]
            how = chance.choice(("sign", "add", "replace"))
            try:
                sign(model, signers, statements=claims, add=how == "add", replace=how == "replace")
            except (errors.UsageError, errors.VerificationError):
                refused += 1
                assert held(model / "model.sig", people) == before
                continue
            after = held(model / "model.sig", people)
            assert {each.public_key.fingerprint for each in signers} <= after.signers
            gone = bool(before.signers - after.signers)
            if how == "add":
                assert before.root == str(root)
                gone = gone or after.kinds != before.kinds
            elif before.root == str(root):  # others are about other files
                gone = gone or bool(before.kinds - after.kinds)
            lost += gone and how != "replace"
            assert verify(model, policy=TrustPolicy(keys=[each.public_key for each in signers],
                                                    threshold=len(signers)))  # fmt: skip
    assert lost == 0
    assert refused


def test_two_people_on_two_machines_reach_a_threshold_by_two_commands(
    tmp_path: Path, people: list[KeySigner], capsys: pytest.CaptureFixture[str]
) -> None:
    for name, person in zip(("anna", "bert"), people, strict=False):
        (tmp_path / f"{name}.pem").write_bytes(person.to_pem())
        (tmp_path / f"{name}.pub.pem").write_text(person.public_key.pem)
    model, there = tmp_path / "here" / "model", tmp_path / "there" / "model"
    model.mkdir(parents=True)
    (model / "w.bin").write_bytes(b"weights")
    both = ["--key", str(tmp_path / "anna.pub.pem"), str(tmp_path / "bert.pub.pem")]
    assert main(["sign", str(model), "--key", str(tmp_path / "anna.pem")]) == 0
    assert main(["verify", str(model), *both, "--threshold", "2"]) == 1
    shutil.copytree(model, there)
    assert main(["sign", str(there), "--key", str(tmp_path / "bert.pem")]) == 2
    assert "--add" in capsys.readouterr().err
    assert main(["sign", str(there), "--key", str(tmp_path / "bert.pem"), "--add"]) == 0
    shutil.copy(there / "model.sig", model / "model.sig")
    assert main(["verify", str(model), *both, "--threshold", "2", "--format", "json"]) == 0
    out = capsys.readouterr().out
    assert len(json.loads(out[out.index("{") :])["signers"]) == 2
