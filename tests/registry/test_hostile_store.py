"""Storage that lies: huge blobs, conditions that are not heeded, locations in other spellings."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

from mlsecops.audit.objects import MemoryStore
from mlsecops.errors import DigestMismatch, MLSecOpsWarning, RegistryError, UsageError
from mlsecops.registry import Registry
from mlsecops.signing import Signer, TrustPolicy, sign
from tests.attackers.registry import blob_of

Model = Callable[[bytes], Path]
NUMBERS = itertools.count()
TEBIBYTE = 1 << 40  # more than any disk here


def test_a_blob_that_grew_without_end_fills_no_disk(
    registry: Registry, policy: TrustPolicy, model: Model, tmp_path: Path
) -> None:
    for weights in (b"one", b"two"):
        registry.publish("fraud", model(weights))
    registry.promote("fraud", 2, "serving")
    blob = blob_of(Path(registry.location), b"two")
    blob.chmod(0o600)
    os.truncate(blob, TEBIBYTE)
    reader = Registry(registry.location, policy=policy, cache=tmp_path / "fresh")
    with pytest.raises(DigestMismatch, match="at most"):
        reader.resolve("fraud", 2)
    assert [*(tmp_path / "fresh").iterdir()] == []
    assert registry.damaged("fraud", 2) == ("weights.bin",)
    with pytest.raises(DigestMismatch):
        registry.checkout("fraud", 2, tmp_path / "out")
    with pytest.warns(MLSecOpsWarning, match="at most"):
        registry.quarantine("fraud", "its bytes grew")
    assert registry.rollback("fraud").version == 1
    other = model(b"two again")
    (other / "weights.bin").write_bytes(b"two")
    (other / "more.bin").write_bytes(b"more")
    sign(other, registry.signer)  # type: ignore[arg-type] # it has one
    registry.publish("risk", other)
    assert blob.read_bytes() == b"two"  # which repairs the blob


@pytest.mark.parametrize("broken", ["put_if_absent", "put_if_unchanged"])
def test_a_store_that_heeds_no_conditions_is_refused(
    signer: Signer, policy: TrustPolicy, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def put(store: MemoryStore, key: str, data: bytes, *_: object, **__: object) -> str:
        store._objects[key] = data
        return "tag"

    monkeypatch.setattr(MemoryStore, broken, put)
    with pytest.raises(RegistryError, match="conditional writes"):
        Registry(f"memory://broken-{next(NUMBERS)}", signer=signer, policy=policy)


@pytest.mark.parametrize(
    "prefix", ["..", "../x", "a/../b", "./x", "a//b", "a%2fb", "%2e%2e/x", "a%5Cb", "a\\b", "a%00"]
)
def test_a_prefix_in_another_spelling_is_wrong_use(policy: TrustPolicy, prefix: str) -> None:
    """`s3://models/prod/../staging` would be another registry."""
    for scheme in ("s3", "gs", "az"):
        with pytest.raises(UsageError, match="location"):
            Registry(f"{scheme}://models/{prefix}", policy=policy)


def test_a_folder_whose_name_no_file_has_is_wrong_use(policy: TrustPolicy) -> None:
    with pytest.raises(UsageError, match="location"):
        Registry("file:///tmp/a%00b", policy=policy)


@pytest.mark.parametrize("tag", [None, "", 'W/"weak"'])
def test_a_store_without_strong_tags_cannot_be_written(
    policy: TrustPolicy, monkeypatch: pytest.MonkeyPatch, tag: str | None
) -> None:
    obstore = pytest.importorskip("obstore")

    class Found:
        meta: ClassVar[dict[str, Any]] = {"size": 4, "e_tag": tag}

        def bytes(self) -> bytes:
            return b"note"

    monkeypatch.setattr(obstore, "get", lambda *_, **__: Found())
    with pytest.raises(RegistryError, match="strong ETag"):
        Registry("s3://models/x", policy=policy)
