from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlsecops.findings import Severity
from mlsecops.reports import lint_bom
from tests.attackers import reports as attack
from tests.reports.releases import Release

ATTACKS: list[tuple[Callable[[attack.Bom], attack.Bom], str, str]] = [
    (attack.dangling_dataset, "dangling-ref", "data:elsewhere"),
    (attack.dangling_dependency, "dangling-ref", "pkg:pypi/ghost@1.0"),
    (attack.dangling_formulation, "dangling-ref", "model:another"),
    (attack.duplicate_reference, "duplicate-ref", "model:digits"),
    (attack.card_on_a_library, "model-card", "library"),
    (attack.without_model_digest, "hash-absent", "digits"),
    (attack.without_file_digest, "hash-absent", "config.json"),
    (attack.weak_digest_only, "hash-absent", "digits"),
    (attack.digest_of_another_length, "hash-length", "digits"),
    (attack.invalid_purl, "purl-invalid", "pypi/numpy==1"),
    (attack.purl_of_another, "purl-mismatch", "pkg:pypi/evil@6.6.6"),
    (attack.without_model, "model-absent", "machine-learning-model"),
]


@pytest.mark.parametrize(
    ("forge", "rule", "culprit"), ATTACKS, ids=[forge.__name__ for forge, *_ in ATTACKS]
)
def test_what_the_schema_wrongly_accepts_is_refused_and_named(
    release: Release, forge: Callable[[attack.Bom], attack.Bom], rule: str, culprit: str
) -> None:
    findings = [each for each in lint_bom(forge(release.bom())) if each.rule == rule]
    assert findings
    assert findings[0].severity >= Severity.HIGH
    assert any(culprit in each.message for each in findings)


@pytest.mark.parametrize("kind", attack.SECRETS)
def test_a_secret_is_found_and_never_printed(release: Release, kind: str) -> None:
    secret, core = attack.SECRETS[kind]
    findings = lint_bom(attack.secret_in_a_property(release.bom(), secret))
    assert [each.rule for each in findings] == ["secret"]
    assert kind in findings[0].message
    assert core not in repr(findings)


def test_a_secret_in_a_purl_is_not_printed(release: Release) -> None:
    forged = attack.invalid_purl(release.bom())
    attack.library_of(forged)["purl"] = "pkg://bob:hunter2hunter2@host/x"
    findings = lint_bom(forged)
    assert "purl-invalid" in {each.rule for each in findings}
    assert "hunter2" not in repr(findings)


def test_control_characters_do_not_reach_a_message(release: Release) -> None:
    forged = attack.without_model_digest(release.bom())
    attack.model_of(forged)["name"] = attack.MARKUP
    text = "".join(each.message for each in lint_bom(forged))
    assert text
    assert not set(text) & set("\x00\x1b\u202e")


def test_an_unknown_version_is_refused(release: Release) -> None:
    forged = {**release.bom(), "specVersion": "1.2"}
    assert {each.rule for each in lint_bom(forged)} == {"bom-version"}


def test_a_field_that_the_schema_does_not_know_is_refused(release: Release) -> None:
    assert {each.rule for each in lint_bom({**release.bom(), "extra": 1})} == {"bom-schema"}


def test_a_reference_to_another_bill_is_no_dangling_one(release: Release) -> None:
    bom = release.bom()
    link = f"urn:cdx:{bom['serialNumber'].removeprefix('urn:uuid:')}/1#x"
    attack.model_of(bom)["modelCard"]["modelParameters"]["datasets"].append({"ref": link})
    assert lint_bom(bom) == []


def test_a_bill_nested_without_end_is_refused_without_a_crash(release: Release) -> None:
    inner: Any = {}
    for _ in range(100_000):
        inner = {"components": [inner]}
    findings = lint_bom({**release.bom(), "components": [inner]})
    assert "bom-schema" in {each.rule for each in findings}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["bom-ref", "ref", "components", "type", "hashes", "purl", "modelCard", "name"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=16,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(components=JSON, dependencies=JSON)
def test_no_shape_of_a_bill_makes_the_lint_crash(components: Any, dependencies: Any) -> None:
    bom = {"specVersion": "1.7", "components": components, "dependencies": dependencies}
    assert lint_bom(bom)
