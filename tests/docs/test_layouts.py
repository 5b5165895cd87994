"""The page of layouts has a row for each layout that the hub's tests write, and no other."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def layouts() -> dict[str, str]:
    """Name → outcome, as the decorators in benchmarks/hub say; the libraries are not imported."""
    found = {}
    for path in sorted((ROOT / "benchmarks/hub").glob("*_layouts.py")):
        tree = ast.parse(path.read_text("utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "layout":
                outcome = {each.arg: each.value for each in node.keywords}.get("outcome")
                said = outcome.value if isinstance(outcome, ast.Constant) else "held"
                if isinstance(node.args[0], ast.Constant):
                    found[str(node.args[0].value)] = str(said)
    return found


def test_the_page_has_a_row_for_each_layout() -> None:
    page = (ROOT / "docs/layouts.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| ([^|]+?) \| .+ \| ([^|]+?) \|$", page, re.MULTILINE))
    rows.pop("Layout")
    words = {"held": "held, ", "held unchecked": "held with `allow_unchecked", "refused": "refused"}
    written = layouts()
    adapters = {f"PEFT {kind} adapter on a base" for kind in ("LoRA", "IA3", "prompt tuning")}
    assert rows.keys() == written.keys() | adapters
    assert len(rows) >= 60
    for name, outcome in written.items():
        assert rows[name].startswith(words[outcome]), name
