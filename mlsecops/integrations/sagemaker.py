"""Approval of SageMaker model packages by signature.

`publish`: archive → signature under the group's name → conditional put to S3, under a key with the
digest → package that waits for approval. `approve`: download → verification → approved or not.

Limits: SageMaker verifies nothing when it deploys, and whoever can overwrite the bucket's objects
can do so after the approval. Prevent that in S3 (Object Lock, or a bucket policy).

Source: SageMaker API, `CreateModelPackage` and `UpdateModelPackage`; S3 conditional writes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlparse

from mlsecops._choices import checked
from mlsecops._extras import require
from mlsecops._repr import concise_repr
from mlsecops.errors import (
    DigestMismatch,
    MLSecOpsError,
    RegistryError,
    SignatureMissing,
    UsageError,
)
from mlsecops.provenance import Digest
from mlsecops.signing import Signer, TrustPolicy, Verified, sign, verify

__all__ = ["PublishedPackage", "approve", "publish"]

_ARCHIVE: Final = "model.tar.gz"
_DIGEST: Final = "mlsecops.digest"
_DESCRIPTION: Final = 1024  # characters; SageMaker API, ApprovalDescription


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedPackage:
    """A model package that waits for approval.

    Attributes:
        arn: ARN of the package.
        url: S3 URL of the archive.
        digest: Root digest of the signed archive.
    """

    arn: str
    url: str
    digest: Digest


@checked
def publish(
    group: str,
    archive: str | os.PathLike[str],
    *,
    location: str,
    image: str,
    signer: Signer,
    session: Any = None,
) -> PublishedPackage:
    """Sign an archive, upload it, and register it as a package that waits for approval.

    Args:
        group: Name of the model package group, created if missing.
        archive: Path of the `model.tar.gz`.
        location: Folder of archives, `s3://bucket/prefix`.
        image: Container image that serves the model.
        signer: The signer.
        session: A `boto3.Session`, or None for the default one.

    Raises:
        UsageError: The archive cannot be read, or the location is not an S3 URL.
        RegistryError: AWS refuses.
        MissingExtra: boto3 is not installed.
    """
    bucket, prefix = _place(location)
    with _signed_copy(group, archive, signer) as (folder, digest):
        key = f"{prefix}{group}/{digest.hex}/{_ARCHIVE}"
        storage = _client("s3", session)
        _put(storage, bucket, key, folder / group / _ARCHIVE)
        _put(storage, bucket, f"{key}.sig", folder / "bundle")
    url = f"s3://{bucket}/{key}"
    sagemaker = _client("sagemaker", session)
    with contextlib.suppress(sagemaker.exceptions.ClientError):
        sagemaker.create_model_package_group(ModelPackageGroupName=group)  # or it exists
    with _refusals():
        made = sagemaker.create_model_package(
            ModelPackageGroupName=group,
            ModelApprovalStatus="PendingManualApproval",
            CustomerMetadataProperties={_DIGEST: str(digest)},
            InferenceSpecification={
                "Containers": [{"Image": image, "ModelDataUrl": url}],
                "SupportedContentTypes": ["application/json"],
                "SupportedResponseMIMETypes": ["application/json"],
            },
        )
    return PublishedPackage(arn=made["ModelPackageArn"], url=url, digest=digest)


@checked
def approve(package: str, *, policy: TrustPolicy, session: Any = None) -> Verified:
    """Approve a package that verifies, and reject any other.

    Args:
        package: ARN of the package.
        policy: Trust policy.
        session: As for `publish`.

    Raises:
        SignatureError: The archive has no bundle, or its signature is invalid.
        PolicyError: The signature does not satisfy the policy.
        DigestMismatch: The archive was changed, or is another group's.
        RegistryError: AWS refuses; nothing was approved.
    """
    sagemaker = _client("sagemaker", session)
    with _refusals():
        description = sagemaker.describe_model_package(ModelPackageName=package)
    try:
        verified = _verified(description, policy, _client("s3", session))
    except RegistryError:
        raise
    except MLSecOpsError as error:
        _decide(sagemaker, package, "Rejected", str(error))
        raise
    _decide(sagemaker, package, "Approved", f"{verified.digest} signed by {verified.signers[0]}")
    return verified


def _verified(description: dict[str, Any], policy: TrustPolicy, storage: Any) -> Verified:
    group = description["ModelPackageGroupName"]
    containers = description.get("InferenceSpecification", {}).get("Containers", [])
    urls = [container.get("ModelDataUrl", "") for container in containers]
    if len(urls) != 1:
        raise UsageError(
            f"{description['ModelPackageArn']}: expected one container with a model, got "
            f"{len(urls)}; publish it with mlsecops.integrations.sagemaker.publish"
        )
    bucket, key = _place(urls[0])
    key = key.rstrip("/")
    with tempfile.TemporaryDirectory(prefix="mlsecops-") as folder:
        model = Path(folder, group)
        model.mkdir()
        _get(storage, bucket, key, model / _ARCHIVE)
        bundle = Path(folder, "bundle")
        try:
            _get(storage, bucket, f"{key}.sig", bundle)
        except RegistryError as error:
            raise SignatureMissing(
                f"{urls[0]}: expected its bundle at {urls[0]}.sig, got none; publish it with "
                "mlsecops.integrations.sagemaker.publish"
            ) from error
        verified = verify(model, bundle, policy=policy)
    if verified.name != group:
        raise DigestMismatch(
            f"{urls[0]}: expected what was signed as {group}, got {verified.name}: another "
            "group's archive replaced it"
        )
    return verified


def _decide(sagemaker: Any, package: str, status: str, why: str) -> None:
    with _refusals():
        sagemaker.update_model_package(
            ModelPackageArn=package,
            ModelApprovalStatus=status,
            ApprovalDescription=why[:_DESCRIPTION],
        )


@contextlib.contextmanager
def _signed_copy(
    group: str, archive: str | os.PathLike[str], signer: Signer
) -> Iterator[tuple[Path, Digest]]:
    """A signed copy in a folder with the group's name, which the signature covers."""
    with tempfile.TemporaryDirectory(prefix="mlsecops-") as place:
        folder = Path(place, group)
        folder.mkdir()
        try:
            shutil.copyfile(archive, folder / _ARCHIVE)
        except OSError as error:
            raise UsageError(f"cannot read {os.fspath(archive)}: {error.strerror}") from error
        sign(folder, signer, out=Path(place, "bundle"))
        policy = TrustPolicy(keys=[signer.public_key])
        yield Path(place), verify(folder, Path(place, "bundle"), policy=policy).digest


def _place(url: str) -> tuple[str, str]:
    parts = urlparse(url)
    if parts.scheme != "s3" or not parts.netloc:
        raise UsageError(f"{url!r}: expected an S3 URL, s3://bucket/prefix")
    prefix = parts.path.strip("/")
    return parts.netloc, f"{prefix}/" if prefix else ""


def _put(storage: Any, bucket: str, key: str, file: Path) -> None:
    """Write an object unless it exists; its key has the digest, which approval verifies."""
    exceptions = require("botocore.exceptions")
    with _refusals(), file.open("rb") as stream:
        try:
            storage.put_object(
                Bucket=bucket, Key=key, Body=stream, IfNoneMatch="*", ChecksumAlgorithm="SHA256"
            )
        except exceptions.ClientError as error:
            if error.response["Error"]["Code"] != "PreconditionFailed":
                raise


def _get(storage: Any, bucket: str, key: str, file: Path) -> None:
    with _refusals():
        storage.download_file(bucket, key, str(file))


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    exceptions = require("botocore.exceptions")
    try:
        yield
    except (exceptions.ClientError, exceptions.BotoCoreError) as error:
        raise RegistryError(f"AWS: {error}") from error


def _client(service: str, session: Any) -> Any:
    return (session or require("boto3")).client(service)
