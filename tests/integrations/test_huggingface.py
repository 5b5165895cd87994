"""`from_pretrained` on verified bytes; programs run only if the policy names their digests."""

import json
from pathlib import Path
from typing import Any, Self

import pytest

from mlsecops.errors import (
    DigestMismatch,
    FormatRefused,
    SignatureMissing,
    UnsafeContent,
    UsageError,
)
from mlsecops.integrations.huggingface import from_pretrained
from mlsecops.provenance import Digest
from mlsecops.signing import Signer, TrustPolicy, sign

SIGNER = Signer.generate("p256")
CODE = "class Mine: ..."


def policy(**options: Any) -> TrustPolicy:
    return TrustPolicy(keys=[SIGNER.public_key], **options)


class Model:
    """A class of a hub library, with its names of the folder that it was read from."""

    def __init__(self, folder: str, **options: Any) -> None:
        self.name_or_path = folder
        self.files = sorted(each.name for each in Path(folder).iterdir())
        self.options = options

    @classmethod
    def from_pretrained(cls, folder: str, **options: Any) -> Self:
        return cls(folder, **options)


class Constructed:
    def __init__(self, folder: str) -> None:
        self.config = Path(folder, "config.json").read_text()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "model"
    place.mkdir()
    (place / "config.json").write_text('{"model_type": "bert"}')
    sign(place, SIGNER)
    return place


@pytest.fixture
def programmed(folder: Path) -> Path:
    mapped = {"auto_map": {"AutoModel": "modeling_mine.Mine"}}
    (folder / "config.json").write_text(json.dumps(mapped))
    (folder / "modeling_mine.py").write_text(CODE)
    sign(folder, SIGNER)
    return folder


def test_a_class_reads_the_verified_folder(folder: Path) -> None:
    model = from_pretrained(Model, folder, policy=policy(), revision="main")
    assert model.files == ["config.json"]
    assert model.name_or_path == str(folder)
    assert model.options == {"revision": "main"}
    assert from_pretrained(Constructed, folder, policy=policy()).config


def test_what_was_changed_or_never_signed_is_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "config.json").write_text("{}")
    with pytest.raises(DigestMismatch):
        from_pretrained(Model, folder, policy=policy())
    (tmp_path / "other").mkdir()
    with pytest.raises(SignatureMissing):
        from_pretrained(Model, tmp_path / "other", policy=policy())


@pytest.mark.parametrize("options", [{}, {"trust_remote_code": True}])
def test_a_mapped_program_is_refused_without_its_digest(
    programmed: Path, options: dict[str, Any]
) -> None:
    for trust in (policy(), policy(code=[str(Digest.of(b"another"))])):
        with pytest.raises(UnsafeContent, match="modeling_mine"):
            from_pretrained(Model, programmed, policy=trust, **options)
    with pytest.raises(UnsafeContent, match=r"modeling_mine\.Mine"):
        from_pretrained(Model, programmed, policy=policy(), allow_unchecked=True, **options)


def test_a_mapped_program_runs_where_the_policy_names_its_digest(programmed: Path) -> None:
    trust = policy(code=[str(Digest.of(CODE.encode()))])
    model = from_pretrained(Model, programmed, policy=trust, trust_remote_code=True)
    assert "modeling_mine.py" in model.files
    (programmed / "extra.py").write_text("import os")
    sign(programmed, SIGNER)
    with pytest.raises(UnsafeContent, match=r"extra\.py.*code = \["):
        from_pretrained(Model, programmed, policy=trust, trust_remote_code=True)


@pytest.mark.parametrize(
    "reference",
    ["org/other--modeling_mine.Mine", "../evil.Mine", "a.modeling_mine.Mine", "os.system"],
)
def test_a_program_elsewhere_is_refused_whatever_the_policy_names(
    programmed: Path, reference: str
) -> None:
    (programmed / "config.json").write_text(json.dumps({"auto_map": {"AutoModel": reference}}))
    sign(programmed, SIGNER)
    trust = policy(code=[str(Digest.of(CODE.encode()))])
    with pytest.raises(UnsafeContent, match=r"Mine|system"):
        from_pretrained(Model, programmed, policy=trust, trust_remote_code=True)


@pytest.mark.parametrize("option", ["trust_remote_code", "custom_pipeline", "custom_generate"])
def test_options_that_run_programs_are_refused(folder: Path, option: str) -> None:
    for options in ({}, {"allow_unchecked": True}):
        with pytest.raises(UnsafeContent, match=option):
            from_pretrained(Model, folder, policy=policy(), **{option: "x"}, **options)


def test_what_is_unknown_needs_its_own_option_whatever_programs_are_named(programmed: Path) -> None:
    (programmed / "m.engine").write_bytes(b"\0ftrt nobody knows this")
    sign(programmed, SIGNER)
    trust = policy(code=[str(Digest.of(CODE.encode()))])
    with pytest.raises(FormatRefused, match=r"m\.engine.*allow_unchecked"):
        from_pretrained(Model, programmed, policy=trust)
    assert from_pretrained(Model, programmed, policy=trust, allow_unchecked=True)


def test_a_policy_names_programs_by_sha256(tmp_path: Path) -> None:
    digest = str(Digest.of(CODE.encode()))
    (tmp_path / "key.pem").write_text(SIGNER.public_key.pem)
    file = tmp_path / "trust.toml"
    file.write_text(f'code = ["{digest}"]\n[[keys]]\npath = "key.pem"\n')
    assert TrustPolicy.load(file).code == {digest}
    for wrong in (digest[:-2], digest.upper(), f"sha512:{'0' * 128}", "modeling_mine.py"):
        with pytest.raises(UsageError, match=r"sha256|digest"):
            policy(code=[wrong])
    with pytest.raises(UsageError, match="code"):
        policy(code=digest)
