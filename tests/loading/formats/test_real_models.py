"""No scanner raises an alarm on what the libraries themselves write."""

import os
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from mlsecops.loading import scan_each
from mlsecops.loading.detection import Format
from tests.loading.formats import real_models

ENOUGH = {"torch": 28, "sklearn": 150, "numpy": 15, "safetensors": 10, "onnx": 8, "archives": 5}


def require_no_alarm(folder: Path, **options: Any) -> list[Any]:
    verdicts = scan_each(folder, **options)
    alarms = [f for v in verdicts for f in v.findings if f.rule != "allowed-by-name"]
    assert alarms == []
    assert {v.path: v.unchecked for v in verdicts if v.unchecked} == {}
    return verdicts


@pytest.mark.parametrize("kind", sorted(ENOUGH))
def test_no_alarm_on_real_models(tmp_path: Path, kind: str) -> None:
    for package in {"sklearn": ("joblib", "skops")}.get(kind, (kind,)):
        if kind not in {"numpy", "archives"}:
            pytest.importorskip(package)
    getattr(real_models, f"save_{kind}")(tmp_path / kind)
    assert len(require_no_alarm(tmp_path / kind)) >= ENOUGH[kind]


def test_no_alarm_on_real_keras_models(tmp_path: Path) -> None:
    pytest.importorskip("keras")
    real_models.save_keras(tmp_path / "k")
    verdicts = require_no_alarm(tmp_path / "k", allow_globals=["own>Own"])
    assert len(verdicts) >= 20
    assert {v.format for v in verdicts} == {Format.KERAS, Format.HDF5}


def test_no_alarm_on_real_saved_models(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    real_models.save_saved_models(tmp_path / "s")
    verdicts = require_no_alarm(tmp_path / "s")
    formats = [v.format for v in verdicts]
    assert formats.count(Format.SAVED_MODEL) == 4
    assert Format.TFLITE in formats
