"""Lint of S3 bucket policies."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mlsecops.access import lint_bucket_policy
from mlsecops.errors import UsageError

BUCKET = "arn:aws:s3:::models"
TLS = {
    "Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": [BUCKET, f"{BUCKET}/*"],
    "Condition": {"Bool": {"aws:SecureTransport": "false"}},
}  # fmt: skip
WRITE_ONCE = {
    "Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": f"{BUCKET}/*",
    "Condition": {"Null": {"s3:if-none-match": "true", "s3:if-match": "true"}},
}  # fmt: skip
WRITER = {
    "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::111122223333:role/release"},
    "Action": ["s3:GetObject", "s3:PutObject"], "Resource": f"{BUCKET}/*",
}  # fmt: skip


def rules(*statements: Any) -> list[str]:
    return [each.rule for each in lint_bucket_policy({"Statement": list(statements)})]


def test_a_registry_s_policy_with_least_privilege_has_no_finding() -> None:
    assert rules(TLS, WRITE_ONCE, WRITER) == []
    assert lint_bucket_policy(json.dumps({"Statement": [TLS, WRITE_ONCE, WRITER]})) == []


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        ({"Principal": "*", "Action": "s3:GetObject"}, ["public-read"]),
        ({"Principal": {"AWS": ["*"]}}, ["public-write"]),
        ({"Principal": "*", "Condition": {"StringEquals": {"aws:SourceVpc": "vpc-1"}}}, []),
        ({"Action": "s3:*"}, ["any-action", "bucket-powers", "delete-allowed"]),
        ({"Action": "S3:Put*"}, ["bucket-powers"]),
        ({"Action": ["s3:DeleteObject"]}, ["delete-allowed"]),
        ({"NotAction": "s3:GetObject"}, ["negated-allow"]),
        ({"Resource": "*"}, ["wide-resource"]),
        ({"Action": "s3:BypassGovernanceRetention"}, ["bucket-powers"]),
    ],
)
def test_what_is_loose_is_found(edit: dict[str, Any], expected: list[str]) -> None:
    assert rules(TLS, WRITE_ONCE, {**WRITER, **edit}) == expected


def test_what_no_statement_demands_is_found() -> None:
    assert rules(WRITER) == ["overwrite-allowed", "no-tls"]
    narrow = {**TLS, "Principal": {"AWS": "arn:aws:iam::111122223333:root"}}
    assert "no-tls" in rules(narrow, WRITE_ONCE, WRITER)


@pytest.mark.parametrize(
    "wrong",
    ["", "[]", "{}", '{"Statement": 3}', '{"Statement": [{"Effect": "Maybe"}]}', "x" * 30_000],
)
def test_what_is_no_policy_is_wrong_use(wrong: str) -> None:
    with pytest.raises(UsageError, match="bucket policy"):
        lint_bucket_policy(wrong)
