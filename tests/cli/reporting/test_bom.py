from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mlsecops.reports import bom_text
from tests.attackers import reports as attackers
from tests.cli.conftest import Command, Outcome, Release, tamper


@pytest.fixture
def bill(command: Command, release: Release) -> Path:
    out = release.folder / "bom.cdx.json"
    outcome = command(
        "bom", "build", release.model, "--dataset", f"data.npz={release.data}", "--out", out,
        "--key", release.public,
    )  # fmt: skip
    assert outcome.status == 0, outcome.err
    return out


@pytest.fixture
def verify(command: Command, release: Release, bill: Path) -> Command:
    def run(*words: object, key: Path | None = None) -> Outcome:
        named = ("--model", release.model, "--dataset", f"data.npz={release.data}")
        trust = ("--key", key or release.public)
        return command("bom", "verify", bill, *named, *trust, "--format", "json", *words)

    return run


def edit(path: Path, change: Callable[[attackers.Bom], attackers.Bom]) -> None:
    path.write_text(bom_text(change(json.loads(path.read_text()))))


def test_a_bill_that_was_built_holds(verify: Command) -> None:
    outcome = verify()
    value = json.loads(outcome.out)
    assert outcome.status == 0
    assert value["findings"] == []
    assert value["score"] > 80


def test_provenance_and_signer_come_from_the_bundle(bill: Path) -> None:
    value = json.loads(bill.read_text())
    assert value["formulation"][0]["workflows"][0]["name"] == "train"
    names = [each["name"] for each in value["components"][0]["properties"]]
    assert "mlsecops:signer" in names


def test_without_a_key_the_bill_says_the_same_and_the_command_that_it_is_asserted(
    command: Command, release: Release, bill: Path
) -> None:
    out = release.folder / "asserted.cdx.json"
    outcome = command(
        "bom", "build", release.model, "--dataset", f"data.npz={release.data}", "--out", out
    )
    assert outcome.status == 0
    assert "asserted" in outcome.said
    asserted, verified = json.loads(out.read_text()), json.loads(bill.read_text())
    assert asserted["components"] == verified["components"]
    assert asserted["formulation"] == verified["formulation"]


def test_an_unsigned_model_has_a_bill_without_provenance(
    command: Command, release: Release
) -> None:
    (release.model / "model.sig").unlink()
    out = release.folder / "unsigned.cdx.json"
    outcome = command("bom", "build", release.model, "--out", out, "--spec-version", "1.6")
    assert outcome.status == 0
    assert "not signed" in outcome.said
    assert "formulation" not in json.loads(out.read_text())
    assert json.loads(out.read_text())["specVersion"] == "1.6"


def test_a_bundle_about_other_bytes_builds_no_bill(command: Command, release: Release) -> None:
    tamper(release.model / "model.safetensors")
    for trust in ((), ("--key", release.public)):
        out = release.folder / "forged.cdx.json"
        outcome = command("bom", "build", release.model, "--out", out, *trust)
        assert outcome.status == 1
        assert "model.safetensors" in outcome.said
        assert not out.exists()


def test_a_bill_is_reproducible(
    command: Command, release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1767323045")
    texts = []
    for name in ("one", "two"):
        command(
            "bom", "build", release.model, "--out", release.folder / name, "--key", release.public
        )
        texts.append((release.folder / name).read_bytes())
    assert texts[0] == texts[1]
    assert b"2026-01-02T03:04:05Z" in texts[0]


def test_a_tampered_data_set_is_named(verify: Command, release: Release) -> None:
    tamper(release.data)
    outcome = verify()
    assert outcome.status == 1
    assert any("data.npz" in f["message"] for f in json.loads(outcome.out)["findings"])
    assert json.loads(outcome.out)["score"] == 0


def test_a_tampered_model_is_named_by_the_bill_and_by_the_signature(
    verify: Command, release: Release
) -> None:
    tamper(release.model / "model.safetensors")
    outcome = verify()
    findings = json.loads(outcome.out)["findings"]
    assert outcome.status == 1
    assert {f["rule"] for f in findings} == {"digest-mismatch"}
    assert sum("model.safetensors" in f["message"] for f in findings) == 2


def test_a_strangers_key_does_not_verify(verify: Command, release: Release) -> None:
    outcome = verify(key=release.stranger)
    assert outcome.status == 1
    assert [f["rule"] for f in json.loads(outcome.out)["findings"]] == ["signature"]


@pytest.mark.parametrize(
    "change", [attackers.edited_digest, attackers.another_signer, attackers.dangling_dependency]
)
def test_an_edited_bill_is_refused(
    verify: Command, bill: Path, change: Callable[[attackers.Bom], attackers.Bom]
) -> None:
    edit(bill, change)
    outcome = verify()
    assert outcome.status == 1
    assert json.loads(outcome.out)["findings"]


def test_lint_accepts_what_was_built_and_names_what_is_wrong(command: Command, bill: Path) -> None:
    assert command("bom", "lint", bill).status == 0
    edit(bill, attackers.dangling_dataset)
    outcome = command("bom", "lint", bill, "--format", "json")
    value = json.loads(outcome.out)
    assert outcome.status == 1
    assert "dangling-ref" in {f["rule"] for f in value["findings"]}
    assert value["score"] == 0
    assert {"rule", "message"} <= set(value["findings"][0])


def test_a_secret_is_found_and_never_printed(command: Command, bill: Path) -> None:
    secret = "ghp_" + "a1B2" * 9
    edit(bill, lambda bom: attackers.secret_in_a_property(bom, secret))
    outcome = command("bom", "lint", bill)
    assert outcome.status == 1
    assert "secret" in outcome.out
    assert secret not in outcome.out + outcome.err


@pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000])
def test_a_malformed_bill_is_refused(command: Command, tmp_path: Path, text: str) -> None:
    (tmp_path / "bom.json").write_text(text)
    outcome = command("bom", "lint", tmp_path / "bom.json", "--format", "json")
    assert outcome.status == 1
    assert json.loads(outcome.out)["findings"][0]["rule"] == "bom-schema"


def test_wrong_use_is_told_apart(command: Command, release: Release, bill: Path) -> None:
    model, out = release.model, release.folder / "out.json"
    for words, told in (
        (("lint", release.folder / "absent"), "absent"),
        (("build", release.folder / "absent", "--out", out), "absent"),
        (("build", model, "--out", out, "--dataset", "nothing"), "NAME=PATH"),
        (("build", model, "--out", out, "--dataset", "a=/absent"), "/absent"),
        (("build", model, "--out", out, "--dataset", f"a={bill}", f"a={bill}"), "once"),
        (("build", model, "--out", out, "--spec-version", "1.2"), "1.2"),
        (("build", model, "--out", release.folder / "no" / "folder"), "folder"),
        (("build", model, "--out", out, "--robustness", bill), "robustness"),
        (("verify", bill, "--model", release.folder / "absent"), "absent"),
        (("verify", bill), "--model"),
        (("mend", bill), "mend"),
        ((), "build|lint|diff|verify"),
    ):
        outcome = command("bom", *words)
        assert outcome.status == 2, words
        assert told in outcome.err.splitlines()[-1]
        assert "Traceback" not in outcome.err


@pytest.mark.parametrize("form", ["sarif", "junit"])
def test_findings_of_a_bill_reach_code_scanning(command: Command, bill: Path, form: str) -> None:
    honest = command("bom", "lint", bill, "--format", form)
    edit(bill, lambda value: {**value, "specVersion": "9.9"})
    refused = command("bom", "lint", bill, "--format", form)
    assert (honest.status, refused.status) == (0, 1)
    assert "bom-version" not in honest.out
    assert "bom-version" in refused.out


def test_a_bill_is_written_as_spdx(command: Command, release: Release) -> None:
    out = release.folder / "bom.spdx.json"
    words = ("--dataset", f"data.npz={release.data}", "--key", release.public, "--out", out)
    outcome = command("bom", "build", release.model, *words, "--format", "spdx3")
    assert outcome.status == 0, outcome.err
    kinds = {each["type"] for each in json.loads(out.read_text())["@graph"]}
    assert {"ai_AIPackage", "dataset_DatasetPackage", "SpdxDocument"} <= kinds


def test_bills_are_compared(command: Command, bill: Path) -> None:
    other = bill.with_name("other.json")
    other.write_text(bill.read_text())
    same = command("bom", "diff", bill, other)
    edit(other, lambda value: {**value, "components": value["components"][1:]})
    different = command("bom", "diff", bill, other, "--format", "json")
    assert (same.status, different.status) == (0, 1)
    changes = json.loads(different.out)["changes"]
    assert {"what", "name", "old", "new"} == changes[0].keys()
    assert "machine-learning-model model" in {each["name"] for each in changes}
