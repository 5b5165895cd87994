"""A registry in a bucket with Object Lock, and somebody who may write and delete there."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mlsecops.audit import Checkpoint
from mlsecops.errors import DigestMismatch, RegistryError, RollbackRefused
from mlsecops.provenance import Digest
from mlsecops.registry import Registry
from mlsecops.signing import Signer, TrustPolicy
from tests.buckets import s3_bucket

Model = Callable[[bytes], Path]
NAME = "locked"
NUMBERS = itertools.count()
# AWS takes the SHA-256 that each request bears; moto wants this header of AWS SDKs.
OPTIONS: dict[str, Any] = {
    "client_options": {"default_headers": {"x-amz-sdk-checksum-algorithm": "SHA256"}}
}
BAD = Digest.of(b"bad")


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with s3_bucket(NAME, ObjectLockEnabledForBucket=True) as client:
        client.put_object_lock_configuration(
            Bucket=NAME,
            ObjectLockConfiguration={
                "ObjectLockEnabled": "Enabled",
                "Rule": {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 30}},
            },
        )
        yield client


def opened(place: Locked, policy: TrustPolicy, **options: Any) -> Registry:
    """The registry, as a fresh process opens it."""
    return Registry(place.location, policy=policy, storage_options=OPTIONS, **options)


class Locked:
    """A prefix of the bucket, with the versions of its objects."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.prefix = f"prod-{next(NUMBERS)}"
        self.location = f"s3://{NAME}/{self.prefix}"

    def versions(self, key: str = "") -> list[dict[str, Any]]:
        """Versions of the objects whose keys begin with a text, the newest first."""
        prefix = f"{self.prefix}/{key}"
        found = self.client.list_object_versions(Bucket=NAME, Prefix=prefix)
        return [{"Key": each["Key"], "VersionId": each["VersionId"]} for each in found["Versions"]]

    def read(self, version: dict[str, Any]) -> bytes:
        data: bytes = self.client.get_object(Bucket=NAME, **version)["Body"].read()
        return data

    def put_back(self, key: str) -> None:
        """Put the oldest version of an object over the newest."""
        self.client.put_object(
            Bucket=NAME, Key=f"{self.prefix}/{key}", Body=self.read(self.versions(key)[-1])
        )


@pytest.fixture
def locked(client: Any) -> Locked:
    return Locked(client)


@pytest.fixture
def registry(locked: Locked, signer: Signer, policy: TrustPolicy) -> Registry:
    return opened(locked, policy, signer=signer)


def test_every_object_is_retained_and_cannot_be_deleted(
    locked: Locked, registry: Registry, model: Model
) -> None:
    registry.publish("fraud", model(b"one"))
    registry.promote("fraud", 1, "serving")
    registry.quarantine(BAD, "poisoned")
    until = datetime.now(UTC) + timedelta(days=29)
    found = locked.versions()
    kinds = {each["Key"].removeprefix(f"{locked.prefix}/").partition("/")[0] for each in found}
    assert kinds == {"blobs", "head", "log"}
    for each in found:
        shown = locked.client.head_object(Bucket=NAME, **each)
        assert (shown["ObjectLockMode"], shown["ObjectLockRetainUntilDate"] > until) == (
            "COMPLIANCE",
            True,
        ), each
        for bypass in (False, True):
            with pytest.raises(locked.client.exceptions.ClientError, match="AccessDenied"):
                locked.client.delete_object(Bucket=NAME, BypassGovernanceRetention=bypass, **each)
    assert registry.verify_log().size == 4


def test_earlier_checkpoints_stay_and_are_prefixes(locked: Locked, registry: Registry) -> None:
    for number in range(3):
        registry.quarantine(Digest.of(b"%d" % number), "poisoned")
    notes = [locked.read(each).decode() for each in locked.versions("log/checkpoint")]
    assert [Checkpoint.parse(note).size for note in notes] == [4, 3, 2, 1]
    for note in notes:
        assert registry.verify_log(note).size == 4


def test_an_earlier_version_of_the_log_put_over_the_newest_is_refused(
    locked: Locked, registry: Registry, policy: TrustPolicy, signer: Signer, tmp_path: Path
) -> None:
    running = opened(locked, policy)
    registry.quarantine(BAD, "poisoned")
    pin = tmp_path / "pin.txt"
    pin.write_text(str(registry.verify_log()))
    assert running.isolated(BAD) == "poisoned"
    for key in ("head", "log/checkpoint"):
        locked.put_back(key)
    with pytest.raises(RollbackRefused):
        opened(locked, policy, pinned=pin).versions()
    assert "older copy" in str(running.isolated(BAD))
    with pytest.raises(DigestMismatch, match="logged here before"):  # retained tiles say so
        opened(locked, policy, signer=signer).quarantine(BAD, "another")
    assert len(locked.versions("log/checkpoint")) == 3  # the true one is still there


def test_a_deleted_log_is_refused_and_undeleted(
    locked: Locked, registry: Registry, policy: TrustPolicy, signer: Signer, model: Model
) -> None:
    """Without a version, S3 hides an object behind a delete marker, locked or not."""
    registry.publish("fraud", model(b"one"))
    markers = [
        {"Key": key, "VersionId": locked.client.delete_object(Bucket=NAME, Key=key)["VersionId"]}
        for key in (f"{locked.prefix}/log/checkpoint", f"{locked.prefix}/head")
    ]
    for options in ({}, {"signer": signer}):
        with pytest.raises(RegistryError, match="no log/checkpoint"):
            opened(locked, policy, **options)
    assert "no checkpoint" in str(registry.isolated(BAD))
    for marker in markers:
        locked.client.delete_object(Bucket=NAME, **marker)
    assert opened(locked, policy).resolve("fraud", 1).version == 1


def test_a_blob_that_was_replaced_is_repaired_from_its_first_version(
    locked: Locked, registry: Registry, policy: TrustPolicy, model: Model, tmp_path: Path
) -> None:
    registry.publish("fraud", model(b"one"))
    key = f"blobs/sha256/{Digest.of(b'one').hex[:2]}/{Digest.of(b'one').hex}"
    locked.client.put_object(Bucket=NAME, Key=f"{locked.prefix}/{key}", Body=b"ONE")
    reader = opened(locked, policy, cache=tmp_path / "fresh")
    with pytest.raises(DigestMismatch):
        reader.resolve("fraud", 1)
    locked.put_back(key)
    assert reader.resolve("fraud", 1).version == 1


def test_a_large_file_is_retained_too(
    locked: Locked, registry: Registry, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one part: moto retains no object of several parts, AWS does."""
    monkeypatch.setattr("mlsecops.registry.blobs._SMALL", 64)
    weights = bytes(range(256)) * 64
    registry.publish("fraud", model(weights))
    [blob] = locked.versions(f"blobs/sha256/{Digest.of(weights).hex[:2]}/{Digest.of(weights).hex}")
    assert locked.client.head_object(Bucket=NAME, **blob)["ObjectLockMode"] == "COMPLIANCE"
