"""Lint of S3 bucket policies for least privilege.

policy document (JSON) → statements → Findings (public, wide actions, overwriting, no TLS)

Only the bucket's policy is read: ACLs, access points, the account's public access block and the
policies of roles decide besides.

Source: AWS Identity and Access Management User Guide, "IAM JSON policy elements"; Amazon S3 User
Guide, "Policies and permissions" and "Conditional writes" (`s3:if-none-match`, `s3:if-match`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final

from mlsecops._choices import checked
from mlsecops._json import parse_object
from mlsecops.errors import UsageError
from mlsecops.findings import Finding, Severity

__all__ = ["lint_bucket_policy"]

_LONGEST: Final = 20_480  # bytes of a bucket policy; Amazon S3 User Guide, quotas
_WRITES: Final = ("s3:PutObject", "s3:DeleteObject", "s3:DeleteObjectVersion")
_POWERS: Final = (
    "s3:PutBucketPolicy", "s3:DeleteBucketPolicy", "s3:PutBucketVersioning",
    "s3:BypassGovernanceRetention", "s3:PutObjectRetention", "s3:PutLifecycleConfiguration",
)  # fmt: skip
_RULES: Final = {
    "public-read": (Severity.CRITICAL, "is for everybody; name the principals"),
    "public-write": (Severity.CRITICAL, "lets everybody write; name the principals"),
    "any-action": (Severity.HIGH, "allows every action; name those needed"),
    "negated-allow": (Severity.HIGH, "allows everything but what it names; name what is needed"),
    "bucket-powers": (Severity.HIGH, "allows {}: keep other protection to an administrator's role"),
    "delete-allowed": (Severity.MEDIUM, "allows deleting; use versions and Object Lock besides"),
    "overwrite-allowed": (
        Severity.MEDIUM,
        "allows overwriting; deny PutObject where s3:if-none-match and s3:if-match are absent",
    ),
    "no-tls": (Severity.MEDIUM, "is open without TLS; deny where aws:SecureTransport is false"),
    "wide-resource": (Severity.MEDIUM, "is about every resource; name the bucket and prefix"),
}  # fmt: skip
_CONDITIONAL: Final = ("s3:if-none-match", "s3:if-match")


@checked
def lint_bucket_policy(policy: str | bytes | Mapping[str, Any]) -> list[Finding]:
    """Find what a bucket policy allows beyond what data and registries need.

    Args:
        policy: The policy as JSON text, or its values.

    Returns:
        Findings: rules `public-read`, `public-write` (critical), `any-action`, `negated-allow`,
        `bucket-powers` (high), `delete-allowed`, `overwrite-allowed`, `no-tls`, `wide-resource`
        (medium).

    Raises:
        UsageError: It is no bucket policy, or longer than S3 takes.

    Examples:
        >>> statement = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject",
        ...              "Resource": "arn:aws:s3:::lake/*"}
        >>> [each.rule for each in lint_bucket_policy({"Statement": [statement]})]
        ['public-read', 'no-tls']
    """
    document = (
        dict(policy)
        if isinstance(policy, Mapping)
        else parse_object(policy, what="bucket policy", error=UsageError, most=_LONGEST)
    )
    statements = _statements(document.get("Statement"))
    denials = [each for each in statements if each["Effect"] == "Deny"]
    found: list[Finding] = []
    for number, statement in enumerate(statements):
        if statement["Effect"] == "Allow":
            found.extend(_allowed(statement, f"Statement[{number}]", denials))
    if not any(map(_demands_tls, denials)):
        found.append(_finding("no-tls", "Statement"))
    return found


def _statements(given: object) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for each in given if isinstance(given, list) else [given]:
        if not isinstance(each, dict) or each.get("Effect") not in {"Allow", "Deny"}:
            raise UsageError("bucket policy: expected Statement with Effect Allow or Deny")
        found.append(each)
    return found


def _allowed(
    statement: Mapping[str, Any], where: str, denials: list[dict[str, Any]]
) -> Iterator[Finding]:
    actions = _texts(statement.get("Action"))
    writes = [each for each in _WRITES if _covers(actions, each)]
    powers = [each for each in _POWERS if _covers(actions, each)]
    if "NotPrincipal" in statement or "NotAction" in statement:
        yield _finding("negated-allow", where)
    if any(action in {"*", "s3:*"} for action in actions):
        yield _finding("any-action", where)
    if _public(statement):
        yield _finding("public-write" if writes else "public-read", where)
    if powers:
        yield _finding("bucket-powers", where, powers[0])
    if any("Delete" in each for each in writes):
        yield _finding("delete-allowed", where)
    if "s3:PutObject" in writes and not any(map(_demands_conditions, denials)):
        yield _finding("overwrite-allowed", where)
    if "*" in _texts(statement.get("Resource")):
        yield _finding("wide-resource", where)


def _public(statement: Mapping[str, Any]) -> bool:
    principal = statement.get("Principal")
    named = principal.values() if isinstance(principal, dict) else [principal]
    everybody = any("*" in _texts(each) for each in named)
    return everybody and not statement.get("Condition")


def _covers(patterns: list[str], action: str) -> bool:
    return any(fnmatchcase(action.lower(), pattern.lower()) for pattern in patterns)


def _demands_tls(statement: Mapping[str, Any]) -> bool:
    conditions = statement.get("Condition")
    wanted = conditions.get("Bool", {}) if isinstance(conditions, dict) else {}
    value = wanted.get("aws:SecureTransport") if isinstance(wanted, dict) else None
    return str(value).lower() == "false" and _everybody(statement)


def _demands_conditions(statement: Mapping[str, Any]) -> bool:
    conditions = statement.get("Condition")
    absent = conditions.get("Null", {}) if isinstance(conditions, dict) else {}
    keys = {str(key).lower() for key in absent} if isinstance(absent, dict) else set()
    return not keys.isdisjoint(_CONDITIONAL) and _covers(
        _texts(statement.get("Action")), _WRITES[0]
    )


def _everybody(statement: Mapping[str, Any]) -> bool:
    principal = statement.get("Principal")
    named = principal.values() if isinstance(principal, dict) else [principal]
    return any("*" in _texts(each) for each in named)


def _texts(value: object) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [each for each in values if isinstance(each, str)]


def _finding(rule: str, where: str, what: str = "") -> Finding:
    severity, message = _RULES[rule]
    return Finding(
        rule=rule,
        severity=severity,
        message=f"{where} {message.format(what)}",
        where=where,
        artifact="bucket policy",
    )
