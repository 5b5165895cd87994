"""Notebook views of public objects: text escaped, tables bounded."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from mlsecops import Signer, TrustPolicy, build_bom, hash_path, scan, sign, verify, verify_bom
from mlsecops._notebook import NotebookView
from mlsecops.poisoning import screen_dataset
from mlsecops.robustness import Square, evaluate_robustness

HOSTILE = "<script>alert(1)</script>\u202e\x1b[2J"


def views(folder: Path) -> dict[str, str]:
    """Class → HTML of an object with a hostile name in it."""
    model = folder / "model"
    model.mkdir()
    (model / "<b>.txt").write_text("x")
    signer = Signer.generate("p256")
    sign(model, signer)
    manifest = hash_path(model)
    verified = verify(model, policy=TrustPolicy(keys=[signer.public_key]))
    (folder / "<b>.pkl").write_bytes(pickle.dumps(print))
    bom = build_bom(name="model", manifest=manifest, datasets={}, packages=())
    bom["metadata"]["component"]["name"] = HOSTILE  # as a stranger's bill may have it
    rows = np.random.default_rng(0).random((60, 5), dtype=np.float32)
    labels = (rows[:, 0] > 0.5).astype(int)
    measured = evaluate_robustness(
        LogisticRegression().fit(rows, labels), rows, labels, [Square(0.1, queries=2)], checks=False
    )
    report = replace(measured, model=HOSTILE)
    shown = [manifest, verified, scan(folder / "<b>.pkl"), verify_bom(bom, model=model), report,
             screen_dataset(rows, labels)]  # fmt: skip
    return {type(each).__name__: each._repr_html_() for each in shown}


def test_objects_show_facts_and_rows_without_markup_of_their_texts(tmp_path: Path) -> None:
    found = views(tmp_path)
    assert len(found) == 6
    for name, text in found.items():
        assert text.startswith("<div><strong>"), name
        for hostile in ("<script", "<b>.", "\u202e", "\x1b"):
            assert hostile not in text, name
    assert "&lt;b&gt;.txt" in found["Manifest"]
    assert "refused" in found["Verdict"]
    assert "pickle" in found["Verdict"]


@pytest.mark.parametrize(("count", "more"), [(50, False), (51, True), (100_000, True)])
def test_long_tables_are_cut_and_the_rest_is_counted(count: int, *, more: bool) -> None:
    text = NotebookView("t", [], ("a",), ((each,) for each in range(count))).to_html()
    assert text.count("<tr>") == 51
    assert (f"and {count - 50} more" in text) == more
    assert len(NotebookView("x" * 10_000, [("y", "z" * 10_000)]).to_html()) < 1000
