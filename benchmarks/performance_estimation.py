"""Accuracy without labels under covariate shift: our estimate beside NannyML's CBPE.

Models are fitted on one part of the data, calibrated on a second, and judged on chunks of 2,000
rows of a third whose inputs are shifted while the labels still follow from the inputs: synthetic
classes whose inputs move along a direction, and Fashion-MNIST (Debian's dataset-fashion-mnist)
resampled along its principal components. The method was chosen on other seeds.
NannyML runs in a virtual environment of its own (``make peers``) with its usage reports off.

Run: python -m benchmarks performance_estimation
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

from mlsecops.monitoring import Calibration

Floats = NDArray[np.float64]
PEER = Path(__file__).parent / ".env-nannyml" / "bin" / "python"
FASHION = Path("/usr/share/datasets/fashion-mnist")
CHUNK = 2000

NANNYML = """
import json, sys, warnings
warnings.filterwarnings("ignore")
import numpy as np, pandas as pd, nannyml as nml
data = np.load(sys.argv[1])
def frame(p, y):
    columns = {f"p{i}": p[:, i] for i in range(p.shape[1])}
    return pd.DataFrame({"y": y, "pred": p.argmax(axis=1), **columns})
k = data["p"].shape[1]
proba = "p1" if k == 2 else {i: f"p{i}" for i in range(k)}
kind = "classification_binary" if k == 2 else "classification_multiclass"
cbpe = nml.CBPE(y_pred_proba=proba, y_pred="pred", y_true="y", problem_type=kind,
                metrics=["accuracy"], chunk_size=int(sys.argv[2]))
cbpe.fit(frame(data["p"], data["y"]))
found = cbpe.estimate(frame(data["q"], data["t"])).filter(period="analysis").to_df()
json.dump([float(v) for v in found[("accuracy", "value")]], sys.stdout)
"""


class Case(NamedTuple):
    """A model's answers on labelled reference data, and on shifted chunks."""

    name: str
    reference: tuple[Floats, Any]
    chunks: list[tuple[Floats, Any]]


def models() -> dict[str, Any]:
    return {
        "boosting": HistGradientBoostingClassifier(max_iter=60, random_state=0),
        "naive Bayes": GaussianNB(),
        "logistic": LogisticRegression(max_iter=1000),
    }


def synthetic(seed: int, classes: int) -> Iterator[Case]:
    rng = np.random.default_rng(seed)
    mixing, weights = rng.normal(size=(8, 8)) * 0.6, rng.normal(size=(8, classes)) * 1.5
    direction = rng.normal(size=8)
    direction /= np.linalg.norm(direction)

    def drawn(rows: int, shift: float) -> tuple[Floats, Any]:
        x = rng.normal(size=(rows, 8)) + shift * direction
        scores = np.tanh(x @ mixing) @ weights
        p = np.exp(scores - scores.max(axis=1, keepdims=True))
        shares = (p / p.sum(axis=1, keepdims=True)).cumsum(axis=1)
        return x, (shares > rng.random((rows, 1))).argmax(axis=1)

    (x, y), (known, truth) = drawn(6000, 0), drawn(6000, 0)
    chunks = [drawn(CHUNK, shift) for shift in (0, 0.5, 1, 1.5, 2, -1, -2)]
    for name, model in models().items():
        predict = model.fit(x, y).predict_proba
        fresh = [(predict(each), t) for each, t in chunks]
        yield Case(f"{classes} classes, seed {seed}, {name}", (predict(known), truth), fresh)


def fashion(seed: int) -> Iterator[Case]:
    if not FASHION.exists():
        print("Fashion-MNIST is not installed: apt-get install dataset-fashion-mnist")
        return
    images, labels = (
        np.frombuffer(gzip.decompress((FASHION / name).read_bytes()), np.uint8, offset=skip)
        for name, skip in (("train-images-idx3-ubyte.gz", 16), ("train-labels-idx1-ubyte.gz", 8))
    )
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(labels))
    x, y = images.reshape(-1, 784)[order] / 255, labels[order].astype(np.int64)
    table = PCA(30, random_state=seed).fit(x[:6000]).transform(x)
    rest, truth = table[12_000:], y[12_000:]
    chosen = []
    for axis in range(3):
        for shift in (0, 1, -1, 2, -2):
            weight = np.exp(shift * rest[:, axis] / rest[:, axis].std())
            chosen.append(rng.choice(len(rest), CHUNK, replace=False, p=weight / weight.sum()))
    for name, model in models().items():
        predict = model.fit(table[:6000], y[:6000]).predict_proba
        fresh = [(predict(rest[rows]), truth[rows]) for rows in chosen]
        known = predict(table[6000:12_000]), y[6000:12_000]
        yield Case(f"Fashion-MNIST, {name}", known, fresh)


def nannyml(case: Case) -> list[float] | None:
    """Its estimate for each chunk, or None if it is not installed."""
    if not PEER.exists():
        return None
    with tempfile.NamedTemporaryFile(suffix=".npz") as file:
        answers, truth = (np.concatenate(each) for each in zip(*case.chunks, strict=True))
        np.savez(file, p=case.reference[0], y=case.reference[1], q=answers, t=truth)
        file.flush()
        done = subprocess.run(
            [PEER, "-c", NANNYML, file.name, str(CHUNK)],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "NML_DISABLE_USAGE_LOGGING": "1"},
        )
    return list(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    cases = [case for seed in (20, 21, 22) for k in (2, 5) for case in synthetic(seed, k)]
    rows = []
    print(f"{'mean absolute error, points':34} ours  NannyML  accuracy on the reference")
    for case in [*cases, *fashion(20)]:
        print(f"… {case.name}", file=sys.stderr)
        real = np.array([(p.argmax(axis=1) == t).mean() for p, t in case.chunks])
        known, truth = case.reference
        plain = np.abs((known.argmax(axis=1) == truth).mean() - real)
        calibration = Calibration.fit(known, truth)
        ours = np.abs([calibration.estimate(p).accuracy for p, _ in case.chunks] - real)
        theirs = nannyml(case)
        peer = np.full(len(real), np.nan) if theirs is None else np.abs(np.array(theirs) - real)
        rows.append((ours, peer, plain))
        figures = "    ".join(f"{100 * each.mean():.2f}" for each in rows[-1])
        print(f"{case.name:34} {figures}")
    ours, peer, plain = (100 * np.concatenate(each) for each in zip(*rows, strict=True))
    print(f"{'all chunks':34} {ours.mean():.2f}    {peer.mean():.2f}    {plain.mean():.2f}")
    print(f"ours / NannyML: {ours.mean() / peer.mean():.2f}")


if __name__ == "__main__":
    main()
