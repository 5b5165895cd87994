from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mlsecops.provenance import hash_path
from mlsecops.reports import BomReport, FieldState, bom_text, verify_bom
from tests.attackers import reports as attack
from tests.reports.releases import Release, robustness_report


def check(release: Release, bom: attack.Bom, **changes: Any) -> BomReport:
    options: dict[str, Any] = {
        "model": release.folder,
        "datasets": {"train": release.data},
        "verified": release.verified,
        "robustness": release.robustness,
    }
    return verify_bom(bom, **{**options, **changes})


def states(report: BomReport) -> dict[str, FieldState]:
    return {field.name: field.state for field in report.fields}


def test_a_true_bill_is_verified_in_every_field_that_can_be(release: Release) -> None:
    report = check(release, release.bom())
    assert report.findings == ()
    assert report.score == 100.0
    verified = {name for name, state in states(report).items() if state is FieldState.VERIFIED}
    assert verified >= {"model.digest", "model.config.json", "dataset.train.digest", "references"}
    assert verified >= {"signer", "provenance", "robustness"}


def test_what_was_not_given_is_asserted_and_scores_nothing(release: Release) -> None:
    report = verify_bom(release.bom())
    assert report.holds
    assert states(report)["model.digest"] is FieldState.ASSERTED
    assert states(report)["signer"] is FieldState.ASSERTED
    assert report.score == pytest.approx(100 / 6, abs=0.1)


def test_a_tampered_file_is_named_and_takes_the_score_away(release: Release) -> None:
    bom = release.bom()
    (release.folder / "weights.safetensors").write_bytes(b"other")
    report = check(release, bom)
    assert not report.holds
    assert report.score == 0.0
    assert any("weights.safetensors" in each.message for each in report.findings)


def test_an_added_file_is_named(release: Release) -> None:
    (release.folder / "extra.py").write_text("print()")
    report = check(release, release.bom())
    assert {each.rule for each in report.findings} == {"part-unlisted", "digest-mismatch"}
    assert any("extra.py" in each.message for each in report.findings)


def test_a_removed_file_is_named(release: Release) -> None:
    (release.folder / "config.json").unlink()
    report = check(release, release.bom())
    assert any("config.json" in each.message for each in report.findings)


def test_another_data_set_under_the_name_is_refused(release: Release) -> None:
    report = check(release, release.bom(), datasets={"train": release.manifest})
    assert any("dataset.train" in each.message for each in report.findings)


def test_a_data_set_that_the_bill_does_not_list_is_refused(release: Release) -> None:
    report = check(release, release.bom(), datasets={"train": release.data, "more": release.data})
    assert {each.rule for each in report.findings} == {"dataset-unlisted"}


@pytest.mark.parametrize(
    ("forge", "rule"),
    [
        (attack.edited_digest, "digest-mismatch"),
        (attack.edited_property, "digest-mismatch"),
        (attack.prettier_accuracy, "robustness-mismatch"),
        (attack.measured_on_more, "robustness-mismatch"),
        (attack.another_size, "size-mismatch"),
        (attack.another_signer, "signer-mismatch"),
        (attack.another_statement, "provenance-mismatch"),
        (attack.dangling_dataset, "dangling-ref"),
    ],
)
def test_a_forged_bill_is_refused(
    release: Release, forge: Callable[[attack.Bom], attack.Bom], rule: str
) -> None:
    report = check(release, forge(release.bom()))
    assert rule in {each.rule for each in report.findings}
    assert report.score == 0.0


def test_a_bill_about_files_that_nobody_signed_is_refused(release: Release) -> None:
    (release.folder / "weights.safetensors").write_bytes(b"other")
    bom = release.bom(manifest=hash_path(release.folder))
    report = check(release, bom)
    assert {each.rule for each in report.findings} == {"signature-mismatch"}


def test_a_bill_whose_data_set_is_not_that_of_the_signed_provenance_is_refused(
    release: Release,
) -> None:
    bom = release.bom(datasets={"train": release.manifest})
    report = check(release, bom, datasets={"train": release.manifest})
    assert {each.rule for each in report.findings} == {"provenance-mismatch"}


def test_words_that_say_nothing_are_placeholders_and_lower_the_score(release: Release) -> None:
    report = check(release, attack.all_unknown(release.bom()))
    placeholders = {
        name for name, state in states(report).items() if state is FieldState.PLACEHOLDER
    }
    assert placeholders >= {"model.task", "model.description", "model.supplier"}
    assert report.score <= 10
    assert "placeholder" in {each.rule for each in report.findings}


def test_a_digest_of_zeros_is_a_placeholder(release: Release) -> None:
    bom = release.bom()
    attack.model_of(bom)["hashes"][0]["content"] = "00" * 32
    assert states(check(release, bom))["model.digest"] is FieldState.PLACEHOLDER


def test_figures_measured_on_another_model_are_only_asserted(release: Release) -> None:
    other = robustness_report("sha256:" + "12" * 32)
    report = check(release, release.bom(robustness=other), robustness=other)
    assert states(report)["robustness"] is FieldState.ASSERTED
    assert report.score < 100


def test_a_bill_inside_its_own_model_folder_does_not_count_as_added(release: Release) -> None:
    bom = release.bom()
    (release.folder / "bom.cdx.json").write_text(bom_text(bom))
    assert check(release, bom).score == 100.0


def test_another_file_with_the_name_of_a_bill_counts_as_added(release: Release) -> None:
    (release.folder / "bom.cdx.json").write_text('{"payload": "hidden"}')
    assert "part-unlisted" in {each.rule for each in check(release, release.bom()).findings}


def test_a_single_file_is_a_model_too(release: Release) -> None:
    path = release.folder / "weights.safetensors"
    manifest = hash_path(path)
    bom = release.bom(manifest=manifest, signers=(), statements=())
    assert states(verify_bom(bom, model=path))["model.digest"] is FieldState.VERIFIED
    path.write_bytes(b"other")
    assert not verify_bom(bom, model=path).holds


def test_no_part_of_a_report_prints_a_secret(release: Release) -> None:
    bom = attack.secret_in_a_property(release.bom(), attack.SECRETS["AWS key"][0])
    attack.model_of(bom)["name"] = attack.SECRETS["GitHub token"][0]
    report = check(release, bom)
    assert report.findings
    assert attack.SECRETS["AWS key"][1] not in repr(report)
    assert attack.SECRETS["GitHub token"][1] not in repr(report)


def test_the_report_is_plain_values(release: Release) -> None:
    value = check(release, attack.edited_digest(release.bom())).to_dict()
    assert value["score"] == 0.0
    assert set(value["findings"][0]) >= {"rule", "message"}
    assert {field["state"] for field in value["fields"]} <= {state.value for state in FieldState}
