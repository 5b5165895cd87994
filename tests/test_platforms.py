"""Systems other than Linux: their missing calls are taken away from a process that uses the SDK."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.attackers import platforms

NAMED = {
    "convert": "UsageError: a pickle is converted on Linux only",
    "link": "UnsafeContent: ",
    "folder registry": "1",
}
"""Use → how its outcome begins where it is not that of Linux."""


@pytest.fixture(scope="module", params=["darwin", "win32"])
def used(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp(request.param)
    ran = subprocess.run(
        [sys.executable, platforms.__file__, request.param, str(folder)],
        check=False, text=True, capture_output=True, timeout=300, cwd=Path(__file__).parents[1],
        env={**os.environ, "PYTHONPATH": ".", "XDG_CACHE_HOME": str(folder / "cache")},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-3000:]
    return request.param, json.loads(ran.stdout)


def test_every_module_is_imported_without_calls_of_linux(used: Any) -> None:
    assert used[1]["not imported"] == []


def test_tiers_fall_back_by_name(used: Any) -> None:
    loaded = {name: got for name, got in used[1]["uses"].items() if name.startswith("load ")}
    assert len(loaded) == 9
    assert set(loaded.values()) == {"private-copy"}


def test_the_rest_works_or_is_refused_by_name(used: Any) -> None:
    platform, uses = used[0], used[1]["uses"]
    named = dict(NAMED)
    if platform == "win32":
        named["folder registry"] = "UsageError: registry/.lock: expected locks of whole files"
    right = {
        "scan": "False", "hold": "{}", "large": "sha256", "cache": "sha256", "memory registry": "1",
        "monitor": "True", "attack": "80", "deliver": "True", "command": "0",
    }  # fmt: skip
    assert {name: uses[name] for name in right} == right
    assert all(got == "True" for name, got in uses.items() if name.startswith("sign "))
    for name, begin in named.items():
        assert uses[name].startswith(begin), uses[name]
