"""Calls of the hub's libraries in a protected process, and `from_pretrained` on verified bytes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers as tf

import mlsecops
from benchmarks.hub import other_layouts, transformers_layouts
from benchmarks.hub.layouts import LAYOUTS, same, weights
from mlsecops import Signer, TrustPolicy, sign
from mlsecops.errors import DigestMismatch, SignatureMissing, UnsafeContent
from mlsecops.integrations.huggingface import from_pretrained

SIGNER = Signer.generate("p256")
POLICY = TrustPolicy(keys=[SIGNER.public_key])


def piped(folder: Path) -> Any:
    made = tf.pipeline("text-classification", model=str(folder), device="cpu")
    return made("a b")[0]["score"]


def classifier(folder: Path) -> None:
    transformers_layouts.bert(tf.BertForSequenceClassification).save_pretrained(folder)
    transformers_layouts.tokenizer().save_pretrained(folder)


READ = [name for name, layout in LAYOUTS.items() if layout.read and layout.outcome == "held"]
PICKLED = {"XGBoost JSON", "XGBoost UBJSON", "LightGBM text", "CatBoost binary", "CatBoost JSON"}
COMPILED = PICKLED | {"distributed checkpoint", "distributed checkpoint with optimizer"}
"""Read by compiled code, or from streams: not caught, or refused, as the page says."""
CALLS: dict[str, tuple[Callable[[Path], None], Callable[[Path], Any]]] = {
    **{name: (LAYOUTS[name].build, LAYOUTS[name].read) for name in READ if name not in COMPILED},  # type: ignore[misc]
    "transformers.pipeline": (classifier, piped),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_gives_the_same_in_a_protected_process(name: str, tmp_path: Path) -> None:
    build, read = CALLS[name]
    folder = tmp_path / "models--org--name" / "snapshots" / "0123abc"
    folder.mkdir(parents=True)
    build(folder)
    expected = read(folder)
    with mlsecops.protect(POLICY):
        with pytest.raises(SignatureMissing):
            read(folder)
        sign(folder, SIGNER)
        assert same(read(folder), expected)
        files = [path for path in folder.rglob("*") if path.is_file() and path.name != "model.sig"]
        honest = {path: path.read_bytes() for path in files}
        for path, data in honest.items():
            path.unlink()
            path.write_bytes(data + b" ")
        with pytest.raises(DigestMismatch):
            read(folder)
    for path, data in honest.items():
        path.write_bytes(data)
    assert same(read(folder), expected)


def test_a_repository_of_the_cache_is_loaded_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    folder = tmp_path / "models--org--tiny" / "snapshots" / ("0" * 40)
    folder.mkdir(parents=True)
    LAYOUTS["hub cache"].build(folder)
    (tmp_path / "models--org--tiny/refs").mkdir()
    (tmp_path / "models--org--tiny/refs/main").write_text("0" * 40)
    expected = weights(tf.AutoModel.from_pretrained(folder))
    with pytest.raises(SignatureMissing):
        from_pretrained(tf.AutoModel, "org/tiny", policy=POLICY)
    sign(folder, SIGNER)
    model = from_pretrained(tf.AutoModel, "org/tiny", policy=POLICY)
    assert same(weights(model), expected)
    assert model.name_or_path == "org/tiny"
    with mlsecops.protect(POLICY):
        assert same(weights(tf.AutoModel.from_pretrained("org/tiny")), expected)
    shutil.rmtree(tmp_path / "models--org--tiny")
    with pytest.raises(SignatureMissing, match="org/tiny"):
        from_pretrained(tf.AutoModel, "org/tiny", policy=POLICY)


def test_a_program_of_the_model_is_not_run(tmp_path: Path) -> None:
    LAYOUTS["model of the hub with its remote program"].build(tmp_path)
    (tmp_path / "modeling_mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    sign(tmp_path, SIGNER)
    for options in ({}, {"trust_remote_code": True}):
        with pytest.raises(UnsafeContent):
            from_pretrained(tf.AutoModel, tmp_path, policy=POLICY, **options)
        with mlsecops.protect(POLICY), pytest.raises(UnsafeContent):
            tf.AutoModel.from_pretrained(tmp_path, **options)
    assert not (tmp_path / "ran").exists()


def test_a_program_of_the_model_runs_where_the_policy_names_it(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    LAYOUTS["model of the hub with its remote program"].build(folder)
    program = "from transformers import BertModel\nclass Mine(BertModel):\n    mine = True\n"
    (folder / "modeling_mine.py").write_text(program)
    sign(folder, SIGNER)
    digest = str(mlsecops.Digest.of(program.encode()))
    trust = TrustPolicy(keys=[SIGNER.public_key], code=[digest])
    model = from_pretrained(tf.AutoModel, folder, policy=trust, trust_remote_code=True)
    assert model.mine


assert other_layouts
