from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy as np
import pytest

from mlsecops import errors, hash_dataset, training_run
from mlsecops.provenance import Lineage, Statement
from mlsecops.provenance.lineage_store import read_store
from mlsecops.signing import Signer, TrustPolicy, sign, verify

DATA = hash_dataset(np.arange(4), name="raw")


def signed(model: Path, signer: Signer) -> Statement:
    model.mkdir(parents=True)
    (model / "w.bin").write_text(model.name)
    with training_run(model.name, datasets=[DATA], code=model) as run:
        run.add_output(model)
    sign(model, signer, statements=[run.statement()])
    return run.statement()


def test_statements_are_found_in_every_file_that_holds_some(tmp_path: Path) -> None:
    signer = Signer.generate()
    first = signed(tmp_path / "a" / "first", signer)
    signed(tmp_path / "second", signer)
    (tmp_path / "bare.json").write_bytes(b"\n " + first.payload)
    envelope = {
        "payloadType": "application/vnd.in-toto+json",
        "payload": base64.b64encode(first.payload).decode(),
        "signatures": [],
    }
    (tmp_path / "many.jsonl").write_text(f"{json.dumps(envelope)}\n\n{json.dumps(envelope)}\n")
    (tmp_path / "weights.bin").write_bytes(b"\0" * 1000)
    (tmp_path / "config.json").write_text('{"hidden": 7}')
    (tmp_path / "notes.json").write_text('["in-toto"]')
    stored = read_store(tmp_path)
    assert (stored.files, stored.unread) == (4, ())
    made = Lineage.of(stored.statements).models_from(DATA.root)
    assert {node.name for node in made} == {"first", "second"}
    assert read_store(tmp_path / "bare.json", tmp_path / "a").files == 2


def test_a_bundle_is_found_however_its_json_is_written(tmp_path: Path) -> None:
    """Verifiers accept each of these, so that none may keep a model out of the lineage."""
    signer = Signer.generate()
    signed(tmp_path / "model", signer)
    bundle = tmp_path / "model" / "model.sig"
    text = bundle.read_text()
    assert "in-toto+json" in text
    ways = (
        " " * 100 + text,
        "\n" * 64 + text,
        text.replace("in-toto+json", r"in\u002dtoto+json"),
        text.replace("in-toto+json", r"\u0069n\u002Dtoto+json"),
    )
    for way in ways:
        bundle.write_text(way)
        verify(tmp_path / "model", policy=TrustPolicy(keys=[signer.public_key]))
        assert read_store(tmp_path / "model").files == 1
    bundle.write_text(" " * 100)
    assert read_store(tmp_path / "model").files == 0


def test_what_cannot_be_read_is_listed(tmp_path: Path) -> None:
    signed(tmp_path / "model", Signer.generate())
    bundle = (tmp_path / "model" / "model.sig").read_text()
    (tmp_path / "cut.sig").write_text(bundle[:-40])
    (tmp_path / "link.sig").symlink_to(tmp_path / "model" / "model.sig")
    (tmp_path / "link.bin").symlink_to(tmp_path / "model" / "w.bin")
    stored = read_store(tmp_path)
    assert stored.files == 1
    assert [Path(path).name for path, _ in stored.unread] == ["cut.sig", "link.sig"]
    with pytest.raises(errors.UsageError, match="no such file"):
        read_store(tmp_path / "absent")
