"""Builder of a training run: the id of the platform that runs it, as its environment names it.

environment variables → id of the workflow, runner or host → SLSA `runDetails.builder`

The process names itself: whoever controls the environment controls the id (SLSA build level 1).
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from mlsecops.errors import UsageError

VARIABLE: Final = "MLSECOPS_BUILDER_ID"
"""Environment variable that names the user's own builder."""

_MOST: Final = 2048  # characters of an id; chosen: longer ones are no URI


def builder_id(environment: Mapping[str, str] = os.environ) -> str:
    """URI of the builder that this process runs in.

    Args:
        environment: Environment variables.

    Returns:
        The user's own (`MLSECOPS_BUILDER_ID`); else the workflow of GitHub Actions with its
        repository, or the runner of GitLab CI with its project; else this host.

    Raises:
        UsageError: The user's own is no URI.

    Examples:
        >>> builder_id({"GITLAB_CI": "true", "CI_PROJECT_URL": "https://gitlab.com/corp/fraud",
        ...             "CI_RUNNER_ID": "12"})
        'https://gitlab.com/corp/fraud/-/runners/12'

    Source: GitHub Actions and GitLab CI, predefined variables; SLSA provenance v1, `builder.id`.
    """
    own = environment.get(VARIABLE)
    if own is not None:
        return require_builder(own, VARIABLE)
    return _github(environment) or _gitlab(environment) or _host()


def require_builder(text: str, argument: str) -> str:
    """Check a builder's id.

    Raises:
        UsageError: It is no URI.
    """
    if ":" not in text or len(text) > _MOST or not text.isprintable() or " " in text:
        raise UsageError(
            f"{argument}: expected the builder's URI, such as https://ci.corp.example/trainer, got "
            f"{text[:60]!r}"
        )
    return text


def _github(environment: Mapping[str, str]) -> str | None:
    if environment.get("GITHUB_ACTIONS") != "true":
        return None
    server = environment.get("GITHUB_SERVER_URL", "https://github.com").rstrip("/")
    workflow = environment.get("GITHUB_WORKFLOW_REF") or environment.get("GITHUB_REPOSITORY")
    return f"{server}/{workflow}" if workflow else None


def _gitlab(environment: Mapping[str, str]) -> str | None:
    if environment.get("GITLAB_CI") != "true":
        return None
    server = environment.get("CI_SERVER_URL", "https://gitlab.com").rstrip("/")
    project = environment.get("CI_PROJECT_URL") or (
        f"{server}/{path}" if (path := environment.get("CI_PROJECT_PATH")) else None
    )
    runner = environment.get("CI_RUNNER_ID")
    return None if project is None else f"{project}/-/runners/{runner}" if runner else project


def _host() -> str:
    return f"urn:mlsecops:builder:host:{quote(platform.node() or 'unknown', safe='.-')}"
