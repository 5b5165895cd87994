"""The attackers' face has every attack."""

from __future__ import annotations

import ast
from pathlib import Path

from tests import attacker

ROOMS = sorted(Path(__file__).with_name("attackers").glob("*.py"))


def test_every_attack_of_every_room_is_on_the_face() -> None:
    faces = {
        (value.__module__, value.__name__) for value in vars(attacker).values() if callable(value)
    }
    defined = {
        (f"tests.attackers.{room.stem}", node.name)
        for room in ROOMS
        for node in ast.parse(room.read_text()).body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")
    }
    assert len(ROOMS) >= 8
    assert defined <= faces
    assert attacker.malicious_pickle.__module__ == "tests.attackers.loading"
