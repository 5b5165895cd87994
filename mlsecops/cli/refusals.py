"""Refusals as findings: what verification refused, in the form that code scanning reads.

error of a verification → Findings → SARIF or JUnit
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mlsecops.cli.terminal import print_findings
from mlsecops.errors import ContentRefused, DigestMismatch, MLSecOpsError
from mlsecops.findings import Finding, Severity
from mlsecops.loading.verdict import refusal


def print_refusal(error: MLSecOpsError, options: argparse.Namespace) -> None:
    """Print a refusal as SARIF or JUnit, if a command was asked for one of them."""
    if getattr(options, "format", None) not in {"sarif", "junit"}:
        return
    named = (getattr(options, name, None) for name in ("model", "path", "data"))
    artifact = next((str(each) for each in named if each), "model")
    print_findings(refusals(error, artifact), options.format, checked=[artifact])


def refusals(error: MLSecOpsError, artifact: str | Path) -> list[Finding]:
    """Findings of a refusal: one for each file that differs, else one for the artifact.

    Examples:
        >>> from mlsecops.errors import DigestMismatch
        >>> [found] = refusals(DigestMismatch("changed", changed=("w.bin",)), "model")
        >>> found.artifact, found.rule
        ('model', 'digest-mismatch')
    """
    if isinstance(error, ContentRefused):
        return [refusal(error, artifact=str(artifact))]
    if not isinstance(error, DigestMismatch):
        return [_refusal("signature", str(error), str(artifact))]
    parts = (("changed", error.changed), ("added", error.added), ("removed", error.removed))
    found = [
        _refusal("digest-mismatch", f"{name} was {word} after the model was signed: {error}", where)
        for word, names in parts
        for name in names
        for where in [f"{artifact}/{name}" if Path(artifact).is_dir() else str(artifact)]
    ]
    return found or [_refusal("digest-mismatch", str(error), str(artifact))]


def _refusal(rule: str, message: str, artifact: str) -> Finding:
    return Finding(rule=rule, severity=Severity.HIGH, message=message, where="", artifact=artifact)
