"""Model packages in moto's SageMaker and S3: honest, edited, unsigned, another group's."""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from mlsecops.errors import (
    DigestMismatch,
    RegistryError,
    SignatureMissing,
    UntrustedSigner,
    UsageError,
)
from mlsecops.integrations.sagemaker import approve, publish
from mlsecops.signing import Signer, TrustPolicy

IMAGE = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/serve:1"


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        session = boto3.Session(region_name="us-east-1")
        session.client("s3").create_bucket(Bucket="models")
        yield session


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tarball(tmp_path / "model.tar.gz", b"weights")


def tarball(path: Path, content: bytes) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo("weights.bin")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return path


def published(session: Any, archive: Path, signer: Signer, group: str = "fraud") -> Any:
    return publish(
        group, archive, location="s3://models/kept", image=IMAGE, signer=signer, session=session
    )


def status(session: Any, arn: str) -> str:
    description = session.client("sagemaker").describe_model_package(ModelPackageName=arn)
    return description["ModelApprovalStatus"]


def test_a_signed_package_waits_and_is_approved(
    session: Any, archive: Path, signer: Signer, policy: TrustPolicy
) -> None:
    made = published(session, archive, signer)
    assert status(session, made.arn) == "PendingManualApproval"
    assert made.digest.hex in made.url
    assert approve(made.arn, policy=policy, session=session).digest == made.digest
    assert status(session, made.arn) == "Approved"
    again = published(session, tarball(archive, b"better"), signer)
    assert again.arn != made.arn


def test_an_edited_archive_is_rejected(
    session: Any, archive: Path, signer: Signer, policy: TrustPolicy
) -> None:
    made = published(session, archive, signer)
    bucket, _, key = made.url.removeprefix("s3://").partition("/")
    session.client("s3").put_object(Bucket=bucket, Key=key, Body=b"evil")
    with pytest.raises(DigestMismatch):
        approve(made.arn, policy=policy, session=session)
    assert status(session, made.arn) == "Rejected"


def test_a_strangers_and_an_unsigned_package_are_rejected(
    session: Any, archive: Path, policy: TrustPolicy
) -> None:
    made = published(session, archive, Signer.generate("p256"))
    with pytest.raises(UntrustedSigner):
        approve(made.arn, policy=policy, session=session)
    bucket, _, key = made.url.removeprefix("s3://").partition("/")
    session.client("s3").delete_object(Bucket=bucket, Key=f"{key}.sig")
    with pytest.raises(SignatureMissing):
        approve(made.arn, policy=policy, session=session)
    assert status(session, made.arn) == "Rejected"


def test_another_groups_archive_and_signature_do_not_pass(
    session: Any, archive: Path, signer: Signer, policy: TrustPolicy
) -> None:
    other = published(session, archive, signer, group="toys")
    client = session.client("sagemaker")
    client.create_model_package_group(ModelPackageGroupName="fraud")
    made = client.create_model_package(
        ModelPackageGroupName="fraud",
        ModelApprovalStatus="PendingManualApproval",
        InferenceSpecification={
            "Containers": [{"Image": IMAGE, "ModelDataUrl": other.url}],
            "SupportedContentTypes": ["application/json"],
            "SupportedResponseMIMETypes": ["application/json"],
        },
    )
    with pytest.raises(DigestMismatch):
        approve(made["ModelPackageArn"], policy=policy, session=session)


def test_publishing_again_replaces_nothing_and_what_was_planted_does_not_pass(
    session: Any, archive: Path, signer: Signer, policy: TrustPolicy
) -> None:
    first, second = (published(session, archive, signer) for _ in range(2))
    assert first.url == second.url
    approve(second.arn, policy=policy, session=session)
    bucket, _, key = first.url.removeprefix("s3://").partition("/")
    session.client("s3").put_object(Bucket=bucket, Key=key, Body=b"planted")
    third = published(session, archive, signer)
    assert session.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read() == b"planted"
    with pytest.raises(DigestMismatch):
        approve(third.arn, policy=policy, session=session)


def test_wrong_use_says_what_was_expected(session: Any, archive: Path, signer: Signer) -> None:
    with pytest.raises(UsageError, match="s3://"):
        publish("a", archive, location="/tmp", image=IMAGE, signer=signer, session=session)
    with pytest.raises(UsageError, match="cannot read"):
        published(session, archive.with_name("nowhere"), signer)
    with pytest.raises(RegistryError):
        approve("arn:nothing", policy=TrustPolicy(), session=session)
