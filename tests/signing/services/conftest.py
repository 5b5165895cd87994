"""A software HSM, started once a process: a token for each test, with keys imported into it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mlsecops.signing import KeySigner, Signer
from tests.conftest import program

PIN = "1234 &?"
URI_PIN = "1234%20%26%3F"
_MODULES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so")


@pytest.fixture(scope="session")
def hsm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Path of the module, whose tokens are in a folder of their own."""
    program("softhsm2-util")
    folder = tmp_path_factory.mktemp("hsm")
    (folder / "tokens").mkdir()
    conf = folder / "softhsm2.conf"
    conf.write_text(f"directories.tokendir = {folder}/tokens\nlog.level = ERROR\n")
    os.environ["SOFTHSM2_CONF"] = str(conf)  # for the whole process: a module is loaded once
    for token in ("corp", "other"):  # a module looks for tokens once
        init(token)
    module = next((place for place in _MODULES if Path(place).exists()), None)
    if module is None:
        pytest.fail("softhsm2-util is installed without its module")
    return Path(module)


def init(token: str) -> None:
    words = ["--init-token", "--free", "--label", token, "--so-pin", "12345678", "--pin", PIN]
    subprocess.run(["softhsm2-util", *words], check=True, capture_output=True)


@pytest.fixture
def import_key(hsm: Path, tmp_path: Path) -> Callable[..., KeySigner]:
    """Import a new key; returned is the same key in memory, to compare with."""
    assert hsm

    def put(kind: str, label: str, number: str, *, token: str = "corp") -> KeySigner:  # noqa: S107 - a label
        signer = Signer.generate(kind)
        file = tmp_path / f"{label}.p8"
        file.write_bytes(
            signer._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        words = ["--import", str(file), "--token", token, "--label", label, "--id", number]
        subprocess.run(["softhsm2-util", *words, "--pin", PIN], check=True, capture_output=True)
        return signer

    return put
