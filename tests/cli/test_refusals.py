"""Refusals as findings: each has the rule of its own kind."""

from __future__ import annotations

import json

import pytest

from mlsecops import errors
from mlsecops.cli.refusals import refusals
from tests.cli.conftest import Command, Release, made, release

__all__ = ["made", "release"]


@pytest.mark.parametrize(
    ("error", "rule", "where"),
    [
        (errors.UntrustedSigner("nobody"), "signature", ""),
        (errors.DigestMismatch("other"), "digest-mismatch", ""),
        (errors.FormatRefused("no zip"), "malformed", ""),
        (errors.LimitExceeded("large"), "limit-exceeded", ""),
        (errors.UnsafeContent("os.system", rule="pickle-code", where="3"), "pickle-code", "3"),
    ],
)
def test_a_refusal_has_the_rule_of_its_kind(
    error: errors.MLSecOpsError, rule: str, where: str
) -> None:
    [found] = refusals(error, "model")
    assert (found.rule, found.where, found.artifact) == (rule, where, "model")


def test_content_that_is_refused_is_no_matter_of_signatures(
    command: Command, release: Release
) -> None:
    (release.model / "more.safetensors").write_bytes(b"\xff" * 40)
    command("sign", release.model, "--key", release.key, "--replace")
    words = (
        "--data",
        release.data,
        "--key",
        release.public,
        "--eps",
        "0.1",
        "--arch",
        "nets:build",
    )
    outcome = command("attack", "--model", release.model, *words, "--format", "sarif")
    assert outcome.status == 1
    [result] = json.loads(outcome.out)["runs"][0]["results"]
    assert result["ruleId"] == "malformed"
