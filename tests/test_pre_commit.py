from __future__ import annotations

import re
from pathlib import Path

import pytest

from mlsecops.cli.main import COMMANDS

yaml = pytest.importorskip("yaml")
HOOKS = yaml.safe_load((Path(__file__).parents[1] / ".pre-commit-hooks.yaml").read_text("utf-8"))


def test_each_hook_runs_a_command_of_ours() -> None:
    for hook in HOOKS:
        assert {"id", "name", "entry", "language"} <= hook.keys()
        program, command, *_ = hook["entry"].split()
        assert program == "mlsecops"
        assert command in COMMANDS


def test_the_scan_hook_takes_models_and_settings_and_leaves_source_and_pages() -> None:
    (hook,) = HOOKS
    takes = re.compile(hook["files"])
    for name in ("a/model.pkl", "m.safetensors", "config.json", "x.nemo", "mlruns/MLmodel.yaml"):
        assert takes.search(name), name
    for name in ("train.py", "README.md", "weights.py", "picture.png", "npz"):
        assert not takes.search(name), name
