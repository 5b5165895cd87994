"""Bundles go both ways between this library and the ``model_signing`` command."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlsecops.signing import Signer, TrustPolicy, sign, verify


def nested(root: Path) -> None:
    (root / "a" / "b" / "c").mkdir(parents=True)
    (root / "a" / "b" / "c" / "deep.bin").write_bytes(b"deep")
    (root / "a-b").write_bytes(b"sorts between, by path or by code point")
    (root / "empty").write_bytes(b"")


def odd_names(root: Path) -> None:
    for name in ("é ü", "colon:0:9", ".hidden", "日本語", "quote'\""):
        (root / name).write_bytes(name.encode())


SHAPES: list[Callable[[Path], None]] = [nested, odd_names]


def theirs(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "model_signing", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("key_type", ["p256", "p384", "p521"])
def test_key_bundles_verify_in_both_directions(
    tmp_path: Path, shape: Callable[[Path], None], key_type: Any
) -> None:
    root = tmp_path / "model"
    root.mkdir()
    shape(root)
    signer = Signer.generate(key_type)
    private, public = tmp_path / "key.pem", tmp_path / "key.pub.pem"
    private.write_bytes(signer.to_pem())
    public.write_text(signer.public_key.pem)
    signature = root / "model.sig"

    sign(root, signer)
    ours = theirs("verify", "key", root, "--signature", signature, "--public_key", public)
    assert ours.returncode == 0, ours.stderr

    signed = theirs("sign", "key", root, "--signature", signature, "--private_key", private)
    assert signed.returncode == 0, signed.stderr
    assert verify(root, policy=TrustPolicy(keys=[public])).name == "model"


def test_a_single_file_bundle_verifies_in_both_directions(tmp_path: Path) -> None:
    path, public = tmp_path / "m.bin", tmp_path / "key.pub.pem"
    path.write_bytes(b"w")
    signer = Signer.generate("p256")
    public.write_text(signer.public_key.pem)
    sign(path, signer)
    checked = theirs("verify", "key", path, "--signature", f"{path}.sig", "--public_key", public)
    assert checked.returncode == 0, checked.stderr
