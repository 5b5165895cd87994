"""Builder of a run: named by the environment that it runs in, and never a constant."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlsecops import errors, training_run
from mlsecops.provenance.builder import builder_id

GITHUB = {
    "GITHUB_ACTIONS": "true",
    "GITHUB_SERVER_URL": "https://github.example",
    "GITHUB_REPOSITORY": "corp/fraud",
}
GITLAB = {"GITLAB_CI": "true", "CI_PROJECT_URL": "https://gitlab.example/corp/fraud"}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        (GITHUB, "https://github.example/corp/fraud"),
        (
            {**GITHUB, "GITHUB_WORKFLOW_REF": "corp/fraud/.github/workflows/t.yml@refs/heads/a"},
            "https://github.example/corp/fraud/.github/workflows/t.yml@refs/heads/a",
        ),
        (GITLAB, "https://gitlab.example/corp/fraud"),
        ({**GITLAB, "CI_RUNNER_ID": "12"}, "https://gitlab.example/corp/fraud/-/runners/12"),
        (
            {"GITLAB_CI": "true", "CI_SERVER_URL": "https://g.example/", "CI_PROJECT_PATH": "c/f"},
            "https://g.example/c/f",
        ),
        ({"GITLAB_CI": "true", "CI_PROJECT_PATH": "c/f"}, "https://gitlab.com/c/f"),
        ({**GITLAB, "CI_PROJECT_PATH": "other"}, "https://gitlab.example/corp/fraud"),
        ({**GITHUB, "MLSECOPS_BUILDER_ID": "urn:corp:cluster:7"}, "urn:corp:cluster:7"),
    ],
)
def test_the_environment_names_the_builder(environment: dict[str, str], expected: str) -> None:
    assert builder_id(environment) == expected


def test_elsewhere_the_host_is_the_builder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.node", lambda: "gpu 7")
    assert builder_id({"GITHUB_REPOSITORY": "corp/fraud"}) == "urn:mlsecops:builder:host:gpu%207"


def test_a_run_records_its_builder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLSECOPS_BUILDER_ID", raising=False)
    for name, value in GITHUB.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "model.bin").write_bytes(b"x")
    for given, expected in ((None, "https://github.example/corp/fraud"), ("urn:a:b", "urn:a:b")):
        with training_run("fit", builder=given) as run:
            run.add_output(tmp_path / "model.bin")
        assert run.statement().predicate["runDetails"]["builder"]["id"] == expected


@pytest.mark.parametrize("text", ["", "cluster", "a b:c", "urn:" + "x" * 3000])
def test_what_is_no_uri_is_refused(text: str) -> None:
    with pytest.raises(errors.UsageError, match="MLSECOPS_BUILDER_ID"):
        builder_id({"MLSECOPS_BUILDER_ID": text})
    with pytest.raises(errors.UsageError, match="builder"), training_run("fit", builder=text):
        pass
